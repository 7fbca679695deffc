"""What is left of trained networks without retraining, at 90 to 50 % of the MACs: every criterion,
with and without repair, with and without fresh batch-norm statistics.

    python examples/curves.py mlp resnet8 minilm lite0 --write

The networks are those of trained.py. Widths are those of `pt.solve(scores, spec, macs=...)`.
Scores, repair and statistics see some examples, drawn by a seed; others judge. Each point is kept
as a line of out/curves.jsonl, so what was interrupted goes on; where no network is named, what is
kept is shown. `--write` draws docs/pictures/curves-NETWORK.png and puts the table into
docs/criteria.md.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from agp_resnet20 import HERE
from criteria import criteria
from repair import batches_of
from torch import Tensor, nn
from torch.nn import functional as F
from trained import CASES, Case, images

import purethin as pt

KEPT = HERE / "out" / "curves.jsonl"
DOCS = Path(__file__).parents[1] / "docs"
LEVELS = (0.9, 0.8, 0.7, 0.6, 0.5)
WAYS = ("masked", "fresh", "repaired", "repaired, fresh")
SUMS = ("gate, each example", "output_taylor")
"""Criteria whose scores are losses, which add up over axes: tried as such too."""
COLOURS = {
    "random": "#888888",
    "lp_norm": "#b7472a",
    "wanda": "#d69e2e",
    "gate, each example": "#38b2ac",
    "gate, each example, added": "#2f855a",
    "output_taylor": "#2b6cb0",
    "output_taylor, added": "#1a365d",
}
"""In the pictures; the others are grey. Where repair takes long, these alone have several seeds and
all levels.
"""
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A trained network, examples to calibrate by, and what a smaller one is worth on others.

    Attributes:
        case: as criteria.py has it, with the examples of this seed.
        batches: the same examples, without labels and padding.
        judge: from a network to what it is worth, at most 1.
        ridges: what `repair` chooses from.
        levels: where the criteria in colour are repaired; the others at 70 % alone.
        few: the criteria that are repaired at all, if not all.
        slow: whether only the criteria in colour are tried at several levels and by several seeds,
            and those that need Gram matrices not at all.
    """

    case: Case
    batches: Sequence[Any]
    judge: Callable[[nn.Module], float]
    ridges: Sequence[float]
    levels: Sequence[float] = LEVELS[::2]
    few: Sequence[str] = ()
    slow: bool = True


# ---- the networks, and what they are judged by


@cache
def case_of(name: str) -> Case:
    return CASES[name]()


def drawn(count: int, of: int, seed: int) -> Tensor:
    return torch.randperm(of, generator=torch.Generator().manual_seed(seed))[:count]


def agreement(x: Tensor, labels: Tensor) -> Callable[[nn.Module], float]:
    """The part of images that get these labels."""
    return lambda net: float((net(x).argmax(1) == labels).float().mean())


def mlp(seed: int) -> Task:
    task = classified("mlp", seed, 256, 2000, (0.1, 1.0))
    return replace(task, levels=LEVELS, slow=False)


def resnet8(seed: int) -> Task:
    return classified("resnet8", seed, 96, 500, (0.03,))


def classified(name: str, seed: int, count: int, judged: int, ridges: Sequence[float]) -> Task:
    """Fashion-MNIST: accuracy on images that it was not trained on."""
    (x, y), test = images()
    chosen = drawn(count, len(x), seed)
    case = replace(case_of(name), given=(x[chosen], y[chosen]))
    batches = [(part,) for part in x[chosen].split(32)]
    return Task(case, batches, agreement(test[0][-judged:], test[1][-judged:]), ridges)


def lite0(seed: int) -> Task:
    """ImageNet at 160 pixels: 10 of 20 images calibrate; judged is what part of the others gets the
    class that the dense network gives it.
    """
    case = case_of("lite0")
    x = F.interpolate(torch.cat([case.given[0], case.tried[0]]), 160, mode="bilinear")
    with torch.no_grad():
        labels = case.model(x).argmax(1)
    order = drawn(20, 20, seed)
    ours, others = order[:10], order[10:]
    case = replace(case, given=(x[ours], labels[ours]))
    batches = [(part,) for part in x[ours].split(4)]
    judge = agreement(x[others], labels[others])
    few = ("output_taylor", "output_taylor, added")
    return Task(case, batches, judge, (0.1,), LEVELS[:3:2], few)


def minilm(seed: int) -> Task:
    """20 of 40 sentences calibrate; judged is the others' mean cosine to the dense embeddings."""
    case = case_of("minilm")
    tokens, attention = (torch.cat(p) for p in zip(case.given, case.tried, strict=True))
    pairs = drawn(20, 20, seed)
    ours, others = (torch.stack([2 * p, 2 * p + 1], 1).flatten() for p in pairs.split(10))

    def rows(chosen: Tensor) -> list[list[int]]:
        return [tokens[i, : int(attention[i].sum())].tolist() for i in chosen]

    case = replace(case, given=(tokens[ours], attention[ours]), rows=batches_of(rows(ours)))
    judging = tokens[others], attention[others]
    with torch.no_grad():
        dense = case.model(*judging)
    return Task(
        case,
        batches_of(rows(ours)),
        lambda net: float(F.cosine_similarity(net(*judging), dense).mean()),
        (3.0,),
    )


