"""Shapes: operators that only rearrange. A view regroups dimensions; an integer in it states a
size, a literal freezes.
"""

from __future__ import annotations

from collections.abc import Sequence

from purethin.inference.rules.call import Call, Dims, broadcast, dim_list, rule
from purethin.inference.rules.laws import Moved
from purethin.inference.sizes import Size
from purethin.inference.solver import Node, constant, find, product, take, total, variable


def regroup(c: Call, dims: Dims, targets: Sequence[tuple[int, Node | None]]) -> Dims:
    """Match dims with target sizes by running products, ones skipped; a target's node is None where
    its size is free.
    """
    out: Dims = [constant(1)] * len(targets)
    sizes = [find(d).size for d in dims]
    i = j = 0
    while i < len(dims) or j < len(targets):
        if i < len(dims) and sizes[i] == 1:
            i += 1
        elif j < len(targets) and targets[j][0] == 1:
            j += 1
        else:
            first, start = i, j
            left, right = sizes[i], targets[j][0]
            i, j = i + 1, j + 1
            while left != right:
                if left < right:
                    left, i = left * sizes[i], i + 1
                else:
                    right, j = right * targets[j][0], j + 1
            whole = product(dims[first:i])
            parts = [variable(size) if node is None else node for size, node in targets[start:j]]
            c.unify(product(parts), whole)
            out[start:j] = [whole] if len(parts) == 1 else parts
    return out


@rule("view", "reshape", "_unsafe_view", "_reshape_copy", "view_copy", "_reshape_alias")
def view(c: Call) -> Dims:
    """x's dims regrouped; -1 is free, a tracked integer an equation, a literal frozen."""
    x = c["self"]
    c.law = Moved((x,))
    name = "size" if c.name != "reshape" else "shape"
    if c.get(name) is None or 0 in c.shape:
        for d in c.dims(x):
            c.freeze(d, "a reinterpreted dtype" if c.get(name) is None else "a view of nothing")
        return [constant(s) for s in c.shape]
    asked = c.integers(name)
    return regroup(
        c,
        c.dims(x),
        [
            (s, None if int(a) == -1 else c.sized(a, "size"))
            for s, a in zip(c.shape, asked, strict=True)
        ],
    )


@rule("flatten", "ravel")
def flatten(c: Call) -> Dims:
    """The flattened dims become their product, row-major."""
    x = c["self"]
    c.law = Moved((x,))
    return regroup(c, c.dims(x), [(s, None) for s in c.shape])


@rule("reshape_as", "view_as")
def reshape_as(c: Call) -> Dims:
    """x's dims regrouped to the other's sizes."""
    x, other = c.tensors[:2]
    c.law = Moved((x,))
    nodes = []
    for node in c.dims(other):
        fresh = variable(find(node).size)
        c.equal_sizes(fresh, node)
        nodes.append((find(node).size, fresh))
    return regroup(c, c.dims(x), nodes)


@rule("unflatten")
def unflatten(c: Call) -> Dims:
    """One dim becomes the product of the listed sizes."""
    x, dim = c["self"], c["dim"] % c["self"].dim()
    dims = c.dims(x)
    c.law = Moved((x,))
    asked = c.integers("sizes")
    sizes = c.shape[dim : dim + len(asked)]
    parts = [
        variable(s) if int(a) == -1 else c.sized(a, "size")
        for s, a in zip(sizes, asked, strict=True)
    ]
    c.unify(dims[dim], product(parts))
    return [*dims[:dim], *parts, *dims[dim + 1 :]]


@rule(
    "permute",
    "transpose",
    "swapaxes",
    "swapdims",
    "t",
    "numpy_T",
    "mT",
    "matrix_H",
    "adjoint",
    "movedim",
    "moveaxis",
)
def permute(c: Call) -> Dims:
    """out = x's dims in another order."""
    x = c["self"]
    dims = c.dims(x)
    c.law = Moved((x,))
    return [dims[i] for i in _order(c, len(dims))]


