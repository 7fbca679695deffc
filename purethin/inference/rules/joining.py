"""Joining tensors: concatenation is a sum of axes, stacking a new fixed dimension."""

from __future__ import annotations

from purethin.inference.rules.call import Call, Dims, broadcast, rule
from purethin.inference.rules.laws import Moved
from purethin.inference.solver import total


@rule("cat", "concat", "concatenate")
def cat(c: Call) -> Dims:
    """out's dim is the sum of the parts'; their other dims are the same."""
    tensors = [t for t in c["tensors"] if not (t.dim() == 1 and t.numel() == 0)]
    dim = c["dim"] % c.outs[0].dim()
    rows = [c.dims(t) for t in tensors or c["tensors"]]
    out = list(rows[0])
    for row in rows[1:]:
        for d in range(len(out)):
            if d != dim:
                c.tie(out[d], row[d])
    out[dim] = total([row[dim] for row in rows])
    c.law = Moved(tuple(tensors))
    return out


@rule("stack")
def stack(c: Call) -> Dims:
    """out has a new dim of the number of parts; their dims are the same."""
    tensors = c["tensors"]
    dim = c["dim"] % c.outs[0].dim()
    rest = c.shape[:dim] + c.shape[dim + 1 :]
    dims = broadcast(c, [c.dims(t) for t in tensors], rest)
    c.law = Moved(tuple(tensors))
    return [*dims[:dim], c.fixed(len(tensors), "the number of stacked tensors"), *dims[dim:]]


@rule("broadcast_tensors")
def broadcast_tensors(c: Call) -> tuple[Dims, ...]:
    """Every output has all inputs' dims, broadcast."""
    dims = broadcast(c, [c.dims(t) for t in c.tensors], c.shape)
    c.law = Moved(tuple(c.tensors))
    return tuple(list(dims) for _ in c.outs)


@rule("meshgrid")
def meshgrid(c: Call) -> tuple[Dims, ...]:
    """Every output has one dim of each input (`ij`), the first two exchanged for `xy`."""
    dims = [c.dims(t)[0] if t.dim() else c.fixed(1, "a scalar") for t in c.tensors]
    if c.get("indexing") == "xy" and len(dims) > 1:
        dims[:2] = dims[1::-1]
    c.law = Moved(tuple(c.tensors))
    return tuple(list(dims) for _ in c.outs)
