"""The time that thinning as you go saves against masking all along and thinning at the end, on the
same recipe.

    python docs/benchmarks/thin_as_you_go.py [--model resnet20|mlp|transformer] [--epochs 7]
    [--batches 8] [--threads 1]

Random data; a recipe that `recipe_for` wrote prunes half of every exact axis that it can name, a
little more in each of the first epochs. The two train alternately, an epoch each, so that a busy
machine slows both.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import purethin as pt

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from resnet_cifar import resnet20


class Transformer(nn.Module):
    """Four encoder layers over 64 tokens, and a linear head over their mean."""

    def __init__(self, width: int = 128, depth: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(1000, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


def mlp() -> nn.Module:
    layers = [layer for size in (784, 1024, 1024) for layer in (nn.Linear(size, 1024), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(1024, 10))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "resnet20": (lambda: resnet20(classes=10, channels=1), lambda: torch.randn(64, 1, 28, 28)),
    "mlp": (mlp, lambda: torch.randn(64, 1, 28, 28)),
    "transformer": (Transformer, lambda: torch.randint(1000, (16, 64))),
}
"""`{name: (makes the model, makes a batch of inputs)}`."""
Batch = tuple[Tensor, Tensor]


def random_batches(inputs: Callable[[], Tensor], count: int) -> list[Batch]:
    return [(x := inputs(), torch.randint(10, (len(x),))) for _ in range(count)]


def loss_fn(outputs: Tensor, batch: Batch) -> Tensor:
    return F.cross_entropy(outputs, batch[1])


def sgd(params: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.01, momentum=0.9)


def without_thinner(recipe: pt.Recipe) -> pt.Recipe:
    """Masks on and on, where `thin="recipe"`."""
    return replace(
        recipe, thinners={}, policies=tuple(p for p in recipe.policies if p.kind != "extension")
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="resnet20")
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--batches", type=int, default=8, help="in an epoch")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    make, inputs = MODELS[args.model]
    model, batches = make(), random_batches(inputs, args.batches)
    spec = pt.infer(model, pt.params_of(model), batches[0][0])
    recipe = pt.load_recipe(
        pt.recipe_for(
            spec, sparsity=0.5, initial=0.2, begin=1, end=max(2, args.epochs // 2), frequency=1
        )
    )
    update = pt.Update(loss_fn)
    masked = pt.Trainer(
        model, spec, without_thinner(recipe), sgd, update, thin="recipe", callbacks=()
    )
    thinned = pt.Trainer(model, spec, recipe, sgd, update, thin="now", callbacks=())

    print(
        f"{args.model}, torch {torch.__version__}, {args.threads} thread(s), {args.batches} "
        "batches an epoch"
    )
    print(f"{'epoch':>5}{'MACs left':>11}{'masked, s':>11}{'thinned, s':>12}{'ratio':>7}")
    for _ in range(args.epochs):
        (a,), (b,) = masked.fit(batches, 1), thinned.fit(batches, 1)
        left = b.macs / pt.cost(spec).macs
        print(
            f"{b.epoch:>5}{left:>11.1%}{a.seconds:>11.2f}{b.seconds:>12.2f}"
            f"{b.seconds / a.seconds:>7.2f}",
            flush=True,
        )
    totals = [sum(r.seconds for r in t.history) for t in (masked, thinned)]
    saved = 1 - totals[1] / totals[0]
    print(
        f"in all {totals[0]:.1f} s masked, {totals[1]:.1f} s thinned as it goes: {saved:.0%} of "
        "the time saved"
    )


if __name__ == "__main__":
    main()
