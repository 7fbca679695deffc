"""A trace read without all units of some axes: which tensors are empty, what the outputs still
depend on, and what stands in the way.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from math import prod

from torch import Tensor

from purethin.inference.layers import unable
from purethin.inference.nodes import Node, find, leaves
from purethin.inference.places import Because
from purethin.inference.rules import laws
from purethin.inference.scalars import tried, with_slots
from purethin.inference.sources import Traced
from purethin.inference.states import writes
from purethin.inference.trace import memory_of


class Dense:
    """A trace, with what all questions to it share.

    Attributes:
        unable: the calls that torch cannot make, or not rightly, of tensors without channels.
        rows: for each call what it takes and what it gives, as ids of tensors and the marks by
            which they are known: these, and their memory where something is written in place.
    """

    def __init__(self, traced: Traced) -> None:
        self.traced, self.trace = traced, traced.trace
        self._in_place = any(map(writes, traced.calls))
        self.unable = unable(traced)
        self.rows = [
            (
                [(id(t), self._marks(t)) for t in call.tensors],
                [(id(o), self._marks(o)) for o in call.outs if isinstance(o, Tensor)],
                writes(call),
            )
            for call in traced.calls
        ]
        self.carrying: dict[Node, dict[int, Tensor]] = {}
        for t in (s.tensor for s in [*self.trace.seen.values()] if s.dims is not None):
            for axis in {v for d in self.trace.dims_of(t) for v in leaves(d)}:
                self.carrying.setdefault(axis, {})[id(t)] = t
        self.reached = self.reach({id(call) for call in traced.calls}, frozenset())

    def needed(self, empty: Collection[int]) -> tuple[set[int], set[int]]:
        """The calls, and the tensors, that an output depends on, by way of what is not empty."""
        ends = [*self.traced.outputs.values(), *self.trace.read]
        marks = {m for t in ends if id(t) not in empty for m in self._marks(t)}
        calls: set[int] = set()
        for call, (ins, outs, written) in zip(
            self.traced.calls[::-1], self.rows[::-1], strict=True
        ):
            if any(o in marks or (written and not marks.isdisjoint(ms)) for o, ms in outs):
                calls.add(id(call))
                marks.update(m for t, ms in ins if t not in empty for m in ms)
        return calls, marks

    def reach(self, calls: set[int], empty: Collection[int]) -> set[str]:
        """The outputs that depend on an input, by way of these calls and of what is not empty."""
        seen = self.trace.seen
        data = {t for t in self.trace.sources if seen[t].parameter is None}
        for call, (ins, outs, _) in zip(self.traced.calls, self.rows, strict=True):
            if id(call) in calls and any(
                t not in empty and not data.isdisjoint(marks) for t, marks in ins
            ):
                data.update(m for o, marks in outs if o not in empty for m in marks)
        return {
            where
            for where, t in self.traced.outputs.items()
            if id(t) not in empty and not data.isdisjoint(self._marks(t))
        }

    def _marks(self, t: Tensor) -> tuple[int, ...]:
        return (id(t), memory_of(t)) if self._in_place else (id(t),)


class Without:
    """The trace of the dense network, where these axes have no unit."""

    def __init__(self, dense: Dense, gone: frozenset[Node]) -> None:
        self.dense, self.gone = dense, gone
        self._sizes: dict[Node, int] = {}
        carrying = {i: t for a in gone for i, t in dense.carrying.get(a, {}).items()}
        dims_of = dense.trace.dims_of
        self.empty = {i for i, t in carrying.items() if not all(map(self._size, dims_of(t)))}

    def refusal(self) -> str | None:
        """Why these axes cannot go: no other way for the data, an operator that torch has not for
        nothing, or a division by zero.
        """
        if (output := self._cut()) is not None:
            return f"no other way goes around it: without it {output} would depend on no input"
        for call in self.dense.unable:
            if any(id(t) in self.empty for t in call.tensors):
                return str(Because(f"{call.name} of nothing, which torch has not,", call.place))
        why = self._divided()
        return None if why is None else str(why)

    def parameters_read(self) -> set[str]:
        """The parameters and buffers of which an output depends on a value."""
        read = self._needed[1]
        return {name for name, t in self.dense.traced.named.items() if id(t) in read}

    def _size(self, node: Node) -> int:
        node = find(node)
        if node not in self._sizes:
            inner = [self._size(p) for p in node.parts]
            match node.kind:
                case "product":
                    size = prod(inner)
                case "sum":
                    size = sum(inner)
                case "take":
                    size = min(inner[0], node.size)
                case _:
                    size = 0 if node in self.gone else node.size
            self._sizes[node] = size
        return self._sizes[node]

    @cached_property
    def _needed(self) -> tuple[set[int], set[int]]:
        return self.dense.needed(self.empty)

    def _cut(self) -> str | None:
        """The first output that depends on an input in the dense network, and would on none."""
        after = self.dense.reach(self._needed[0], self.empty)
        return next((w for w in self.dense.reached if w not in after), None)

    def _divided(self) -> Because | None:
        """The first call in which zeros of nothing make a value that is not finite."""
        zero: set[int] = set()
        for call in self.dense.traced.calls:
            out, law = call.outs[0], call.law
            sources = law.sources if isinstance(law, laws.Moved) else call.tensors
            none = [id(t) in zero or id(t) in self.empty for t in sources]
            if not any(none) or not isinstance(out, Tensor):
                continue
            if isinstance(law, laws.Pointwise) and any(id(t) in zero for t in sources):
                states = tuple("zero" if id(t) in zero else "finite" for t in sources)
                answer = tried(call.op, with_slots(call), states)
                if answer == "infinite":
                    what = f"{call.name} of the zeros that are left, not finite,"
                    return Because(what, call.place)
                none = [answer == "zero"]
            if id(out) not in self.empty and _vanishes(law, none):
                zero.add(id(out))
        return None


def _vanishes(law: laws.Law, none: list[bool]) -> bool:
    """Whether a call gives zeros where these operands are zero or empty."""
    match law:
        case laws.Contracted(bias=None) | laws.Summed():
            return any(none)
        case laws.Pointwise() | laws.Moved(fill=0.0):
            return all(none)
        case laws.Mixed(keeps_zero=True):
            return none[0]
        case laws.Attended():
            return none[2]
    return False
