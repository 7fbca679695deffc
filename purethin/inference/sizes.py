"""Tracked integers: an `int` that remembers which dimension it measured, and the ledger of what was
done with it.

An integer states a size, never a name. Arithmetic keeps the track; what leaves it is written down:
an equation between sizes, a comparison (a path condition), a use in floating point (inexact).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import gcd
from typing import Any, SupportsIndex

from purethin.inference.places import Because, Place, is_purethin, place
from purethin.inference.solver import (
    Monomial,
    Node,
    Why,
    constant,
    find,
    freeze,
    leaves,
    polynomial,
    product,
    total,
    unify,
    variable,
)

ATTRIBUTE = "@"
"""Labels of nodes that are sizes only (a module's attribute, a quotient) start so: they measure,
they are no dimension.
"""


@dataclass
class Ledger:
    """What the sizes of a trace were used for."""

    equations: list[tuple[Node, Node, Why]] = field(default_factory=list)
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

    def resolve(self) -> None:
        """Make every equation true: bind what only measures, else tie the two axes, else freeze
        them.
        """
        todo = self.equations
        while todo:
            open_, changed = [], False
            for left, right, why in todo:
                rest = _Difference(left, right)
                if rest.empty:
                    continue
                if rest.bind_measure():
                    changed = True
                else:
                    open_.append((rest, left, right, why))
            if not changed and open_:
                dims = (i for i, (rest, *_) in enumerate(open_) if not rest.measures)
                rest, left, right, why = open_.pop(
                    next(dims, 0)
                )  # a tie of dimensions may say what a measure is
                rest.tie(
                    left,
                    right,
                    why if isinstance(why, Because) else Because("sizes must agree", why),
                )
            todo = [(left, right, why) for _, left, right, why in open_]


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
        self.ledger.in_floats.append((self.node, place(op, 3)))

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
                (self.node, "%", node_of(other, self.ledger), True, place("%", 2))
            )
        else:
            freeze(self.node, Because("a remainder is taken", place("%", 2)))
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
        self.ledger.equations.append((a, total([b, rest]), place("-", 4)))
        return rest

    def _over(self, a: Node, b: Node) -> Node:
        """The size `a // b`, a size-only node q with |a| = |q||b|; a remainder freezes both."""
        at = place("//", 4)
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
        at = place(relation, 3)
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
        self.ledger.in_floats.append((self.node, place(how, 2)))

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
                (self.node, Because("its size is spelled out", place("str()", 2)))
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


def is_size_only(node: Node) -> bool:
    """Whether a node measures and is no dimension itself."""
    return node.kind == "variable" and node.label.startswith(ATTRIBUTE)


def _plain(x: Any) -> Any:
    return int(x) if isinstance(x, Size) else x


class _Difference:
    """The two sides of an equation as polynomials, what they have in common cancelled."""

    def __init__(self, left: Node, right: Node) -> None:
        self.atoms: dict[int, Node] = {}
        self.sides = [polynomial(left, self.atoms), polynomial(right, self.atoms)]
        a, b = self.sides
        for monomial in list(a):
            if monomial in b:
                common = min(a[monomial], b[monomial])
                for side in (a, b):
                    side[monomial] -= common
                    if not side[monomial]:
                        del side[monomial]
        if a and b:
            shared = list(next(iter(a)))
            for monomial in (*a, *b):
                shared = _intersect(shared, monomial)
            k = gcd(*a.values(), *b.values())
            self.sides = [{_without(m, shared): c // k for m, c in side.items()} for side in (a, b)]

    @property
    def empty(self) -> bool:
        return not any(self.sides)

    @property
    def measures(self) -> bool:
        """Whether something that only measures is left in it."""
        return any(is_size_only(self.atoms[x]) for side in self.sides for m in side for x in m)

    def bind_measure(self) -> bool:
        """Bind a size-only variable that stands alone on one side to the other side's size."""
        for alone, other in (self.sides, self.sides[::-1]):
            if (
                len(alone) == 1
                and (only := next(iter(alone.items())))[1] == 1
                and len(only[0]) == 1
            ):
                node, needed = self.atoms[only[0][0]], {x for m in other for x in m}
                if is_size_only(node) and only[0][0] not in needed and other:
                    node.up = total(
                        product([constant(c), *(self.atoms[x] for x in m)])
                        for m, c in other.items()
                    )
                    return True
        return False

    def bind_by_size(self) -> bool:
        """Bind several measures that are multiplied, where the other side's factors have their
        sizes, each once: 3 d = k h.
        """
        for measures, other in (self.sides, self.sides[::-1]):
            if len(measures) == len(other) == 1:
                (left, one), (right, k) = next(iter(measures.items())), next(iter(other.items()))
                parts = {
                    find(p).size: p
                    for p in [*([constant(k)] if k > 1 else []), *(self.atoms[x] for x in right)]
                }
                nodes = [self.atoms[x] for x in left]
                sizes = {n.size for n in nodes}
                fits = (
                    one == 1
                    and len(sizes) == len(nodes) > 1
                    and sizes == set(parts)
                    and len(parts) == len(right) + (k > 1)
                )
                if fits and all(map(is_size_only, nodes)):
                    for n in nodes:
                        n.up = parts[n.size]
                    return True
        return False

    def tie(self, left: Node, right: Node, why: Why) -> None:
        """Tie the two axes if one stands on each side; else the sides themselves, which have one
        size then; else freeze all.
        """
        if self.bind_by_size():
            return
        single = [
            self.atoms[m[0]]
            for side in self.sides
            for m, c in side.items()
            if len(m) == 1 and c == 1
        ]
        if (
            len(single) == 2
            and all(len(side) == 1 for side in self.sides)
            and single[0].size == single[1].size
        ):
            unify(single[0], single[1], why)
        elif left.size == right.size and not any(
            is_size_only(v) for n in (left, right) for v in leaves(n)
        ):
            unify(left, right, why)
        else:
            for node in self.atoms.values():
                for leaf in leaves(node):
                    if (
                        any(id(leaf) in m for side in self.sides for m in side)
                        or node.kind == "take"
                    ):
                        freeze(leaf, why)


def _intersect(xs: list[int], ys: Monomial) -> list[int]:
    rest, out = list(ys), []
    for x in xs:
        if x in rest:
            rest.remove(x)
            out.append(x)
    return out


def _without(monomial: Monomial, shared: list[int]) -> Monomial:
    rest = list(monomial)
    for x in shared:
        rest.remove(x)
    return tuple(rest)


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
