"""The widths that each axis may have, and what its kept units are worth at each: a ladder of rungs.

Units go in the order of their scores. A rung is a width that is allowed by itself: a multiple of
`round_to`, not below `min_keep`, breaking no comparison of the forward. The last rung is the width
before anything more goes, most often the dense one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.budgets.polynomial import CostFunction
from purethin.checks import broken_condition
from purethin.selection import count_removed
from purethin.spec import Scores, Spec


class Limits(NamedTuple):
    """What an axis may lose: widths are multiples of `round_to`, at least `min_keep`, and no more
    than the fraction `max_sparsity` goes.
    """

    round_to: int = 1
    min_keep: int = 1
    max_sparsity: float = 1.0


@dataclass(frozen=True, eq=False)
class Ladder:
    """All movable axes, their rungs padded to the longest.

    Attributes:
        axes: the movable axes' names.
        order: for each, its units in the order in which they go.
        widths: `LongTensor[axes, rungs]`, ascending; behind the widest it is repeated.
        values: `DoubleTensor[axes, rungs]`: what the units that stay are worth; values add up.
        top: `LongTensor[axes]`: the rung of the widest.
        dense: `LongTensor[axes + uneven takes]` of the whole network there.
        columns: where each movable axis stands in `dense`.
        takes: `(column, axis, LongTensor[rungs])`: what stays of an uneven take of that axis.
    """

    axes: tuple[str, ...]
    order: tuple[Tensor, ...]
    widths: Tensor
    values: Tensor
    top: Tensor
    dense: Tensor
    columns: Tensor
    takes: tuple[tuple[int, int, Tensor], ...]

    def counts(self, rungs: Tensor) -> Tensor:
        """`LongTensor[candidates, axes + uneven takes]` of `LongTensor[candidates, axes]`."""
        out = self.dense.repeat(len(rungs), 1)
        out[:, self.columns] = self.at(self.widths, rungs)
        for column, axis, kept in self.takes:
            out[:, column] += kept[rungs[:, axis]] - kept[self.top[axis]]
        return out

    def value(self, rungs: Tensor) -> Tensor:
        """`DoubleTensor[candidates]`: what all units that stay are worth."""
        return self.at(self.values, rungs).sum(-1)

    def at(self, table: Tensor, rungs: Tensor) -> Tensor:
        """The entries of a table `[axes, rungs]` at these rungs `[candidates, axes]`."""
        return table.gather(1, rungs.t()).t()

    def masks(self, rungs: Tensor, spec: Spec) -> dict[str, Tensor]:
        """The masks of one candidate; none of an axis that keeps all."""
        out = {}
        for i, (name, order) in enumerate(zip(self.axes, self.order, strict=True)):
            gone = spec.sizes[name] - int(self.widths[i, rungs[i]])
            if gone:
                out[name] = torch.ones(spec.sizes[name], dtype=torch.bool, device="cpu")
                out[name][order[:gone]] = False
        return out


def ladder(
    scores: Scores,
    spec: Spec,
    function: CostFunction,
    limits: Mapping[str, Limits],
    now: Tensor,
    *,
    times: Mapping[str, float] | None,
) -> Ladder:
    """The ladder of the axes in `limits`.

    Args:
        scores: `{axis: Tensor[size]}`; an infinite score stays, a negative infinite one is gone.
        spec: the dense spec.
        function: its compiled cost.
        limits: the movable axes, and what each may lose.
        now: the counts before anything more goes.
        times: values are the logarithms of the parts of an axis's scores that stay, so many times,
            where negative scores are 0; without it their sums.
    """
    names = tuple(limits)
    orders, rungs, values = [], [], []
    for name in names:
        score = scores[name].detach().double().cpu()
        held = _held(name, score, function)
        order = torch.where(held, torch.inf, score).argsort(stable=True)
        widest = len(score) - int((score == -torch.inf).sum())
        rungs.append(_allowed(name, spec, limits[name], order, (int(held.sum()), widest)))
        finite = torch.where(score.isinf(), 0, score)
        finite = finite if times is None else finite.clamp(min=0)
        lost = torch.cat([score.new_zeros(1), finite[order].cumsum(0)])
        orders.append(order)
        kept = lost[-1] - lost[spec.sizes[name] - rungs[-1]]
        values.append(kept if times is None else times[name] * _logarithms(kept))
    longest = max(map(len, rungs), default=1)

    def padded(rows: Sequence[Tensor]) -> Tensor:
        full = [torch.cat([r, r[-1:].expand(longest - len(r))]) for r in rows]
        return torch.stack(full) if full else torch.zeros(0, longest, device="cpu")

    widths = padded(rungs).long()
    return Ladder(
        names,
        tuple(orders),
        widths,
        padded(values).double(),
        torch.tensor([len(r) - 1 for r in rungs], dtype=torch.int64, device="cpu"),
        now,
        torch.tensor([function.axes.index(n) for n in names], dtype=torch.int64, device="cpu"),
        tuple(_takes(function, names, orders, widths)),
    )


def _takes(
    function: CostFunction, names: tuple[str, ...], orders: Sequence[Tensor], widths: Tensor
) -> Iterator[tuple[int, int, Tensor]]:
    """What stays of each uneven take of one movable axis, by its rungs."""
    for column, take in enumerate(function.uneven, start=len(function.axes)):
        if take.times is not None and take.axes[0] in names:
            i = names.index(take.axes[0])
            gone = torch.cat([take.times.new_zeros(1), take.times[orders[i]].cumsum(0)])
            yield column, i, gone[-1] - gone[len(orders[i]) - widths[i]]


def _logarithms(kept: Tensor) -> Tensor:
    """Those of the parts that stay at each rung, from the sums of the scores that do."""
    part = kept / kept[-1] if kept[-1] > 0 else torch.ones_like(kept)
    return part.clamp(1e-300, 1).log()


def _held(name: str, score: Tensor, function: CostFunction) -> Tensor:
    """The units that stay whatever happens: those of infinite score, and the best of each uneven
    take, without which a tensor might have no entry.
    """
    held = score == torch.inf
    for take in function.uneven:
        if take.times is not None and take.axes[0] == name:
            best = torch.where(take.times > 0, score, -torch.inf).argmax()
            held = held | (torch.arange(len(score), device="cpu") == best)
    return held


def _allowed(name: str, spec: Spec, limits: Limits, order: Tensor, ends: tuple[int, int]) -> Tensor:
    """The widths that an axis may have between two ends, ascending; the wider is among them."""
    size, (held, widest) = spec.sizes[name], ends
    needed = 0 if name in spec.branches else 1
    widest = max(widest, needed)
    least = max(limits.min_keep, held, size - count_removed(limits.max_sparsity, size), needed)
    least = -(-min(least, widest) // limits.round_to) * limits.round_to
    widths = torch.arange(least, max(least, widest), limits.round_to, device="cpu")
    mine = tuple(c for c in spec.conditions if name in {*ax.names(c.left), *ax.names(c.right)})
    if mine:
        rank, compared = order.argsort(), replace(spec, conditions=mine)
        broken = (broken_condition(compared, {name: rank >= size - n}) for n in widths.tolist())
        widths = widths[[each is None for each in broken]]
    return torch.cat([widths, widths.new_tensor([widest])])
