"""What is left of trained networks without retraining, at 90 to 50 % of the MACs: every criterion,
with and without repair, with and without fresh batch-norm statistics.

    python examples/curves.py mlp resnet8 minilm lite0 --write

The networks and what they are judged by are those of tasks.py. Widths are those of
`pt.solve(scores, spec, macs=..., normalize="share")`. Scores, repair and statistics see some
examples, drawn by a seed; others judge. Each point is kept as a line of out/curves.jsonl, so what
was interrupted goes on; where no network is named, what is kept is shown. `--write` draws
docs/pictures/curves-NETWORK.png and puts the table into docs/criteria.md.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import torch
from agp_resnet20 import HERE
from criteria import criteria
from PIL import Image
from tasks import JUDGED, LEVELS, TASKS, Task
from torch import Tensor, nn
from torch.func import functional_call

import purethin as pt

KEPT = HERE / "out" / "curves.jsonl"
DOCS = Path(__file__).parents[1] / "docs"
WAYS = ("masked", "fresh", "repaired", "repaired, fresh")
LAYERS = ("lp_norm", "wanda", "output_taylor")
"""Criteria whose shares are counted once for each layer too, as `solve` does by default."""
SUMS = ("gate, each example", "output_taylor")
"""Criteria whose scores are losses, which add up over axes: tried as such too."""
RANKED = ("lp_norm", "output_taylor")
"""Criteria that are tried by ranks too: each axis loses the same part."""
COLOURS = {
    "random": "#222222",
    "lp_norm": "#b7472a",
    "lp_norm, by ranks": "#805ad5",
    "wanda": "#d69e2e",
    "gate, each example": "#38b2ac",
    "gate, each example, added": "#2f855a",
    "output_taylor": "#2b6cb0",
    "output_taylor, by ranks": "#63b3ed",
    "output_taylor, added": "#1a365d",
    "output_taylor, measured": "#b83280",
    "output_taylor, measured, varied": "#702459",
    "output_taylor, in steps": "#ed64a6",
}
"""In the pictures; the others are grey. Where repair takes long, these alone have several seeds and
all levels.
"""
FRACTIONS = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75)
"""Of an axis, removed to see what that costs."""
Row = dict[str, Any]


# ---- the points


def masks_for(name: str, scores: pt.Scores, spec: pt.Spec, macs: float) -> dict[str, Tensor]:
    """The masks that a criterion asks for at a part of the MACs."""
    given = {n: s.detach().double().clamp(min=0) for n, s in scores.items() if n in spec.exact}
    if name.endswith((", added", ", measured", ", varied")):
        return pt.solve(given, spec, macs=macs, normalize=None)
    hows: dict[str, Literal["rank", "layers"]] = {"by ranks": "rank", "layers": "layers"}
    return pt.solve(given, spec, macs=macs, normalize=hows.get(name.rpartition(", ")[2], "share"))


def levels_of(task: Task, criterion: str, seed: int) -> Sequence[float]:
    """The levels at which a criterion is tried."""
    if criterion.endswith(", layers"):
        return () if seed else LEVELS[::2]
    if not task.slow:
        return LEVELS
    if task.few:
        return LEVELS if criterion in COLOURS else ()
    return LEVELS[::2] if criterion in COLOURS else () if seed else LEVELS[2:3]


def ways_of(task: Task, criterion: str, level: float) -> list[str]:
    """What is tried of a point."""
    normed = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in task.case.model.modules())
    known = criterion in COLOURS or not task.slow
    repaired = level in (task.levels if known else (0.7,)) and criterion in (
        task.few or [criterion]
    )
    ways = [way for way in WAYS if repaired or "repaired" not in way]
    return [way for way in ways if normed or "fresh" not in way]


@torch.no_grad()
def measured(
    task: Task, params: Any, spec: pt.Spec, scores: pt.Scores, more: Sequence[Any] = ()
) -> pt.Scores:
    """Units in the order of these scores, worth what the output is off without so many of them; if
    there are more examples, all of these together count as much as the task's own.
    """
    model = task.case.model
    parts = [part for part in (task.batches, more) if part]
    dense = [[model(*batch) for batch in part] for part in parts]

    def loss(params: Any) -> Tensor:
        means = []
        for part, to in zip(parts, dense, strict=True):
            outs = (functional_call(model, params, batch) for batch in part)
            off = [task.case.distance(*pair) for pair in zip(outs, to, strict=True)]
            means.append(torch.cat(off).mean())
        return torch.stack(means).mean()

    profile = pt.sensitivity(loss, params, spec, FRACTIONS, scores=scores, chunk=1)
    return profile.scores(scores)


def in_steps(task: Task, params: Any, spec: pt.Spec) -> Iterator[tuple[float, dict[str, Tensor]]]:
    """The same, level after level: what is left is scored and measured again."""
    masks: dict[str, Tensor] = {}
    given = task.case.given[: len(task.batches[0])]

    def gone(scores: pt.Scores, least: float) -> dict[str, Tensor]:
        lost = {n: torch.full_like(s, least) for n, s in scores.items()}
        return {
            n: torch.where(masks[n], s, lost[n]) if n in masks else s for n, s in scores.items()
        }

    for level in LEVELS:
        now, state = pt.mask(params, spec, masks), torch.Generator().manual_seed(0)
        scores = pt.output_taylor(task.case.model, now, spec, [given], generator=state)
        scores = gone(measured(task, now, spec, gone(scores, -1.0)), -torch.inf)
        masks = pt.solve(scores, spec, macs=level, normalize=None)
        yield level, masks


@torch.no_grad()
def worths(
    task: Task, params: Any, spec: pt.Spec, masks: Mapping[str, Tensor], ways: Sequence[str]
) -> dict[str, float]:
    """What is left, by each way."""
    model, found, repaired = task.case.model, {}, None
    for way in ways:
        new = pt.mask(params, spec, masks)
        if "repaired" in way:
            if repaired is None:
                repaired = pt.repair(model, params, spec, masks, task.batches, ridges=task.ridges)
            new = repaired
        if "fresh" in way:
            together = tuple(torch.cat(part) for part in zip(*task.batches, strict=True))
            new = pt.fresh_statistics(model, new, [together])
        found[way] = task.judge(pt.rebuild(model, *pt.thin(new, spec, masks)).eval())
    return found


def scores_of(task: Task, params: Any, spec: pt.Spec) -> dict[str, pt.Scores]:
    return {c: scores for c, (_, scores) in criteria(task.case, params, spec).items()}


def few_scores(task: Task, params: Any, spec: pt.Spec) -> dict[str, pt.Scores]:
    """Where a forward takes seconds."""
    state = torch.Generator().manual_seed(0)
    stats = pt.measure(task.case.model, params, spec, task.batches)
    return {
        "random": pt.random_scores(params, spec, generator=state),
        "lp_norm": pt.lp_norm(params, spec),
        "wanda": pt.wanda(params, spec, stats),
        "output_taylor": pt.output_taylor(
            task.case.model, params, spec, task.batches, directions=2, generator=state
        ),
    }


def points(name: str, seed: int, done: set[tuple[str, float]]) -> Iterator[Row]:
    """The points of a network and a seed that are not there yet."""
    task = TASKS[name](seed)
    if task.slow:
        task = replace(task, case=replace(task.case, gram=False))
    params = pt.params_of(task.case.model)
    spec = pt.infer(task.case.model, params, *(x[:1] for x in task.case.given))
    how = few_scores if task.few else scores_of
    found = how(task, params, spec)
    found |= {f"{c}, layers": found[c] for c in LAYERS}
    found |= {f"{c}, added": found[c] for c in SUMS if c in found}
    found |= {f"{c}, by ranks": found[c] for c in RANKED}
    for criterion in ("taylor", "gate"):  # better of each example, where that is to be had
        if f"{criterion}, each example" in found:
            del found[criterion]
    if not task.few:
        found["output_taylor, measured"] = measured(task, params, spec, found["output_taylor"])
    for criterion, scores in found.items():
        if not {*spec.exact} <= {*scores}:
            scores = {n: scores.get(n, torch.ones(spec.sizes[n])) for n in spec.exact}
        for level in levels_of(task, criterion, seed):
            if (criterion, level) not in done:
                masks = masks_for(criterion, scores, spec, level)
                yield point(task, params, spec, masks, (criterion, level))
    yield from more_points(task, params, spec, done)


def more_points(
    task: Task, params: Any, spec: pt.Spec, done: set[tuple[str, float]]
) -> Iterator[Row]:
    """`output_taylor` once more: with varied examples, and step by step."""
    criterion = "output_taylor, measured, varied"
    wide = replace(task, batches=[*task.batches, *task.more])
    levels = [at for at in task.levels if task.more and (criterion, at) not in done]
    if levels:
        state = torch.Generator().manual_seed(0)
        some = [tuple(x[: -(-len(x) // 4)] for x in batch) for batch in task.more]  # for speed
        one, other = (
            pt.output_taylor(task.case.model, params, spec, part, directions=count, generator=state)
            for part, count in ((task.batches, 4), (some, 1))
        )
        scores = measured(task, params, spec, {n: one[n] + other[n] for n in one}, some)
        for level in levels:
            masks = masks_for(criterion, scores, spec, level)
            yield point(wide, params, spec, masks, (criterion, level))
    criterion = "output_taylor, in steps"
    if task.steps and not task.few and (criterion, LEVELS[-1]) not in done:
        for level, masks in in_steps(task, params, spec):
            if (criterion, level) not in done:
                yield point(task, params, spec, masks, (criterion, level))


def point(task: Task, params: Any, spec: pt.Spec, masks: pt.Masks, which: tuple[str, float]) -> Row:
    """What is left at one criterion and level."""
    ways = worths(task, params, spec, masks, ways_of(task, *which))
    macs = pt.cost(spec, masks).macs / pt.cost(spec).macs
    with torch.no_grad():
        dense = task.judge(task.case.model)
    return {"criterion": which[0], "level": which[1], "macs": macs, "dense": dense, **ways}


# ---- pictures and the table


def seen(rows: Sequence[Row], name: str, criterion: str, way: str) -> dict[float, list[float]]:
    """`{level: [what is left, by each seed]}`."""
    found: dict[float, list[float]] = {}
    for r in sorted(rows, key=lambda r: -r["level"]):
        if (r["network"], r["criterion"]) == (name, criterion) and way in r:
            found.setdefault(r["level"], []).append(r[way])
    return found


def shown(values: Sequence[float] | None) -> str:
    """The mean, and how far the seeds are apart (their standard deviation) where that is seen."""
    if not values:
        return "–"
    spread = f"{stdev(values):.2f}" if len(values) > 1 else "0.00"
    return f"{mean(values):.2f}" + (f" ± {spread[1:]}" if spread != "0.00" else "")


def picture(rows: Sequence[Row], name: str) -> Path:
    """A panel for each way; the criteria that are not in colour are thin and grey."""
    from matplotlib.figure import Figure  # of the extra `plot`

    ways = [w for w in WAYS if any(r["network"] == name and w in r for r in rows)]
    down, across = -(-len(ways) // 2), min(len(ways), 2)  # two panels are as wide as a page
    figure = Figure((3.3 * across + 1.9, 3.4 * down + 0.2), layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    tried = dict.fromkeys(r["criterion"] for r in rows if r["network"] == name)
    dense = mean(r["dense"] for r in rows if r["network"] == name)
    for panel, way in zip(panels.flat, ways, strict=False):
        for criterion in sorted(tried, key=lambda c: c in COLOURS):
            line = seen(rows, name, criterion, way)
            colour = COLOURS.get(criterion, "#d3d9e0")
            wide, label = (1.8, criterion) if criterion in COLOURS else (0.9, None)
            x, y = [100, *(100 * level for level in line)], [dense, *map(mean, line.values())]
            panel.plot(x, y, color=colour, lw=wide, label=label, marker=".", ms=4)
            if criterion in COLOURS:  # from the least to the most of the seeds
                ends = ([dense, *map(end, line.values())] for end in (min, max))
                panel.fill_between(x, *ends, color=colour, alpha=0.13, lw=0)
        panel.set_title(way, loc="left", fontsize=10)
        panel.set_xlim(101, 49)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[-1]:
        panel.set_xlabel("MACs kept, %")
    for panel in panels[:, 0]:
        panel.set_ylabel(JUDGED[name], fontsize=8)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)
    to = DOCS / "pictures" / f"curves-{name}.png"
    to.parent.mkdir(exist_ok=True)
    figure.savefig(to, dpi=90)
    Image.open(to).convert("RGB").quantize(64).save(to, optimize=True)  # a third of the bytes
    return to


def table(rows: Sequence[Row], level: float) -> str:
    """What is left at one level, criterion by criterion, as Markdown."""
    names = [n for n in TASKS if any(r["network"] == n for r in rows)]
    lines = ["| criterion | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    dense = (mean(r["dense"] for r in rows if r["network"] == n) for n in names)
    lines.append("| dense | " + " | ".join(f"{d:.2f}" for d in dense) + " |")
    for criterion in dict.fromkeys(r["criterion"] for r in rows):
        cells = []
        for name in names:
            found = (seen(rows, name, criterion, way).get(level) for way in WAYS)
            cells.append(" / ".join(map(shown, found)))
        lines.append(f"| {criterion} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def put(doc: Path, mark: str, text: str) -> None:
    """Between two marks of a page, this text."""
    before, _, rest = doc.read_text().partition(f"<!-- {mark} -->")
    after = rest.partition("<!-- end -->")[2]
    doc.write_text(f"{before}<!-- {mark} -->\n\n{text}\n\n<!-- end -->{after}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=[], help=", ".join(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--level", type=float, default=0.7, help="of the table")
    parser.add_argument("--write", action="store_true", help="pictures, and docs/criteria.md")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    rows = [json.loads(row) for row in KEPT.read_text().splitlines()] if KEPT.exists() else []
    for seed in args.seeds:
        for name in args.networks:
            mine = [r for r in rows if (r["network"], r["seed"]) == (name, seed)]
            start, done = time.perf_counter(), {(r["criterion"], r["level"]) for r in mine}
            for found in points(name, seed, done):
                row = {"network": name, "seed": seed, **found}
                rows.append(row)
                with KEPT.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    print(text := table(rows, args.level))
    if args.write:
        put(DOCS / "criteria.md", "curves", text)
        for name in TASKS:
            if any(r["network"] == name for r in rows):
                print(picture(rows, name))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
