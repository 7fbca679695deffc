"""Which recipe is best at equal time: the table of docs/results.md, "At equal time".

    python docs/benchmarks/equal_time.py [--budget 1] [--rate 0.05] [--seeds 0 1 2]

The ResNet-8 of examples/trained.py, trained on 8,000 Fashion-MNIST images, loses three quarters of
its MACs and is trained on. Time is counted in MACs of the training, which no other work on the
machine disturbs: a budget of 1 is what one epoch of the dense network takes, and a thinned network
has as many more epochs as its MACs are fewer. The rate anneals by a cosine over that time. Each
run is kept as a line of --runs.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import purethin as pt

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples"))

from agp_resnet20 import Shuffled, accuracy_on  # noqa: E402
from trained import CASES, images  # noqa: E402

MACS = 0.25
STEPS = 4
"""Of the gradual recipes, over the first half of the time."""
Masks = dict[str, Tensor]


class Course:
    """A network, dense shapes and masks, and what its training has taken so far."""

    def __init__(self, model: nn.Module, seed: int, budget: float, rate: float) -> None:
        train, self.test = images()
        self.model, self.params = model, pt.params_of(model)
        self.spec = pt.infer(model, self.params, train[0][:1])
        self.masks: Masks = {}
        self.x = train[0][:96]
        self.batches = Shuffled(train[0], train[1], seed)
        self.budget, self.spent = budget * len(train[0]) * pt.cost(self.spec).macs, 0.0
        self.rate = rate

    def train(self, until: float) -> None:
        """Train the thinned network until this part of the time is over."""
        small = pt.rebuild(self.model, *pt.thin(self.params, self.spec, self.masks)).train()
        opt = torch.optim.SGD(
            small.parameters(), lr=self.rate, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        macs = pt.cost(self.spec, self.masks).macs
        while self.spent < until * self.budget:
            for x, y in self.batches:
                opt.param_groups[0]["lr"] = self.rate * (1 + math.cos(math.pi * self.part())) / 2
                opt.zero_grad()
                F.cross_entropy(small(x), y).backward()
                opt.step()
                self.spent += macs * len(x)
                if self.spent >= until * self.budget:
                    break
        self.params = pt.expand(pt.params_of(small), self.spec, self.masks)

    def part(self) -> float:
        return min(self.spent / self.budget, 1.0)

    def accuracy(self) -> float:
        small = pt.rebuild(self.model, *pt.thin(self.params, self.spec, self.masks)).eval()
        return accuracy_on(*self.test)(small)


def by_l1(course: Course, macs: float) -> Masks:
    """The same part of every axis, the lowest L1 norms, so that so many MACs are left."""
    scores = pt.lp_norm(course.params, course.spec)
    scores = {n: scores[n] for n in course.spec.exact}
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        left = pt.cost(course.spec, pt.select(scores, middle, spec=course.spec)).macs
        fits = left <= macs * pt.cost(course.spec).macs
        low, high = (low, middle) if fits else (middle, high)
    return pt.select(scores, high, spec=course.spec)


def by_output(course: Course, macs: float) -> Masks:
    """Widths solved by how much the output changes without a unit, to first order: no labels."""
    now, state = pt.mask(course.params, course.spec, course.masks), torch.Generator().manual_seed(0)
    scores = pt.output_taylor(
        course.model, now, course.spec, [course.x], directions=2, generator=state
    )
    gone = {n: torch.where(m, 0.0, -torch.inf) for n, m in course.masks.items()}
    scores = {n: s + gone[n] if n in gone else s for n, s in scores.items()}
    return pt.solve(scores, course.spec, macs=macs, normalize=None)


def at_once(choose: Callable[[Course, float], Masks], repaired: bool = False) -> Any:
    def run(course: Course) -> None:
        masks = choose(course, MACS)
        if repaired:
            batches = [(part,) for part in course.x.split(32)]
            course.params = pt.repair(
                course.model, course.params, course.spec, masks, batches, ridges=(0.03,)
            )
        course.masks = masks
        course.train(1.0)

    return run


def gradually(choose: Callable[[Course, float], Masks]) -> Any:
    """Along the cubic of AGP in the MACs, thinned at each step."""

    def run(course: Course) -> None:
        for step in range(1, STEPS + 1):
            macs = MACS + (1 - MACS) * (1 - step / STEPS) ** 3
            course.masks = choose(course, macs)
            course.train(0.5 * step / STEPS)
        course.train(1.0)

    return run


WAYS: dict[str, Callable[[Course], None]] = {
    "dense": lambda course: course.train(1.0),
    "L1, the same part of each axis, at once": at_once(by_l1),
    "L1, the same part of each axis, gradually": gradually(by_l1),
    "L1, the same part of each axis, at once, repaired": at_once(by_l1, repaired=True),
    "output_taylor, solved widths, at once": at_once(by_output),
    "output_taylor, solved widths, gradually": gradually(by_output),
    "output_taylor, solved widths, at once, repaired": at_once(by_output, repaired=True),
}


def setting(row: Mapping[str, Any]) -> tuple[float, float]:
    return row["budget"], row["rate"]


def table(found: Sequence[Mapping[str, Any]], wanted: tuple[float, float]) -> str:
    lines = ["| | parameters | MACs | accuracy, % | seeds |", "|---|---|---|---|---|"]
    for way in WAYS:
        its = [r for r in found if r["way"] == way and setting(r) == wanted]
        if its:
            worths = [100 * r["accuracy"] for r in its]
            spread = f" ± {statistics.stdev(worths):.2f}" if len(its) > 1 else ""
            seeds = ", ".join(f"{w:.2f}" for w in worths)
            cells = f"{its[0]['parameters']:,} | {its[0]['macs']:,}"
            lines.append(f"| {way} | {cells} | {statistics.mean(worths):.2f}{spread} | {seeds} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--budget", type=float, default=1.0, help="epochs of the dense network")
    parser.add_argument("--rate", type=float, default=0.05, help="the first, of a cosine to 0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[*WAYS], metavar="WAY")
    parser.add_argument("--runs", type=Path, default=ROOT / "examples" / "out" / "equal_time.jsonl")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = args.runs.read_text().splitlines() if args.runs.exists() else []
    found = [json.loads(line) for line in lines]
    wanted = args.budget, args.rate
    start: Any = CASES["resnet8"]().model
    for seed in args.seeds:
        for way in args.ways:
            if (seed, way, *wanted) in {(r["seed"], r["way"], *setting(r)) for r in found}:
                continue
            torch.manual_seed(seed)
            course = Course(start.net, seed, *wanted)
            WAYS[way](course)
            cost = pt.cost(course.spec, course.masks)
            row = {"seed": seed, "way": way, "budget": args.budget, "rate": args.rate}
            row |= {"accuracy": course.accuracy()}
            row |= {"parameters": cost.parameters, "macs": cost.macs}
            found.append(row)
            print(row, flush=True)
            with args.runs.open("a") as file:
                file.write(json.dumps(row) + "\n")
    print(table(found, wanted))


if __name__ == "__main__":
    main()
