"""Joining tensors: concatenation is a sum of axes, stacking a new fixed dimension."""

from __future__ import annotations

from torch import Tensor

from purethin.inference.nodes import total
from purethin.inference.rules.call import Call, Dims, broadcast, rule
from purethin.inference.rules.laws import Moved, joined


def _parts(c: Call) -> list[Tensor]:
    """The tensors that are joined; torch passes over empty vectors."""
    return [t for t in c["tensors"] if not (t.dim() == 1 and t.numel() == 0)]


@rule("cat concat concatenate", law=lambda c: Moved(tuple(_parts(c))))
def cat(c: Call) -> Dims:
    """out's dim is the sum of the parts'; their other dims are the same."""
    dim = c["dim"] % c.outs[0].dim()
    rows = [c.dims(t) for t in _parts(c) or c["tensors"]]
    out = list(rows[0])
    for row in rows[1:]:
        for d in range(len(out)):
            if d != dim:
                c.tie(out[d], row[d])
    out[dim] = total([row[dim] for row in rows])
    return out


@rule("stack", law=joined)
def stack(c: Call) -> Dims:
    """out has a new dim of the number of parts; their dims are the same."""
    dim, rows = c["dim"] % c.outs[0].dim(), [c.dims(t) for t in c["tensors"]]
    dims = broadcast(c, rows, c.shape[:dim] + c.shape[dim + 1 :])
    return [*dims[:dim], c.fixed(len(rows), "the number of stacked tensors"), *dims[dim:]]


@rule("broadcast_tensors", law=joined)
def broadcast_tensors(c: Call) -> tuple[Dims, ...]:
    """Every output has all inputs' dims, broadcast."""
    dims = broadcast(c, [c.dims(t) for t in c.tensors], c.shape)
    return tuple(list(dims) for _ in c.outs)


@rule("meshgrid", law=joined)
def meshgrid(c: Call) -> tuple[Dims, ...]:
    """Every output has one dim of each input (`ij`), the first two exchanged for `xy`."""
    dims = [c.dims(t)[0] if t.dim() else c.fixed(1, "a scalar") for t in c.tensors]
    if c.get("indexing") == "xy" and len(dims) > 1:
        dims[:2] = dims[1::-1]
    return tuple(list(dims) for _ in c.outs)
