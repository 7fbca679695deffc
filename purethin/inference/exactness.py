"""Which axes are exact: a second pass over the tape, by an abstract domain of two bits per tensor
and axis.

`zero`: the axes at whose removed units the tensor is zero, when every parameter is zeroed there.
`nonfinite`: those at whose removed units it may be infinite or nan. Parameters start zero on their
own axes. An axis is inexact as soon as one operator lets a removed unit's value through to the
rest, and the first such operator is its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor

from purethin.inference.places import Because
from purethin.inference.rules import laws
from purethin.inference.rules.call import Call
from purethin.inference.scalars import tried, with_slots
from purethin.inference.solver import Node, find, leaves
from purethin.inference.trace import Trace

Axes = frozenset[Node]
_NONE: Axes = frozenset()


def inexact_axes(
    trace: Trace, parameters: Sequence[Tensor], calls: Sequence[Call]
) -> dict[Node, object]:
    """The variables whose axes are not exact, each with its reason. `calls`: those that reach an
    output.
    """
    silence = _Silence(trace, in_place=any(map(_writes, calls)))
    for parameter in parameters:
        silence.zero[id(parameter)] = silence.axes(parameter)
    for node, place in trace.ledger.in_floats:
        silence.taint(leaves(node), "its size enters floating point", place)
    for call in calls:
        silence.read(call)
    return silence.inexact


def reaching(tape: Sequence[Call], outputs: Iterable[Tensor]) -> list[Call]:
    """The calls that an output depends on; the others would only slander."""
    in_place = any(map(_writes, tape))

    def marks(t: Tensor) -> tuple[int, ...]:
        return (id(t), _memory(t)) if in_place else (id(t),)

    needed = {mark for t in outputs for mark in marks(t)}
    kept = []
    for call in reversed(tape):
        outs = [o for o in call.outs if isinstance(o, Tensor)]
        if any(
            id(o) in needed or (in_place and _writes(call) and _memory(o) in needed) for o in outs
        ):
            kept.append(call)
            needed.update(mark for t in call.tensors for mark in marks(t))
    return kept[::-1]


def _writes(call: Call) -> bool:
    return call.op._schema.is_mutable


def _memory(t: Tensor) -> int:
    return -t.untyped_storage()._cdata


class _Silence:
    def __init__(self, trace: Trace, *, in_place: bool) -> None:
        self.trace, self.in_place = trace, in_place
        self.zero: dict[int, Axes] = {}
        self.nonfinite: dict[int, Axes] = {}
        self.inexact: dict[Node, object] = {}
        self.sharing: dict[int, dict[int, Tensor]] = {}
        self._leaves: dict[int, list[Node]] = {}
        self._rows: dict[int, list[list[Node]]] = {}
        self._axes: dict[int, Axes] = {}

    # ---- the domain

    def row(self, t: Tensor) -> list[list[Node]]:
        """The axes of each dim of a tensor."""
        if id(t) not in self._rows:
            self._rows[id(t)] = [self.leaves(d) for d in self.trace.dims_of(t)]
        return self._rows[id(t)]

    def leaves(self, n: Node) -> list[Node]:
        n = find(n)
        if id(n) not in self._leaves:
            self._leaves[id(n)] = leaves(n)
        return self._leaves[id(n)]

    def axes(self, t: Tensor) -> Axes:
        if id(t) not in self._axes:
            self._axes[id(t)] = frozenset(a for dim in self.row(t) for a in dim)
        return self._axes[id(t)]

    def zeros(self, t: Tensor) -> Axes:
        return self.zero.get(id(t), _NONE)

    def infinite(self, t: Tensor) -> Axes:
        return self.nonfinite.get(id(t), _NONE)

    def taint(self, axes: Iterable[Node], what: str, place: object) -> None:
        for a in axes:
            self.inexact.setdefault(a, Because(what, place))

    def set(self, call: Call, zero: Iterable[Node], nonfinite: Iterable[Node] = ()) -> None:
        """Give the outputs their state; one written in place gives it to all that share its
        memory.
        """
        z, n = frozenset(zero), frozenset(nonfinite)
        for o in call.outs:
            if not isinstance(o, Tensor):
                continue
            memory = self.shared(o)
            if any(o is t for t in call.tensors) and _writes(call):
                carried = self.axes(o)
                for t in memory.values():
                    if t is not o:
                        self.zero[id(t)] = frozenset(
                            a for a in self.zeros(t) if a not in carried or a in z
                        )
                        self.nonfinite[id(t)] = self.infinite(t) | n
            memory[id(o)] = o
            self.zero[id(o)], self.nonfinite[id(o)] = z & self.axes(o), n & self.axes(o)

    def shared(self, t: Tensor) -> dict[int, Tensor]:
        """The tensors seen that share memory with this one; kept only where something is written in
        place.
        """
        return self.sharing.setdefault(_memory(t), {}) if self.in_place else {}

    def read(self, call: Call) -> None:
        for t in call.tensors if self.in_place else ():
            self.shared(t)[id(t)] = t
        if call.outs and isinstance(call.outs[0], Tensor):
            _READ[type(call.law)](self, call, call.law)

    # ---- one law each

    def pointwise(self, call: Call, law: laws.Pointwise) -> None:
        out = call.outs[0]
        rows = [(t, self.row(t)) for t in call.tensors]
        zero, nonfinite = set(), set()
        shape = self.row(out)
        for axis in self.axes(out):
            answers = set()
            for d in range(1, len(shape) + 1):
                if axis in shape[-d]:
                    pattern = tuple(
                        "finite"
                        if len(row) < d or axis not in row[-d]
                        else "zero"
                        if axis in self.zeros(t)
                        else "infinite"
                        if axis in self.infinite(t)
                        else "finite"
                        for t, row in rows
                    )
                    answers.add(tried(call.op, with_slots(call), pattern))
            if answers == {"zero"}:
                zero.add(axis)
            if "infinite" in answers:
                nonfinite.add(axis)
        self.set(call, zero, nonfinite)

    def moved(self, call: Call, law: laws.Moved) -> None:
        counts = [(t, _count(self.row(t))) for t in law.sources]
        for o in call.outs:
            if not isinstance(o, Tensor):
                continue
            row = self.row(o)
            out = _count(row)
            zero = {
                a
                for a, n in out.items()
                if (have := [t for t, c in counts if a in c])
                and all(a in self.zeros(t) for t in have)
                and all(n <= c[a] for t, c in counts if a in c)
                and not (
                    law.fill and any(a in row[d] for d in range(len(row)) if d not in law.filled)
                )
            }
            self._one(call, o, zero, {a for a in out for t, _ in counts if a in self.infinite(t)})

    def _one(self, call: Call, o: Tensor, zero: Iterable[Node], nonfinite: Iterable[Node]) -> None:
        self.shared(o)[id(o)] = o
        self.zero[id(o)], self.nonfinite[id(o)] = frozenset(zero), frozenset(nonfinite)

    def contracted(self, call: Call, law: laws.Contracted) -> None:
        zero, nonfinite = set(), set()
        names = {label: self.leaves(node) for label, node in law.nodes.items()}
        for label, axes in names.items():
            having = [t for t, row in law.operands if label in row]
            for axis in axes if label not in law.out else ():
                if not any(axis in self.zeros(t) for t in having):
                    self.taint(
                        [axis],
                        "a sum over it meets values that are not zero when it is zeroed",
                        call.place,
                    )
                if any(axis in self.infinite(t) for t in having):
                    self.taint([axis], "a sum over it meets 0 times infinity", call.place)
        carried = {axis for label in law.out for axis in names.get(label, ())}
        for axis in carried:
            silent = [
                any(axis in self.zeros(t) for t, row in law.operands if label in row)
                and self._bias_silent(law, label, axis)
                for label in law.out
                if axis in names.get(label, ())
            ]
            if all(silent):
                zero.add(axis)
            if any(axis in self.infinite(t) for t, _ in law.operands):
                nonfinite.add(axis)
        self.set(call, zero, nonfinite)

    def _bias_silent(self, law: laws.Contracted, label: laws.Label, axis: Node) -> bool:
        return law.bias is None or (label in law.bias[1] and axis in self.zeros(law.bias[0]))

    def summed(self, call: Call, law: laws.Summed) -> None:
        x = call.tensors[0]
        row = self.row(x)
        over = {a for d in law.dims for a in row[d]}
        for axis in over:
            if axis not in self.zeros(x):
                self.taint(
                    [axis], f"{law.what} over it, where it is not zero when zeroed,", call.place
                )
            if axis in self.infinite(x):
                self.taint(
                    [axis], f"{law.what} over it, where it is infinite when zeroed,", call.place
                )
        left = {a for d, dim in enumerate(row) if d not in law.dims for a in dim}
        self.set(call, (self.zeros(x) & left) - (over if law.running else set()), self.infinite(x))

    def mixed(self, call: Call, law: laws.Mixed) -> None:
        x = call.tensors[0]
        row = self.row(x)
        over = {a for d in law.dims for a in row[d]}
        self.taint(over, f"{law.what} over it", call.place)
        self.set(call, self.zeros(x) - over if law.keeps_zero else (), self.infinite(x))

    def normalised(self, call: Call, law: laws.Normalised) -> None:
        x = call.tensors[0]
        row = self.row(x)
        over = {a for d in law.dims for a in row[d]} | set(
            self.leaves(law.within) if law.within is not None else ()
        )
        self.taint(
            over - (self.zeros(x) if law.over_silent else _NONE), f"{law.what} over it", call.place
        )
        if law.over_silent:  # a zeroed slice has the norm zero, and is divided by it
            apart = {a for d, dim in enumerate(row) if d not in law.dims for a in dim}
            self.taint(apart, f"{law.what} of a zeroed unit, which divides by zero,", call.place)
            self.set(call, self.zeros(x) - apart, apart)
            return
        self.taint(self.axes(x) & self.infinite(x), f"{law.what} of infinity", call.place)
        scaled = _NONE
        if law.weight is not None:
            lead = {a for dim in row[: law.at] for a in dim}
            scaled = self.zeros(law.weight) - lead
        zero = (self.zeros(x) - over) | scaled
        if law.bias is not None:
            shift = _count(self.row(law.bias))
            zero = {
                a for a in zero if a in self.zeros(law.bias) and _count(row).get(a) == shift.get(a)
            }
        self.set(call, zero)

    def attended(self, call: Call, law: laws.Attended) -> None:
        q, k, v = law.query, law.key, law.value
        for axis in self.row(q)[-1]:
            if law.scaled:
                self.taint([axis], "the attention scale, read from its size,", call.place)
            if axis not in self.zeros(q) | self.zeros(k) or axis in self.infinite(
                q
            ) | self.infinite(k):
                self.taint(
                    [axis],
                    "a sum over it meets values that are not zero when it is zeroed",
                    call.place,
                )
        self.taint({*self.row(k)[-2], *self.row(v)[-2]}, "an attention softmax over it", call.place)
        row = self.row(call.outs[0])
        self.set(call, self.zeros(v) - set(row[-2]), self.infinite(v))

    def compared(self, call: Call, law: laws.Compared) -> None:
        both = self.zeros(law.left) & self.zeros(law.right)
        self.taint(
            set(self.row(law.left)[-1]) - both,
            "a distance over it, where it is not zero when zeroed,",
            call.place,
        )
        self.set(call, ())

    def recurrent(self, call: Call, law: laws.Recurrent) -> None:
        for axis in self.row(law.source)[-1]:
            if axis not in self.zeros(law.source) | self.zeros(
                law.weights[0]
            ) or axis in self.infinite(law.source):
                self.taint(
                    [axis],
                    "a sum over it meets values that are not zero when it is zeroed",
                    call.place,
                )
        hidden = {
            a
            for t in law.weights
            for a in self.axes(t)
            if all(a in self.zeros(w) for w in law.weights if a in self.axes(w))
        }
        for s in law.states:
            hidden -= set(self.row(s)[-1]) - self.zeros(s)
            self.taint(
                set(self.row(s)[-1]) - self.zeros(s),
                "an initial state that is not zero",
                call.place,
            )
        self.set(call, hidden)

    def written(self, call: Call, law: laws.Written) -> None:
        target, source = call.tensors[0], law.source
        if source is None:
            self.set(call, ())
            return
        whole = call.name == "copy"
        theirs = _count(self.row(source))
        agreed = {
            a
            for a, n in _count(self.row(target)).items()
            if a in self.zeros(source) and theirs.get(a) == n
        }
        if whole:
            self.set(call, agreed, self.infinite(source))
        else:
            self.set(
                call, agreed & self.zeros(target), self.infinite(source) | self.infinite(target)
            )

    def made(self, call: Call, law: laws.Made) -> None:
        row = self.row(call.outs[0])
        for d in law.positional:
            self.taint(row[d], law.what, call.place)
        self.set(call, self.axes(call.outs[0]) if law.zero else ())

    def opaque(self, call: Call, law: laws.Opaque) -> None:
        self.taint({a for t in call.tensors for a in self.axes(t)}, law.what, call.place)
        self.set(call, ())


_READ: dict[type, Callable[[_Silence, Call, Any], None]] = {
    laws.Pointwise: _Silence.pointwise,
    laws.Moved: _Silence.moved,
    laws.Contracted: _Silence.contracted,
    laws.Summed: _Silence.summed,
    laws.Mixed: _Silence.mixed,
    laws.Normalised: _Silence.normalised,
    laws.Attended: _Silence.attended,
    laws.Compared: _Silence.compared,
    laws.Recurrent: _Silence.recurrent,
    laws.Written: _Silence.written,
    laws.Made: _Silence.made,
    laws.Opaque: _Silence.opaque,
}


def _count(row: Sequence[Sequence[Node]]) -> dict[Node, int]:
    """How many dims carry each axis."""
    out: dict[Node, int] = {}
    for dim in row:
        for a in dim:
            out[a] = out.get(a, 0) + 1
    return out
