"""`infer`, `mask`, `thin`, a whole pruning and the cost of a candidate: this build, those before,
what is beside them, and the peer, in one table.

    python docs/benchmarks/speed.py [--models resnet50 ...] [--rounds 7] [--limit 120]

One thread, float32, batch 1, 224x224, random weights. All builds run in turn in one process for a
network; each figure is the least processor time of the rounds. Half of every exact axis is gone by
L1, and 30 % in the whole pruning, which is `lp_norm`, `select`, `thin` and `rebuild`. glibc's
allocator keeps what is freed: else the system's pages are what is timed.

The peer is Torch-Pruning (`pip install torch-pruning==1.6.1`): its graph is built as `infer` makes
a spec, its pruner's one step removes 30 % by L1, and its counter runs the network; what it does not
do within `--limit` seconds is left out.
"""

from __future__ import annotations

import argparse
import copy
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torchvision
from builds import ROOT, SETTLED, taken, using
from torch import Tensor, nn

MODELS = ["resnet50", "densenet201", "regnet_y_8gf", "vit_b_16", "swin_t"]
BEFORE = {
    "infer": ("9b8427f", "8405cb4"),
    "thin": ("9b8427f",),
    "mask": ("9b8427f",),
    "whole": ("9b8427f",),
    "cost": ("a7ceaf9",),
}
TITLES = {
    "infer": "`infer`",
    "thin": "`thin`",
    "mask": "`mask`",
    "whole": "a pruning",
    "cost": "cost of one",
    "each": "each of 4,096",
}
AIMS: dict[str, dict[str, str]] = {
    "infer": {"": "2.2 ×", "vit_b_16": "3 ×", "swin_t": "3 ×"},
    "thin": {"": "1.3 ×"},
    "mask": {"": "1.5 ×"},
    "whole": {"": "–"},
    "cost": {"": "50 µs"},
    "each": {"": "2 µs"},
}
HEAD = ["network", "what", "before, ms", "now, ms", "before / now", "beside, ms", "now / beside"]
HEAD += ["aim", "the peer, ms"]
ONES = 200  # calls of the cost function that are timed together
Work = Callable[[], Any]


def works(pt: Any, model: nn.Module, x: Tensor, asked: list[str]) -> dict[str, Work]:
    """What one build is timed at."""
    params = pt.params_of(model)
    spec = pt.infer(model, params, x)

    def scored() -> dict[str, Tensor]:
        return {n: s for n, s in pt.lp_norm(params, spec).items() if n in spec.exact}

    masks = pt.select(scored(), 0.5)
    out: dict[str, Work] = {
        "infer": lambda: pt.infer(model, params, x),
        "thin": lambda: pt.thin(params, spec, masks),
        "mask": lambda: pt.mask(params, spec, masks),
        "whole": lambda: pt.rebuild(model, *pt.thin(params, spec, pt.select(scored(), 0.3))),
        "cost": lambda: pt.cost(spec, masks),
    }
    return {what: out[what] for what in asked}


def costs(pt: Any, model: nn.Module, x: Tensor) -> dict[str, Work]:
    """The compiled cost of this build, and the copies that `thin` and `mask` stand beside."""
    params = pt.params_of(model)
    spec = pt.infer(model, params, x)
    masks = pt.select({n: s for n, s in pt.lp_norm(params, spec).items() if n in spec.exact}, 0.5)
    function = pt.cost_function(spec)
    one = function.counts(masks)
    many = (torch.rand(4096, len(one)) * one).long() + 1
    thinned, masked = pt.thin(params, spec, masks)[0], pt.mask(params, spec, masks)
    return {
        "cost": lambda: [function(one) for _ in range(ONES)],
        "each": lambda: function(many),
        "thin beside": lambda: [t.clone() for t in thinned.values()],
        "mask beside": lambda: [t.clone() for t in masked.values()],
    }


