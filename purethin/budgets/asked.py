"""What is asked of `solve`: the budgets as numbers, and what each axis may lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypedDict

from purethin.budgets.ladder import Limits
from purethin.budgets.polynomial import CostFunction
from purethin.costs import cost
from purethin.errors import MaskError, nearest
from purethin.spec import Scores, Spec

KINDS = ("macs", "parameters", "bytes")
"""What a budget may be of."""
Normalize = Literal["share"] | None


class Budgets(TypedDict, total=False):
    """What a network may cost: a fraction of the dense cost (a float from 0 to 1), or a number."""

    macs: float
    parameters: float
    bytes: float


@dataclass(frozen=True)
class Options:
    """What `solve` takes beside the budgets."""

    axes: str | Sequence[str] | None = None
    round_to: int | Mapping[str, int] = 1
    min_keep: int | Mapping[str, int] = 1
    max_sparsity: float | Mapping[str, float] = 1.0
    normalize: Normalize = "share"


def limits_of(budgets: Mapping[str, object], spec: Spec) -> dict[str, int]:
    """`{kind: the largest number allowed}`.

    Raises:
        MaskError: none, an unknown kind, or no such number.
    """
    dense, out = cost(spec), {}
    for kind, asked in budgets.items():
        if kind not in KINDS:
            raise MaskError(f"no budget is of '{kind}'; {nearest(kind, KINDS)}")
        if isinstance(asked, bool) or not isinstance(asked, int | float) or not asked > 0:
            raise MaskError(
                f"the budget of {kind} is {asked!r}: give a fraction of the dense cost, as 0.5, or "
                "a number above 1"
            )
        whole = getattr(dense, kind)
        out[kind] = int(asked * whole) if asked <= 1 else int(asked)
        if not out[kind]:
            raise MaskError(f"the network has {whole:,} {kind}: there is nothing to save")
    if not out:
        raise MaskError(f"no budget is given: solve(scores, spec, macs=0.5), or of {KINDS[1:]}")
    return out


def movable_of(
    scores: Scores, spec: Spec, options: Options, function: CostFunction
) -> dict[str, Limits]:
    """`{axis: what it may lose}` of the axes that may lose units, in the spec's order."""
    for name in scores:
        spec.axis(name)
    asked = [options.axes] if isinstance(options.axes, str) else options.axes
    wanted = {n for n in scores if spec.axes[n].exact} if asked is None else set[str]()
    for pattern in asked or ():
        hits = [n for n in spec.exact if fnmatchcase(n, pattern)]
        hits = [pattern] if pattern in spec.axes else hits
        if not hits:
            raise MaskError(f"'{pattern}' matches no exact axis; {nearest(pattern, spec.axes)}")
        if (missing := next((n for n in hits if n not in scores), None)) is not None:
            raise MaskError(f"the axis '{missing}' has no scores; {nearest(missing, scores)}")
        wanted.update(hits)
    crossed = {n for t in function.uneven if t.times is None for n in t.axes}
    given = [options.round_to, options.min_keep, options.max_sparsity]
    out = {}
    for name in (n for n in spec.axes if n in wanted - crossed):
        score = scores[name]
        if tuple(score.shape) != (spec.sizes[name],) or bool(score.isnan().any()):
            raise MaskError(
                f"the scores of '{name}' are no {spec.sizes[name]} numbers, one for each unit: "
                f"shape {tuple(score.shape)}, {int(score.isnan().sum())} nan"
            )
        step, least, most = (
            _of(name, value, d) for value, d in zip(given, (1, 1, 1.0), strict=True)
        )
        if step < 1 or step != int(step) or least < 1 or not 0 <= most <= 1:
            raise MaskError(
                f"'{name}' has round_to {step}, min_keep {least} and max_sparsity {most}: round_to "
                "and min_keep are whole numbers of at least 1, max_sparsity is from 0 to 1"
            )
        out[name] = Limits(int(step), int(least), float(most))
    return out


def _of(name: str, value: float | Mapping[str, float], default: float) -> float:
    """An axis's own number: by its name, by the first pattern that matches, or the default."""
    if not isinstance(value, Mapping):
        return value
    if name in value:
        return value[name]
    return next((v for pattern, v in value.items() if fnmatchcase(name, pattern)), default)
