"""How many units each axis must keep: numbers for all, or by what texts mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from purethin.arguments import fits
from purethin.errors import MaskError, nearest
from purethin.finding import find, matching
from purethin.spec import Spec

Number = TypeVar("Number", int, float)


def among(
    axes: Iterable[str], texts: str | Iterable[str], spec: Spec | None, what: str
) -> tuple[str, ...]:
    """Those of some axes that texts mean; without a spec, by name and pattern.

    Raises:
        MaskError: a text means none; `what` is what was given for it.
    """
    axes = [*axes]
    if spec is not None:
        return tuple(n for n in find(spec, texts, error=MaskError) if n in axes)
    found: set[str] = set()
    for text in [texts] if isinstance(texts, str) else texts:
        hits = matching(axes, text)
        if not hits:
            raise MaskError(
                f"{what} given for '{text}', which has no scores. With spec=spec it may be a "
                f"weight or a role, and of a layer the axis is said; {nearest(text, axes)}"
            )
        found.update(hits)
    return tuple(name for name in axes if name in found)


def scored(
    axes: Iterable[str], texts: str | Iterable[str], spec: Spec | None, what: str
) -> tuple[str, ...]:
    """The same, where each text must mean one of the axes, those that have scores."""
    axes, texts = [*axes], [texts] if isinstance(texts, str) else [*texts]
    for text in texts:
        meant = () if spec is None else find(spec, text, error=MaskError)
        if meant and not {*meant} & {*axes}:
            raise MaskError(
                f"{what} given for '{text}', and '{meant[0]}' has no scores; "
                f"{nearest(meant[0], axes)}"
            )
    return among(axes, texts, spec, what)


def by_axis(
    axes: Iterable[str], given: Number | Mapping[str, Number], spec: Spec | None
) -> dict[str, Number]:
    """`{axis: number}`: one for all, or by what texts mean: an axis's own name, else the first.

    >>> by_axis(["a.1", "a.2", "b"], {"a.*": 4, "a.2": 8}, None)
    {'a.2': 8, 'a.1': 4}
    """
    axes = [*axes]
    if not isinstance(given, Mapping):
        return dict.fromkeys(axes, given)
    out = {n: number for n, number in given.items() if n in axes}
    for text, number in given.items():
        known = text in axes or (spec is not None and text in spec.axes)
        for name in () if known else among(axes, text, spec, "a number is"):
            out.setdefault(name, number)
    return out


def steps_of(
    sizes: Mapping[str, int], round_to: int | Mapping[str, int], spec: Spec | None
) -> dict[str, int]:
    """The multiple that each axis keeps; one number for all spares axes that have no more units.

    Raises:
        MaskError: it is no whole number of at least 1.
    """
    if isinstance(round_to, str):
        raise MaskError(
            f"round_to is '{round_to}': give a number, or pt.round_for(table, spec) with a table "
            "of latencies or the name of a runtime"
        )
    steps = by_axis(sizes, round_to, spec)
    _check_whole("round_to", steps.values(), 1)
    if not isinstance(round_to, Mapping):
        return {n: step if sizes[n] > step else 1 for n, step in steps.items()}
    return dict.fromkeys(sizes, 1) | steps


def least_of(
    axes: Iterable[str], min_keep: int | Mapping[str, int], spec: Spec | None
) -> dict[str, int]:
    """How many units each axis keeps at least: none only of a branch, where the spec knows.

    Raises:
        MaskError: it is no whole number of at least 0.
    """
    least = by_axis(axes, min_keep, spec)
    _check_whole("min_keep", least.values(), 0)
    branch = {n: spec is None or n in spec.branches for n in axes}
    return {n: max(least.get(n, 1), 0 if branch[n] else 1) for n in axes}


def most_of(
    axes: Iterable[str], max_sparsity: float | Mapping[str, float] | None, spec: Spec | None
) -> dict[str, float]:
    """The largest part of each axis that may go, of those that have such a limit.

    Raises:
        MaskError: it is no fraction.
    """
    most = {} if max_sparsity is None else by_axis(axes, max_sparsity, spec)
    for part in most.values():
        if not fits(part, float) or not 0 <= part <= 1:
            raise MaskError(f"max_sparsity is {part!r}: give a fraction from 0 to 1")
    return most


def _check_whole(what: str, numbers: Iterable[int], least: int) -> None:
    for number in numbers:
        if not fits(number, int) or number < least:
            kind = "" if fits(number, int) else f", a {type(number).__name__}"
            raise MaskError(
                f"{what} is {number!r}{kind}: give a whole number of units, at least {least}"
            )
