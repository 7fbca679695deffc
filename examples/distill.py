"""Distillation while pruning: the dense network teaches the one that is pruned, in `loss_fn`.

    python examples/distill.py

A small CNN on Fashion-MNIST (8,000 images of its test set to train, 2,000 to test, at half size)
is trained dense, then loses 60 % of its units and is fine-tuned: once by the labels alone, once by
the teacher's outputs too (Hinton et al., 2015: T² times the divergence of outputs softened by T).
Several seeds of the order of batches; the rest is the same.
"""

from __future__ import annotations

import argparse
from functools import partial
from statistics import mean, pstdev
from typing import Any

import torch
from agp_resnet20 import HERE, Batch, Shuffled, accuracy_on, idx
from torch import Tensor, nn
from torch.nn import functional as F

import purethin as pt

RATES = """\
  - lr_scheduler: {{instance_name: falling}}
    starting_epoch: 0
    ending_epoch: {last}
    frequency: 1
lr_schedulers:
  falling: {{class: CosineAnnealingLR, T_max: {last}}}
"""
"""Put behind the policies of a recipe."""


def network() -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 10))


def data(images: int) -> tuple[Batch, Batch]:
    """`(train, test)`, at half the size: [N, 1, 14, 14]."""
    folder = HERE / "data" / "fashion-mnist"
    x = idx(folder, "t10k-images-idx3-ubyte").unsqueeze(1).float() / 255
    x = F.avg_pool2d((x - 0.286) / 0.353, 2)
    y = idx(folder, "t10k-labels-idx1-ubyte").long()
    return (x[:images], y[:images]), (x[8000:], y[8000:])


def by_labels(outputs: Tensor, batch: Any) -> Tensor:
    return F.cross_entropy(outputs, batch[1])


def by_teacher(teacher: nn.Module, outputs: Tensor, batch: Any) -> Tensor:
    """A tenth of the labels' loss, and nine of the teacher's."""
    warm, share = 4.0, 0.9
    with torch.no_grad():
        taught = (teacher(batch[0]) / warm).softmax(1)
    soft = F.kl_div((outputs / warm).log_softmax(1), taught, reduction="batchmean") * warm**2
    return share * soft + (1 - share) * by_labels(outputs, batch)


def dense(train: Batch, epochs: int) -> nn.Module:
    """A trained network, in eval mode."""
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    loader = Shuffled(*train, seed=0)
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        rates.step()
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--sparsity", type=float, default=0.6)
    asked = parser.parse_args()
    train, test = data(asked.images)
    accuracy = accuracy_on(*test)

    teacher = dense(train, 2 * asked.epochs)
    size = sum(p.numel() for p in teacher.parameters())
    print(f"{'dense, the teacher':<30}{100 * accuracy(teacher):6.2f} %  {size:,} parameters")

    spec = pt.infer(teacher, pt.params_of(teacher), train[0][:1])
    text = pt.recipe_for(spec, sparsity=asked.sparsity, begin=0, end=4, frequency=1)
    recipe = pt.load_recipe(text + RATES.format(last=asked.epochs))
    optimizer = partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=5e-4)
    losses = {"labels": by_labels, "labels and teacher": partial(by_teacher, teacher)}
    for name, loss_fn in losses.items():
        reached = []
        for seed in range(1, asked.seeds + 1):
            update = pt.Update(loss_fn)
            trainer = pt.Trainer(teacher, spec, recipe, optimizer, update, thin="now", callbacks=[])
            trainer.fit(Shuffled(*train, seed), asked.epochs)
            reached.append(100 * accuracy(trainer.model()))
            size = sum(p.numel() for p in trainer.model().parameters())
        print(
            f"{'pruned, by ' + name:<30}{mean(reached):6.2f} ± {pstdev(reached):.2f} %  "
            f"{size:,} parameters",
            flush=True,
        )


if __name__ == "__main__":
    main()
