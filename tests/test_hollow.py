"""On meta a trace runs few of torch's kernels: what it gives instead has the same shape, strides
and dtype, and what is in error raises torch's own error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from purethin.inference.modes import watching
from purethin.inference.trace import Trace


def on_meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


X, WIDE = on_meta(2, 6, 8, 10), on_meta(2, 6, 8, 10).to(memory_format=torch.channels_last)
ROW, TALL = on_meta(6, 1, 1), on_meta(2, 6, 10, 8).transpose(2, 3)
HALF, WHOLE = X.half(), on_meta(2, 6, 8, 10, dtype=torch.int64)
KERNEL, GROUPED, ONE = on_meta(4, 6, 3, 3), on_meta(4, 3, 3, 1), on_meta(1, 1, 7, 7)
HEADS = on_meta(2, 5, 3, 8).transpose(1, 2)

CALLS: dict[str, Callable[[], Any]] = {
    "a unary": lambda: F.gelu(X),
    "a unary of channels last": lambda: F.silu(WIDE),
    "a unary of a permuted one": lambda: torch.exp(TALL),
    "a unary of a strided one": lambda: torch.tanh(X[..., ::2]),
    "a unary of integers": lambda: torch.sqrt(WHOLE),
    "a comparison": lambda: X > 0.5,
    "two": lambda: X + X,
    "two, one of them permuted": lambda: X + TALL,
    "two, both permuted": lambda: TALL * TALL,
    "two, the first of them permuted": lambda: TALL - X,
    "a permuted one and a row": lambda: TALL * ROW,
    "a strided permuted one": lambda: -HEADS[..., 4:],
    "an expanded one": lambda: on_meta(2, 1, 3).expand(2, 4, 3).exp(),
    "an expanded one of one entry": lambda: on_meta(3, 1, 2).expand(3, 1, 2).exp(),
    "one that overlaps itself": lambda: on_meta(9).unfold(0, 3, 1).exp(),
    "a turned one with a dim of one": lambda: on_meta(4, 1, 5).permute(2, 1, 0) * on_meta(5, 1, 1),
    "a row": lambda: X * ROW,
    "a row of channels last": lambda: WIDE * ROW,
    "a number": lambda: 2 * X - 1,
    "a float and integers": lambda: WHOLE * 0.5,
    "an integer and integers": lambda: WHOLE * 2,
    "two dtypes": lambda: HALF + X,
    "no dims": lambda: HALF * torch.empty((), device="meta"),
    "a choice": lambda: torch.where(X > 0, X, ROW),
    "a fill": lambda: X.masked_fill(X > 0, -1e9),
    "one that hands itself back": lambda: torch.resolve_conj(X),
    "shapes that do not fit": lambda: X + on_meta(6, 8),
    "a dtype that does not fit": lambda: X & X,
    "conv": lambda: F.conv2d(X, KERNEL, on_meta(4), 2, 1, 1),
    "conv in groups": lambda: F.conv2d(X, GROUPED, None, (1, 2), (0, 1), (2, 1), 2),
    "conv of channels last": lambda: F.conv2d(WIDE, KERNEL),
    "conv of one channel": lambda: F.conv2d(ONE, on_meta(4, 1, 3, 3)),
    "conv of one place": lambda: F.conv2d(on_meta(1, 6, 1, 1), on_meta(4, 6, 1, 1)),
    "conv that pads by a word": lambda: F.conv2d(X, KERNEL, padding="same"),
    "conv without batch": lambda: F.conv2d(X[0], KERNEL),
    "conv1d": lambda: F.conv1d(on_meta(2, 6, 9), on_meta(4, 6, 3), stride=2),
    "conv3d": lambda: F.conv3d(on_meta(1, 2, 5, 5, 5), on_meta(4, 2, 3, 3, 3), padding=1),
    "conv of other channels": lambda: F.conv2d(X, GROUPED),
    "conv with a bias that does not fit": lambda: F.conv2d(X, KERNEL, on_meta(3)),
    "conv with a kernel that is too large": lambda: F.conv2d(ONE, on_meta(1, 1, 9, 9)),
    "cat": lambda: torch.cat([X, on_meta(2, 3, 8, 10)], 1),
    "cat, counted from the back": lambda: torch.cat([X, on_meta(2, 6, 8, 3)], -1),
    "cat of channels last": lambda: torch.cat([WIDE, WIDE], 1),
    "cat of permuted ones": lambda: torch.cat([HEADS[..., 4:], HEADS[..., :4]], -1),
    "cat of turned ones": lambda: torch.cat([WIDE[..., 1:], WIDE[..., :1]], -1),
    "cat of two dtypes": lambda: torch.cat([X, HALF]),
    "cat with nothing": lambda: torch.cat([on_meta(0), X]),
    "cat with nothing of another dtype": lambda: torch.cat([on_meta(0).double(), X]),
    "cat of a strided vector": lambda: torch.cat([on_meta(8)[::2], on_meta(3)]),
    "cat of shapes that do not fit": lambda: torch.cat([X, on_meta(2, 3, 8, 9)], 1),
    "cat of ranks that do not fit": lambda: torch.cat([X, on_meta(2, 3, 8)], 1),
    "cat along no dim": lambda: torch.cat([X, X], 4),
    "mean": lambda: X.mean((-1, 1)),
    "mean, dims kept": lambda: X.mean(-1, keepdim=True),
    "mean of all": lambda: X.mean(),
    "mean of integers": lambda: WHOLE.mean(1),
    "mean of channels last": lambda: WIDE.mean((2, 3), keepdim=True),
    "mean over no dim": lambda: X.mean(7),
    "mean over one dim twice": lambda: X.mean((1, -3)),
    "pooled": lambda: F.adaptive_avg_pool2d(X, (1, 1)),
    "pooled to a part": lambda: F.adaptive_avg_pool2d(X, (3, None)),
    "pooled, channels last": lambda: F.adaptive_avg_pool2d(WIDE, 1),
    "pooled without batch": lambda: F.adaptive_avg_pool2d(X[0], 2),
    "pooled in one dim": lambda: F.adaptive_avg_pool1d(on_meta(2, 6, 9), 2),
    "matmul": lambda: X @ TALL.transpose(2, 3),
    "matmul by a matrix": lambda: TALL @ on_meta(10, 3),
    "matmul of a matrix": lambda: on_meta(3, 8) @ X,
    "matmul, broadcast": lambda: X @ on_meta(6, 10, 3),
    "matmul of vectors": lambda: on_meta(3) @ on_meta(3),
    "matmul that does not fit": lambda: X @ X,
    "matmul of two dtypes": lambda: X @ on_meta(10, 3).half(),
    "attention": lambda: F.scaled_dot_product_attention(HEADS, HEADS, on_meta(2, 3, 5, 4)),
    "attention with a mask": lambda: F.scaled_dot_product_attention(
        HEADS, HEADS, HEADS, attn_mask=on_meta(5, 5)
    ),
    "attention of groups": lambda: F.scaled_dot_product_attention(
        HEADS, HEADS[:, :1], HEADS[:, :1], enable_gqa=True
    ),
    "attention with two masks": lambda: F.scaled_dot_product_attention(
        HEADS, HEADS, HEADS, attn_mask=on_meta(5, 5), is_causal=True
    ),
    "attention with a mask that does not fit": lambda: F.scaled_dot_product_attention(
        HEADS, HEADS, HEADS, attn_mask=on_meta(5, 4)
    ),
    "causal attention": lambda: F.scaled_dot_product_attention(HEADS, HEADS, HEADS, is_causal=True),
    "attention of groups, not asked for": lambda: F.scaled_dot_product_attention(
        HEADS, HEADS[:, :2], HEADS[:, :2]
    ),
    "attention that does not fit": lambda: F.scaled_dot_product_attention(
        HEADS, HEADS, on_meta(2, 3, 4, 8)
    ),
    "linear": lambda: F.linear(TALL, on_meta(3, 10), on_meta(3)),
    "linear that does not fit": lambda: F.linear(X, on_meta(3, 8)),
    "batch norm": lambda: F.batch_norm(X, on_meta(6), on_meta(6)),
    "batch norm of channels last": lambda: F.batch_norm(WIDE, on_meta(6), on_meta(6)),
    "batch norm that does not fit": lambda: F.batch_norm(X, on_meta(5), on_meta(5)),
    "layer norm": lambda: F.layer_norm(TALL, (10,), on_meta(10)),
    "roll": lambda: X.roll((1, 2), (2, 3)),
}


def said(call: Callable[[], Any]) -> Any:
    """What a call gives: shape, strides of all dims that are not 1, and dtype; or its error."""
    try:
        out = call()
    except Exception as error:
        return type(error), str(error)
    strides = [s for s, n in zip(out.stride(), out.shape, strict=True) if n > 1]
    return tuple(out.shape), strides, out.dtype, out.is_meta


@pytest.mark.parametrize("name", CALLS)
def test_a_trace_gives_what_torch_gives_on_meta(name: str) -> None:
    with torch.inference_mode():
        wanted = said(CALLS[name])
    with watching(Trace(meta=True)):
        found = said(CALLS[name])
    assert found == wanted
