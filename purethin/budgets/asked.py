"""What is asked of `solve`: the budgets as numbers, and what each axis may lose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from purethin import axes as ax
from purethin.axes import Axes, Name, Product, Sum, Take
from purethin.budgets.ladder import Limits
from purethin.budgets.latency import LatencyTable
from purethin.budgets.multiples import round_for
from purethin.budgets.polynomial import CostFunction
from purethin.costs import cost
from purethin.errors import MaskError, nearest
from purethin.finding import find
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


def limits_of(budgets: Mapping[str, object], spec: Spec) -> dict[str, float]:
    """`{kind: the largest number allowed}`: whole numbers; of latency, seconds.

    Raises:
        MaskError: none, an unknown kind, or no such number.
    """
    dense, table = cost(spec), budgets.get("table")
    out: dict[str, float] = {}
    for kind, asked in budgets.items():
        if kind == "table":
            continue
        if kind not in (*KINDS, "latency"):
            raise MaskError(f"no budget is of '{kind}'; {nearest(kind, KINDS)}")
        if isinstance(asked, bool) or not isinstance(asked, int | float) or not asked > 0:
            raise MaskError(
                f"the budget of {kind} is {asked!r}: give a fraction of the dense cost, as 0.5, or "
                "a number above 1"
            )
        if kind == "latency":
            if not isinstance(table, LatencyTable):
                raise MaskError("a budget of latency needs a table: solve(…, latency=0.5, table=…)")
            out[kind] = asked * table.dense if asked <= 1 else asked / 1e3
            continue
        whole = getattr(dense, kind)
        out[kind] = int(asked * whole) if asked <= 1 else int(asked)
        if not out[kind]:
            raise MaskError(f"the network has {whole:,} {kind}: there is nothing to save")
    if not out:
        raise MaskError(f"no budget is given: solve(scores, spec, macs=0.5), or of {KINDS[1:]}")
    return out


def movable_of(
    scores: Scores,
    spec: Spec,
    options: Options,
    function: CostFunction,
    table: object = None,
) -> dict[str, Limits]:
    """`{axis: what it may lose}` of the axes that may lose units, in the spec's order."""
    for name in scores:
        spec.axis(name)
    if options.axes is None:
        wanted = {n for n in scores if spec.axes[n].exact}
    else:
        wanted = {*find(spec, options.axes, error=MaskError)}
    if (missing := next((n for n in spec.axes if n in wanted - scores.keys()), None)) is not None:
        raise MaskError(f"the axis '{missing}' has no scores; {nearest(missing, scores)}")
    crossed = {n for t in function.uneven if t.times is None for n in t.axes}
    steps, leasts, mosts = (
        _by_axis(spec, given)
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
        if step < 1 or step != int(step) or least < (not spec.branches) or not 0 <= most <= 1:
            raise MaskError(
                f"'{name}' has round_to {step}, min_keep {least} and max_sparsity {most}: round_to "
                "and min_keep are whole numbers of at least 1 (min_keep 0 with a spec of infer(…, "
                "branches=True)), max_sparsity is from 0 to 1"
            )
        out[name] = Limits(int(step), int(least), float(most))
    return out


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


def _by_axis(spec: Spec, given: float | Mapping[str, float]) -> dict[str, float]:
    """`{axis: number}`: one for all, or by what texts mean: an axis's own name, else the first."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(spec.axes, given)
    out = {n: number for n, number in given.items() if n in spec.axes}
    for text, number in given.items():
        for name in find(spec, text, error=MaskError):
            out.setdefault(name, number)
    return out
