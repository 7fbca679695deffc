"""Half the milliseconds: predicted by a table and measured, beside half the MACs.

    python docs/benchmarks/latency.py [--models resnet50 mobilenet_v2 ...] [--backends eager ...]

Four networks for each model and backend: the dense one; half the MACs at any width; half the MACs
at the multiples that the table found fast; half the latency by the table. Random weights, L1
scores, all exact axes, batch 1, 224x224 or 128 tokens, one thread. Times are the least processor
times of a call in rounds in which the four take turns. MiniLM has its own six layers, and needs
transformers; onnxruntime needs the extra `onnx`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

import purethin as pt
from purethin.budgets.backends import ready_of

MODELS = ["resnet50", "mobilenet_v2", "vit_b_16", "minilm"]
BACKENDS = ["eager", "onnxruntime"]


class Embedded(nn.Module):
    """The encoder's last state."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(input_ids=tokens).last_hidden_state


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A model and its input."""
    torch.manual_seed(0)
    if name != "minilm":
        return torchvision.models.get_model(name, weights=None).eval(), torch.rand(1, 3, 224, 224)
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    model = BertModel(config, add_pooling_layer=False)
    return Embedded(model).eval(), torch.randint(1000, 9000, (1, 128))


def cuts(
    spec: pt.Spec, scores: Mapping[str, Tensor], table: pt.LatencyTable
) -> dict[str, dict[str, Tensor]]:
    """The masks of each way."""
    fast = pt.round_for(table, spec)
    return {
        "dense": {},
        "half the MACs": pt.solve(scores, spec, macs=0.5),
        "half the MACs, rounded": pt.solve(scores, spec, macs=0.5, round_to=fast),
        "half the latency": pt.solve(scores, spec, latency=0.5, table=table),
    }


def least(works: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """The least processor seconds of each, run in turn."""
    found = dict.fromkeys(works, float("inf"))
    for work in works.values():
        work()
    start = time.process_time()
    while time.process_time() - start < seconds:
        for name, work in works.items():
            begin = time.process_time()
            work()
            found[name] = min(found[name], time.process_time() - begin)
    return found


def rows(name: str, backend: Any, seconds: float) -> list[str]:
    """The table's rows of one model and backend."""
    model, x = network(name)
    params = pt.params_of(model)
    spec = pt.infer(model, params, x)
    start = time.process_time()
    table = pt.latency_table(
        model, spec, (x,), backend=backend, fractions=(0.25, 0.5, 0.75), seconds=seconds
    )
    took = time.process_time() - start
    masks = cuts(spec, pt.lp_norm(params, spec), table)
    works = {}
    for way, chosen in masks.items():
        small = pt.rebuild(model, *pt.thin(params, spec, chosen)).eval()
        works[way] = partial(torch.no_grad()(ready_of(backend)(small)), x)
    measured, macs = least(works, 40 * seconds), pt.cost(spec).macs
    out = []
    for way, chosen in masks.items():
        kept: dict[str, Tensor | int] = {n: int(m.sum()) for n, m in chosen.items()}
        predicted, real = float(table.seconds(spec, kept)), measured[way]
        part = pt.cost(spec, chosen).macs / macs
        out.append(
            f"| {name} | {backend} | {way} | {part:.2f} | {1e3 * predicted:.2f} | {1e3 * real:.2f} "
            f"| {predicted / real:.2f} | {real / measured['dense']:.2f} |"
        )
    return [*out, f"<!-- the table of {name}, {backend}: {took:.0f} s -->"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--seconds", type=float, default=0.05, help="of each point of a table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | backend | solved for | MACs | predicted, ms | measured, ms | ratio | time |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.models:
        for backend in options.backends:
            for row in rows(name, backend, options.seconds):
                print(row, flush=True)


if __name__ == "__main__":
    main()
