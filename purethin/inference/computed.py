"""Floats that were computed from sizes, as an attention's scale is: each keeps its formula, from
which follows what it is at other sizes.

Invariant: to Python and to torch it is that float, and where it was made its sizes were noted as
used in a number. So nothing goes wrong where a formula gets lost: it is only not known then.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from purethin.inference.nodes import Node
from purethin.inference.posing import Posing, both_ways, unposed

HEAVIEST = 64
"""Functions in one formula, at most: in a loop it would grow without end."""

SizeOf = Callable[[Node], int]
"""The size that a node has."""


class Computed(float):
    """A float that is `function` of what it was `given`: numbers, some of them sizes, fractions of
    them, or such floats. `weight`: the functions in its formula.
    """

    __slots__ = ("function", "given", "weight")

    def __new__(
        cls, value: float, function: Callable[..., Any], given: tuple[Any, ...], weight: int
    ) -> Computed:
        self = super().__new__(cls, value)
        self.function, self.given, self.weight = function, given, weight
        return self

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (float(self),)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """To numpy a float alone is weaker than an array's dtype, not one of a subclass."""
        return getattr(ufunc, method)(*map(_plain, inputs), **kwargs)


def computed(function: Callable[..., Any], *given: Any) -> Any:
    """The function of plain values; a float keeps its formula.

    >>> half = computed(operator.truediv, 3, 2)
    >>> half, type(half).__name__, type(1 - half).__name__, (1 - half).weight
    (1.5, 'Computed', 'Computed', 2)
    """
    out = function(*map(_plain, given))
    if type(out) is not float:
        return out
    weight = 1 + sum(x.weight for x in map(unposed, given) if isinstance(x, Computed))
    return Computed(out, function, given, weight) if weight <= HEAVIEST else out


def untracked(how: str, function: Callable[..., Any], *args: Any) -> Any:
    """What keeps no track: the function of the plain values."""
    for x in args:
        if isinstance(x, Posing):
            x.escape(how)
    return computed(function, *args)


def foretold(number: Any, size_of: SizeOf) -> Any:
    """What a number is where sizes are as `size_of` says."""
    if isinstance(number, Computed):
        return number.function(*(foretold(x, size_of) for x in number.given))
    return number.foretold(size_of) if isinstance(number, Posing) else number


def _plain(x: Any) -> Any:
    value = unposed(x)
    return float(value) if isinstance(value, Computed) else value


# ---- arithmetic keeps the formula


def _operated(function: Callable[..., Any], a: Any, b: Any) -> Any:
    """An operator on two numbers; tensors and tracked numbers do it themselves."""
    if isinstance(a, _OWN_WAY) or isinstance(b, _OWN_WAY):
        return NotImplemented
    plain = type(a) in _PLAIN and type(b) in _PLAIN
    return computed(function, a, b) if plain else function(_plain(a), _plain(b))


_OWN_WAY, _PLAIN = (Tensor, Posing), (int, float, Computed)
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    _function = getattr(operator, _name)
    both_ways(Computed, _name, lambda self, a, b, f=_function: _operated(f, a, b))
for _name in ("neg", "pos", "abs"):
    _function = getattr(operator, _name)
    setattr(Computed, f"__{_name}__", lambda self, f=_function: computed(f, self))


def _keeping(function: Callable[..., float]) -> Callable[..., float]:
    """A function of Python's `math`, which reads tracked numbers as floats."""

    @functools.wraps(function)
    def call(*given: Any) -> float:
        tracked = [x for x in given if isinstance(x, Posing)]
        for x in tracked:
            x.read("float()")
        computes = tracked or any(isinstance(x, Computed) for x in given)
        return computed(function, *given) if computes else function(*given)

    return call


_MATH = {
    name: (own, _keeping(own))
    for name in ("sqrt", "exp", "log", "log2", "log10", "pow")
    if (own := getattr(math, name))
}


@contextmanager
def formulas() -> Iterator[None]:
    """Let `math`'s functions keep formulas while the block runs."""
    swapped = [(n, own, new) for n, (own, new) in _MATH.items() if getattr(math, n) is own]
    for name, _, keeping in swapped:
        setattr(math, name, keeping)
    try:
        yield
    finally:
        for name, own, _ in swapped:
            setattr(math, name, own)
