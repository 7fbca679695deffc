"""The sizes of the axes of a layout that was written by hand."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping

from purethin import axes as ax
from purethin.axes import Axes, Name, Take
from purethin.errors import SpecError


def solved_sizes(dims: Mapping[str, tuple[tuple[Axes, ...], tuple[int, ...]]]) -> dict[str, int]:
    """Axis sizes from layouts and shapes: a name that stands alone has the dimension's size; then,
    one after the other, each axis that is the only unknown of some dimensions.

    Raises:
        SpecError: an expression does not make its dimension's size, or an axis has no certain size.
    """
    rows = [
        (name, expr, want)
        for name, (exprs, shape) in dims.items()
        for expr, want in zip(exprs, shape, strict=True)
    ]
    sizes = {e.name: max(want, 1) for _, e, want in reversed(rows) if isinstance(e, Name)}
    while open_rows := [(e, want) for _, e, want in rows if not sizes.keys() >= {*ax.names(e)}]:
        lone: dict[str, dict[tuple[Axes, int], None]] = {}
        for expr, want in open_rows:
            if len(unknown := {*ax.names(expr)} - sizes.keys()) == 1:
                lone.setdefault(unknown.pop(), {})[expr, want] = None
        found = {axis: n for axis, given in lone.items() if (n := _size_of(axis, given, sizes))}
        if not found:
            missing = sorted({n for e, _ in open_rows for n in ax.names(e)} - sizes.keys())
            raise SpecError(
                f"the size of {', '.join(missing)} is not certain from '{open_rows[0][0]}' alone: "
                "some dimension must carry each axis by itself"
            )
        sizes |= found
    for name, expr, want in rows:
        if _size_or_none(expr, sizes) != want:
            known = ", ".join(f"{n}={sizes[n]}" for n in dict.fromkeys(ax.names(expr)))
            raise SpecError(
                f"'{expr}' ({known}) does not make {want}, the size of that dimension of {name}"
            )
    return sizes


def _size_of(axis: str, rows: Collection[tuple[Axes, int]], known: Mapping[str, int]) -> int | None:
    """The least size of an axis with which each expression has its size and each unit is in an
    entry. Where there is none, the largest with which the first is not too large; None where a take
    leaves it open.
    """
    (expr, want), *_ = rows
    sizes = range(1, sum(size for _, size in rows) + 1)
    first, end = (
        cut(sizes, want, key=lambda n: _size_or_none(expr, {**known, axis: n}) or 0)
        for cut in (bisect_left, bisect_right)
    )
    fitting = [
        n
        for n in sizes[first:end]
        if all(_size_or_none(e, {**known, axis: n}) == size for e, size in rows)
    ]
    for n in fitting:
        met = (ax.units(e, axis, {**known, axis: n}).tolist() for e, _ in rows)
        if {*range(n)} <= {unit for units in met for unit in units}:
            return n
    taken = any(isinstance(e, Take) and axis in ax.names(e) for e in ax.walk(expr))
    return None if fitting or taken else max(end, 1)


def _size_or_none(expr: Axes, sizes: Mapping[str, int]) -> int | None:
    """The size; None where a take reaches beyond its base."""
    try:
        return ax.size(expr, sizes)
    except SpecError:
        return None
