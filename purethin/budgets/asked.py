"""What is asked of `solve`: the budgets as numbers, and what each axis may lose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import Any, Literal, TypedDict, get_args

from purethin import axes as ax
from purethin.arguments import fits
from purethin.axes import Axes, Name, Product, Sum, Take
from purethin.budgets.ladder import Limits
from purethin.budgets.latency import LatencyTable
from purethin.budgets.multiples import round_for
from purethin.budgets.polynomial import CostFunction
from purethin.costs import cost
from purethin.errors import MaskError, nearest
from purethin.finding import find, hint
from purethin.limits import least_of, most_of, steps_of
from purethin.selection import check_scores
from purethin.spec import Scores, Spec

KINDS = ("macs", "parameters", "bytes", "activation_bytes")
"""What a budget may be of."""
Normalize = Literal["layers", "share", "rank"] | None
RoundTo = int | Mapping[str, int] | Literal["auto"]


class Budgets(TypedDict, total=False):
    """What a network may cost: a fraction of the dense cost (a float from 0 to 1), or a number.

    `latency` is a fraction, or milliseconds, by a `table` of `latency_table`.
    """

    macs: float
    parameters: float
    bytes: float
    activation_bytes: float
    latency: float
    table: LatencyTable


@dataclass(frozen=True)
class Options:
    """What `solve` takes beside the budgets."""

    axes: str | Sequence[str] | None = None
    round_to: RoundTo | None = None
    min_keep: int | Mapping[str, int] = 1
    max_sparsity: float | Mapping[str, float] = 1.0
    normalize: Normalize = "layers"


def limits_of(budgets: Mapping[str, Any], spec: Spec) -> dict[str, float]:
    """`{kind: the largest number allowed}`: whole numbers; of latency, seconds.

    Raises:
        MaskError: none, an unknown kind, or no such number.
        SpecError: the table is of another network.
    """
    dense, table = cost(spec), budgets.get("table")
    out: dict[str, float] = {}
    for kind, asked in budgets.items():
        if kind == "table":
            continue
        if kind not in (*KINDS, "latency"):
            raise MaskError(f"no budget is of '{kind}'; {nearest(kind, (*KINDS, 'latency'))}")
        if not fits(asked, float) or not 0 < float(asked) < inf:
            raise MaskError(
                f"the budget of {kind} is {asked!r}: give a fraction of the dense cost, as 0.5, or "
                "a number above 1"
            )
        asked = int(asked) if fits(asked, int) else float(asked)
        if kind == "latency":
            if not isinstance(table, LatencyTable):
                raise MaskError("a budget of latency needs a table: solve(…, latency=0.5, table=…)")
            table.check_fits(spec)
            out[kind] = asked * table.dense if asked <= 1 else asked / 1e3
            continue
        whole = getattr(dense, kind)
        part = asked if whole < 2**53 else Fraction(asked)  # beyond, floats are no whole numbers
        out[kind] = int(part * whole) if asked <= 1 else int(asked)
        if not whole:
            raise MaskError(f"the network has no {kind}: there is nothing to save")
        if not out[kind]:
            raise MaskError(f"{asked!r} of the {whole:,} {kind} is less than one: give more")
    if not out:
        raise MaskError(
            f"no budget is given: solve(scores, spec, macs=0.5), or of {', '.join(KINDS[1:])}"
        )
    return out


def movable_of(
    scores: Scores,
    spec: Spec,
    options: Options,
    function: CostFunction,
    table: object = None,
) -> dict[str, Limits]:
    """`{axis: what it may lose}` of the axes that may lose units, in the spec's order."""
    _check_asked(scores, spec, options)
    if options.axes is None:
        wanted = {n for n in scores if spec.axes[n].exact}
    else:
        wanted = {*find(spec, options.axes, error=MaskError)}
    if spec.exact and not wanted:
        raise MaskError(
            "no axis may lose units: give scores of exact axes, or name in `axes` those that may"
        )
    if (missing := next((n for n in spec.axes if n in wanted - scores.keys()), None)) is not None:
        raise MaskError(f"the axis '{missing}' has no scores; {nearest(missing, scores)}")
    crossed = {n for t in function.uneven if t.times is None for n in t.axes}
    steps = steps_of(spec.sizes, _multiples(options, spec, table), spec)
    least = least_of(spec.axes, options.min_keep, spec)
    most = most_of(spec.axes, options.max_sparsity, spec)
    out = {}
    for name in (n for n in spec.axes if n in wanted - crossed):
        check_scores(name, scores[name], spec)
        if scores[name].is_meta:
            raise MaskError(f"the scores of '{name}' are on the meta device, which has no numbers")
        out[name] = Limits(steps[name], least[name], most.get(name, 1.0))
    return out


