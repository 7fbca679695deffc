"""Networks with parts that may go whole, and such as may not."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Applied(nn.Module):
    """Layers by name, and how they are put together."""

    def __init__(self, way: Callable[[nn.ModuleDict, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.at, self.way = nn.ModuleDict(layers), way

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self.at, x)


def conv(inside: int, outside: int, kernel: int = 1) -> nn.Module:
    return nn.Conv2d(inside, outside, kernel, padding=kernel // 2)


def normed(inside: int, outside: int, kernel: int = 1) -> nn.Module:
    layer = nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


class Named(nn.BatchNorm2d):
    """A batch norm with a forward of its own."""

    def forward(self, input: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(input, mean, var, self.weight, self.bias).relu()


class Attention(nn.Module):
    """Grouped queries: two heads of keys, each read by two of queries."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(width, 16, bias=False), nn.Linear(width, 8, bias=False)
        self.v, self.o = nn.Linear(width, 8, bias=False), nn.Linear(16, width, bias=False)
        self.kv_heads, self.rep, self.head_dim = 2, 2, 4

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q = self.q(x).view(b, n, self.kv_heads * self.rep, self.head_dim).transpose(1, 2)
        k = self.k(x).view(b, n, self.kv_heads, self.head_dim).transpose(1, 2)
        v = self.v(x).view(b, n, self.kv_heads, self.head_dim).transpose(1, 2)
        k, v = (t.repeat_interleave(self.rep, 1) for t in (k, v))
        out = F.scaled_dot_product_attention(q, k, v, scale=0.5)
        return self.o(out.transpose(1, 2).flatten(2))


def residual(at: nn.ModuleDict, x: Tensor) -> Tensor:
    x = at["stem"](x)
    h = at["up"](at["inner"](x))
    h += x
    return at["head"](h.relu().mean((2, 3)))


def transformer(at: nn.ModuleDict, x: Tensor) -> Tensor:
    x = at["stem"](x)
    x = x + at["attention"](at["norm1"](x))
    x = x + at["down"](at["up"](at["norm2"](x)).relu())
    return at["head"](x)


def packed(at: nn.ModuleDict, x: Tensor) -> Tensor:
    x = at["stem"](x)
    h = at["norm"](x)
    return at["head"](x + at["attention"](h, h, h, need_weights=False)[0])


def inception(at: nn.ModuleDict, x: Tensor) -> Tensor:
    x = at["stem"](x)
    rows = [at["one"](x), at["three"](at["reduce"](x)), at["pool"](x)]
    return at["head"](torch.cat(rows, 1).mean((2, 3)))


def experts(at: nn.ModuleDict, x: Tensor) -> Tensor:
    share = at["router"](x).softmax(-1)
    given = [at[f"down{i}"](at[f"up{i}"](x).relu()) for i in range(2)]
    return at["head"](sum(share[:, i, None] * y for i, y in enumerate(given)))


def squeezed(at: nn.ModuleDict, x: Tensor) -> Tensor:
    x = at["stem"](x)
    gate = at["expand"](at["reduce"](x.mean((2, 3), keepdim=True)).relu()).sigmoid()
    return at["head"]((x * gate).mean((2, 3)))


def hourglass(at: nn.ModuleDict, x: Tensor) -> Tensor:
    x = at["stem"](x)
    h = at["grow"](at["shrink"](at["deep"](at["halve"](x)).relu()))
    return at["head"](torch.cat([x, h], 1).mean((2, 3)))


def recurrent(at: nn.ModuleDict, x: Tensor) -> Tensor:
    x = at["stem"](x)
    return at["head"](x + at["out"](at["gru"](x)[0]))


def beside(function: Callable[[nn.ModuleDict, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A function of the stem's result, added to it."""

    def way(at: nn.ModuleDict, x: Tensor) -> Tensor:
        x = at["stem"](x)
        return at["head"](x + function(at, x))

    return way


def divided(at: nn.ModuleDict, x: Tensor) -> Tensor:
    h = at["up"](x).relu()
    return at["down"](h) / h.sum(-1, keepdim=True)


def compared(at: nn.ModuleDict, x: Tensor) -> Tensor:
    h = at["up"](x).relu()
    return at["down"](h if h.shape[-1] > 2 else h * 2)


def ambiguous(at: nn.ModuleDict, x: Tensor) -> Tensor:
    h = at["up"](x)
    return at["down"](h.view(-1, h.shape[-1]))


def functional(at: nn.ModuleDict, x: Tensor) -> Tensor:
    h = at["up"](x).relu()
    return F.conv2d(h, at["down"].get_parameter("weight"), padding=1)
