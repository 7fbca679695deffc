"""How near `solve` comes to a budget and to the bound, and how fast the cost function is.

    python docs/benchmarks/budgets.py [--models resnet50 mobilenet_v2 ...]

One thread, batch 1, 224x224, float32, random weights, all exact axes, L1 scores. The Llama is of
8 billion parameters, on the meta device, 512 tokens, random scores; it needs transformers. A cell
has the part of the budget that is used, milliseconds, and the mean share of an axis that stays: of
what no widths can exceed, or the best of all, and how much less the greedy search keeps. The second
table times one candidate and 4,096 at once beside `cost(spec, masks)`, minima of rounds that are
run in turn. All times are processor time.
"""

from __future__ import annotations

import argparse
import time

import torch
import torchvision
from fastest import fastest
from torch import Tensor

import purethin as pt

MODELS = [
    *("resnet50", "mobilenet_v2", "efficientnet_b0", "densenet121", "vit_b_16", "swin_t"),
    "llama_8b",
]
TIMED = ["resnet50", "densenet201", "vit_b_16"]
KINDS = ("macs", "parameters", "bytes")


def llama() -> tuple[pt.Spec, dict[str, Tensor]]:
    """The spec of a Llama of 8 billion parameters, and random scores."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
    )
    with torch.device("meta"):
        model, tokens = LlamaForCausalLM(config).eval(), torch.zeros(1, 512, dtype=torch.long)
    spec = pt.infer(model, pt.params_of(model), tokens)
    torch.manual_seed(0)
    return spec, {name: torch.rand(size) for name, size in spec.sizes.items()}


def network(name: str) -> tuple[pt.Spec, dict[str, Tensor]]:
    """A model's spec, and the scores of its axes."""
    if name == "llama_8b":
        return llama()
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.zeros(1, 3, 224, 224))
    return spec, dict(pt.lp_norm(params, spec))


def solved(spec: pt.Spec, scores: dict[str, Tensor], kind: str, part: float) -> str:
    """One cell: what was reached, or the least that can be."""
    start = time.process_time()
    try:
        found = pt.solution(scores, spec, pt.Options(), {kind: part})
    except pt.MaskError as error:
        return f"refused: {str(error).splitlines()[0].rpartition('(')[2].rstrip(')')}"
    seconds = time.process_time() - start
    hit = getattr(found.cost, kind) / found.limits[kind]
    said = f"{hit:.5f} · {1e3 * seconds:.0f} · {found.kept:.4f}"
    if found.exact:
        less = found.kept - found.greedy
        return f"{said}, greedy " + (f"{less:.0e} less" if less else "the same")
    return said if found.bound is None else f"{said} of {found.bound:.4f}"


def timed(name: str) -> str:
    """One row of the second table."""
    spec, scores = network(name)
    masks = pt.select({n: scores[n] for n in spec.exact}, 0.5)
    function = pt.cost_function(spec)
    one = function.counts(masks)
    many = (torch.rand(4096, len(one)) * one).long() + 1
    took = fastest(
        {
            "compile": lambda: pt.cost_function(spec),
            "cost": lambda: pt.cost(spec, masks),
            "one": lambda: [function(one) for _ in range(20)],
            "many": lambda: function(many),
        },
        15,
    )
    one_us, many_us = 1e6 * took["one"] / 20, 1e6 * took["many"] / 4096
    return (
        f"| {name} | {1e3 * took['compile']:.1f} | {1e3 * took['cost']:.2f} | {one_us:.0f} | "
        f"{1e6 * took['cost'] / one_us:.0f} | {many_us:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | budget of | 0.75 | 0.5 | 0.25 |\n|---|---|---|---|---|")
    for name in options.models:
        spec, scores = network(name)
        for kind in KINDS:
            cells = [solved(spec, scores, kind, part) for part in (0.75, 0.5, 0.25)]
            print(f"| {name} | {kind} | {' | '.join(cells)} |", flush=True)
    print(
        "\n| network | compile, ms | `cost`, ms | one candidate, µs | ratio | each of 4,096, µs |"
    )
    print("|---|---|---|---|---|---|")
    for name in TIMED:
        print(timed(name), flush=True)


if __name__ == "__main__":
    main()
