"""Where a float mask multiplies: at what reads the units, so that each unit's output is multiplied
once.

One pass over the tape, backwards. Where an axis ends, in a sum over it, the weight that reads it is
asked for the factor; where no weight does (queries meet keys), one side of the data is, and hands
the question on to what made it, as far as every operator between passes a factor through.
Invariant: a tensor is asked by all that use it, or by none; else the axis has no gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from purethin.inference.nodes import Node
from purethin.inference.rules import laws
from purethin.inference.rules.call import Call
from purethin.inference.scalars import homogeneous, with_slots
from purethin.inference.states import Rows, data_of, writes

Spot = tuple[int, int, Node]
"""A tensor's id, one of its dims, and an axis that this carries."""
Asked = tuple[Tensor, int, Node]


def gates_of(
    rows: Rows, named: Mapping[str, Tensor], calls: Sequence[Call]
) -> dict[Node, tuple[tuple[str, int], ...]]:
    """`{axis: ((parameter, dim) that a float mask multiplies, …)}`; an axis without such a place is
    left out. `calls`: those that reach an output.
    """
    found: dict[Node, dict[tuple[str, int], None]] = {}
    asking = _Asking(rows, calls)
    for name, t in named.items():
        for d, axis in rows.spots(t):
            if (id(t), d, axis) in asking.asked and axis not in asking.failed:
                found.setdefault(axis, {})[name, d] = None
    return {axis: tuple(places) for axis, places in found.items()}


