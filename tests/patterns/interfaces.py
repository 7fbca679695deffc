"""Interfaces: what goes in, what comes out, and what is not used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pattern import Net, conv, layers, pattern, random, vector


@dataclass
class Found:
    """A dataclass as output."""

    logits: Tensor
    boxes: list[Tensor]


class Pair(NamedTuple):
    """A named tuple as output."""

    first: Tensor
    second: Tensor


def two_heads() -> dict[str, object]:
    return layers(conv1=conv(3, 8), conv2=conv(8, 6), head1=conv(6, 4), head2=nn.Linear(6, 3))


@pattern(
    "a dict as output",
    two_heads,
    prunable="conv1 conv2",
    frozen="head1.weight:0 head2.weight:0",
    layout="conv1: a 3 3 3; conv2: b a 3 3; head1.weight: 4 b 3 3; head2.weight: 3 b",
)
def dict_output(net: Net, x: Tensor) -> dict[str, Any]:
    h = net.conv2(net.conv1(x).relu()).relu()
    return {"map": net.head1(h), "more": {"logits": net.head2(h.mean((2, 3)))}, "size": 6}


@pattern(
    "a tuple as output",
    two_heads,
    prunable="conv1 conv2",
    frozen="head1.weight:0 head2.weight:0",
    layout="conv1: a 3 3 3; conv2: b a 3 3; head1.weight: 4 b 3 3; head2.weight: 3 b",
)
def tuple_output(net: Net, x: Tensor) -> tuple[Tensor, None, list[Tensor]]:
    h = net.conv2(net.conv1(x).relu()).relu()
    return net.head1(h), None, [net.head2(h.mean((2, 3)))]


@pattern(
    "a dataclass as output",
    two_heads,
    prunable="conv1 conv2",
    frozen="head1.weight:0 head2.weight:0",
    layout="conv1: a 3 3 3; conv2: b a 3 3; head1.weight: 4 b 3 3; head2.weight: 3 b",
)
def dataclass_output(net: Net, x: Tensor) -> Found:
    h = net.conv2(net.conv1(x).relu()).relu()
    return Found(net.head2(h.mean((2, 3))), [net.head1(h)])


@pattern(
    "a named tuple as output",
    two_heads,
    prunable="conv1 conv2",
    frozen="head1.weight:0 head2.weight:0",
    layout="conv1: a 3 3 3; conv2: b a 3 3; head1.weight: 4 b 3 3; head2.weight: 3 b",
)
def named_output(net: Net, x: Tensor) -> Pair:
    h = net.conv2(net.conv1(x).relu()).relu()
    return Pair(net.head1(h), net.head2(h.mean((2, 3))))


@pattern(
    "a feature map among the outputs",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 6), head=conv(6, 4)),
    prunable="conv2",
    frozen="conv1.weight:0 conv2.weight:1",
    layout="conv2: a 8 3 3; head.weight: 4 a 3 3",
)
def feature_output(net: Net, x: Tensor) -> dict[str, Tensor]:
    h = net.conv1(x)
    return {"features": h, "out": net.head(net.conv2(h.relu()).relu())}


@pattern(
    "a weight among the outputs",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 6), head=conv(6, 4)),
    prunable="conv2",
    frozen="conv1.weight:0 conv2.weight:1",
    layout="conv2: a 8 3 3; head.weight: 4 a 3 3",
)
def weight_output(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    return net.head(net.conv2(net.conv1(x).relu())), net.conv1.weight


@pattern(
    "a sum of squared weights among the outputs",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def penalty(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    return net.head(net.conv1(x).relu()), net.conv1.weight.square().sum()


@pattern(
    "a mean of squared weights among the outputs",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    inexact="conv1",
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="a mean over it in mean",
)
def mean_penalty(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    return net.head(net.conv1(x).relu()), net.conv1.weight.square().mean()


@pattern(
    "a loss as output",
    lambda: layers(fc1=nn.Linear(5, 8), head=nn.Linear(8, 3)),
    inputs=lambda: (random(4, 5), torch.tensor([0, 2, 1, 1])),
    prunable="fc1",
    layout="fc1: a 5; head.weight: 3 a",
)
def loss(net: Net, x: Tensor, target: Tensor) -> dict[str, Tensor]:
    logits = net.head(net.fc1(x).relu())
    return {"loss": F.cross_entropy(logits, target), "logits": logits}


@pattern(
    "a mean squared error between hidden layers as output",
    lambda: layers(left=nn.Linear(5, 8), right=nn.Linear(5, 8)),
    inputs=vector,
    layout="left: a~ 5; right: a~ 5",
    why="a mean over it in mean",
)
def hidden_loss(net: Net, x: Tensor) -> Tensor:
    return F.mse_loss(net.left(x), net.right(x))


@pattern(
    "a softmax over channels in a branch that no output needs",
    lambda: layers(conv1=conv(3, 8), aside=conv(8, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; aside: b a 3 3; head.weight: 4 a 3 3",
)
def unneeded(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    net.aside(h).softmax(1).mean(1)
    return net.head(h.relu())


@pattern(
    "a module that is never called",
    lambda: layers(conv1=conv(3, 8), spare=conv(8, 8), head=conv(8, 4)),
    prunable="conv1",
    frozen="spare.weight:0 spare.weight:1 spare.bias:0",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def spare(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).relu())


@pattern(
    "a head that only training calls",
    lambda: layers(conv1=conv(3, 8), aux=conv(8, 4), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def training_head(net: Net, x: Tensor) -> Any:
    h = net.conv1(x).relu()
    return (net.head(h), net.aux(h)) if net.training else net.head(h)


@pattern(
    "several inputs",
    lambda: layers(conv1=conv(3, 8), conv2=conv(2, 8), fc=nn.Linear(5, 8), head=conv(8, 4)),
    inputs=lambda: (random(2, 3, 6, 6), random(2, 2, 6, 6, seed=1), random(2, 5, seed=2)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a 2 3 3; fc: a 5; head.weight: 4 a 3 3",
)
def several_inputs(net: Net, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return net.head((net.conv1(x) + net.conv2(y) + net.fc(z)[..., None, None]).relu())


@pattern(
    "inputs in a dict and a list",
    lambda: layers(conv1=conv(3, 8), conv2=conv(2, 6), head=conv(14, 4)),
    inputs=lambda: ({"x": random(2, 3, 6, 6), "more": [random(2, 2, 6, 6, seed=1)]},),
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: b 2 3 3; head.weight: 4 (a + b) 3 3",
)
def nested_inputs(net: Net, batch: dict[str, Any]) -> Tensor:
    return net.head(torch.cat([net.conv1(batch["x"]), *map(net.conv2, batch["more"])], 1).relu())


@pattern(
    "keyword arguments",
    lambda: layers(conv1=conv(3, 8), conv2=conv(2, 8), extra=conv(3, 8), head=conv(8, 4)),
    kwargs=lambda: {"y": random(2, 2, 6, 6, seed=1), "bold": True, "unused": None},
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a 2 3 3; extra: a 3 3 3; head.weight: 4 a 3 3",
)
def keyword_inputs(
    net: Net, x: Tensor, *, y: Tensor, bold: bool = False, unused: Tensor | None = None
) -> Tensor:
    h = net.conv1(x) + net.conv2(y)
    h = h + net.extra(x) if bold else h
    return net.head(h if unused is None else h * unused)


@pattern(
    "keyword arguments only",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    inputs=tuple,
    kwargs=lambda: {"pixels": random(2, 3, 6, 6)},
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def keywords_only(net: Net, *, pixels: Tensor) -> Tensor:
    return net.head(net.conv1(pixels).relu())


@pattern(
    "a mask from the caller",
    lambda: layers(fc=nn.Linear(5, 8), head=nn.Linear(8, 3)),
    inputs=lambda: (random(2, 7, 5), torch.arange(7).expand(2, 7) < torch.tensor([[4], [6]])),
    prunable="fc",
    layout="fc: a 5; head.weight: 3 a",
)
def masked(net: Net, x: Tensor, mask: Tensor) -> Tensor:
    h = net.fc(x).masked_fill(~mask[..., None], 0.0)
    return net.head(h.sum(1) / mask.sum(1, keepdim=True))


@pattern(
    "the channels' size from the caller",
    lambda: layers(conv1=conv(3, 8), head=nn.Conv1d(8, 4, 1)),
    kwargs=lambda: {"width": 8},
    frozen="conv1.weight:0 head.weight:1",
    why="the literal or fixed size 8 in view",
)
def given_width(net: Net, x: Tensor, width: int) -> Tensor:
    return net.head(net.conv1(x).view(x.shape[0], width, -1))


@pattern(
    "the channels' size from a default",
    lambda: layers(conv1=conv(3, 8), head=nn.Conv1d(8, 4, 1)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 1",
)
def default_width(net: Net, x: Tensor, width: int = 8) -> Tensor:
    return net.head(net.conv1(x).view(x.shape[0], width, -1))
