"""Tracked integers: an `int` that remembers which dimension it measured, and the ledger of what was
done with it.

An integer states a size, never a name. Arithmetic keeps the track; what leaves it is written down:
an equation between sizes, a comparison (a path condition), a use in floating point (inexact).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, SupportsIndex

from purethin.inference.equations import ATTRIBUTE, Equation, is_size_only
from purethin.inference.places import Because, Place, is_purethin, place
from purethin.inference.solver import (
    Node,
    Why,
    constant,
    find,
    freeze,
    leaves,
    product,
    total,
    variable,
)


@dataclass
class Ledger:
    """What the sizes of a trace were used for."""

    equations: list[Equation] = field(default_factory=list)
    comparisons: list[tuple[Node, str, Node, bool, Place]] = field(default_factory=list)
    in_floats: list[tuple[Node, Place]] = field(default_factory=list)
    spelled: list[tuple[Node, Because]] = field(default_factory=list)

    def size(self, value: int, node: Node) -> int:
        """The integer, tracked if the node can change."""
        return value if find(node).kind == "constant" else Size(value, node, self)

    def dimension(self, value: int, why: Why) -> Node:
        """A dimension whose size this integer states: fresh, with an equation, or a constant for a
        literal.
        """
        if not isinstance(value, Size) or value.ledger is not self:
            return constant(value, why)
        fresh, node = variable(int(value)), find(value.node)
        if node.kind == "constant":
            return constant(int(value), node.why or why)
        if is_size_only(node):
            node.up = fresh
        else:
            self.equations.append((fresh, node, why))
        return fresh

    def equal(self, a: Node, b: Node, why: Why) -> None:
        """State that two sizes are one: a node that only measures is bound at once, for the dims
        that follow.
        """
        a, b = find(a), find(b)
        for measure, other in ((a, b), (b, a)):
            if is_size_only(measure) and measure not in leaves(other):
                measure.up = other
                return
        self.equations.append((a, b, why))


class Size(int):
    """An integer that measured `node`."""

    node: Node
    ledger: Ledger

    def __new__(cls, value: int, node: Node, ledger: Ledger) -> Size:
        self = int.__new__(cls, value)
        self.node, self.ledger = node, ledger
        return self

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Size:
        return self

    def __copy__(self) -> Size:
        return self

    def _float(self, op: str) -> None:
        self.ledger.in_floats.append((self.node, place(op)))

    def _with(self, other: object, op: str, join: Callable[[Node, Node], Node], value: Any) -> Any:
        if not isinstance(other, int):
            self._float(op)
            return value
        return self.ledger.size(value, join(self.node, node_of(other, self.ledger)))

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, str | list | tuple):
            return int(self) * other
        return self._with(other, "*", lambda a, b: product([a, b]), int(self) * _plain(other))

    def __rmul__(self, other: Any) -> Any:
        if isinstance(other, str | list | tuple):
            return other * int(self)
        return self._with(other, "*", lambda a, b: product([b, a]), _plain(other) * int(self))

    def __add__(self, other: Any) -> Any:
        return self._with(other, "+", lambda a, b: total([a, b]), int(self) + _plain(other))

    def __radd__(self, other: Any) -> Any:
        return self._with(other, "+", lambda a, b: total([b, a]), _plain(other) + int(self))

    def __sub__(self, other: Any) -> Any:
        return self._with(other, "-", self._less, int(self) - _plain(other))

    def __rsub__(self, other: Any) -> Any:
        return self._with(other, "-", lambda a, b: self._less(b, a), _plain(other) - int(self))

    def __floordiv__(self, other: Any) -> Any:
        return self._with(other, "//", self._over, int(self) // _plain(other))

    def __rfloordiv__(self, other: Any) -> Any:
        return self._with(other, "//", lambda a, b: self._over(b, a), _plain(other) // int(self))

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __mod__(self, other: Any) -> Any:
        value = int(self) % _plain(other)
        if isinstance(other, int) and value == 0:
            self.ledger.comparisons.append(
                (self.node, "%", node_of(other, self.ledger), True, place("%"))
            )
        else:
            freeze(self.node, Because("a remainder is taken", place("%")))
        return value

    def __pow__(self, other: Any, mod: int | None = None) -> Any:
        if type(other) is int and other >= 1 and mod is None:
            return self.ledger.size(int(self) ** other, product([self.node] * other))
        self._float("**")
        return int(self) ** _plain(other)

    def __rpow__(self, other: Any, mod: int | None = None) -> Any:
        self._float("**")
        return _plain(other) ** int(self)

    def __truediv__(self, other: Any) -> float:
        self._float("/")
        return int(self) / _plain(other)

    def __rtruediv__(self, other: Any) -> float:
        self._float("/")
        return _plain(other) / int(self)

    def __float__(self) -> float:
        self._float("float()")
        return float(int(self))

    def __round__(self, ndigits: SupportsIndex = 0, /) -> Size:
        return self

    def _less(self, a: Node, b: Node) -> Node:
        """The size `a - b`, a size-only node r with |a| = |b| + |r|."""
        if find(a).size <= find(b).size:
            return constant(find(a).size - find(b).size)
        rest = Node("variable", find(a).size - find(b).size, label=ATTRIBUTE)
        self.ledger.equations.append((a, total([b, rest]), place("-")))
        return rest

    def _over(self, a: Node, b: Node) -> Node:
        """The size `a // b`, a size-only node q with |a| = |q||b|; a remainder freezes both."""
        at = place("//")
        if find(b).size == 0 or find(a).size % find(b).size:
            freeze(a, Because("a division with a remainder", at))
            freeze(b, Because("a division with a remainder", at))
            return constant(find(a).size // max(find(b).size, 1))
        quotient = Node("variable", find(a).size // find(b).size, label=ATTRIBUTE)
        self.ledger.equations.append((a, product([b, quotient]), at))
        return quotient

    def _compare(self, other: object, relation: str, answer: bool) -> bool:
        if not isinstance(other, int) or other is self:
            return answer
        at = place(relation)
        if relation != "==" or not answer:
            self.ledger.comparisons.append(
                (self.node, relation, node_of(other, self.ledger), answer, at)
            )
        elif isinstance(other, Size):
            self.ledger.equal(
                self.node, other.node, Because("sizes are compared and are equal", at)
            )
        else:
            freeze(self.node, Because(f"its size is compared with {int(other)} and is equal", at))
        return answer

    def escape(self, how: str) -> None:
        """Note that the value goes where no track is kept: what is computed from it changes when
        the size does.
        """
        self.ledger.in_floats.append((self.node, place(how)))

    def __int__(self) -> int:
        if not is_purethin(sys._getframe(1).f_code):
            self.escape("int()")
        return int.__int__(self)

    def __str__(self) -> str:
        return self._spelled()

    def __repr__(self) -> str:
        return self._spelled()

    def __format__(self, spec: str) -> str:
        return format(self._spelled(), spec) if not spec else format(int.__int__(self), spec)

    def _spelled(self) -> str:
        if not is_purethin(sys._getframe(2).f_code):
            self.ledger.spelled.append(
                (self.node, Because("its size is spelled out", place("str()")))
            )
        return str(int.__int__(self))

    def __lt__(self, other: Any) -> bool:
        return self._compare(other, "<", int(self) < _plain(other))

    def __le__(self, other: Any) -> bool:
        return self._compare(other, "<=", int(self) <= _plain(other))

    def __gt__(self, other: Any) -> bool:
        return self._compare(other, ">", int(self) > _plain(other))

    def __ge__(self, other: Any) -> bool:
        return self._compare(other, ">=", int(self) >= _plain(other))

    def __eq__(self, other: object) -> bool:
        return self._compare(other, "==", int(self) == _plain(other))

    def __ne__(self, other: object) -> bool:
        return not self._compare(other, "==", int(self) == _plain(other))

    __hash__ = int.__hash__


class Datum(int):
    """An integer that a tensor gave away: other data would give another."""

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)

    def __add__(self, other: Any) -> Any:
        return _datum(int.__add__(self, other))

    def __sub__(self, other: Any) -> Any:
        return _datum(int.__sub__(self, other))

    def __rsub__(self, other: Any) -> Any:
        return _datum(int.__rsub__(self, other))

    def __mul__(self, other: Any) -> Any:
        return _datum(int.__mul__(self, other))

    def __floordiv__(self, other: Any) -> Any:
        return _datum(int.__floordiv__(self, other))

    __radd__, __rmul__ = __add__, __mul__


def _datum(value: Any) -> Any:
    return Datum(value) if type(value) is int else value


def data(value: Any) -> Any:
    """What a tensor gave away, its integers marked as such."""
    return [data(v) for v in value] if isinstance(value, list) else _datum(value)


class Shape(tuple[int, ...]):
    """What `x.shape` gives while its sizes are tracked."""

    def numel(self) -> int:
        out = 1
        for s in self:
            out = out * s
        return out

    def __getitem__(self, i: Any) -> Any:
        got = tuple.__getitem__(self, i)
        return Shape(got) if isinstance(i, slice) else got

    def __add__(self, other: Any) -> Shape:
        return Shape((*self, *other))


def node_of(value: int, ledger: Ledger) -> Node:
    """The size that an integer states; one that was tracked in another trace (and kept in a cache)
    is plain.
    """
    return (
        value.node if isinstance(value, Size) and value.ledger is ledger else constant(int(value))
    )


def _plain(x: Any) -> Any:
    return int(x) if isinstance(x, Size) else x


def tracked_ints(owner: dict[str, Any]) -> Iterator[tuple[str, int | None, int]]:
    """`(attribute, position in it or None, value)` of every integer above 1 among an object's
    attributes.
    """
    for name, value in owner.items():
        if name.startswith("_") or name == "training":
            continue
        if type(value) is int and value > 1:
            yield name, None, value
        elif (
            isinstance(value, tuple | list)
            and type(value) in (tuple, list)
            and all(type(x) is int for x in value)
        ):
            yield from ((name, i, x) for i, x in enumerate(value) if x > 1)
