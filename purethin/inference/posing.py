"""What numbers that pose as Python's have in common: torch's C++ asks them for their value, and
operators reach them from both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Posing(Protocol):
    """A tracked number."""

    value: Any

    def escape(self, how: str) -> None: ...


class Asked:
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


def both_ways(kind: type, name: str, function: Callable[[Any, Any, Any], Any]) -> None:
    """Give a class an operator, from the left and from the right: the function of the number
    itself and the two sides.
    """
    setattr(kind, f"__{name}__", lambda self, other: function(self, self, other))
    setattr(kind, f"__r{name}__", lambda self, other: function(self, other, self))
