"""What thinning on the way does under each optimizer, beside masking all the way.

    python docs/benchmarks/optimizers.py [name …]

By hand: an MLP 64-96-96-10 whose every other hidden unit is masked takes three steps; then it is
thinned by `thin_module`, with its optimizer, and takes five more. The same network takes eight
masked steps. By the Trainer: a recipe removes half of the hidden units in epochs 1 to 3 of 8,
`thin="now"` beside `thin="end"`. Printed is the largest difference of a parameter, relative to the
largest parameter; or what the refusal says. Optimizers of packages that are missing are left out.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import purethin as pt

Make = Callable[[list[nn.Parameter]], Any]


def of(package: str, name: str, **options: Any) -> Make | None:
    """Makes an optimizer of a package, where that is installed."""
    if importlib.util.find_spec(package.partition(".")[0]) is None:
        return None
    return lambda params: getattr(importlib.import_module(package), name)(params, **options)


TORCH = [
    "SGD",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Adagrad",
    "Adadelta",
    "Rprop",
    "ASGD",
]
OPTIMIZERS: dict[str, Make | None] = {
    **{name: of("torch.optim", name, lr=0.01) for name in TORCH},
    "SGD, momentum": of("torch.optim", "SGD", lr=0.01, momentum=0.9),
    "schedule-free AdamW": of("schedulefree", "AdamWScheduleFree", lr=0.01),
    "Lion": of("pytorch_optimizer", "Lion", lr=0.001),
    "schedule-free SGD": of("schedulefree", "SGDScheduleFree", lr=0.1),
    **{name: of("pytorch_optimizer", name, lr=0.01) for name in ("Lamb", "LARS", "AdaBelief")},
    **{name: of("pytorch_optimizer", name, lr=0.01) for name in ("Adan", "Prodigy")},
    "Adafactor, torch": of("torch.optim", "Adafactor", lr=0.01),
    "Adafactor, transformers": of("transformers", "Adafactor"),
    "CAME": of("pytorch_optimizer", "CAME", lr=0.001),
    "Muon": of("torch.optim", "Muon", lr=0.01),
    "Muon, lr times the factor": of("torch.optim", "Muon", lr=0.01),
    "AdamW8bit, bitsandbytes": of("bitsandbytes.optim", "AdamW8bit", lr=0.01),
    "AdamW8bit, torchao": of("torchao.optim", "AdamW8bit", lr=0.01),
    "AdamW4bit, torchao": of("torchao.optim", "AdamW4bit", lr=0.01),
    "AdamWFp8, torchao": of("torchao.optim", "AdamWFp8", lr=0.01),
    "Shampoo": of("pytorch_optimizer", "Shampoo", lr=0.01),
    "ScalableShampoo": of("pytorch_optimizer", "ScalableShampoo", lr=0.01),
    "SOAP": of("pytorch_optimizer", "SOAP", lr=0.01),
    "Kron": of("pytorch_optimizer", "Kron", lr=0.01),
    "Ranger21": of("pytorch_optimizer", "Ranger21", num_iterations=24, lr=0.01),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    sizes = (64, 96, 96, 10)
    layers = [nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def difference(make: Make, factor: bool) -> float:
    """By hand: thinned after three steps, beside masked for eight."""
    x, y = torch.randn(64, 64), torch.randint(10, (64,))
    spec = pt.infer(network(), pt.params_of(network()), x)
    masks = {name: torch.arange(size) % 2 == 0 for name, size in spec.sizes.items()}
    found = []
    for thins in (True, False):
        model = pt.rebuild(network(), dict(pt.mask(pt.params_of(network()), spec, masks)), {})
        if factor:  # a group for each parameter: each has a factor of its own
            optimizer = make([{"params": [p]} for p in model.parameters()])  # type: ignore[list-item]
        else:
            optimizer = make(list(model.parameters()))
        if hasattr(optimizer, "train"):
            optimizer.train()
        pt.check_optimizer(optimizer)
        for step in range(8):
            if thins and step == 3:
                live = dict(model.named_parameters())
                factors = pt.lr_factors(optimizer, live, spec, masks)
                for name, group in zip(
                    live, optimizer.param_groups if factor else (), strict=False
                ):
                    group["lr"] *= factors.get(name, 1.0)
                model, optimizer = pt.thin_module(model, spec, masks, optimizer)
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        params = pt.params_of(model)
        found.append(params if thins else pt.thin(params, spec, masks)[0])
    return apart(*found)


def trainers(make: Make, factor: bool) -> float:
    """Two trainers' networks, thinned as it goes and at the end."""
    batches = [(torch.randn(64, 64), torch.randint(10, (64,))) for _ in range(3)]
    spec = pt.infer(network(), pt.params_of(network()), batches[0][0])
    recipe = pt.schedule(spec, 0.5, criterion="random_scores", begin=1, end=4)
    update = pt.Update(lambda outputs, batch: F.cross_entropy(outputs, batch[1]))
    found = []

    def grouped(params: list[Any]) -> Any:
        return make([{"params": [p], "was": tuple(p.shape)} for p in params])  # type: ignore[list-item]

    def same_steps(moment: pt.Moment) -> None:
        for group in moment.trainer.optimizer.param_groups:
            dense, now = group["was"], group["params"][0].shape
            group["lr"] *= math.sqrt(max(1, dense[0] / dense[1]) / max(1, now[0] / now[1]))
            group["was"] = tuple(now)

    for thin in ("now", "end"):
        trainer = pt.Trainer(
            network(),
            spec,
            recipe,
            grouped if factor else make,  # type: ignore[arg-type]
            update,
            thin=thin,
            callbacks=[{"thin": same_steps}] if factor else (),
        )
        trainer.fit(batches, 8)
        found.append({name: p.detach() for name, p in trainer.params.items()})
    return apart(*found)


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference of two networks; not a number where their widths differ."""
    if {n: t.shape for n, t in one.items()} != {n: t.shape for n, t in other.items()}:
        return math.nan
    far = max(float((one[n] - other[n]).abs().max()) for n in one)
    return far / max(float(t.abs().max()) for t in other.values())


def said(of: Callable[[Make, bool], float], name: str, make: Make) -> str:
    try:
        torch.manual_seed(1)
        return f"{of(make, 'times' in name):.1e}"
    except pt.SpecError as error:
        return str(error).partition(";")[0]


def main() -> None:
    torch.set_num_threads(1)
    torch.compiler.set_stance("force_eager")  # torchao compiles its step, for minutes
    warnings.simplefilter("ignore")
    for name, make in OPTIMIZERS.items():
        if make is not None and (not sys.argv[1:] or name in sys.argv[1:]):
            by_hand, trained = said(difference, name, make), said(trainers, name, make)
            print(f"| {name} | {by_hand} | {trained} |", flush=True)


if __name__ == "__main__":
    main()
