"""Operators that take functions. Flex attention is attention whose scores a function of positions
changes; of any other nothing is known, and what it touches is frozen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from purethin.inference.nodes import constant, freeze
from purethin.inference.places import Because, place
from purethin.inference.trace import Trace
from purethin.tree import tensors_in


def attention(trace: Trace, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """As scaled dot product attention; heads are frozen where a function may ask for their number,
    and positions always.
    """
    names = ("query", "key", "value", "score_mod", "block_mask", "scale")
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    q, k, v = given["query"], given["key"], given["value"]
    at = place("flex_attention")
    asks = getattr(given["score_mod"], "__name__", "") != "_identity"
    blocks = [x for x in given["block_mask"] if isinstance(x, Tensor)]
    for t in (q, k, v):
        batch, heads, steps, _ = trace.dims_of(t)
        freeze(steps, Because("positions that a function reads", at))
        if asks or any(x.dim() > 1 and x.shape[1] > 1 for x in blocks):
            freeze(heads, Because("heads whose numbers a function reads", at))
            freeze(batch, Because("a batch whose numbers a function reads", at))
    out = torch.ops.aten.scaled_dot_product_attention.default(
        q, k, v, scale=given["scale"], enable_gqa=q.shape[1] != k.shape[1]
    )
    sums = out[..., 0].float()
    return out, sums, sums


def unknown(trace: Trace, op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What an operator of which nothing is known gives; all that it touches is frozen."""
    out = op(*args, **kwargs)
    what = f"the operator {op}, which takes functions and has no rule,"
    at = place(str(op))
    why = Because(what, at)
    trace.unknown.setdefault(what, at)
    for t in tensors_in((args, kwargs)):
        for d in trace.dims_of(t):
            freeze(d, why)
    for t in tensors_in(out):
        trace.of(t).dims = [constant(s, why) for s in t.shape]
    return out
