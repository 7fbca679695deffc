"""The pictures of this folder, of real networks.

    python docs/pictures/draw.py [--only layers graph training sensitivity tradeoff]

layers.png: ResNet-50 (random weights), half of its MACs removed by `solve`. graph.svg: the axes of
ResNet-20 for CIFAR; it needs Graphviz's `dot`, without which graph.dot is written. training.png: a
ResNet-20 on Fashion-MNIST (8,000 images to train, 2,000 to test), two epochs dense, then half of
every axis along AGP. sensitivity.png and tradeoff.png: the network of those two epochs, masked and
not trained again. Some ten minutes on one core.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
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
from criteria import images  # noqa: E402
from resnet_cifar import ResNet  # noqa: E402

RATES = """
lr_schedulers:
  rates: {class: MultiStepLR, milestones: [1], gamma: 0.2}
policies:
  - lr_scheduler: {instance_name: rates}
    starting_epoch: 0
    ending_epoch: 2
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


def trainer(model: nn.Module, recipe: str, rate: float) -> pt.Trainer:
    spec = pt.infer(model, pt.params_of(model), images()[0][0][:1])
    optimizer = partial(torch.optim.SGD, lr=rate, momentum=0.9, weight_decay=5e-4)
    update = pt.Update(lambda outputs, batch: F.cross_entropy(outputs, batch[1]))
    return pt.Trainer(model, spec, pt.load_recipe(recipe), optimizer, update)


@cache
def dense() -> nn.Module:
    """A ResNet-20 after two epochs."""
    torch.manual_seed(0)
    started = trainer(ResNet(3, 10, 1), RATES, 0.1)
    started.fit(Shuffled(*images()[0], seed=0), 2, accuracy_on(*images()[1]))
    return started.model()


def training() -> None:
    spec = pt.infer(dense(), pt.params_of(dense()), images()[0][0][:1])
    recipe = pt.recipe_for(spec, sparsity=0.5, initial=0.1, begin=0, end=5, frequency=1)
    pruned = trainer(dense(), recipe, 0.02)
    pruned.fit(Shuffled(*images()[0], seed=1), 7, accuracy_on(*images()[1]))
    saved(pt.plot.summary(pruned.spec, pruned.masks, pruned.history), "training")


def tested(params: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """Loss and accuracy."""
    with torch.no_grad():
        out = functional_call(dense().eval(), params, x)
    return F.cross_entropy(out, y), float((out.argmax(1) == y).float().mean())


def sensitivity() -> None:
    params, (x, y) = pt.params_of(dense()), images()[1]
    spec = pt.infer(dense(), params, x[:1])
    profile = pt.sensitivity(
        lambda p: tested(dict(p), x[:500], y[:500])[0],
        params,
        spec,
        scores=pt.lp_norm(params, spec),
    )
    saved(pt.plot.sensitivity(profile), "sensitivity")


def tradeoff() -> None:
    params, ((x, _), test) = pt.params_of(dense()), images()
    spec = pt.infer(dense(), params, x[:1])

    scores = {
        "random": pt.random_scores(params, spec, generator=torch.Generator().manual_seed(0)),
        "lp_norm": pt.lp_norm(params, spec),
        "output_taylor": pt.output_taylor(dense(), params, spec, [x[:256]]),
    }
    curves: dict[str, list[tuple[float, float]]] = {}
    for way, values in scores.items():
        for part in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4):
            masks = pt.solve(values, spec, macs=part)
            accuracy = tested(dict(pt.mask(params, spec, masks)), *test)[1]
            curves.setdefault(way, []).append((pt.cost(spec, masks).macs, accuracy))
    before = (pt.cost(spec).macs, tested(params, *test)[1])
    saved(pt.plot.tradeoff(curves, dense=before), "tradeoff")


ALL = {f.__name__: f for f in (layers, graph, training, sensitivity, tradeoff)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(ALL), default=list(ALL))
    for name in parser.parse_args().only:
        ALL[name]()


if __name__ == "__main__":
    main()
