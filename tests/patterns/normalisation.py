"""Normalisation: of activations and of weights; inexact where the statistics run over the axis."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from .pattern import Net, conv, layers, pattern, sequence, vector, weight


def normed(norm: nn.Module, channels: int = 8) -> dict[str, object]:
    return layers(conv1=conv(3, channels), norm=norm, head=conv(channels, 4))


def through(net: Net, x: Tensor) -> Tensor:
    return net.head(net.norm(net.conv1(x)).relu())


pattern(
    "batch norm without scale",
    lambda: normed(nn.BatchNorm2d(8, affine=False)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3; norm.running_mean: a; norm.running_var: a",
)(through)
pattern(
    "batch norm without running statistics",
    lambda: normed(nn.BatchNorm2d(8, track_running_stats=False)),
    prunable="conv1",
    layout="conv1: a 3 3 3; norm: a; head.weight: 4 a 3 3",
)(through)
pattern(
    "batch norm with neither",
    lambda: normed(nn.BatchNorm2d(8, affine=False, track_running_stats=False)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)(through)
pattern(
    "instance norm",
    lambda: normed(nn.InstanceNorm2d(8, affine=True)),
    prunable="conv1",
    layout="conv1: a 3 3 3; norm: a; head.weight: 4 a 3 3",
)(through)
pattern(
    "instance norm without scale",
    lambda: normed(nn.InstanceNorm2d(8)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)(through)
pattern(
    "instance norm with running statistics",
    lambda: normed(nn.InstanceNorm2d(8, affine=True, track_running_stats=True)),
    prunable="conv1",
    layout="conv1: a 3 3 3; norm: a; head.weight: 4 a 3 3",
)(through)
pattern(
    "group norm of two groups",
    lambda: normed(nn.GroupNorm(2, 8)),
    prunable="conv1",
    inexact="conv1",
    layout="conv1: (a b~) 3 3 3; norm: (a b~); head.weight: 4 (a b~) 3 3",
)(through)
pattern(
    "group norm of three groups without scale",
    lambda: normed(nn.GroupNorm(3, 12, affine=False), 12),
    prunable="conv1",
    inexact="conv1",
    layout="conv1: (a b~) 3 3 3; head.weight: 4 (a b~) 3 3",
)(through)
pattern(
    "group norm of one group",
    lambda: normed(nn.GroupNorm(1, 8)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; norm: a~; head.weight: 4 a~ 3 3",
    why="a group norm over it in group_norm",
)(through)
pattern(
    "group norm of one channel a group",
    lambda: normed(nn.GroupNorm(8, 8)),
    prunable="conv1",
    layout="conv1: a 3 3 3; norm: a; head.weight: 4 a 3 3",
)(through)
pattern(
    "layer norm over channels and space",
    lambda: normed(nn.LayerNorm([8, 6, 6])),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; norm.weight: a~ 6 6; norm.bias: a~ 6 6; head.weight: 4 a~ 3 3",
    why="a layer norm over it in layer_norm",
)(through)
pattern(
    "layer norm over space only",
    lambda: normed(nn.LayerNorm([6, 6])),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)(through)
pattern(
    "layer norm over the width only",
    lambda: normed(nn.LayerNorm(6)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)(through)


@pattern(
    "group norm with a literal number of groups",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    inexact="conv1",
    layout="conv1: (4 a~) 3 3 3; head.weight: 4 (4 a~) 3 3",
    why="a group norm over it in group_norm",
)
def literal_groups(net: Net, x: Tensor) -> Tensor:
    return net.head(F.group_norm(net.conv1(x), 4))


@pattern(
    "group norm of a concatenation, one part a group",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 8), norm=nn.GroupNorm(2, 16), head=conv(16, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; conv2: a~ 3 3 3; norm: (a~ + a~); head.weight: 4 (a~ + a~) 3 3",
    why="a group norm over it in group_norm",
)
def group_norm_concat(net: Net, x: Tensor) -> Tensor:
    return net.head(net.norm(torch.cat([net.conv1(x), net.conv2(x)], 1)))


@pattern(
    "layer norm over channels",
    lambda: layers(
        fc1=nn.Linear(5, 8), norm=nn.LayerNorm(8), fc2=nn.Linear(8, 6), head=nn.Linear(6, 3)
    ),
    inputs=sequence,
    prunable="fc2",
    inexact="fc1",
    layout="fc1: a~ 5; norm: a~; fc2: b a~; head.weight: 3 b",
)
def layer_norm(net: Net, x: Tensor) -> Tensor:
    return net.head(net.fc2(net.norm(net.fc1(x)).relu()))


@pattern(
    "layer norm over channels last",
    lambda: layers(conv1=conv(3, 8), norm=nn.LayerNorm(8, eps=1e-6), head=conv(8, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; norm: a~; head.weight: 4 a~ 3 3",
    why="a layer norm over it in layer_norm",
)
def layer_norm_last(net: Net, x: Tensor) -> Tensor:
    return net.head(net.norm(net.conv1(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


@pattern(
    "layer norm by the shape",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="a layer norm over it in layer_norm",
)
def layer_norm_shape(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(F.layer_norm(h, h.shape[1:]))


@pattern(
    "layer norm by a literal shape",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    frozen="conv1.weight:0 head.weight:1",
    why="the literal or fixed normalized shape 8 in layer_norm",
)
def layer_norm_literal(net: Net, x: Tensor) -> Tensor:
    return net.head(F.layer_norm(net.conv1(x), [8, 6, 6]))


@pattern(
    "layer norm over channels by hand",
    lambda: layers(conv1=conv(3, 8), scale=weight(8), shift=weight(8), head=conv(8, 4)),
    inexact="conv1",
    layout="scale: a~; shift: a~; conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="a mean over it in mean",
)
def layer_norm_hand(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    mean = h.mean(1, keepdim=True)
    variance = (h - mean).pow(2).mean(1, keepdim=True)
    h = (h - mean) / torch.sqrt(variance + 1e-5)
    return net.head(net.scale[:, None, None] * h + net.shift[:, None, None])


@pattern(
    "RMS norm",
    lambda: layers(fc1=nn.Linear(5, 8), norm=nn.RMSNorm(8, eps=1e-5), head=nn.Linear(8, 3)),
    inputs=sequence,
    inexact="fc1",
    layout="fc1: a~ 5; norm: a~; head.weight: 3 a~",
    why="an RMS norm over it in rms_norm",
)
def rms_norm(net: Net, x: Tensor) -> Tensor:
    return net.head(net.norm(net.fc1(x)))


@pattern(
    "RMS norm by hand",
    lambda: layers(fc1=nn.Linear(5, 8), scale=weight(8), head=nn.Linear(8, 3)),
    inputs=sequence,
    inexact="fc1",
    layout="scale: a~; fc1: a~ 5; head.weight: 3 a~",
    why="a mean over it in mean",
)
def rms_norm_hand(net: Net, x: Tensor) -> Tensor:
    h = net.fc1(x)
    return net.head(net.scale * (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-5)))


@pattern(
    "a norm by the sum of squares",
    lambda: layers(fc1=nn.Linear(5, 8), scale=weight(8), head=nn.Linear(8, 3)),
    inputs=sequence,
    prunable="fc1",
    layout="scale: a; fc1: a 5; head.weight: 3 a",
)
def sum_norm(net: Net, x: Tensor) -> Tensor:
    h = net.fc1(x)
    return net.head(net.scale * (h * torch.rsqrt(h.pow(2).sum(-1, keepdim=True) + 1e-5)))


@pattern(
    "global response norm",
    lambda: layers(conv1=conv(3, 8), scale=weight(8, 1, 1), shift=weight(8, 1, 1), head=conv(8, 4)),
    inexact="conv1",
    layout="scale: a~ 1 1; shift: a~ 1 1; conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="a mean over it in mean",
)
def global_response(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    size = h.norm(dim=(2, 3), keepdim=True)
    return net.head(h + net.scale * (h * size / (size.mean(1, keepdim=True) + 1e-6)) + net.shift)


@pattern(
    "filter response norm with a learned threshold",
    lambda: layers(
        conv1=conv(3, 8),
        scale=weight(8, 1, 1),
        shift=weight(8, 1, 1),
        least=weight(8, 1, 1),
        head=conv(8, 4),
    ),
    prunable="conv1",
    layout="scale: a 1 1; shift: a 1 1; least: a 1 1; conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def filter_response(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    h = h * torch.rsqrt(h.square().mean((2, 3), keepdim=True) + 1e-5)
    return net.head(torch.maximum(net.scale * h + net.shift, net.least))


@pattern(
    "batch norm frozen in buffers",
    lambda: layers(
        conv1=conv(3, 8),
        scale=nn.Buffer(torch.ones(8)),
        shift=nn.Buffer(torch.zeros(8)),
        mean=nn.Buffer(torch.zeros(8)),
        var=nn.Buffer(torch.ones(8)),
        head=conv(8, 4),
    ),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3; scale: a; shift: a; mean: a; var: a",
)
def frozen_norm(net: Net, x: Tensor) -> Tensor:
    scale = net.scale.reshape(1, -1, 1, 1) * (net.var.reshape(1, -1, 1, 1) + 1e-5).rsqrt()
    shift = net.shift.reshape(1, -1, 1, 1) - net.mean.reshape(1, -1, 1, 1) * scale
    return net.head((net.conv1(x) * scale + shift).relu())


@pattern(
    "batch norm of sigmoids without scale, then a sum over channels",
    lambda: layers(conv1=conv(3, 8), norm=nn.BatchNorm2d(8, affine=False), head=conv(1, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; norm.running_mean: a~; norm.running_var: a~",
    why="a sum over it, where it is not zero when zeroed, in sum",
)
def norm_sum(net: Net, x: Tensor) -> Tensor:
    return net.head(net.norm(net.conv1(x).sigmoid()).sum(1, keepdim=True))


@pattern(
    "batch norm across the channels of each token",
    lambda: layers(fc1=nn.Linear(5, 8), norm=nn.BatchNorm1d(7), head=nn.Linear(8, 3)),
    inputs=sequence,
    prunable="fc1",
    frozen="norm.weight:0",
    layout="fc1: a 5; head.weight: 3 a",
)
def token_norm(net: Net, x: Tensor) -> Tensor:
    return net.head(net.norm(net.fc1(x)))


@pattern(
    "batch statistics across the channels of each token",
    lambda: layers(
        fc1=nn.Linear(5, 8), norm=nn.BatchNorm1d(7, track_running_stats=False), head=nn.Linear(8, 3)
    ),
    inputs=sequence,
    inexact="fc1",
    layout="fc1: a~ 5; head.weight: 3 a~",
    why="the statistics of a batch over it in batch_norm",
)
def token_statistics(net: Net, x: Tensor) -> Tensor:
    return net.head(net.norm(net.fc1(x)))


# ---- of weights


@pattern(
    "weight norm by parametrisation",
    lambda: layers(
        conv1=conv(3, 8), conv2=parametrizations.weight_norm(conv(8, 6)), head=conv(6, 4)
    ),
    prunable="conv1 conv2",
    layout=(
        "conv1: a 3 3 3; conv2.bias: b; conv2.parametrizations.weight.original0: b 1 1 1; "
        "conv2.parametrizations.weight.original1: b a 3 3; head.weight: 4 b 3 3"
    ),
)
def weight_norm(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv2(net.conv1(x).relu()).relu())


def old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(conv(8, 6))


pattern(
    "weight norm by the old hook",
    lambda: layers(conv1=conv(3, 8), conv2=old_weight_norm(), head=conv(6, 4)),
    prunable="conv1 conv2",
    layout=(
        "conv1: a 3 3 3; conv2.bias: b; conv2.weight_g: b 1 1 1; conv2.weight_v: b a 3 3; "
        "head.weight: 4 b 3 3"
    ),
)(weight_norm)
pattern(
    "weight norm of the last layer only",
    lambda: layers(
        conv1=conv(3, 8), conv2=conv(8, 6), head=parametrizations.weight_norm(conv(6, 4))
    ),
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: b a 3 3; head.parametrizations.weight.original1: 4 b 3 3",
)(weight_norm)
pattern(
    "spectral norm by parametrisation",
    lambda: layers(
        conv1=conv(3, 8), conv2=parametrizations.spectral_norm(conv(8, 6)), head=conv(6, 4)
    ),
    prunable="conv1 conv2",
    layout=(
        "conv1: a 3 3 3; conv2.bias: b; conv2.parametrizations.weight.original: b a 3 3; "
        "head.weight: 4 b 3 3; conv2.parametrizations.weight.0._u: b; "
        "conv2.parametrizations.weight.0._v: (a 9)"
    ),
)(weight_norm)
pattern(
    "spectral norm by the old hook",
    lambda: layers(conv1=conv(3, 8), conv2=nn.utils.spectral_norm(conv(8, 6)), head=conv(6, 4)),
    prunable="conv1 conv2",
    layout=(
        "conv1: a 3 3 3; conv2.bias: b; conv2.weight_orig: b a 3 3; head.weight: 4 b 3 3; "
        "conv2.weight_u: b; conv2.weight_v: (a 9)"
    ),
)(weight_norm)


@pattern(
    "weight standardisation by batch norm",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 6), head=conv(6, 4)),
    prunable="conv2",
    inexact="conv1",
    layout="conv1: a~ 3 3 3; conv2: b a~ 3 3; head.weight: 4 b 3 3",
)
def standardised(net: Net, x: Tensor) -> Tensor:
    w = net.conv2.weight
    w = F.batch_norm(
        w.reshape(1, w.shape[0], -1), None, None, training=True, momentum=0.0, eps=1e-5
    ).reshape_as(w)
    return net.head(F.conv2d(net.conv1(x).relu(), w, net.conv2.bias, padding=1).relu())


@pattern(
    "weight standardisation by hand",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 6), head=conv(6, 4)),
    prunable="conv2",
    inexact="conv1",
    layout="conv1: a~ 3 3 3; conv2: b a~ 3 3; head.weight: 4 b 3 3",
)
def standardised_hand(net: Net, x: Tensor) -> Tensor:
    w = net.conv2.weight
    w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
    return net.head(F.conv2d(net.conv1(x).relu(), w, net.conv2.bias, padding=1).relu())


@pattern(
    "weight standardisation without a floor",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 6), head=conv(6, 4)),
    prunable="conv2",
    inexact="conv1",
    layout="conv1: a~ 3 3 3; conv2: b a~ 3 3; head.weight: 4 b 3 3",
)
def standardised_bare(net: Net, x: Tensor) -> Tensor:
    w = net.conv2.weight
    w = (w - w.mean((1, 2, 3), keepdim=True)) / w.std((1, 2, 3), keepdim=True)
    return net.head(F.conv2d(net.conv1(x).relu(), w, net.conv2.bias, padding=1).relu())


@pattern(
    "a cosine classifier",
    lambda: layers(fc1=nn.Linear(5, 8), head=nn.Linear(8, 3)),
    inputs=vector,
    prunable="fc1",
    layout="fc1: a 5; head.weight: 3 a",
)
def cosine(net: Net, x: Tensor) -> Tensor:
    return F.linear(F.normalize(net.fc1(x), dim=-1), F.normalize(net.head.weight, dim=-1))


@pattern(
    "dropout of every kind",
    lambda: layers(
        conv1=conv(3, 8),
        drop=nn.Dropout2d(),
        alpha=nn.AlphaDropout(),
        features=nn.FeatureAlphaDropout(),
        head=conv(8, 4),
    ),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def dropout(net: Net, x: Tensor) -> Tensor:
    return net.head(net.features(net.alpha(net.drop(F.dropout(net.conv1(x), 0.3, net.training)))))
