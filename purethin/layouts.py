"""The sizes of the axes of a layout that was written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from purethin import axes as ax
from purethin.axes import Axes
from purethin.errors import SpecError


def solved_sizes(dims: Mapping[str, tuple[tuple[Axes, ...], tuple[int, ...]]]) -> dict[str, int]:
    """Axis sizes from shapes: each expression with one unknown name gives that name's size, until
    none is left.

    Takes come last: they say how many units are taken, not of how many. What is multiplied by 0
    says nothing.
    """
    sizes: dict[str, int] = {}
    todo = [
        (n, e, s) for n, (exprs, shape) in dims.items() for e, s in zip(exprs, shape, strict=True)
    ]
    while todo:
        later = []
        for name, expr, want in todo:
            unknown = {n for n in ax.names(expr) if n not in sizes}
            if len(unknown) > 1 or (unknown and _has_take(expr)):
                later.append((name, expr, want))
                continue
            fit = {axis: _fitting(expr, axis, want, sizes) for axis in unknown}
            if (
                unknown
                and _size_or_none(expr, {**sizes, **{axis: n + 1 for axis, n in fit.items()}})
                == want
            ):
                later.append((name, expr, want))
                continue
            sizes |= fit
            if _size_or_none(expr, sizes) != want:
                sizes_text = ", ".join(f"{n}={sizes[n]}" for n in dict.fromkeys(ax.names(expr)))
                raise SpecError(
                    f"'{expr}' ({sizes_text}) does not make {want}, the size of that dimension of "
                    f"{name}"
                )
        if len(later) == len(todo):
            found = _covered([(expr, want) for _, expr, want in later], sizes)
            if not found:
                open_names = sorted({n for _, e, _ in later for n in ax.names(e) if n not in sizes})
                raise SpecError(
                    f"the size of {', '.join(open_names)} is not certain from '{later[0][1]}' "
                    "alone: "
                    "some dimension must carry each axis by itself"
                )
            sizes |= found
        todo = later
    return sizes


def _covered(dims: Iterable[tuple[Axes, int]], sizes: Mapping[str, int]) -> dict[str, int]:
    """The size of an axis that only takes carry: that with which they take each unit at least once;
    empty if none has one.
    """
    alone: dict[str, list[tuple[Axes, int]]] = {}
    for expr, want in dims:
        unknown = [n for n in dict.fromkeys(ax.names(expr)) if n not in sizes]
        if len(unknown) == 1:
            alone.setdefault(unknown[0], []).append((expr, want))
    for axis, takes in alone.items():
        for size in range(1, sum(want for _, want in takes) + 1):
            trial = {**sizes, axis: size}
            if all(_size_or_none(expr, trial) == want for expr, want in takes):
                taken = {u for expr, _ in takes for u in ax.units(expr, axis, trial).tolist()}
                if taken >= set(range(size)):
                    return {axis: size}
    return {}


def _has_take(expr: Axes) -> bool:
    return isinstance(expr, ax.Take) or any(map(_has_take, ax.parts(expr)))


def _fitting(expr: Axes, axis: str, want: int, sizes: Mapping[str, int]) -> int:
    """The size of `axis` with which the expression comes nearest to `want` from below (it grows
    with the axis).
    """
    low, high = 1, max(want, 1)
    while low < high:
        middle = (low + high + 1) // 2
        got = _size_or_none(expr, {**sizes, axis: middle})
        low, high = (middle, high) if got is None or got <= want else (low, middle - 1)
    return low


def _size_or_none(expr: Axes, sizes: Mapping[str, int]) -> int | None:
    try:
        return ax.size(expr, sizes)
    except SpecError:
        return None
