"""Slicing: parts of a channel dimension, by size, by position and by index; what a literal counts
is fixed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .pattern import Net, conv, layers, pattern


@pattern(
    "chunk",
    lambda: layers(conv1=conv(3, 16), left=conv(8, 6), right=conv(8, 6), head=conv(6, 4)),
    prunable="conv1 left",
    layout="conv1: (a + a) 3 3 3; left: b a 3 3; right: b a 3 3; head.weight: 4 b 3 3",
)
def chunk(net: Net, x: Tensor) -> Tensor:
    a, b = net.conv1(x).relu().chunk(2, 1)
    return net.head(net.left(a) + net.right(b).relu())


@pattern(
    "one half passed by, as in CSP",
    lambda: layers(conv1=conv(3, 16), inner=conv(8, 6), head=conv(14, 4)),
    prunable="conv1 inner",
    layout="conv1: (a + a) 3 3 3; inner: b a 3 3; head.weight: 4 (a + b) 3 3",
)
def chunk_passed(net: Net, x: Tensor) -> Tensor:
    a, b = torch.chunk(net.conv1(x).relu(), chunks=2, dim=1)
    return net.head(torch.cat([a, net.inner(b)], 1))


@pattern(
    "uneven chunks",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    layout="conv1: (a + 1 + a + 1 + a) 3 3 3; head.weight: 4 (a + a + 1 + a + 1) 3 3",
)
def uneven_chunks(net: Net, x: Tensor) -> Tensor:
    a, b, c = net.conv1(x).chunk(3, 1)
    return net.head(torch.cat([c, a.relu(), b], 1))


@pattern(
    "an uneven split by literals",
    lambda: layers(conv1=conv(3, 8), left=conv(3, 6), right=conv(5, 6), head=conv(6, 4)),
    prunable="left",
    frozen="conv1.weight:0 conv1.bias:0 left.weight:1 right.weight:1",
    layout="left: a 3 3 3; right: a 5 3 3; head.weight: 4 a 3 3",
)
def literal_split(net: Net, x: Tensor) -> Tensor:
    a, b = net.conv1(x).split([3, 5], 1)
    return net.head(net.left(a) + net.right(b))


@pattern(
    "an uneven split by attributes",
    lambda: layers(
        conv1=conv(3, 8), left=conv(3, 6), right=conv(5, 6), head=conv(6, 4), first=3, second=5
    ),
    prunable="conv1 left",
    layout="conv1: (a + b) 3 3 3; left: c a 3 3; right: c b 3 3; head.weight: 4 c 3 3",
)
def attribute_split(net: Net, x: Tensor) -> Tensor:
    a, b = torch.split(net.conv1(x), [net.first, net.second], dim=1)
    return net.head(net.left(a) + net.right(b))


@pattern(
    "an uneven split by a tuple",
    lambda: layers(
        conv1=conv(3, 8), left=conv(3, 6), right=conv(5, 6), head=conv(6, 4), sizes=(3, 5)
    ),
    prunable="conv1 left",
    layout="conv1: (a + b) 3 3 3; left: c a 3 3; right: c b 3 3; head.weight: 4 c 3 3",
)
def tuple_split(net: Net, x: Tensor) -> Tensor:
    a, b = net.conv1(x).split(net.sizes, 1)
    return net.head(net.left(a) + net.right(b))


@pattern(
    "a split in halves computed from the shape",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (a + a) 3 3 3; head.weight: 4 (a + a) 3 3",
)
def computed_split(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    a, b = h.split(h.shape[1] // 2, 1)
    return net.head(torch.cat([b, a.relu()], 1))


@pattern(
    "a split by a literal that goes into the size evenly",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    why="the literal or fixed split size 4 in split",
)
def even_split(net: Net, x: Tensor) -> Tensor:
    a, b = net.conv1(x).split(4, 1)
    return net.head(torch.cat([b, a.relu()], 1))


@pattern(
    "slice and reorder",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (3 + a) 3 3 3; head.weight: 4 (a + 3) 3 3",
)
def slice_reorder(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(torch.cat([h[:, 3:], h[:, :3].relu()], 1))


@pattern(
    "halves sliced by the shape and exchanged",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (a + a) 3 3 3; head.weight: 4 (a + a) 3 3",
)
def slice_halves(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    half = h.shape[1] // 2
    return net.head(torch.cat([-h[:, half:], h[:, :half]], 1))


@pattern(
    "a slice in the middle",
    lambda: layers(conv1=conv(3, 10), head=conv(4, 4)),
    prunable="conv1",
    layout="conv1: (6 + a) 3 3 3",
)
def slice_middle(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x)[:, 2:6])


@pattern(
    "a negative slice",
    lambda: layers(conv1=conv(3, 8), left=conv(6, 6), right=conv(2, 6), head=conv(6, 4)),
    prunable="conv1 left",
    layout="conv1: (a + 2) 3 3 3; left: b a 3 3; right: b 2 3 3; head.weight: 4 b 3 3",
)
def negative_slice(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    return net.head(net.left(h[:, :-2]) + net.right(h[:, -2:]))


@pattern(
    "narrow",
    lambda: layers(conv1=conv(3, 8), left=conv(3, 6), right=conv(5, 6), head=conv(6, 4)),
    prunable="conv1 left",
    layout="conv1: (3 + a) 3 3 3; left: b 3 3 3; right: b a 3 3; head.weight: 4 b 3 3",
)
def narrow(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    return net.head(net.left(h.narrow(1, 0, 3)) + net.right(h.narrow(1, 3, h.shape[1] - 3)))


@pattern(
    "two slices that overlap",
    lambda: layers(conv1=conv(3, 8), left=conv(6, 6), right=conv(6, 6), head=conv(6, 4)),
    prunable="left",
    layout="conv1: (6 + a) 3 3 3; left: b 6 3 3; right: b (4 + a) 3 3; head.weight: 4 b 3 3",
)
def overlapping(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    return net.head(net.left(h[:, :6]) + net.right(h[:, 2:]))


@pattern(
    "neighbouring channels subtracted by slices",
    lambda: layers(conv1=conv(3, 8), head=conv(7, 4)),
    frozen="conv1.weight:0 head.weight:1",
    why="the literal or fixed start 1 in slice",
)
def neighbours(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head((h[:, 1:] - h[:, :-1]).abs())


@pattern(
    "neighbouring channels subtracted by diff",
    lambda: layers(conv1=conv(3, 8), head=conv(7, 4)),
    why="neighbours compared along it in diff",
)
def diff(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).diff(dim=1).abs())


@pattern(
    "a strided channel slice",
    lambda: layers(conv1=conv(3, 8), head=conv(4, 4)),
    prunable="conv1",
    layout="conv1: (a 2) 3 3 3; head.weight: 4 a 3 3",
)
def strided(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x)[:, ::2].relu())


@pattern(
    "even and odd channels apart",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (a 2) 3 3 3; head.weight: 4 (a + a) 3 3",
)
def even_odd(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(torch.cat([h[:, ::2], h[:, 1::2].relu()], 1))


@pattern(
    "even and odd channels rotated, as in rotary embeddings",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (a 2) 3 3 3; head.weight: 4 (a 2) 3 3",
)
def rotary(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    even, odd = h[:, 0::2], h[:, 1::2]
    return net.head(torch.stack([even * 0.6 - odd * 0.8, even * 0.8 + odd * 0.6], 2).flatten(1, 2))


@pattern(
    "a stride that does not go into the size",
    lambda: layers(conv1=conv(3, 8), head=conv(3, 4)),
    layout="conv1: ((a 3) + 2) 3 3 3; head.weight: 4 (a + 1) 3 3",
)
def strided_rest(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x)[:, ::3])


@pattern(
    "one channel selected",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    layout="conv1: (3 + a) 3 3 3; head.weight: 4 (3 + a) 3 3",
)
def selected(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h * h[:, 2].sigmoid().unsqueeze(1))


@pattern(
    "the last channel selected",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    layout="conv1: (a + 1) 3 3 3; head.weight: 4 (a + 1) 3 3",
)
def selected_last(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h * h[:, -1:].sigmoid())


@pattern(
    "unbind over a reshaped channel dimension",
    lambda: layers(conv1=conv(3, 16), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (2 a) 3 3 3; head.weight: 4 a 3 3",
)
def unbind(net: Net, x: Tensor) -> Tensor:
    a, b = net.conv1(x).unflatten(1, (2, -1)).unbind(1)
    return net.head(a * b.sigmoid())


@pattern(
    "every second channel by unbind of pairs",
    lambda: layers(conv1=conv(3, 16), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (a 2) 3 3 3; head.weight: 4 a 3 3",
)
def unbind_pairs(net: Net, x: Tensor) -> Tensor:
    a, b = net.conv1(x).unflatten(1, (-1, 2)).unbind(2)
    return net.head(a - b.relu())


@pattern(
    "all channels unbound and summed",
    lambda: layers(conv1=conv(3, 8), head=conv(1, 4)),
    why="the number of parts in unbind",
)
def unbound(net: Net, x: Tensor) -> Tensor:
    total = torch.stack(list(net.conv1(x).relu().unbind(1)), 1).sum(1, keepdim=True)
    return net.head(total)
