"""The time that thinning as you go saves against masking all along and thinning at the end, on the same recipe.

    python docs/benchmarks/thin_as_you_go.py [--epochs 7] [--images 512] [--threads 1]

ResNet-20 at 1x28x28 on random images, by examples/agp_resnet20.yaml. The two train alternately, an epoch each, so that a
busy machine slows both.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional as F

import purethin as pt
from purethin.train import When

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

from resnet_cifar import resnet20  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    recipe = pt.load_recipe(EXAMPLES / "agp_resnet20.yaml")
    model = resnet20(classes=10, channels=1)
    batches = list(zip(torch.randn(args.images, 1, 28, 28).split(64), torch.randint(10, (args.images,)).split(64), strict=True))

    def trainer(recipe: pt.Recipe, thin: When) -> pt.Trainer:
        return pt.Trainer(
            model, recipe, lambda outputs, batch: F.cross_entropy(outputs, batch[1]),
            lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9), batches[0][0], thin=thin, on_epoch=None,
        )  # fmt: skip

    # thin="end" would thin when `fit` returns; a recipe without its extension masks on through many calls of it
    without = replace(recipe, thinners=(), policies=tuple(p for p in recipe.policies if p.kind != "extension"))
    now, masked = trainer(recipe, "now"), trainer(without, "recipe")
    print(f"torch {torch.__version__}, {args.threads} thread(s), {args.images} images an epoch")
    print(f"{'epoch':>5}{'MACs left':>11}{'masked, s':>11}{'thinned, s':>12}{'ratio':>7}")
    for _ in range(args.epochs):
        (a,), (b,) = masked.fit(batches, 1), now.fit(batches, 1)
        left = b.macs / pt.cost(now.spec).macs
        print(f"{b.epoch:>5}{left:>11.1%}{a.seconds:>11.2f}{b.seconds:>12.2f}{b.seconds / a.seconds:>7.2f}", flush=True)
    totals = [sum(r.seconds for r in t.history) for t in (masked, now)]
    saved = 1 - totals[1] / totals[0]
    print(f"in all {totals[0]:.1f} s masked, {totals[1]:.1f} s thinned as it goes: {saved:.0%} of the time saved")


if __name__ == "__main__":
    main()
