"""The trial: what inference says is tried once, with a few units of every axis gone, and traced again.

That the thinned network runs proves the module config; that its own trace gives the thinned layout proves the meaning. What
fails is found by halving, and frozen with the error and its line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from purethin import axes as ax
from purethin.errors import MaskError
from purethin.places import raised_at
from purethin.readout import spec_of
from purethin.sources import Source, run
from purethin.spec import Masks, Spec, frozen_axes
from purethin.thin import broken_condition, thin_spec


@dataclass(frozen=True)
class Fault:
    """Why a trial failed; `axes` are those to blame, where the failure names them itself."""

    reason: str
    axes: tuple[str, ...] = ()


def proven(source: Source, spec: Spec, args: Sequence[Any], kwargs: dict[str, Any], *, meta: bool) -> Spec:
    """The spec with every axis frozen whose thinning breaks the forward, or changes what its dimensions mean."""

    def fault(axes: Sequence[str]) -> Fault | None:
        masks = _few_gone(spec, axes)
        if not masks:
            return None
        try:
            traced = run(source.thinned(spec, masks, meta=meta), args, kwargs, meta=meta)
            return _other_meaning(spec_of(traced, trial=True, exactness=False), thin_spec(spec, masks)) if meta else None
        except Exception as error:  # whatever the thinned forward raises is the finding
            first = (str(error).splitlines() or [""])[0]
            return Fault(f"a trial with fewer units raised {first!r} in {raised_at(error)}")

    while (found := fault([*spec.axes])) is not None:
        blamed = dict.fromkeys(found.axes, found.reason) or _halved([*spec.axes], found, fault)
        spec = frozen_axes(spec, blamed)
    return spec


def _halved(axes: Sequence[str], found: Fault, fault: Any) -> dict[str, str]:
    """The axes to blame for a fault of all together: those that fail in a half of their own, else the last that makes it."""
    if len(axes) == 1 or found.axes:
        return dict.fromkeys(found.axes or axes, found.reason)
    halves = [axes[: len(axes) // 2], axes[len(axes) // 2 :]]
    faults = [fault(half) for half in halves]
    if any(faults):
        return {a: why for half, f in zip(halves, faults, strict=True) if f for a, why in _halved(half, f, fault).items()}
    low, high = len(axes) // 2, len(axes)  # neither half fails alone: the shortest run from the start that does ends in one
    while high - low > 1:
        middle = (low + high) // 2
        if (f := fault(axes[:middle])) is not None:
            high, found = middle, f
        else:
            low = middle
    return {axes[high - 1]: found.reason}


def _few_gone(spec: Spec, axes: Sequence[str]) -> Masks:
    """Masks that take one to three units from each axis, different amounts from neighbours, never leaving one alone.

    Where a condition of the forward forbids that, half of the units go, or none.
    """
    amounts: dict[str, list[int]] = {}
    for i, name in enumerate(axes):
        n = spec.axes[name].size
        few = [r for r in (1 + (i + k) % 3 for k in range(3)) if n - r >= 2]
        amounts[name] = [*few, *([n // 2] if n >= 4 else []), 0]

    def masks() -> dict[str, torch.Tensor]:
        return {a: _without(spec.axes[a].size, left[0]) for a, left in amounts.items() if left[0]}

    while (broken := broken_condition(spec, masks())) is not None:
        condition = broken[0]
        names = [n for n in (*ax.names(condition.left), *ax.names(condition.right)) if len(amounts.get(n, ())) > 1]
        if not names:
            raise MaskError(f"{condition.place} does not hold for the sizes that it was traced with")
        longest = max(names, key=lambda n: len(amounts[n]))
        amounts[longest].pop(0)
    return masks()


def _without(n: int, removed: int) -> torch.Tensor:
    mask = torch.ones(n, dtype=torch.bool, device="cpu")
    start = (n - removed) // 2
    mask[start : start + removed] = False
    return mask


def _other_meaning(found: Spec, wanted: Spec) -> Fault | None:
    """The axes of dimensions that the thinned network's own trace lays out otherwise."""
    to, back = {}, {}
    blamed: dict[str, str] = {}
    for parameter, dims in wanted.layout.items():
        for d, (want, have) in enumerate(zip(dims, found.layout[parameter], strict=True)):
            if not _same(want, have, to, back):
                reason = f"the thinned network reads {parameter}'s dim {d} as '{have}', not as '{want}'"
                blamed |= {n: reason for n in ax.names(want) if n not in blamed}
    return Fault(next(iter(blamed.values())), tuple(blamed)) if blamed else None


def _same(want: ax.Axes, have: ax.Axes, to: dict[str, str], back: dict[str, str]) -> bool:
    """Whether two expressions are one up to a renaming, which grows on the way."""
    if isinstance(want, ax.Name) and isinstance(have, ax.Name):
        return to.setdefault(want.name, have.name) == have.name and back.setdefault(have.name, want.name) == want.name
    if type(want) is not type(have) or len(ax.parts(want)) != len(ax.parts(have)):
        return False
    if isinstance(want, ax.Fixed) or (isinstance(want, ax.Take) and isinstance(have, ax.Take) and want.index != have.index):
        return want == have
    return all(_same(a, b, to, back) for a, b in zip(ax.parts(want), ax.parts(have), strict=True))
