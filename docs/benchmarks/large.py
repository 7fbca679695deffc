"""Time and memory of `infer` on models too large to load: shapes of Llama 3 on the meta device.

    python docs/benchmarks/large.py [--depths 8 16 32 64 80] [--repeats 3]

One thread, a sequence of 16 tokens. For each shape: a plain forward pass on meta, `infer` without
and with its trial, medians of runs in turn; the memory that the process grew by; and the same at
other depths, which must grow linearly. Needs transformers.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers

import purethin as pt

SHAPES: dict[str, dict[str, int]] = {
    "Llama 3 8B": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    "Llama 3 70B": {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
    },
}


def built(shape: dict[str, int], depth: int | None = None) -> Any:
    """The model on meta, with this many layers."""
    sizes = shape | ({"num_hidden_layers": depth} if depth else {})
    with torch.device("meta"):
        config: Any = transformers.AutoConfig.for_model(
            "llama", **sizes, num_key_value_heads=8, vocab_size=128256
        )
        return transformers.LlamaForCausalLM(config).eval()


def measured(model: Any, repeats: int) -> tuple[dict[str, float], pt.Spec]:
    """Median seconds of a meta forward and of `infer` without and with the trial, run in turn, and
    the spec.
    """
    ids = torch.zeros(1, 16, dtype=torch.long)
    params = pt.params_of(model)
    specs: list[pt.Spec] = []

    def forward() -> None:
        with torch.inference_mode():
            model(ids.to("meta"))

    works: dict[str, Callable[[], Any]] = {
        "forward": forward,
        "infer": lambda: pt.infer(model, params, ids, trial=False),
        "with trial": lambda: specs.append(pt.infer(model, params, ids)),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats + 1):
        for name, work in works.items():
            gc.collect()
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t[1:]) for name, t in times.items()}, specs[-1]


def megabytes() -> float:
    """The process's largest resident size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description="Time and memory of infer on models too large to load."
    )
    parser.add_argument(
        "--depths", type=int, nargs="*", default=[8, 16, 32, 64, 80], help="layers of the 70B shape"
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, after one to warm up")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| shape | layers | forward on meta | `infer`, no trial | ratio | with trial | axes, exact "
        "| memory |"
    )
    print("|---|---|---|---|---|---|---|---|")
    rows = [(name, shape, None) for name, shape in SHAPES.items()]
    rows += [("70B shape", SHAPES["Llama 3 70B"], depth) for depth in given.depths]
    for name, shape, depth in rows:
        model = built(shape, depth)
        before = megabytes()
        seconds, spec = measured(model, given.repeats)
        print(
            f"| {name} | {model.config.num_hidden_layers} | {seconds['forward']:.2f} s | "
            f"{seconds['infer']:.2f} s "
            f"| {seconds['infer'] / seconds['forward']:.1f} | {seconds['with trial']:.2f} s "
            f"| {len(spec.axes)}, {len(spec.exact)} | +{megabytes() - before:.0f} MB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
