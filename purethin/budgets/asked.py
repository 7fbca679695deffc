"""What is asked of `solve`: the budgets as numbers, and what each axis may lose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from purethin.limits import by_axis
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
            raise MaskError(f"no budget is of '{kind}'; {nearest(kind, KINDS)}")
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
        out[kind] = int(asked * whole) if asked <= 1 else int(asked)
        if not out[kind]:
            raise MaskError(f"the network has {whole:,} {kind}: there is nothing to save")
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
    if (missing := next((n for n in spec.axes if n in wanted - scores.keys()), None)) is not None:
        raise MaskError(f"the axis '{missing}' has no scores; {nearest(missing, scores)}")
    crossed = {n for t in function.uneven if t.times is None for n in t.axes}
    steps, leasts, mosts = (
        by_axis(spec.axes, given, spec)
        for given in (_multiples(options, spec, table), options.min_keep, options.max_sparsity)
    )
    out = {}
    for name in (n for n in spec.axes if n in wanted - crossed):
        score = scores[name]
        if tuple(score.shape) != (spec.sizes[name],) or bool(score.isnan().any()):
            raise MaskError(
                f"the scores of '{name}' are no {spec.sizes[name]} numbers, one for each unit: "
                f"shape {tuple(score.shape)}, {int(score.isnan().sum())} nan"
            )
        step, least, most = steps.get(name, 1), leasts.get(name, 1), mosts.get(name, 1.0)
        odd = step < 1 or step % 1 or least < (not spec.branches) or least % 1
        if odd or not 0 <= most <= 1:
            raise MaskError(
                f"'{name}' has round_to {step}, min_keep {least} and max_sparsity {most}: round_to "
                "and min_keep are whole numbers of at least 1 (min_keep 0 with a spec of infer(…, "
                "branches=True)), max_sparsity is from 0 to 1"
            )
        out[name] = Limits(int(step), int(least), float(most))
    return out


def _check_asked(scores: Scores, spec: Spec, options: Options) -> None:
    """That the scores are of axes, and their normalisation has a name."""
    if (unknown := next((n for n in scores if n not in spec.axes), None)) is not None:
        raise MaskError(f"scores are given of '{unknown}', which is no axis; {hint(spec, unknown)}")
    if options.normalize not in (*get_args(get_args(Normalize)[0]), None):
        raise MaskError(
            f"normalize is {options.normalize!r}: give 'layers', 'share' or 'rank', or None for "
            "scores that add up"
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
    if isinstance(asked, str):
        raise MaskError(
            f"round_to is '{asked}': 'auto' needs a table: solve(…, round_to='auto', table=…)"
        )
    return 1 if asked is None else asked
