"""What criteria are worth: how each ranks units, beside the true change of the output when one unit
goes, on trained networks.

    python examples/criteria.py mlp resnet20 lite0 minilm crepe --write

Scores come from some examples, the truth (`pt.leave_out`) from others of the same kind. Of each
axis up to `--units` are tried. Printed is Spearman's correlation within an axis, the mean over
axes, and that of all units together; with the seconds that measuring and scoring take. Results are
kept in out/criteria.json, network by network; where no network is named, the table of all that is
kept is printed, and `--write` puts it into docs/criteria.md. The networks are those of trained.py.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from agp_resnet20 import HERE
from torch import Tensor
from torch.func import functional_call
from trained import CASES, Case

import purethin as pt
from purethin.table import Table

DOC = Path(__file__).parents[1] / "docs" / "criteria.md"

# ---- the truth, and what is said of it


def some_units(spec: pt.Spec, count: int) -> dict[str, Tensor]:
    """Up to so many units of each exact axis, at random."""
    state = torch.Generator().manual_seed(0)
    return {
        n: torch.randperm(spec.sizes[n], generator=state)[:count]
        for n in spec.exact
        if spec.sizes[n] >= 4
    }


def truth(case: Case, params: Any, spec: pt.Spec, units: Mapping[str, Tensor]) -> Tensor:
    """`Tensor[units]`: how far the output is off when one of them goes."""
    with torch.no_grad():
        dense = case.model(*case.tried)

    def loss(params: Any, *batch: Tensor) -> Tensor:
        out = functional_call(case.model, params, batch[:-1])
        return case.distance(out, batch[-1]).mean()

    total, masks, start = sum(map(len, units.values())), {}, 0
    for name, chosen in units.items():
        keep = torch.ones(total, spec.sizes[name], dtype=torch.bool)
        keep[torch.arange(start, start + len(chosen)), chosen] = False
        masks[name], start = keep, start + len(chosen)
    return pt.leave_out(loss, params, spec, [(*case.tried, dense)], masks)


def ranks(values: Tensor) -> Tensor:
    """Ranks, equal ones their mean."""
    _, of, counts = values.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2).double()[of]


def spearman(one: Tensor, other: Tensor) -> float:
    pair = torch.stack([ranks(one), ranks(other)])
    return float(torch.corrcoef(pair)[0, 1].nan_to_num())


def judged(scores: pt.Scores, units: Mapping[str, Tensor], true: Tensor) -> tuple[float, float]:
    """Spearman's correlation within axes, and over all units that have scores."""
    within, have, want = [], [], []
    for (name, chosen), part in zip(
        units.items(), true.split([*map(len, units.values())]), strict=True
    ):
        if name in scores and float(part.std()) > 0:  # not one that no output depends on
            mine = scores[name][chosen].double()
            within.append(spearman(mine, part))
            have.append(mine)
            want.append(part)
    return sum(within) / len(within), spearman(torch.cat(have), torch.cat(want))


# ---- the criteria


