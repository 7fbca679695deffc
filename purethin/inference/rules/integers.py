"""Integers as the caller passed them in Python, where they still carry their track."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from purethin.inference.data import Datum
from purethin.inference.nodes import find
from purethin.inference.sizes import Size
from purethin.inference.trace import Python


def as_passed(plain: list[int], name: str, position: int, python: Python) -> list[int]:
    """The integers that an operator received, as the caller passed them: found by the argument's
    name, by its position, else by value.
    """
    args, kwargs = python
    if name in kwargs and (given := _flat(kwargs[name])) and _same(given, plain):
        return given
    given = _filled(_flat(args[position:], scalars=True), plain)
    if given and _same(given, plain):
        return given
    everything = _flat(args) + (_flat(kwargs) if kwargs else [])
    n = len(plain)
    if n > 1:
        for start in range(len(everything) - n, -1, -1):
            if _same(everything[start : start + n], plain):
                return everything[start : start + n]
    return [_by_value(v, everything) for v in plain]


def _by_value(value: int, everything: list[int]) -> int:
    """The only tracked integer of this value that the caller passed, else the value."""
    if datum := next((x for x in everything if isinstance(x, Datum) and x == value), None):
        return datum
    found = {find(x.measured): x for x in everything if isinstance(x, Size) and int(x) == value}
    literal = any(not isinstance(x, Size) and x == value for x in everything)
    return next(iter(found.values())) if len(found) == 1 and not literal else value


def _filled(given: Sequence[Any], plain: Sequence[int]) -> list[int]:
    """As many as there are, a tensor as the number that it gave away."""
    return [Datum(p) if isinstance(g, Tensor) else g for g, p in zip(given, plain, strict=False)]


def _flat(tree: Any, *, scalars: bool = False) -> list[Any]:
    """The integers (and tensors of one) in nested lists, tuples, dicts and slices of arguments."""
    if isinstance(tree, dict):
        tree = tree.values()
    elif isinstance(tree, slice):
        tree = tree.start, tree.stop, tree.step
    elif not isinstance(tree, (tuple, list)):
        tree = (tree,)
    out: list[Any] = []
    for x in tree:
        if type(x) is int:
            out.append(x)
        elif type(x) in _OTHERS:
            continue
        elif isinstance(x, Tensor):
            out += [x] if scalars and x.dim() == 0 else []
        elif isinstance(x, int):
            out.append(x)
        elif isinstance(x, (tuple, list, dict, slice)):
            out += _flat(x, scalars=scalars)
    return out


_OTHERS = frozenset((bool, float, str, type(None), type(...)))


def _same(given: Sequence[int], plain: Sequence[int]) -> bool:
    return [int(g) for g in given] == [int(p) for p in plain]
