"""Widths by evolution, on top of `solve`: how much each axis's scores count is searched for, and
the masks of each try are within the budget.

    python examples/search.py [--network resnet8] [--macs 0.5] [--tries 150]

The networks are those of tasks.py, trained at first (a minute) and kept in out/. A try scales each
axis's scores by a factor of its own, `solve` adds them up within the budget, and what counts is how
far the outputs are off the dense network's on a few examples. Each try varies the best so far, as a
(1 + 1) evolution strategy does (Rechenberg, Evolutionsstrategie, 1973), with his rule of one
success in five: steps grow where more are better, else they shrink.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import torch
from tasks import JUDGED, TASKS
from torch import Tensor
from torch.func import functional_call

import purethin as pt

Masks = dict[str, Tensor]
LEAST = 0.25
"""Of a step: a smaller one changes no width."""


def search(
    scores: pt.Scores,
    spec: pt.Spec,
    loss: Callable[[Masks], float],
    *,
    macs: float,
    tries: int,
    seed: int = 0,
) -> tuple[Masks, list[float]]:
    """The best masks within a budget that were tried, and the least loss after each try.

    Args:
        scores: `{axis: Tensor[size]}`, which add up: `output_taylor`'s, say. The first try takes
            them as they are.
        spec: the network's spec.
        loss: what masks are worth, the less the better.
        macs: the budget, as `solve` takes it.
        tries: how many networks are looked at.
        seed: of what is drawn.
    """
    draw = torch.Generator().manual_seed(seed)
    best, step = torch.zeros(len(scores)), 1.0
    kept: Masks = {}
    course: list[float] = []
    for _ in range(tries):
        now = best + step * torch.randn(len(scores), generator=draw) * bool(course)
        scaled = {n: s * factor.exp() for (n, s), factor in zip(scores.items(), now, strict=True)}
        masks = pt.solve(scaled, spec, macs=macs, normalize=None)
        value = loss(masks)
        if not course or value < course[-1]:
            best, kept = now, masks
            step *= 1.5 if course else 1.0
        else:
            step = max(step * 1.5**-0.25, LEAST)
        course.append(min([value, *course[-1:]]))
    return kept, course


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=TASKS, default="resnet8")
    parser.add_argument("--macs", type=float, default=0.5)
    parser.add_argument("--tries", type=int, default=150)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    task = TASKS[args.network](0)
    case, params = task.case, pt.params_of(task.case.model)
    given = case.given[: len(task.batches[0])]
    spec = pt.infer(case.model, params, *(x[:1] for x in given))
    state = torch.Generator().manual_seed(0)
    found = pt.output_taylor(case.model, params, spec, task.batches, generator=state)
    scores = {n: found[n].double().clamp(min=0) for n in spec.exact}
    with torch.no_grad():
        dense = case.model(*given)

    @torch.no_grad()
    def loss(masks: Masks) -> float:
        outputs = functional_call(case.model, pt.mask(params, spec, masks), given)
        return float(case.distance(outputs, dense).mean())

    start = time.process_time()
    masks, course = search(scores, spec, loss, macs=args.macs, tries=args.tries)
    seconds = time.process_time() - start
    better = [i for i, value in enumerate(course) if not i or value < course[i - 1]]
    print("try  loss on the examples, best so far")
    print("\n".join(f"{i:3}  {course[i]:.4f}" for i in better))
    print(f"{args.tries} tries in {seconds:.0f} s; {JUDGED[args.network]}:")
    ways = {
        "solve": pt.solve(scores, spec, macs=args.macs),
        "solve, scores added": pt.solve(scores, spec, macs=args.macs, normalize=None),
        "searched": masks,
    }
    for name, its in ways.items():
        small = pt.rebuild(case.model, *pt.thin(params, spec, its)).eval()
        with torch.no_grad():
            worth = task.judge(small)
        part = pt.cost(spec, its).macs / pt.cost(spec).macs
        print(f"{name:<20} {part:.3f} of the MACs  loss {loss(its):.4f}  judged {worth:.3f}")


if __name__ == "__main__":
    main()
