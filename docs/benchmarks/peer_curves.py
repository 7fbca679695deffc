"""Torch-Pruning's own criteria on the networks of examples/curves.py, at the same MACs, in one run
with purethin's best.

    python docs/benchmarks/peer_curves.py mlp resnet8 minilm lite0 --write

The peer (`pip install torch-pruning==1.6.1`) ranks within layers or globally, by each of its
importances, on the same calibration examples; its ratio is bisected until the network has at most
so many MACs. What purethin's criteria leave is read from examples/out/curves.jsonl. `--write` puts
the table into docs/peer.md. Lines are kept in examples/out/peer_curves.jsonl.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import purethin as pt

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples"))

from curves import KEPT, Row, put  # noqa: E402
from tasks import TASKS, Task  # noqa: E402

LINES = KEPT.with_name("peer_curves.jsonl")
LEVELS = (0.7, 0.5)
STEPS = 4
"""Bisections of a ratio."""


def plain(task: Task) -> nn.Module:
    """The network itself, without the wrapper that takes labels."""
    return getattr(task.case.model, "net", task.case.model)


def macs(net: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(*inputs)
    return counter.get_total_flops() // 2


def gradients(net: nn.Module, task: Task, each: Callable[[], None] | None) -> None:
    """The loss's gradients in the network's own `.grad`: of the batch, or one example after the
    other, with what is done after each.
    """
    given = task.case.given
    value = task.case.loss(net(*given[: len(task.batches[0])]), given)
    if each is None or value.dim() == 0:
        value.mean().backward()
        if each is not None:
            each()
        return
    for row in range(len(value)):  # in eval mode an example alone gives what it gives among others
        one = tuple(x[row : row + 1] for x in given)
        net.zero_grad()
        task.case.loss(net(*one[: len(task.batches[0])]), one).sum().backward()
        each()


def importances(task: Task) -> dict[str, Callable[[nn.Module], Any]]:
    """By name: from a copy of the network to an importance that has seen what it needs."""
    own: Any = importlib.import_module("torch_pruning").importance

    def taylor(net: nn.Module) -> Any:
        gradients(net, task, None)
        return own.TaylorImportance()

    def hessian(net: nn.Module) -> Any:
        found = own.HessianImportance()
        gradients(net, task, lambda: found.accumulate_grad(net))
        return found

    def activation(net: nn.Module) -> Any:
        found = own.ActivationImportance()
        with found.compute_importance(net), torch.no_grad():
            net(*task.case.given[: len(task.batches[0])])
        return found

    ways = {
        "L1": lambda net: own.MagnitudeImportance(p=1),
        "L2": lambda net: own.MagnitudeImportance(p=2),
        "LAMP": lambda net: own.LAMPImportance(),
        "FPGM": lambda net: own.FPGMImportance(),
        "Taylor": taylor,
        "Hessian": hessian,
        "activation": activation,
    }
    if any(isinstance(m, nn.BatchNorm2d) for m in plain(task).modules()):
        ways["BN scale"] = lambda net: own.BNScaleImportance()
    return ways


def attentions(net: nn.Module) -> list[Any]:
    """BERT's attentions."""
    both = ("num_attention_heads", "query")
    return [m for m in net.modules() if all(hasattr(m, name) for name in both)]


def pruned(
    task: Task, importance: Callable[[nn.Module], Any], ratio: float, *, everywhere: bool
) -> nn.Module:
    """A copy of the network, pruned by the peer."""
    peer: Any = importlib.import_module("torch_pruning")
    net = copy.deepcopy(plain(task))
    inputs, found = task.batches[0], attentions(net)
    heads = {x: m.num_attention_heads for m in found for x in (m.query, m.key, m.value)}
    last = [m for m in net.modules() if isinstance(m, nn.Linear)][-1:] if not heads else []
    stream = [m for n, m in net.named_modules() if heads and ("output.dense" in n or "embed" in n)]
    with torch.enable_grad():
        seen = importance(net)
    pruner = peer.pruner.BasePruner(
        net,
        inputs,
        importance=seen,
        pruning_ratio=ratio,
        max_pruning_ratio=0.95,
        global_pruning=everywhere,
        ignored_layers=[*last, *stream],
        num_heads=heads,
        prune_num_heads=bool(heads),
        head_pruning_ratio=ratio,
    )
    pruner.step()
    for m in found:
        m.num_attention_heads = pruner.num_heads[m.query]
        m.attention_head_size = m.query.out_features // m.num_attention_heads
        m.all_head_size = m.query.out_features
    return net.eval()


