"""A third of the branches gone, beside narrower layers of as many MACs: time, and what is in the
ONNX file.

    python docs/benchmarks/depth.py [--models resnet56 vit_b_16 llama]

Random weights; every third branch of `pt.whole_branches` goes, or `pt.solve` makes all exact axes
narrower by L1 scores until the MACs are as few. The difference of masked and thinned is relative,
in float64; times are in float32, one thread, processor time, the least of rounds in turn, eager and
by onnxruntime; nodes are those of the file that torch's exporter writes. Needs onnx, onnxscript,
onnxruntime and, for the Llama, transformers.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from fastest import fastest
from torch import Tensor, nn

import purethin as pt

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
MODELS = ["resnet56", "vit_b_16", "llama"]


class Llama(nn.Module):
    """A Llama of 12 layers that returns logits alone."""

    def __init__(self, hidden: int = 256) -> None:
        super().__init__()
        transformers: Any = importlib.import_module("transformers")
        config = transformers.LlamaConfig(
            vocab_size=1000,
            hidden_size=hidden,
            intermediate_size=hidden * 43 // 16,
            num_hidden_layers=12,
            num_attention_heads=8,
            num_key_value_heads=4,
            use_cache=False,
        )
        self.inner = transformers.LlamaForCausalLM(config)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.inner(tokens).logits


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A model, its norms as if trained, and its input."""
    torch.manual_seed(0)
    if name == "llama":
        return Llama().eval(), torch.randint(1000, (1, 64))
    if name == "resnet56":
        model = importlib.import_module("resnet_cifar").resnet56()
    else:
        model = torchvision.models.get_model(name, weights=None)
    for module in model.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)  # else the output is zero
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
    size = (8, 3, 32, 32) if name == "resnet56" else (1, 3, 224, 224)
    return model.eval(), torch.randn(size)


def exported(model: nn.Module, x: Tensor, path: str) -> tuple[int, Callable[[], Any]]:
    """The number of nodes in the file, and a call of its session."""
    torch.onnx.export(model, (x,), path, dynamo=True, verbose=False)
    onnx, runtime = (importlib.import_module(n) for n in ("onnx", "onnxruntime"))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(path, options)
    feed = {session.get_inputs()[0].name: x.numpy()}
    return len(onnx.load(path).graph.node), lambda: session.run(None, feed)


def measured(name: str, rounds: int) -> list[str]:
    """The rows of one network: dense, without branches, narrower."""
    model, x = network(name)
    params = pt.params_of(model)
    spec = pt.infer(model, params, x, branches=True)
    branches = pt.whole_branches(spec)
    deep = pt.drop(spec, branches[::3])
    macs = pt.cost(spec, deep).macs
    masks = {"dense": {}, "a third of the branches gone": deep}
    masks["narrower"] = pt.solve(pt.lp_norm(params, spec), spec, macs=macs, normalize="share")
    nets = {n: pt.rebuild(model, *pt.thin(params, spec, m)) for n, m in masks.items()}
    with tempfile.TemporaryDirectory() as folder:
        files = {n: exported(net, x, os.path.join(folder, "a.onnx")) for n, net in nets.items()}
    with torch.no_grad():
        eager = fastest({n: (lambda net=net: net(x)) for n, net in nets.items()}, rounds)
    session = fastest({n: call for n, (_, call) in files.items()}, rounds)
    wide = {n: t.double() if t.is_floating_point() else t for n, t in params.items()}
    model, given = model.double(), x.double() if x.is_floating_point() else x
    rows = []
    for way, mask in masks.items():
        report = pt.check(model, wide, spec, mask, given)
        assert report.tested or not mask, report
        differs, cost = f"{report.relative:.0e}" if mask else "–", pt.cost(spec, mask)
        gone = f"{len(branches[::3])} of {len(branches)}" if way.startswith("a third") else "–"
        rows.append(
            f"| {name} | {way} | {gone} | {cost.macs / pt.cost(spec).macs:.3f} "
            f"| {cost.parameters / pt.cost(spec).parameters:.3f} | {differs} "
            f"| {1e3 * eager[way]:.1f} | {1e3 * session[way]:.1f} | {files[way][0]} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| network | what | branches gone | MACs | parameters | masked, thinned differ by "
        "| eager, ms | onnxruntime, ms | nodes |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in options.models:
        print("\n".join(measured(name, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
