"""Attributes: integers of a module that say how large a dimension is; what they measure, they
follow.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch.nn.functional as F
from torch import Tensor, nn

from .pattern import Net, add, conv, layers, pattern, vector
from .sizes import flat_head, one_layer


@pattern(
    "the number of channels from an attribute",
    lambda: flat_head(width=8),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 1",
)
def attribute(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).view(-1, net.width, 36))


@pattern(
    "the number of channels from another layer",
    flat_head,
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 1",
)
def other_layer(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).view(-1, net.conv1.out_channels, 36))


@pattern(
    "the number of channels from a weight's shape",
    flat_head,
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 1",
)
def weight_shape(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).view(-1, net.conv1.weight.shape[0], 36))


@pattern(
    "the number of channels from a config object",
    lambda: flat_head(config=SimpleNamespace(width=8)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 1",
)
def config(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).view(-1, net.config.width, 36))


@pattern(
    "the number of channels from a dict",
    lambda: flat_head(config={"width": 8}),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 1",
)
def config_dict(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).view(-1, net.config["width"], 36))


@pattern(
    "the number of channels as twice an attribute",
    lambda: flat_head(part=4),
    why="the literal or fixed size 8 in view",
)
def twice_attribute(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).view(-1, net.part * 2, 36))


@pattern(
    "the number of channels as an attribute and a number",
    lambda: flat_head(less=7),
    why="the literal or fixed size 8 in view",
)
def attribute_plus(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).view(-1, net.less + 1, 36))


@pattern(
    "one attribute for two layers",
    lambda: layers(
        conv1=conv(3, 8),
        conv2=conv(3, 8),
        head1=nn.Conv1d(8, 4, 1),
        head2=nn.Conv1d(8, 4, 1),
        width=8,
    ),
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: a 3 3 3; head1.weight: 4 a 1; head2.weight: 4 a 1",
)
def one_for_two(net: Net, x: Tensor) -> Tensor:
    a, b = (layer(x).view(-1, net.width, 36) for layer in (net.conv1, net.conv2))
    return net.head1(a) + net.head2(b)


class Halved(nn.Module):
    """A property computed from an attribute, and a size kept twice over."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width, self.heads, self.head_dim = width, 2, width // 2
        self.fc, self.head = nn.Linear(5, width), nn.Linear(width, 3)

    @property
    def each(self) -> int:
        return self.width // 2

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc(x)
        h = h.view(-1, self.heads, self.each).relu().view(-1, self.heads, self.head_dim).sigmoid()
        return self.head(h.reshape(-1, self.heads * self.head_dim))


add(
    "a property computed from an attribute",
    Halved,
    inputs=vector,
    prunable="fc",
    layout="fc: (a b) 5; head.weight: 3 (a b)",
)


@pattern(
    "a size from a product over the shape",
    lambda: layers(conv1=conv(3, 8), head=nn.Linear(288, 3)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 3 (a 36)",
)
def shape_product(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h.view(h.shape[0], math.prod(h.shape[1:])))


@pattern(
    "a size from numel",
    lambda: layers(conv1=conv(3, 8), head=nn.Linear(288, 3)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 3 (a 36)",
)
def numel(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h.view(h.shape[0], h.numel() // h.shape[0]))


@pattern(
    "a size from the shape's own numel",
    lambda: layers(conv1=conv(3, 8), head=nn.Linear(288, 3)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 3 (a 36)",
)
def shape_numel(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h.view(h.shape[0], h.shape[1:].numel()))


@pattern(
    "a size from a length",
    flat_head,
    why="the literal or fixed size 8 in view",
)
def length(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h.view(x.shape[0], len(h[0]), -1))


@pattern(
    "a layer chosen by the number of channels",
    lambda: layers(conv1=conv(3, 8), heads=nn.ModuleDict({"8": conv(8, 4)})),
    why="a trial with fewer units raised \"'3'\" in KeyError",
)
def chosen(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.heads[str(h.shape[1])](h)


@pattern(
    "a number looked up by the number of channels",
    lambda: one_layer(table=tuple(0.1 * i for i in range(9))),
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="its size is used as a number in an index or a count",
)
def looked_up(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h * net.table[h.shape[1]])


@pattern(
    "a padding of channels, a tuple of an attribute with entries of 0",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 16), head=conv(16, 4), pad=(0, 0, 0, 0, 4, 4)),
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: (b + a + c) a 3 3; head.weight: 4 (b + a + c) 3 3",
)
def padded_channels(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(F.pad(h, net.pad) + net.conv2(h.relu()))


@pattern(
    "an interpolation by an attribute",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4), scale=2),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def interpolated(net: Net, x: Tensor) -> Tensor:
    return net.head(F.interpolate(net.conv1(x).relu(), scale_factor=net.scale, mode="bilinear"))