def by_peer(name: str) -> Iterator[tuple[str, float]]:
    """The peer's milliseconds, each as soon as it is known."""
    peer: Any = importlib.import_module("torch_pruning")
    model, x = network(name)
    attentions = [m for m in model.modules() if isinstance(m, nn.MultiheadAttention)]
    twice: dict[str, Work] = {
        "infer": lambda: peer.DependencyGraph().build_dependency(model, example_inputs=x),
        "cost": lambda: peer.utils.count_ops_and_params(model, x),
    }
    for what, work in twice.items():
        yield what, min(milliseconds(work) for _ in range(2))
    pruner = peer.pruner.MagnitudePruner(
        model,
        example_inputs=x,
        importance=peer.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.3,
        ignored_layers=[m for m in model.modules() if isinstance(m, nn.Linear)][-1:],
        num_heads={m: m.num_heads for m in attentions},
    )
    yield "whole", milliseconds(pruner.step)


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A model of torchvision, and its input."""
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None).eval(), torch.zeros(1, 3, 224, 224)


def measured(name: str, rounds: int, folders: dict[str, str]) -> dict[str, float]:
    """Milliseconds of each `what build` for one network."""
    model, x = network(name)
    on_meta, meta_x = copy.deepcopy(model).to("meta"), x.to("meta")

    def forward() -> None:
        with torch.inference_mode():
            on_meta(meta_x)

    timed: dict[str, tuple[Work, Path | None]] = {"infer beside": (forward, None)}
    for build, folder in folders.items():
        asked = [w for w in BEFORE if build in BEFORE[w] or (build == "now" and w != "cost")]
        with using(path := Path(folder)) as pt:
            done = works(pt, model, x, asked) | (costs(pt, model, x) if build == "now" else {})
        timed |= {w if " " in w else f"{w} {build}": (work, path) for w, work in done.items()}
    gc.collect()
    gc.freeze()  # what all builds hold is not looked through before each timing
    least = dict.fromkeys(timed, float("inf"))
    for _ in range(rounds):
        for key, (work, path) in timed.items():
            with using(path) if path else nullcontext():
                least[key] = min(least[key], milliseconds(work))
    return least | {"cost now": least["cost now"] / ONES, "each now": least["each now"] / 4096}


def of_child(name: str, rounds: int, folders: dict[str, str], limit: float) -> dict[str, float]:
    """What a process of its own measures within so many seconds."""
    command = [sys.executable, __file__, "--models", name, "--rounds", str(rounds)]
    command += ["--folders", json.dumps(folders)]
    pipe = subprocess.PIPE
    try:
        run = subprocess.run(command, env={**os.environ, **SETTLED}, stdout=pipe, timeout=limit)
        out = run.stdout
    except subprocess.TimeoutExpired as late:
        out = late.stdout or b""
    lines = [json.loads(line) for line in out.splitlines() if line.startswith(b"{")]
    return {key: value for line in lines for key, value in line.items()}


def child(name: str, rounds: int, folders: dict[str, str]) -> None:
    """Prints the builds' times; without folders the peer's."""
    if folders:
        print(json.dumps(measured(name, rounds, folders)))
        return
    try:
        for what, took in by_peer(name):
            print(json.dumps({f"{what} peer": took}), flush=True)
    except Exception as error:  # whatever the peer raises
        print(f"the peer failed on {name}: {error!r}", file=sys.stderr)


def milliseconds(work: Work) -> float:
    gc.collect()
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def row(name: str, what: str, took: dict[str, float]) -> str:
    """A line of the table."""
    of = "cost" if what == "each" else what  # whose builds before, and peer
    before, theirs = [took[f"{of} {build}"] for build in BEFORE[of]], took.get(f"{of} peer")
    now, beside = took[f"{what} now"], took.get(f"{what} beside")
    cells = [name, TITLES[what], " · ".join(map(short, before)), short(now)]
    cells += [" · ".join(f"{b / now:,.{int(b < 10 * now)}f}" for b in before)]
    cells += [short(beside), f"{now / beside:.1f} ×"] if beside else ["–", "–"]
    return f"| {' | '.join([*cells, AIMS[what].get(name, AIMS[what]['']), short(theirs)])} |"


def short(milliseconds: float | None) -> str:
    """Three digits."""
    if milliseconds is None:
        return "–"
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--limit", type=float, default=120, help="seconds of the peer; 0: without")
    parser.add_argument("--folders", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    if options.folders is not None:
        child(options.models[0], options.rounds, options.folders)
        return
    print(f"| {' | '.join(HEAD)} |\n|{len(HEAD) * '---|'}", flush=True)
    with tempfile.TemporaryDirectory() as at:
        commits = sorted({commit for builds in BEFORE.values() for commit in builds})
        folders = {commit: str(taken(commit, Path(at) / commit)) for commit in commits}
        folders["now"] = str(ROOT)
        for name in options.models:
            took = of_child(name, options.rounds, folders, 3600)
            if options.limit:
                took |= of_child(name, options.rounds, {}, options.limit)
            print("\n".join(row(name, what, took) for what in TITLES), flush=True)


if __name__ == "__main__":
    main()
