"""What a smaller network is worth: trained networks, examples to calibrate by, drawn by a seed, and
others that judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from repair import batches_of, minilms_tokenizer, varied, words_of
from torch import Tensor, nn
from torch.nn import functional as F
from trained import CASES, Case, images

LEVELS = (0.9, 0.8, 0.7, 0.6, 0.5)


@dataclass(frozen=True)
class Task:
    """A trained network, examples to calibrate by, and what a smaller one is worth on others.

    Attributes:
        case: as criteria.py has it, with the examples of this seed.
        batches: the same examples, without labels and padding.
        judge: from a network to what it is worth, at most 1.
        ridges: what `repair` chooses from.
        levels: where the criteria in colour are repaired; the others at 70 % alone.
        few: the criteria that are repaired at all, if not all; then only those in colour are tried.
        slow: whether only the criteria in colour are tried at several levels and by several seeds,
            and those that need Gram matrices not at all.
        steps: whether `in_steps` is tried too.
        more: others made of the examples alone, with which `output_taylor` is measured and repaired
            once more.
    """

    case: Case
    batches: Sequence[Any]
    judge: Callable[[nn.Module], float]
    ridges: Sequence[float]
    levels: Sequence[float] = LEVELS[::2]
    few: Sequence[str] = ()
    slow: bool = True
    steps: bool = True
    more: Sequence[Any] = ()


# ---- the networks, and what they are judged by


@cache
def case_of(name: str) -> Case:
    return CASES[name]()


def drawn(count: int, of: int, seed: int) -> Tensor:
    return torch.randperm(of, generator=torch.Generator().manual_seed(seed))[:count]


def agreement(x: Tensor, labels: Tensor) -> Callable[[nn.Module], float]:
    """The part of images that get these labels."""
    return lambda net: float((net(x).argmax(1) == labels).float().mean())


def mlp(seed: int) -> Task:
    task = classified("mlp", seed, 256, 2000, (0.1, 1.0))
    return replace(task, levels=LEVELS, slow=False)


def resnet8(seed: int) -> Task:
    return classified("resnet8", seed, 96, 500, (0.03,))


def classified(name: str, seed: int, count: int, judged: int, ridges: Sequence[float]) -> Task:
    """Fashion-MNIST: accuracy on images that it was not trained on."""
    (x, y), test = images()
    chosen = drawn(count, len(x), seed)
    case = replace(case_of(name), given=(x[chosen], y[chosen]))
    batches = [(part,) for part in x[chosen].split(32)]
    return Task(case, batches, agreement(test[0][-judged:], test[1][-judged:]), ridges)


def lite0(seed: int) -> Task:
    """ImageNet at 160 pixels: 10 of 20 images calibrate; judged is what part of the others gets the
    class that the dense network gives it.
    """
    case = case_of("lite0")
    x = F.interpolate(torch.cat([case.given[0], case.tried[0]]), 160, mode="bilinear")
    with torch.no_grad():
        labels = case.model(x).argmax(1)
    order = drawn(20, 20, seed)
    ours, others = order[:10], order[10:]
    case = replace(case, given=(x[ours], labels[ours]))
    batches = [(part,) for part in x[ours].split(4)]
    judge = agreement(x[others], labels[others])
    few = ("output_taylor, added",)
    return Task(case, batches, judge, (0.1,), LEVELS[:3:2], few)


def minilm(seed: int) -> Task:
    """20 of 40 sentences calibrate; judged is the others' mean cosine to the dense embeddings."""
    case = case_of("minilm")
    tokens, attention = (torch.cat(p) for p in zip(case.given, case.tried, strict=True))
    pairs = drawn(20, 20, seed)
    ours, others = (torch.stack([2 * p, 2 * p + 1], 1).flatten() for p in pairs.split(10))

    def rows(chosen: Tensor) -> list[list[int]]:
        return [tokens[i, : int(attention[i].sum())].tolist() for i in chosen]

    batches, words = batches_of(rows(ours)), words_of(minilms_tokenizer())
    case = replace(case, given=(tokens[ours], attention[ours]), rows=batches)
    judging = tokens[others], attention[others]
    with torch.no_grad():
        dense = case.model(*judging)
    return Task(
        case,
        batches,
        lambda net: float(F.cosine_similarity(net(*judging), dense).mean()),
        (3.0,),
        LEVELS[2::2],
        steps=False,
        more=[*varied(batches, words, 0.5, 24)],
    )


TASKS: dict[str, Callable[[int], Task]] = {
    "mlp": mlp,
    "resnet8": resnet8,
    "minilm": minilm,
    "lite0": lite0,
}
JUDGED = {
    "mlp": "accuracy on 2,000 images",
    "resnet8": "accuracy on 500 images",
    "minilm": "cosine to the dense embeddings of 20 sentences",
    "lite0": "the dense network's class, part of 10 images",
}
