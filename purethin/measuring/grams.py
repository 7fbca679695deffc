"""Second moments of what a call reads, as the rows of its weight meet it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from purethin.measuring.stats import Gram
from purethin.measuring.sums import widened
from purethin.records import Site


class GramSums:
    """What has been summed at a site so far."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._matrix: Tensor | None = None
        self._total: Tensor | None = None
        self._weight = 0.0

    def add(self, x: Tensor, call: Any, weights: Tensor | None = None) -> None:
        """Add what one call reads, each position with its weight `Tensor[positions]`."""
        rows = read_rows(widened(x), self.site, call)
        scaled = rows if weights is None else rows * weights.to(rows.dtype)[:, None]
        matrix, total = scaled.mT @ rows, scaled.sum(1)
        self._matrix = matrix if self._matrix is None else self._matrix + matrix
        self._total = total if self._total is None else self._total + total
        self._weight += rows.shape[1] if weights is None else float(weights.sum())

    def gram(self) -> Gram | None:
        """The sums as they stand."""
        if self._matrix is None or self._total is None:
            return None
        return Gram(self._matrix, self._total, self._weight)


def read_rows(x: Tensor, site: Site, call: Any) -> Tensor:
    """`Tensor[groups, positions, features]`: what each row of the call's weight is multiplied
    with; of a transposed convolution its channels alone.
    """
    given, kind = _given(call)
    if kind != "convolution":
        return x.movedim(site.at, -1).reshape(1, -1, x.shape[site.at])
    return _patches(x, given)


def placed_rows(x: Tensor, site: Site, call: Any) -> Tensor:
    """The same, but of a transposed convolution what each position of its output is made of:
    `(channels of the group) × kernel`, the kernel's places backwards.
    """
    given, kind = _given(call)
    return _spread(x, given) if kind == "transposed" else read_rows(x, site, call)


def _given(call: Any) -> tuple[dict[str, Any], str]:
    """A call's arguments by name, and what kind of call it is."""
    op, args, kwargs = call
    given = {a.name: args[i] for i, a in enumerate(op._schema.arguments) if i < len(args)} | kwargs
    name = op._schema.name.split("::")[1]
    if not name.startswith("conv"):
        return given, "other"
    turned = "transpose" in name or given.get("transposed")
    return given, "transposed" if turned else "convolution"


def _patches(x: Tensor, given: dict[str, Any]) -> Tensor:
    """A convolution's patches, over as many dims as its kernel has."""
    weight = given["weight"]
    rank, kernel = weight.dim() - 2, [*weight.shape[2:]]
    x = x if x.dim() == weight.dim() else x[None]
    stride, dilation = (_each(given.get(k, 1), rank) for k in ("stride", "dilation"))
    x = F.pad(x, _padding(given.get("padding", 0), kernel, dilation))
    return _windows(x, given.get("groups", 1), kernel, stride, dilation)


def _spread(x: Tensor, given: dict[str, Any]) -> Tensor:
    """A transposed convolution's patches: those of a plain one over its data, zeros between them.

    Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning, arXiv
    1603.07285, sec. 4.
    """
    weight = given["weight"]
    rank, kernel = weight.dim() - 2, [*weight.shape[2:]]
    x = x if x.dim() == weight.dim() else x[None]
    stride, dilation = (_each(given.get(k, 1), rank) for k in ("stride", "dilation"))
    padding, more = (_each(given.get(k, 0), rank) for k in ("padding", "output_padding"))
    between = x.new_zeros(
        *x.shape[:2], *((n - 1) * s + 1 for n, s in zip(x.shape[2:], stride, strict=True))
    )
    between[(..., *(slice(None, None, s) for s in stride))] = x
    edges = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)]
    pairs = [(e, e + m) for e, m in zip(edges, more, strict=True)]
    x = F.pad(between, [p for pair in reversed(pairs) for p in pair])
    return _windows(x, given.get("groups", 1), kernel, [1] * rank, dilation)


def _windows(
    x: Tensor, groups: int, kernel: list[int], stride: list[int], dilation: list[int]
) -> Tensor:
    """`Tensor[groups, positions, (channels of the group, window)]` of padded data."""
    rank, features = len(kernel), x.shape[1] // groups * prod(kernel)
    for d in range(rank):
        x = x.unfold(2 + d, dilation[d] * (kernel[d] - 1) + 1, stride[d])
        x = x[..., :: dilation[d]]
    space = range(2, 2 + rank)
    # batch, channels, places, window -> groups, (batch places), (channels of the group, window)
    x = x.unflatten(1, (groups, -1)).movedim(1, 0)
    x = x.permute(0, 1, *(d + 1 for d in space), 2, *(d + 1 + rank for d in space))
    return x.reshape(groups, -1, features)


def _each(value: Any, rank: int) -> list[int]:
    """One number a dim."""
    listed = list(value) if isinstance(value, Sequence) else [value]
    return listed * rank if len(listed) == 1 else listed


def _padding(given: Any, kernel: list[int], dilation: list[int]) -> list[int]:
    """What `F.pad` takes, the last dim first."""
    if given == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        pairs = [(t // 2, t - t // 2) for t in totals]
    else:
        pairs = [(p, p) for p in _each(0 if given == "valid" else given, len(kernel))]
    return [p for pair in reversed(pairs) for p in pair]
