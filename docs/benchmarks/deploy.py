"""Half the MACs in each runtime of docs/deploy.md: time beside the dense network's, and how far the
result is from torch's.

    python docs/benchmarks/deploy.py [--networks resnet18 llama ...] [--runtimes onnxruntime ...]

Two thinned networks each: half the MACs at any width, and at the multiples that `pt.round_for`
gives for the runtime. Random weights, L1 scores, all exact axes, one thread, batch 1: 224x224, or
64 tokens. Times are the least processor times of a call in rounds in which the networks take turns;
differences are of a network from itself in eager torch, relative to the largest output.
What a runtime refuses is a row with its reason. Needs the extras `onnx` and `runtimes`, and
transformers for the Llama; a runtime that is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

import torch
from depth import Llama
from depth import network as of_depth
from fastest import fastest
from torch import Tensor, nn
from torchvision.models import VisionTransformer

import purethin as pt
from purethin.budgets.multiples import RUNTIMES as KNOWN

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))
from runtimes import RUNTIMES, Call, quiet

NETWORKS = ["resnet18", "mobilenet_v2", "vit_tiny", "llama"]


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A model and its input; a ViT-Ti of 16 x 16 patches has 3 heads of 64, and 12 layers."""
    torch.manual_seed(0)
    if name == "llama":
        return Llama(512).eval(), torch.randint(1000, (1, 64))
    if name == "vit_tiny":
        net = VisionTransformer(224, 16, 12, 3, 192, 768).eval()
        nn.init.normal_(net.heads[0].weight, std=0.02)  # type: ignore[arg-type]
        return net, torch.randn(1, 3, 224, 224)
    return of_depth(name)


def thinned(name: str, runtimes: list[str]) -> tuple[Tensor, dict[str, dict[str, nn.Module]]]:
    """The input, and for each runtime the networks that are compared there."""
    model, x = network(name)
    params = pt.params_of(model)
    spec = pt.infer(model, params, x)
    scores, made = pt.lp_norm(params, spec), dict[str, nn.Module]()

    def half(steps: dict[str, int]) -> nn.Module:
        masks = pt.solve(scores, spec, macs=0.5, round_to=steps)
        if (key := str({name: int(mask.sum()) for name, mask in masks.items()})) not in made:
            made[key] = pt.rebuild(model, *pt.thin(params, spec, masks)).eval()
        return made[key]

    nets = dict[str, dict[str, nn.Module]]()
    for runtime in runtimes:
        steps = pt.round_for(runtime.removesuffix(" dynamic").lower(), spec)
        nets[runtime] = {"dense": model, "any": half({})}
        if (fits := half(steps)) is not nets[runtime]["any"]:
            nets[runtime]["fits"] = fits
    return x, nets


def row(runtime: str, nets: dict[str, nn.Module], x: Tensor, folder: Path, seconds: float) -> str:
    """Milliseconds of the dense network, the ratios, the largest difference; or why not."""
    calls, far = dict[str, Call](), dict[str, float]()
    with torch.no_grad(), quiet():
        try:
            for way, net in nets.items():
                (place := folder / str(id(net))).mkdir(exist_ok=True)
                calls[way] = RUNTIMES[runtime].ready(net, x, place)
                want, found = net(x), calls[way]()
                far[way] = float((found - want).abs().max() / want.abs().max())
            start = time.process_time()
            fastest(calls, 1)
            rounds = max(5, round(seconds / (time.process_time() - start)))
            took = fastest(calls, rounds)
        except Exception as error:
            said = " ".join(str(error).split()).replace("|", "/")
            return f"refused: {type(error).__name__}: {said[:160]} | | | | "
    ratios = [f"{took[way] / took['dense']:.2f}" if way in took else "–" for way in ("any", "fits")]
    apart = f"{far.pop('dense'):.0e} | {max(far.values()):.0e}"
    return f"{1e3 * took['dense']:.2f} | {' | '.join(ratios)} | {apart}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    names = [name for name in RUNTIMES if name.lower().removesuffix(" dynamic") in KNOWN]
    parser.add_argument("--runtimes", nargs="+", default=names, choices=names)
    parser.add_argument("--seconds", type=float, default=3.0, help="of timing for each row")
    options = parser.parse_args()
    torch.set_num_threads(1)
    here = [
        name
        for name in options.runtimes
        if all(importlib.util.find_spec(p) is not None for p in RUNTIMES[name].packages)
    ]
    print(
        "| network | runtime | dense, ms | half the MACs | rounded | dense differs by "
        "| thinned differs by | made in, s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in options.networks:
        x, nets = thinned(name, here)
        with tempfile.TemporaryDirectory() as folder:
            for runtime in here:
                start = time.perf_counter()
                said = row(runtime, nets[runtime], x, Path(folder), options.seconds)
                took = time.perf_counter() - start
                print(f"| {name} | {runtime} | {said} | {took:.0f} |", flush=True)


if __name__ == "__main__":
    main()
