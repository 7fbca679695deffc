"""Which units move together where two dimensions meet entry for entry: union-find, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def orbits(left: Sequence[T | None], right: Sequence[T | None]) -> dict[T, T | None]:
    """The class of each unit, as one unit of it, where entry i of both sides must be one unit.

    None on a side is what cannot move; the class of all that meet it is None.

    A flip, `x + x.flip(0)` with four units: the first meets the last, so two classes are left, and
    x is `e[0, 1, 1, 0]` over an axis e of these two.

    >>> orbits(["a", "b", "c", "d"], ["d", "c", "b", "a"])
    {'a': 'd', 'd': 'd', 'b': 'c', 'c': 'c'}
    >>> orbits(["a", "b"], ["b", None])
    {'a': None, 'b': None}
    """
    for fixed, moving in ((left, right), (right, left)):
        if all(unit is None for unit in fixed):
            return {unit: None for unit in moving if unit is not None}
    up: dict[T | None, T | None] = {None: None}

    def root(unit: T | None) -> T | None:
        while (above := up.setdefault(unit, unit)) != unit:
            up[unit] = unit = up[above]  # paths are halved on the way
        return unit

    for x, y in dict.fromkeys(zip(left, right, strict=True)):
        if (above := up.get(x)) is not None and above == up.get(y):
            continue  # most pairs meet again what has met
        rx, ry = root(x), root(y)
        if rx is None:
            rx, ry = ry, rx
        up[rx] = ry
    return {unit: root(unit) for unit in up if unit is not None}


def groups(classes: Mapping[tuple[T, int], tuple[T, int] | None]) -> list[list[T]]:
    """The axes of units `(axis, number)`, together where units of theirs are of one class.

    >>> groups({("a", 0): ("b", 0), ("b", 0): ("b", 0), ("c", 0): None})
    [['a', 'b'], ['c']]
    """
    first: dict[tuple[T, int], T] = {}
    met = [(u[0], first.setdefault(c, u[0])) for u, c in classes.items() if c is not None]
    leader = orbits([v for v, _ in met], [v for _, v in met])
    out: dict[T | None, list[T]] = {}
    for v in dict.fromkeys(axis for axis, _ in classes):
        out.setdefault(leader.get(v, v), []).append(v)
    return list(out.values())
