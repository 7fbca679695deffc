"""Tracked integers: an `int` that remembers which dimension it measured, and the ledger of what was
done with it.

An integer states a size, never a name. Arithmetic keeps the track; what leaves it is written down:
an equation between sizes, a comparison (a path condition), a use in floating point (inexact).
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, SupportsIndex

import torch

from purethin.inference.equations import ATTRIBUTE, Equation, is_size_only
from purethin.inference.places import Because, Place, in_library, is_message, is_purethin, place
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


_SymInt: Any = torch.SymInt  # so that type checkers take a tracked integer for an int


class Size(_SymInt):
    """An integer that measured a dimension: the size `plus`, less the size `minus` after a subtraction.

    Every method of an int is here: it keeps the track, or notes that the track is left. To Python it
    is an int by `isinstance` alone: C code would read a subclass of int without asking (`range(n)`,
    `table[n]`, `2.0 / n`), and asks this for its `__index__`. To torch it is a `SymInt`, which it
    takes wherever an int may stand; it never reads it, as the modes hand on the value.
    """

    __class__ = property(lambda self: int)  # type: ignore[assignment]

    def __init__(self, value: int, plus: Node, ledger: Ledger, minus: Node | None = None) -> None:
        self.value, self.plus, self.minus, self.ledger = value, plus, minus, ledger
        self._rest: Node | None = None

    @property
    def node(self) -> Node:
        """The size as a node: a difference r of a and b is a measure with |a| = |b| + |r|."""
        if self.minus is None:
            return self.plus
        if self._rest is None:
            at = place("-")
            if self.value > 0:
                self._rest = Node("variable", self.value, label=ATTRIBUTE)
                self.ledger.equations.append((self.plus, total([self.minus, self._rest]), at))
            else:
                self._rest = constant(self.value)
                if self.value == 0:
                    self.ledger.equal(self.plus, self.minus, Because("their difference is 0", at))
                else:
                    self.freeze("a negative size is read", at)
        return self._rest

    def freeze(self, what: str, at: Place) -> None:
        """Freeze all that it was computed from."""
        for node in (self.plus, self.minus):
            if node is not None:
                freeze(node, Because(what, at))

    def escape(self, how: str, at: Place | None = None) -> None:
        """Note that the value goes where no track is kept: what is computed from it changes when
        the size does.
        """
        at = at or place(how)
        self.ledger.in_floats += [(n, at) for n in (self.plus, self.minus) if n is not None]

    def _left(self, how: str) -> int:
        """The plain value, for code that is not purethin's."""
        if not is_purethin(sys._getframe(2).f_code):
            self.escape(how)
        return self.value

    # ---- copies, and what leaves the track

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (self.value,)

    def __deepcopy__(self, memo: dict[int, Any]) -> Size:
        return self

    def __copy__(self) -> Size:
        return self

    def __int__(self) -> int:
        return self._left("int()")

    def __index__(self) -> int:
        return self._left("an index or a count")

    def __hash__(self) -> int:
        if not in_library(sys._getframe(1).f_code.co_filename):  # libraries hash for their caches
            self.escape("hash()")
        return hash(self.value)

    def __float__(self) -> float:
        return float(self._left("float()"))

    __sym_float__ = __float__

    def __complex__(self) -> complex:
        return complex(self._left("complex()"))

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        import numpy

        return numpy.array(self._left("a numpy array"), dtype=dtype)

    @property
    def real(self) -> Size:
        return self

    @property
    def numerator(self) -> Size:
        return self

    def conjugate(self) -> Size:
        return self

    imag, denominator = 0, 1

    def __invert__(self) -> Any:
        return -self - 1

    def __round__(self, ndigits: SupportsIndex = 0, /) -> Size:
        return self

    def __trunc__(self) -> Size:
        return self

    __floor__ = __ceil__ = __pos__ = __trunc__

    def __str__(self) -> str:
        return self._spelled("")

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return self._spelled(spec)

    def _spelled(self, spec: str) -> str:
        if not is_purethin(sys._getframe(2).f_code):
            at = place("str()")
            if is_message(at):
                self.ledger.spelled.append((self.node, Because("its size is spelled out", at)))
            else:
                self.escape("str()", at)
        return format(self.value, spec)

    # ---- arithmetic

    def _made(self, value: Any, plus: list[Node], minus: list[Node]) -> Any:
        a, b = total(plus), total(minus)
        if not leaves(a) and not leaves(b):
            return value
        return Size(value, a, self.ledger, b if b.size or leaves(b) else None)

    def _sides(self, other: int) -> tuple[list[Node], list[Node]]:
        """What an integer adds, and what it takes away."""
        if isinstance(other, Size) and other.ledger is self.ledger:
            return [other.plus], [] if other.minus is None else [other.minus]
        k = _value(other)
        return ([constant(k)], []) if k >= 0 else ([], [constant(-k)])

    def _sum(self, op: str, a: Any, b: Any, sign: int) -> Any:
        """`a + b`, or `a - b`."""
        value = _value(a) + sign * _value(b)
        if not (isinstance(a, int) and isinstance(b, int)):
            self.escape(op)
            return value
        (p, m), (q, n) = self._sides(a), self._sides(b)
        return self._made(value, p + (q if sign > 0 else n), m + (n if sign > 0 else q))

    def __add__(self, other: Any) -> Any:
        return self._sum("+", self, other, 1)

    def __radd__(self, other: Any) -> Any:
        return self._sum("+", other, self, 1)

    def __sub__(self, other: Any) -> Any:
        return self._sum("-", self, other, -1)

    def __rsub__(self, other: Any) -> Any:
        return self._sum("-", other, self, -1)

    def __neg__(self) -> Any:
        return 0 - self

    def __abs__(self) -> Any:
        return -self if self < 0 else self

    def __sym_max__(self, other: Any) -> Any:
        return max(self, other)

    def __sym_min__(self, other: Any) -> Any:
        return min(self, other)

    def _times(self, a: Any, b: Any) -> Any:
        value = _value(a) * _value(b)
        if not (isinstance(a, int) and isinstance(b, int)):
            self.escape("*")
            return value
        (p, m), (q, n) = self._sides(a), self._sides(b)
        plus = [product([x, y]) for s, t in ((p, q), (m, n)) for x in s for y in t]
        minus = [product([x, y]) for s, t in ((p, n), (m, q)) for x in s for y in t]
        return self._made(value, plus, minus)

    def __mul__(self, other: Any) -> Any:
        return self._times(self, other)

    def __rmul__(self, other: Any) -> Any:
        return self._times(other, self)

    def _divided(self, a: Any, b: Any) -> Any:
        """`a // b`: a measure q with |a| = |q||b|; a remainder freezes both."""
        value, at = _value(a) // _value(b), place("//")
        if not (isinstance(a, int) and isinstance(b, int)):
            self.escape("//", at)
            return value
        if _value(b) < 1 or _value(a) < 1 or _value(a) % _value(b):
            self._frozen(a, b, "a division with a remainder", at)
            return value
        quotient = Node("variable", value, label=ATTRIBUTE)
        a, b = node_of(a, self.ledger), node_of(b, self.ledger)
        self.ledger.equations.append((a, product([b, quotient]), at))
        return self.ledger.size(value, quotient)

    def _frozen(self, a: Any, b: Any, what: str, at: Place) -> None:
        for x in (a, b):
            if isinstance(x, Size):
                x.freeze(what, at)

    def __floordiv__(self, other: Any) -> Any:
        return self._divided(self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._divided(other, self)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def _remainder(self, a: Any, b: Any) -> Any:
        value, at = _value(a) % _value(b), place("%")
        if not (isinstance(a, int) and isinstance(b, int)):
            self.escape("%", at)
        elif value == 0 and _value(a) > 0 and _value(b) > 0:
            left, right = node_of(a, self.ledger), node_of(b, self.ledger)
            self.ledger.comparisons.append((left, "%", right, True, at))
        else:
            self._frozen(a, b, "a remainder is taken", at)
        return value

    def __mod__(self, other: Any) -> Any:
        return self._remainder(self, other)

    def __rmod__(self, other: Any) -> Any:
        if isinstance(other, str):
            return other % self.__format__("")
        return self._remainder(other, self)

    def __pow__(self, other: Any, mod: int | None = None) -> Any:
        if type(other) is int and other >= 1 and mod is None:
            return self if other == 1 else self * self ** (other - 1)
        _escape_all("**", self, other, mod)
        return pow(self.value, _value(other), _value(mod))

    # ---- comparisons

    def _compare(self, other: object, relation: str, answer: Any) -> Any:
        if isinstance(other, float):
            if not math.isfinite(other) or (relation == "==" and other != math.floor(other)):
                return answer
            other = math.ceil(other) if relation in ("<", ">=") else math.floor(other)
        at = place(relation)
        if not isinstance(other, int):
            if other is not None and not isinstance(other, str | bytes | type):
                self.escape(relation, at)
            return answer
        (p, m), (q, n) = self._sides(self), self._sides(other)
        left, right = total([*p, *n]), total([*q, *m])
        if find(left) is find(right):
            return answer
        if relation != "==" or not answer:
            self.ledger.comparisons.append((left, relation, right, answer, at))
        elif leaves(left) and leaves(right):
            self.ledger.equal(left, right, Because("sizes are compared and are equal", at))
        else:
            what = f"its size is compared with {_value(other)} and is equal"
            self._frozen(self, other, what, at)
        return answer

    def __lt__(self, other: Any) -> bool:
        return self._compare(other, "<", self.value < _value(other))

    def __le__(self, other: Any) -> bool:
        return self._compare(other, "<=", self.value <= _value(other))

    def __gt__(self, other: Any) -> bool:
        return self._compare(other, ">", self.value > _value(other))

    def __ge__(self, other: Any) -> bool:
        return self._compare(other, ">=", self.value >= _value(other))

    def __eq__(self, other: object) -> bool:
        return self._compare(other, "==", self.value == _value(other))

    def __ne__(self, other: object) -> bool:
        return not self._compare(other, "==", self.value == _value(other))

    def __bool__(self) -> bool:
        return self.value != 0 if self.minus is None else self != 0


def _escape_all(how: str, *values: Any) -> None:
    for value in values:
        if isinstance(value, Size):
            value.escape(how)


def _escaping(op: str, sign: str) -> None:
    """Give sizes an operator that keeps no track, both ways round."""
    function = getattr(operator, op)

    def forward(self: Size, other: Any) -> Any:
        _escape_all(sign, self, other)
        return function(self.value, _value(other))

    def backward(self: Size, other: Any) -> Any:
        self.escape(sign)
        return function(_value(other), self.value)

    name = op.strip("_")
    setattr(Size, f"__{name}__", forward)
    setattr(Size, f"__r{name}__", backward)


def _untracked(name: str, function: Callable[..., Any], how: str) -> None:
    """Give sizes a method that keeps no track."""

    def method(self: Size, *args: Any) -> Any:
        self.escape(how)
        return function(self.value, *map(_value, args))

    setattr(Size, name, method)


for _op, _sign in {
    "truediv": "/",
    "and_": "&",
    "or_": "|",
    "xor": "^",
    "lshift": "<<",
    "rshift": ">>",
}.items():
    _escaping(_op, _sign)
for _name in ("as_integer_ratio", "bit_count", "bit_length", "to_bytes"):
    _untracked(_name, getattr(int, _name), _name)
for _name in ("sqrt", "cos", "cosh", "sin", "sinh", "tan", "tanh", "asin", "acos", "atan"):
    _untracked(f"__sym_{_name}__", getattr(math, _name), _name)


def _powered(self: Size, other: Any, mod: Any = None) -> Any:
    _escape_all("**", self, mod)
    return pow(_value(other), self.value, _value(mod))


Size.__rpow__ = _powered


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


def _value(x: Any) -> Any:
    return x.value if isinstance(x, Size) else x


def plain(x: Any) -> Any:
    """The value of a tracked integer; anything else as it is, with those in it replaced."""
    if isinstance(x, Size):
        return x.value
    if isinstance(x, tuple | list) and any(map(_has_size, x)):
        parts = map(plain, x)
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    if isinstance(x, slice):
        return slice(plain(x.start), plain(x.stop), plain(x.step))
    if type(x) is dict:
        return {k: plain(v) for k, v in x.items()}
    return x


def _has_size(x: Any) -> bool:
    return isinstance(x, Size | tuple | list | slice | dict)


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
