"""Gates: one tensor scales another, channel by channel, in halves, or all channels alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pattern import Net, conv, layers, pattern, vector, weight


@pattern(
    "squeeze and excite",
    lambda: layers(
        conv1=conv(3, 8), squeeze=nn.Linear(8, 6), excite=nn.Linear(6, 8), head=conv(8, 4)
    ),
    prunable="conv1 squeeze",
    layout="conv1: a 3 3 3; squeeze: b a; excite: a b; head.weight: 4 a 3 3",
)
def squeeze_excite(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    gate = net.excite(net.squeeze(h.mean((2, 3))).relu()).sigmoid()
    return net.head(h * gate[:, :, None, None])


@pattern(
    "squeeze and excite by convolutions, in a residual",
    lambda: layers(
        conv1=conv(3, 8),
        conv2=conv(8, 8),
        pool=nn.AdaptiveAvgPool2d(1),
        squeeze=nn.Conv2d(8, 6, 1),
        excite=nn.Conv2d(6, 8, 1),
        head=conv(8, 4),
    ),
    prunable="conv1 squeeze",
    layout=(
        "conv1: a 3 3 3; conv2: a a 3 3; squeeze: b a 1 1; excite: a b 1 1; head.weight: 4 a 3 3"
    ),
)
def squeeze_excite_residual(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    y = net.conv2(h)
    y = y * F.hardsigmoid(net.excite(F.silu(net.squeeze(net.pool(y)))))
    return net.head(h + y)


@pattern(
    "a gate of one channel",
    lambda: layers(conv1=conv(3, 8), gate=conv(8, 1), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; gate.weight: 1 a 3 3; head.weight: 4 a 3 3",
)
def one_channel(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    return net.head(h * net.gate(h).sigmoid())


@pattern(
    "a gate of one number for the whole image",
    lambda: layers(conv1=conv(3, 8), fc=nn.Linear(8, 1), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; fc.weight: 1 a; head.weight: 4 a 3 3",
)
def one_number(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    return net.head(h * net.fc(h.mean((2, 3))).view(-1, 1, 1, 1).exp())


@pattern(
    "a gate from the mean and maximum over channels",
    lambda: layers(conv1=conv(3, 8), gate=conv(2, 1), head=conv(8, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="a mean over it in mean",
)
def mean_gate(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    seen = torch.cat([h.mean(1, keepdim=True), h.amax(1, keepdim=True)], 1)
    return net.head(h * net.gate(seen).sigmoid())


@pattern(
    "GLU",
    lambda: layers(conv1=conv(3, 16), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (a + a) 3 3 3; head.weight: 4 a 3 3",
)
def glu(net: Net, x: Tensor) -> Tensor:
    return net.head(F.glu(net.conv1(x), 1))


@pattern(
    "GLU between linear layers by torch's own layer",
    lambda: layers(fc1=nn.Linear(5, 16), glu=nn.GLU(), fc2=nn.Linear(8, 6), head=nn.Linear(6, 3)),
    inputs=vector,
    prunable="fc1 fc2",
    layout="fc1: (a + a) 5; fc2: b a; head.weight: 3 b",
)
def glu_layer(net: Net, x: Tensor) -> Tensor:
    return net.head(net.fc2(net.glu(net.fc1(x))))


@pattern(
    "a gated unit by chunk",
    lambda: layers(fc1=nn.Linear(5, 16), fc2=nn.Linear(8, 6), head=nn.Linear(6, 3)),
    inputs=vector,
    prunable="fc1 fc2",
    layout="fc1: (a + a) 5; fc2: b a; head.weight: 3 b",
)
def chunk_gate(net: Net, x: Tensor) -> Tensor:
    value, gate = net.fc1(x).chunk(2, -1)
    return net.head(net.fc2(value * F.gelu(gate)))


@pattern(
    "a gated unit by two layers",
    lambda: layers(
        up=nn.Linear(5, 8), gate=nn.Linear(5, 8), down=nn.Linear(8, 6), head=nn.Linear(6, 3)
    ),
    inputs=vector,
    prunable="up down",
    layout="up: a 5; gate: a 5; down: b a; head.weight: 3 b",
)
def two_layer_gate(net: Net, x: Tensor) -> Tensor:
    return net.head(net.down(net.up(x) * F.silu(net.gate(x))))


@pattern(
    "maxout over neighbours",
    lambda: layers(conv1=conv(3, 16), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (a 2) 3 3 3; head.weight: 4 a 3 3",
)
def maxout(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h.view(h.shape[0], -1, 2, *h.shape[2:]).max(2).values)


@pattern(
    "maxout over halves",
    lambda: layers(conv1=conv(3, 16), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: (a + a) 3 3 3; head.weight: 4 a 3 3",
)
def maxout_halves(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.maximum(*net.conv1(x).chunk(2, 1)))


@pattern(
    "maxout over a reshaped dimension of the channels' own size",
    lambda: layers(fc1=nn.Linear(5, 16), head=nn.Linear(8, 3)),
    inputs=vector,
    prunable="fc1",
    layout="fc1: (2 a) 5; head.weight: 3 a",
)
def maxout_linear(net: Net, x: Tensor) -> Tensor:
    h = net.fc1(x)
    return net.head(h.reshape(x.shape[0], 2, h.shape[1] // 2).amax(1))


@pattern(
    "layer scale",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 8), gamma=weight(8), head=conv(8, 4)),
    prunable="conv1",
    layout="gamma: a; conv1: a 3 3 3; conv2: a a 3 3; head.weight: 4 a 3 3",
)
def layer_scale(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h + net.conv2(h.relu()) * net.gamma.view(1, -1, 1, 1))


@pattern(
    "a learned bias of the whole image",
    lambda: layers(conv1=conv(3, 8), place=weight(1, 8, 6, 6), shift=weight(1), head=conv(8, 4)),
    prunable="conv1",
    layout="place: 1 a 6 6; conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def image_bias(net: Net, x: Tensor) -> Tensor:
    return net.head((net.conv1(x) + net.place).relu() * net.shift)


@pattern(
    "a highway",
    lambda: layers(conv1=conv(3, 8), way=conv(8, 8), gate=conv(8, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; way: a a 3 3; gate: a a 3 3; head.weight: 4 a 3 3",
)
def highway(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    gate = net.gate(h).sigmoid()
    return net.head(gate * net.way(h).relu() + (1 - gate) * h)


@pattern(
    "a gate that is not zero at zero, summed over channels",
    lambda: layers(conv1=conv(3, 8), gate=conv(3, 8), head=conv(1, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; gate: a 3 3 3",
)
def gate_sum(net: Net, x: Tensor) -> Tensor:
    return net.head((net.conv1(x) * (1 + net.gate(x).sigmoid())).sum(1, keepdim=True))


@pattern(
    "a shift that is not zero at zero, summed over channels",
    lambda: layers(conv1=conv(3, 8), gate=conv(3, 8), head=conv(1, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; gate: a~ 3 3 3",
    why="a sum over it, where it is not zero when zeroed, in sum",
)
def shift_sum(net: Net, x: Tensor) -> Tensor:
    return net.head((net.conv1(x) + net.gate(x).sigmoid()).sum(1, keepdim=True))


@pattern(
    "scale and shift from another layer",
    lambda: layers(conv1=conv(3, 8), film=nn.Linear(3, 16), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; film: (a + a) 3; head.weight: 4 a 3 3",
)
def film(net: Net, x: Tensor) -> Tensor:
    scale, shift = net.film(x.mean((2, 3)))[..., None, None].chunk(2, 1)
    return net.head((net.conv1(x) * (1 + scale) + shift).relu())


@pattern(
    "a softmax between two branches",
    lambda: layers(
        conv1=conv(3, 8),
        conv2=conv(3, 8),
        squeeze=nn.Linear(8, 6),
        fc1=nn.Linear(6, 8),
        fc2=nn.Linear(6, 8),
        head=conv(8, 4),
    ),
    prunable="conv1 squeeze",
    layout=(
        "conv1: a 3 3 3; conv2: a 3 3 3; squeeze: b a; fc1: a b; fc2: a b; head.weight: 4 a 3 3"
    ),
)
def selective(net: Net, x: Tensor) -> Tensor:
    branches = torch.stack([net.conv1(x).relu(), net.conv2(x).relu()], 1)
    z = net.squeeze(branches.sum(1).mean((2, 3))).relu()
    share = torch.stack([net.fc1(z), net.fc2(z)], 1).softmax(1)
    return net.head((branches * share[..., None, None]).sum(1))


@pattern(
    "experts mixed by a softmax over them",
    lambda: layers(
        route=nn.Linear(5, 3),
        experts=nn.ModuleList(nn.Linear(5, 8) for _ in range(3)),
        head=nn.Linear(8, 3),
    ),
    inputs=vector,
    prunable="experts.0",
    layout="experts.0: a 5; experts.1: a 5; experts.2: a 5; head.weight: 3 a",
)
def experts(net: Net, x: Tensor) -> Tensor:
    share = net.route(x).softmax(-1)
    parts = torch.stack([expert(x).relu() for expert in net.experts], 1)
    return net.head((share.unsqueeze(-1) * parts).sum(1))


@pattern(
    "a softmax over space",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def space_softmax(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h.flatten(2).softmax(-1).view_as(h))


@pattern(
    "a softmax over space, summed over channels",
    lambda: layers(conv1=conv(3, 8), head=conv(1, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3",
    why="a sum over it, where it is not zero when zeroed, in sum",
)
def space_softmax_sum(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h.flatten(2).softmax(-1).view_as(h).sum(1, keepdim=True))


@pattern(
    "a learned threshold for each channel",
    lambda: layers(conv1=conv(3, 8), threshold=weight(8, 1, 1), head=conv(8, 4)),
    prunable="conv1",
    layout="threshold: a 1 1; conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def soft_threshold(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h.sign() * (h.abs() - net.threshold).relu())
