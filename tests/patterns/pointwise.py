"""Pointwise functions between convolutions, and before a sum over channels: what a function does at
zero decides.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pattern import Net, add, conv, layers, pattern
from .written import WHYS

Function = Callable[[Tensor], Tensor]

ZERO_AT_ZERO: dict[str, Function] = {
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "elu": F.elu,
    "silu": F.silu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "leaky relu": F.leaky_relu,
    "hardtanh": F.hardtanh,
    "softsign": F.softsign,
    "tanhshrink": F.tanhshrink,
    "square": torch.square,
    "absolute value": torch.abs,
    "square root of the square": lambda h: h.square().sqrt(),
    "sign": torch.sign,
    "floor": torch.floor,
    "sine": torch.sin,
    "log1p of the absolute value": lambda h: h.abs().log1p(),
    "expm1": torch.expm1,
    "relu by where": lambda h: torch.where(h > 0, h, 0.0),
    "relu by masked_fill": lambda h: h.masked_fill(h < 0, 0.0),
    "x times a comparison": lambda h: h * (h.abs() > 0.3),
    "division by one more": lambda h: h / (1 + h.abs()),
    "nan_to_num": torch.nan_to_num,
    "x log x as torch has it": lambda h: torch.xlogy(h.abs(), h.abs()),
}
FINITE_AT_ZERO: dict[str, Function] = {
    "sigmoid": torch.sigmoid,
    "exp": torch.exp,
    "softplus": F.softplus,
    "cosine": torch.cos,
    "log of a sigmoid": lambda h: h.sigmoid().log(),
    "logsigmoid": F.logsigmoid,
    "hardsigmoid": F.hardsigmoid,
    "a constant added": lambda h: h + 1,
    "clamp from 0.1": lambda h: h.clamp(min=0.1),
    "power of zero": lambda h: h**0,
    "reciprocal of one more": lambda h: 1 / (1 + h.square()),
    "ones by where": lambda h: torch.where(h > 0, h, torch.ones_like(h)),
    "masked_fill with two": lambda h: h.masked_fill(h < 0.5, 2.0),
    "a comparison": lambda h: (h < 0.2).to(h.dtype),
    "threshold to three": lambda h: F.threshold(h, 0.1, 3.0),
    "arc cosine of tanh": lambda h: h.tanh().acos(),
}
INFINITE_AT_ZERO: dict[str, Function] = {
    "reciprocal": lambda h: 1 / h,
    "reciprocal square root": lambda h: h.square().rsqrt(),
    "log of the absolute value": lambda h: h.abs().log(),
    "division by itself": lambda h: h / h.abs(),
    "x log x by hand": lambda h: h.abs() * h.abs().log(),
    "negative power": lambda h: h**-2,
    "logit of the absolute value": lambda h: torch.logit(h.abs() / (1 + h.abs())),
}


def between(function: Function) -> Callable[[], Net]:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(function(net.conv1(x)))

    return lambda: Net(forward, layers(conv1=conv(3, 8), head=conv(8, 4)))


def summed(function: Function) -> Callable[[], Net]:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(function(net.conv1(x)).sum(1, keepdim=True))

    return lambda: Net(forward, layers(conv1=conv(3, 8), head=conv(1, 4)))


for name, function in (ZERO_AT_ZERO | FINITE_AT_ZERO).items():
    add(
        f"{name} between convolutions",
        between(function),
        prunable="conv1",
        layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
    )
for name, function in INFINITE_AT_ZERO.items():
    add(
        f"{name} between convolutions",
        between(function),
        inexact="conv1",
        layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
        why=WHYS[f"{name} between convolutions"],
    )
for name, function in ZERO_AT_ZERO.items():
    add(
        f"{name}, then a sum over channels",
        summed(function),
        prunable="conv1",
        layout="conv1: a 3 3 3",
    )
for name, function in (FINITE_AT_ZERO | INFINITE_AT_ZERO).items():
    add(
        f"{name}, then a sum over channels",
        summed(function),
        inexact="conv1",
        layout="conv1: a~ 3 3 3",
        why=WHYS[f"{name}, then a sum over channels"],
    )


@pattern(
    "PReLU with a slope for each channel",
    lambda: layers(conv1=conv(3, 8), act=nn.PReLU(8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; act: a; head.weight: 4 a 3 3",
)
def prelu(net: Net, x: Tensor) -> Tensor:
    return net.head(net.act(net.conv1(x)))


@pattern(
    "PReLU with one slope",
    lambda: layers(conv1=conv(3, 8), act=nn.PReLU(), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def prelu_one(net: Net, x: Tensor) -> Tensor:
    return net.head(net.act(net.conv1(x)))


@pattern(
    "the quotient of two convolutions",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 8), head=conv(8, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; conv2: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="div of a zeroed unit, not finite, in div",
)
def quotient(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x) / net.conv2(x))


@pattern(
    "the quotient of a convolution by a positive one",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 8), head=conv(1, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a 3 3 3",
)
def safe_quotient(net: Net, x: Tensor) -> Tensor:
    return net.head((net.conv1(x) / F.softplus(net.conv2(x))).sum(1, keepdim=True))


@pattern(
    "batch norm behind a sigmoid, then a sum over channels",
    lambda: layers(conv1=conv(3, 8), norm=nn.BatchNorm2d(8), head=conv(1, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; norm: a",
)
def silenced_again(net: Net, x: Tensor) -> Tensor:
    return net.head(net.norm(net.conv1(x).sigmoid()).sum(1, keepdim=True))


@pattern(
    "a sigmoid of a reciprocal",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="reciprocal of a zeroed unit, not finite, in reciprocal",
)
def finite_again(net: Net, x: Tensor) -> Tensor:
    return net.head((1 / net.conv1(x)).sigmoid())
