"""Reductions over channels: a sum passes over removed units; a mean, a maximum, a softmax
does not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pattern import Net, add, conv, layers, pattern
from .written import WHYS

Function = Callable[[Tensor], Tensor]

OVER_CHANNELS_EXACT: dict[str, Function] = {
    "sum": lambda h: h.sum(1, keepdim=True),
    "norm": lambda h: h.norm(dim=1, keepdim=True),
    "norm of order 1": lambda h: torch.linalg.vector_norm(h, 1, dim=1, keepdim=True),
    "sum of squares": lambda h: h.square().sum(1, keepdim=True),
    "sum by einsum": lambda h: torch.einsum("bchw->bhw", h).unsqueeze(1),
}
OVER_CHANNELS_INEXACT: dict[str, Function] = {
    "mean": lambda h: h.mean(1, keepdim=True),
    "maximum": lambda h: h.max(1, keepdim=True).values,
    "amax": lambda h: h.amax(1, keepdim=True),
    "minimum": lambda h: h.min(dim=1, keepdim=True)[0],
    "variance": lambda h: h.var(1, keepdim=True),
    "standard deviation": lambda h: torch.std_mean(h, 1, keepdim=True)[0],
    "product": lambda h: h.prod(1, keepdim=True),
    "logsumexp": lambda h: h.logsumexp(1, keepdim=True),
    "median": lambda h: h.median(1, keepdim=True).values,
    "sum of a mean and a sum": lambda h: h.mean(1, keepdim=True) + h.sum(1, keepdim=True),
    "all": lambda h: (h > 0.1).all(1, keepdim=True).to(h.dtype),
    "sum of exponentials": lambda h: h.exp().sum(1, keepdim=True),
    "mean by a division": lambda h: h.sum(1, keepdim=True) / h.shape[1],
}
ALONG_CHANNELS_EXACT: dict[str, Function] = {
    "cumsum": lambda h: h.cumsum(1),
    "division by the sum": lambda h: h / (h.abs().sum(1, keepdim=True) + 1),
    "normalize": lambda h: F.normalize(h, dim=1),
    "difference to the sum": lambda h: h.sum(1, keepdim=True) - h,
}
ALONG_CHANNELS_INEXACT: dict[str, Function] = {
    "softmax": lambda h: h.softmax(1),
    "softmax by its layer": nn.Softmax(dim=1),
    "softmax2d": nn.Softmax2d(),
    "log softmax": lambda h: h.log_softmax(1),
    "softmax by hand": lambda h: h.exp() / h.exp().sum(1, keepdim=True),
    "cumprod": lambda h: h.cumprod(1),
    "cummax": lambda h: h.cummax(1).values,
    "logcumsumexp": lambda h: h.logcumsumexp(1),
    "cumsum of sigmoids": lambda h: h.sigmoid().cumsum(1),
    "cumsum of a cumsum": lambda h: h.cumsum(1).cumsum(1),
    "difference to the mean": lambda h: h - h.mean(1, keepdim=True),
    "division by the mean": lambda h: h / (h.abs().mean(1, keepdim=True) + 1),
    "comparison with the maximum": lambda h: h * (h == h.amax(1, keepdim=True)),
}


def reduced(function: Function) -> Callable[[], Net]:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(function(net.conv1(x)))

    return lambda: Net(forward, layers(conv1=conv(3, 8), head=conv(1, 4)))


def along(function: Function) -> Callable[[], Net]:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(function(net.conv1(x)))

    return lambda: Net(forward, layers(conv1=conv(3, 8), head=conv(8, 4)))


for name, function in OVER_CHANNELS_EXACT.items():
    add(
        f"{name} over channels",
        reduced(function),
        prunable="conv1",
        layout="conv1: a 3 3 3",
    )
for name, function in OVER_CHANNELS_INEXACT.items():
    add(
        f"{name} over channels",
        reduced(function),
        inexact="conv1",
        layout="conv1: a~ 3 3 3",
        why=WHYS[f"{name} over channels"],
    )
add(
    "index of the maximum over channels",
    reduced(lambda h: h.argmax(1, keepdim=True).to(h.dtype)),
    frozen="conv1.weight:0",
    why="positions along it are read, given in argmax",
)
for name, function in ALONG_CHANNELS_EXACT.items():
    add(
        f"{name} along channels",
        along(function),
        prunable="conv1",
        layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
    )
for name, function in ALONG_CHANNELS_INEXACT.items():
    add(
        f"{name} along channels",
        along(function),
        inexact="conv1",
        layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
        why=WHYS[f"{name} along channels"],
    )


@pattern(
    "the largest channels by topk",
    lambda: layers(conv1=conv(3, 8), head=conv(2, 4)),
    inexact="conv1",
    guards="conv1",
    layout="conv1: a~ 3 3 3",
    why="a topk over it in topk",
)
def topk(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).topk(2, 1).values)


@pattern(
    "sorted channels",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    why="an order of its units in sort",
)
def sort(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).sort(1).values)


@pattern(
    "an embedding of the largest channel",
    lambda: layers(conv1=conv(3, 8), table=nn.Embedding(8, 6), head=nn.Linear(6, 3)),
    prunable="table",
    layout="table: 8 a; head.weight: 3 a",
)
def argmax_embedding(net: Net, x: Tensor) -> Tensor:
    return net.head(net.table(net.conv1(x).argmax(1)))


@pattern(
    "a sum over all but the batch",
    lambda: layers(conv1=conv(3, 8), head=nn.Linear(1, 3)),
    prunable="conv1",
    layout="conv1: a 3 3 3",
)
def sum_all(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).relu().sum((1, 2, 3)).unsqueeze(1))


@pattern(
    "a mean over all but the batch",
    lambda: layers(conv1=conv(3, 8), head=nn.Linear(1, 3)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3",
    why="a mean over it in mean",
)
def mean_all(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).relu().mean((1, 2, 3)).unsqueeze(1))


@pattern(
    "division by the mean of everything",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="a mean over it in mean",
)
def mean_everything(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h / (h.abs().mean() + 1))


@pattern(
    "mean, maximum and variance over space",
    lambda: layers(conv1=conv(3, 8), head=nn.Linear(24, 3)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 3 (a + a + a)",
)
def over_space(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    return net.head(torch.cat([h.mean((2, 3)), h.amax((2, 3)), h.var((2, 3))], 1))


@pattern(
    "maximum over groups of neighbouring channels",
    lambda: layers(conv1=conv(3, 16), conv2=conv(4, 6), head=conv(6, 4)),
    prunable="conv1 conv2",
    layout="conv1: (a 4) 3 3 3; conv2: b a 3 3; head.weight: 4 b 3 3",
)
def group_maximum(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv2(net.conv1(x).unflatten(1, (-1, 4)).amax(2)).relu())


@pattern(
    "a softmax within groups of channels",
    lambda: layers(conv1=conv(3, 12), head=conv(12, 4)),
    prunable="conv1",
    layout="conv1: (a 3) 3 3 3; head.weight: 4 (a 3) 3 3",
)
def group_softmax(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).unflatten(1, (-1, 3)).softmax(2).flatten(1, 2))


@pattern(
    "a mean over channels of one branch, a convolution of the other",
    lambda: layers(
        conv1=conv(3, 8), conv2=conv(3, 8), conv3=conv(3, 6), head1=conv(1, 4), head2=conv(6, 4)
    ),
    prunable="conv3",
    inexact="conv1",
    layout="conv1: a~ 3 3 3; conv2: a~ 3 3 3; conv3: b 3 3 3; head2.weight: 4 b 3 3",
)
def one_branch(net: Net, x: Tensor) -> Tensor:
    h = (net.conv1(x) + net.conv2(x)).mean(1, keepdim=True)
    return net.head1(h) + net.head2(net.conv3(x))


@pattern(
    "a softmax over channels and space together",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="a softmax over it in softmax",
)
def softmax_everywhere(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h.flatten(1).softmax(1).view_as(h))


@pattern(
    "the batch's deviation, averaged over channels, as one more channel",
    lambda: layers(conv1=conv(3, 8), head=conv(9, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; head.weight: 4 (a~ + 1) 3 3",
    why="a mean over it in mean",
)
def batch_deviation(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(torch.cat([h, h.std(0).mean().expand(h.shape[0], 1, 6, 6)], 1))


@pattern(
    "a Fourier transform over space",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def fourier(net: Net, x: Tensor) -> Tensor:
    spectrum = torch.fft.rfft2(net.conv1(x))
    return net.head(torch.fft.irfft2(spectrum * spectrum.abs(), s=(6, 6)))


@pattern(
    "a Fourier transform over channels",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    why="a Fourier transform over it in fft_fft",
)
def fourier_channels(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.fft.fft(net.conv1(x), dim=1).real)
