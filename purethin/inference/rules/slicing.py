"""Slices and parts: a dim is the sum of what is taken and what is passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from purethin.inference.nodes import Node, constant, find, leaves, product, total, variable
from purethin.inference.rules.call import Call, Dims, rule
from purethin.inference.rules.laws import moved
from purethin.inference.sizes import Size


@rule("slice narrow", law=moved)
def slice_(c: Call) -> Dims:
    """The dim is (before + kept + after); an integer bound states their sizes, so a literal fixes
    what it counts.
    """
    dims, d = c.dims(), c.dim()
    n, got, step = find(dims[d]).size, c.shape[d], c.get("step") or 1
    given = [b for b in ("start", "end", "length") if isinstance(c.get(b), int)]
    bounds = [c.integer(b) for b in given]  # read as sizes, even where they cut nothing off
    if got == n:
        _nothing_cut(c, dims[d], dict(zip(given, bounds, strict=True)))
        return dims
    if find(dims[d]).kind == "constant" and not any(isinstance(b, Size) for b in bounds):
        dims[d] = constant(got, find(dims[d]).why)
    elif c.from_data(*bounds):
        c.freeze("a bound that depends on the data", dims[d])
        dims[d] = c.fixed(got, "a bound that depends on the data")
    elif step > 1 and _to_the_end(c, n) and 0 <= (first := int(c["start"] or 0)) < step:
        dims[d] = every(c, dims[d], step, first)
    else:
        before, kept, after = _cut(c, n)
        c.unify(dims[d], total([before, kept, after]))
        dims[d] = every(c, kept, step)
    return dims


def _nothing_cut(c: Call, dim: Node, bounds: Mapping[str, int]) -> None:
    """State what must hold for tracked bounds to go on cutting nothing off."""
    for name, bound in bounds.items():
        if isinstance(bound, Size) and name == "end" and int(bound) > 0:
            c.compares(dim, "<=", bound.measured)
        elif isinstance(bound, Size) and not (
            name == "length" and find(dim) is find(bound.measured)
        ):
            c.freeze("a bound that cuts nothing off", dim, *leaves(bound.plus))


def _to_the_end(c: Call, n: int) -> bool:
    return c["end"] is None or int(c["end"]) >= n


def _cut(c: Call, n: int) -> tuple[Node, Node, Node]:
    """The three pieces of a slice of n units: before, kept, after. A bound counts from the start or
    (negative) from the end, and states the size of the piece that it counts off.
    """

    def free(size: int) -> Node:
        return variable(size) if size else constant(0)

    def counted(bound: int, name: str) -> Node:
        return c.sized(-bound if int(bound) < 0 else bound, name)

    start = c.integer("start") if c["start"] is not None else 0
    if c.name == "narrow":
        length = c.integer("length")
        rest = free(n - int(start) - int(length))
        return c.sized(start, "start"), c.sized(length, "length"), rest
    end = c.integer("end") if c["end"] is not None else n
    first, last, _ = slice(int(start), int(end)).indices(n)
    match (int(start) < 0, int(end) < 0, last == n):
        case (False, _, True):  # x[2:]
            return counted(start, "start"), free(n - first), constant(0)
        case (True, _, True):  # x[-2:]
            return free(first), counted(start, "start"), constant(0)
        case (False, False, _):  # x[2:5]
            return counted(start, "start"), c.sized(end - start, "length"), free(n - last)
        case (False, True, _):  # x[2:-2]
            return counted(start, "start"), free(last - first), counted(end, "end")
        case (True, True, _):  # x[-5:-2]
            return free(first), c.fixed(last - first, "both bounds"), counted(end, "end")
        case _:  # x[-5:5]
            before, after = (c.fixed(size, "the bound") for size in (first, n - last))
            return before, c.fixed(last - first, "both bounds"), after


def every(c: Call, node: Node, step: int, start: int = 0) -> Node:
    """Every step-th unit from one of the first: whole groups of `step` go together, a remainder is
    fixed.
    """
    node = find(node)
    if step == 1:
        return node
    groups, rest = divmod(node.size, step)
    got = len(range(start, node.size, step))
    if not groups:  # the first of them alone
        c.freeze("a strided slice", node)
    if find(node).kind == "constant":
        return constant(got, find(node).why)
    lead = variable(groups)
    c.unify(
        node,
        total(
            [product([lead, c.fixed(step, "a strided slice")]), c.fixed(rest, "a strided slice")]
        ),
    )
    return total([lead, c.fixed(got - groups, "a strided slice")])


@rule("select", law=moved)
def select(c: Call) -> Dims:
    """The dim goes; what stands before the literal index (or after a negative one) must stay."""
    dims, d, index = c.dims(), c.dim(), c.integer("index")
    c.if_needed(lambda: c.picked(dims[d], [index]))
    return dims[:d] + dims[d + 1 :]


@rule("unbind", law=moved)
def unbind(c: Call) -> tuple[Dims, ...]:
    """The dim goes, and is fixed: the code takes so many parts."""
    dims, d = c.dims(), c.dim()
    c.freeze("the number of parts", dims[d])
    return tuple(dims[:d] + dims[d + 1 :] for _ in c.outs)


def _parted(c: Call, parts: Sequence[Node]) -> tuple[Dims, ...]:
    """State that the dim is the sum of these parts, and give each output its own."""
    dims, d = c.dims(), c.dim()
    c.unify(dims[d], total(parts))
    return tuple([*dims[:d], part, *dims[d + 1 :]] for part in parts)


@rule("split split_with_sizes unsafe_split unsafe_split_with_sizes", law=moved)
def split(c: Call) -> tuple[Dims, ...]:
    """The dim is the sum of the parts, each of the size stated; a shorter last one is free."""
    d, given = c.dim(), c.get("split_size")
    if not isinstance(given, int):
        asked = c.integers("split_sizes" if given is None else "split_size")
        return _parted(c, [c.sized(a, "split size") for a in asked])
    size, sizes = c.integer("split_size"), [o.shape[d] for o in c.outs]
    if len(sizes) == 1:
        return _parted(c, [c.dims()[d]])
    parts = [c.sized(size, "split size") if s == int(size) else variable(s) for s in sizes]
    if sizes[-1] != sizes[0]:
        c.compares(parts[-1], "<=", parts[0])
    return _parted(c, parts)


@rule("chunk unsafe_chunk tensor_split", law=moved)
def chunk(c: Call) -> tuple[Dims, ...]:
    """The dim is the sum of the parts, of equal sizes; where they differ, what the longer ones have
    more is fixed.
    """
    d = c.dim()
    sizes = [o.shape[d] for o in c.outs]
    uneven = len(set(sizes)) > 1
    if c.name == "tensor_split" and (uneven or c.get("sections") is None):
        c.freeze("uneven parts", c.dims()[d])
        return _parted(c, [c.fixed(s, "a part") for s in sizes])
    if uneven:
        shared, least = variable(min(sizes)), min(sizes)
        return _parted(c, [total([shared, c.fixed(s - least, "uneven chunks")]) for s in sizes])
    parts = [variable(s) for s in sizes]
    for part in parts[1:]:
        c.equal_sizes(parts[0], part)
    return _parted(c, parts)
