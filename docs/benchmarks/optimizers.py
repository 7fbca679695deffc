"""What thinning on the way does under each optimizer, beside masking all the way.

    python docs/benchmarks/optimizers.py

An MLP 64-96-96-10 whose every other hidden unit is masked takes three steps; then it is thinned by
`thin_module`, with its optimizer, and takes five more. The same network takes eight masked steps.
Printed is the largest difference of a parameter, relative to the largest parameter; or what the
refusal says. Optimizers of packages that are missing are left out. torchao compiles its step, which
takes minutes: TORCH_COMPILE_DISABLE=1 spares them.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
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


TORCH = ("SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta")
OPTIMIZERS: dict[str, Make | None] = {
    **{name: of("torch.optim", name, lr=0.01) for name in TORCH},
    "SGD, momentum": of("torch.optim", "SGD", lr=0.01, momentum=0.9),
    "schedule-free AdamW": of("schedulefree", "AdamWScheduleFree", lr=0.01),
    "Lion": of("pytorch_optimizer", "Lion", lr=0.001),
    "LAMB": of("pytorch_optimizer", "Lamb", lr=0.01),
    "Adafactor, torch": of("torch.optim", "Adafactor", lr=0.01),
    "Adafactor, transformers": of("transformers", "Adafactor"),
    "CAME": of("pytorch_optimizer", "CAME", lr=0.001),
    "Muon": of("torch.optim", "Muon", lr=0.01),
    "Muon, lr times the factor": of("torch.optim", "Muon", lr=0.01),
    "AdamW8bit, bitsandbytes": of("bitsandbytes.optim", "AdamW8bit", lr=0.01),
    "AdamW8bit, torchao": of("torchao.optim", "AdamW8bit", lr=0.01),
    "AdamW4bit, torchao": of("torchao.optim", "AdamW4bit", lr=0.01),
    "Shampoo": of("pytorch_optimizer", "Shampoo", lr=0.01),
    "ScalableShampoo": of("pytorch_optimizer", "ScalableShampoo", lr=0.01),
    "SOAP": of("pytorch_optimizer", "SOAP", lr=0.01),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    sizes = (64, 96, 96, 10)
    layers = [nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def difference(make: Make, factor: bool) -> float:
    """Thinned after three steps, beside masked for eight."""
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
    far = max(float((found[0][n] - found[1][n]).abs().max()) for n in found[0])
    return far / max(float(t.abs().max()) for t in found[1].values())


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name, make in OPTIMIZERS.items():
        if make is not None:
            try:
                torch.manual_seed(1)
                said = f"{difference(make, 'times' in name):.1e}"
            except pt.SpecError as error:
                said = str(error)
            print(f"| {name} | {said} |", flush=True)


if __name__ == "__main__":
    main()