def _order(c: Call, rank: int) -> list[int]:
    if c.name == "permute":
        return [d % rank for d in c["dims"]]
    if c.name in ("t", "numpy_T"):
        return list(range(rank))[::-1]
    if c.name in ("movedim", "moveaxis"):
        source, target = dim_list(c["source"], rank), dim_list(c["destination"], rank)
        rest = iter([d for d in range(rank) if d not in source])
        return [source[target.index(d)] if d in target else next(rest) for d in range(rank)]
    first, second = (
        (-2, -1)
        if c.name in ("mT", "matrix_H", "adjoint")
        else (_any(c, "dim0", "axis0"), _any(c, "dim1", "axis1"))
    )
    order = list(range(rank))
    if rank:
        order[first], order[second] = order[second], order[first]
    return order


def _any(c: Call, *names: str) -> int:
    return next(v for n in names if (v := c.get(n)) is not None)


@rule("unsqueeze", "atleast_1d", "atleast_2d", "atleast_3d")
def unsqueeze(c: Call) -> Dims | tuple[Dims, ...]:
    """out = x's dims with a 1 put in."""
    x = c.tensors[0]
    c.law = Moved(tuple(c.tensors))
    if c.name != "unsqueeze":
        rows = [
            regroup(c, c.dims(t), [(s, None) for s in o.shape])
            for t, o in zip(c.tensors, c.outs, strict=True)
        ]
        return tuple(rows) if isinstance(c.out, tuple | list) else rows[0]
    dims, dim = c.dims(x), c["dim"] % (x.dim() + 1)
    return [*dims[:dim], constant(1), *dims[dim:]]


@rule("squeeze")
def squeeze(c: Call) -> Dims:
    """out = x's dims without the ones asked for."""
    x = c["self"]
    c.law = Moved((x,))
    drop = dim_list(c.get("dim"), x.dim()) if c.get("dim") is not None else range(x.dim())
    return [d for i, d in enumerate(c.dims(x)) if not (i in drop and find(d).size == 1)]


@rule("expand", "broadcast_to", "expand_copy")
def expand(c: Call) -> Dims:
    """Dims of size 1 take the size that the integer states; others stay."""
    x = c["self"]
    c.law = Moved((x,))
    asked = c.integers("size")
    dims = [constant(1)] * (len(asked) - x.dim()) + c.dims(x)
    out = []
    for node, a, s in zip(dims, asked, c.shape, strict=True):
        if find(node).size == 1 and s != 1:
            out.append(c.sized(a, "size"))
        else:
            if isinstance(a, Size):
                c.unify(c.sized(a, "size"), node)
            elif int(a) != -1 and s != 1:
                c.freeze(node, f"the literal or fixed size {int(a)}")
            out.append(node)
    return out


@rule("expand_as")
def expand_as(c: Call) -> Dims:
    """out = the other's dims; x's that are not 1 are the same."""
    x, other = c.tensors[:2]
    c.law = Moved((x,))
    return broadcast(c, [c.dims(x), c.dims(other)], c.shape)


@rule("repeat", "tile")
def repeat(c: Call) -> Dims:
    """Each dim becomes (repeats dim)."""
    x = c["self"]
    c.law = Moved((x,))
    counts = c.integers("repeats" if c.name == "repeat" else "dims")
    rank = len(c.shape)
    counts = [1] * (rank - len(counts)) + counts
    dims = [constant(1)] * (rank - x.dim()) + c.dims(x)
    return [product([c.sized(n, "repeats"), d]) for n, d in zip(counts, dims, strict=True)]


@rule("repeat_interleave")
def repeat_interleave(c: Call) -> Dims:
    """The dim becomes (dim repeats)."""
    x = c["self"]
    repeats, dim = c.get("repeats"), c.get("dim")
    if not isinstance(repeats, int):
        for d in c.dims(x):
            c.freeze(d, "repeats that differ")
        return [c.fixed(s, "repeats that differ") for s in c.shape]
    c.law = Moved((x,))
    count = c.sized(c.integer("repeats"), "repeats")
    if c.get("output_size") is not None:
        c.integer("output_size")  # read as a size: it only says what the repeats give
    if dim is None:
        return [product([*c.dims(x), count])]
    dims = c.dims(x)
    dims[dim] = product([dims[dim], count])
    return dims