TASKS: dict[str, Callable[[int], Task]] = {
    "mlp": mlp,
    "resnet8": resnet8,
    "minilm": minilm,
    "lite0": lite0,
}
JUDGED = {
    "mlp": "accuracy on 2,000 images",
    "resnet8": "accuracy on 500 images",
    "minilm": "cosine to the dense embeddings of 20 sentences",
    "lite0": "the dense network's class, part of 10 images",
}


# ---- the points


def masks_for(name: str, scores: pt.Scores, spec: pt.Spec, macs: float) -> dict[str, Tensor]:
    """The masks that a criterion asks for at a part of the MACs."""
    given = {n: s.detach().double().clamp(min=0) for n, s in scores.items() if n in spec.exact}
    if name.endswith(", added"):
        return pt.solve(given, spec, macs=macs, normalize=None)
    return pt.solve(given, spec, macs=macs)


def levels_of(task: Task, criterion: str, seed: int) -> Sequence[float]:
    """The levels at which a criterion is tried."""
    if not task.slow:
        return LEVELS
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


def points(name: str, seed: int, done: set[tuple[str, float]]) -> Iterator[Row]:
    """The points of a network and a seed that are not there yet."""
    task = TASKS[name](seed)
    if task.slow:
        task = replace(task, case=replace(task.case, gram=False))
    params = pt.params_of(task.case.model)
    spec = pt.infer(task.case.model, params, *(x[:1] for x in task.case.given))
    found = {c: scores for c, (_, scores) in criteria(task.case, params, spec).items()}
    found |= {f"{c}, added": found[c] for c in SUMS if c in found}
    for criterion in ("taylor", "gate"):  # better of each example, where that is to be had
        if f"{criterion}, each example" in found:
            del found[criterion]
    with torch.no_grad():
        dense = task.judge(task.case.model)
    for criterion, scores in found.items():
        if not {*spec.exact} <= {*scores}:
            scores = {n: scores.get(n, torch.ones(spec.sizes[n])) for n in spec.exact}
        for level in levels_of(task, criterion, seed):
            if (criterion, level) in done:
                continue
            masks = masks_for(criterion, scores, spec, level)
            ways = worths(task, params, spec, masks, ways_of(task, criterion, level))
            macs = pt.cost(spec, masks).macs / pt.cost(spec).macs
            row = {"network": name, "seed": seed, "criterion": criterion, "level": level}
            yield {**row, "macs": macs, "dense": dense, **ways}


# ---- pictures and the table


def means(rows: Sequence[Row], name: str, criterion: str, way: str) -> list[tuple[float, float]]:
    """`[(level, the mean over seeds)]`."""
    out = []
    for level in LEVELS:
        its = [
            r[way]
            for r in rows
            if (r["network"], r["criterion"], r["level"]) == (name, criterion, level) and way in r
        ]
        if its:
            out.append((level, mean(its)))
    return out


def picture(rows: Sequence[Row], name: str) -> Path:
    """A panel for each way; the criteria that are not in colour are thin and grey."""
    from matplotlib.figure import Figure  # of the extra `plot`

    ways = [w for w in WAYS if any(r["network"] == name and w in r for r in rows)]
    figure = Figure((3.3 * len(ways) + 1.9, 3.6), layout="constrained")
    panels = figure.subplots(1, len(ways), sharey=True, squeeze=False)[0]
    tried = dict.fromkeys(r["criterion"] for r in rows if r["network"] == name)
    dense = mean(r["dense"] for r in rows if r["network"] == name)
    for panel, way in zip(panels, ways, strict=True):
        for criterion in sorted(tried, key=lambda c: c in COLOURS):
            line = means(rows, name, criterion, way)
            colour = COLOURS.get(criterion, "#d3d9e0")
            wide, label = (1.8, criterion) if criterion in COLOURS else (0.9, None)
            x, y = ([100 * level for level, _ in line], [worth for _, worth in line])
            panel.plot([100, *x], [dense, *y], color=colour, lw=wide, label=label, marker=".", ms=4)
        panel.set_title(way, loc="left", fontsize=10)
        panel.set_xlim(101, 49)
        panel.set_xlabel("MACs kept, %")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(JUDGED[name], fontsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)
    to = DOCS / "pictures" / f"curves-{name}.png"
    to.parent.mkdir(exist_ok=True)
    figure.savefig(to, dpi=90)
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
            found = (dict(means(rows, name, criterion, way)).get(level) for way in WAYS)
            cells.append(" / ".join("–" if f is None else f"{f:.2f}" for f in found))
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
            for row in points(name, seed, done):
                rows.append(row)
                with KEPT.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    shown = table(rows, args.level)
    print(shown)
    if args.write:
        put(DOCS / "criteria.md", "curves", shown)
        for name in TASKS:
            if any(r["network"] == name for r in rows):
                print(picture(rows, name))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
