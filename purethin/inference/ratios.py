"""Tracked fractions: a size divided by a size or scaled by a number. What `int()`, `round` and
`floor` make of one that is whole is a size again; elsewhere it is a number.

Invariant: a fraction is its numerator times a factor over its denominator, exactly.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch

from purethin.inference.computed import Computed, SizeOf, computed, foretold, untracked
from purethin.inference.places import Because, Place, is_purethin, place
from purethin.inference.posing import Posing, both_ways, unposed
from purethin.inference.sizes import Size

_NUMBERS = (int, float, Computed)
_SymFloat: Any = torch.SymFloat  # so that type checkers take a tracked fraction for a float


class Ratio(Posing, _SymFloat):
    """The fraction `over` · `factor` / `under`; `value` as Python computed it.

    A float by `isinstance` alone, and a `SymFloat` to torch, for the reasons that `Size` has.
    """

    __class__ = property(lambda self: float)  # type: ignore[assignment]

    def __init__(self, value: float, over: Size | int, under: Size | int, factor: Fraction) -> None:
        self.value, self.over, self.under, self.factor = value, over, under, factor

    @property
    def sizes(self) -> list[Size]:
        """The sizes in it, one at least."""
        return [x for x in (self.over, self.under) if isinstance(x, Size)]

    def escape(self, how: str, at: Place | None = None) -> None:
        """Note that the value goes where no track is kept."""
        for size in self.sizes:
            size.escape(how, at or place(how))

    def spell(self, why: Because) -> None:
        """Note that the value is only spelled out."""
        for size in self.sizes:
            size.spell(why)

    def foretold(self, size_of: SizeOf) -> Any:
        """What the value is where sizes are as `size_of` says."""
        return foretold(self.value, size_of)

    def whole(self) -> int | None:
        """The integer that it is, tracked; None where it is not one."""
        over, under = self.over * self.factor.numerator, self.under * self.factor.denominator
        if (unposed(over) % unposed(under)) or self.value != unposed(over) // unposed(under):
            return None
        return over // under

    # ---- what leaves the track, or becomes a size

    def _rounded(self, how: str, function: Callable[[float], int]) -> int:
        if (whole := self.whole()) is not None:
            return whole
        self.escape(how)
        return function(self.value)

    def __int__(self) -> int:
        if is_purethin(sys._getframe(1).f_code):
            return int(self.value)
        whole = self._rounded("int()", int)
        return whole.lost("int()") if isinstance(whole, Size) else whole

    def __trunc__(self) -> int:
        return self._rounded("trunc", math.trunc)

    def __floor__(self) -> int:
        return self._rounded("floor", math.floor)

    def __ceil__(self) -> int:
        return self._rounded("ceil", math.ceil)

    def __round__(self, ndigits: int | None = None) -> Any:
        if ndigits is None:
            return self._rounded("round", round)
        return untracked("round", round, self, ndigits)

    def __hash__(self) -> int:
        return hash(self.read("hash()"))

    def __bool__(self) -> bool:
        return self.value != 0

    def is_integer(self) -> bool:
        return untracked("is_integer", float.is_integer, self)

    def _compare(self, other: Any, relation: str, holds: Callable[[Any, Any], Any]) -> Any:
        """Compared with a number, it is a comparison of its sizes."""
        if type(other) not in _NUMBERS or not math.isfinite(other):
            return untracked(relation, holds, self, other)
        bound = Fraction(other) / self.factor
        if isinstance(self.under, Size):
            return holds(self.over * bound.denominator, self.under * bound.numerator)
        return self.over._compare(bound * self.under, relation, holds)  # type: ignore[union-attr]


def _quotient(self: Any, a: Any, b: Any) -> Any:
    """`a / b`, of which one is tracked."""
    if (over := _parts(a)) is None or (under := _parts(b)) is None:
        return untracked("/", operator.truediv, a, b)
    value = computed(operator.truediv, a, b)
    return _made(value, over[0], under[0], under[1], over[1], over[2] / under[2])


def _scaled(self: Any, a: Any, b: Any) -> Any:
    """`a * b`, of which one is tracked and one a fraction."""
    if isinstance(a, int) and isinstance(b, int):
        return Size._times(self, a, b)
    if (x := _parts(a)) is None or (y := _parts(b)) is None:
        return untracked("*", operator.mul, a, b)
    value = computed(operator.mul, a, b)
    return _made(value, x[0], y[0], x[1], y[1], x[2] * y[2], multiplied=True)


def _parts(x: Any) -> tuple[Any, Any, Fraction] | None:
    """A number as over, under, factor; None for what is not a positive number."""
    if isinstance(x, Ratio):
        return x.over, x.under, x.factor
    if isinstance(x, Size):
        return (x, 1, Fraction(1)) if x.value > 0 else None
    positive = type(x) in _NUMBERS and 0 < x < math.inf
    return (1, 1, Fraction(x)) if positive else None


def _made(
    value: float, a: Any, b: Any, c: Any, d: Any, factor: Fraction, *, multiplied: bool = False
) -> Any:
    """The fraction of products: a·c / b·d, or a·b / c·d where it was multiplied."""
    over, under = (a * b, c * d) if multiplied else (a * c, b * d)
    factor *= Fraction(1 if isinstance(over, Size) else over)
    factor /= Fraction(1 if isinstance(under, Size) else under)
    over, under = (x if isinstance(x, Size) else 1 for x in (over, under))
    tracked = isinstance(over, Size) or isinstance(under, Size)
    return Ratio(value, over, under, factor) if tracked else float(value)


for _kind in (Size, Ratio):
    both_ways(_kind, "truediv", _quotient)
    both_ways(_kind, "mul", _scaled)
for _name, _sign in {"add": "+", "sub": "-", "floordiv": "//", "mod": "%", "pow": "**"}.items():
    _function = getattr(operator, _name)
    both_ways(Ratio, _name, lambda s, a, b, n=_sign, f=_function: untracked(n, f, a, b))
for _name, _sign in {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "=="}.items():
    _function = getattr(operator, _name)
    setattr(Ratio, f"__{_name}__", lambda s, o, r=_sign, f=_function: s._compare(o, r, f))
for _name, _function in {"neg": operator.neg, "pos": operator.pos, "abs": abs}.items():
    setattr(Ratio, f"__{_name}__", lambda s, n=_name, f=_function: untracked(n, f, s))