@rule("slice", "narrow")
def slice_(c: Call) -> Dims:
    """The dim is (before + kept + after); an integer bound states their sizes, so a literal fixes
    what it counts.
    """
    x = c["self"]
    dims, dim = c.dims(x), c["dim"] % c["self"].dim()
    c.law = Moved((x,))
    n, got = find(dims[dim]).size, c.shape[dim]
    for bound in ("start", "end", "length"):
        if isinstance(c.get(bound), int):
            c.integer(bound)  # read as a size, even where it cuts nothing off
    if got == n or find(dims[dim]).kind == "constant":
        dims[dim] = dims[dim] if got == n else constant(got, find(dims[dim]).why)
        return dims
    if c.from_data(
        *(c.integer(b) for b in ("start", "end", "length") if isinstance(c.get(b), int))
    ):
        c.freeze(dims[dim], "a bound that depends on the data")
        dims[dim] = c.fixed(got, "a bound that depends on the data")
        return dims
    step = c.get("step") or 1
    start = int(c["start"] or 0)
    if step > 1 and 0 <= start < step and (c["end"] is None or int(c["end"]) >= n):
        dims[dim] = every(c, dims[dim], step, start)
        return dims
    before, kept, after = _cut(c, n)
    c.unify(dims[dim], total([before, kept, after]))
    dims[dim] = every(c, kept, step)
    return dims


def _cut(c: Call, n: int) -> tuple[Node, Node, Node]:
    """The three pieces of a slice of n units."""

    def free(size: int) -> Node:
        return variable(size) if size else constant(0)

    start = c.integer("start") if c["start"] is not None else 0
    if c.name == "narrow":
        length = c.integer("length")
        return (
            c.sized(start, "start"),
            c.sized(length, "length"),
            free(n - int(start) - int(length)),
        )
    end = c.integer("end") if c["end"] is not None else n
    first, last = (
        max(int(start) + n, 0) if int(start) < 0 else int(start),
        min(int(end) + n if int(end) < 0 else int(end), n),
    )
    before = free(first) if int(start) < 0 else c.sized(start, "start")
    after = c.sized(-int(end), "end") if int(end) < 0 else free(n - last)
    if last == n:
        kept = c.sized(-int(start), "start") if int(start) < 0 else free(n - first)
    elif int(start) < 0 or int(end) < 0:
        kept = c.fixed(last - first, "both bounds") if int(start) < 0 else free(last - first)
        if int(start) < 0 <= int(end):
            before, after = c.fixed(first, "the bound"), c.fixed(n - last, "the bound")
    else:
        kept = c.sized(end - start, "length")
    return before, kept, after


def every(c: Call, node: Node, step: int, start: int = 0) -> Node:
    """Every step-th unit from one of the first: whole groups of `step` go together, a remainder is
    fixed.
    """
    node = find(node)
    if step == 1:
        return node
    groups, rest = divmod(node.size, step)
    got = len(range(start, node.size, step))
    if node.kind == "constant" or not groups:
        return constant(got, node.why)
    lead = variable(groups)
    c.unify(node, total([product([lead, constant(step)]), c.fixed(rest, "a strided slice")]))
    return total([lead, c.fixed(got - groups, "a strided slice")])


@rule("select")
def select(c: Call) -> Dims:
    """The dim goes; what stands before the literal index (or after a negative one) must stay."""
    x = c["self"]
    dims, dim = c.dims(x), c["dim"] % c["self"].dim()
    c.law = Moved((x,))
    index = c.integer("index")
    c.if_needed(lambda: c.picked(dims[dim], [index]))
    return dims[:dim] + dims[dim + 1 :]


@rule("unbind")
def unbind(c: Call) -> tuple[Dims, ...]:
    """The dim goes, and is fixed: the code takes so many parts."""
    x, dim = c["self"], c["dim"] % c["self"].dim()
    dims = c.dims(x)
    c.law = Moved((x,))
    c.freeze(dims[dim], "the number of parts")
    return tuple(dims[:dim] + dims[dim + 1 :] for _ in c.outs)