class _Asking:
    """The pass: which spots are asked to carry the factor, and the axes where none can."""

    def __init__(self, rows: Rows, calls: Sequence[Call]) -> None:
        self.trace, self.rows = rows.trace, rows
        self.data = data_of(rows.trace, calls)
        self.in_place = any(isinstance(c.law, laws.Written) or writes(c) for c in calls)
        self.asked: set[Spot] = set()
        self.failed: set[Node] = set()
        refused: set[Spot] = set()
        for call in reversed(calls):
            asks = {(id(t), d, axis) for t, d, axis in self._asks(call)}
            self.asked |= asks
            refused |= {
                (id(t), d, axis) for t in call.tensors for d, axis in self.rows.spots(t)
            } - asks
        self.failed |= {axis for _, _, axis in self.asked & refused}

    def _asks(self, call: Call) -> list[Asked]:
        """What one call asks of its operands: where an axis ends there, and where an output of it
        was asked.
        """
        outs = [o for o in call.outs if isinstance(o, Tensor)]
        kept = {axis for o in outs for axis in self.rows.axes(o)}
        found = [*_ENDS.get(type(call.law), _Asking._lost)(self, call, call.law, kept)]
        for o in outs:
            for d, axis in dict.fromkeys(self.rows.spots(o)):
                if (id(o), d, axis) in self.asked and not self._is_parameter_in_place(o, call):
                    passed = _PASSES.get(type(call.law))
                    asks = None if passed is None else passed(self, call, call.law, (o, d, axis))
                    if not asks or self._blurred(o):
                        self.failed.add(axis)
                    found += asks or []
        return found

    def _blurred(self, o: Tensor) -> bool:
        """Whether data were written in place somewhere: a path through them is not certain."""
        return self.in_place and id(o) in self.data

    def _is_parameter_in_place(self, o: Tensor, call: Call) -> bool:
        return any(o is t for t in call.tensors) and self.trace.is_parameter(o)

    def _best(self, carriers: Iterable[tuple[Tensor, int]]) -> tuple[Tensor, int] | None:
        """The operand that is asked: one that is made of parameters alone, else the first."""
        return min(carriers, key=lambda c: id(c[0]) in self.data, default=None)

    def _spots(self, t: Tensor, axis: Node) -> list[Asked]:
        return [(t, d, a) for d, a in dict.fromkeys(self.rows.spots(t)) if a is axis]

    # ---- where an axis ends

    def _lost(self, call: Call, law: laws.Law, kept: set[Node]) -> list[Asked]:
        """An operator that lets an axis end without a sum has no place for a factor."""
        self.failed |= {a for t in call.tensors for a in self.rows.axes(t)} - kept
        return []

    def contracted(self, call: Call, law: laws.Contracted, kept: set[Node]) -> list[Asked]:
        found = []
        for label, node in law.nodes.items():
            having = [(t, laws.dim_of(label, row)) for t, row in law.operands if label in row]
            if label not in law.out and (best := self._best(having)):
                found += [(*best, axis) for axis in self.rows.leaves_of(node)]
        return found

    def summed(self, call: Call, law: laws.Summed, kept: set[Node]) -> list[Asked]:
        x = call.tensors[0]
        over = [(x, d, a) for d, a in self.rows.spots(x) if d in law.dims]
        if law.running:
            self.failed |= {a for _, _, a in over}
        return over

    def attended(self, call: Call, law: laws.Attended, kept: set[Node]) -> list[Asked]:
        q, k, v = law.query, law.key, law.value
        row = self.rows.row
        self.failed |= {*row(k)[-2], *row(v)[-2]}
        return [(q, q.dim() - 1, axis) for axis in row(q)[-1]]

    def recurrent(self, call: Call, law: laws.Recurrent, kept: set[Node]) -> list[Asked]:
        return [(w, 1, a) for w in law.weights if w.dim() > 1 for a in self.rows.row(w)[1]]

    def normed(self, call: Call, law: laws.WeightNormed, kept: set[Node]) -> list[Asked]:
        """Removed, a unit leaves the norm as well; no factor on an output does that."""
        v = law.direction
        self.failed |= {axis for d, axis in self.rows.spots(v) if d in law.dims}
        return []

    # ---- how a factor of the output is made from the operands'

    def by_contraction(self, call: Call, law: laws.Contracted, out: Asked) -> list[Asked] | None:
        _, d, axis = out
        labels = [
            label
            for label in law.out
            if laws.dim_of(label, law.out) == d and axis in self.rows.leaves_of(law.nodes[label])
        ]
        having = [
            (t, laws.dim_of(label, row))
            for label in labels
            for t, row in law.operands
            if label in row
        ]
        if (best := self._best(having)) is None:
            return None
        if law.bias is None:
            return [(*best, axis)]
        bias, row = law.bias
        shifts = [(bias, laws.dim_of(label, row), axis) for label in labels if label in row]
        return [(*best, axis), *shifts] if shifts else None

    def by_scalars(self, call: Call, law: laws.Pointwise, out: Asked) -> list[Asked] | None:
        o, d, axis = out
        row, rank = self.rows.row, o.dim()
        at = [len(row(t)) - rank + d for t in call.tensors]
        met = [i for i, t in enumerate(call.tensors) if at[i] >= 0 and axis in row(t)[at[i]]]
        first = sorted(met, key=lambda i: id(call.tensors[i]) in self.data)
        arguments = with_slots(call)
        for some in [*((i,) for i in first), tuple(met)]:
            if some and homogeneous(call.op, arguments, some):
                return [(call.tensors[i], at[i], axis) for i in some]
        return None

    def by_moves(self, call: Call, law: laws.Moved, out: Asked) -> list[Asked] | None:
        o, _, axis = out
        mine = self._spots(o, axis)
        found = [self._spots(t, axis) for t in law.sources]
        whole = all((id(o), d, a) in self.asked for _, d, a in mine)
        same = all(len(row) in (0, len(mine)) for row in found)
        return [ask for row in found for ask in row] if whole and same else None

    def by_scale(self, call: Call, law: laws.Normalised, out: Asked) -> list[Asked] | None:
        if law.weight is None or not (found := self._spots(law.weight, out[2])):
            return None
        return found + ([] if law.bias is None else self._spots(law.bias, out[2]))

    def by_length(self, call: Call, law: laws.WeightNormed, out: Asked) -> list[Asked] | None:
        return None if out[1] in law.dims else self._spots(law.length, out[2])

    def by_values(self, call: Call, law: laws.Attended, out: Asked) -> list[Asked] | None:
        return self._spots(law.value, out[2])

    def by_sum(self, call: Call, law: laws.Summed, out: Asked) -> list[Asked] | None:
        spots = self._spots(call.tensors[0], out[2])
        return [(t, d, axis) for t, d, axis in spots if d not in law.dims]


_ENDS: dict[type, Callable[[_Asking, Call, Any, set[Node]], list[Asked]]] = {
    laws.Contracted: _Asking.contracted,
    laws.Summed: _Asking.summed,
    laws.Attended: _Asking.attended,
    laws.Recurrent: _Asking.recurrent,
    laws.WeightNormed: _Asking.normed,
}
_PASSES: dict[type, Callable[[_Asking, Call, Any, Asked], list[Asked] | None]] = {
    laws.Contracted: _Asking.by_contraction,
    laws.Pointwise: _Asking.by_scalars,
    laws.Moved: _Asking.by_moves,
    laws.Normalised: _Asking.by_scale,
    laws.WeightNormed: _Asking.by_length,
    laws.Attended: _Asking.by_values,
    laws.Summed: _Asking.by_sum,
}