def criteria(case: Case, params: Any, spec: pt.Spec) -> dict[str, tuple[float, pt.Scores]]:
    """Each criterion's seconds, measuring included, and scores."""
    found: dict[str, tuple[float, pt.Scores]] = {}
    c, model, given = pt.criteria, case.model, case.given

    def take(before: float, **ways: Callable[[], pt.Scores]) -> None:
        for name, way in ways.items():
            start = time.perf_counter()
            try:
                scores = way()
            except pt.MaskError:  # no batch norm
                continue
            found[name.replace("_each", ", each example")] = (
                before + time.perf_counter() - start,
                scores,
            )

    def measured(**how: Any) -> tuple[float, Any]:
        start = time.perf_counter()
        batches = (case.rows if "loss" not in how else ()) or [given]
        stats = pt.measure(model, params, spec, batches, **how)
        return time.perf_counter() - start, stats

    take(
        0,
        random=lambda: pt.random_scores(params, spec, generator=torch.Generator().manual_seed(0)),
        lp_norm=lambda: pt.lp_norm(params, spec),
        lamp=lambda: c.lamp(params, spec),
        geometric_median=lambda: c.geometric_median(params, spec),
        batch_norm_scale=lambda: c.batch_norm_scale(params, spec),
    )
    seconds, stats = measured()
    for of in (pt.apoz, pt.activation_mean, c.activation_norm, pt.wanda, c.flap):
        take(seconds, **{of.__name__: lambda of=of, stats=stats: of(params, spec, stats)})
    if case.gram:
        seconds, stats = measured(gram=True)
        for of in (c.thinet, c.obs):
            take(seconds, **{of.__name__: lambda of=of, stats=stats: of(params, spec, stats)})

    def scalar(outputs: Tensor, batch: Any) -> Tensor:
        return case.loss(outputs, batch).mean()

    seconds, stats = measured(loss=scalar)
    for of in (pt.taylor, c.gate, c.snip):
        take(seconds, **{of.__name__: lambda of=of, stats=stats: of(params, spec, stats)})
    with torch.no_grad():
        single = case.loss(model(*given), given).dim() == 0
    if not single:
        seconds, stats = measured(loss=case.loss)
        for of in (pt.taylor, c.gate, pt.fisher):
            name = of.__name__ + ("" if of is pt.fisher else "_each")
            take(seconds, **{name: lambda of=of, stats=stats: of(params, spec, stats)})
    state = torch.Generator().manual_seed(0)
    take(
        0,
        output_taylor=lambda: pt.output_taylor(
            model, params, spec, case.rows or [given], generator=state
        ),
    )
    return found


# ---- the table


def rows_of(
    name: str, count: int, *, same: bool, examples: int | None
) -> dict[str, tuple[float, float, float]]:
    """`{criterion: (within axes, over all, seconds)}` of a network."""
    case = CASES[name]()
    tried = case.given[: len(case.tried)] if same else case.tried
    given, tried = (tuple(x[:examples] for x in part) for part in (case.given, tried))
    case = replace(case, given=given, tried=tried)
    params = pt.params_of(case.model)
    spec = pt.infer(case.model, params, *(x[:1] for x in case.given))
    units = some_units(spec, count)
    start = time.perf_counter()
    true = truth(case, params, spec, units)
    print(f"{name}: {len(true)} units of {len(units)} axes, {time.perf_counter() - start:.0f} s")
    out = {
        criterion: (*judged(scores, units, true), seconds)
        for criterion, (seconds, scores) in criteria(case, params, spec).items()
    }
    shown = [(n, f"{a:.2f}", f"{b:.2f}", f"{s:.1f}") for n, (a, b, s) in out.items()]
    print(Table(("", "within", "all", "s"), shown, numbers=(1, 2, 3)), flush=True)
    return out


def written(
    found: Mapping[str, Mapping[str, tuple[float, float, float]]], names: Sequence[str]
) -> str:
    """The table as Markdown."""
    criteria = dict.fromkeys(c for rows in found.values() for c in rows)
    lines = ["| criterion | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for c in criteria:
        cells = [
            "{:.2f} / {:.2f} ({:.1f} s)".format(*found[n][c]) if c in found[n] else ""
            for n in names
        ]
        lines.append(f"| {c} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=[], help=", ".join(CASES))
    parser.add_argument("--units", type=int, default=32, help="of each axis")
    parser.add_argument("--examples", type=int, help="so many only score, and are tried")
    parser.add_argument("--same", action="store_true", help="the truth from the same examples")
    parser.add_argument("--write", action="store_true", help="put the table into docs/criteria.md")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    kept = HERE / "out" / "criteria.json"
    found = json.loads(kept.read_text()) if kept.exists() and not args.same else {}
    for name in args.networks:
        found[name] = rows_of(name, args.units, same=args.same, examples=args.examples)
        if not args.same:
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps(found, indent=1))
    table = written(found, [name for name in CASES if name in found])
    print(table)
    if args.write:
        before, _, rest = DOC.read_text().partition("<!-- correlations -->")
        after = rest.partition("<!-- end -->")[2]
        DOC.write_text(f"{before}<!-- correlations -->\n\n{table}\n\n<!-- end -->{after}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
