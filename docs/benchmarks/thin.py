"""`thin` and `mask` beside a copy of what they return, `thin` beside a copy of as many entries out
of the dense tensors, and both beside torch's operators alone, in this build and in an earlier one.

    python docs/benchmarks/thin.py [--models resnet50 ...] [--beside 9b8427f] [--rounds 7]

One thread, float32, half of every exact axis gone by L1. Each figure is the least processor time
of some rounds, in which the works run in turn; a ratio is of times of one process. What `thin`
returns can lie in the processor's cache, what it reads cannot: so the second ratio is to the first
rows, columns and so on of each dense tensor, as many as stay. Torch alone is `index_select` by
ready indices, dim by dim, and a bitwise and with ready words. glibc's allocator keeps what is
freed: else the system's pages are what is timed. The earlier build is taken out of git into a
folder that goes when the run ends.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from builds import ROOT, SETTLED, taken
from fastest import fastest
from torch import Tensor

import purethin as pt
from purethin import axes as ax

MODELS = ["resnet50", "densenet201", "vit_b_16"]


def measured(name: str, rounds: int) -> dict[str, float]:
    """The times of one model in this process, in milliseconds."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.zeros(1, 3, 224, 224))
    scores = {n: s for n, s in pt.lp_norm(params, spec).items() if n in spec.exact}
    masks = pt.select(scores, 0.5)
    thinned, masked = pt.thin(params, spec, masks)[0], pt.mask(params, spec, masks)
    first = [params[n][tuple(slice(s) for s in t.shape)] for n, t in thinned.items()]
    keeps = {n: [ax.keep(e, masks, spec.sizes) for e in dims] for n, dims in spec.layout.items()}
    places = {
        n: {d: k.nonzero()[:, 0] for d, k in enumerate(each) if k is not None}
        for n, each in keeps.items()
    }
    lanes = {
        n: [lane(k, d, params[n].shape) for d, k in enumerate(each) if k is not None]
        for n, each in keeps.items()
    }
    works: dict[str, Callable[[], Any]] = {
        "thin": lambda: pt.thin(params, spec, masks),
        "copy of thinned": lambda: [t.clone() for t in thinned.values()],
        "copy out of dense": lambda: [torch.empty(t.shape, dtype=t.dtype).copy_(t) for t in first],
        "torch alone, thin": lambda: [selected(params[n], each) for n, each in places.items()],
        "torch alone, mask": lambda: [anded(params[n], each) for n, each in lanes.items()],
        "mask": lambda: pt.mask(params, spec, masks),
        "copy of masked": lambda: [t.clone() for t in masked.values()],
    }
    return {name: 1e3 * seconds for name, seconds in fastest(works, rounds).items()}


def selected(tensor: Tensor, places: dict[int, Tensor]) -> Tensor:
    for dim, indices in places.items():
        tensor = tensor.index_select(dim, indices)
    return tensor if places else tensor.clone()


def lane(keep: Tensor, dim: int, shape: torch.Size) -> Tensor:
    """All bits where an entry of a dim stays; kernels' rows are written out."""
    shaped = keep.int().neg().view(-1, *[1] * (len(shape) - dim - 1))
    kernels = dim > 0 and shape[dim + 1 :].numel() < 64
    return shaped.expand(-1, *shape[dim + 1 :]).contiguous() if kernels else shaped


def anded(tensor: Tensor, lanes: list[Tensor]) -> Tensor:
    if not lanes:
        return tensor.clone()
    out = tensor.view(torch.int32) & lanes[-1]
    for other in lanes[:-1]:
        out.bitwise_and_(other)
    return out.view(tensor.dtype)


def rows_of(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """What a build in a folder measures, in a process of its own."""
    command = [sys.executable, __file__, "--json", "--rounds", str(options.rounds)]
    command += ["--models", *options.models]
    own = {**os.environ, **SETTLED, "PYTHONPATH": str(folder)}
    run = subprocess.run(command, env=own, check=True, capture_output=True)
    return json.loads(run.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--beside", default="9b8427f", help="a commit")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="this build's times alone, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.json:
        print(json.dumps({name: measured(name, options.rounds) for name in options.models}))
        return
    with tempfile.TemporaryDirectory() as folder:
        before = taken(options.beside, Path(folder) / "before")
        builds = {options.beside: rows_of(options, before), "now": rows_of(options, ROOT)}
    head = ["network", "build", "`thin`, ms", "× a copy", "× out of the dense", "torch alone"]
    head += ["`mask`, ms", "× a copy", "torch alone"]
    print(f"| {' | '.join(head)} |\n|{len(head) * '---|'}")
    for name in options.models:
        for build, rows in builds.items():
            row = rows[name]
            thin, mask = row["thin"], row["mask"]
            copied, masked = row["copy of thinned"], row["copy of masked"]
            figures = (thin, thin / copied, thin / row["copy out of dense"])
            figures += (row["torch alone, thin"] / copied,)
            figures += (mask, mask / masked, row["torch alone, mask"] / masked)
            cells = [name, build, *(f"{x:.1f}" for x in figures)]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
