"""What a step of the trainer costs beside a hand-written loop on the same network, masked and
thinned.

    python docs/benchmarks/step.py [--models resnet20 mlp transformer] [--rounds 30] [--steps 5]
    [--repeats 3] [--threads 1]

Half of every exact axis that a recipe can name is masked (and not thinned), then thinned. The loop
is zero_grad, forward, backward and step on the dense network, or on the thinned one; "re-masked"
also multiplies the masks into the weights after each step, as a loop that prunes by hand must. All
take turns in short blocks, in random order; all are made anew a few times, since where memory
happens to lie makes some percent. Compared are the fastest steps, which other work on the machine
disturbs least, and the medians of the blocks, with the quartiles of the rounds' ratios. With one
thread the time is the CPU's.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from thin_as_you_go import MODELS, Batch, loss_fn, random_batches, sgd, without_thinner
from torch import Tensor, nn

import purethin as pt

Block = Callable[[], list[float]]
"""Trains a few steps; the seconds of each."""


class Timed:
    """Batches, and the seconds of each step, from when its batch is given until the next is asked
    for.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches
        self.seconds: list[float] = []

    def __iter__(self) -> Iterator[Batch]:
        clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
        self.seconds = []
        for batch in self.batches:
            start = clock()
            yield batch
            self.seconds.append(clock() - start)


def by_trainer(trainer: pt.Trainer, batches: Timed) -> Block:
    def block() -> list[float]:
        trainer.fit(batches, 1)
        return batches.seconds

    return block


def by_hand(model: nn.Module, batches: Timed, kept: Sequence[tuple[Tensor, Tensor]] = ()) -> Block:
    """The loop that a person writes; `kept` are parameters and the masks that are multiplied into
    them.
    """
    model.train()
    optimizer = sgd(list(model.parameters()))

    def block() -> list[float]:
        for batch in batches:
            optimizer.zero_grad()
            loss_fn(model(batch[0]), batch).backward()
            optimizer.step()
            with torch.no_grad():
                for parameter, keep in kept:
                    parameter.mul_(keep)
        return batches.seconds

    return block


def in_turns(blocks: Sequence[Block], rounds: int) -> list[list[list[float]]]:
    """Seconds of each step, by block and round; the first round, which warms up, is left out."""
    found: list[list[list[float]]] = [[] for _ in blocks]
    order = random.Random(0)
    for turn in range(rounds + 1):
        for which in order.sample(range(len(blocks)), len(blocks)):
            seconds = blocks[which]()
            if turn:
                found[which].append(seconds)
    return found


def contestants(name: str, steps: int) -> list[tuple[str, Block, Block]]:
    """`(what is compared, the trainer, the loop)`."""
    torch.manual_seed(0)
    make, inputs = MODELS[name]
    model, batches = make(), Timed(random_batches(inputs, steps))
    example = batches.batches[0][0]
    spec = pt.infer(model, pt.params_of(model), example)
    recipe = pt.load_recipe(
        pt.recipe_for(spec, sparsity=0.5, initial=0.5, begin=0, end=1, frequency=1)
    )
    update = pt.Update(loss_fn)
    masked = pt.Trainer(
        model, spec, without_thinner(recipe), sgd, update, thin="recipe", callbacks=()
    )
    thinned = pt.Trainer(model, spec, recipe, sgd, update, thin="now", callbacks=())
    for trainer in (masked, thinned):
        trainer.fit(batches, 1)
    dense, again = copy.deepcopy(model), copy.deepcopy(model)
    ones = {n: torch.ones_like(t) for n, t in pt.params_of(model).items()}
    masks = pt.mask(ones, spec, masked.masks)
    kept = [(p, masks[n]) for n, p in again.named_parameters() if not bool(masks[n].all())]
    left = pt.cost(spec, masked.masks).macs / pt.cost(spec).macs
    print(f"{name}: {len(masked.masks)} axes halved, {left:.0%} of the MACs left", flush=True)
    one, other = by_trainer(masked, batches), by_trainer(thinned, batches)
    return [
        ("masked", one, by_hand(dense, batches)),
        ("masked, re-masked loop", one, by_hand(again, batches, kept)),
        ("thinned", other, by_hand(thinned.model(), batches)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=5, help="in a block")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        f"torch {torch.__version__}, {args.threads} thread(s), {args.rounds} rounds of "
        f"{args.steps} steps"
    )
    print(f"\n{'network':<13}{'':<24}{'loop, ms':>10}{'fastest':>9}{'medians':>9}   quartiles")
    for name in args.models:
        taken: dict[str, tuple[list[list[float]], list[list[float]]]] = {}
        for _ in range(args.repeats):
            compared = contestants(name, args.steps)
            blocks = list(dict.fromkeys(block for _, *pair in compared for block in pair))
            seconds = dict(zip(blocks, in_turns(blocks, args.rounds), strict=True))
            for what, trainer, loop in compared:
                ours, theirs = taken.setdefault(what, ([], []))
                ours += seconds[trainer]
                theirs += seconds[loop]
        for what, (ours, theirs) in taken.items():
            means = [(sum(a) / len(a), sum(b) / len(b)) for a, b in zip(ours, theirs, strict=True)]
            low, _, high = statistics.quantiles([a / b for a, b in means], n=4)
            best, fastest = min(map(min, theirs)), min(map(min, ours)) / min(map(min, theirs))
            middle = statistics.median(a for a, _ in means) / statistics.median(b for _, b in means)
            print(
                f"{name:<13}{what:<24}{1000 * best:>10.2f}{fastest:>9.3f}{middle:>9.3f}   "
                f"{low:.3f} to {high:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
