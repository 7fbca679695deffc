"""Integers that a tensor gave away: they are marked, as other data would give others."""

from __future__ import annotations

from typing import Any


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
