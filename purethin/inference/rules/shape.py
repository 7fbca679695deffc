"""Shapes: views regroup dims by running products; orders, expansions and repeats say where each dim
goes.
"""

from __future__ import annotations

from collections.abc import Sequence

from purethin.inference.nodes import Node, constant, find, leaves, product, take, total, variable
from purethin.inference.rules.call import Call, Dims, broadcast, dim_list, rule
from purethin.inference.rules.laws import Law, joined, moved, unstated
from purethin.inference.sizes import Size


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
            have, want = sizes[i], targets[j][0]
            i, j = i + 1, j + 1
            while have != want:
                if have < want:
                    have, i = have * sizes[i], i + 1
                else:
                    want, j = want * targets[j][0], j + 1
            whole = product(dims[first:i])
            parts = [variable(size) if node is None else node for size, node in targets[start:j]]
            c.unify(product(parts), whole)
            out[start:j] = [whole] if len(parts) == 1 else parts
    return out


@rule("view reshape _unsafe_view _reshape_copy view_copy _reshape_alias", law=moved)
def view(c: Call) -> Dims:
    """x's dims regrouped; -1 is free, a tracked integer an equation, a literal frozen."""
    name = "size" if c.name != "reshape" else "shape"
    if c.get(name) is None or 0 in c.shape:
        c.freeze("a reinterpreted dtype" if c.get(name) is None else "a view of nothing", *c.dims())
        return [constant(s) for s in c.shape]
    asked = zip(c.shape, c.integers(name), strict=True)
    return regroup(
        c, c.dims(), [(s, None if int(a) == -1 else c.sized(a, "size")) for s, a in asked]
    )


@rule("flatten ravel", law=moved)
def flatten(c: Call) -> Dims:
    """The flattened dims become their product, row-major."""
    return regroup(c, c.dims(), [(s, None) for s in c.shape])


@rule("reshape_as view_as", law=moved)
def reshape_as(c: Call) -> Dims:
    """x's dims regrouped to the other's sizes."""
    nodes = []
    for node in c.dims(c.tensors[1]):
        fresh = variable(find(node).size)
        c.equal_sizes(fresh, node)
        nodes.append((find(node).size, fresh))
    return regroup(c, c.dims(), nodes)


@rule("unflatten", law=moved)
def unflatten(c: Call) -> Dims:
    """One dim becomes the product of the listed sizes."""
    dims, dim, asked = c.dims(), c.dim(), c.integers("sizes")
    sizes = zip(c.shape[dim : dim + len(asked)], asked, strict=True)
    parts = [variable(s) if int(a) == -1 else c.sized(a, "size") for s, a in sizes]
    c.unify(dims[dim], product(parts))
    return [*dims[:dim], *parts, *dims[dim + 1 :]]


@rule(
    "permute transpose swapaxes swapdims t numpy_T mT matrix_H adjoint movedim moveaxis", law=moved
)
def permute(c: Call) -> Dims:
    """out = x's dims in another order."""
    dims = c.dims()
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
    first, second = -2, -1
    if c.name not in ("mT", "matrix_H", "adjoint"):
        first, second = (c.get(f"dim{i}", c.get(f"axis{i}")) for i in (0, 1))
    order = list(range(rank))
    if rank:
        order[first], order[second] = order[second], order[first]
    return order


@rule("unsqueeze atleast_1d atleast_2d atleast_3d", law=joined)
def unsqueeze(c: Call) -> Dims | tuple[Dims, ...]:
    """out = x's dims with a 1 put in."""
    if c.name == "unsqueeze":
        dims, dim = c.dims(), c["dim"] % (c["self"].dim() + 1)
        return [*dims[:dim], constant(1), *dims[dim:]]
    pairs = zip(c.tensors, c.outs, strict=True)
    rows = [regroup(c, c.dims(t), [(s, None) for s in o.shape]) for t, o in pairs]
    return tuple(rows) if c.several else rows[0]


@rule("squeeze", law=moved)
def squeeze(c: Call) -> Dims:
    """out = x's dims without the ones asked for."""
    dim, rank = c.get("dim"), c["self"].dim()
    drop = range(rank) if dim is None else dim_list(dim, rank)
    return [d for i, d in enumerate(c.dims()) if not (i in drop and find(d).size == 1)]


