"""Reshaping: views, permutations, repeats; a computed size follows, a literal one freezes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .pattern import Net, conv, layers, pattern, random


@pattern(
    "a linear layer on channels last",
    lambda: layers(
        conv1=conv(3, 8),
        norm=nn.BatchNorm2d(8),
        fc1=nn.Linear(8, 12),
        fc2=nn.Linear(12, 8),
        head=conv(8, 4),
    ),
    prunable="conv1 fc1",
    layout="conv1: a 3 3 3; norm: a; fc1: b a; fc2: a b; head.weight: 4 a 3 3",
)
def channels_last(net: Net, x: Tensor) -> Tensor:
    h = net.norm(net.conv1(x))
    return net.head(h + net.fc2(net.fc1(h.permute(0, 2, 3, 1)).relu()).permute(0, 3, 1, 2))


@pattern(
    "channels last, concatenated on the last dimension",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 6), fc=nn.Linear(14, 10), head=nn.Linear(10, 3)),
    prunable="conv1 conv2 fc",
    layout="conv1: a 3 3 3; conv2: b 3 3 3; fc: c (a + b); head.weight: 3 c",
)
def channels_last_concat(net: Net, x: Tensor) -> Tensor:
    h = torch.cat([net.conv1(x).movedim(1, -1), net.conv2(x).movedim(1, -1)], -1)
    return net.head(net.fc(h).relu())


@pattern(
    "moved, swapped and transposed dimensions",
    lambda: layers(conv1=conv(3, 8), fc=nn.Linear(8, 6), head=conv(6, 4)),
    prunable="conv1 fc",
    layout="conv1: a 3 3 3; fc: b a; head.weight: 4 b 3 3",
)
def moved(net: Net, x: Tensor) -> Tensor:
    h = torch.moveaxis(net.conv1(x), (1, 2), (3, 1)).swapaxes(1, 2).transpose(-2, 1)
    return net.head(torch.einsum("bhwc->bchw", net.fc(h.relu())).mT)


@pattern(
    "tokens and back",
    lambda: layers(conv1=conv(3, 8), fc1=nn.Linear(8, 12), fc2=nn.Linear(12, 6), head=conv(6, 4)),
    prunable="conv1 fc1 fc2",
    layout="conv1: a 3 3 3; fc1: b a; fc2: c b; head.weight: 4 c 3 3",
)
def tokens(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).flatten(2).transpose(1, 2)
    return net.head(net.fc2(net.fc1(h).relu()).transpose(1, 2).unflatten(2, (6, 6)))


@pattern(
    "pixel shuffle between convolutions",
    lambda: layers(
        conv1=conv(3, 16), shuffle=nn.PixelShuffle(2), conv2=conv(4, 6), head=conv(6, 4)
    ),
    prunable="conv1 conv2",
    layout="conv1: (a 4) 3 3 3; conv2: b a 3 3; head.weight: 4 b 3 3",
)
def pixel_shuffle(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv2(net.shuffle(net.conv1(x)).relu()).relu())


@pattern(
    "pixel unshuffle between convolutions",
    lambda: layers(
        conv1=conv(3, 4), shuffle=nn.PixelUnshuffle(2), conv2=conv(16, 6), head=conv(6, 4)
    ),
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: b (a 4) 3 3; head.weight: 4 b 3 3",
)
def pixel_unshuffle(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv2(net.shuffle(net.conv1(x)).relu()).relu())


@pattern(
    "space to depth by hand, channels first",
    lambda: layers(conv1=conv(3, 4), conv2=conv(16, 6), head=conv(6, 4)),
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: b (a 4) 3 3; head.weight: 4 b 3 3",
)
def space_to_depth(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    b, c, height, width = h.shape
    h = (
        h.view(b, c, height // 2, 2, width // 2, 2)
        .permute(0, 1, 3, 5, 2, 4)
        .reshape(b, c * 4, height // 2, width // 2)
    )
    return net.head(net.conv2(h).relu())


@pattern(
    "space to depth by slices, as in patch merging",
    lambda: layers(conv1=conv(3, 4), reduce=nn.Linear(16, 6, bias=False), head=nn.Linear(6, 3)),
    prunable="conv1 reduce",
    layout="conv1: a 3 3 3; reduce: b (a + a + a + a); head.weight: 3 b",
)
def patch_merging(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).permute(0, 2, 3, 1)
    parts = [h[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
    return net.head(net.reduce(torch.cat(parts, -1)).relu())


@pattern(
    "depth to space by hand, factors first",
    lambda: layers(conv1=conv(3, 16), conv2=conv(4, 6), head=conv(6, 4)),
    prunable="conv1 conv2",
    layout="conv1: (4 a) 3 3 3; conv2: b a 3 3; head.weight: 4 b 3 3",
)
def depth_to_space(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    b, c, height, width = h.shape
    h = (
        h.reshape(b, 2, 2, c // 4, height, width)
        .permute(0, 3, 4, 1, 5, 2)
        .reshape(b, c // 4, height * 2, width * 2)
    )
    return net.head(net.conv2(h).relu())


@pattern(
    "repeat of the channels",
    lambda: layers(conv1=conv(3, 8), head=conv(16, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 (2 a) 3 3",
)
def repeat(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).repeat(1, 2, 1, 1).relu())


@pattern(
    "tile added to a concatenation",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 8), conv3=conv(3, 8), head=conv(16, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a 3 3 3; conv3: a 3 3 3; head.weight: 4 (2 a) 3 3",
)
def tile(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).tile(2, 1, 1) + torch.cat([net.conv2(x), net.conv3(x)], 1))


@pattern(
    "repeat_interleave of the channels",
    lambda: layers(conv1=conv(3, 8), head=conv(16, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 (a 2) 3 3",
)
def repeat_interleave(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).repeat_interleave(2, dim=1).relu())


@pattern(
    "the sum of repeats in both orders",
    lambda: layers(conv1=conv(3, 4), conv2=conv(3, 4), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (2 a) 3 3 3; conv2: (a 2) 3 3 3; head.weight: 4 (2 a 2) 3 3",
)
def repeat_both(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).repeat_interleave(2, dim=1) + net.conv2(x).repeat(1, 2, 1, 1))


@pattern(
    "expanded and flattened",
    lambda: layers(conv1=conv(3, 8), head=conv(24, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 (a 3) 3 3",
)
def expand(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x)[:, :, None].expand(-1, -1, 3, -1, -1).flatten(1, 2).relu())


@pattern(
    "expanded by a literal that is the channels",
    lambda: layers(conv1=conv(3, 8), gate=conv(3, 1), head=conv(8, 4)),
    frozen="conv1.weight:0 head.weight:1",
    why="the literal or fixed size 8 in expand",
)
def expand_literal(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x) * net.gate(x).expand(-1, 8, -1, -1))


@pattern(
    "expanded by the channels' own size",
    lambda: layers(conv1=conv(3, 8), gate=conv(3, 1), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def expand_size(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h * net.gate(x).expand(-1, h.size(1), -1, -1))


@pattern(
    "a literal size that a view passes through",
    lambda: layers(conv1=conv(3, 8), head=nn.Conv1d(8, 4, 1)),
    frozen="conv1.weight:0 head.weight:1",
    why="the literal or fixed size 8 in reshape",
)
def view_through(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).reshape(x.shape[0], 8, -1))


@pattern(
    "a view that trades height for channels",
    lambda: layers(conv1=conv(3, 8), head=conv(16, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 (a 2) 3 3",
)
def height_to_channels(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).reshape(x.shape[0], -1, 3, 6).relu())


@pattern(
    "a view across the boundaries of channels",
    lambda: layers(conv1=conv(3, 6), fc=nn.Linear(54, 5), head=nn.Linear(5, 3)),
    prunable="fc",
    frozen="conv1.weight:0 fc.weight:1",
    layout="fc: a 54; head.weight: 3 a",
)
def misaligned(net: Net, x: Tensor) -> Tensor:
    return net.head(net.fc(net.conv1(x).view(x.shape[0], 4, -1)).relu())


@pattern(
    "channels folded into the batch for a layer over space",
    lambda: layers(conv1=conv(3, 8), space=nn.Linear(36, 36), head=conv(8, 4)),
    prunable="conv1",
    frozen="space.weight:0 space.weight:1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def folded(net: Net, x: Tensor) -> Tensor:
    h = net.space(net.conv1(x).view(-1, 36)).relu()
    return net.head(h.view(x.shape[0], -1, 6, 6))


@pattern(
    "a hidden layer over the tokens, as in a mixer",
    lambda: layers(
        conv1=conv(3, 8), mix1=nn.Linear(36, 10), mix2=nn.Linear(10, 36), head=nn.Linear(8, 3)
    ),
    prunable="conv1 mix1",
    layout="conv1: a 3 3 3; mix1: b 36; mix2.weight: 36 b; head.weight: 3 a",
)
def mixer(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).flatten(2)
    h = h + net.mix2(net.mix1(h).relu())
    return net.head(h.mean(2))


@pattern(
    "a layer over space, then a sum over channels",
    lambda: layers(conv1=conv(3, 8), space=nn.Linear(6, 6), head=conv(1, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3",
    why="a sum over it, where it is not zero when zeroed, in sum",
)
def space_sum(net: Net, x: Tensor) -> Tensor:
    return net.head(net.space(net.conv1(x)).sum(1, keepdim=True))


@pattern(
    "squeezed and unsqueezed",
    lambda: layers(conv1=conv(3, 8), fc=nn.Linear(8, 6), head=nn.Linear(6, 3)),
    prunable="conv1 fc",
    layout="conv1: a 3 3 3; fc: b a; head.weight: 3 b",
)
def squeezed(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).amax((2, 3), keepdim=True).squeeze()
    return net.head(net.fc(h)[..., None, None].relu().flatten(1))


@pattern(
    "heads by attributes, then merged",
    lambda: layers(
        fc=nn.Linear(5, 12), mix=nn.Linear(7, 7), head=nn.Linear(12, 3), heads=3, head_dim=4
    ),
    inputs=lambda: (random(2, 7, 5),),
    prunable="fc",
    layout="fc: (a b) 5; head.weight: 3 (a b)",
)
def heads(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    h = net.fc(x).view(b, n, net.heads, net.head_dim).permute(0, 2, 3, 1)
    return net.head(net.mix(h).permute(0, 3, 1, 2).reshape(b, n, net.heads * net.head_dim))


@pattern(
    "heads by a literal number, as large as it comes",
    lambda: layers(fc=nn.Linear(5, 12), mix=nn.Linear(7, 7), head=nn.Linear(12, 3)),
    inputs=lambda: (random(2, 7, 5),),
    prunable="fc",
    layout="fc: (3 a) 5; head.weight: 3 (3 a)",
)
def literal_heads(net: Net, x: Tensor) -> Tensor:
    h = net.fc(x).unflatten(-1, (3, -1)).permute(0, 2, 3, 1)
    return net.head(net.mix(h).permute(0, 3, 1, 2).flatten(2))


@pattern(
    "channels read from a stride",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    why="the literal or fixed size 8 in reshape",
)
def from_stride(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).contiguous()
    channels = h.stride(0) // 36
    return net.head(h.reshape(2, channels, 36).reshape(2, channels, 6, 6))


@pattern(
    "as_strided",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    why="the operator aten::as_strided, which has no rule, in as_strided",
)
def as_strided(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).contiguous()
    return net.head(h.as_strided((2, 8, 6, 6), (288, 36, 6, 1)).relu())
