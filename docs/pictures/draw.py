"""The pictures of this folder, of real networks.

    python docs/pictures/draw.py [--only layers graph training sensitivity tradeoff]

layers.png: ResNet-50 (random weights), half of its MACs removed by `solve`. graph.svg: the axes of
ResNet-20 for CIFAR; it needs Graphviz's `dot`, without which graph.dot is written. training.png: a
ResNet-8 on 2,000 images of Fashion-MNIST, tested on 500 others, half of every axis removed along
AGP. sensitivity.png and tradeoff.png: the ResNet-20 of examples/trained.py, masked and not trained
again. Some ten minutes on one core.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch
import torchvision
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

import purethin as pt

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "examples"))

from agp_resnet20 import Shuffled, accuracy_on  # noqa: E402
from resnet_cifar import ResNet  # noqa: E402
from trained import images, resnet20  # noqa: E402

RATES = """
lr_schedulers:
  rates: {class: MultiStepLR, milestones: [7], gamma: 0.2}
policies:
  - lr_scheduler: {instance_name: rates}
    starting_epoch: 0
    ending_epoch: 9
    frequency: 1
"""


def saved(figure: Figure, name: str) -> None:
    """A PNG of 64 colours, which are enough for bars and lines."""
    path = HERE / f"{name}.png"
    figure.savefig(path)
    Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size:,} bytes")


def layers() -> None:
    model = torchvision.models.resnet50()
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.zeros(1, 3, 224, 224))
    saved(pt.plot.layers(spec, pt.solve(pt.lp_norm(params, spec), spec, macs=0.5)), "layers")


def graph() -> None:
    model = ResNet(3, 10, 3)
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.zeros(1, 3, 32, 32))
    text = pt.plot.dot(spec)
    if shutil.which("dot") is None:
        (HERE / "graph.dot").write_text(text, encoding="utf-8")
        return
    done = subprocess.run(["dot", "-Tsvg"], input=text, capture_output=True, text=True, check=True)
    (HERE / "graph.svg").write_text(done.stdout, encoding="utf-8")


def training() -> None:
    torch.manual_seed(0)
    model, (train, test) = ResNet(1, 10, 1), images()
    (x, y), others = (part[:2000] for part in train), (part[:500] for part in test)
    spec = pt.infer(model, pt.params_of(model), x[:1])
    prunes = pt.load_recipe(pt.recipe_for(spec, begin=2, end=7, frequency=1))
    falls = pt.load_recipe(RATES)
    policies = (*prunes.policies, *falls.policies)
    recipe = replace(prunes, schedulers=falls.schedulers, policies=policies)
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=5e-4)
    update = pt.Update(lambda outputs, batch: F.cross_entropy(outputs, batch[1]))
    trainer = pt.Trainer(model, spec, recipe, optimizer, update)
    trainer.fit(Shuffled(x, y, seed=1), 9, accuracy_on(*others))
    saved(pt.plot.summary(trainer.spec, trainer.masks, trainer.history), "training")


@cache
def trained() -> tuple[nn.Module, dict[str, Tensor], pt.Spec]:
    """A ResNet-20 after four epochs, its parameters and spec."""
    net = resnet20().model.get_submodule("net")
    return net, pt.params_of(net), pt.infer(net, pt.params_of(net), images()[0][0][:1])


def tested(params: Mapping[str, Tensor], count: int) -> tuple[Tensor, float]:
    """Loss and accuracy on so many test images."""
    x, y = (part[:count] for part in images()[1])
    with torch.no_grad():
        out = functional_call(trained()[0], dict(params), x)
    return F.cross_entropy(out, y), float((out.argmax(1) == y).float().mean())


def sensitivity() -> None:
    _, params, spec = trained()
    scores = pt.lp_norm(params, spec)
    profile = pt.sensitivity(lambda p: tested(dict(p), 500)[0], params, spec, scores=scores)
    saved(pt.plot.sensitivity(profile), "sensitivity")


def tradeoff() -> None:
    net, params, spec = trained()
    scores = {
        "random": pt.random_scores(params, spec, generator=torch.Generator().manual_seed(0)),
        "lp_norm": pt.lp_norm(params, spec),
        "output_taylor": pt.output_taylor(net, params, spec, [images()[0][0][:256]]),
    }
    curves: dict[str, list[tuple[float, float]]] = {}
    for way, values in scores.items():
        for part in (0.9, 0.8, 0.7, 0.6, 0.5):
            masks = pt.solve(values, spec, macs=part)
            accuracy = tested(pt.mask(params, spec, masks), 1000)[1]
            curves.setdefault(way, []).append((pt.cost(spec, masks).macs, accuracy))
    dense = (pt.cost(spec).macs, tested(params, 1000)[1])
    saved(pt.plot.tradeoff(curves, dense=dense), "tradeoff")


ALL = {f.__name__: f for f in (layers, graph, training, sensitivity, tradeoff)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(ALL), default=list(ALL))
    for name in parser.parse_args().only:
        ALL[name]()


if __name__ == "__main__":
    main()
