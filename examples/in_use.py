"""Networks of other libraries are thinned to half their MACs, trained a little, exported to ONNX
and run by onnxruntime.

    python examples/in_use.py --models monai diffusers speechbrain torchaudio

monai: a UNet for images. diffusers: a UNet2DModel with attention. speechbrain: HiFi-GAN's
generator. torchaudio: a Conformer. Their weights are random, and so are all inputs: the thinned
network learns the outputs of the dense one. A network whose package is missing is skipped, with the
line that installs it; the exit code is then 2.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import purethin as pt

Inputs = tuple[Tensor, ...]
Timed = Callable[[], float]


@dataclass(frozen=True)
class Net:
    """A network, what draws inputs for it (so many examples), and what else its forward takes."""

    model: nn.Module
    draw: Callable[[int], Inputs]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, model: nn.Module, inputs: Inputs) -> Tensor:
        """The first output of this model, which is the network's own or a thinned one."""
        out = model(*inputs, **self.options)
        return out[0] if isinstance(out, tuple) else out


def monai() -> Net:
    """An image of 64 by 64 pixels in, two classes a pixel out."""
    model = import_module("monai.networks.nets").UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=2,
        channels=(16, 32, 64, 128),
        strides=(2, 2, 2),
        num_res_units=2,
    )
    return Net(model, lambda count: (torch.randn(count, 1, 64, 64),))


def diffusers() -> Net:
    """A noisy image of 32 by 32 pixels and a time step in, the noise out."""
    model = import_module("diffusers").UNet2DModel(
        sample_size=32,
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )

    def draw(count: int) -> Inputs:
        return torch.randn(count, 3, 32, 32), torch.randint(1000, (count,))

    return Net(model, draw, {"return_dict": False})


def speechbrain() -> Net:
    """32 frames of 80 mel bands in, 2,048 samples of sound out."""
    model = import_module("speechbrain.lobes.models.HifiGAN").HifiganGenerator(
        in_channels=80,
        out_channels=1,
        resblock_type="1",
        resblock_dilation_sizes=[[1, 3, 5]] * 3,
        resblock_kernel_sizes=[3, 7, 11],
        upsample_kernel_sizes=[16, 8, 4],
        upsample_initial_channel=64,
        upsample_factors=[8, 4, 2],
        inference_padding=0,
    )
    return Net(model, lambda count: (torch.randn(count, 80, 32),))


def torchaudio() -> Net:
    """256 frames of 64 features in, as many out."""
    model = import_module("torchaudio.models").Conformer(
        input_dim=64, num_heads=4, ffn_dim=128, num_layers=4, depthwise_conv_kernel_size=31
    )
    return Net(model, lambda count: (torch.randn(count, 256, 64), torch.full((count,), 256)))


NETS: dict[str, tuple[Callable[[], Net], str]] = {
    "monai": (monai, "monai>=1.5"),
    "diffusers": (diffusers, "diffusers>=0.35"),
    "speechbrain": (speechbrain, "speechbrain>=1.0 torchaudio>=2.6"),
    "torchaudio": (torchaudio, "torchaudio>=2.6"),
}
ONNX = "onnx>=1.16 onnxscript>=0.3 onnxruntime>=1.19"


def learn(net: Net, small: nn.Module, steps: int) -> tuple[float, float]:
    """Train the thinned network towards the dense one's outputs.

    Returns:
        The squared error before and after, on inputs that were not trained on, as a fraction of
        the variance of the dense network's outputs.
    """
    held_out = net.draw(16)

    @torch.no_grad()
    def error() -> float:
        dense = net(net.model, held_out)
        return float(F.mse_loss(net(small, held_out), dense) / dense.var(correction=0))

    before, optimizer = error(), torch.optim.Adam(small.parameters(), lr=1e-3)
    for _ in range(steps):
        inputs = net.draw(4)
        with torch.no_grad():
            dense = net(net.model, inputs)
        optimizer.zero_grad()
        F.mse_loss(net(small, inputs), dense).backward()
        optimizer.step()
    return before, error()