def _parted(c: Call, dim: int, parts: Sequence[Node]) -> tuple[Dims, ...]:
    """State that a dim is the sum of these parts, and give each output its own."""
    x = c["self"]
    dims = c.dims(x)
    c.law = Moved((x,))
    c.unify(dims[dim], total(parts))
    return tuple([*dims[:dim], part, *dims[dim + 1 :]] for part in parts)


@rule("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes")
def split(c: Call) -> tuple[Dims, ...]:
    """The dim is the sum of the parts, each of the size stated; a shorter last one is free."""
    dim = c["dim"] % c["self"].dim()
    sizes = [o.shape[dim] for o in c.outs]
    given = c.get("split_size")
    if not isinstance(given, int):
        asked = c.integers("split_sizes" if given is None else "split_size")
        return _parted(c, dim, [c.sized(a, "split size") for a in asked])
    size = c.integer("split_size")
    if len(sizes) == 1:
        return _parted(c, dim, [c.dims(c["self"])[dim]])
    parts = [c.sized(size, "split size") if s == int(size) else variable(s) for s in sizes]
    if sizes[-1] != sizes[0]:
        c.compares(parts[-1], "<=", parts[0])
    return _parted(c, dim, parts)


@rule("chunk", "unsafe_chunk", "tensor_split")
def chunk(c: Call) -> tuple[Dims, ...]:
    """The dim is the sum of the parts, of equal sizes; where they differ, what the longer ones have
    more is fixed.
    """
    dim = c["dim"] % c["self"].dim()
    sizes = [o.shape[dim] for o in c.outs]
    if c.name == "tensor_split" and (len(set(sizes)) > 1 or c.get("sections") is None):
        c.freeze(c.dims(c["self"])[dim], "uneven parts")
        return _parted(c, dim, [constant(s) for s in sizes])
    if len(set(sizes)) == 1:
        parts = [variable(s) for s in sizes]
        for part in parts[1:]:
            c.equal_sizes(parts[0], part)
        return _parted(c, dim, parts)
    shared = variable(min(sizes))
    return _parted(
        c, dim, [total([shared, c.fixed(s - min(sizes), "uneven chunks")]) for s in sizes]
    )


@rule("flip", "fliplr", "flipud")
def flip(c: Call) -> Dims:
    """The dims are read backwards."""
    x = c["self"]
    dims = c.dims(x)
    c.law = Moved((x,))
    for d in (
        dim_list(c["dims"], len(dims)) if c.name == "flip" else [1 if c.name == "fliplr" else 0]
    ):
        dims[d] = take(dims[d], range(find(dims[d]).size)[::-1])
    return dims


@rule("roll")
def roll(c: Call) -> Dims:
    """The last `shift` units come first: (rest + shift) becomes (shift + rest), and a literal shift
    is fixed.
    """
    x = c["self"]
    dims = c.dims(x)
    c.law = Moved((x,))
    if not c["dims"]:
        for d in dims:
            c.freeze(d, "a roll over the flattened tensor")
        return dims
    for shift, d in zip(c.integers("shifts"), dim_list(c["dims"], len(dims)), strict=True):
        n = find(dims[d]).size
        k = abs(int(shift)) % max(n, 1)
        if k == 0 or find(dims[d]).kind == "constant":
            continue
        moved = (
            c.sized(shift, "shift")
            if k == int(shift)
            else c.fixed(k, f"the literal shift {int(shift)}")
        )
        parts = [variable(n - k), moved] if int(shift) > 0 else [moved, variable(n - k)]
        c.unify(dims[d], total(parts))
        dims[d] = total(parts[::-1])
    return dims


@rule("diagonal", "diag", "diag_embed", "diagonal_copy")
def diagonal(c: Call) -> Dims:
    """Positions of two dims are compared: both freeze."""
    x = c["self"]
    c.law = Moved((x,))
    for d in c.dims(x):
        c.freeze(d, "a diagonal compares positions along it")
    return [c.fixed(s, "a diagonal") for s in c.shape]
