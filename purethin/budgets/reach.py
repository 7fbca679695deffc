"""Whether budgets can be reached, and what stands in the way where they cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

import torch
from torch import Tensor

from purethin.budgets.polynomial import CostFunction
from purethin.budgets.search import Search
from purethin.budgets.worth import fewer
from purethin.costs import for_batch
from purethin.errors import MaskError
from purethin.spec import Spec

Costs = Mapping[str, Callable[[Tensor], Tensor]]
"""`{kind: from counts[candidates, …] to numbers[candidates]}`."""


def reachable(search: Search) -> bool:
    """Whether the narrowest widths are within the budgets."""
    return bool((search.of(torch.zeros_like(search.ladder.top)[None]) <= 0).all())


def refuse(
    search: Search, costs: Costs, function: CostFunction, limits: Mapping[str, float], spec: Spec
) -> NoReturn:
    """The error where they are not, with the least that can be reached, and what it consists of."""
    least = torch.zeros_like(search.ladder.top)
    kind = [*limits][int(search.of(least[None])[0].argmax())]
    counts, cost_of = search.ladder.counts(least[None])[0], costs[kind]
    now, dense = (float(cost_of(c[None])[0]) for c in (counts, function.counts({})))
    none = torch.zeros_like(counts[: len(function.axes)])
    without = cost_of(fewer(function, counts, none))
    lines = []
    for i in without.argsort(stable=True)[:3].tolist():
        name = function.axes[i]
        axis, stays = spec.axes[name], int(counts[i])
        why = "it keeps at least so many" if name in search.ladder.axes else "it may not lose units"
        why = why if axis.exact else f"inexact: {axis.reason}"
        share = 1 - float(without[i]) / max(now, 1e-300)
        lines.append(
            f"\n  '{name}' keeps {stays} of {axis.size} units ({why}): {share:.0%} of that"
        )
    what = f"{kind}{for_batch(spec.batch)}" if kind in ("macs", "activation_bytes") else kind
    raise MaskError(
        f"the budget of {number(limits[kind])} {what} ({limits[kind] / dense:.3f} of the dense "
        f"{number(dense)}) cannot be reached: the least is {number(now)} ({now / dense:.3f})"
        + "".join(lines)
    )


def number(value: float) -> str:
    """A count with its thousands; seconds to four digits."""
    return f"{int(value):,}" if value == int(value) else f"{value:.4g} s"