def at_most(
    task: Task, importance: Callable[[nn.Module], Any], limit: float, *, everywhere: bool
) -> tuple[nn.Module, float] | None:
    """The largest of the peer's networks with at most this part of the MACs, and its part."""
    inputs = tuple(x[:1] for x in task.batches[0])
    dense, low, high = macs(plain(task), inputs), 0.0, min(0.95, 2 * (1 - limit))
    best: tuple[nn.Module, float] | None = None
    for _ in range(STEPS):
        ratio = (low + high) / 2
        try:
            net = pruned(task, importance, ratio, everywhere=everywhere)
            part = macs(net, inputs) / dense
        except Exception:  # a network that no longer runs: fewer units must go
            high = ratio
            continue
        if part <= limit:
            high = ratio
            if best is None or part > best[1]:
                best = net, part
        else:
            low = ratio
    return best


def points(name: str, seed: int, done: set[tuple[str, float]]) -> Iterator[Row]:
    """What each of the peer's importances leaves, of those that are not there yet."""
    task = TASKS[name](seed)
    heads = attentions(plain(task))
    scopes = (True,) if heads else (False, True)  # in each layer is far worse on transformers
    for criterion, importance in importances(task).items():
        for everywhere in scopes:
            title = f"{criterion}, {'global' if everywhere else 'local'}"
            for level in (at for at in LEVELS if (title, at) not in done):
                found = at_most(task, importance, level, everywhere=everywhere)
                if found is None:
                    continue
                net, part = found
                with torch.no_grad():
                    worth = {"masked": task.judge(net)}
                    if any(isinstance(m, nn.BatchNorm2d) for m in net.modules()):
                        batch = tuple(torch.cat(part) for part in zip(*task.batches, strict=True))
                        new = pt.fresh_statistics(net, pt.params_of(net), [batch])
                        worth["fresh"] = task.judge(pt.rebuild(net, new, {}))
                row = {"network": name, "seed": seed, "criterion": title, "level": level}
                yield {**row, "macs": part, **worth}


def best(rows: Sequence[Row], level: float, way: str) -> tuple[str, float] | None:
    """The criterion that leaves most, and what it leaves, a mean over seeds."""
    by: dict[str, list[float]] = {}
    for r in rows:
        if r["level"] == level and way in r:
            by.setdefault(r["criterion"], []).append(r[way])
    found = {c: mean(v) for c, v in by.items()}
    return max(found.items(), key=lambda item: item[1]) if found else None


def table(own: Sequence[Row], peer: Sequence[Row]) -> str:
    """The best of each at each level, and what it loses."""
    head = ("network", "MACs", "dense", "peer's best", "loses", "with fresh statistics")
    head += ("purethin's best", "loses", "part", "fresh", "repaired", "loses", "part")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in TASKS:
        mine, theirs = ([r for r in rows if r["network"] == name] for rows in (own, peer))
        for level in LEVELS if mine and theirs else ():
            dense = mean(r["dense"] for r in mine)
            other = best(theirs, level, "masked")
            if other is None:
                continue
            lost = dense - other[1]
            cells = [name, f"{level:.0%}", f"{dense:.3f}", f"{other[1]:.3f} ({other[0]})"]
            cells += [f"{lost:.3f}", _shown(best(theirs, level, "fresh"))]
            for way in ("masked", "fresh", "repaired"):
                found = best(mine, level, way)
                cells.append(_shown(found))
                if way != "fresh":
                    mine_lost = None if found is None else dense - found[1]
                    cells.append("" if mine_lost is None else f"{mine_lost:.3f}")
                    cells.append(
                        "" if mine_lost is None or lost <= 0 else f"{mine_lost / lost:.2f}"
                    )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shown(found: tuple[str, float] | None) -> str:
    return "" if found is None else f"{found[1]:.3f} ({found[0]})"


def read(path: Path) -> list[Row]:
    return [json.loads(row) for row in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("networks", nargs="*", default=[], help=", ".join(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/peer.md")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for seed in args.seeds:
        for name in args.networks:
            start = time.perf_counter()
            mine = (r for r in read(LINES) if (r["network"], r["seed"]) == (name, seed))
            for row in points(name, seed, {(r["criterion"], r["level"]) for r in mine}):
                with LINES.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    peer = read(LINES)
    seeds = {(r["network"], r["seed"]) for r in peer}
    own = [r for r in read(KEPT) if (r["network"], r["seed"]) in seeds]
    print(shown := table(own, peer))
    if args.write:
        put(ROOT / "docs" / "peer.md", "curves", shown)


if __name__ == "__main__":
    main()
