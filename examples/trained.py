"""Trained networks, and the examples by which criteria are judged on them: those of
real_weights.py, and some that are trained here on the Fashion-MNIST images of examples/data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import real_weights
import torch
import torch.nn.functional as F
from agp_resnet20 import HERE, Shuffled, idx
from resnet_cifar import ResNet
from torch import Tensor, nn

import purethin as pt

Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class Case:
    """A trained network, examples to score by and others to try.

    `loss`: from outputs and batch to one number for each example, or a scalar. `distance`: from two
    outputs to what one is off the other, a number for each example. `rows`: what is given, without
    padding.
    """

    model: nn.Module
    given: Batch
    tried: Batch
    loss: Callable[[Any, Any], Tensor]
    distance: Callable[[Tensor, Tensor], Tensor]
    gram: bool = True
    rows: Sequence[Batch] = ()


def images() -> tuple[Batch, Batch]:
    """Fashion-MNIST's test images and labels: 8,000 to train, 2,000 to test."""
    folder = HERE / "data" / "fashion-mnist"
    x = (idx(folder, "t10k-images-idx3-ubyte").unsqueeze(1).float() / 255 - 0.286) / 0.353
    y = idx(folder, "t10k-labels-idx1-ubyte").long()
    return (x[:8000], y[:8000]), (x[8000:], y[8000:])


def trained(name: str, model: nn.Module, epochs: int, rate: float) -> Case:
    """A classifier, trained, or as it was when it was trained before (out/NAME.safetensors)."""
    train, test = images()
    kept = HERE / "out" / f"{name}.safetensors"
    if kept.exists():
        model.load_state_dict(pt.load(kept)[0])
    else:
        train_on(model, train, epochs, rate)
        kept.parent.mkdir(exist_ok=True)
        pt.save(kept, pt.params_of(model), {})
    model.eval()
    with torch.no_grad():
        right = float((model(test[0]).argmax(1) == test[1]).float().mean())
    print(f"{name}: {right:.1%} right of {len(test[0])}")
    return classifier(model, train[0][:256], train[1][:256], test[0][:256])


def train_on(model: nn.Module, train: Batch, epochs: int, rate: float) -> None:
    opt = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    batches = Shuffled(*train, seed=0)
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, rate, epochs * -(-len(train[0]) // 64))
    for _ in range(epochs):
        for x, y in batches:
            opt.zero_grad()
            F.cross_entropy(model(x), y).backward()
            opt.step()
            plan.step()


class Labelled(nn.Module):
    """A network that is given its labels too, and leaves them to the loss."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.net(x)


def classifier(model: nn.Module, x: Tensor, y: Tensor, others: Tensor) -> Case:
    def loss(outputs: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(outputs, batch[1], reduction="none")

    def distance(out: Tensor, dense: Tensor) -> Tensor:  # Kullback and Leibler's, in nats
        return F.kl_div(
            out.log_softmax(1), dense.log_softmax(1), reduction="none", log_target=True
        ).sum(1)

    return Case(Labelled(model).eval(), (x, y), (others,), loss, distance)


def mlp() -> Case:
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()]
    return trained("mlp", nn.Sequential(*layers, nn.Linear(64, 10)), 6, 0.1)


def resnet20() -> Case:
    torch.manual_seed(0)
    return trained("resnet20", ResNet(3, 10, 1), 4, 0.2)


def resnet8() -> Case:
    torch.manual_seed(0)
    return trained("resnet8", ResNet(1, 10, 1), 4, 0.2)


def lite0() -> Case:
    net = real_weights.lite0()
    (x,) = net.inputs
    with torch.no_grad():
        labels = net.model(x).argmax(1)
    return classifier(net.model, x[:10], labels[:10], x[10:])


def minilm() -> Case:
    net = real_weights.minilm()
    tokens, attention = net.inputs

    def loss(outputs: Tensor, batch: Batch) -> Tensor:  # InfoNCE of the pairs
        e = F.normalize(outputs, dim=1)
        logits = e[0::2] @ e[1::2].T / 0.05
        return F.cross_entropy(logits, torch.arange(len(logits)))

    def distance(out: Tensor, dense: Tensor) -> Tensor:
        return (F.normalize(out, dim=1) - F.normalize(dense, dim=1)).square().sum(1)

    first, last = slice(0, 20), slice(20, 40)
    given, tried = ((tokens[s], attention[s]) for s in (last, first))
    return Case(net.model, given, tried, loss, distance)


def crepe() -> Case:
    net = real_weights.crepe("tiny")
    (x,) = net.inputs

    def loss(outputs: Tensor, batch: Batch) -> Tensor:
        return F.binary_cross_entropy(outputs, outputs.detach().round(), reduction="none").sum(1)

    def distance(out: Tensor, dense: Tensor) -> Tensor:
        return (out - dense).square().sum(1)

    return Case(net.model, (x[0::2],), (x[1::2],), loss, distance, gram=False)


CASES = {f.__name__: f for f in (mlp, resnet8, resnet20, lite0, minilm, crepe)}
