"""Reductions: the reduced dims go, or become 1. A sum passes over silent units; a mean, a maximum,
a softmax does not.
"""

from __future__ import annotations

import torch

from purethin.inference.rules.call import Call, Dims, broadcast, dim_list, rule
from purethin.inference.rules.laws import Mixed, Pointwise, Summed
from purethin.inference.solver import constant, find

SUMS = ("sum", "nansum", "norm", "linalg_vector_norm", "frobenius_norm", "count_nonzero")
MIXES = (
    "mean",
    "nanmean",
    "max",
    "min",
    "amax",
    "amin",
    "aminmax",
    "prod",
    "argmax",
    "argmin",
    "all",
    "any",
    "var",
    "std",
    "var_mean",
    "std_mean",
    "logsumexp",
    "median",
    "nanmedian",
    "mode",
    "linalg_norm",
)


@rule(*SUMS, *MIXES)
def reduce(c: Call) -> Dims | tuple[Dims, ...]:
    """out = x's dims without the reduced ones."""
    x = c.tensors[0]
    if len(c.tensors) > 1 and c.name in ("max", "min"):
        c.law = Pointwise()
        return broadcast(c, [c.dims(t) for t in c.tensors], c.shape)
    dims = c.dims(x)
    over = dim_list(c.get("dim"), len(dims))
    outs = [o for o in c.outs if o is not None]
    keep = outs[0].dim() == len(dims)
    what = {"norm": "a norm", "linalg_vector_norm": "a norm"}.get(
        c.name, f"{'an' if c.name[0] in 'aeiou' else 'a'} {c.name}"
    )
    p = c.get("p", c.get("ord"))
    summed = c.name in SUMS and not (isinstance(p, int | float) and p <= 0)
    c.law = (
        Summed(tuple(over), what=what)
        if summed
        else Mixed(tuple(over), what, keeps_zero=c.name not in ("all", "logsumexp"))
    )
    for o in outs:
        if (
            not (o.is_floating_point() or o.dtype == torch.bool)
            and x.is_floating_point()
            and c.name != "count_nonzero"
        ):
            c.gives_positions(o, [dims[d] for d in over])
    out = [
        constant(1) if d in over else node for d, node in enumerate(dims) if keep or d not in over
    ]
    return tuple(list(out) for _ in outs) if isinstance(c.out, tuple | list) else out


@rule(
    "softmax",
    "_softmax",
    "log_softmax",
    "_log_softmax",
    "cumprod",
    "cummax",
    "cummin",
    "logcumsumexp",
    "special_softmax",
)
def mixes(c: Call) -> Dims | tuple[Dims, ...]:
    """out = x's dims; every entry along the dim depends on all of them."""
    x = c["self"]
    c.law = Mixed(tuple(dim_list(c["dim"], x.dim())), f"a {c.name.strip('_')}")
    for o in c.outs[1:]:
        c.gives_positions(o, [c.dims(x)[c["dim"]]])
    return tuple(c.dims(x) for _ in c.outs) if isinstance(c.out, tuple) else c.dims(x)


@rule("cumsum")
def cumsum(c: Call) -> Dims:
    """out = x's dims; a running sum."""
    c.law = Summed(tuple(dim_list(c["dim"], c["self"].dim())), running=True, what="a running sum")
    return c.dims(c["self"])


@rule("sort", "argsort", "topk", "kthvalue", "msort")
def order(c: Call) -> Dims | tuple[Dims, ...]:
    """The ordered dim is of positions, not of units: x's stays prunable (inexact); the output's is
    of a constant size.
    """
    x = c["self"]
    rank = x.dim()
    over = (
        0
        if c.name == "msort"
        else (c.get("dim", -1) if c.get("dim") is not None else -1) % max(rank, 1)
    )
    dims = c.dims(x)
    if find(dims[over]).kind != "constant":
        if c.name in ("topk", "kthvalue"):
            c.compares(dims[over], ">=", constant(int(c["k"])))
        else:
            c.freeze(dims[over], "an order of its units")
    for o in c.outs if c.name == "argsort" else c.outs[1:]:
        c.gives_positions(o, dims[over : over + 1])
    c.law = Mixed((over,), f"a {c.name}")
    out = [
        c.fixed(s, "an order") if d == over else n
        for d, (n, s) in enumerate(zip(dims, c.shape, strict=False))
    ]
    if c.name == "kthvalue" and c.outs[0].dim() < rank:
        out = dims[:over] + dims[over + 1 :]
    return tuple(list(out) for _ in c.outs) if isinstance(c.out, tuple | list) else out
