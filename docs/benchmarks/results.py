"""What half of every axis costs on real data, after the same epochs: the table of docs/results.md.

    python docs/benchmarks/results.py --data /usr/share/datasets/fashion-mnist [--images 20000]
    [--seeds 0 1 2] [--threads 1]

ResNet-20 on Fashion-MNIST. For each seed a dense network is trained. From there it is trained on as
it is (dense), with half of each of its axes removed along AGP (agp), at once before the first of
these epochs (one-shot), or at once where AGP ends (late); each for as many epochs and at the same
rates. A network of the thinned widths with new weights is trained for all the epochs (scratch).
Each run's numbers are kept as a line of --runs, so what was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import purethin as pt

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples"))

from agp_resnet20 import Batch, Shuffled, accuracy_on, images_and_labels  # noqa: E402
from resnet_cifar import resnet20  # noqa: E402

RATES = """
lr_schedulers:
  cosine: {{class: CosineAnnealingLR, T_max: {epochs}}}
policies:
  - lr_scheduler: {{instance_name: cosine}}
    starting_epoch: 0
    ending_epoch: {epochs}
    frequency: 1
"""
PRUNED = """
  - pruner: {{instance_name: half}}
    {when}
  - extension: {{instance_name: thinner}}
    epochs: [{thinned}]
pruners:
  half:
    class: L1RankedStructureParameterPruner{form}
    {amount}
    group_type: Filters
    group_dependency: Auto
    weights: [{weights}]
extensions:
  thinner: {{class: FilterRemover}}
"""


WAYS = ("dense", "agp", "one-shot", "late", "scratch")


def recipe(way: str, model: nn.Module, epochs: int, steps: int) -> pt.Recipe:
    """Cosine rates, and what a way prunes."""
    weights = ", ".join(name for name, p in model.named_parameters() if p.dim() == 4)
    rates = RATES.format(epochs=epochs)
    if way in ("dense", "scratch"):
        return pt.load_recipe(rates)
    if way == "agp":
        amount = "initial_sparsity: 0.15\n    final_sparsity: 0.5"
        when, thinned = (
            f"starting_epoch: 0\n    ending_epoch: {steps}\n    frequency: 1",
            ", ".join(map(str, range(steps))),
        )
        return pt.load_recipe(
            rates
            + PRUNED.format(weights=weights, form="_AGP", amount=amount, when=when, thinned=thinned)
        )
    at = 0 if way == "one-shot" else steps - 1
    once = PRUNED.format(
        weights=weights, form="", amount="desired_sparsity: 0.5", when=f"epochs: [{at}]", thinned=at
    )
    return pt.load_recipe(rates + once)


def trained(
    model: nn.Module, recipe: pt.Recipe, lr: float, epochs: int, train: Batch, seed: int
) -> pt.Trainer:
    spec = pt.infer(model, pt.params_of(model), train[0][:1])
    trainer = pt.Trainer(
        model,
        spec,
        recipe,
        partial(torch.optim.SGD, lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4),
        pt.Update(lambda outputs, batch: F.cross_entropy(outputs, batch[1])),
    )
    trainer.fit(Shuffled(*train, seed), epochs)
    return trainer


def new_weights(
    model: nn.Module, spec: pt.Spec, masks: Mapping[str, Tensor], seed: int
) -> nn.Module:
    """A network of the masked widths, initialised as torch initialises its layers."""
    thinned, config = pt.thin(pt.params_of(model), spec, masks)
    small = pt.rebuild(model, thinned, config)
    torch.manual_seed(seed)
    for module in small.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            module.reset_parameters()
    return small


def runs(args: argparse.Namespace, seed: int, ways: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The runs of one seed."""
    train, test = images_and_labels(args)
    accuracy = accuracy_on(*test)
    torch.manual_seed(seed)
    model = resnet20(classes=10, channels=1)
    before, after = args.epochs
    spec = pt.infer(model, pt.params_of(model), train[0][:1])
    half = pt.plan(recipe("one-shot", model, after, args.steps), pt.params_of(model), spec).masks
    first: nn.Module | None = None
    for way in ways:
        if way == "scratch":
            small = new_weights(model, spec, half, seed + 2000)
            result = trained(
                small,
                recipe(way, small, before + after, args.steps),
                0.1,
                before + after,
                train,
                seed,
            )
            left = pt.cost(result.spec)
        else:
            first = (
                first
                or trained(
                    model, recipe("dense", model, before, args.steps), 0.1, before, train, seed
                ).model()
            )
            result = trained(
                first, recipe(way, model, after, args.steps), args.lr, after, train, seed + 1000
            )
            left = pt.cost(result.spec, result.masks)
        yield {
            "seed": seed,
            "way": way,
            "accuracy": accuracy(result.model()),
            "loss": result.history[-1].loss,
            "parameters": left.parameters,
            "macs": left.macs,
        }


def page(args: argparse.Namespace, found: list[dict[str, Any]]) -> str:
    """The table, from the runs."""
    before, after = args.epochs
    dense = {r["seed"]: r["accuracy"] for r in found if r["way"] == "dense"}
    titles = {
        "dense": f"dense, {before} + {after} epochs",
        "agp": f"AGP to half over {args.steps} of the {after}",
        "one-shot": f"half at once, before the {after}",
        "late": f"half at once, before the last {after - args.steps + 1} of them",
        "scratch": f"from scratch at the thinned widths, {before + after} epochs",
    }
    lines = [
        "| | parameters | MACs | accuracy, % | seeds | lost against dense, points |",
        "|---|---|---|---|---|---|",
    ]
    for way, title in titles.items():
        its = sorted(
            (r for r in found if r["way"] == way and r["seed"] in dense), key=lambda r: r["seed"]
        )
        if not its:
            continue
        scores, lost = (
            [100 * r["accuracy"] for r in its],
            [100 * (dense[r["seed"]] - r["accuracy"]) for r in its],
        )
        lines.append(
            f"| {title} | {its[0]['parameters']:,} | {its[0]['macs']:,} | {spread(scores)} | "
            f"{', '.join(f'{s:.2f}' for s in scores)} | {'' if way == 'dense' else spread(lost)} |"
        )
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="folder with the full set's four IDX files; else the images of examples/data",
    )
    parser.add_argument("--images", type=int, default=20_000, help="images to train on")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument(
        "--epochs",
        type=int,
        nargs=2,
        default=(4, 5),
        help="dense epochs before, and epochs from there",
    )
    parser.add_argument("--steps", type=int, default=4, help="epochs over which AGP prunes")
    parser.add_argument(
        "--lr", type=float, default=0.02, help="the rate from which the later epochs anneal"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=ROOT / "docs" / "benchmarks" / "results.jsonl")
    args = parser.parse_args()
    args.download = False
    torch.set_num_threads(args.threads)
    found = (
        [json.loads(line) for line in args.runs.read_text().splitlines()]
        if args.runs.exists()
        else []
    )
    for seed in args.seeds:
        left = [
            way for way in args.ways if (seed, way) not in {(r["seed"], r["way"]) for r in found}
        ]
        for run in runs(args, seed, left):
            print(run, flush=True)
            found.append(run)
            with args.runs.open("a") as file:
                file.write(json.dumps(run) + "\n")
    print(page(args, found))


if __name__ == "__main__":
    main()
