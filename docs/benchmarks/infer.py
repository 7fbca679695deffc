"""Time of `infer`, and of select + thin + rebuild, beside one plain forward pass; a peer's where it
is installed.

    python docs/benchmarks/infer.py [--models resnet50 densenet201 ...] [--repeats 5] [--peer
    yes|no|auto]

One thread, batch 1, 224x224, float32. `infer` and the forward on meta are timed alternately in one
process, and each figure is a median. The peer (Torch-Pruning, `pip install torch-pruning`) prunes
the same 30 % by L1, once.
"""

from __future__ import annotations

import argparse
import copy
import gc
import importlib
import importlib.metadata
import importlib.util
import inspect
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

import purethin as pt

MODELS = ["resnet50", "densenet201", "regnet_y_128gf"]
SPARSITY = 0.3
SEPARABLE = "trial" in inspect.signature(pt.infer).parameters
"""Whether this version's `infer` can leave out trial and closure, so that they are timed apart."""


def seconds(work: Callable[[], Any]) -> float:
    """The wall time of one call."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternately(works: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The median time of each, run in turn, so that a busy moment of the machine meets all
    of them.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            times[name].append(seconds(work))
    return {name: statistics.median(t) for name, t in times.items()}


def timed(name: str, repeats: int) -> dict[str, float]:
    """All of purethin's figures for one model, in seconds; `parameters` in millions."""
    model = torchvision.models.get_model(name, weights=None).eval()
    on_meta = copy.deepcopy(model).to("meta")
    x = torch.zeros(1, 3, 224, 224)
    meta_input = x.to("meta")
    params = pt.params_of(model)

    def forward(net: nn.Module, inputs: Tensor) -> None:
        with torch.inference_mode():
            net(inputs)

    def infer(**options: Any) -> pt.Spec:
        return pt.infer(model, params, x, **options)

    plain = {"trial": False} if SEPARABLE else {}
    works: dict[str, Callable[[], Any]] = {
        "meta": lambda: forward(on_meta, meta_input),
        "infer": lambda: infer(**plain),
    }
    if SEPARABLE:
        works["whole"] = infer
    for work in works.values():  # the first call of each pays for imports and caches
        work()
    row = alternately(works, repeats)
    row["parameters"] = sum(t.numel() for t in model.parameters()) / 1e6

    forward(model, x)
    row["cpu"] = statistics.median(
        seconds(lambda: forward(model, x)) for _ in range(min(repeats, 3))
    )

    spec = infer()
    row["score"] = seconds(lambda: pt.lp_norm(params, spec))
    scores = pt.lp_norm(params, spec)

    def prune() -> nn.Module:
        masks = pt.select(scores, sparsity=SPARSITY)
        thinned, config = pt.thin(params, spec, masks)
        return pt.rebuild(model, thinned, config)

    row["prune"] = alternately({"prune": prune}, min(repeats, 3))["prune"]
    return row


def peer_timed(peer: Any, name: str) -> dict[str, float]:
    """The peer's time to build its graph, and to construct its pruner and step once."""
    x = torch.zeros(1, 3, 224, 224)
    model = torchvision.models.get_model(name, weights=None).eval()
    peer.DependencyGraph().build_dependency(copy.deepcopy(model), example_inputs=x)
    build = seconds(lambda: peer.DependencyGraph().build_dependency(model, example_inputs=x))

    def prune() -> None:
        classifier = [m for m in model.modules() if isinstance(m, nn.Linear)][-1:]
        importance = peer.importance.MagnitudeImportance(p=1)
        pruner = peer.pruner.MagnitudePruner(
            model,
            example_inputs=x,
            importance=importance,
            pruning_ratio=SPARSITY,
            ignored_layers=classifier,
        )
        pruner.step()

    return {"peer build": build, "peer prune": seconds(prune)}


COLUMNS: dict[str, Callable[[dict[str, float]], str]] = {
    "parameters": lambda r: f"{r['parameters']:.1f} M",
    "forward, meta": lambda r: milliseconds(r["meta"]),
    "infer": lambda r: milliseconds(r["infer"]),
    "infer/meta": lambda r: f"{r['infer'] / r['meta']:.2f}",
    "trial+closure": lambda r: milliseconds(r["whole"] - r["infer"]) if "whole" in r else "-",
    "forward, CPU": lambda r: milliseconds(r["cpu"]),
    "infer/CPU": lambda r: f"{r['infer'] / r['cpu']:.2f}",
    "lp_norm": lambda r: milliseconds(r["score"]),
    "select+thin+rebuild": lambda r: milliseconds(r["prune"]),
    "peer: build": lambda r: milliseconds(r["peer build"]) if "peer build" in r else "-",
    "peer: prune": lambda r: milliseconds(r["peer prune"]) if "peer prune" in r else "-",
}


def milliseconds(t: float) -> str:
    """`12.3 ms`, or seconds from ten on."""
    return f"{t:.1f} s" if t >= 10 else f"{t * 1e3:.1f} ms"


def table(rows: dict[str, dict[str, float]]) -> str:
    """The rows aligned, a column per figure; without a peer its columns are left out."""
    shown = {
        c: f
        for c, f in COLUMNS.items()
        if not c.startswith("peer") or any("peer build" in r for r in rows.values())
    }
    lines = [
        ["model", *shown],
        *([name, *(text(row) for text in shown.values())] for name, row in rows.items()),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--models",
        nargs="+",
        default=MODELS,
        metavar="NAME",
        help="torchvision classification models",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=5,
        help="timings of which each figure is the median (default 5)",
    )
    parser.add_argument(
        "--peer",
        choices=["auto", "yes", "no"],
        default="auto",
        help="time Torch-Pruning too (if installed)",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    installed = importlib.util.find_spec("torch_pruning") is not None
    if options.peer == "yes" and not installed:
        parser.error("Torch-Pruning is not installed: pip install torch-pruning")
    peer = importlib.import_module("torch_pruning") if installed and options.peer != "no" else None
    print(
        f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}",
        flush=True,
    )
    if peer is not None:
        print(f"peer: Torch-Pruning {importlib.metadata.version('torch-pruning')}", flush=True)
    rows: dict[str, dict[str, float]] = {}
    for name in options.models:
        print(f"timing {name} …", flush=True)
        rows[name] = timed(name, options.repeats)
        if peer is not None:
            try:
                rows[name] |= peer_timed(peer, name)
            except (
                Exception
            ) as error:  # whatever the peer raises: its cell stays empty, ours are still printed
                print(f"the peer failed on {name}: {type(error).__name__}: {error}", flush=True)
    print("\n" + table(rows))


if __name__ == "__main__":
    main()
