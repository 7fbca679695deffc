"""Tracked integers: each remembers which dimension it measured, and notes what is done with it.

An integer states a size, never a name. Arithmetic keeps the track; what leaves it is written down:
an equation between sizes, a comparison (a path condition), a use as a number (inexact).
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any, SupportsIndex

import torch

from purethin.inference.computed import SizeOf, untracked
from purethin.inference.equations import ATTRIBUTE
from purethin.inference.ledger import Ledger
from purethin.inference.nodes import Node, constant, find, freeze, leaves, product, total
from purethin.inference.places import (
    Because,
    Place,
    in_library,
    is_compared,
    is_purethin,
    place,
)
from purethin.inference.posing import Posing, both_ways, unposed


def node_of(value: int, ledger: Ledger) -> Node:
    """The size that an integer states; one that a cache kept from another trace is plain."""
    if isinstance(value, Size) and value.ledger is ledger:
        return value.measured
    return constant(unposed(value))


_SymInt: Any = torch.SymInt  # so that type checkers take a tracked integer for an int


class Size(Posing, _SymInt):
    """An integer that measured a dimension: the size `plus`, less `minus` after a subtraction.

    Every method of an int is here: it keeps the track, or notes that the track is left. To Python
    it is an int by `isinstance` alone: C code would read a subclass of int without asking
    (`range(n)`, `table[n]`, `2.0 / n`), and asks this for its `__index__`. To torch it is a
    `SymInt`, which may stand wherever an int may; the modes hand on its value.
    """

    __class__ = property(lambda self: int)  # type: ignore[assignment]

    def __init__(self, value: int, plus: Node, ledger: Ledger, minus: Node | None = None) -> None:
        self.value, self.plus, self.minus, self.ledger = value, plus, minus, ledger
        self._rest: Node | None = None

    @property
    def measured(self) -> Node:
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

    @property
    def _nodes(self) -> list[Node]:
        return [self.plus] if self.minus is None else [self.plus, self.minus]

    def freeze(self, what: str, at: Place) -> None:
        """Freeze all that it was computed from."""
        for node in self._nodes:
            freeze(node, Because(what, at))

    def escape(self, how: str, at: Place | None = None) -> None:
        """Note that the value goes where no track is kept: what it makes changes with the size."""
        at = at or place(how)
        self.ledger.as_numbers += [(n, at) for n in self._nodes]

    def spell(self, why: Because) -> None:
        """Note that the value is only spelled out."""
        self.ledger.spelled.append((self.measured, why))

    def foretold(self, size_of: SizeOf) -> int:
        """What it is where sizes are as `size_of` says."""
        return size_of(self.plus) - (0 if self.minus is None else size_of(self.minus))

    # ---- what leaves the track

    def lost(self, how: str) -> int:
        """The plain value: where it is used as a size it may be this one, which the trial then
        proves; where no trial follows, or it is compared, it is a number too.
        """
        at = place(how)
        if not self.ledger.tentative or is_compared(at):
            self.escape(how, at)
        self.ledger.lost[self.value] = self
        return self.value

    def __int__(self) -> int:
        return self.value if is_purethin(sys._getframe(1).f_code) else self.lost("int()")

    def __index__(self) -> int:
        return self.read("an index or a count")

    def __hash__(self) -> int:
        if not in_library(sys._getframe(1).f_code.co_filename):  # libraries hash for their caches
            self.escape("hash()")
        return hash(self.value)

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
        k = unposed(other)
        return ([constant(k)], []) if k >= 0 else ([], [constant(-k)])

    def _sum(self, op: str, a: Any, b: Any, sign: int) -> Any:
        """`a + b`, or `a - b`."""
        if not (isinstance(a, int) and isinstance(b, int)):
            return untracked(op, operator.add if sign > 0 else operator.sub, a, b)
        value = unposed(a) + sign * unposed(b)
        (p, m), (q, n) = self._sides(a), self._sides(b)
        return self._made(value, p + (q if sign > 0 else n), m + (n if sign > 0 else q))

    def __neg__(self) -> Any:
        return 0 - self

    def __abs__(self) -> Any:
        return -self if self < 0 else self

    def __sym_max__(self, other: Any) -> Any:
        return max(self, other)

    def __sym_min__(self, other: Any) -> Any:
        return min(self, other)

    def _times(self, a: Any, b: Any) -> Any:
        if not (isinstance(a, int) and isinstance(b, int)):
            return untracked("*", operator.mul, a, b)
        value = unposed(a) * unposed(b)
        (p, m), (q, n) = self._sides(a), self._sides(b)
        plus = [product([x, y]) for s, t in ((p, q), (m, n)) for x in s for y in t]
        minus = [product([x, y]) for s, t in ((p, n), (m, q)) for x in s for y in t]
        return self._made(value, plus, minus)

    def _divided(self, a: Any, b: Any) -> Any:
        """`a // b`: a measure q with |a| = |q||b|; a remainder freezes both."""
        if not (isinstance(a, int) and isinstance(b, int)):
            return untracked("//", operator.floordiv, a, b)
        value, at = unposed(a) // unposed(b), place("//")
        if unposed(b) < 1 or unposed(a) < 1 or unposed(a) % unposed(b):
            self._frozen(a, b, "a division with a remainder", at)
            return value
        quotient = Node("variable", value, label=ATTRIBUTE)
        a, b = node_of(a, self.ledger), node_of(b, self.ledger)
        self.ledger.equations.append((a, product([b, quotient]), at))
        return Size(value, quotient, self.ledger)

    def _frozen(self, a: Any, b: Any, what: str, at: Place) -> None:
        for x in (a, b):
            if isinstance(x, Size):
                x.freeze(what, at)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def _remainder(self, a: Any, b: Any) -> Any:
        if not (isinstance(a, int) and isinstance(b, int)):
            return untracked("%", operator.mod, a, b)
        value, at = unposed(a) % unposed(b), place("%")
        if value == 0 and unposed(a) > 0 and unposed(b) > 0:
            left, right = node_of(a, self.ledger), node_of(b, self.ledger)
            self.ledger.comparisons.append((left, "%", right, True, at))
        else:
            self._frozen(a, b, "a remainder is taken", at)
        return value

    def __pow__(self, other: Any, mod: int | None = None) -> Any:
        if type(other) is int and other >= 1 and mod is None:
            return self if other == 1 else self * self ** (other - 1)
        return untracked("**", pow, self, other, mod)

    def __rpow__(self, other: Any, mod: int | None = None) -> Any:
        return untracked("**", pow, other, self, mod)

    # ---- comparisons

    def _compare(self, other: object, relation: str, holds: Callable[[Any, Any], Any]) -> Any:
        answer = holds(self.value, unposed(other))
        if isinstance(other, float | Fraction):
            if not math.isfinite(other) or (relation == "==" and other != math.floor(other)):
                return answer
            other = math.ceil(other) if relation in ("<", ">=") else math.floor(other)
        at = place(relation)
        other = self.ledger.found(other) if answer and type(other) is int else other
        if not isinstance(other, int):
            if other is not None and not isinstance(other, str | bytes | type):
                self.escape(relation, at)
            return answer
        (p, m), (q, n) = self._sides(self), self._sides(other)
        left, right = total([*p, *n]), total([*q, *m])
        if find(left) is find(right):
            return answer
        if relation != "==" or not answer:
            self.ledger.comparisons.append((left, relation, right, bool(answer), at))
        elif leaves(left) and leaves(right):
            self.ledger.equal(left, right, Because("sizes are compared and are equal", at))
        else:
            what = f"its size is compared with {unposed(other)} and is equal"
            self._frozen(self, other, what, at)
        return answer

    def __bool__(self) -> bool:
        return self.value != 0 if self.minus is None else self != 0


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """A method that keeps no track."""
    return lambda self, *args: untracked(function.__name__, function, self, *args)


def _comparison(relation: str, holds: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda self, other: self._compare(other, relation, holds)


both_ways(Size, "add", lambda self, a, b: self._sum("+", a, b, 1))
both_ways(Size, "sub", lambda self, a, b: self._sum("-", a, b, -1))
both_ways(Size, "mul", Size._times)
both_ways(Size, "floordiv", Size._divided)
both_ways(Size, "mod", Size._remainder)
_BITS = {"lshift": "<<", "rshift": ">>", "xor": "^", "and_": "&", "or_": "|"}
for _name, _sign in _BITS.items():
    _function = getattr(operator, _name)
    both_ways(Size, _name.strip("_"), lambda s, a, b, n=_sign, f=_function: untracked(n, f, a, b))
for _name, _sign in {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "=="}.items():
    setattr(Size, f"__{_name}__", _comparison(_sign, getattr(operator, _name)))
for _name in ("as_integer_ratio", "bit_count", "bit_length", "to_bytes"):
    setattr(Size, _name, _method(getattr(int, _name)))
for _name in ("sqrt", "cos", "cosh", "sin", "sinh", "tan", "tanh", "asin", "acos", "atan"):
    setattr(Size, f"__sym_{_name}__", _method(getattr(math, _name)))
