"""ResNet-20 on Fashion-MNIST, pruned gradually while it trains, by the recipe in agp_resnet20.yaml.

    python examples/agp_resnet20.py

10,000 images lie in examples/data: 8,000 to train, 2,000 to test. `--data DIR` takes the full set
from a folder of IDX files (gzipped or not), `--download` fetches it. The thinned network and a
picture go to `--out`.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from resnet_cifar import resnet20
from torch import Tensor, nn
from torch.nn import functional as F

import purethin as pt

HERE = Path(__file__).parent
Batch = tuple[Tensor, Tensor]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="folder with the full set's four IDX files, gzipped or not"
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="fetch the full set into --data (or examples/data/full)",
    )
    parser.add_argument("--recipe", type=Path, default=HERE / "agp_resnet20.yaml")
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument(
        "--images", type=int, help="train on so many images only, and test on at most as many"
    )
    parser.add_argument(
        "--baseline",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also train the dense network for all epochs",
    )
    parser.add_argument("--out", type=Path, default=HERE / "out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--threads", type=int, help="default: one or all, whichever is faster here and now"
    )
    return parser.parse_args()


def idx(folder: Path, name: str) -> Tensor:
    """A uint8 tensor from an IDX file: 4 bytes of magic, the last of which counts the dimensions;
    then their sizes.
    """
    path = folder / name if (folder / name).exists() else folder / f"{name}.gz"
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    shape = [int.from_bytes(content[4 + 4 * d : 8 + 4 * d], "big") for d in range(content[3])]
    return torch.frombuffer(bytearray(content[4 + 4 * len(shape) :]), dtype=torch.uint8).reshape(
        shape
    )


def images_and_labels(args: argparse.Namespace) -> tuple[Batch, Batch]:
    """`(train, test)`; images [N, 1, 28, 28], standardized."""

    def split(folder: Path, prefix: str) -> Batch:
        images = idx(folder, f"{prefix}-images-idx3-ubyte").unsqueeze(1).float() / 255
        return (images - 0.286) / 0.353, idx(folder, f"{prefix}-labels-idx1-ubyte").long()

    folder = args.data
    if args.download:
        from torchvision.datasets import FashionMNIST

        root = args.data or HERE / "data" / "full"
        folder = Path(FashionMNIST(str(root), download=True).raw_folder)
    if folder is None:
        x, y = split(HERE / "data" / "fashion-mnist", "t10k")
        train, test = (x[:8000], y[:8000]), (x[8000:], y[8000:])
    else:
        train, test = split(folder, "train"), split(folder, "t10k")
    n = args.images or len(train[0])
    return (train[0][:n], train[1][:n]), (test[0][:n], test[1][:n])


class Shuffled:
    """Batches in a new order each epoch, half of the images mirrored."""

    def __init__(self, x: Tensor, y: Tensor, seed: int, size: int = 64) -> None:
        self.x, self.y, self.size = x, y, size
        self.random = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[Batch]:
        for chosen in torch.randperm(len(self.x), generator=self.random).split(self.size):
            mirrored = torch.rand(len(chosen), 1, 1, 1, generator=self.random) < 0.5
            yield torch.where(mirrored, self.x[chosen].flip(3), self.x[chosen]), self.y[chosen]


def accuracy_on(x: Tensor, y: Tensor) -> Callable[[nn.Module], float]:
    @torch.no_grad()
    def accuracy(model: nn.Module) -> float:
        right = [
            (model(a).argmax(1) == b).sum() for a, b in zip(x.split(500), y.split(500), strict=True)
        ]
        return int(sum(right)) / len(x)

    return accuracy


def use_threads(count: int | None, model: nn.Module, x: Tensor) -> None:
    """On a busy machine one thread is often faster than all of them."""
    model, everything = copy.deepcopy(model), torch.get_num_threads()

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        model(x).sum().backward()
        start = time.perf_counter()
        for _ in range(3):
            model(x).sum().backward()
        return time.perf_counter() - start

    torch.set_num_threads(count or min({1, everything}, key=seconds))


@torch.no_grad()
def latencies(models: list[nn.Module], x: Tensor, rounds: int = 30) -> list[float]:
    """The best time of each in milliseconds; in turns, so that a busy moment hits all alike."""
    best = [float("inf")] * len(models)
    for _ in range(rounds):
        for i, model in enumerate(models):
            start = time.perf_counter()
            model(x)
            best[i] = min(best[i], 1000 * (time.perf_counter() - start))
    return best


def main() -> None:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    start = time.perf_counter()

    train, test = images_and_labels(args)
    model = resnet20(classes=10, channels=1)
    use_threads(args.threads, model, train[0][:64])
    recipe = pt.load_recipe(args.recipe)
    print(
        f"{len(train[0]):,} images to train, {len(test[0]):,} to test, {torch.get_num_threads()} "
        "thread(s)"
    )
    if args.epochs <= recipe.last_epoch:
        print(
            f"note: the recipe acts until epoch {recipe.last_epoch}; {args.epochs} epochs leave it "
            "unfinished"
        )

    spec = pt.infer(model, pt.params_of(model), train[0][:1])

    def trainer(recipe: pt.Recipe) -> pt.Trainer:
        return pt.Trainer(
            model,
            spec,
            recipe,
            optimizer=partial(
                torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
            ),
            update=pt.Update(lambda outputs, batch: F.cross_entropy(outputs, batch[1])),
            epochs=args.epochs,
        )

    accuracy = accuracy_on(*test)
    pruned = trainer(recipe)
    before = min([args.epochs, *(p.begin for p in recipe.policies if p.kind == "pruner")])
    pruned.fit(Shuffled(*train, args.seed), before, accuracy)  # dense: nothing is pruned yet
    dense, dense_epochs = pruned.model(), before
    pruned.fit(Shuffled(*train, args.seed + 1), args.epochs - before, accuracy)
    if args.baseline:
        print("the dense network, for as many epochs, with the same learning rates")
        rates = tuple(p for p in recipe.policies if p.kind == "lr_scheduler")
        baseline = trainer(replace(recipe, pruners={}, thinners={}, policies=rates))
        baseline.fit(Shuffled(*train, args.seed), before, accuracy)
        baseline.fit(Shuffled(*train, args.seed + 1), args.epochs - before, accuracy)
        dense, dense_epochs = baseline.model(), args.epochs
    thinned = pruned.model()

    kept = {name: tensor.detach() for name, tensor in pruned.params.items()}
    report = pt.check(
        model,
        pt.expand(kept, pruned.spec, pruned.thinned_masks),
        pruned.spec,
        pruned.thinned_masks,
        test[0][:100],
    )
    files = [args.out / "dense.safetensors", args.out / "thinned.safetensors"]
    pt.save(files[0], pt.params_of(dense), {})
    pt.save(files[1], pruned.params, pruned.config)
    picture = args.out / "agp_resnet20.png"
    pt.plot.summary(pruned.spec, pruned.masks, pruned.history).savefig(picture)

    one, many = (
        latencies([dense, thinned], test[0][:1]),
        latencies([dense, thinned], test[0][:100], rounds=8),
    )
    costs = [pt.cost(pruned.spec), pt.cost(pruned.spec, pruned.thinned_masks)]
    rows: list[tuple[str, list[float], str]] = [
        ("epochs trained", [dense_epochs, args.epochs], ",d"),
        ("parameters", [c.parameters for c in costs], ",d"),
        ("MACs", [c.macs for c in costs], ",d"),
        ("test accuracy", [accuracy(dense), accuracy(thinned)], ".2%"),
        ("ms, 1 image", one, ".2f"),
        ("ms, 100 images", many, ".1f"),
        ("file, KB", [f.stat().st_size / 1000 for f in files], ",.0f"),
    ]
    print(f"\n{'':<16}{'dense':>12}{'thinned':>12}{'ratio':>8}")
    for name, values, form in rows:
        ratio = (
            "" if name in ("epochs trained", "test accuracy") else f"{values[1] / values[0]:.2f}"
        )
        print(f"{name:<16}{values[0]:>12{form}}{values[1]:>12{form}}{ratio:>8}")
    print(
        f"masked against thinned, largest difference of the outputs: {report.difference:.1e} of "
        f"{report.outputs[0].scale:.1f}"
    )
    if not args.baseline:
        print(
            f"dense is this run just before pruning, after {before} epochs: its accuracy is no "
            "baseline, since thinned"
        )
        print(
            f"has trained longer. --baseline trains the dense network for all {args.epochs} epochs"
        )
    print(f"{files[1]} and {picture} written; {time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