def exported(net: Net, model: nn.Module, inputs: Inputs) -> tuple[Timed, float]:
    """What runs the exported network once and says its seconds (CPU time of one thread), and the
    largest difference of its output from torch's, relative to the largest output.
    """
    runtime = import_module("onnxruntime")
    program = torch.onnx.export(model, inputs, kwargs=dict(net.options), dynamo=True, verbose=False)
    assert program is not None
    one_thread = runtime.SessionOptions()
    one_thread.intra_op_num_threads = 1
    session = runtime.InferenceSession(program.model_proto.SerializeToString(), one_thread)
    places = [place.name for place in session.get_inputs()]
    feed = {name: x.numpy() for name, x in zip(places, inputs, strict=True)}

    def timed() -> float:
        start = time.thread_time()
        session.run(None, feed)
        return time.thread_time() - start

    with torch.no_grad():
        out = net(model, inputs)
    difference = (torch.as_tensor(session.run(None, feed)[0]) - out).abs().max()
    return timed, float(difference / out.abs().max())


def used(net: Net, steps: int) -> dict[str, str]:
    """One column of the table."""
    model, inputs = net.model.eval(), net.draw(1)
    params, start = pt.params_of(model), time.process_time()
    spec = pt.infer(model, params, *inputs, **net.options)
    seconds = time.process_time() - start
    masks = pt.solve(pt.lp_norm(params, spec), spec, macs=0.5, normalize="share")
    report = pt.check(model, params, spec, masks, *inputs, **net.options)
    small = pt.rebuild(model, *pt.thin(params, spec, masks))
    dense, thin = pt.cost(spec), pt.cost(spec, masks)
    before, after = learn(net, small, steps)
    (run_dense, _), (run_small, apart) = (exported(net, m, inputs) for m in (model, small))
    times = [(run_dense(), run_small()) for _ in range(100)]
    ms_dense, ms_small = (1000 * median(t) for t in zip(*times, strict=True))
    return {
        "`infer`, CPU seconds": f"{seconds:.1f}",
        "axes, of these exact": f"{len(spec.axes)}, {len(spec.exact)}",
        "axes that lose units": str(len(masks)),
        "thinned against masked": f"{report.relative:.0e}",
        "parameters": f"{dense.parameters:,} → {thin.parameters:,}",
        "MACs": f"{dense.macs:,} → {thin.macs:,}",
        f"loss, {steps} steps": f"{before:.3f} → {after:.3f}",
        "onnxruntime against torch": f"{apart:.0e}",
        "onnxruntime, CPU ms": f"{ms_dense:.1f} → {ms_small:.1f}",
        "onnxruntime, ratio": f"{ms_small / ms_dense:.2f} ×",
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=NETS, default=list(NETS), metavar="MODEL")
    parser.add_argument("--steps", type=int, default=20, help="of training")
    args = parser.parse_args()
    torch.set_num_threads(1)
    columns: dict[str, dict[str, str]] = {}
    for name in args.models:
        load, needed = NETS[name]
        packages = {p: p.partition(">=")[0] for p in f"{needed} {ONNX}".split()}
        if absent := [p for p, package in packages.items() if find_spec(package) is None]:
            quoted = " ".join(f"'{p}'" for p in absent)
            print(f"{name} is skipped: pip install {quoted}", file=sys.stderr)
        else:
            torch.manual_seed(0)
            columns[name] = used(load(), args.steps)
    if columns:
        print("|", *columns, sep=" | ", end=" |\n|" + "---|" * (1 + len(columns)) + "\n")
        for row in next(iter(columns.values())):
            print(f"| {row}", *(column[row] for column in columns.values()), sep=" | ", end=" |\n")
    return 0 if len(columns) == len(args.models) else 2


if __name__ == "__main__":
    sys.exit(main())