@rule("expand broadcast_to expand_copy", law=moved)
def expand(c: Call) -> Dims:
    """Dims of size 1 take the size that the integer states; others stay."""
    asked = c.integers("size")
    dims = [constant(1)] * (len(asked) - c["self"].dim()) + c.dims()
    for d, (node, a, s) in enumerate(zip(dims, asked, c.shape, strict=True)):
        if find(node).size == 1 and s != 1:
            dims[d] = c.sized(a, "size")
        elif isinstance(a, Size):
            c.unify(c.sized(a, "size"), node)
        elif int(a) != -1 and s != 1:
            c.freeze(f"the literal or fixed size {int(a)}", node)
    return dims


@rule("expand_as", law=moved)
def expand_as(c: Call) -> Dims:
    """out = the other's dims; x's that are not 1 are the same."""
    return broadcast(c, [c.dims(t) for t in c.tensors[:2]], c.shape)


@rule("repeat tile", law=moved)
def repeat(c: Call) -> Dims:
    """Each dim becomes (repeats dim)."""
    counts = c.integers("repeats" if c.name == "repeat" else "dims")
    rank = len(c.shape)
    counts = [1] * (rank - len(counts)) + counts
    dims = [constant(1)] * (rank - c["self"].dim()) + c.dims()
    return [product([c.sized(n, "repeats"), d]) for n, d in zip(counts, dims, strict=True)]


def repeated(c: Call) -> Law:
    """Moved by a number; nothing is said of repeats that are a tensor."""
    return moved(c) if isinstance(c.get("repeats"), int) else unstated(c.name)


@rule("repeat_interleave", law=repeated)
def repeat_interleave(c: Call) -> Dims:
    """The dim becomes (dim repeats)."""
    dims, dim = c.dims(), c.get("dim")
    if not isinstance(c.get("repeats"), int):
        c.freeze("repeats that differ", *dims)
        return [c.fixed(s, "repeats that differ") for s in c.shape]
    count = c.sized(c.integer("repeats"), "repeats")
    if c.get("output_size") is not None:
        c.integer("output_size")  # read as a size: it only says what the repeats give
    if dim is None:
        return [product([*dims, count])]
    dims[dim] = product([dims[dim], count])
    return dims


@rule("flip fliplr flipud", law=moved)
def flip(c: Call) -> Dims:
    """The dims are read backwards."""
    dims = c.dims()
    for d in dim_list({"fliplr": 1, "flipud": 0}.get(c.name, c.get("dims")), len(dims)):
        dims[d] = take(dims[d], range(find(dims[d]).size)[::-1])
    return dims


@rule("roll", law=moved)
def roll(c: Call) -> Dims:
    """The last `shift` units come first: (rest + shift) becomes (shift + rest), and a literal shift
    is fixed.
    """
    dims = c.dims()
    if not c["dims"]:
        c.freeze("a roll over the flattened tensor", *dims)
        return dims
    for shift, d in zip(c.integers("shifts"), dim_list(c["dims"], len(dims)), strict=True):
        n = find(dims[d]).size
        k = abs(int(shift)) % max(n, 1)
        by = -shift if isinstance(shift, Size) and int(shift) < 0 else shift
        if abs(int(shift)) != k:
            c.freeze(
                "a shift beyond the dim",
                dims[d],
                *(leaves(by.plus) if isinstance(by, Size) else ()),
            )
        if k == 0 or find(dims[d]).kind == "constant":
            continue
        whole = c.fixed(k, f"the literal shift {int(shift)}")
        part = c.sized(by, "shift") if k == int(by) else whole
        parts = [variable(n - k), part] if int(shift) > 0 else [part, variable(n - k)]
        c.unify(dims[d], total(parts))
        dims[d] = total(parts[::-1])
    return dims


@rule("diagonal diag diag_embed diagonal_copy", law=moved)
def diagonal(c: Call) -> Dims:
    """Positions of two dims are compared: both freeze."""
    c.freeze("a diagonal compares positions along it", *c.dims())
    return [c.fixed(s, "a diagonal") for s in c.shape]
