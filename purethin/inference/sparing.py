"""Which zeros make a unit silent: first all of them; where that divides by zero, all but those that
do.

Invariant: a parameter's dim is spared for an axis only where what is divided by is made of
parameters alone, so that it is as it was in the dense network, and where a pass over the tape then
proves that the axis's removed units stay finite, and are no less silent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from purethin.inference.exactness import Reading
from purethin.inference.nodes import Node
from purethin.inference.places import Because
from purethin.inference.rules import laws
from purethin.inference.rules.call import Call
from purethin.inference.states import Rows, data_of

_PASSES = 4
"""Passes at most: a second norm may show only when the first is mended."""


@dataclass(frozen=True)
class Verdict:
    """What is known of the axes' values.

    Attributes:
        inexact: those that are not exact, each with its reason.
        nonfinite: those of them whose masking makes infinities or nan.
        spared: `{axis: ((parameter, dim) that masking leaves as it is, …)}`.
    """

    inexact: Mapping[Node, Because] = field(default_factory=dict)
    nonfinite: frozenset[Node] = frozenset()
    spared: Mapping[Node, tuple[tuple[str, int], ...]] = field(default_factory=dict)


def judged(rows: Rows, named: Mapping[str, Tensor], calls: Sequence[Call]) -> Verdict:
    """Which axes are exact, and what masking must spare for it. `calls`: those that reach an
    output.
    """
    parameters = list(named.values())
    first = now = Reading(rows, parameters, calls)
    inexact, nonfinite = first.inexact, set(first.nonfinite)
    data = data_of(rows.trace, calls) if nonfinite else set()
    spared: dict[Node, set[tuple[int, int]]] = {axis: set() for axis in nonfinite}
    proven: dict[Node, set[tuple[int, int]]] = {}
    for _ in range(_PASSES):
        mendable = [
            a
            for a in now.nonfinite
            if a in spared and not any(id(t) in data for t, _ in now.origins.get(a, ()))
        ]
        more = {a: _carriers(now, calls, a) - spared[a] for a in mendable}
        spared = {a: spared[a] | found for a, found in more.items() if found}
        if not spared:
            break
        now = Reading(rows, parameters, calls, spared)
        for axis in [a for a in spared if a not in now.nonfinite]:
            places = spared.pop(axis)
            if now.faults.get(axis, {}).keys() <= first.faults.get(axis, {}).keys():
                proven[axis] = places
                nonfinite.discard(axis)
                inexact.pop(axis)
                inexact |= {axis: now.inexact[axis]} if axis in now.faults else {}
    return Verdict(
        inexact,
        frozenset(nonfinite),
        {
            axis: tuple((n, d) for n, t in named.items() for d in range(t.dim()) if (id(t), d) in p)
            for axis, p in proven.items()
        },
    )


def _carriers(reading: Reading, calls: Sequence[Call], axis: Node) -> set[tuple[int, int]]:
    """The `(id of a parameter, dim)` whose zeros make an axis's first values that are not finite:
    from the operands at fault back along the tape.
    """
    needed = {(id(t), d): t for t, d in reading.origins.get(axis, ())}
    for call in reversed(calls):
        for o in (o for o in call.outs if isinstance(o, Tensor)):
            dims = [d for d in range(o.dim()) if (id(o), d) in needed]
            if dims and not any(o is t for t in call.tensors):
                for d in dims:
                    del needed[id(o), d]
                made = _sources(reading, call, o, dims, axis)
                needed |= {(id(t), d): t for t, d in made if reading.zero_at(t, d, axis)}
    return {(id(t), d) for (_, d), t in needed.items() if reading.trace.is_parameter(t)}


def _sources(
    reading: Reading, call: Call, o: Tensor, dims: Sequence[int], axis: Node
) -> Iterable[tuple[Tensor, int]]:
    """The operands' dims along which an axis reaches these dims of the output."""
    law = call.law
    if isinstance(law, laws.Contracted):
        for label in law.out:
            if laws.dim_of(label, law.out) in dims:
                for t, row in law.operands:
                    if label in row:
                        yield t, laws.dim_of(label, row)
        return
    for t in call.tensors:
        for d, a in reading.spots(t):
            aligned = d - t.dim() in {i - o.dim() for i in dims}
            kept = not isinstance(law, laws.Pointwise) or aligned
            summed = isinstance(law, laws.Summed | laws.WeightNormed) and d in law.dims
            if a is axis and kept and not summed:
                yield t, d
