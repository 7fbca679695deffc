"""What a trial found otherwise, and the axes to blame for it, found by halving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """Why a trial failed; `axes` are to blame, where the failure itself names them. `runs`: only
    numbers came out otherwise; `raised`: the forward did not run.
    """

    reason: str
    axes: tuple[str, ...] = ()
    runs: bool = False
    raised: bool = False


Finder = Callable[[Sequence[str]], Fault | None]
"""What comes out otherwise without units of some axes."""


def halved(axes: Sequence[str], found: Fault, fault: Finder) -> dict[str, str]:
    """The axes to blame for a fault of all together: those that fail in a half of their own, else
    the last that makes it.
    """
    if len(axes) == 1 or found.axes:
        return dict.fromkeys(found.axes or axes, found.reason)
    halves = [axes[: len(axes) // 2], axes[len(axes) // 2 :]]
    faults = [
        f if (f := fault(half)) is not None and f.runs == found.runs else None for half in halves
    ]
    if any(faults):
        return {
            a: why
            for half, f in zip(halves, faults, strict=True)
            if f
            for a, why in halved(half, f, fault).items()
        }
    # neither half fails alone: the shortest run from the start that does ends in one
    low, high = (
        len(axes) // 2,
        len(axes),
    )
    while high - low > 1:
        middle = (low + high) // 2
        if (f := fault(axes[:middle])) is not None and f.runs == found.runs:
            high, found = middle, f
        else:
            low = middle
    return {axes[high - 1]: found.reason}
