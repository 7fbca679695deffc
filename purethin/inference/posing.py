"""What numbers that pose as Python's have in common: how code that keeps no track gets their value,
and operators that reach them from both sides.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from purethin.inference.nodes import Node
from purethin.inference.places import Because, Place, is_message, is_purethin, place


class Posing:
    """A tracked number. `value`: what Python has in its place."""

    value: Any

    def escape(self, how: str, at: Place | None = None) -> None:
        """Note that the value goes where no track is kept."""
        raise NotImplementedError

    def spell(self, why: Because) -> None:
        """Note that the value is only spelled out."""
        raise NotImplementedError

    def foretold(self, size_of: Callable[[Node], int]) -> Any:
        """What the value is where sizes are as `size_of` says."""
        raise NotImplementedError

    @property
    def node(self) -> Any:
        """What torch's C++ reads of a `SymInt` or a `SymFloat`."""
        return _Asked(self)

    def read(self, how: str) -> Any:
        """The plain value, for code that is not purethin's: a message's, or one that computes."""
        if not is_purethin(sys._getframe(2).f_code):
            at = place(how)
            if is_message(at):
                self.spell(Because("its size is spelled out", at))
            else:
                self.escape(how, at)
        return self.value

    def __reduce__(self) -> tuple[type, tuple[Any]]:
        return type(self.value), (self.read("a pickle"),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self

    def __copy__(self) -> Any:
        return self

    def __float__(self) -> float:
        return float(self.read("float()"))

    __sym_float__ = __float__

    def __complex__(self) -> complex:
        return complex(self.read("complex()"))

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        import numpy

        return numpy.array(self.read("a numpy array"), dtype=dtype)

    def __str__(self) -> str:
        return str(self.read("str()"))

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(self.read("str()"), spec)

    def __ne__(self, other: object) -> bool:
        return not self.__eq__(other)


class _Asked:
    """A tracked number as torch's C++ asks for its value, where no mode stands between."""

    def __init__(self, number: Posing) -> None:
        self._number = number

    def is_int(self) -> bool:
        return isinstance(self._number.value, int)

    def is_float(self) -> bool:
        return not self.is_int()

    def guard_int(self, file: str, line: int) -> Any:
        self._number.escape("an index, a count or a number")
        return self._number.value

    guard_float = guard_int


def unposed(x: Any) -> Any:
    """The value of a tracked number; anything else as it is."""
    return x.value if isinstance(x, Posing) else x


def both_ways(kind: type, name: str, function: Callable[[Any, Any, Any], Any]) -> None:
    """Give a class an operator, from the left and from the right: the function of the number
    itself and the two sides.
    """
    setattr(kind, f"__{name}__", lambda self, other: function(self, self, other))
    setattr(kind, f"__r{name}__", lambda self, other: function(self, other, self))
