"""`thin` and `mask` beside a copy of what they return, and `thin` beside a copy of as many entries
out of the dense tensors, in this build and in an earlier one.

    python docs/benchmarks/thin.py [--models resnet50 ...] [--beside 9b8427f] [--rounds 7]

One thread, float32, half of every exact axis gone by L1. Each figure is the least processor time
of some rounds, in which the works run in turn; a ratio is of times of one process. What `thin`
returns can lie in the processor's cache, what it reads cannot: so the second ratio is to the first
rows, columns and so on of each dense tensor, as many as stay. The earlier build is taken out of git
into a folder that goes when the run ends.
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
from fastest import fastest

import purethin as pt

ROOT = Path(__file__).parents[2]
MODELS = ["resnet50", "densenet201", "vit_b_16"]


def measured(name: str, rounds: int) -> dict[str, float]:
    """The times of one model in this process, in milliseconds."""
    torch.manual_seed(0)
    torch.empty(2**25 - 2**16, dtype=torch.uint8)  # the allocator then keeps what is freed
    model = torchvision.models.get_model(name, weights=None).eval()
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.zeros(1, 3, 224, 224))
    scores = {n: s for n, s in pt.lp_norm(params, spec).items() if n in spec.exact}
    masks = pt.select(scores, 0.5)
    thinned, masked = pt.thin(params, spec, masks)[0], pt.mask(params, spec, masks)
    first = [params[n][tuple(slice(s) for s in t.shape)] for n, t in thinned.items()]
    works: dict[str, Callable[[], Any]] = {
        "thin": lambda: pt.thin(params, spec, masks),
        "copy of thinned": lambda: [t.clone() for t in thinned.values()],
        "copy out of dense": lambda: [torch.empty(t.shape, dtype=t.dtype).copy_(t) for t in first],
        "mask": lambda: pt.mask(params, spec, masks),
        "copy of masked": lambda: [t.clone() for t in masked.values()],
    }
    return {name: 1e3 * seconds for name, seconds in fastest(works, rounds).items()}


def rows_of(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """What a build in a folder measures, in a process of its own."""
    command = [sys.executable, __file__, "--json", "--rounds", str(options.rounds)]
    command += ["--models", *options.models]
    paths = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env={**os.environ, **paths}, check=True, capture_output=True)
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
        archive = subprocess.run(
            ["git", "archive", options.beside, "purethin"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        builds = {options.beside: rows_of(options, Path(folder)), "now": rows_of(options, ROOT)}
    head = ["network", "build", "`thin`, ms", "× a copy", "× out of the dense"]
    print(f"| {' | '.join([*head, '`mask`, ms', '× a copy'])} |\n|{7 * '---|'}")
    for name in options.models:
        for build, rows in builds.items():
            row = rows[name]
            thin, mask = row["thin"], row["mask"]
            of_thin, of_mask = thin / row["copy of thinned"], mask / row["copy of masked"]
            figures = (thin, of_thin, thin / row["copy out of dense"], mask, of_mask)
            cells = [name, build, *(f"{x:.1f}" for x in figures)]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
