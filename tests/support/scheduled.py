"""Tiny networks whose axes no weight names: heads, groups of queries, recurrent units, experts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import purethin as pt


class Heads(nn.Module):
    """A transformer's block as BERT has it: three projections, then a feed-forward."""

    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.width = heads, 2
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))
        self.fc1, self.fc2, self.head = nn.Linear(8, 12), nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        shape = (self.heads, self.width)
        q, k, v = (f(x).unflatten(-1, shape).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v, scale=0.7).transpose(1, 2).flatten(2)
        x = x + self.o(mixed)
        return self.head((x + self.fc2(F.gelu(self.fc1(x)))).mean(1))


class Groups(nn.Module):
    """Three groups of keys and values, each for two heads of queries."""

    def __init__(self, groups: int = 3) -> None:
        super().__init__()
        self.groups, self.width = groups, 2
        self.q, self.k, self.v = nn.Linear(6, 12), nn.Linear(6, 6), nn.Linear(6, 6)
        self.o = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        each, one = (self.groups, 2, self.width), (self.groups, 1, self.width)
        q = self.q(x).unflatten(-1, each).permute(0, 2, 3, 1, 4)
        k, v = (f(x).unflatten(-1, one).permute(0, 2, 3, 1, 4) for f in (self.k, self.v))
        mixed = ((q @ k.mT) * 0.7).softmax(-1) @ v
        return self.o(mixed.permute(0, 3, 1, 2, 4).flatten(2)).mean(1)


class Units(nn.Module):
    """A recurrent layer, read at its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(6, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x)[0][:, -1])


class Experts(nn.Module):
    """Experts that are all computed, each behind a gate of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(6, 4)
        self.up = nn.Parameter(torch.randn(4, 6, 5) / 3)
        self.down = nn.Parameter(torch.randn(4, 5, 3) / 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.einsum("bti,eih->beth", x, self.up).relu()
        out = torch.einsum("beth,eho->beto", hidden, self.down)
        return torch.einsum("beto,bte->bo", out, self.gate(x).sigmoid())


def scene(make: type[nn.Module], width: int) -> tuple[nn.Module, pt.Spec, list[Any]]:
    """A network, its spec, and batches of inputs and classes, in float64."""
    torch.manual_seed(0)
    net = make().double()
    data = [(torch.randn(5, 4, width).double(), torch.arange(5) % 3) for _ in range(2)]
    return net, pt.infer(net, pt.params_of(net), data[0][0]), data


def loss_fn(outputs: Tensor, batch: Any) -> Tensor:
    return F.cross_entropy(outputs, batch[1])
