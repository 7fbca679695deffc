"""The best widths of all, where the cost adds up over small groups of axes.

Axes that no term multiplies with each other cost what they cost alone, as the inner widths of
blocks between fixed outer ones do. All widths of a group are tried; the groups are then joined one
by one, and a beginning is dropped when another is as good and as cheap, or when the Lagrangian of
what follows shows that it cannot beat what is known (the multiple-choice knapsack; Kellerer,
Pferschy & Pisinger, Knapsack Problems, 2004, chapter 11; its use in pruning: SPDY, Frantar &
Alistarh, arXiv 2201.13096).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod

import torch
from torch import Tensor

from purethin.budgets.ladder import Ladder

_TABLE = 60_000  # widths of one group, at most
_STATES = 100_000  # beginnings that are kept, at most


@dataclass(frozen=True, eq=False)
class _Group:
    """Some axes, the rungs of them that no other are better and cheaper than, by cost."""

    axes: list[int]
    rungs: Tensor
    costs: Tensor
    values: Tensor


def best_rungs(
    ladder: Ladder, costs: Callable[[Tensor], Tensor], limit: float, known: Tensor
) -> Tensor | None:
    """The rungs of largest value within a budget; None where the groups are too large to be tried.

    Args:
        ladder: the widths and values.
        costs: from `Tensor[candidates, axes + uneven takes]` to `DoubleTensor[candidates]`: whole
            numbers of int64; differentiable in floats.
        limit: the budget.
        known: rungs within it, to beat.
    """
    if (groups := _groups(ladder, costs)) is None:
        return None
    top = ladder.top
    base = float(costs(ladder.counts(top[None]))[0])
    rest = limit - base
    value = float(ladder.value(known[None])[0]) - float(ladder.value(top[None])[0])
    multiplier = _multiplier(groups, rest)
    groups = [_worth_trying(g, multiplier, rest, value, groups) for g in groups]
    ahead = [float((g.values - multiplier * g.costs).max()) for g in groups]
    after = [*accumulate(reversed(ahead), initial=0.0)][::-1][1:]
    cost = gained = torch.zeros(1, dtype=torch.float64, device="cpu")
    chosen = torch.zeros(1, 0, dtype=torch.int64, device="cpu")
    cheapest = [*accumulate((float(g.costs[0]) for g in reversed(groups)), initial=0.0)][::-1][1:]
    for group, coming, least in zip(groups, after, cheapest, strict=True):
        if len(cost) * len(group.costs) > 100 * _STATES:
            return None
        total = (cost[:, None] + group.costs).flatten()
        worth = (gained[:, None] + group.values).flatten()
        reach = worth + coming + multiplier * (rest - total)
        alive = ((total + least <= rest) & (reach >= value - 1e-12)).nonzero()[:, 0]
        alive = alive[_undominated(total[alive], worth[alive])]
        if len(alive) > _STATES:
            return None
        if not len(alive):
            return known
        cost, gained = total[alive], worth[alive]
        last = (alive % len(group.costs))[:, None]
        chosen = torch.cat([chosen[alive // len(group.costs)], last], 1)
    pick = chosen[int(gained.argmax())]
    out = top.clone()
    for group, i in zip(groups, pick.tolist(), strict=True):
        out[group.axes] = group.rungs[i]
    return out if float(gained.max()) > value else known


def _groups(ladder: Ladder, costs: Callable[[Tensor], Tensor]) -> list[_Group] | None:
    """The axes by what multiplies them with each other; None where a group is too large."""
    found, coupled = [], _coupled(ladder, costs)
    shapes = [[int(ladder.top[i]) + 1 for i in axes] for axes in coupled]
    if max(map(prod, shapes), default=0) > _TABLE or sum(map(prod, shapes)) > 12 * _TABLE:
        return None
    for axes, sizes in zip(coupled, shapes, strict=True):
        grid = torch.cartesian_prod(*(torch.arange(n, device="cpu") for n in sizes)).view(
            -1, len(axes)
        )
        counts = ladder.dense.repeat(len(grid), 1)
        value = torch.zeros(len(grid), dtype=torch.float64, device="cpu")
        for i, rung in zip(axes, grid.unbind(1), strict=True):
            counts[:, ladder.columns[i]] = ladder.widths[i][rung]
            value += ladder.values[i][rung] - ladder.values[i][ladder.top[i]]
            for column, _, kept in (t for t in ladder.takes if t[1] == i):
                counts[:, column] += kept[rung] - kept[ladder.top[i]]
        cost = costs(counts) - costs(ladder.dense[None])
        keep = _undominated(cost, value)
        found.append(_Group(axes, grid[keep], cost[keep], value[keep]))
    return found


def _worth_trying(
    group: _Group, multiplier: float, rest: float, value: float, groups: Sequence[_Group]
) -> _Group:
    """Without the rungs with which even the Lagrangian's best elsewhere stays below what is
    known.
    """
    bound = multiplier * rest + sum(float((g.values - multiplier * g.costs).max()) for g in groups)
    own = group.values - multiplier * group.costs
    keep = bound - own.max() + own >= value - 1e-12
    keep[own.argmax()] = True
    return _Group(group.axes, group.rungs[keep], group.costs[keep], group.values[keep])


def _coupled(ladder: Ladder, costs: Callable[[Tensor], Tensor]) -> list[list[int]]:
    """The groups of axes that stand in one term of the cost: its second derivatives say so."""
    at = ladder.dense.double()
    slope = torch.func.grad(lambda n: costs(n[None])[0])
    both = torch.func.jacrev(slope)(at)[ladder.columns][:, ladder.columns] != 0
    groups: list[list[int]] = []
    left = [*range(len(ladder.axes))]
    while left:
        group = [left.pop(0)]
        for i in group:
            joined = [j for j in left if bool(both[i, j])]
            group += joined
            left = [j for j in left if j not in joined]
        groups.append(group)
    return groups


def _undominated(costs: Tensor, values: Tensor) -> Tensor:
    """The positions of those than which none is as cheap and as good, by ascending cost."""
    order = costs.argsort(stable=True)
    best = values[order].cummax(0).values
    before = torch.cat([best.new_full((1,), -torch.inf), best[:-1]])
    order = order[values[order] > before]
    cost = costs[order]
    last = torch.cat([cost[1:] != cost[:-1], torch.ones(1, dtype=torch.bool, device="cpu")])
    return order[last] if len(order) else order


def _multiplier(groups: Sequence[_Group], rest: float) -> float:
    """What minimises the Lagrangian bound."""

    def dual(multiplier: float) -> float:
        best = sum(float((g.values - multiplier * g.costs).max()) for g in groups)
        return best + multiplier * rest

    high = 1e-12
    while high < 1e12 and dual(2 * high) < dual(high):
        high *= 2
    low, high = 0.0, 2 * high
    for _ in range(80):
        third = (high - low) / 3
        if dual(low + third) <= dual(high - third):
            high -= third
        else:
            low += third
    return (low + high) / 2
