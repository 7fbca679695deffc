"""Indexing: what selects units by position fixes them, unless the positions are an integer buffer,
which thins along.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from purethin.inference.nodes import Node, find, take
from purethin.inference.rules.call import Call, Dims, broadcast, dim_list, rule
from purethin.inference.rules.laws import Compared, Written, moved


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


@rule("index _unsafe_index", law=moved)
def index(c: Call) -> Dims:
    """Indexed dims are fixed, or a take by a buffer; the index's dims stand in their place."""
    dims, given = c.dims(), c["indices"]
    at = [d for d, t in enumerate(given) if t is not None]
    if len(at) == 1:
        d, chosen = at[0], given[at[0]]
        if (got := reindexed(c, dims[d], chosen)) is not None:
            return [*dims[:d], *got, *dims[d + 1 :]]
        if listed := c.literal(chosen):
            return [*dims[:d], c.picked(dims[d], listed), *dims[d + 1 :]]
    c.freeze("an index along it", *(dims[d] for d in _covered(given)))
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
    several places. `shape`: the sizes of what a mask picks, where the output does not show them.
    """
    covered = _covered(given)
    together = covered == list(range(covered[0], covered[-1] + 1))
    before = dims[: covered[0]] if together else []
    after = [d for i, d in enumerate(dims) if i not in covered and i >= len(before)]
    indices = [t for t in given if t is not None]
    rank = max(1 if _is_mask(t) else t.dim() for t in indices)
    if any(map(_is_mask, indices)):
        sizes = shape if shape is not None else c.shape[len(before) : len(before) + rank]
        return [*before, *(c.fixed(s, "an index") for s in sizes), *after]
    sizes = range(rank, 0, -1)
    widest = [max(t.shape[-i] if t.dim() >= i else 1 for t in indices) for i in sizes]
    return [*before, *broadcast(c, [c.dims(t) for t in indices], widest), *after]


@rule("index_select", law=moved)
def index_select(c: Call) -> Dims:
    """The dim is fixed, or a take by a buffer."""
    dims, d = c.dims(), c.dim()
    got = reindexed(c, dims[d], c["index"])
    if got is None:
        c.freeze("an index along it", dims[d])
        got = [c.fixed(c.shape[d], "an index")]
    return [*dims[:d], *got, *dims[d + 1 :]]


@rule("gather take_along_dim", law=moved)
def gather(c: Call) -> Dims:
    """The gathered dim is fixed; the others are the index's."""
    dims, other = c.dims(), c.dims(c.tensors[1])
    at = c["dim"] % max(len(dims), 1)
    for d, (a, b) in enumerate(zip(dims, other, strict=True)):
        if d == at or find(a).size != find(b).size:
            c.freeze("gathered along it", a)
        else:
            c.tie(a, b)
    return other


def _width(c: Call) -> Node:
    """The width of an embedding, whose vocabulary is fixed."""
    vocabulary, width = c.dims(c["weight"])
    c.freeze("a vocabulary", vocabulary)
    c.produces(c["weight"], 1)
    return width


@rule("embedding", law=moved)
def embedding(c: Call) -> Dims:
    """out = the index's dims, then w's dim 1; the vocabulary is fixed."""
    return [*c.dims(c["indices"]), _width(c)]


@rule("embedding_bag _embedding_bag _embedding_bag_forward_only", law=moved)
def embedding_bag(c: Call) -> tuple[Dims, ...]:
    """out = bags, then w's dim 1."""
    first = [c.fixed(c.shape[0], "bags"), _width(c)]
    return (first, *([c.fixed(s, "bags") for s in o.shape] for o in c.outs[1:]))


@rule(
    "one_hot nonzero nonzero_numpy _unique2 unique_consecutive bincount histc",
    "searchsorted bucketize masked_select",
)
def data_dependent(c: Call) -> Dims | tuple[Dims, ...]:
    """Positions that depend on the data: everything is fixed."""
    return c.all_fixed("positions that depend on the data", "data")


BY_DIM = "index_add index_copy index_reduce scatter scatter_add scatter_reduce index_fill"
BY_PLACE = "masked_scatter select_scatter slice_scatter"


def written(c: Call) -> Written:
    """The source is written into the first tensor."""
    sources = (c.get(name) for name in ("src", "source"))
    return Written(next((t for t in sources if isinstance(t, Tensor)), None))


@rule(BY_DIM, BY_PLACE, law=written)
def writes(c: Call) -> Dims:
    """The indexed dims are fixed; elsewhere the values meet the target."""
    dims = c.dims()
    at = dim_list(c["dim"] if c.name in BY_DIM.split() else None, len(dims))
    c.freeze("written by position", *(dims[d] for d in at))
    for t in c.tensors[1:]:
        for d, node in enumerate(c.dims(t)):
            if t.dim() == len(dims) and d not in at and find(node).size == find(dims[d]).size:
                c.tie(dims[d], node)
            else:
                c.freeze("written by position", node)
    return dims


@rule("index_put _index_put_impl _unsafe_index_put", law=lambda c: Written(c["values"]))
def put(c: Call) -> Dims:
    """The indexed dims are fixed; in the others the values meet the target's."""
    given, values, dims = c["indices"], c["values"], c.dims()
    c.freeze("written by position", *(dims[d] for d in _covered(given)))
    indices = [t for t in given if t is not None]
    c.freeze("positions that are written", *(d for t in indices for d in c.dims(t)))
    masked = [1] if values.dim() < 1 else [values.shape[0]]
    target = _placed(c, given, dims, masked)
    for node, d in zip(c.dims(values)[::-1], target[::-1], strict=False):
        if find(node).size == find(d).size:
            c.tie(d, node)
    return dims


@rule("diff", law=moved)
def diff(c: Call) -> Dims:
    """Neighbours are compared: the dim is fixed."""
    dims, d = c.dims(), c.dim()
    c.freeze("neighbours compared along it", dims[d])
    dims[d] = c.fixed(c.shape[d], "neighbours")
    return dims


@rule("cdist _cdist_forward", law=lambda c: Compared(c.tensors[0], c.tensors[1]))
def cdist(c: Call) -> Dims:
    """The last dim is compared and goes; the last but one of each stays."""
    xd, yd = (c.dims(t) for t in c.tensors[:2])
    c.tie(xd[-1], yd[-1])
    return [*broadcast(c, [xd[:-2], yd[:-2]], c.shape[:-2]), xd[-2], yd[-2]]
