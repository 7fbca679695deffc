"""Reductions: the reduced dims go, or become 1. A sum passes over silent units; a mean, a maximum,
a softmax does not.
"""

from __future__ import annotations

import torch

from purethin.inference.nodes import constant, find
from purethin.inference.rules.call import Call, Dims, broadcast, dim_list, rule
from purethin.inference.rules.laws import Law, Mixed, Pointwise, Summed, moved, unstated

SUMS = ("sum", "nansum", "norm", "linalg_vector_norm", "frobenius_norm", "count_nonzero")
MIXES = """
mean nanmean max min amax amin aminmax prod argmax argmin all any var std var_mean std_mean
logsumexp median nanmedian mode linalg_norm
"""


def _is_pair(c: Call) -> bool:
    """Whether it is the larger or smaller of two tensors, entry by entry."""
    return len(c.tensors) > 1 and c.name in ("max", "min")


def reduced(c: Call) -> Law:
    """A sum or a positive norm passes over silent units; all else mixes them."""
    if _is_pair(c):
        return Pointwise()
    over = tuple(dim_list(c.get("dim"), c.tensors[0].dim()))
    own = "norm" if c.name == "linalg_vector_norm" else c.name
    what = f"{'an' if own[0] in 'aeiou' else 'a'} {own}"
    p = c.get("p", c.get("ord"))
    if c.name in SUMS and not (isinstance(p, int | float) and p <= 0):
        return Summed(over, what=what)
    return Mixed(over, what, keeps_zero=c.name not in ("all", "logsumexp"))


@rule(
    "segment_reduce",
    law=lambda c: moved(c) if c["reduce"] == "sum" else unstated("segment_reduce"),
)
def segments(c: Call) -> Dims:
    """out = segments, in place of the dim that they cut; the other dims stay."""
    dims, at = c.dims(), c["axis"]
    c.freeze("segments along it", dims[at])
    dims[at] = c.fixed(c.shape[at], "segments")
    return dims


@rule(*SUMS, MIXES, law=reduced)
def reduce(c: Call) -> Dims | tuple[Dims, ...]:
    """out = x's dims without the reduced ones."""
    if _is_pair(c):
        return broadcast(c, [c.dims(t) for t in c.tensors], c.shape)
    x, dims = c.tensors[0], c.dims()
    over = dim_list(c.get("dim"), len(dims))
    outs = [o for o in c.outs if o is not None]
    for o in outs if x.is_floating_point() and c.name != "count_nonzero" else ():
        if not (o.is_floating_point() or o.dtype == torch.bool):
            c.gives_positions(o, [dims[d] for d in over])
    keep = outs[0].dim() == len(dims)
    out = [constant(1) if d in over else n for d, n in enumerate(dims) if keep or d not in over]
    return tuple(list(out) for _ in outs) if c.several else out


def mixed(c: Call) -> Mixed:
    """Every entry along the dim depends on all of them."""
    return Mixed(tuple(dim_list(c["dim"], c["self"].dim())), f"a {c.name.strip('_')}")


@rule(
    "softmax _softmax log_softmax _log_softmax special_softmax",
    "cumprod cummax cummin logcumsumexp",
    law=mixed,
)
def mixes(c: Call) -> Dims | tuple[Dims, ...]:
    """out = x's dims."""
    for o in c.outs[1:]:
        c.gives_positions(o, [c.dims()[c["dim"]]])
    return tuple(c.dims() for _ in c.outs) if c.several else c.dims()


def running(c: Call) -> Summed:
    """A sum that keeps its dim."""
    over = tuple(dim_list(c["dim"], c["self"].dim()))
    return Summed(over, running=True, what="a running sum")


@rule("cumsum", law=running)
def cumsum(c: Call) -> Dims:
    """out = x's dims."""
    return c.dims()


def _ordered(c: Call) -> int:
    """The dim that is put in order."""
    dim = 0 if c.name == "msort" else c.get("dim")
    return (-1 if dim is None else dim) % max(c["self"].dim(), 1)


@rule("sort argsort topk kthvalue msort", law=lambda c: Mixed((_ordered(c),), f"a {c.name}"))
def order(c: Call) -> Dims | tuple[Dims, ...]:
    """The ordered dim is of positions, not of units: x's stays prunable (inexact); the output's is
    of a constant size.
    """
    dims, over = c.dims(), _ordered(c)
    if find(dims[over]).kind != "constant":
        if c.name in ("topk", "kthvalue"):
            c.compares(dims[over], ">=", constant(int(c["k"])))
        else:
            c.freeze("an order of its units", dims[over])
    for o in c.outs if c.name == "argsort" else c.outs[1:]:
        c.gives_positions(o, dims[over : over + 1])
    if c.name == "kthvalue" and c.outs[0].dim() < len(dims):
        out = dims[:over] + dims[over + 1 :]
    else:
        out = list(dims)
        out[over] = c.fixed(c.shape[over], "an order")
    return tuple(list(out) for _ in c.outs) if c.several else out
