"""Order: flips, rolls, indices and shuffles of channels; a reindexed axis is a take, a literal
position is fixed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .pattern import Net, conv, layers, pattern


@pattern(
    "flip",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 6), head=conv(6, 4)),
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: b a[::-1] 3 3; head.weight: 4 b 3 3",
)
def flip(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv2(net.conv1(x).flip(1).relu()))


@pattern(
    "the sum of a tensor and its flip",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a[0:4, 3::-1] 3 3 3; head.weight: 4 a[0:4, 3::-1] 3 3",
)
def flip_sum(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h + h.flip(1).relu())


@pattern(
    "the flip of one convolution added to another",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 8), head1=conv(8, 4), head2=conv(8, 4)),
    prunable="conv1",
    layout=(
        "conv1: a[::-1] 3 3 3; conv2: a 3 3 3; head1.weight: 4 a[::-1] 3 3; head2.weight: 4 a 3 3"
    ),
)
def flip_other(net: Net, x: Tensor) -> Tensor:
    a, b = net.conv1(x), net.conv2(x)
    return net.head1((a + b.flip(1)).relu()) + net.head2(b.relu())


@pattern(
    "roll",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (a + 2) 3 3 3; head.weight: 4 (2 + a) 3 3",
)
def roll(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).roll(2, 1).relu())


@pattern(
    "roll by half the channels",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (a + a) 3 3 3; head.weight: 4 (a + a) 3 3",
)
def roll_half(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(torch.roll(h, h.shape[1] // 2, 1).relu() + h)


@pattern(
    "the sum of a tensor and its roll",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    frozen="conv1.weight:0 head.weight:1",
    why="the literal or fixed shift 1 in roll",
)
def roll_sum(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h + h.roll(1, 1))


@pattern(
    "some channels shifted in space",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (2 + a) 3 3 3; head.weight: 4 (2 + a) 3 3",
)
def shifted(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(torch.cat([h[:, :2].roll(1, -1), h[:, 2:]], 1))


@pattern(
    "index by a buffer",
    lambda: layers(
        conv1=conv(3, 8), order=nn.Buffer(torch.tensor([3, 1, 7, 0, 5, 2, 6, 4])), head=conv(8, 4)
    ),
    prunable="conv1",
    layout=(
        "conv1: a 3 3 3; head.weight: 4 a[3, 1, 7, 0, 5, 2, 6, 4] 3 3; "
        "order: a[3, 1, 7, 0, 5, 2, 6, 4]"
    ),
)
def index_buffer(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x)[:, net.order].relu())


@pattern(
    "index by a buffer with repeats and gaps",
    lambda: layers(
        conv1=conv(3, 8),
        order=nn.Buffer(torch.tensor([0, 1, 2, 3, 5, 6, 0, 1, 2, 3])),
        head=conv(10, 4),
    ),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a[0:4, 5, 6, 0:4] 3 3; order: a[0:4, 5, 6, 0:4]",
)
def index_repeats(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x)[:, net.order].relu())


@pattern(
    "index_select by a buffer",
    lambda: layers(
        conv1=conv(3, 8), order=nn.Buffer(torch.tensor([3, 1, 7, 0, 5, 2, 6, 4])), head=conv(8, 4)
    ),
    prunable="conv1",
    layout=(
        "conv1: a 3 3 3; head.weight: 4 a[3, 1, 7, 0, 5, 2, 6, 4] 3 3; "
        "order: a[3, 1, 7, 0, 5, 2, 6, 4]"
    ),
)
def index_select(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).index_select(1, net.order).relu())


@pattern(
    "the sum of a tensor and its own reordering by a buffer",
    lambda: layers(
        conv1=conv(3, 8), order=nn.Buffer(torch.tensor([1, 0, 3, 2, 5, 4, 7, 6])), head=conv(8, 4)
    ),
    prunable="conv1",
    layout=("conv1: (a 2) 3 3 3; head.weight: 4 (a 2) 3 3; order: (a 2)[1, 0, 3, 2, 5, 4, 7, 6]"),
)
def index_pairs(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h + h[:, net.order].relu())


@pattern(
    "index by a list in the source",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    frozen="conv1.weight:0",
    why="the index 3, 1, 7, 0, 5, 2, 6, 4 in index",
)
def index_list(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x)[:, [3, 1, 7, 0, 5, 2, 6, 4]].relu())


@pattern(
    "index by a tensor that is no buffer",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4), order=torch.tensor([3, 1, 7, 0, 5, 2, 6, 4])),
    why="an index along it in index",
)
def index_attribute(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x)[:, net.order].relu())


@pattern(
    "index by a mask in a buffer",
    lambda: layers(
        conv1=conv(3, 8), chosen=nn.Buffer(torch.tensor([True, False] * 4)), head=conv(4, 4)
    ),
    why="an index along it in index",
)
def index_mask(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x)[:, net.chosen].relu())


@pattern(
    "gather by an expanded buffer",
    lambda: layers(
        conv1=conv(3, 8), order=nn.Buffer(torch.tensor([3, 1, 7, 0, 5, 2, 6, 4])), head=conv(8, 4)
    ),
    why="gathered along it in gather",
)
def gather(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h.gather(1, net.order[None, :, None, None].expand_as(h)))


@pattern(
    "channel shuffle",
    lambda: layers(
        conv1=conv(3, 8), grouped=conv(8, 12, groups=2), last=conv(12, 8, groups=2), head=conv(8, 4)
    ),
    prunable="conv1 grouped last",
    layout=(
        "conv1: (2 a) 3 3 3; grouped: (2 b c) a 3 3; last: (b d) (c 2) 3 3; "
        "head.weight: 4 (b d) 3 3"
    ),
)
def shuffle(net: Net, x: Tensor) -> Tensor:
    h = net.grouped(net.conv1(x).relu())
    b, c, *space = h.shape
    h = h.view(b, 2, c // 2, *space).transpose(1, 2).reshape(b, c, *space)
    return net.head(net.last(h).relu())


@pattern(
    "channel shuffle by torch's own layer",
    lambda: layers(conv1=conv(3, 8), shuffle=nn.ChannelShuffle(2), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (a b) 3 3 3; head.weight: 4 (b a) 3 3",
)
def shuffle_layer(net: Net, x: Tensor) -> Tensor:
    return net.head(net.shuffle(net.conv1(x)).relu())


def interleave(h: Tensor) -> Tensor:
    n, c, height, width = h.size()
    return (
        h.view(n, 2, c // 2, height, width).transpose(1, 2).contiguous().view(n, -1, height, width)
    )


@pattern(
    "a unit that chunks, concatenates and shuffles",
    lambda: layers(conv1=conv(3, 16), inner=conv(8, 8), norm=nn.BatchNorm2d(8), head=conv(16, 4)),
    prunable="conv1 inner",
    layout="conv1: (a + a) 3 3 3; inner: a a 3 3; norm: a; head.weight: 4 (a 2) 3 3",
)
def shuffle_unit(net: Net, x: Tensor) -> Tensor:
    a, b = net.conv1(x).relu().chunk(2, 1)
    return net.head(interleave(torch.cat([a, net.norm(net.inner(b)).relu()], 1)))


@pattern(
    "two units that chunk, concatenate and shuffle",
    lambda: layers(
        conv1=conv(3, 16),
        in1=conv(8, 6),
        out1=conv(6, 8),
        in2=conv(8, 6),
        out2=conv(6, 8),
        head=conv(16, 4),
    ),
    prunable="in1 in2",
    layout=(
        "conv1: (a + a + a + a) 3 3 3; in1: b (a + a) 3 3; out1: (a + a) b 3 3; in2: c (a 2) 3 3; "
        "out2: (a 2) c 3 3; head.weight: 4 (a 4) 3 3"
    ),
)
def shuffle_units(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    for inner, outer in ((net.in1, net.out1), (net.in2, net.out2)):
        a, b = h.chunk(2, 1)
        h = interleave(torch.cat([a, outer(inner(b).relu())], 1))
    return net.head(h)
