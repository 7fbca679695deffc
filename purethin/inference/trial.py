"""The trial: what inference says is tried once, with about half of every axis gone, and traced
again.

That the thinned network runs proves the module config; that its own trace gives the thinned layout
proves the meaning. What fails is found by halving, and frozen with the error and its line.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import torch

from purethin import axes as ax
from purethin.checks import broken_condition
from purethin.errors import MaskError
from purethin.inference.faults import Fault, halved
from purethin.inference.ledger import Ledger
from purethin.inference.numbers import foretelling, numbers_of, other_numbers
from purethin.inference.places import raised_at
from purethin.inference.readout import layout_of, settle
from purethin.inference.sources import Example, Source, Traced, run
from purethin.records import Condition
from purethin.rewriting import thinned_layout, with_frozen, with_inexact
from purethin.spec import Masks, Spec


class _Spent(Exception):
    """No forward is left to narrow a fault down."""


FORWARDS = 60
"""Forwards on real tensors, which take their time, that a trial may spend on narrowing down."""

Layout = Mapping[str, tuple[ax.Axes, ...]]


class _Trials:
    """Runs of the network with fewer units, each beside the trace of the dense one."""

    def __init__(self, source: Source, dense: Traced, examples: Sequence[Example]) -> None:
        self.source, self.examples = source, examples
        self.meta, self.ledger = dense.trace.meta, dense.trace.ledger
        self.dense, self.numbers = dense, numbers_of(dense) if self.meta else []
        self.left = FORWARDS

    def fault(
        self, spec: Spec, axes: Sequence[str], step: int = 1, *, few: bool = False
    ) -> Fault | None:
        """What comes out otherwise with about half of these axes gone (or with `few` units left),
        in multiples of `step`; None if nothing does.
        """
        masks = _half_gone(spec, axes, step, few=few)
        if not masks:
            return None
        try:
            thinned = self.source.thinned(spec, masks, meta=self.meta)
            dense = self.ledger
            ledger = Ledger(dense.tracking, dense.tentative, only=dense.taken.keys())
            traced = run(thinned, self.examples, meta=self.meta, ledger=ledger)
            if not self.meta:
                return None
            settle(traced)
            found = _other_meaning(layout_of(traced), thinned_layout(spec, masks))
            becomes = foretelling(self.dense, spec, masks)
            return found or other_numbers(self.numbers, numbers_of(traced), becomes)
        except Exception as error:  # whatever the thinned forward raises is the finding
            first = (str(error).splitlines() or [""])[0]
            return Fault(
                f"a trial with fewer units raised {first!r} in {raised_at(error)}", raised=True
            )

    def blamed(
        self, spec: Spec, axes: Sequence[str], found: Fault, *, few: bool = False
    ) -> dict[str, str]:
        """The axes to blame for a fault, each with its reason."""

        def fault(part: Sequence[str]) -> Fault | None:
            self.spend()
            return self.fault(spec, part, few=few)

        try:
            return halved(axes, found, fault)
        except _Spent:
            said = f"{found.reason}; which axis is to blame was not found in {FORWARDS} forwards"
            return dict.fromkeys(axes, said)

    def spend(self) -> None:
        """Count a forward on real tensors."""
        self.left -= not self.meta
        if self.left < 0:
            raise _Spent

    def step(self, spec: Spec, axis: str) -> int:
        """The multiple (2, 4, 8 or 16) that an axis can be thinned to without a fault, as kernels
        ask for; 0 if there is none.
        """
        n = spec.axes[axis].size
        for multiple in (2, 4, 8, 16):
            if n % multiple == 0 and n > multiple and self.left > 0:
                self.left -= not self.meta
                if self.fault(spec, [axis], multiple) is None:
                    return multiple
        return 0


def proven(source: Source, dense: Traced, spec: Spec, examples: Sequence[Example]) -> Spec:
    """The spec with every axis frozen whose thinning breaks the forward, or changes what its
    dimensions mean.

    An axis whose size turns out to be among the numbers that the forward computes with, unseen by
    inference, is inexact.
    """
    trials = _Trials(source, dense, examples)
    found = trials.fault(spec, [*spec.axes])
    while found is not None and not found.runs:
        blamed = trials.blamed(spec, [*spec.axes], found)
        steps = {a: m for a in blamed if found.raised and (m := trials.step(spec, a))}
        if steps:
            needed = (
                Condition(ax.Name(a), "%", ax.Fixed(m), True, blamed[a]) for a, m in steps.items()
            )
            spec = replace(spec, conditions=(*spec.conditions, *needed))
        else:
            spec = with_frozen(spec, blamed)
        found = trials.fault(spec, [*spec.axes])
    # what `int()` made of a size may have decided something that half of the units do not show
    unseen = (False, True) if trials.ledger.tentative and trials.ledger.lost else (False,)
    for few in unseen:
        while (few or found is not None) and (found := trials.fault(spec, spec.exact, few=few)):
            blamed = trials.blamed(spec, spec.exact, found, few=few)
            spec = with_inexact(spec, blamed) if found.runs else with_frozen(spec, blamed)
    return spec


def tried(spec: Spec, axes: Collection[str]) -> bool:
    """Whether a trial takes units of each of these axes."""
    return _half_gone(spec, [*spec.axes]).keys() >= {*axes} & spec.axes.keys()


def _half_gone(spec: Spec, axes: Sequence[str], step: int = 1, *, few: bool = False) -> Masks:
    """Masks that take about half of each axis: neighbours different amounts (equal ones hide ties),
    an odd number left (even ones hide what kernels ask for), never one alone (which hides errors
    behind broadcasting).

    Where a condition of the forward forbids that, exactly half of the units go, or a rounder
    number, or none. `step`: a multiple. `few`: leave two or three if that may be.
    """
    amounts: dict[str, list[int]] = {}
    for i, name in enumerate(axes):
        n = spec.axes[name].size
        odd = [n - (n // 2 | 1) - 2 * ((i + k) % 3 - 1) for k in range(3)]
        rounded = [max(n // 2 // m, 1) * m for m in (1, 2, 4, 8, 16)]
        odd = [n - 3, n - 2, *odd] if few else odd
        amounts[name] = [
            r for r in (*odd, *rounded, n // 4) if r > 0 and n - r >= 2 and not r % step
        ] + [0]

    def masks() -> dict[str, torch.Tensor]:
        return {a: _without(spec.axes[a].size, left[0]) for a, left in amounts.items() if left[0]}

    while (broken := broken_condition(spec, masks())) is not None:
        condition = broken[0]
        names = [
            n
            for n in (*ax.names(condition.left), *ax.names(condition.right))
            if len(amounts.get(n, ())) > 1
        ]
        if not names:
            raise MaskError(
                f"{condition.place} does not hold for the sizes that it was traced with"
            )
        longest = max(names, key=lambda n: len(amounts[n]))
        amounts[longest].pop(0)
    return masks()


def _without(n: int, removed: int) -> torch.Tensor:
    mask = torch.ones(n, dtype=torch.bool, device="cpu")
    start = (n - removed) // 2
    mask[start : start + removed] = False
    return mask


def _other_meaning(found: Layout, wanted: Layout) -> Fault | None:
    """The axes of dimensions that the thinned network's own trace lays out otherwise."""
    to, back = {}, {}
    blamed: dict[str, str] = {}
    for parameter, dims in wanted.items():
        for d, (want, have) in enumerate(zip(dims, found[parameter], strict=True)):
            if not _same(want, have, to, back):
                reason = (
                    f"the thinned network reads {parameter}'s dim {d} as '{have}', not as '{want}'"
                )
                met = [back[n] for n in ax.names(have) if n in back]  # a fixed dim met these
                blamed |= {n: reason for n in [*ax.names(want)] or met if n not in blamed}
    return Fault(next(iter(blamed.values())), tuple(blamed)) if blamed else None


def _same(want: ax.Axes, have: ax.Axes, to: dict[str, str], back: dict[str, str]) -> bool:
    """Whether two expressions are one up to a renaming, which grows on the way."""
    if isinstance(want, ax.Name) and isinstance(have, ax.Name):
        return (
            to.setdefault(want.name, have.name) == have.name
            and back.setdefault(have.name, want.name) == want.name
        )
    if type(want) is not type(have) or len(ax.parts(want)) != len(ax.parts(have)):
        return False
    if isinstance(want, ax.Fixed) or (
        isinstance(want, ax.Take) and isinstance(have, ax.Take) and want.index != have.index
    ):
        return want == have
    return all(_same(a, b, to, back) for a, b in zip(ax.parts(want), ax.parts(have), strict=True))
