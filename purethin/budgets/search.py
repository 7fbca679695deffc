"""Which units go, so that the costs keep within their budgets and the scores that stay are large.

Units go by score lost per cost saved. What a unit saves depends on the widths around it, so costs
are counted anew as the widths fall; then the prices at the end rank all units once more, until no
better end is found. At last every unit that still fits is put back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from purethin.budgets.ladder import Ladder

Costs = Callable[[Tensor], Tensor]
"""From `LongTensor[candidates, axes + uneven takes]` to `DoubleTensor[candidates, budgets]`: what
each is above its budget, as a part of that: within the budgets where none is above 0.
"""
_PART = 0.15  # of what is too much goes before prices are counted anew,
_NEAR = 0.02  # and all of it where it is less than that
_GRID = 64  # candidates at once, where a place among the steps down is looked for
_SAMPLE = 64  # keys of each axis that say where the others are
_TRIES = 8


@dataclass(frozen=True, eq=False)
class Search:
    """A ladder and the costs of its rungs; `even`: each axis loses the same part of its units."""

    ladder: Ladder
    costs: Costs
    even: bool = False

    def of(self, rungs: Tensor) -> Tensor:
        """`DoubleTensor[candidates, budgets]` of `LongTensor[candidates, axes]`."""
        return self.costs(self.ladder.counts(rungs))

    def greedy(self) -> Tensor:
        """`LongTensor[axes]`: rungs within the budgets, which the lowest rungs must be."""
        if self.even:
            return self.filled(self.first_within(self._parts_gone))
        best = kept = self.filled(self._down())
        value = -torch.inf
        for _ in range(_TRIES):
            if (now := float(self.ladder.value(best[None])[0])) <= value:
                break
            kept, value = best, now
            best = self.filled(self.first_within(self._key(self._prices(kept))))
        return kept

    def filled(self, rungs: Tensor) -> Tensor:
        """These rungs, and what still fits put back: the largest score per cost first, or that of
        the axis which lost most where each loses the same part.
        """
        widths, widest = self.ladder.widths, self.ladder.widths.gather(1, self.ladder.top[:, None])
        while True:
            up = (rungs + 1).minimum(self.ladder.top)
            each = rungs.repeat(len(rungs), 1)
            each.fill_diagonal_(0)
            each += torch.diag(up)
            costs = self.of(each)
            gain = self.ladder.value(each) - self.ladder.value(rungs[None])
            fits = (costs <= 0).all(-1) & (up > rungs) & (gain >= 0)
            if not bool(fits.any()):
                return rungs
            price = (costs - self.of(rungs[None])).clamp(min=0).amax(-1)
            gone = 1 - (widths.gather(1, rungs[:, None]) / widest)[:, 0]
            worth = gone if self.even else gain / price.clamp(min=1e-300)
            rungs = each[int(torch.where(fits, worth, -torch.inf).argmax())]

    def _down(self) -> Tensor:
        """From the dense widths down into the budgets, prices counted anew on the way."""
        rungs, last = self.ladder.top, None
        while last is None or not torch.equal(rungs, last):
            over = float(self.of(rungs[None])[0].max())
            if over <= 0:
                break
            aim = over * (1 - _PART) if over > _NEAR else 0.0
            key = self._key(self._prices(rungs))
            last, rungs = rungs, self.first_within(key, rungs, aim)
        return rungs

    def _prices(self, rungs: Tensor) -> Tensor:
        """`DoubleTensor[axes]`: what a unit of each axis costs at these widths, in parts of the
        budgets, those that are the most exceeded first.
        """
        table, here = self.ladder.widths, rungs[None]
        other = torch.where(rungs > 0, rungs - 1, rungs + 1).minimum(self.ladder.top)
        each = rungs.repeat(len(rungs), 1)
        each.fill_diagonal_(0)
        each += torch.diag(other)
        now = self.of(here)[0]
        units = (self.ladder.at(table, here) - self.ladder.at(table, other[None]))[0]
        saved = (now - self.of(each)) / torch.where(units == 0, 1, units)[:, None]
        weight = ((now - now.max()) * 20).exp()
        return (saved * weight).sum(-1)

    def _key(self, prices: Tensor) -> Tensor:
        """`DoubleTensor[axes, steps]`: score lost per cost saved of each step down from the widest
        rung, ascending in each axis.
        """
        return torch.where(prices[:, None] > 0, self._densities / prices[:, None], torch.inf)

    @cached_property
    def _densities(self) -> Tensor:
        """Score lost per unit; that of a step before, where a later one loses less."""
        widths, values = self.ladder.widths, self.ladder.values
        real, before, after = self._steps
        units = widths.gather(1, before) - widths.gather(1, after)
        lost = values.gather(1, before) - values.gather(1, after)
        each = torch.where(real, lost / units.clamp(min=1), torch.inf)
        return each.cummax(1).values if each.numel() else each

    @property
    def _parts_gone(self) -> Tensor:
        """The part of the axis that is gone after each step."""
        widths, (real, _, after) = self.ladder.widths, self._steps
        gone = 1 - widths.gather(1, after) / widths.gather(1, self.ladder.top[:, None])
        return torch.where(real, gone, torch.inf)

    @cached_property
    def _steps(self) -> tuple[Tensor, Tensor, Tensor]:
        """Which steps down there are, and the rungs before and after each: `[axes, steps]`."""
        top = self.ladder.top[:, None]
        step = torch.arange(self.ladder.widths.shape[1] - 1, device="cpu")[None]
        before = (top - step).clamp(min=0)
        return step < top, before, (before - 1).clamp(min=0)

    def first_within(self, key: Tensor, since: Tensor | None = None, over: float = 0.0) -> Tensor:
        """The rungs after the fewest steps down, in ascending order of a key, after which no cost
        is above its budget by more than the part `over`; those down to `since` come first.
        """
        high = top = self.ladder.top
        low = torch.zeros_like(top) if since is None else top - since
        if bool((self.of((top - low)[None]) <= over).all()):
            return top - low
        while int((high - low).sum()) > 1:
            taken = _between(key, low, high)
            within = self.of(top - taken).amax(-1) <= over
            first = int(within.to(torch.int64).argmax()) if bool(within.any()) else len(taken)
            low = taken[first - 1] if first else low
            high = taken[first] if first < len(taken) else high
        return top - high


def _between(key: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """`LongTensor[candidates, axes]`: how many steps of each axis come before some keys between two
    places, in equal parts as far as a sample tells, the first key among them. Of equal keys alone,
    those of the first axes.
    """
    left = high - low
    at = low[:, None] + left[:, None] * torch.arange(_SAMPLE, device="cpu") // _SAMPLE
    sample, order = key.gather(1, at.clamp(max=key.shape[1] - 1)).flatten().sort()
    ahead = left.repeat_interleave(_SAMPLE)[order].cumsum(0)
    parts = torch.arange(_GRID, device="cpu")
    cuts = sample[torch.searchsorted(ahead, ahead[-1] * parts // _GRID, right=True)]
    cuts = cuts.unique_consecutive().expand(len(key), -1).contiguous()
    taken = torch.searchsorted(key, cuts, right=True).t().maximum(low).minimum(high)
    if torch.equal(taken[0], high):
        count = (parts * left.sum() // _GRID).unique_consecutive()[1:]
        taken = low + (count[:, None] - left.cumsum(0) + left).clamp(min=0).minimum(left)
    return taken
