"""nnU-Net's networks."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from libraries import Lazy, Models, Row, row, x

unet = Lazy("dynamic_network_architectures.architectures.unet")
resnet = Lazy("dynamic_network_architectures.architectures.resnet")
vgg = Lazy("dynamic_network_architectures.architectures.vgg")
primus = Lazy("dynamic_network_architectures.architectures.primus")
STAGES: dict[str, Any] = {
    "input_channels": 1,
    "n_stages": 3,
    "features_per_stage": (8, 12, 16),
    "conv_op": nn.Conv2d,
    "kernel_sizes": 3,
    "strides": (1, 2, 2),
    "num_classes": 2,
    "conv_bias": True,
    "norm_op": nn.InstanceNorm2d,
    "norm_op_kwargs": {"affine": True},
    "nonlin": nn.LeakyReLU,
}


def net(kind: str, **options: Any) -> Row:
    """A U-Net of three stages."""
    return row(getattr(unet, kind)(**{**STAGES, **options}), x(1, 1, 16, 16))


PLAIN = {"n_conv_per_stage": 2, "n_conv_per_stage_decoder": 1}
RESIDUAL = {"n_blocks_per_stage": (1, 1, 1), "n_conv_per_stage_decoder": 1}
MODELS: Models = {
    "PlainConvUNet": partial(net, "PlainConvUNet", **PLAIN),
    "PlainConvUNet, deep supervision": partial(
        net, "PlainConvUNet", deep_supervision=True, **PLAIN
    ),
    "PlainConvUNet, batch norm": partial(net, "PlainConvUNet", norm_op=nn.BatchNorm2d, **PLAIN),
    "ResidualEncoderUNet": partial(net, "ResidualEncoderUNet", **RESIDUAL),
    "ResidualUNet": partial(
        net, "ResidualUNet", n_blocks_per_stage=(1, 1, 1), n_conv_per_stage_decoder=(1, 1)
    ),
    "Primus": lambda: row(
        primus.Primus(1, 24, (8, 8, 8), 2, 2, 4, (16, 16, 16)), x(1, 1, 16, 16, 16)
    ),
}
