"""What is known of each tensor where units of an axis are removed: zero along a dim, not finite, or
nothing.

Invariant: what shares memory with a tensor that is written in place knows no more than that does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import Tensor

from purethin.inference.nodes import Node, find, leaves
from purethin.inference.rules.call import Call
from purethin.inference.trace import Trace, memory_of

AxisNodes = frozenset[Node]
Spots = frozenset[tuple[int, Node]]
"""Dims of one tensor, each with an axis that it carries."""
Spared = Mapping[Node, Collection[tuple[int, int]]]
"""`{axis: (id of a parameter, dim) that masking leaves as it is}`."""

NONE: AxisNodes = frozenset()


def reaching(tape: Sequence[Call], outputs: Iterable[Tensor]) -> list[Call]:
    """The calls that an output depends on. What the others do is of no account."""
    in_place = any(map(writes, tape))

    def marks(t: Tensor) -> tuple[int, ...]:
        return (id(t), memory_of(t)) if in_place else (id(t),)

    needed = {mark for t in outputs for mark in marks(t)}
    kept = []
    for call in reversed(tape):
        outs = [o for o in call.outs if isinstance(o, Tensor)]
        if any(
            id(o) in needed or (in_place and writes(call) and memory_of(o) in needed) for o in outs
        ):
            kept.append(call)
            needed.update(mark for t in call.tensors for mark in marks(t))
    return kept[::-1]


def data_of(trace: Trace, calls: Sequence[Call]) -> set[int]:
    """The ids of the inputs, and of all tensors that depend on them."""
    data = {t for t in trace.sources if trace.seen[t].parameter is None}
    for call in calls:
        if any(id(t) in data for t in call.tensors):
            data.update(id(o) for o in call.outs)
    return data


def writes(call: Call) -> bool:
    """Whether an operator writes in place."""
    return call.op._schema.is_mutable


class Rows:
    """The axes that the dims of each tensor of a settled trace carry, found once: `known` are those
    that another has found.
    """

    def __init__(self, trace: Trace, known: Rows | None = None) -> None:
        self.trace = trace
        self._leaves: dict[Node, list[Node]] = known._leaves if known else {}
        self._rows: dict[int, list[list[Node]]] = known._rows if known else {}
        self._spots: dict[int, list[tuple[int, Node]]] = known._spots if known else {}
        self._axes: dict[int, AxisNodes] = known._axes if known else {}

    def row(self, t: Tensor) -> list[list[Node]]:
        """The axes of each dim of a tensor."""
        if (found := self._rows.get(id(t))) is None:
            found = self._rows[id(t)] = [self.leaves_of(d) for d in self.trace.dims_of(t)]
        return found

    def leaves_of(self, n: Node) -> list[Node]:
        n = find(n)
        if (found := self._leaves.get(n)) is None:
            found = self._leaves[n] = leaves(n)
        return found

    def spots(self, t: Tensor) -> list[tuple[int, Node]]:
        """Each dim of a tensor with each axis that it carries."""
        if (found := self._spots.get(id(t))) is None:
            found = [(d, a) for d, dim in enumerate(self.row(t)) for a in dim]
            self._spots[id(t)] = found
        return found

    def axes(self, t: Tensor) -> AxisNodes:
        if (found := self._axes.get(id(t))) is None:
            found = self._axes[id(t)] = frozenset(a for _, a in self.spots(t))
        return found


class States(Rows):
    """The states of the tensors of one trace, parameters first."""

    def __init__(
        self, rows: Rows, parameters: Sequence[Tensor], spared: Spared, *, in_place: bool
    ) -> None:
        super().__init__(rows.trace, rows)
        self.in_place = in_place
        self._zero: dict[int, Spots] = {}
        self._infinite: dict[int, AxisNodes] = {}
        self._sharing: dict[int, dict[int, Tensor]] = {}
        left = {(p, d, a) for a, places in spared.items() for p, d in places}
        for p in parameters:
            self._zero[id(p)] = frozenset(s for s in self.spots(p) if (id(p), *s) not in left)

    def zero_at(self, t: Tensor, dim: int, axis: Node) -> bool:
        """Whether the entries at the axis's removed units along this dim are zero."""
        return (dim, axis) in self._zero.get(id(t), ())

    def zeros(self, t: Tensor) -> AxisNodes:
        """The axes that are zero along every dim that carries them."""
        zero = self._zero.get(id(t))
        if not zero:
            return NONE
        if len(zero) == len(self.spots(t)):
            return self.axes(t)
        return self.axes(t) - {a for d, a in self.spots(t) if (d, a) not in zero}

    def infinite(self, t: Tensor) -> AxisNodes:
        return self._infinite.get(id(t), NONE)

    def put(
        self, call: Call, o: Tensor, zero: Iterable[tuple[int, Node]], infinite: Iterable[Node]
    ) -> None:
        """Give an output its state; one written in place weakens all that share its memory."""
        z, n = frozenset(zero), frozenset(infinite)
        memory = self.shared(o)
        if writes(call) and any(o is t for t in call.tensors):
            loud = {a for d, a in self.spots(o) if (d, a) not in z}
            for t in memory.values():
                if t is not o:
                    self._zero[id(t)] = frozenset(
                        s for s in self._zero.get(id(t), ()) if s[1] not in loud
                    )
                    self._infinite[id(t)] = self.infinite(t) | n
        self.give(o, z, n & self.axes(o))

    def set(self, call: Call, zero: Iterable[Node], infinite: Iterable[Node] = ()) -> None:
        """Give the outputs their state, the same along all dims."""
        z = frozenset(zero)
        for o in call.outs:
            if isinstance(o, Tensor):
                self.put(call, o, ((d, a) for d, a in self.spots(o) if a in z), infinite)

    def shared(self, t: Tensor) -> dict[int, Tensor]:
        """The tensors seen that share memory with this one; kept only where something is written in
        place.
        """
        return self._sharing.setdefault(memory_of(t), {}) if self.in_place else {}

    def give(self, o: Tensor, zero: Iterable[tuple[int, Node]], infinite: Iterable[Node]) -> None:
        """Give a tensor its state."""
        self._zero[id(o)], self._infinite[id(o)] = frozenset(zero), frozenset(infinite)
        self.shared(o)[id(o)] = o
