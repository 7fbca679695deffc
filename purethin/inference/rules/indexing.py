"""Indexing: what selects units by position fixes them, unless the positions are an integer buffer,
which thins along.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from purethin.inference.rules.call import Call, Dims, broadcast, dim_list, rule
from purethin.inference.rules.laws import Compared, Moved, Written
from purethin.inference.solver import Node, find, take


def reindexed(c: Call, node: Node, index: Tensor) -> Dims | None:
    """The dims of `x[index]` along one dim, where the index is a buffer of positions: a take, whose
    values thin along.
    """
    node = find(node)
    positions = c.positions(index)
    if positions is None or node.kind == "constant" or index.dim() != 1:
        return None
    got = take(node, positions)
    c.unify(c.dims(index)[0], got)
    c.measures_positions(index, node)
    return [got]


@rule("index", "_unsafe_index")
def index(c: Call) -> Dims:
    """Indexed dims are fixed, or a take by a buffer; the index's dims stand in their place."""
    x, given = c["self"], c["indices"]
    dims = c.dims(x)
    c.law = Moved((x,))
    at = [d for d, t in enumerate(given) if t is not None]
    if len(at) == 1 and (got := reindexed(c, dims[at[0]], given[at[0]])) is not None:
        return [*dims[: at[0]], *got, *dims[at[0] + 1 :]]
    if len(at) == 1 and (listed := c.literal(given[at[0]])):
        return [*dims[: at[0]], c.picked(dims[at[0]], listed), *dims[at[0] + 1 :]]
    covered = _covered(given)
    for d in covered:
        c.freeze(dims[d], "an index along it")
    return _placed(c, given, dims)


def _covered(given: Sequence[Tensor | None]) -> list[int]:
    """The dims that an index reads: a mask covers as many as it has."""
    out: list[int] = []
    d = 0
    for t in given:
        width = 1 if t is None or not _is_mask(t) else t.dim()
        out += range(d, d + width) if t is not None else ()
        d += width
    return out


def _is_mask(t: Tensor) -> bool:
    return t.dtype in (torch.bool, torch.uint8)


def _placed(
    c: Call, given: Sequence[Tensor | None], dims: Dims, shape: Sequence[int] | None = None
) -> Dims:
    """The dims of `x[given]`: the index's own stand where it stood, or first where it stood in
    several places.
    """
    covered = _covered(given)
    together = covered == list(range(covered[0], covered[-1] + 1))
    before = dims[: covered[0]] if together else []
    after = [
        d for i, d in enumerate(dims) if i not in covered and (not together or i > covered[-1])
    ]
    rank = max(1 if _is_mask(t) else t.dim() for t in given if t is not None)
    if any(_is_mask(t) for t in given if t is not None):
        sizes = shape if shape is not None else c.shape[len(before) : len(before) + rank]
        middle = [c.fixed(s, "an index") for s in sizes]
    else:
        rows = [c.dims(t) for t in given if t is not None]
        widest = [
            max(t.shape[-i] if t.dim() >= i else 1 for t in given if t is not None)
            for i in range(rank, 0, -1)
        ]
        middle = broadcast(c, rows, widest)
    return [*before, *middle, *after]


@rule("index_select")
def index_select(c: Call) -> Dims:
    """The dim is fixed, or a take by a buffer."""
    x = c["self"]
    dims, d = c.dims(x), c["dim"] % c["self"].dim()
    c.law = Moved((x,))
    got = reindexed(c, dims[d], c["index"])
    if got is None:
        c.freeze(dims[d], "an index along it")
        got = [c.fixed(c.shape[d], "an index")]
    return [*dims[:d], *got, *dims[d + 1 :]]


@rule("gather", "take_along_dim")
def gather(c: Call) -> Dims:
    """The gathered dim is fixed; the others are the index's."""
    x, chosen = c.tensors[:2]
    dims, other = c.dims(x), c.dims(chosen)
    d = c["dim"] % x.dim() if x.dim() else 0
    c.law = Moved((x,))
    for i, (a, b) in enumerate(zip(dims, other, strict=True)):
        if i == d or find(a).size != find(b).size:
            c.freeze(a, "gathered along it")
        else:
            c.tie(a, b)
    return other


