"""Convolutions of every kind: groups, depth, transposition, other ranks, windows taken by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pattern import Net, conv, layers, pattern, random, weight


@pattern(
    "grouped convolution",
    lambda: layers(conv1=conv(3, 8), grouped=conv(8, 12, groups=2), head=conv(12, 4)),
    prunable="conv1 grouped",
    layout="conv1: (a b) 3 3 3; grouped: (a c) b 3 3; head.weight: 4 (a c) 3 3",
)
def grouped(net: Net, x: Tensor) -> Tensor:
    return net.head(net.grouped(net.conv1(x).relu()).relu())


@pattern(
    "grouped convolutions with other groups each",
    lambda: layers(
        conv1=conv(3, 8), two=conv(8, 8, groups=2), four=conv(8, 8, groups=4), head=conv(8, 4)
    ),
    prunable="conv1 two four",
    layout=(
        "conv1: (a b) 3 3 3; two: (a c d) b 3 3; four: (a c e) d 3 3; head.weight: 4 (a c e) 3 3"
    ),
)
def regrouped(net: Net, x: Tensor) -> Tensor:
    return net.head(net.four(net.two(net.conv1(x).relu()).relu()).relu())


@pattern(
    "grouped convolution in a residual",
    lambda: layers(
        conv1=conv(3, 8),
        inner=conv(8, 12, 1),
        grouped=conv(12, 12, groups=3),
        outer=conv(12, 8, 1),
        head=conv(8, 4),
    ),
    prunable="conv1 inner grouped",
    layout=(
        "conv1: a 3 3 3; inner: (b c) a 1 1; grouped: (b d) c 3 3; outer: a (b d) 1 1; "
        "head.weight: 4 a 3 3"
    ),
)
def grouped_residual(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h + net.outer(net.grouped(net.inner(h).relu()).relu()))


@pattern(
    "depthwise convolution",
    lambda: layers(conv1=conv(3, 8), depthwise=conv(8, 8, groups=8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; depthwise: a 1 3 3; head.weight: 4 a 3 3",
)
def depthwise(net: Net, x: Tensor) -> Tensor:
    return net.head(net.depthwise(net.conv1(x).relu()).relu())


@pattern(
    "depth multiplier 2",
    lambda: layers(conv1=conv(3, 8), depthwise=conv(8, 16, groups=8), head=conv(16, 4)),
    prunable="conv1 depthwise",
    layout="conv1: a 3 3 3; depthwise: (a b) 1 3 3; head.weight: 4 (a b) 3 3",
)
def multiplier(net: Net, x: Tensor) -> Tensor:
    return net.head(net.depthwise(net.conv1(x).relu()).relu())


@pattern(
    "depthwise blur by an expanded buffer",
    lambda: layers(
        conv1=conv(3, 8), blur=nn.Buffer(torch.full((1, 1, 3, 3), 1 / 9)), head=conv(8, 4)
    ),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def blur(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    channels = h.shape[1]
    return net.head(F.conv2d(h, net.blur.expand(channels, 1, 3, 3), stride=2, groups=channels))


@pattern(
    "depthwise blur with literal groups",
    lambda: layers(
        conv1=conv(3, 8), blur=nn.Buffer(torch.full((1, 1, 3, 3), 1 / 9)), head=conv(8, 4)
    ),
    frozen="conv1.weight:0 head.weight:1",
    why="the literal or fixed groups 8 in conv2d",
)
def literal_blur(net: Net, x: Tensor) -> Tensor:
    return net.head(F.conv2d(net.conv1(x).relu(), net.blur.repeat(8, 1, 1, 1), groups=8))


@pattern(
    "transposed convolution",
    lambda: layers(conv1=conv(3, 8), up=nn.ConvTranspose2d(8, 6, 2, stride=2), head=conv(6, 4)),
    prunable="conv1 up",
    layout="conv1: a 3 3 3; up.weight: a b 2 2; up.bias: b; head.weight: 4 b 3 3",
)
def transposed(net: Net, x: Tensor) -> Tensor:
    return net.head(net.up(net.conv1(x).relu()).relu())


@pattern(
    "grouped transposed convolution",
    lambda: layers(
        conv1=conv(3, 8), up=nn.ConvTranspose2d(8, 12, 2, stride=2, groups=2), head=conv(12, 4)
    ),
    prunable="conv1 up",
    layout="conv1: (a b) 3 3 3; up.weight: (a b) c 2 2; up.bias: (a c); head.weight: 4 (a c) 3 3",
)
def grouped_transposed(net: Net, x: Tensor) -> Tensor:
    return net.head(net.up(net.conv1(x).relu()).relu())


@pattern(
    "depthwise transposed convolution",
    lambda: layers(
        conv1=conv(3, 8), up=nn.ConvTranspose2d(8, 8, 2, stride=2, groups=8), head=conv(8, 4)
    ),
    prunable="conv1",
    layout="conv1: a 3 3 3; up: a 1 2 2; head.weight: 4 a 3 3",
)
def depthwise_transposed(net: Net, x: Tensor) -> Tensor:
    return net.head(net.up(net.conv1(x).relu()).relu())


@pattern(
    "convolution in one dimension",
    lambda: layers(
        conv1=nn.Conv1d(3, 8, 3),
        norm=nn.BatchNorm1d(8),
        up=nn.ConvTranspose1d(8, 6, 3),
        head=nn.Conv1d(6, 4, 1),
    ),
    inputs=lambda: (random(2, 3, 9),),
    prunable="conv1 up",
    layout="conv1: a 3 3; norm: a; up.weight: a b 3; up.bias: b; head.weight: 4 b 1",
)
def one_dimension(net: Net, x: Tensor) -> Tensor:
    return net.head(net.up(net.norm(net.conv1(x)).relu()).relu())


@pattern(
    "convolution in three dimensions",
    lambda: layers(
        conv1=nn.Conv3d(3, 8, 2),
        norm=nn.BatchNorm3d(8),
        up=nn.ConvTranspose3d(8, 6, 2),
        head=nn.Conv3d(6, 4, 1),
    ),
    inputs=lambda: (random(2, 3, 4, 4, 4),),
    prunable="conv1 up",
    layout="conv1: a 3 2 2 2; norm: a; up.weight: a b 2 2 2; up.bias: b; head.weight: 4 b 1 1 1",
)
def three_dimensions(net: Net, x: Tensor) -> Tensor:
    return net.head(F.max_pool3d(net.up(net.norm(net.conv1(x)).relu()), 2))


@pattern(
    "padding by name and by mode",
    lambda: layers(
        conv1=nn.Conv2d(3, 8, 3, padding="same"),
        conv2=nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
        conv3=nn.Conv2d(8, 6, 3, padding=1, padding_mode="circular"),
        head=nn.Conv2d(6, 4, 3, padding="valid"),
    ),
    prunable="conv1 conv2 conv3",
    layout="conv1: a 3 3 3; conv2: b a 3 3; conv3: c b 3 3; head.weight: 4 c 3 3",
)
def padded(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv3(net.conv2(net.conv1(x).relu()).relu()).relu())


@pattern(
    "unfold",
    lambda: layers(conv1=conv(3, 8), kernel=weight(6, 8, 3, 3), head=nn.Linear(6, 4)),
    prunable="conv1 kernel",
    layout="kernel: a b 3 3; conv1: b 3 3 3; head.weight: 4 a",
)
def unfold(net: Net, x: Tensor) -> Tensor:
    columns = F.unfold(net.conv1(x).relu(), 3)
    return net.head((net.kernel.flatten(1) @ columns).relu().transpose(1, 2))


@pattern(
    "unfold and fold around a linear layer",
    lambda: layers(conv1=conv(3, 8), fc=nn.Linear(32, 24), head=conv(6, 4)),
    prunable="conv1 fc",
    layout="conv1: a 3 3 3; fc: (b 4) (a 4); head.weight: 4 b 3 3",
)
def fold(net: Net, x: Tensor) -> Tensor:
    patches = F.unfold(net.conv1(x).relu(), 2, stride=2).transpose(1, 2)
    return net.head(F.fold(net.fc(patches).transpose(1, 2), (6, 6), 2, stride=2))


@pattern(
    "windows by Tensor.unfold",
    lambda: layers(conv1=conv(3, 8), kernel=weight(6, 8, 3, 3), head=conv(6, 4)),
    prunable="conv1 kernel",
    layout="kernel: a b 3 3; conv1: b 3 3 3; head.weight: 4 a 3 3",
)
def windows(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu().unfold(2, 3, 1).unfold(3, 3, 1)
    return net.head(torch.einsum("bchwij,ocij->bohw", h, net.kernel).relu())


@pattern(
    "a kernel masked by a buffer",
    lambda: layers(
        conv1=conv(3, 8), conv2=conv(8, 6), seen=nn.Buffer(torch.ones(6, 8, 3, 3)), head=conv(6, 4)
    ),
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: b a 3 3; head.weight: 4 b 3 3; seen: b a 3 3",
)
def masked_kernel(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    return net.head(F.conv2d(h, net.conv2.weight * net.seen, net.conv2.bias, padding=1).relu())


@pattern(
    "a convolution across channels",
    lambda: layers(
        conv1=conv(3, 8), across=nn.Conv1d(1, 1, 3, padding=1, bias=False), head=conv(8, 4)
    ),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="a window that slides over it in conv1d",
)
def across_channels(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    gate = net.across(h.mean((2, 3)).unsqueeze(1)).transpose(1, 2).unsqueeze(-1)
    return net.head(h * gate.sigmoid())


@pattern(
    "channels as the depth of a convolution",
    lambda: layers(conv1=conv(3, 8), volume=nn.Conv3d(1, 4, 3, padding=1), head=nn.Conv3d(4, 2, 1)),
    frozen="conv1.weight:0",
    layout="volume: a 1 3 3 3; head.weight: 2 a 1 1 1",
)
def depth(net: Net, x: Tensor) -> Tensor:
    return net.head(net.volume(net.conv1(x).unsqueeze(1)).relu())


@pattern(
    "response normalisation over neighbouring channels",
    lambda: layers(conv1=conv(3, 8), norm=nn.LocalResponseNorm(3), head=conv(8, 4)),
    why="a window over it in avg_pool3d",
)
def response(net: Net, x: Tensor) -> Tensor:
    return net.head(net.norm(net.conv1(x).relu()))


@pattern(
    "a maximum over neighbouring channels",
    lambda: layers(conv1=conv(3, 8), head=conv(4, 4)),
    why="a window over it in max_pool1d",
)
def channel_pool(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).flatten(2).transpose(1, 2)
    return net.head(F.max_pool1d(h, 2).transpose(1, 2).unflatten(2, (6, 6)))


@pattern(
    "channels resized",
    lambda: layers(conv1=conv(3, 8), head=conv(4, 4)),
    why="a window over it in upsample_linear1d",
)
def channel_resize(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).flatten(2).transpose(1, 2)
    return net.head(F.interpolate(h, size=4, mode="linear").transpose(1, 2).unflatten(2, (6, 6)))


@pattern(
    "each channel convolved by one shared kernel",
    lambda: layers(conv1=conv(3, 8), shared=conv(1, 1), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def folded_channels(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    b, c, *space = h.shape
    return net.head(net.shared(h.reshape(b * c, 1, *space)).reshape(b, c, *space).relu())


@pattern(
    "a kernel for each sample, mixed from experts",
    lambda: layers(
        conv1=conv(3, 8), route=nn.Linear(3, 2), kernels=weight(2, 6, 8, 3, 3), head=conv(6, 4)
    ),
    prunable="conv1 kernels",
    layout="kernels: a b c 3 3; conv1: c 3 3 3; route: a 3; head.weight: 4 b 3 3",
)
def mixed_kernels(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    kernels = torch.einsum("be,eoihw->boihw", net.route(x.mean((2, 3))).sigmoid(), net.kernels)
    b, o, i, *window = kernels.shape
    out = F.conv2d(
        h.reshape(1, b * i, *h.shape[2:]), kernels.reshape(b * o, i, *window), padding=1, groups=b
    )
    return net.head(out.reshape(b, o, *out.shape[2:]).relu())


@pattern(
    "a kernel modulated and demodulated by a style",
    lambda: layers(
        conv1=conv(3, 8), style=nn.Linear(3, 8), kernel=weight(6, 8, 3, 3), head=conv(6, 4)
    ),
    prunable="conv1 kernel",
    layout="kernel: a b 3 3; conv1: b 3 3 3; style: b 3; head.weight: 4 a 3 3",
)
def modulated(net: Net, x: Tensor) -> Tensor:
    scale = net.style(x.mean((2, 3)))
    size = torch.einsum("oihw,bi->bo", net.kernel.square(), scale.square()) + 1e-4
    h = net.conv1(x).relu() * scale[:, :, None, None]
    return net.head((F.conv2d(h, net.kernel, padding=1) * size.rsqrt()[:, :, None, None]).relu())


@pattern(
    "a kernel that another layer computes",
    lambda: layers(conv1=conv(3, 8), kernel=nn.Linear(3, 432), width=8, out=6, head=conv(6, 4)),
    prunable="conv1 kernel",
    layout="conv1: a 3 3 3; kernel: (b a 9) 3; head.weight: 4 b 3 3",
)
def computed_kernel(net: Net, x: Tensor) -> Tensor:
    kernel = net.kernel(x.mean((0, 2, 3))).view(net.out, net.width, 3, 3)
    return net.head(F.conv2d(net.conv1(x).relu(), kernel, padding=1).relu())


@pattern(
    "a binarised kernel scaled by each filter's sum",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 6), head=conv(6, 4)),
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2.weight: b a 3 3; head.weight: 4 b 3 3",
)
def binarised(net: Net, x: Tensor) -> Tensor:
    w = net.conv2.weight
    return net.head(
        F.conv2d(net.conv1(x).relu(), w.sign() * w.abs().sum((1, 2, 3), keepdim=True), padding=1)
    )


@pattern(
    "a binarised kernel scaled by each filter's mean",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 6), head=conv(6, 4)),
    prunable="conv2",
    inexact="conv1",
    layout="conv1: a~ 3 3 3; conv2.weight: b a~ 3 3; head.weight: 4 b 3 3",
)
def binarised_mean(net: Net, x: Tensor) -> Tensor:
    w = net.conv2.weight
    return net.head(
        F.conv2d(net.conv1(x).relu(), w.sign() * w.abs().mean((1, 2, 3), keepdim=True), padding=1)
    )


@pattern(
    "a low-rank update of a kernel",
    lambda: layers(
        conv1=conv(3, 8),
        conv2=nn.Conv2d(8, 6, 1),
        down=weight(4, 8),
        up=weight(6, 4),
        head=conv(6, 4),
    ),
    prunable="conv1 conv2.weight:0 down:0",
    layout="down: a b; up: c a; conv1: b 3 3 3; conv2: c b 1 1; head.weight: 4 c 3 3",
)
def low_rank(net: Net, x: Tensor) -> Tensor:
    kernel = net.conv2.weight + (net.up @ net.down)[:, :, None, None]
    return net.head(F.conv2d(net.conv1(x).relu(), kernel, net.conv2.bias).relu())


@pattern(
    "an image sampled where another layer says",
    lambda: layers(conv1=conv(3, 8), where=conv(3, 2), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def sampled(net: Net, x: Tensor) -> Tensor:
    grid = net.where(x).tanh().permute(0, 2, 3, 1)
    return net.head(F.grid_sample(net.conv1(x), grid, align_corners=False))
