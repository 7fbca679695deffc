"""Chains and sums: one layer after another, and what a residual sum ties."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .pattern import Net, add, conv, image, layers, pattern, random, vector


@pattern(
    "plain",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 10), head=conv(10, 4)),
    prunable="conv1 conv2",
    frozen="conv1.weight:1 conv1.weight:2 head.weight:0",
    layout="conv1: a 3 3 3; conv2: b a 3 3; head.weight: 4 b 3 3",
)
def plain(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv2(net.conv1(x).relu()).relu())


@pattern(
    "batch norm between convolutions",
    lambda: layers(conv1=conv(3, 8, bias=False), norm=nn.BatchNorm2d(8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; norm: a; head.weight: 4 a 3 3",
)
def batch_norm(net: Net, x: Tensor) -> Tensor:
    return net.head(net.norm(net.conv1(x)).relu())


add(
    "a sequential",
    lambda: nn.Sequential(
        conv(3, 8),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(),
        conv(8, 6),
        nn.Identity(),
        conv(6, 4),
    ),
    prunable="0 4",
    layout="0: a 3 3 3; 1: a; 4: b a 3 3; 6.weight: 4 b 3 3",
)


@pattern(
    "linear layers",
    lambda: layers(
        fc1=nn.Linear(5, 8),
        norm=nn.BatchNorm1d(8),
        fc2=nn.Linear(8, 6, bias=False),
        head=nn.Linear(6, 3),
    ),
    inputs=vector,
    prunable="fc1 fc2",
    frozen="fc1.weight:1 head.weight:0",
    layout="fc1: a 5; norm: a; fc2: b a; head.weight: 3 b",
)
def linear(net: Net, x: Tensor) -> Tensor:
    return net.head(net.fc2(net.norm(net.fc1(x)).relu()).tanh())


@pattern(
    "residual",
    lambda: layers(conv1=conv(3, 8), inner=conv(8, 6), outer=conv(6, 8), head=conv(8, 4)),
    prunable="conv1 inner",
    layout="conv1: a 3 3 3; inner: b a 3 3; outer: a b 3 3; head.weight: 4 a 3 3",
)
def residual(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    return net.head((h + net.outer(net.inner(h).relu())).relu())


@pattern(
    "residual over a strided projection",
    lambda: layers(
        conv1=conv(3, 8),
        block=conv(8, 10, stride=2),
        short=conv(8, 10, 1, stride=2),
        head=conv(10, 4),
    ),
    prunable="conv1 block",
    layout="conv1: a 3 3 3; block: b a 3 3; short: b a 1 1; head.weight: 4 b 3 3",
)
def projection(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    return net.head((net.block(h) + net.short(h)).relu())


@pattern(
    "residual with activation before",
    lambda: layers(
        conv1=conv(3, 8),
        norm=nn.BatchNorm2d(8),
        conv2=conv(8, 8),
        last=nn.BatchNorm2d(8),
        head=conv(8, 4),
    ),
    prunable="conv1",
    layout="conv1: a 3 3 3; norm: a; conv2: a a 3 3; last: a; head.weight: 4 a 3 3",
)
def preactivation(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    h = h + net.conv2(net.norm(h).relu())
    return net.head(net.last(h).relu())


@pattern(
    "a chain of residuals",
    lambda: layers(
        conv1=conv(3, 8), blocks=nn.ModuleList(conv(8, 8) for _ in range(3)), head=conv(8, 4)
    ),
    prunable="conv1",
    layout=(
        "conv1: a 3 3 3; blocks.0: a a 3 3; blocks.1: a a 3 3; blocks.2: a a 3 3; "
        "head.weight: 4 a 3 3"
    ),
)
def residuals(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    for block in net.blocks:
        h = h + block(h).relu()
    return net.head(h)


@pattern(
    "inverted residual",
    lambda: layers(
        conv1=conv(3, 8),
        expand=conv(8, 12, 1),
        depthwise=conv(12, 12, groups=12),
        project=conv(12, 8, 1),
        head=conv(8, 4),
    ),
    prunable="conv1 expand",
    layout=(
        "conv1: a 3 3 3; expand: b a 1 1; depthwise: b 1 3 3; project: a b 1 1; "
        "head.weight: 4 a 3 3"
    ),
)
def inverted(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h + net.project(net.depthwise(net.expand(h).relu()).relu()))


@pattern(
    "one producer with two consumers",
    lambda: layers(
        conv1=conv(3, 8), left=conv(8, 6), right=conv(8, 5), head1=conv(6, 4), head2=conv(5, 4)
    ),
    prunable="conv1 left right",
    layout=(
        "conv1: a 3 3 3; left: b a 3 3; right: c a 3 3; head1.weight: 4 b 3 3; "
        "head2.weight: 4 c 3 3"
    ),
)
def consumers(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    return net.head1(net.left(h).relu()) + net.head2(net.right(h).relu())


@pattern(
    "parallel kernels and an identity summed",
    lambda: layers(
        conv1=conv(3, 8),
        wide=conv(8, 8),
        narrow=conv(8, 8, 1),
        norm1=nn.BatchNorm2d(8),
        norm2=nn.BatchNorm2d(8),
        norm3=nn.BatchNorm2d(8),
        head=conv(8, 4),
    ),
    prunable="conv1",
    layout=(
        "conv1: a 3 3 3; wide: a a 3 3; narrow: a a 1 1; norm1: a; norm2: a; norm3: a; "
        "head.weight: 4 a 3 3"
    ),
)
def parallel(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head((net.norm1(net.wide(h)) + net.norm2(net.narrow(h)) + net.norm3(h)).relu())


@pattern(
    "a feature pyramid",
    lambda: layers(
        conv1=conv(3, 8),
        conv2=conv(8, 10, stride=2),
        lateral1=conv(8, 6, 1),
        lateral2=conv(10, 6, 1),
        head=conv(6, 4),
    ),
    prunable="conv1 conv2 lateral1",
    layout=(
        "conv1: a 3 3 3; conv2: b a 3 3; lateral1: c a 1 1; lateral2: c b 1 1; head.weight: 4 c 3 3"
    ),
)
def pyramid(net: Net, x: Tensor) -> list[Tensor]:
    fine = net.conv1(x).relu()
    coarse = net.conv2(fine).relu()
    top = net.lateral2(coarse)
    bottom = net.lateral1(fine) + nn.functional.interpolate(top, scale_factor=2.0)
    return [net.head(bottom), net.head(top)]


@pattern(
    "pooling and resizing",
    lambda: layers(
        conv1=conv(3, 8),
        pool=nn.MaxPool2d(2),
        conv2=conv(8, 10),
        mean=nn.AdaptiveAvgPool2d(2),
        fc=nn.Linear(40, 3),
    ),
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: b a 3 3; fc.weight: 3 (b 4)",
)
def pooling(net: Net, x: Tensor) -> Tensor:
    h = nn.functional.interpolate(
        net.pool(net.conv1(x)), size=(6, 6), mode="bilinear", align_corners=False
    )
    h = nn.functional.avg_pool2d(nn.functional.pad(net.conv2(h), (1, 1, 1, 1), mode="reflect"), 2)
    return net.fc(net.mean(h).flatten(1))


@pattern(
    "the difference of two convolutions and a lerp",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 8), conv3=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a 3 3 3; conv3: a 3 3 3; head.weight: 4 a 3 3",
)
def difference(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.lerp(net.conv1(x) - net.conv2(x), net.conv3(x), 0.3))


@pattern(
    "every size equal",
    lambda: layers(
        conv1=conv(8, 8), conv2=conv(8, 8), conv3=conv(8, 8), fc=nn.Linear(8, 8), head=conv(8, 8)
    ),
    inputs=lambda: (random(8, 8, 8, 8),),
    prunable="conv1 conv2 conv3",
    frozen="conv1.weight:1 fc.weight:0 fc.weight:1 head.weight:0",
    layout="conv1: a 8 3 3; conv2: b a 3 3; conv3: c b 3 3; head.weight: 8 c 3 3",
)
def equal(net: Net, x: Tensor) -> Tensor:
    h = net.conv2(net.conv1(x).relu()).transpose(1, 3)
    h = net.conv3(h.transpose(3, 1)).relu()
    return net.head(net.fc(h))


@pattern(
    "an image without batch",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    inputs=lambda: (image()[0][0],),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def unbatched(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).relu())