@rule("embedding")
def embedding(c: Call) -> Dims:
    """out = the index's dims, then w's dim 1; the vocabulary is fixed."""
    w, chosen = c["weight"], c["indices"]
    vocabulary, width = c.dims(w)
    c.freeze(vocabulary, "a vocabulary")
    c.produces(w, 1)
    c.law = Moved((w,))
    return [*c.dims(chosen), width]


@rule("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(c: Call) -> tuple[Dims, ...]:
    """out = bags, then w's dim 1."""
    w = c["weight"]
    vocabulary, width = c.dims(w)
    c.freeze(vocabulary, "a vocabulary")
    c.produces(w, 1)
    c.law = Moved((w,))
    first = [c.fixed(c.shape[0], "bags"), width]
    return (first, *([c.fixed(s, "bags") for s in o.shape] for o in c.outs[1:]))


@rule(
    "one_hot",
    "nonzero",
    "nonzero_numpy",
    "_unique2",
    "unique_consecutive",
    "bincount",
    "histc",
    "searchsorted",
    "bucketize",
    "masked_select",
)
def data_dependent(c: Call) -> Dims | tuple[Dims, ...]:
    """Positions that depend on the data: everything is fixed."""
    for t in c.tensors:
        for d in c.dims(t):
            c.freeze(d, "positions that depend on the data")
    out = tuple([c.fixed(s, "data") for s in o.shape] for o in c.outs)
    return out if isinstance(c.out, tuple | list) else out[0]


@rule(
    "scatter",
    "scatter_add",
    "scatter_reduce",
    "index_add",
    "index_copy",
    "index_fill",
    "masked_scatter",
    "select_scatter",
    "slice_scatter",
)
def writes(c: Call) -> Dims:
    """The indexed dims are fixed; elsewhere the values meet the target."""
    x = c["self"]
    dims = c.dims(x)
    source = next((t for n in ("src", "source") if isinstance(t := c.get(n), Tensor)), None)
    c.law = Written(source)
    if c.name in (
        "index_add",
        "index_copy",
        "scatter",
        "scatter_add",
        "scatter_reduce",
        "index_fill",
    ):
        at = dim_list(c["dim"], len(dims))
    else:
        at = list(range(len(dims)))
    for d in at:
        c.freeze(dims[d], "written by position")
    for t in c.tensors[1:]:
        for d, node in enumerate(c.dims(t)):
            if t.dim() == x.dim() and d not in at and find(node).size == find(dims[d]).size:
                c.tie(dims[d], node)
            else:
                c.freeze(node, "written by position")
    return dims


@rule("index_put", "_index_put_impl", "_unsafe_index_put")
def put(c: Call) -> Dims:
    """The indexed dims are fixed; in the others the values meet the target's."""
    given, values, dims = c["indices"], c["values"], c.dims(c["self"])
    c.law = Written(values)
    for d in _covered(given):
        c.freeze(dims[d], "written by position")
    for t in given:
        for d in () if t is None else c.dims(t):
            c.freeze(d, "positions that are written")
    masked = [1] if values.dim() < 1 else [values.shape[0]]
    place = _placed(c, given, dims, masked)
    for node, d in zip(c.dims(values)[::-1], place[::-1], strict=False):
        if find(node).size == find(d).size:
            c.tie(d, node)
    return dims


@rule("diff")
def diff(c: Call) -> Dims:
    """Neighbours are compared: the dim is fixed."""
    x = c["self"]
    dims, d = c.dims(x), c["dim"] % c["self"].dim()
    c.freeze(dims[d], "neighbours compared along it")
    dims[d] = c.fixed(c.shape[d], "neighbours")
    c.law = Moved((x,))
    return dims


@rule("cdist", "_cdist_forward")
def cdist(c: Call) -> Dims:
    """The last dim is compared and goes; the last but one of each stays."""
    x, y = c.tensors[:2]
    xd, yd = c.dims(x), c.dims(y)
    c.tie(xd[-1], yd[-1])
    c.law = Compared(x, y)
    return [*broadcast(c, [xd[:-2], yd[:-2]], c.shape[:-2]), xd[-2], yd[-2]]
