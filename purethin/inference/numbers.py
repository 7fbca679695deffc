"""What a forward computed with beside parameters and inputs, and whether a thinned network's does
too.

A number that is another one says nothing new where its formula foretells it and all its axes are
inexact. Invariant: a number is foretold by what Python passed to its operator, or not at all.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from purethin import axes as ax
from purethin.checks import kept_sizes
from purethin.inference.computed import Computed, foretold
from purethin.inference.faults import Fault
from purethin.inference.nodes import Node, expression, leaves
from purethin.inference.posing import Posing, unposed
from purethin.inference.readout import names_of
from purethin.inference.rules import Call
from purethin.inference.rules.laws import Pointwise
from purethin.inference.sources import Traced
from purethin.spec import Masks, Spec

SMALL = 64
"""Elements up to which a tensor that was made of numbers counts as those."""

Numbers = list[tuple[Call, list[list[float] | None]]]
"""The operators, each with its scalars, and the values of each operand that was made of numbers
(None if unknown).
"""


def numbers_of(traced: Traced) -> Numbers:
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
        scalars = _given((call.positional, call.keywords))
        found: list[list[float] | None] = [[float(x) for x in scalars if isinstance(x, kinds)]]
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
        out.append((call, found))
    return out


Becomes = Callable[[Call, float], float]
"""What a scalar of the dense network's operator is in the thinned one: the same, or what its
formula gives.
"""


def foretelling(dense: Traced, spec: Spec, masks: Masks) -> Becomes:
    """What scalars become at the sizes that masks leave. A formula counts where Python passed it to
    this operator, nothing else that it passed has the same value, and all its axes are inexact.
    """

    @functools.cache
    def known() -> tuple[Mapping[Node, str], Mapping[str, int], Callable[[ax.Axes], int]]:
        names = names_of(dense)
        fixed = {name: node.size for node, name in names.items() if name not in spec.axes}
        return names, fixed, kept_sizes(spec, masks)

    def size_of(node: Node) -> int:
        names, fixed, kept = known()
        expr = ax.substituted(expression(node, names.__getitem__), fixed)
        if any(spec.axes[name].exact for name in ax.names(expr)):
            raise LookupError
        return kept(expr)

    @functools.cache
    def operators() -> Counter[int]:
        return Counter(id(call.python) for call in dense.trace.tape)

    def becomes(call: Call, before: float) -> float:
        if operators()[id(call.python)] > 1:
            return before  # the scalar may be one that torch made on its way to this operator
        try:
            same = (x for x in _given(call.python) if unposed(x) == before)
            found = {foretold(x, size_of) for x in same}
        except (LookupError, ArithmeticError, ValueError, TypeError):  # no name, or no value
            return before
        return found.pop() if len(found) == 1 else before

    return becomes


def _has_formula(call: Call) -> bool:
    """Whether Python passed a number with a formula."""
    args, kwargs = call.python
    return any(isinstance(x, Computed | Posing) for x in (*args, *kwargs.values()))


def _given(tree: Any) -> Iterator[Any]:
    """The numbers among arguments, in order."""
    if isinstance(tree, int | float):
        if not isinstance(tree, bool):
            yield tree
    elif isinstance(tree, tuple | list):
        for x in tree:
            yield from () if isinstance(x, Tensor) else _given(x)
    elif isinstance(tree, dict):
        yield from _given(list(tree.values()))
    elif isinstance(tree, slice):
        yield from _given((tree.start, tree.stop, tree.step))


def other_numbers(dense: Numbers, thin: Numbers, becomes: Becomes) -> Fault | None:
    """The first operator that comes out otherwise in the thinned network's trace: another one, or
    with another number than its own must become.
    """
    for (call, numbers), (other, found) in zip(dense, thin, strict=False):
        if call.name != other.name:
            return Fault(
                f"a trial with fewer units takes another way, to {other.name}, in {call.place}"
            )
        for i, (before, after) in enumerate(zip(numbers, found, strict=False)):
            if before is None or after is None or any(x != x for x in before):
                continue
            scalars = i == 0 and (before != after or _has_formula(call))
            wanted = [becomes(call, x) for x in before] if scalars else before
            if wanted != after:
                was, now = next(
                    ((x, y) for x, w, y in zip(before, wanted, after, strict=False) if w != y),
                    (len(before), len(after)),
                )
                return Fault(
                    f"its size is in the number {was:g}, which is {now:g} with fewer units, in "
                    f"{call.place}",
                    runs=True,
                )
    if len(dense) != len(thin):
        longer = max(dense, thin, key=len)
        return Fault(
            "a trial with fewer units takes another way, in "
            f"{longer[min(len(dense), len(thin))][0].place}"
        )
    return None
