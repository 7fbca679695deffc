"""The sums at one site, feature by feature."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.measuring.stats import Features, Gram
from purethin.records import Site
from purethin.spec import Spec


def double(x: Tensor) -> Tensor:
    """Sums in float64, where the device has it."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64)


def widened(x: Tensor) -> Tensor:
    """Half types in float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class Scratch:
    """Memory that is used again: fresh pages cost more than the sums that they hold."""

    def __init__(self) -> None:
        self._held: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def __call__(self, like: Tensor) -> Tensor:
        """A tensor of this shape, whose values are anything."""
        kind = like.dtype, like.device
        if kind not in self._held or self._held[kind].numel() < like.numel():
            self._held[kind] = torch.empty(like.numel(), dtype=like.dtype, device=like.device)
        return self._held[kind][: like.numel()].view(like.shape)


def _summed(x: Tensor, dims: list[int]) -> Tensor:
    return x.sum(dims) if dims else x.clone()


class Sums:
    """What has been summed at a site so far."""

    def __init__(self, site: Site, spec: Spec) -> None:
        self.site = site
        self.size = ax.size(site.channels, spec.sizes)
        self.positions = self.examples = 0
        self._sums: dict[str, Tensor] = {}
        self._peak: Tensor | None = None
        self._units: dict[str, tuple[Tensor, int]] = {}
        for name in site.axes if site.role != "scales" else ():
            unit = ax.units(site.channels, name, spec.sizes)
            self._units[name] = unit, spec.axes[name].size

    def add(self, x: Tensor, scratch: Scratch) -> bool:
        """Add one tensor; False where it is not shaped as the trace's was."""
        if x.dim() < -self.site.at or x.shape[self.site.at] != self.size or not x.numel():
            return False
        x, channel = widened(x), self.site.at % x.dim()
        x = x.abs() if x.is_complex() else x
        rest = [d for d in range(x.dim()) if d != channel]
        first = rest[:1] == [0]
        within, count = rest[1:] if first else rest, x.numel() // self.size
        self._more("total", _summed(x, rest))
        some = torch.abs(x, out=scratch(x))
        each = _summed(some, within) if first else _summed(some, rest)[None]
        self._more("absolute", each.sum(0))
        peak = some.amax(rest) if rest else some.clone()
        self._peak = peak if self._peak is None else torch.maximum(self._peak, peak)
        self._more("nonzero", _summed(some.sign_(), rest))
        if first and channel != x.dim() - 1:  # the norm of a run of memory is fast, others are not
            squares = torch.linalg.vector_norm(x, 2, within).square() if within else x.square()
            self._more("square", squares.sum(0))
        else:
            self._more("square", _summed(torch.mul(x, x, out=some), rest))
        for name in self._units:
            self._more(f"pooled {name}", self._pooled(x, each / (count // len(each)), name))
        self.positions += count
        self.examples += len(each)
        return True

    def features(
        self, gram: Gram | None, weighted: Gram | None, computed: Mapping[str, Tensor]
    ) -> Features:
        """The sums as they stand."""
        assert self._peak is not None
        sums = {name: s for name, s in self._sums.items() if " " not in name}
        pooled = {name: self._sums[f"pooled {name}"] for name in self._units}
        return Features(
            self.site,
            self.positions,
            self.examples,
            **sums,
            peak=double(self._peak),
            pooled=pooled,
            gram=gram,
            weighted=weighted,
            computed=computed,
        )

    def _more(self, what: str, x: Tensor) -> None:
        x = double(x)
        self._sums[what] = x if what not in self._sums else self._sums[what] + x

    def _pooled(self, x: Tensor, means: Tensor, name: str) -> Tensor:
        """`Tensor[size]`: Σ over examples of (the mean over positions of a unit's norm)²."""
        unit, size = self._units[name]
        if self.site.channels == ax.Name(name):
            return double(means).square().sum(0)
        carrying = (unit >= 0).nonzero()[:, 0]
        entries = unit[carrying].to(x.device)
        if int(entries.bincount(minlength=size).max()) > 1:
            x = x.movedim(self.site.at, 0)[carrying.to(x.device)].square()
            norms = x.new_zeros(size, *x.shape[1:]).index_add_(0, entries, x).sqrt()
            means = norms.reshape(size, len(means), -1).mean(2).T
        else:
            means = means.new_zeros(len(means), size).index_add_(
                1, entries, means[:, carrying.to(x.device)]
            )
        return double(means).square().sum(0)
