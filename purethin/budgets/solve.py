"""Masks that keep a network within budgets: half the MACs, a million parameters, ten megabytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import exp, inf
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.arguments import explained
from purethin.budgets.asked import (
    KINDS,
    Budgets,
    Normalize,
    Options,
    RoundTo,
    finer_steps,
    limits_of,
    movable_of,
    times_of,
)
from purethin.budgets.bound import upper_bound
from purethin.budgets.exact import best_rungs
from purethin.budgets.ladder import Ladder, Limits, ladder
from purethin.budgets.latency import LatencyTable
from purethin.budgets.polynomial import CostFunction, cost_function
from purethin.budgets.reach import Costs, number, reachable, refuse
from purethin.budgets.search import Search
from purethin.checks import broken_condition, check_conditions, check_masks, joined
from purethin.costs import Cost, cost, for_batch
from purethin.spec import Masks, Scores, Spec
from purethin.table import Table

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class Solution:
    """Masks within budgets, and how good they are.

    Attributes:
        masks: `{axis: BoolTensor[size]}`, True = keep.
        cost: of the network that they leave.
        limits: `{kind: the largest number allowed}`; of latency, seconds.
        kept: what stays of the scores of the axes that may lose units, from 0 to 1: the mean share
            (geometric) of an axis, as often as it counts, or of all scores where they add up.
        bound: what no choice of widths can exceed; None where the cost depends on which units stay,
            or branches may go whole.
        greedy: what the greedy search kept.
        exact: whether the cost adds up over small groups of axes, so that these widths are the
            best of all. Else they are the greedy search's.
        latency: the predicted seconds, where a budget was of them.
    """

    masks: dict[str, Tensor]
    cost: Cost
    limits: dict[str, float]
    kept: float
    bound: float | None
    greedy: float
    exact: bool
    latency: float | None = None

    def __repr__(self) -> str:
        """The cost that is left; `print(solution)` shows the budgets."""
        return f"Solution: {len(self.masks)} axes lose units; {self.cost}"

    def __str__(self) -> str:
        """The budgets and what was reached of each, and the part of the scores that stays."""
        rows: list[tuple[str, ...]] = []
        for kind, limit in self.limits.items():
            name = kind + for_batch(self.cost.batch) * (kind in ("macs", "activation_bytes"))
            now = float(getattr(self.cost if kind in KINDS else self, kind) or 0.0)
            rows.append((name, number(limit), number(now), f"{now / limit:.4%}"))
        bound = "" if self.bound is None else f"; at most {self.bound:.4%} can"
        bound = f", the most that can; greedy {self.greedy:.4%}" if self.exact else bound
        table = Table(("budget of", "limit", "reached", "part"), rows, numbers=(1, 2, 3))
        return f"{table}\n{self.kept:.4%} of the scores stay{bound}"


@explained
def solve(
    scores: Scores,
    spec: Spec,
    *,
    axes: str | Sequence[str] | None = None,
    round_to: RoundTo | None = None,
    min_keep: int | Mapping[str, int] = 1,
    max_sparsity: float | Mapping[str, float] = 1.0,
    normalize: Normalize = "layers",
    **budgets: Unpack[Budgets],
) -> dict[str, Tensor]:
    """Masks within budgets: never above one, and so near that no unit of a score could still stay.

    Args:
        scores: `{axis: Tensor[size]}`, the higher the more worth keeping; an infinite one stays,
            one of minus infinity goes. In a part, negative ones count as 0.
        spec: the spec of the network.
        axes: the axes that may lose units, as `find` reads them; all exact axes that have scores,
            if not given.
        round_to: an axis keeps a multiple of so many units, or all; one that has no more than that
            may keep any number. Or `{text: number}`, by texts as `find` reads them, an axis's own
            name first. `"auto"`: the multiples that were fast by the `table` of latencies, also
            where nothing is asked and there is one; else 1.
        min_keep: it keeps at least so many; or a mapping. With 0 a branch of `spec.branches` may
            go whole, and what goes with it then does.
        max_sparsity: it loses at most this fraction, in [0, 1]; or a mapping.
        normalize: what makes scores of different axes comparable: a norm of a filter compares to
            its neighbours, not to filters of another fan-in. `"layers"`: an axis is worth the part
            of its scores that stays, once for each dimension of a weight that carries it, and the
            product of all these parts is made large, so that the last tenth of an axis is worth
            more than the first. `"share"`: the same, each axis once. `"rank"`: each axis loses the
            same part. None: scores are losses that add up, and their sum is made large.
        budgets: `macs`, `parameters`, `bytes`, `activation_bytes`, one or several: a float from 0
            to 1 is a fraction of the dense cost, a larger number is the cost itself. `latency` too,
            a fraction or milliseconds, with the `table` of `latency_table` that predicts it.

    Returns:
        `{axis: BoolTensor[size]}`, True = keep; an axis that keeps all is left out. No comparison
        of the forward changes.

    Raises:
        MaskError: a budget that cannot be reached, with the least that can and what stands in the
            way; an axis, a score or an option that does not fit.

    >>> params = {"w": torch.zeros(4, 3), "v": torch.zeros(2, 4)}
    >>> spec = Spec.from_layout({"w": "h 3", "v": "2 h"}, params)
    >>> solve({"h": torch.tensor([4.0, 1.0, 2.0, 3.0])}, spec, parameters=0.5)
    {'h': tensor([ True, False, False,  True])}
    """
    options = Options(axes, round_to, min_keep, max_sparsity, normalize)
    return solution(scores, spec, options, budgets).masks


@explained
def solution(
    scores: Scores,
    spec: Spec,
    options: Options,
    budgets: Budgets | Mapping[str, float],
    masks: Masks | None = None,
) -> Solution:
    """`solve`, with what it costs and how near it is to the bound.

    Args:
        scores: as `solve` takes them.
        spec: the spec of the network.
        options: the same options.
        budgets: `{kind: fraction or number}`.
        masks: what is gone already, and stays gone.

    Raises:
        MaskError: as `solve`.

    >>> params = {"w": torch.zeros(4, 3), "v": torch.zeros(2, 4)}
    >>> spec = Spec.from_layout({"w": "h 3", "v": "2 h"}, params)
    >>> print(solution({"h": torch.ones(4)}, spec, Options(), {"parameters": 0.5}))
    budget of   limit  reached      part
    parameters     10       10  100.0000%
    50.0000% of the scores stay, the most that can; greedy 50.0000%
    """
    limits, masks = limits_of(budgets, spec), masks or {}
    check_masks(spec, masks)
    function = cost_function(spec)
    costs = _costs(function, spec, budgets.get("table"))
    movable = movable_of(scores, spec, options, function, budgets.get("table"))
    times, even = times_of(spec, movable, options.normalize), options.normalize == "rank"
    left = {n: torch.where(masks[n], s, -torch.inf) if n in masks else s for n, s in scores.items()}
    while True:
        rungs_of = ladder(left, spec, function, movable, function.counts(masks), times=times)
        search = Search(rungs_of, lambda counts: _above(costs, limits, counts), even)
        if not reachable(search):
            movable = finer_steps(movable, options) or refuse(search, costs, function, limits, spec)
            continue
        greedy = search.greedy()
        best = None if even else _best(search, function, limits, greedy)
        rungs = greedy if best is None else best
        found = {**masks, **rungs_of.masks(rungs, spec)}
        if (narrower := _narrower(spec, found, movable, left)) is None:
            break
        movable = narrower
    if freed := _freed(spec, found, movable):
        emptied = {n: m for n, m in found.items() if not bool(m.any())}
        inner = solution(scores, spec, options, budgets, {**masks, **emptied, **freed})
        return _of_all(inner, left, {**emptied, **freed}, movable, shares=times is not None)
    whole = float(rungs_of.value(rungs_of.top[None])[0])
    often = None if times is None else sum(times[n] for n in movable)
    part = partial(_part, whole=whole, times=often)
    kept, known = (part(float(rungs_of.value(r[None])[0])) for r in (rungs, greedy))
    bound = None if best is None else kept
    if best is None and not (even or function.uneven) and bool((rungs_of.widths > 0).all()):
        bound = part(min(_bound(rungs_of, function, limits, rungs), whole))
    seconds = float(costs["latency"](function.counts(found)[None])) if "latency" in limits else None
    return Solution(found, cost(spec, found), limits, kept, bound, known, best is not None, seconds)


def _narrower(
    spec: Spec, found: Masks, movable: Mapping[str, Limits], scores: Scores
) -> dict[str, Limits] | None:
    """What may move, with less freedom, where masks change a comparison or empty a concatenation;
    None where they do neither.
    """
    if (broken := broken_condition(spec, found)) is not None:
        involved = {*ax.names(broken[0].left), *ax.names(broken[0].right)} & movable.keys()
        if not involved:
            check_conditions(spec, found)
        return {n: limit for n, limit in movable.items() if n not in involved}
    gone = [n for n, m in found.items() if not bool(m.any())]
    for expr in (e for e in joined(spec, gone) if str(e) in spec.needed):
        left = {n: scores[n][scores[n] > -torch.inf] for n in ax.names(expr) if n in movable}
        mine = {n: float(s.double().sum()) for n, s in left.items() if len(s)}
        if not mine:
            check_masks(spec, found)
        best = max(mine, key=lambda n: mine[n])
        return {**movable, best: movable[best]._replace(min_keep=1)}
    return None


def _freed(spec: Spec, found: Masks, movable: Mapping[str, Limits]) -> dict[str, Tensor]:
    """The masks of what goes with emptied branches, and has not gone yet."""
    gone = {n for n, m in found.items() if not bool(m.any())}
    others = dict.fromkeys(o for n in found if n in gone for o in spec.branches.get(n, ()))
    more = [o for o in others if o in movable and o not in gone and not movable[o].min_keep]
    if any(str(e) in spec.needed for e in joined(spec, [*gone, *more])):
        return {}
    return {o: torch.zeros(spec.sizes[o], dtype=torch.bool, device="cpu") for o in more}


def _of_all(
    inner: Solution, scores: Scores, gone: Masks, axes: Iterable[str], *, shares: bool
) -> Solution:
    """A solution after some axes went whole, its scores as parts of those before."""
    sums = {n: float(torch.where(scores[n].isinf(), 0, scores[n]).double().sum()) for n in axes}
    rest = sum(value for n, value in sums.items() if n not in gone)
    part = 0.0 if shares else rest / (sum(sums.values()) or 1.0)
    bound = None if inner.bound is None else inner.bound * part
    return replace(inner, kept=inner.kept * part, greedy=inner.greedy * part, bound=bound)


def require_reachable(
    scores: Scores, spec: Spec, options: Options, budgets: Mapping[str, float]
) -> None:
    """That the narrowest widths are within the budgets.

    Raises:
        MaskError: they are not, or something does not fit, as in `solve`.
    """
    limits, function = limits_of(budgets, spec), cost_function(spec)
    movable = movable_of(scores, spec, options, function)
    rungs_of = ladder(scores, spec, function, movable, function.counts({}), times=None)
    costs = _costs(function, spec, None)
    search = Search(rungs_of, lambda counts: _above(costs, limits, counts))
    if not reachable(search):
        refuse(search, costs, function, limits, spec)


def _best(
    search: Search, function: CostFunction, limits: Mapping[str, float], greedy: Tensor
) -> Tensor | None:
    """The best rungs where there is one budget and its cost adds up, None elsewhere."""
    if len(limits) > 1 or "latency" in limits:
        return None
    [(kind, limit)] = limits.items()

    def whole(counts: Tensor) -> Tensor:
        return getattr(function(counts), kind).double()

    best = best_rungs(search.ladder, whole, limit, greedy)
    if best is None or bool((search.of(best[None]) > 0).any()):  # floats that were rounded
        return None
    return search.filled(best)


def _part(value: float, *, whole: float, times: float | None) -> float:
    """What stays, from 0 to 1: the mean share of an axis, or the part of all scores."""
    return value / whole if times is None and whole else exp(value / (times or 1.0))


def _costs(function: CostFunction, spec: Spec, table: object) -> Costs:
    out: dict[str, Callable[[Tensor], Tensor]] = {
        kind: lambda counts, kind=kind: getattr(function(counts), kind) for kind in KINDS
    }
    if isinstance(table, LatencyTable):
        seconds = table.function(spec)
        out["latency"] = lambda counts: seconds(
            {n: counts[:, i] for i, n in enumerate(function.axes)}
        )
    return out


def _above(costs: Costs, limits: Mapping[str, float], counts: Tensor) -> Tensor:
    """`DoubleTensor[candidates, budgets]`: what the costs are above what is allowed, as parts of
    it. The difference is of whole numbers, so that its sign is right beyond 2**53 too.
    """
    each = [(costs[k](counts) - min(m, 2**63 - 1)).double() / m for k, m in limits.items()]
    return torch.stack(each, -1)


def _bound(
    rungs_of: Ladder, function: CostFunction, limits: Mapping[str, float], rungs: Tensor
) -> float:
    found = (
        upper_bound(rungs_of, lambda n, k=kind: getattr(function(n), k) / limits[k], rungs)
        for kind in limits
        if kind in KINDS
    )
    return min(found, default=inf)