def finer_steps(movable: Mapping[str, Limits], options: Options) -> dict[str, Limits] | None:
    """Half the multiples, where they were not asked for but are what was fast; None elsewhere."""
    if options.round_to not in (None, "auto") or all(x.round_to == 1 for x in movable.values()):
        return None
    return {n: x._replace(round_to=max(1, x.round_to // 2)) for n, x in movable.items()}


def _check_asked(scores: Scores, spec: Spec, options: Options) -> None:
    """That the scores are of axes, their normalisation has a name, and branches were looked for
    where one may go.
    """
    if (unknown := next((n for n in scores if n not in spec.axes), None)) is not None:
        raise MaskError(f"scores are given of '{unknown}', which is no axis; {hint(spec, unknown)}")
    if options.normalize not in (*get_args(get_args(Normalize)[0]), None):
        raise MaskError(
            f"normalize is {options.normalize!r}: give 'layers', 'share' or 'rank', or None for "
            "scores that add up"
        )
    least = options.min_keep
    if 0 in (least.values() if isinstance(least, Mapping) else [least]) and not (
        spec.branches or spec.needed
    ):
        raise MaskError(
            "min_keep is 0, and which axes may go whole is not known: give a spec of "
            "pt.infer(…, branches=True)"
        )


def times_of(spec: Spec, names: Iterable[str], normalize: Normalize) -> dict[str, float] | None:
    """`{axis: how often the part of its scores that stays counts}`; None where scores add up.

    By `"layers"` that is once for each dimension of a weight that carries it; of a concatenation,
    as large a part as is the axis's own.
    """
    if normalize is None:
        return None
    out = dict.fromkeys(names, 0.0)
    known: dict[Axes, dict[str, float]] = {}
    matrices = [d for n, d in spec.layout.items() if len(d) > 1 and n not in spec.buffers]
    for expr in (e for dims in matrices if normalize == "layers" for e in dims):
        if expr not in known:
            known[expr] = _parts_in(expr, spec.sizes)
        for name, part in known[expr].items():
            if name in out:
                out[name] += part
    return {n: times or 1.0 for n, times in out.items()}


def _parts_in(expr: Axes, sizes: Mapping[str, int]) -> dict[str, float]:
    """`{axis: the part of an expression's entries that is the axis's}`."""
    out: dict[str, float] = {}
    match expr:
        case Name(name):
            return {name: 1.0}
        case Product(factors):
            for factor in factors:
                out |= _parts_in(factor, sizes)
        case Sum(terms):
            whole = max(ax.size(expr, sizes), 1)
            for term in terms:
                for name, part in _parts_in(term, sizes).items():
                    out[name] = out.get(name, 0.0) + part * ax.size(term, sizes) / whole
        case Take():
            mine = {name: ax.units(expr, name, sizes) >= 0 for name in ax.names(expr)}
            return {name: float(units.double().mean()) for name, units in mine.items()}
    return out


def _multiples(options: Options, spec: Spec, table: object) -> int | Mapping[str, int]:
    """What widths are multiples of: by the table of latencies, where there is one and nothing else
    is asked.

    Raises:
        MaskError: they are asked of a table that is not given.
    """
    asked = options.round_to
    if isinstance(table, LatencyTable) and asked in (None, "auto"):
        return round_for(table, spec)
    if asked == "auto":
        raise MaskError("round_to is 'auto', by a table: solve(…, round_to='auto', table=…)")
    return 1 if asked is None else asked
