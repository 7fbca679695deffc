"""Half the MACs: `solve` beside Torch-Pruning's loop, which prunes a little and counts again until
the network is twice as fast in MACs.

    python docs/benchmarks/until_half.py [--models resnet50 ...] [--steps 200]

Both begin with the built network and end with one that runs, on one thread, batch 1, 224x224,
random weights, L1 norms. The peer (`pip install torch-pruning==1.6.1`) goes in steps of one part in
`--steps`, as its own example of progressive pruning does, each layer alike; of an attention it is
told the number of heads. `hit`: the part of the budget that is used, by torch's own counter, in
both. Times are processor seconds of one run.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import purethin as pt

Way = Callable[[nn.Module, Tensor, int], tuple[nn.Module, int]]
"""From a network, its input and a number of steps to a smaller network and the steps taken."""
MODELS = ("resnet50", "mobilenet_v2", "densenet121", "vit_b_16")


def operations(net: nn.Module, x: Tensor) -> int:
    math = sdpa_kernel(SDPBackend.MATH)  # fused attention is not counted
    with math, FlopCounterMode(display=False) as counter, torch.no_grad():
        torch.backends.mha.set_fastpath_enabled(False)
        net(x)
    return counter.get_total_flops()


def by_purethin(model: nn.Module, x: Tensor, steps: int) -> tuple[nn.Module, int]:
    """The spec, norms, widths; the thinned network."""
    params = pt.params_of(model)
    spec = pt.infer(model, params, x)
    masks = pt.solve(pt.lp_norm(params, spec), spec, macs=0.5)
    return pt.rebuild(model, *pt.thin(params, spec, masks)), 1


def by_peer(model: nn.Module, x: Tensor, steps: int) -> tuple[nn.Module, int]:
    """Its pruner, a step and a count at a time."""
    peer: Any = importlib.import_module("torch_pruning")
    attentions = [m for m in model.modules() if isinstance(m, nn.MultiheadAttention)]
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    pruner = peer.pruner.MagnitudePruner(
        model,
        example_inputs=x,
        importance=peer.importance.MagnitudeImportance(p=1),
        iterative_steps=steps,
        pruning_ratio=1.0,
        ignored_layers=[last],
        num_heads={m: m.num_heads for m in attentions},
    )
    dense, _ = peer.utils.count_ops_and_params(model, x)
    now = dense
    for done in range(1, steps + 1):
        pruner.step()
        now, _ = peer.utils.count_ops_and_params(model, x)
        if now <= dense / 2:
            return model, done
    raise RuntimeError(f"{steps} steps leave {now / dense:.2f} of the MACs")


def row(name: str, how: Way, steps: int) -> str:
    """What one library reached, or what it said."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    x = torch.rand(1, 3, 224, 224)
    dense = operations(model, x)
    start = time.process_time()
    try:
        small, done = how(copy.deepcopy(model), x, steps)
    except Exception as error:
        return f"refused: {str(error).splitlines()[0][:80]} | | {time.process_time() - start:.1f}"
    seconds = time.process_time() - start
    return f"{2 * operations(small, x) / dense:.5f} | {done} | {seconds:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    print("| network | by | hit | steps | seconds |\n|---|---|---|---|---|")
    for name in options.models:
        for by, how in (("`solve`", by_purethin), ("the peer's loop", by_peer)):
            print(f"| {name} | {by} | {row(name, how, options.steps)} |", flush=True)


if __name__ == "__main__":
    main()
