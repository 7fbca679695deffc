"""What a step of the trainer costs beside a hand-written loop on the same network, masked and
thinned.

    python docs/benchmarks/step.py [--models resnet20 mlp transformer] [--rounds 30] [--steps 5]
    [--threads 1]

Half of every exact axis that a recipe can name is masked (and not thinned), then thinned. The loop
is zero_grad, forward, backward and step on the dense network, or on the thinned one; "re-masked"
also multiplies the masks into the weights after each step, as a loop that prunes by hand must. All
take turns in short blocks, in random order; the medians of the blocks are compared, and between the
quartiles of the rounds' ratios lies the noise of the machine. With one thread the time is the
CPU's.
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

Block = Callable[[], float]
"""Trains a few steps; the seconds of one."""


class Timed:
    """Batches, and the seconds of a step from the first one until the next after the last is asked
    for.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Batch]:
        clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
        start = clock()
        yield from self.batches
        self.seconds = (clock() - start) / len(self.batches)


def by_trainer(trainer: pt.Trainer, batches: Timed) -> Block:
    def block() -> float:
        trainer.fit(batches, 1)
        return batches.seconds

    return block


def by_hand(model: nn.Module, batches: Timed, kept: Sequence[tuple[Tensor, Tensor]] = ()) -> Block:
    """The loop that a person writes; `kept` are parameters and the masks that are multiplied into
    them.
    """
    model.train()
    optimizer = sgd(list(model.parameters()))

    def block() -> float:
        for batch in batches:
            optimizer.zero_grad()
            loss_fn(model(batch[0]), batch).backward()
            optimizer.step()
            with torch.no_grad():
                for parameter, keep in kept:
                    parameter.mul_(keep)
        return batches.seconds

    return block


def in_turns(blocks: Sequence[Block], rounds: int) -> list[list[float]]:
    """Seconds of a step for each, by round; the first round, which warms up, is left out."""
    found: list[list[float]] = [[] for _ in blocks]
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
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        f"torch {torch.__version__}, {args.threads} thread(s), {args.rounds} rounds of "
        f"{args.steps} steps"
    )
    rows: list[tuple[str, str, float, float, float, float, float]] = []
    for name in args.models:
        compared = contestants(name, args.steps)
        blocks = list(dict.fromkeys(block for _, *pair in compared for block in pair))
        seconds = dict(zip(blocks, in_turns(blocks, args.rounds), strict=True))
        for what, trainer, loop in compared:
            ratios = [a / b for a, b in zip(seconds[trainer], seconds[loop], strict=True)]
            low, _, high = statistics.quantiles(ratios, n=4)
            ours, theirs = statistics.median(seconds[trainer]), statistics.median(seconds[loop])
            rows.append((name, what, 1000 * theirs, 1000 * ours, ours / theirs, low, high))
    print(f"\n{'network':<13}{'':<24}{'loop, ms':>10}{'trainer, ms':>13}{'ratio':>8}   quartiles")
    for name, what, theirs, ours, ratio, low, high in rows:
        print(
            f"{name:<13}{what:<24}{theirs:>10.2f}{ours:>13.2f}{ratio:>8.3f}   {low:.3f} to "
            f"{high:.3f}"
        )


if __name__ == "__main__":
    main()
