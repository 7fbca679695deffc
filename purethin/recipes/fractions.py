"""Sparsities by texts, as `{axis: fraction}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from purethin.errors import MaskError, nearest
from purethin.finding import find
from purethin.spec import Spec


def fractions_of(
    spec: Spec, sparsity: float | Mapping[str, float] = 0.5, axes: str | Sequence[str] = "*"
) -> dict[str, float]:
    """`{axis: the fraction to remove}` in the spec's order, from a sparsity and patterns as
    `recipe_for` takes them.

    Raises:
        SpecError: a pattern matches no exact axis.
        MaskError: a fraction outside [0, 1], or a sparsity for what is not an axis, or not one of
            `axes`.
    """
    patterns = [axes] if isinstance(axes, str) else list(axes)
    if not isinstance(sparsity, Mapping):
        check_fraction("sparsity", sparsity)
        return dict.fromkeys(find(spec, patterns), float(sparsity))
    for key, fraction in sparsity.items():
        check_fraction(f"sparsity of '{key}'", fraction)
    names = find(spec, sparsity, error=MaskError)
    if patterns != ["*"]:
        names = find(spec, patterns)
    meant = {key: {*find(spec, key, error=MaskError)} for key in sparsity}
    for key, axes_meant in meant.items():
        if axes_meant.isdisjoint(names):
            raise MaskError(
                f"a sparsity is given for '{key}', which `axes` leaves out; {nearest(key, names)}"
            )
    out: dict[str, float] = {}
    for name in names:
        keys = [name] if name in sparsity else [k for k in sparsity if name in meant[k]]
        if keys:
            out[name] = float(sparsity[keys[0]])
    return out


def check_fraction(what: str, given: float) -> None:
    """That a number is a fraction."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        raise MaskError(
            f"the {what} is {given!r}: give the fraction to remove, from 0 to 1 (0.5 for half)"
        )
