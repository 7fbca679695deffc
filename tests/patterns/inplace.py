"""Writing in place: a slice assigned, a view changed, and what that does to the tensor beneath."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .pattern import Net, conv, layers, pattern


@pattern(
    "operators in place",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 8), act=nn.ReLU(inplace=True), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a 3 3 3; head.weight: 4 a 3 3",
)
def operators(net: Net, x: Tensor) -> Tensor:
    h = net.act(net.conv1(x))
    h += net.conv2(x)
    return net.head(h.mul_(0.5).tanh_())


@pattern(
    "a slice assigned, by computed bounds",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 6), head=conv(14, 4)),
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: b 3 3 3; head.weight: 4 (a + b) 3 3",
)
def computed_bounds(net: Net, x: Tensor) -> Tensor:
    a, b = net.conv1(x), net.conv2(x)
    whole = a.new_zeros(a.shape[0], a.shape[1] + b.shape[1], 6, 6)
    whole[:, : a.shape[1]] = a
    whole[:, a.shape[1] :] = b
    return net.head(whole.relu())


@pattern(
    "a slice assigned, by literal bounds",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 3), head=conv(8, 4)),
    prunable="conv1",
    frozen="conv2.weight:0",
    layout="conv1: (3 + a) 3 3 3; head.weight: 4 (3 + a) 3 3",
)
def literal_bounds(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).clone()
    h[:, :3] = net.conv2(x)
    return net.head(h)


@pattern(
    "a slice assigned in a tensor of literal size",
    lambda: layers(conv1=conv(3, 5), conv2=conv(3, 3), head=conv(8, 4)),
    frozen="conv1.weight:0 conv2.weight:0 head.weight:1",
    why="the literal or fixed size 8 in zeros",
)
def literal_size(net: Net, x: Tensor) -> Tensor:
    h = torch.zeros(2, 8, 6, 6, dtype=x.dtype, device=x.device)
    h[:, 3:] = net.conv1(x)
    h[:, :3] = net.conv2(x)
    return net.head(h)


@pattern(
    "space assigned around the borders",
    lambda: layers(conv1=conv(3, 8), conv2=nn.Conv2d(8, 8, 3), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a a 3 3; head.weight: 4 a 3 3",
)
def borders(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    y = torch.zeros_like(h)
    y[:, :, 1:-1, 1:-1] = net.conv2(h)
    y[..., 0] += h[..., 0]
    return net.head(y)


@pattern(
    "columns assigned one by one",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def columns(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    y = h.new_zeros(h.shape)
    for i in range(6):
        y[..., i] = h[..., i].relu() * (i + 1)
    return net.head(y)


@pattern(
    "copy_ into a new tensor",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def copied(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(torch.empty_like(h).copy_(h).relu_())


@pattern(
    "one half changed in place, seen through the whole",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (a + a) 3 3 3; head.weight: 4 (a + a) 3 3",
)
def half_changed(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    a, b = h.chunk(2, 1)
    a.add_(b)
    return net.head(h)


@pattern(
    "one half raised in place, then a sum over channels of the whole",
    lambda: layers(conv1=conv(3, 8), head=conv(1, 4)),
    inexact="conv1",
    layout="conv1: (a~ + a~) 3 3 3",
    why="a sum over it, where it is not zero when zeroed, in sum",
)
def half_raised(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    a, b = h.chunk(2, 1)
    a.add_(b).add_(1.0)
    return net.head(h.sum(1, keepdim=True))


@pattern(
    "the whole raised in place, then a sum over channels of a view taken before",
    lambda: layers(conv1=conv(3, 8), head=nn.Linear(36, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3",
    why="a sum over it, where it is not zero when zeroed, in sum",
)
def view_before(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    flat = h.flatten(2)
    h.sigmoid_()
    return net.head(flat.sum(1))


@pattern(
    "a slice zeroed, by a literal",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (3 + a) 3 3 3; head.weight: 4 (3 + a) 3 3",
)
def slice_zeroed(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    h[:, :3].zero_()
    return net.head(h)


@pattern(
    "one channel filled",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    layout="conv1: (3 + a) 3 3 3; head.weight: 4 (3 + a) 3 3",
)
def channel_filled(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    h[:, 2] = 1.0
    return net.head(h)


@pattern(
    "one channel filled, then a sum over channels",
    lambda: layers(conv1=conv(3, 8), head=conv(1, 4)),
    layout="conv1: (a + 1) 3 3 3",
)
def channel_filled_sum(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    h[:, -1] = 1.0
    return net.head(h.sum(1, keepdim=True))


@pattern(
    "negative values assigned by a mask",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    why="written by position in index_put",
)
def by_mask(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    h[h < 0] = 0.25
    return net.head(h)


@pattern(
    "negative values assigned by a mask, then a sum over channels",
    lambda: layers(conv1=conv(3, 8), head=conv(1, 4)),
    why="written by position in index_put",
)
def by_mask_sum(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    h[h <= 0] = 0.25
    return net.head(h.sum(1, keepdim=True))


@pattern(
    "an output argument",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 8), head=conv(8, 4)),
    why="the operator aten::add, which has no rule, in add",
)
def output_argument(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    torch.add(h, net.conv2(x), out=h)
    return net.head(h)


@pattern(
    "index_add along the channels by a buffer",
    lambda: layers(conv1=conv(3, 8), where=nn.Buffer(torch.arange(8) // 2), head=conv(4, 4)),
    why="written by position in index_add",
)
def index_add(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h.new_zeros(2, 4, 6, 6).index_add(1, net.where, h))


@pattern(
    "scatter along the channels",
    lambda: layers(conv1=conv(3, 8), order=nn.Buffer(torch.arange(8).flip(0)), head=conv(8, 4)),
    why="written by position in scatter",
)
def scatter(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(torch.zeros_like(h).scatter(1, net.order[None, :, None, None].expand_as(h), h))
