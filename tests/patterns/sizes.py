"""Sizes: where a forward reads how large a dimension is, and what it does with the number."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .pattern import Net, conv, layers, pattern

WIDTH = 8


def one_layer(**more: object) -> dict[str, object]:
    return layers(conv1=conv(3, 8), head=conv(8, 4), **more)


def flat_head(**more: object) -> dict[str, object]:
    return layers(conv1=conv(3, 8), head=nn.Conv1d(8, 4, 1), **more)


# ---- comparisons


@pattern(
    "a branch on more channels than a number",
    one_layer,
    prunable="conv1",
    guards="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def more_than(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    if h.shape[1] > 5:
        h = h.relu() + 1
    return net.head(h)


@pattern(
    "a branch on the very number of channels",
    one_layer,
    guards="conv1",
    why="its size is compared with 8 and is equal in ==",
)
def exactly(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h.relu() if h.size(1) == 8 else h)


@pattern(
    "a branch on an even number of channels",
    one_layer,
    prunable="conv1",
    guards="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def even(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h.relu() if h.shape[1] % 2 == 0 else h)


@pattern(
    "an assertion on an attribute",
    lambda: one_layer(width=8),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def asserted(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    assert h.shape[1] == net.width
    return net.head(h)


@pattern(
    "the smaller of the channels and a number, as a factor",
    one_layer,
    guards="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def minimum(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h * min(h.shape[1], 6))


@pattern(
    "a residual only where the shapes agree",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a a 3 3; head.weight: 4 a 3 3",
)
def where_shapes_agree(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    y = net.conv2(h).relu()
    return net.head(h + y if h.shape == y.shape else y)


@pattern(
    "a residual only where the layer's own sizes agree",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a a 3 3; head.weight: 4 a 3 3",
)
def where_layers_agree(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    y = net.conv2(h).relu()
    return net.head(h + y if net.conv2.in_channels == net.conv2.out_channels else y)


@pattern(
    "a projection chosen by comparing channels, when none is needed",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 8), project=conv(8, 8), head=conv(8, 4)),
    prunable="conv1",
    frozen="project.weight:0",
    layout="conv1: a 3 3 3; conv2: a a 3 3; head.weight: 4 a 3 3",
)
def projection_if_needed(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    y = net.conv2(h).relu()
    if y.shape[1] != h.shape[1]:
        h = net.project(h)
    return net.head(h + y)


@pattern(
    "a branch on which of two layers is wider",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 6), head1=conv(8, 4), head2=conv(6, 4)),
    prunable="conv1 conv2",
    guards="conv1",
    layout="conv1: a 3 3 3; conv2: b 3 3 3; head1.weight: 4 a 3 3; head2.weight: 4 b 3 3",
)
def wider(net: Net, x: Tensor) -> Tensor:
    a, b = net.conv1(x), net.conv2(x)
    sign = 1 if a.shape[1] > b.shape[1] else -1
    return net.head1(a) + sign * net.head2(b)


@pattern(
    "a branch on how much wider one of two layers is",
    lambda: layers(conv1=conv(3, 20), conv2=conv(3, 5), head1=conv(20, 4), head2=conv(5, 4)),
    guards="conv1",
    layout="conv1: a 3 3 3; conv2: b 3 3 3; head1.weight: 4 a 3 3; head2.weight: 4 b 3 3",
)
def wider_by(net: Net, x: Tensor) -> Tensor:
    a, b = net.conv1(x), net.conv2(x)
    scale = 2.0 if a.shape[1] - b.shape[1] > 3 else 1.0
    return net.head1(a) * scale + net.head2(b)


# ---- arithmetic in floating point


@pattern(
    "division by the number of channels",
    one_layer,
    inexact="conv1",
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="its size is used as a number in div",
)
def divided(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h / h.shape[1])


@pattern(
    "a scale from the root of the number of channels",
    one_layer,
    inexact="conv1",
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="its size is used as a number in float()",
)
def root(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h / math.sqrt(h.size(1)))


@pattern(
    "a scale from a layer's own size",
    one_layer,
    inexact="conv1",
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="its size is used as a number in **",
)
def layer_root(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x)) * net.head.in_channels**-0.5


@pattern(
    "a scale stored when the module was made",
    lambda: one_layer(scale=8**-0.5),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def stored(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x) * net.scale)


@pattern(
    "a scale from an attribute that only looks like the channels",
    lambda: one_layer(temperature=8),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def unrelated(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x) / net.temperature)


@pattern(
    "a scale from an attribute that also sizes a view",
    lambda: flat_head(width=8),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 1",
    why="its size is used as a number in div",
)
def attribute_scale(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).view(-1, net.width, 36) / net.width)


@pattern(
    "a mean by numel",
    one_layer,
    inexact="conv1",
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="its size is used as a number in div",
)
def by_numel(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h - h.sum((1, 2, 3), keepdim=True) / h[0].numel())


@pattern(
    "a factor through int()",
    one_layer,
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="its size is used as a number in int()",
)
def through_int(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h / int(h.shape[1]))


@pattern(
    "a factor through a tensor",
    one_layer,
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="its size is used as a number in tensor",
)
def through_tensor(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h / torch.tensor(h.shape[1], dtype=h.dtype))


@pattern(
    "a factor through a full tensor",
    one_layer,
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="its size is used as a number in full",
)
def through_full(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h * torch.full((1,), h.shape[1], dtype=h.dtype))


@pattern(
    "a factor added in place of a scalar",
    one_layer,
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="its size is used as a number in add",
)
def as_scalar(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(torch.add(h, x.mean(), alpha=h.shape[1]))


@pattern(
    "the number of channels among the outputs",
    one_layer,
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="its size is used as a number in tensor",
)
def as_output(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    h = net.conv1(x)
    return net.head(h), torch.tensor([h.shape[1]])


@pattern(
    "a bound of a clamp from the number of channels",
    one_layer,
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="its size is used as a number in clamp",
)
def as_bound(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head((h * 9).clamp(max=h.shape[1]))


@pattern(
    "a power from the number of channels",
    one_layer,
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="its size is used as a number in pow",
)
def as_power(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h.tanh() ** h.shape[1])


# ---- positions


@pattern(
    "a range over the channels",
    one_layer,
    inexact="conv1",
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="the positions of an arange in arange",
)
def positions(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h * torch.arange(h.shape[1], dtype=h.dtype, device=h.device)[:, None, None])


@pattern(
    "a literal range over the channels",
    one_layer,
    frozen="conv1.weight:0 head.weight:1",
    why="the literal or fixed size 8 in arange",
)
def literal_positions(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x) * torch.arange(8, dtype=x.dtype, device=x.device)[:, None, None])


@pattern(
    "a linspace over the channels",
    one_layer,
    inexact="conv1",
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="the positions of an linspace in linspace",
)
def linspace(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(
        h + torch.linspace(0, 1, h.shape[1], dtype=h.dtype, device=h.device).view(-1, 1, 1)
    )


@pattern(
    "a loop over the channels",
    one_layer,
    why="the literal or fixed start 6 in slice",
)
def loop(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    for i in range(h.shape[1]):
        h = h + 0.1 * i * h[:, i : i + 1].tanh()
    return net.head(h)


@pattern(
    "a loop that collects channels",
    one_layer,
    why="the index 6 in select",
)
def collected(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(torch.stack([h[:, i].relu() for i in range(h.shape[1])], 1))


@pattern(
    "a position encoding in a buffer",
    lambda: one_layer(place=nn.Buffer(torch.rand(1, 8, 6, 6))),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3; place: 1 a 6 6",
)
def encoded(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x) + net.place)


@pattern(
    "a buffer that is not saved",
    lambda: one_layer(scale=nn.Buffer(torch.rand(8, 1, 1), persistent=False)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3; scale: a 1 1",
)
def unsaved(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x) * net.scale)


@pattern(
    "a tensor that is neither parameter nor buffer",
    lambda: one_layer(scale=torch.linspace(0, 1, 8, dtype=torch.float64)[:, None, None]),
    frozen="conv1.weight:0 head.weight:1",
    why="a tensor that is neither parameter nor buffer",
)
def unregistered(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x) * net.scale)


# ---- constants


@pattern(
    "zeros of a literal size",
    one_layer,
    frozen="conv1.weight:0 head.weight:1",
    why="the literal or fixed size 8 in zeros",
)
def literal_zeros(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x) + torch.zeros(8, 1, 1, dtype=x.dtype, device=x.device))


@pattern(
    "ones of the channels' size",
    one_layer,
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def sized_ones(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h + torch.ones(1, h.shape[1], 1, 1, dtype=h.dtype, device=h.device))


@pattern(
    "ones of the channels' size, then a sum over channels",
    lambda: layers(conv1=conv(3, 8), head=conv(1, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3",
    why="a sum over it, where it is not zero when zeroed, in sum",
)
def sized_ones_sum(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head((h + h.new_ones(h.shape[1], 1, 1)).sum(1, keepdim=True))


@pattern(
    "the number of channels from a constant of the file",
    flat_head,
    frozen="conv1.weight:0 head.weight:1",
    why="the literal or fixed size 8 in view",
)
def global_width(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).view(-1, WIDTH, 36))


@pattern(
    "maps kept by their shapes, spelled out",
    lambda: layers(conv1=conv(3, 16), conv2=conv(16, 8), head=conv(8, 4)),
    layout="conv1: a~ 3 3 3; conv2: b~ a~ 3 3; head.weight: 4 b~ 3 3",
    why="its size is used as a number in str()",
)
def by_shape(net: Net, x: Tensor) -> Tensor:
    one = net.conv1(x).relu()
    two = net.conv2(one).relu()
    maps = {str(tuple(h.shape)): h for h in (two, one)}
    return net.head(maps[str(tuple(two.shape))])
