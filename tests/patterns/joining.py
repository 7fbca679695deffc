"""Joining: concatenation makes sums of axes, stacking a fixed dimension, padding adds constants."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pattern import Net, conv, layers, pattern, vector, weight


@pattern(
    "concatenation",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 6), norm=nn.BatchNorm2d(14), head=conv(14, 4)),
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: b 3 3 3; norm: (a + b); head.weight: 4 (a + b) 3 3",
)
def concat(net: Net, x: Tensor) -> Tensor:
    return net.head(net.norm(torch.cat([net.conv1(x), net.conv2(x)], 1)).relu())


@pattern(
    "a dense block",
    lambda: layers(
        conv1=conv(3, 8),
        norm1=nn.BatchNorm2d(8),
        grow1=conv(8, 4),
        norm2=nn.BatchNorm2d(12),
        grow2=conv(12, 5),
        head=conv(17, 4),
    ),
    prunable="conv1 grow1 grow2",
    layout=(
        "conv1: a 3 3 3; norm1: a; grow1: b a 3 3; norm2: (a + b); grow2: c (a + b) 3 3; "
        "head.weight: 4 (a + b + c) 3 3"
    ),
)
def dense(net: Net, x: Tensor) -> Tensor:
    features = [net.conv1(x)]
    for norm, grow in ((net.norm1, net.grow1), (net.norm2, net.grow2)):
        features.append(grow(norm(torch.cat(features, 1)).relu()))
    return net.head(torch.cat(features, 1))


@pattern(
    "concatenation with the raw input",
    lambda: layers(conv1=conv(3, 8), head=conv(11, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 (3 + a) 3 3",
)
def concat_input(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.cat([x, net.conv1(x).relu()], 1))


@pattern(
    "concatenation of a tensor with itself",
    lambda: layers(conv1=conv(3, 8), head=conv(16, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 (a + a) 3 3",
)
def concat_itself(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(torch.cat([h.relu(), (-h).relu()], 1))


@pattern(
    "concatenation on the last dimension",
    lambda: layers(fc1=nn.Linear(5, 8), fc2=nn.Linear(5, 6), head=nn.Linear(14, 3)),
    inputs=vector,
    prunable="fc1 fc2",
    layout="fc1: a 5; fc2: b 5; head.weight: 3 (a + b)",
)
def concat_last(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.cat((net.fc1(x), net.fc2(x)), dim=-1).relu())


@pattern(
    "concatenation on the batch",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a 3 3 3; head.weight: 4 a 3 3",
)
def concat_batch(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.cat([net.conv1(x), net.conv2(x)]).relu())


@pattern(
    "concatenation in another order for each consumer",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 8), head1=conv(16, 4), head2=conv(16, 4)),
    prunable="conv1 conv2",
    layout=(
        "conv1: a 3 3 3; conv2: b 3 3 3; head1.weight: 4 (a + b) 3 3; head2.weight: 4 (b + a) 3 3"
    ),
)
def concat_orders(net: Net, x: Tensor) -> Tensor:
    a, b = net.conv1(x).relu(), net.conv2(x).relu()
    return net.head1(torch.cat([a, b], 1)) + net.head2(torch.cat([b, a], 1))


@pattern(
    "the sum of a concatenation and a convolution",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 6), conv3=conv(3, 14), head=conv(14, 4)),
    prunable="conv1 conv2 conv3",
    layout="conv1: a 3 3 3; conv2: b 3 3 3; conv3: (a + b) 3 3 3; head.weight: 4 (a + b) 3 3",
)
def concat_summed(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.cat([net.conv1(x), net.conv2(x)], 1) + net.conv3(x))


@pattern(
    "the sum of two concatenations with other boundaries",
    lambda: layers(
        conv1=conv(3, 4), conv2=conv(3, 8), conv3=conv(3, 7), conv4=conv(3, 5), head=conv(12, 4)
    ),
    prunable="conv1 conv2 conv3 conv4",
    layout=(
        "conv1: a 3 3 3; conv2: (b + c) 3 3 3; conv3: (a + b) 3 3 3; conv4: c 3 3 3; "
        "head.weight: 4 (a + b + c) 3 3"
    ),
)
def concat_boundaries(net: Net, x: Tensor) -> Tensor:
    left = torch.cat([net.conv1(x), net.conv2(x)], 1)
    return net.head((left + torch.cat([net.conv3(x), net.conv4(x)], 1)).relu())


@pattern(
    "the sum of a concatenation in both orders",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 8), head=conv(16, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a 3 3 3; head.weight: 4 (a + a) 3 3",
)
def concat_crossed(net: Net, x: Tensor) -> Tensor:
    a, b = net.conv1(x), net.conv2(x)
    return net.head(torch.cat([a, b], 1) + torch.cat([b, a], 1).relu())


@pattern(
    "a constant concatenated",
    lambda: layers(conv1=conv(3, 8), head=conv(9, 4)),
    prunable="conv1",
    layout="conv1: (1 + a) 3 3 3; head.weight: 4 (1 + a + 1) 3 3",
)
def constant(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(torch.cat([h, torch.ones_like(h[:, :1])], 1))


@pattern(
    "a constant made from literals concatenated",
    lambda: layers(conv1=conv(3, 8), head=conv(10, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 (2 + a) 3 3",
)
def made_constant(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(torch.cat([h.new_full((2, 2, 6, 6), 0.5), h], 1))


@pattern(
    "coordinates concatenated from a buffer",
    lambda: layers(conv1=conv(3, 8), grid=nn.Buffer(torch.rand(2, 6, 6)), head=conv(10, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 (a + b) 3 3; grid: b 6 6",
)
def coordinates(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.cat([net.conv1(x), net.grid.expand(x.shape[0], -1, -1, -1)], 1))


@pattern(
    "a vector spread over the image and concatenated",
    lambda: layers(conv1=conv(3, 8), fc=nn.Linear(3, 6), head=conv(14, 4)),
    prunable="conv1 fc",
    layout="conv1: a 3 3 3; fc: b 3; head.weight: 4 (a + b) 3 3",
)
def spread(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    context = net.fc(x.mean((2, 3)))[:, :, None, None].expand(-1, -1, *h.shape[2:])
    return net.head(torch.cat([h, context], 1))


@pattern(
    "the mean over channels concatenated",
    lambda: layers(conv1=conv(3, 8), head=conv(9, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; head.weight: 4 (a~ + 1) 3 3",
    why="a mean over it in mean",
)
def concat_mean(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(torch.cat([h, h.mean(1, keepdim=True)], 1))


@pattern(
    "a learned token before the others",
    lambda: layers(
        token=weight(1, 1, 8),
        patches=nn.Conv2d(3, 8, 3, stride=3),
        place=weight(1, 5, 8),
        head=nn.Linear(8, 3),
    ),
    prunable="patches",
    frozen="place:1",
    layout="token: 1 1 a; place: 1 5 a; patches: a 3 3 3; head.weight: 3 a",
)
def learned_token(net: Net, x: Tensor) -> Tensor:
    h = net.patches(x).flatten(2).transpose(1, 2)
    h = torch.cat([net.token.expand(x.shape[0], -1, -1), h], 1) + net.place
    return net.head(h[:, 0].tanh())


@pattern(
    "a U with a transposed convolution",
    lambda: layers(
        conv1=conv(3, 8),
        down=conv(8, 10, stride=2),
        up=nn.ConvTranspose2d(10, 6, 2, stride=2),
        merge=conv(14, 5),
        head=conv(5, 4),
    ),
    prunable="conv1 down up merge",
    layout=(
        "conv1: a 3 3 3; down: b a 3 3; up.weight: b c 2 2; up.bias: c; merge: d (c + a) 3 3; "
        "head.weight: 4 d 3 3"
    ),
)
def u_shape(net: Net, x: Tensor) -> Tensor:
    fine = net.conv1(x).relu()
    coarse = net.up(net.down(fine).relu())
    return net.head(net.merge(torch.cat([coarse, fine], 1)).relu())


@pattern(
    "hierarchical residuals between the parts of a chunk",
    lambda: layers(conv1=conv(3, 12), inner1=conv(4, 4), inner2=conv(4, 4), head=conv(12, 4)),
    prunable="conv1",
    layout=(
        "conv1: (a + a + a) 3 3 3; inner1: a a 3 3; inner2: b a 3 3; head.weight: 4 (a + a + b) 3 3"
    ),
)
def hierarchical(net: Net, x: Tensor) -> Tensor:
    a, b, c = net.conv1(x).chunk(3, 1)
    b = net.inner1(b).relu()
    c = net.inner2(b + c).relu()
    return net.head(torch.cat([a, b, c], 1))


@pattern(
    "a ghost: features with their own cheap copies",
    lambda: layers(conv1=conv(3, 8), cheap=conv(8, 8, groups=8), head=conv(16, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; cheap: a 1 3 3; head.weight: 4 (a + a) 3 3",
)
def ghost(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    return net.head(torch.cat([h, net.cheap(h)], 1))


@pattern(
    "parts stacked and summed",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a 3 3 3; head.weight: 4 a 3 3",
)
def stacked(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.stack([net.conv1(x), net.conv2(x)]).sum(0).relu())


@pattern(
    "parts stacked and interleaved",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 8), head=conv(16, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a 3 3 3; head.weight: 4 (a 2) 3 3",
)
def interleaved(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.stack([net.conv1(x), net.conv2(x)], 2).flatten(1, 2).relu())


@pattern(
    "parts stacked one after the other",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 8), head=conv(16, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a 3 3 3; head.weight: 4 (2 a) 3 3",
)
def stacked_first(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.stack([net.conv1(x), net.conv2(x)], 1).flatten(1, 2).relu())


@pattern(
    "hstack and vstack",
    lambda: layers(fc1=nn.Linear(5, 8), fc2=nn.Linear(5, 6), head=nn.Linear(14, 3)),
    inputs=vector,
    prunable="fc1 fc2",
    layout="fc1: a 5; fc2: b 5; head.weight: 3 (a + b)",
)
def hstack(net: Net, x: Tensor) -> Tensor:
    h = torch.hstack([net.fc1(x), net.fc2(x)])
    return net.head(torch.vstack([h, h.relu()]))


@pattern(
    "a shortcut by strided slice and zero padding, computed",
    lambda: layers(conv1=conv(3, 8), block=conv(8, 16, stride=2), head=conv(16, 4), planes=16),
    prunable="conv1",
    layout="conv1: a 3 3 3; block: (b + a + b) a 3 3; head.weight: 4 (b + a + b) 3 3",
)
def option_a(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    short = F.pad(h[:, :, ::2, ::2], (0, 0, 0, 0, net.planes // 4, net.planes // 4), "constant", 0)
    return net.head((net.block(h) + short).relu())


@pattern(
    "a shortcut by strided slice and zero padding, literal",
    lambda: layers(conv1=conv(3, 8), block=conv(8, 16, stride=2), head=conv(16, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; block: (4 + a + 4) a 3 3; head.weight: 4 (4 + a + 4) 3 3",
)
def option_a_literal(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    return net.head((net.block(h) + F.pad(h[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))).relu())


@pattern(
    "a shortcut padded to the other's size",
    lambda: layers(conv1=conv(3, 8), block=conv(8, 12, stride=2), head=conv(12, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; block: (a + b) a 3 3; head.weight: 4 (a + b) 3 3",
)
def shortcut_to_size(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    y = net.block(h)
    short = F.avg_pool2d(h, 2)
    return net.head(
        y + torch.cat([short, short.new_zeros(2, y.shape[1] - short.shape[1], 3, 3)], 1)
    )


@pattern(
    "channels padded with a constant that is not zero",
    lambda: layers(conv1=conv(3, 8), head=conv(10, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 (1 + a + 1) 3 3",
)
def padded_channels(net: Net, x: Tensor) -> Tensor:
    return net.head(F.pad(net.conv1(x), (0, 0, 0, 0, 1, 1), value=1.0))
