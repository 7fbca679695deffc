"""Which axes are exact: a second pass over the tape, which says of each tensor where it is zero and
where it is not finite, when units are zeroed in the parameters.

An axis is inexact as soon as one operator lets a removed unit's value through to the rest, and the
first such operator is its reason. Each law of values has one method here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor

from purethin.inference.nodes import Node, leaves
from purethin.inference.places import Because
from purethin.inference.rules import laws
from purethin.inference.rules.call import Call
from purethin.inference.scalars import culprits, tried, with_slots
from purethin.inference.states import NONE, Rows, Spared, States, writes

_LOUD = "a sum over it meets values that are not zero when it is zeroed"


class Reading(States):
    """One pass over the calls that reach an output.

    Attributes:
        faults: `{inexact axis: {text: reason}}` in the order of the calls, other than infinities.
        nonfinite: `{axis: reason}` where a value that is not finite meets the rest.
        origins: `{axis: the (tensor, dim) whose zeros make such values}`.
    """

    def __init__(
        self,
        rows: Rows,
        parameters: Sequence[Tensor],
        calls: Sequence[Call],
        spared: Spared | None = None,
    ) -> None:
        super().__init__(rows, parameters, spared or {}, in_place=any(map(writes, calls)))
        self.faults: dict[Node, dict[str, Because]] = {}
        self.nonfinite: dict[Node, Because] = {}
        self.origins: dict[Node, list[tuple[Tensor, int]]] = {}
        self._first: dict[Node, Because] = {}
        for node, place in self.trace.ledger.as_numbers:
            self._fault(leaves(node), "its size is used as a number", place)
        for call in calls:
            self._read(call)

    @property
    def inexact(self) -> dict[Node, Because]:
        """The axes that are not exact, each with its first reason."""
        return {a: next(iter(why.values())) for a, why in self.faults.items()} | self.nonfinite

    def _fault(self, axes: Iterable[Node], what: str, place: object) -> None:
        for a in axes:
            why = Because(what, place)
            self.faults.setdefault(a, {}).setdefault(str(why), why)

    def _meets(self, axis: Node, t: Iterable[Tensor], zero: bool, what: str, call: Call) -> None:
        """A sum over an axis, of these tensors: it must be finite and zero at removed units."""
        if any(axis in self.infinite(x) for x in t):
            self._burst([axis], call)
        elif not zero:
            self._fault([axis], what, call.place)

    def _burst(self, axes: Iterable[Node], call: Call) -> None:
        for a in axes:
            self.nonfinite.setdefault(a, self._first.get(a) or Because("infinity", call.place))

    def _starts(self, axis: Node, call: Call, what: str, from_: list[tuple[Tensor, int]]) -> None:
        """Note where a value that is not finite comes from."""
        self._first.setdefault(axis, Because(what, call.place))
        self.origins.setdefault(axis, []).extend(from_)

    def _read(self, call: Call) -> None:
        for t in call.tensors if self.in_place else ():
            self.shared(t)[id(t)] = t
        if call.outs and isinstance(call.outs[0], Tensor):
            _READ[type(call.law)](self, call, call.law)

    # ---- one law each

    def pointwise(self, call: Call, law: laws.Pointwise) -> None:
        out, arguments = call.outs[0], with_slots(call)
        rank = len(self.row(out))
        zero, infinite = set(), set()
        answers: dict[tuple[str, ...], str] = {}
        operands = [(t, self.row(t)) for t in call.tensors]
        for d, axis in self.spots(out):
            met = [(t, len(row) - rank + d) for t, row in operands]
            states = tuple([self._state(t, at, axis) for t, at in met])
            if (answer := answers.get(states)) is None:
                answer = answers[states] = tried(call.op, arguments, states)
            if answer == "zero":
                zero.add((d, axis))
            elif answer == "infinite":
                infinite.add(axis)
                if "infinite" not in states:
                    made = [met[i] for i in culprits(call.op, arguments, states)]
                    self._starts(axis, call, f"{call.name} of a zeroed unit, not finite,", made)
        self.put(call, out, zero, infinite)
        for o in call.outs[1:]:
            if isinstance(o, Tensor):
                self.put(call, o, zero & set(self.spots(o)), infinite)

    def _state(self, t: Tensor, dim: int, axis: Node) -> str:
        """What a tensor's entries at removed units along a dim are; a broadcast dim has none."""
        if dim < 0 or axis not in self.row(t)[dim]:
            return "finite"
        if self.zero_at(t, dim, axis):
            return "zero"
        return "infinite" if axis in self.infinite(t) else "finite"

    def moved(self, call: Call, law: laws.Moved) -> None:
        given: dict[Node, list[tuple[bool, int]]] = {}
        for t in law.sources:
            silent_in = self.zeros(t)
            for axis, m in _count(self.row(t)).items():
                given.setdefault(axis, []).append((axis in silent_in, m))
        loud = NONE.union(*map(self.infinite, law.sources))
        for o in call.outs:
            if not isinstance(o, Tensor):
                continue
            row = self.row(o)
            padded = {
                a for d, dim in enumerate(row) if law.fill and d not in law.filled for a in dim
            }
            zero, infinite = set(), set()
            for axis, n in _count(row).items():
                having = given.get(axis, [])
                silent = bool(having) and all(zeroed for zeroed, _ in having)
                duplicated = any(n > m for _, m in having)
                if silent and not duplicated and axis not in padded:
                    zero.add(axis)
                if axis in loud:
                    infinite.add(axis)
            self.give(o, (s for s in self.spots(o) if s[1] in zero), infinite)

    def contracted(self, call: Call, law: laws.Contracted) -> None:
        names = {label: self.leaves_of(node) for label, node in law.nodes.items()}
        zero, infinite = set(), set()
        for label, axes in names.items():
            having = [(t, laws.dim_of(label, row)) for t, row in law.operands if label in row]
            for axis in set(axes):
                silent = any(self.zero_at(t, d, axis) for t, d in having)
                if label not in law.out:
                    self._meets(axis, [t for t, _ in having], silent, _LOUD, call)
                elif any(axis in self.infinite(t) for t, _ in law.operands):
                    infinite.add(axis)
                elif label in law.slid:
                    self._fault([axis], "a window that slides over it", call.place)
                elif silent and self._bias_silent(law, label, axis):
                    zero.add((laws.dim_of(label, law.out), axis))
        for o in call.outs:
            if isinstance(o, Tensor):
                self.put(call, o, zero, infinite)

    def _bias_silent(self, law: laws.Contracted, label: laws.Label, axis: Node) -> bool:
        if law.bias is None:
            return True
        bias, row = law.bias
        return label in row and self.zero_at(bias, laws.dim_of(label, row), axis)

    def summed(self, call: Call, law: laws.Summed) -> None:
        x = call.tensors[0]
        over = {(d, a) for d, a in self.spots(x) if d in law.dims}
        rest = set(self.spots(x)) - over
        for d, axis in over:
            what = f"{law.what} over it, where it is not zero when zeroed,"
            self._meets(axis, [x], self.zero_at(x, d, axis), what, call)
        loud = {a for d, a in rest if not self.zero_at(x, d, a)}
        loud |= {a for _, a in over} if law.running else set()
        self.set(call, {a for _, a in rest} - loud, self.infinite(x))

    def mixed(self, call: Call, law: laws.Mixed) -> None:
        x = call.tensors[0]
        over = {a for d, a in self.spots(x) if d in law.dims}
        self._fault(over, f"{law.what} over it", call.place)
        self.set(call, self.zeros(x) - over if law.keeps_zero else (), self.infinite(x))

    def normalised(self, call: Call, law: laws.Normalised) -> None:
        x = call.tensors[0]
        row = self.row(x)
        within = [] if law.within is None else self.leaves_of(law.within)
        over = {a for d, a in self.spots(x) if d in law.dims} | set(within)
        self._fault(over, f"{law.what} over it", call.place)
        self._burst(self.infinite(x), call)
        zero = self.zeros(x) - over
        if law.weight is not None:
            zero |= self.zeros(law.weight) - {a for dim in row[: law.at] for a in dim}
        if law.bias is not None:
            carried, shift = _count(row), _count(self.row(law.bias))
            silent = self.zeros(law.bias)
            zero = {a for a in zero if a in silent and carried.get(a) == shift.get(a)}
        self.set(call, zero)

    def weight_normed(self, call: Call, law: laws.WeightNormed) -> None:
        v, g = law.direction, law.length
        zero, infinite = set(), set(self.infinite(v) | self.infinite(g))
        for d, axis in set(self.spots(v)):
            if d in law.dims:
                what = f"{law.what} over it, where it is not zero when zeroed,"
                self._meets(axis, [v], self.zero_at(v, d, axis), what, call)
            if self.zero_at(v, d, axis) and d not in law.dims:
                infinite.add(axis)
                what = f"{law.what} of a zeroed unit, which divides by zero,"
                self._starts(axis, call, what, [(v, d)])
            elif self.zero_at(v, d, axis) or (d < g.dim() and self.zero_at(g, d, axis)):
                zero.add((d, axis))
        for o in call.outs:
            if isinstance(o, Tensor):
                self.put(call, o, zero, infinite)

    def attended(self, call: Call, law: laws.Attended) -> None:
        q, k, v = law.query, law.key, law.value
        for axis in self.row(q)[-1]:
            if law.scaled:
                self._fault([axis], "the attention scale, read from its size,", call.place)
            self._meets(axis, [q, k], axis in self.zeros(q) | self.zeros(k), _LOUD, call)
        over = {*self.row(k)[-2], *self.row(v)[-2]}
        self._fault(over, "an attention softmax over it", call.place)
        row = self.row(call.outs[0])
        infinite = self.infinite(q) | self.infinite(k) | self.infinite(v)
        self.set(call, self.zeros(v) - set(row[-2]), infinite)

    def compared(self, call: Call, law: laws.Compared) -> None:
        both = self.zeros(law.left) & self.zeros(law.right)
        what = "a distance over it, where it is not zero when zeroed,"
        self._fault(set(self.row(law.left)[-1]) - both, what, call.place)
        self.set(call, ())

    def recurrent(self, call: Call, law: laws.Recurrent) -> None:
        for axis in self.row(law.source)[-1]:
            silent = axis in self.zeros(law.source) | self.zeros(law.weights[0])
            self._meets(axis, [law.source], silent, _LOUD, call)
        hidden = {a for t in law.weights for a in self.axes(t)}
        for w in law.weights:
            hidden -= self.axes(w) - self.zeros(w)
        for s in law.states:
            loud = set(self.row(s)[-1]) - self.zeros(s)
            hidden -= loud
            self._fault(loud, "an initial state that is not zero", call.place)
        self.set(call, hidden)

    def written(self, call: Call, law: laws.Written) -> None:
        target, source = call.tensors[0], law.source
        if source is None:
            self.set(call, ())
            return
        mine, theirs = _count(self.row(target)), _count(self.row(source))
        agreed = {a for a in self.zeros(source) if theirs.get(a) == mine.get(a)}
        if call.name == "copy":  # the target is overwritten whole
            self.set(call, agreed, self.infinite(source))
        else:
            infinite = self.infinite(source) | self.infinite(target)
            self.set(call, agreed & self.zeros(target), infinite)

    def made(self, call: Call, law: laws.Made) -> None:
        row = self.row(call.outs[0])
        for d in law.positional:
            self._fault(row[d], law.what, call.place)
        self.set(call, self.axes(call.outs[0]) if law.zero else ())

    def opaque(self, call: Call, law: laws.Opaque) -> None:
        self._fault({a for t in call.tensors for a in self.axes(t)}, law.what, call.place)
        self.set(call, ())


_READ: dict[type, Callable[[Reading, Call, Any], None]] = {
    laws.Pointwise: Reading.pointwise,
    laws.Moved: Reading.moved,
    laws.Contracted: Reading.contracted,
    laws.Summed: Reading.summed,
    laws.Mixed: Reading.mixed,
    laws.Normalised: Reading.normalised,
    laws.WeightNormed: Reading.weight_normed,
    laws.Attended: Reading.attended,
    laws.Compared: Reading.compared,
    laws.Recurrent: Reading.recurrent,
    laws.Written: Reading.written,
    laws.Made: Reading.made,
    laws.Opaque: Reading.opaque,
}


def _count(row: Sequence[Sequence[Node]]) -> dict[Node, int]:
    """How many dims carry each axis."""
    out: dict[Node, int] = {}
    for dim in row:
        for a in dim:
            out[a] = out.get(a, 0) + 1
    return out
