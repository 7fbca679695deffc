"""Behaviour: gradients cut, hooks, caches and counters, branches on values: what a module does
besides computing.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .pattern import Net, add, conv, layers, pattern, vector


def frozen_layers() -> dict[str, object]:
    members = layers(conv1=conv(3, 8), conv2=conv(8, 6), head=conv(6, 4))
    members["conv1"].requires_grad_(False)
    members["conv2"].bias.requires_grad_(False)
    return members


@pattern(
    "parameters that require no gradient",
    frozen_layers,
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: b a 3 3; head.weight: 4 b 3 3",
)
def no_gradient(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv2(net.conv1(x).relu()).relu())


@pattern(
    "a branch under no_grad",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a a 3 3; head.weight: 4 a 3 3",
)
def under_no_grad(net: Net, x: Tensor) -> Tensor:
    with torch.no_grad():
        h = net.conv1(x).relu()
    return net.head(h + net.conv2(h))


@pattern(
    "a detached branch",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a a 3 3; head.weight: 4 a 3 3",
)
def detached(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head((net.conv2(h.detach()) + h + h.data).relu())


@pattern(
    "a rounding with a straight-through gradient",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def straight_through(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).tanh()
    return net.head(h + ((h * 8).round() / 8 - h).detach())


class Swish(torch.autograd.Function):
    """An operator with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * (x.sigmoid() * (1 + x * (1 - x.sigmoid())))


@pattern(
    "an autograd function",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def autograd_function(net: Net, x: Tensor) -> Tensor:
    return net.head(Swish.apply(net.conv1(x)))


@pattern(
    "a buffer that counts calls",
    lambda: layers(
        conv1=conv(3, 8), calls=nn.Buffer(torch.zeros((), dtype=torch.long)), head=conv(8, 4)
    ),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def counter(net: Net, x: Tensor) -> Tensor:
    net.calls += 1
    return net.head(net.conv1(x).relu())


@pattern(
    "a running mean of the channels, kept in a buffer",
    lambda: layers(conv1=conv(3, 8), seen=nn.Buffer(torch.zeros(8)), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3; seen: a",
)
def running_mean(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    net.seen.mul_(0.9).add_(0.1 * h.mean((0, 2, 3)))
    return net.head(h - net.seen.view(1, -1, 1, 1))


@pattern(
    "a table computed once for each size and kept",
    lambda: layers(fc=nn.Linear(5, 8), head=nn.Linear(8, 3), tables={}),
    inputs=vector,
    layout="fc: a~ 5; head.weight: 3 a~",
    why="its size is used as a number in hash()",
)
def cached_table(net: Net, x: Tensor) -> Tensor:
    h = net.fc(x)
    width = h.shape[1]
    if width not in net.tables:
        net.tables[width] = torch.linspace(0, 1, width, dtype=h.dtype, device=h.device)
    return net.head(h * net.tables[width])


@pattern(
    "the last activation kept as an attribute",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4), seen=None),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def kept(net: Net, x: Tensor) -> Tensor:
    net.seen = net.conv1(x).relu()
    return net.head(net.seen)


def doubled(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """A forward hook that changes the output."""
    return output.relu() * 2


def shifted(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A hook before the forward that changes the input."""
    return (inputs[0] + 1,)


def hooked() -> dict[str, object]:
    members = layers(conv1=conv(3, 8), conv2=conv(8, 6), head=conv(6, 4))
    members["conv1"].register_forward_hook(doubled)
    members["conv2"].register_forward_pre_hook(shifted)
    return members


@pattern(
    "hooks that change what passes",
    hooked,
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: b a 3 3; head.weight: 4 b 3 3",
)
def with_hooks(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv2(net.conv1(x)))


@pattern(
    "functions kept in a partial and in a dict",
    lambda: layers(
        convs=nn.ModuleDict({"first": conv(3, 8), "last": conv(8, 4)}),
        act=functools.partial(F.leaky_relu, negative_slope=0.1),
    ),
    prunable="convs.first",
    layout="convs.first: a 3 3 3; convs.last.weight: 4 a 3 3",
)
def partial(net: Net, x: Tensor) -> Tensor:
    return net.convs["last"](net.act(net.convs["first"](x)))


@pattern(
    "weights in a parameter list",
    lambda: layers(
        weights=nn.ParameterList([torch.ones(8, 5), torch.ones(6, 8), torch.ones(3, 6)])
    ),
    inputs=vector,
    prunable="weights.0:0 weights.1:0",
    layout="weights.0: a 5; weights.1: b a; weights.2: 3 b",
)
def parameter_list(net: Net, x: Tensor) -> Tensor:
    for w in net.weights:
        x = F.linear(x, w).tanh()
    return x


@pattern(
    "a branch that depends on values",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def on_values(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(-h if h.sum() > 0 else h)


@pattern(
    "a number read out of a tensor",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    layout="conv1: a~ 3 3 3; head.weight: 4 a~ 3 3",
    why="a max over it in max",
)
def read_out(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x)
    return net.head(h / (1 + h.abs().max().item()))


@pattern(
    "a layer under checkpoint",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 6), head=conv(6, 4)),
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: b a 3 3; head.weight: 4 b 3 3",
)
def checkpointed(net: Net, x: Tensor) -> Tensor:
    h = checkpoint(net.conv2, net.conv1(x).relu(), use_reentrant=False)
    return net.head(h)


class Inner(nn.Module):
    """A module with parameters of its own beside its children's."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.body = nn.Sequential(conv(3, 8), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.scale


class Outer(nn.Module):
    """Modules within modules."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()
        self.blocks = nn.ModuleList([nn.Sequential(conv(8, 6), nn.ReLU(inplace=True)), conv(6, 4)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        for block in self.blocks:
            x = block(x)
        return x


add(
    "modules within modules",
    Outer,
    prunable="inner.body.0 blocks.0.0",
    layout=(
        "inner.scale: a 1 1; inner.body.0: a 3 3 3; blocks.0.0: b a 3 3; blocks.1.weight: 4 b 3 3"
    ),
)


@pattern(
    "a number made on the CPU and moved to the input's device",
    lambda: layers(conv1=conv(3, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 4 a 3 3",
)
def moved_number(net: Net, x: Tensor) -> Tensor:
    kernel = torch.tensor([1.0, 3.0, 3.0, 1.0]).sum()
    return net.head(net.conv1(x) * kernel.to(x.device))


@pattern(
    "a sparse matrix beside a write in place",
    lambda: layers(fc=nn.Linear(5, 8), head=nn.Linear(8, 3)),
    inputs=vector,
    prunable="fc",
    layout="fc: a 5; head.weight: 3 a",
)
def sparse_mixing(net: Net, x: Tensor) -> Tensor:
    at = torch.arange(len(x))
    ones = torch.ones(len(x), dtype=x.dtype)
    mixed = torch.sparse_coo_tensor(
        torch.stack([at, at.flip(0)]), ones, (len(x), len(x)), check_invariants=True
    )
    h = net.fc(x).relu()
    h *= 2
    return net.head(mixed @ h)
