"""Torch-Pruning beside purethin on the surveys' models: what builds, prunes and still runs, how
fast, how much is gone.

    python docs/benchmarks/peer.py --collection torchvision|timm|libraries [--models NAME ...]
    [--limit 60] [--largest 30]

Both remove 30 % by L1 magnitude, on one thread, in float32 and with the surveys' inputs. The peer
(`pip install torch-pruning`) is told which layers make the outputs, and nothing else of a model;
purethin is told nothing. Each runs in a forked process of its own, at most `--limit` seconds long.
Prints a Markdown table and the counts.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import multiprocessing
import platform
import sys
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import nn

import purethin as pt

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))
SPARSITY = 0.3
STEPS = ("builds", "prunes", "runs")
OUTPUTS = (
    "cls_logits",
    "bbox_reg",
    "bbox_pred",
    "bbox_ctrness",
    "cls_score",
    "mask_fcn_logits",
    "kps_score_lowres",
    "low_classifier",
    "high_classifier",
)
"""The last layers of torchvision's detectors and of LRASPP, by name; the other segmenters' is a
convolution, classifier.4.
"""

Row = tuple[nn.Module, tuple[Any, ...], dict[str, Any]]
Tell = Callable[[str, float], None]


def torchvision_row(name: str) -> Row:
    """A model of torchvision's survey, its inputs, its keywords."""
    survey = importlib.import_module("test_torchvision")
    args = tuple(
        [x.float() for x in a] if isinstance(a, list) else a.float() for a in survey.inputs(name)
    )
    return survey.built(name).float(), args, {"num_flow_updates": 2} if name in survey.FLOW else {}


def timm_row(module: str) -> Row:
    """A model of timm's survey, its input."""
    survey = importlib.import_module("test_timm")
    model = survey.built(module).float()
    return model, (survey.example(model, survey.SIZES.get(module)).float(),), {}


def library_row(name: str) -> Row:
    """A model of the survey of libraries, its inputs, its keywords."""
    survey = importlib.import_module("test_libraries")
    library, _, model = name.partition("/")
    return importlib.import_module("libraries").ready(
        survey.TABLES[library].MODELS[model](), torch.float32
    )


def names_of(collection: str) -> dict[str, str]:
    """The rows of a collection: its key, and the title to print."""
    survey: Any = importlib.import_module(f"test_{collection}")
    if collection == "timm":
        return dict(survey.MODELS)
    if collection == "libraries":
        return {row: row for row in survey.ROWS}
    return {
        n: n
        for n in survey.CLASSIFICATION
        + survey.SEGMENTATION
        + survey.DETECTION
        + survey.VIDEO
        + survey.FLOW
    }


def last_layers(model: nn.Module) -> list[nn.Module]:
    """The layers that make the outputs, which the peer must be told not to prune."""
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    layers: dict[str, nn.Module] = {n: m for n, m in model.named_modules() if isinstance(m, kinds)}
    named = [
        m
        for n, m in layers.items()
        if (n == "classifier.4" and not isinstance(m, nn.Linear))
        or any(part in OUTPUTS for part in n.split("."))
    ]
    answer: Any = getattr(model, "get_classifier", None)  # timm's own
    own = answer() if answer else None
    told = [m for m in own.modules() if isinstance(m, kinds)] if isinstance(own, nn.Module) else []
    linear = [m for m in layers.values() if isinstance(m, nn.Linear)]
    return [*told] or named or [*linear[-1:]] or list(layers.values())[-1:]


def by_peer(row: Row, tell: Tell) -> None:
    """The peer's graph; its pruner and one step; a forward."""
    model, args, kwargs = row
    peer: Any = importlib.import_module("torch_pruning")

    def forward(net: nn.Module, inputs: Any) -> Any:
        return net(*inputs, **kwargs)

    start = time.perf_counter()
    pruner = peer.pruner.MagnitudePruner(
        model,
        example_inputs=args,
        forward_fn=forward,
        importance=peer.importance.MagnitudeImportance(p=1),
        pruning_ratio=SPARSITY,
        ignored_layers=last_layers(model),
    )
    tell("builds", time.perf_counter() - start)
    pruner.step()
    tell("prunes", time.perf_counter() - start)
    finish(model, args, kwargs, tell)


