"""What no choice of widths can exceed.

A cost is a sum of products with positive coefficients, so it is convex in the logarithms of the
widths, and lies above its tangent there (geometric programming; Boyd, Kim, Vandenberghe & Hassibi,
A tutorial on geometric programming, 2007, section 2). The tangent at any widths gives an easier
problem, whose constraint adds up over the axes; its Lagrangian is maximised axis by axis, and is an
upper bound at every multiplier.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from purethin.budgets.ladder import Ladder


def upper_bound(
    ladder: Ladder, costs: Callable[[Tensor], Tensor], rungs: Tensor, limit: float = 1.0
) -> float:
    """An upper bound on the scores that stay.

    Args:
        ladder: the widths and values.
        costs: from `DoubleTensor[axes + uneven takes]` to a scalar: a sum of products of widths
            with positive coefficients, differentiable.
        rungs: where the tangent is taken: the nearer to the best widths, the tighter.
        limit: what the cost may be.
    """
    at = ladder.counts(rungs[None])[0].double()
    slope = torch.func.grad(costs)(at)[ladder.columns] * at[ladder.columns]
    slack = limit - float(costs(at))
    logs = (ladder.widths / at[ladder.columns][:, None]).log()
    lines, values = slope[:, None] * logs, ladder.values
    bounds: list[float] = []

    def rises(multiplier: float) -> bool:
        """Whether the dual rises here; the bound that it is, is kept."""
        best = torch.sub(values, lines, alpha=multiplier).max(1)
        bounds.append(float(best.values.sum()) + multiplier * slack)
        return slack >= float(lines.gather(1, best.indices[:, None]).sum())

    low, high = 0.0, 1.0
    while not rises(high) and high < 2.0**60:
        low, high = high, 2 * high
    for _ in range(50):  # the dual is convex
        middle = (low + high) / 2
        low, high = (low, middle) if rises(middle) else (middle, high)
    rises(0.0)
    return min(bounds)
