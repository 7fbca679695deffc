"""Which units go, so that the costs keep within their budgets and the scores that stay are large.

Units go by score lost per cost saved. What a unit saves depends on the widths around it, so costs
are counted anew as the widths fall; then the prices at the end rank all units once more, until no
better end is found. At last every unit that still fits is put back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from purethin.budgets.ladder import Ladder

Costs = Callable[[Tensor], Tensor]
"""From `LongTensor[candidates, axes + uneven takes]` to `DoubleTensor[candidates, budgets]`, as
parts of the budgets: within them where no part is above 1.
"""
_PART = 0.15  # of what is too much goes before prices are counted anew,
_NEAR = 0.02  # and all of it where it is less than that
_GRID = 64  # candidates at once, where a place along a path is looked for
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
            path = self._evenly()
            return self.filled(path(self._first_within(path)))
        best = kept = self.filled(self._down())
        value = -torch.inf
        for _ in range(_TRIES):
            if (now := float(self.ladder.value(best[None])[0])) <= value:
                break
            kept, value = best, now
            path = self._path(self._prices(kept), None)
            best = self.filled(path(self._first_within(path)))
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
            fits = (costs <= 1).all(-1) & (up > rungs) & (gain >= 0)
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
            over = float((self.of(rungs[None])[0] - 1).max())
            if over <= 0:
                break
            path = self._path(self._prices(rungs), rungs)
            aim = over * (1 - _PART) if over > _NEAR else 0.0
            last, rungs = rungs, path(self._first_within(path, aim))
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

    def _path(self, prices: Tensor, since: Tensor | None) -> Callable[[Tensor], Tensor]:
        """All steps down in the order of score lost per cost saved, as a function from how many are
        taken to rungs; those down to `since` come first.
        """
        top, widths, values = self.ladder.top, self.ladder.widths, self.ladder.values
        step, before, after = self._steps()
        units = widths.gather(1, before) - widths.gather(1, after)
        lost = values.gather(1, before) - values.gather(1, after)
        real = step < top[:, None]
        density = torch.where(real, lost / units.clamp(min=1), torch.inf).cummax(1).values
        key = torch.where(prices[:, None] > 0, density / prices[:, None], torch.inf)
        if since is not None:
            key = torch.where(step < (top - since)[:, None], -torch.inf, key)
        return self._along(key)

    def _evenly(self) -> Callable[[Tensor], Tensor]:
        """All steps down in the order of the part of the axis that is gone after each."""
        widths, top = self.ladder.widths, self.ladder.top[:, None]
        return self._along(1 - widths.gather(1, self._steps()[2]) / widths.gather(1, top))

    def _steps(self) -> tuple[Tensor, Tensor, Tensor]:
        """`LongTensor[1, steps]`, and the rungs `LongTensor[axes, steps]` before and after each."""
        step = torch.arange(self.ladder.widths.shape[1] - 1, device="cpu")[None]
        before = (self.ladder.top[:, None] - step).clamp(min=0)
        return step, before, (before - 1).clamp(min=0)

    def _along(self, key: Tensor) -> Callable[[Tensor], Tensor]:
        """All steps down in ascending order of a key `[axes, steps]`, which ascends in each axis,
        as a function from how many are taken to rungs.
        """
        top = self.ladder.top
        real = self._steps()[0] < top[:, None]
        order = torch.where(real, key, torch.inf).flatten().argsort(stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device="cpu")
        rank = torch.where(real, rank.view_as(key), torch.iinfo(rank.dtype).max)

        def rungs(taken: Tensor) -> Tensor:
            """`LongTensor[…, axes]` of `LongTensor[…]`."""
            ahead = taken.reshape(1, -1).expand(len(top), -1).contiguous()
            gone = torch.searchsorted(rank, ahead)
            return (top[:, None] - gone).t().reshape(*taken.shape, len(top))

        return rungs

    def _first_within(self, path: Callable[[Tensor], Tensor], over: float = 0.0) -> Tensor:
        """The fewest steps along a path after which no part is above 1 + `over`."""
        low, high = -1, self.ladder.widths.numel()
        while high - low > 1:
            count = min(_GRID, high - low + 1)
            grid = torch.linspace(low, high, count, dtype=torch.float64, device="cpu").long()
            grid = grid.unique()[1:]
            within = (self.of(path(grid)) - 1).amax(-1) <= over
            first = int(within.to(torch.int64).argmax()) if bool(within.any()) else len(grid) - 1
            low, high = int(grid[first - 1]) if first else low, int(grid[first])
        return torch.tensor(high, device="cpu")