def by_purethin(row: Row, tell: Tell) -> None:
    """The spec, its trial included; scores, masks, the thinned model; a forward."""
    model, args, kwargs = row
    start = time.perf_counter()
    params = pt.params_of(model)
    spec = pt.infer(model, params, *args, **kwargs)
    tell("builds", time.perf_counter() - start)
    masks = pt.select(pt.lp_norm(params, spec), sparsity=SPARSITY)
    thinned, config = pt.thin(params, spec, masks)
    small = pt.rebuild(model, thinned, config)
    tell("prunes", time.perf_counter() - start)
    finish(small, args, kwargs, tell)


def finish(small: nn.Module, args: Any, kwargs: Any, tell: Tell) -> None:
    """Run the pruned model; the parameters that it has."""
    tell("parameters", count(small))
    with torch.no_grad():
        small.eval()(*args, **kwargs)
    tell("runs", 1.0)


def count(model: nn.Module) -> int:
    """How many parameters a model has."""
    return sum(p.numel() for p in model.parameters())


def in_a_process(work: Callable[[Row, Tell], None], row: Row, limit: float) -> dict[str, Any]:
    """What one library told of its steps within the limit; under `failed` the step that it did not
    reach, and why.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def body(pipe: Connection) -> None:
        warnings.simplefilter("ignore")
        try:
            work(row, lambda step, value: pipe.send((step, value)))
        except BaseException as error:  # whatever a library raises is its answer
            pipe.send(("failed", type(error).__name__))

    process = context.Process(target=body, args=(there,), daemon=True)
    process.start()
    there.close()
    told: dict[str, Any] = {}
    end = time.monotonic() + limit
    try:
        while here.poll(max(0.0, end - time.monotonic())):
            step, value = here.recv()
            told[step] = value
        told["failed"] = f"{limit:.0f} s"
    except EOFError:
        if "runs" not in told:
            told.setdefault("failed", "crash")
    process.kill()
    process.join()
    return told


def cells(told: dict[str, Any], dense: int) -> list[str]:
    """builds, prunes, runs, seconds, gone."""
    failed = next((s for s in STEPS if s not in told), None)
    marks = ["yes" if s in told else f"no: {told['failed']}" if s == failed else "–" for s in STEPS]
    seconds = f"{told['prunes']:.2f}" if "prunes" in told else "–"
    return [*marks, seconds, f"{1 - told['parameters'] / dense:.2f}" if "runs" in told else "–"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--collection", choices=["torchvision", "timm", "libraries"], required=True)
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        help="some of the survey's models (timm: module files)",
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="per model and library (default 60)",
    )
    parser.add_argument(
        "--largest",
        type=float,
        default=float("inf"),
        metavar="MILLIONS",
        help="leave out larger models",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = {"torchvision": torchvision_row, "timm": timm_row, "libraries": library_row}
    make = rows[options.collection]
    titles = names_of(options.collection)
    works = {"peer": by_peer, "purethin": by_purethin}
    small = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    for work in works.values():  # imports and caches are paid here
        work((small, (torch.zeros(1, 3, 4, 4),), {}), lambda step, value: None)
    version = importlib.metadata.version("torch-pruning")
    print(
        f"{options.collection}; {platform.machine()}, one thread, torch {torch.__version__}, "
        f"Torch-Pruning {version}\n"
    )
    columns = [f"{who}: {what}" for who in works for what in (*STEPS, "seconds", "gone")]
    print(
        "| model | M parameters | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 2),
        flush=True,
    )
    ran, seen = dict.fromkeys(works, 0), 0
    for key in options.models or titles:
        row = make(key)
        if (dense := count(row[0])) > options.largest * 1e6:
            continue
        seen += 1
        line = [titles[key], f"{dense / 1e6:.1f}"]
        for who, work in works.items():
            told = in_a_process(work, row, options.limit)
            ran[who] += "runs" in told
            line += cells(told, dense)
        print("| " + " | ".join(line) + " |", flush=True)
    print(
        f"\nOf {seen} models the peer's pruned network runs for {ran['peer']}, purethin's for "
        f"{ran['purethin']}."
    )


if __name__ == "__main__":
    main()
