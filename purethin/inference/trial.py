"""The trial: what inference says is tried once, with about half of every axis gone, and traced
again.

That the thinned network runs proves the module config; that its own trace gives the thinned layout
proves the meaning. What fails is found by halving, and frozen with the error and its line.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optree
import torch

from purethin import axes as ax
from purethin.checks import broken_condition
from purethin.errors import MaskError
from purethin.inference.ledger import Ledger
from purethin.inference.nodes import leaves
from purethin.inference.places import Place, raised_at
from purethin.inference.readout import layout_of, settle
from purethin.inference.rules.laws import Pointwise
from purethin.inference.sources import Example, Source, Traced, run
from purethin.records import Condition
from purethin.rewriting import with_frozen, with_inexact
from purethin.spec import Masks, Spec
from purethin.thinning import thin_spec


@dataclass(frozen=True)
class Fault:
    """Why a trial failed; `axes` are to blame, where the failure itself names them. `runs`: only
    numbers came out otherwise; `raised`: the forward did not run.
    """

    reason: str
    axes: tuple[str, ...] = ()
    runs: bool = False
    raised: bool = False


class _Spent(Exception):
    """No forward is left to narrow a fault down."""


FORWARDS = 60
"""Forwards on real tensors, which take their time, that a trial may spend on narrowing down."""

Finder = Callable[[Sequence[str]], "Fault | None"]
Layout = Mapping[str, tuple[ax.Axes, ...]]


class _Trials:
    """Runs of the network with fewer units, each beside the trace of the dense one."""

    def __init__(self, source: Source, dense: Traced, examples: Sequence[Example]) -> None:
        self.source, self.examples = source, examples
        self.meta, self.ledger = dense.trace.meta, dense.trace.ledger
        self.numbers = _numbers(dense) if self.meta else []
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
            bare = replace(spec, activations=(), sites=(), macs=(), activation_bytes=())
            found = _other_meaning(layout_of(traced), thin_spec(bare, masks).layout)
            return found or _other_numbers(self.numbers, _numbers(traced))
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


Numbers = list[tuple[str, list[list[float] | None], Place]]
"""For each operator its name, its scalars, and the values of each operand that was made of numbers
(None if unknown).
"""


def _numbers(traced: Traced) -> Numbers:
    """What the forward computed with beside parameters and inputs: operators in order, each with
    its numbers.

    Only what an output needs. Integers count where they are values (in a pointwise operator), not
    where they are sizes. What was made of numbers alone counts by its values, where it meets a
    parameter or an input, if it is small.
    """
    trace, out = traced.trace, []
    data = set(trace.sources)
    for call in traced.calls:
        if not any(id(t) in data for t in call.tensors):
            continue
        data.update(id(o) for o in call.outs)
        values = isinstance(call.law, Pointwise)
        kinds = (int, float) if values else (float,)
        given: Any = (call.positional, call.keywords)
        scalars = [
            x for x in optree.tree_leaves(given) if isinstance(x, kinds) and not isinstance(x, bool)
        ]
        found: list[list[float] | None] = [list(map(float, scalars))]
        for t in call.tensors:
            if id(t) not in data:
                made = (
                    trace.value_of(t)
                    if t.numel() <= SMALL and (values or t.is_floating_point())
                    else None
                )
                fixed = made is not None and not any(map(leaves, trace.dims_of(t)))
                found.append(
                    made.to_dense().double().flatten().tolist()
                    if made is not None and fixed
                    else None
                )
        out.append((call.name, found, call.place))
    return out


SMALL = 64
"""Elements up to which a tensor that was made of numbers counts as those."""


def _other_numbers(dense: Numbers, thin: Numbers) -> Fault | None:
    """The first operator that comes out otherwise in the thinned network's trace: another one, or
    with another number.
    """
    for (name, numbers, place), (other, found, _) in zip(dense, thin, strict=False):
        if name != other:
            return Fault(f"a trial with fewer units takes another way, to {other}, in {place}")
        for before, after in zip(numbers, found, strict=False):
            if before is None or after is None or before == after or any(x != x for x in before):
                continue
            was, now = next(
                ((x, y) for x, y in zip(before, after, strict=False) if x != y),
                (len(before), len(after)),
            )
            return Fault(
                f"its size is in the number {was:g}, which is {now:g} with fewer units, in {place}",
                runs=True,
            )
    if len(dense) != len(thin):
        longer = max(dense, thin, key=len)
        return Fault(
            "a trial with fewer units takes another way, in "
            f"{longer[min(len(dense), len(thin))][2]}"
        )
    return None
