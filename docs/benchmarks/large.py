"""Time and memory of `infer` on models too large to load: shapes of Llama 3 on the meta device.

    python docs/benchmarks/large.py [--depths 8 16 32 64 80] [--repeats 3]

One thread, a sequence of 16 tokens. For each shape: a plain forward pass on meta, `infer` without
and with its trial, medians of runs in turn; the memory that the process grew by; and the same at
other depths, which must grow linearly. Then what `infer` takes of memory beside weights of several
sizes, on meta and real, which it may not depend on (Linux only). Needs transformers.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
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


def built(shape: dict[str, int], depth: int | None = None, vocabulary: int = 128256) -> Any:
    """The model on meta, with this many layers."""
    sizes = shape | ({"num_hidden_layers": depth} if depth else {})
    with torch.device("meta"):
        config: Any = transformers.AutoConfig.for_model(
            "llama", **sizes, num_key_value_heads=8, vocab_size=vocabulary
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


def grown(width: int, device: str) -> tuple[float, float, float]:
    """Megabytes: of the weights, by which the process grows at most in `infer`, and of Python's
    objects in it.
    """
    shape = SHAPES["Llama 3 8B"] | {"hidden_size": width, "intermediate_size": 7 * width // 2}
    model = built(shape, 8, vocabulary=1000)
    if device != "meta":
        model.to_empty(device=device)
    params, ids = pt.params_of(model), torch.zeros(1, 16, dtype=torch.long)
    for tensor in model.parameters():
        tensor.detach().zero_()  # else their pages are not there
    gc.collect()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    pt.infer(model, params, ids)
    peak = resident("VmHWM")
    tracemalloc.start()
    pt.infer(model, params, ids)
    objects = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return sum(t.nbytes for t in model.parameters()) / 2**20, peak - before, objects


def resident(which: str) -> float:
    """A size in megabytes that Linux knows of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(which))


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(
        description="Time and memory of infer on models too large to load."
    )
    parser.add_argument(
        "--depths", type=int, nargs="*", default=[8, 16, 32, 64, 80], help="layers of the 70B shape"
    )
    parser.add_argument("--shapes", nargs="*", default=[*SHAPES], help="of them these")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, after one to warm up")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| shape | layers | forward on meta | `infer`, no trial | ratio | with trial | axes, exact "
        "| memory |"
    )
    print("|---|---|---|---|---|---|---|---|")
    rows: list[tuple[str, dict[str, int], int | None]]
    rows = [(name, SHAPES[name], None) for name in given.shapes]
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
    if not Path("/proc/self/clear_refs").exists():
        return
    print("\n| weights | MB | `infer`: +MB of the process | MB of Python's objects |")
    print("|---|---|---|---|")
    grown(512, "cpu")  # imports and caches
    for device in ("meta", "cpu"):
        for width in (512, 1024, 2048, 4096):
            weights, more, objects = grown(width, device)
            print(f"| {device} | {weights:.0f} | {more:.1f} | {objects:.1f} |", flush=True)


if __name__ == "__main__":
    main()
