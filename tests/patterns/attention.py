"""Attention, its projections: how queries, keys, values and heads are packed, and where their
numbers are read from.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pattern import Net, add, layers, pattern, sequence, weight


def packed(**more: object) -> dict[str, object]:
    """Queries, keys and values out of one layer; 3 heads of 4."""
    return layers(qkv=nn.Linear(5, 36), out=nn.Linear(12, 3), **more)


def apart(**more: object) -> dict[str, object]:
    """A layer for each; 3 heads of 4."""
    return layers(
        q=nn.Linear(5, 12), k=nn.Linear(5, 12), v=nn.Linear(5, 12), out=nn.Linear(12, 3), **more
    )


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float | Tensor = 0.5) -> Tensor:
    """Heads before tokens, merged at the end."""
    return ((q @ k.mT * scale).softmax(-1) @ v).transpose(1, 2).flatten(2)


# ---- one layer for all three


@pattern(
    "qkv as (3 heads dim)",
    lambda: packed(heads=3, head_dim=4),
    inputs=sequence,
    prunable="qkv",
    layout="qkv: (3 a b) 5; out.weight: 3 (a b)",
)
def three_first(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    q, k, v = net.qkv(x).view(b, n, 3, net.heads, net.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
    return net.out(attend(q, k, v))


@pattern(
    "qkv as (3 heads dim), a temperature for each head",
    lambda: packed(heads=3, scale=weight(3, 1, 1)),
    inputs=sequence,
    prunable="qkv scale:0",
    layout="scale: a 1 1; qkv: (3 a b) 5; out.weight: 3 (a b)",
)
def indexed(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    qkv = net.qkv(x).reshape(b, n, 3, net.heads, -1).permute(2, 0, 3, 1, 4)
    return net.out(attend(qkv[0], qkv[1], qkv[2], net.scale))


@pattern(
    "qkv as (3 heads dim), a temperature for each dim",
    lambda: packed(heads=3, scale=weight(4)),
    inputs=sequence,
    prunable="qkv scale:0",
    layout="scale: a; qkv: (3 b a) 5; out.weight: 3 (b a)",
)
def dim_scaled(net: Net, x: Tensor) -> Tensor:
    q, k, v = net.qkv(x).unflatten(-1, (3, net.heads, -1)).unbind(2)
    return net.out(attend((q * net.scale).transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)))


@pattern(
    "qkv by chunk",
    lambda: packed(heads=3),
    inputs=sequence,
    prunable="qkv",
    layout="qkv: ((a b) + (a b) + (a b)) 5; out.weight: 3 (a b)",
)
def chunked(net: Net, x: Tensor) -> Tensor:
    q, k, v = (
        part.unflatten(-1, (net.heads, -1)).transpose(1, 2) for part in net.qkv(x).chunk(3, dim=-1)
    )
    return net.out(attend(q, k, v))


@pattern(
    "qkv by split at a product of attributes",
    lambda: packed(heads=3, head_dim=4),
    inputs=sequence,
    prunable="qkv",
    layout="qkv: ((a b) + (a b) + (a b)) 5; out.weight: 3 (a b)",
)
def split_at(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    parts = net.qkv(x).split(net.heads * net.head_dim, dim=-1)
    q, k, v = (part.view(b, n, net.heads, net.head_dim).transpose(1, 2) for part in parts)
    return net.out(attend(q, k, v))


@pattern(
    "qkv by slices at the width",
    lambda: packed(heads=3, width=12),
    inputs=sequence,
    prunable="qkv",
    layout="qkv: ((a b) + (a b) + (a c)) 5; out.weight: 3 (a c)",
)
def sliced(net: Net, x: Tensor) -> Tensor:
    qkv = net.qkv(x)
    q, k, v = qkv[..., : net.width], qkv[..., net.width : 2 * net.width], qkv[..., 2 * net.width :]
    q, k, v = (part.unflatten(-1, (net.heads, -1)).transpose(1, 2) for part in (q, k, v))
    return net.out(attend(q, k, v))


@pattern(
    "qkv as (heads 3 dim)",
    lambda: packed(heads=3, head_dim=4),
    inputs=sequence,
    prunable="qkv",
    layout="qkv: (a 3 b) 5; out.weight: 3 (a b)",
)
def heads_first(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    q, k, v = net.qkv(x).view(b, n, net.heads, 3, net.head_dim).transpose(1, 2).unbind(3)
    return net.out(attend(q, k, v))


@pattern(
    "qkv as (heads 3 dim), chunked in each head",
    lambda: packed(heads=3, head_dim=4),
    inputs=sequence,
    prunable="qkv",
    layout="qkv: (a (b + b + b)) 5; out.weight: 3 (a b)",
)
def chunked_heads(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    q, k, v = net.qkv(x).view(b, n, net.heads, 3 * net.head_dim).transpose(1, 2).chunk(3, dim=-1)
    return net.out(attend(q, k, v))


@pattern(
    "qkv as (heads 3 dim), sliced in each head",
    lambda: packed(heads=3, head_dim=4),
    inputs=sequence,
    prunable="qkv",
    layout="qkv: (a (b + b + b)) 5; out.weight: 3 (a b)",
)
def sliced_heads(net: Net, x: Tensor) -> Tensor:
    qkv = net.qkv(x).view(*x.shape[:-1], net.heads, 3 * net.head_dim).transpose(1, 2)
    q = qkv[..., : net.head_dim]
    k = qkv[..., net.head_dim : 2 * net.head_dim]
    return net.out(attend(q, k, qkv[..., 2 * net.head_dim :]))


@pattern(
    "qkv as (heads dim 3)",
    lambda: packed(heads=3),
    inputs=sequence,
    prunable="qkv",
    layout="qkv: (a b 3) 5; out.weight: 3 (a b)",
)
def three_last(net: Net, x: Tensor) -> Tensor:
    qkv = net.qkv(x).unflatten(-1, (net.heads, -1, 3)).transpose(1, 2)
    return net.out(attend(qkv[..., 0], qkv[..., 1], qkv[..., 2]))


@pattern(
    "qkv by one einsum on a weight of four dims",
    lambda: layers(qkv=weight(3, 5, 6, 4), out=weight(6, 4, 3)),
    inputs=sequence,
    prunable="qkv:2 qkv:3",
    frozen="qkv:0",
    layout="qkv: 3 5 a b; out: a b 3",
)
def by_einsum(net: Net, x: Tensor) -> Tensor:
    q, k, v = torch.einsum("bnc,pchd->pbhnd", x, net.qkv)
    share = torch.einsum("bhid,bhjd->bhij", q, k).softmax(-1)
    return torch.einsum("bhij,bhjd,hdo->bio", share, v, net.out)


@pattern(
    "one key and value head packed behind the query heads",
    lambda: layers(qkv=nn.Linear(5, 20), out=nn.Linear(12, 3), heads=3, head_dim=4),
    inputs=sequence,
    prunable="qkv",
    layout="qkv: ((a + 2) b) 5; out.weight: 3 (a b)",
)
def packed_behind(net: Net, x: Tensor) -> Tensor:
    qkv = net.qkv(x).view(*x.shape[:2], net.heads + 2, net.head_dim).transpose(1, 2)
    return net.out(attend(qkv[:, :-2], qkv[:, [-2]], qkv[:, [-1]]))


@pattern(
    "keys and values packed",
    lambda: layers(
        q=nn.Linear(5, 12), kv=nn.Linear(5, 24), out=nn.Linear(12, 3), heads=3, head_dim=4
    ),
    inputs=sequence,
    prunable="q kv",
    layout="q: (a b) 5; kv: (2 a b) 5; out.weight: 3 (a b)",
)
def keys_values(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    q = net.q(x).view(b, n, net.heads, net.head_dim).transpose(1, 2)
    k, v = net.kv(x).view(b, n, 2, net.heads, net.head_dim).permute(2, 0, 3, 1, 4)
    return net.out(attend(q, k, v))


@pattern(
    "keys and values of other sizes packed",
    lambda: layers(
        q=nn.Linear(5, 12),
        kv=nn.Linear(5, 27),
        out=nn.Linear(15, 3),
        heads=3,
        key_dim=4,
        value_dim=5,
    ),
    inputs=sequence,
    prunable="q kv",
    layout="q: (a b) 5; kv: (a (b + c)) 5; out.weight: 3 (a c)",
)
def key_dim_value_dim(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    q = net.q(x).view(b, n, net.heads, -1).transpose(1, 2)
    k, v = (
        net.kv(x)
        .view(b, n, net.heads, -1)
        .transpose(1, 2)
        .split([net.key_dim, net.value_dim], dim=3)
    )
    return net.out(attend(q, k, v))


# ---- heads that are no dimension


@pattern(
    "heads folded into the batch",
    lambda: apart(heads=3, head_dim=4),
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a b) 5; out.weight: 3 (a b)",
)
def folded(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    q, k, v = (
        layer(x).transpose(0, 1).contiguous().view(n, b * net.heads, net.head_dim).transpose(0, 1)
        for layer in (net.q, net.k, net.v)
    )
    share = F.softmax(torch.bmm(q * 0.5, k.transpose(1, 2)), dim=-1)
    h = torch.bmm(share, v).transpose(0, 1).contiguous().view(n, b, net.heads * net.head_dim)
    return net.out(h.transpose(0, 1))


@pattern(
    "heads folded into the batch before it, baddbmm",
    lambda: apart(heads=3),
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def added(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    q, k, v = (
        layer(x).view(b, n, net.heads, -1).transpose(1, 2).flatten(0, 1)
        for layer in (net.q, net.k, net.v)
    )
    near = torch.arange(n, device=x.device).to(x.dtype).expand(b * net.heads, n, n)
    h = torch.baddbmm(near, q, k.mT, beta=0.1, alpha=0.5).softmax(-1) @ v
    return net.out(h.view(b, net.heads, n, -1).transpose(1, 2).flatten(2))


@pattern(
    "heads by chunks joined on the batch",
    lambda: apart(heads=3),
    inputs=sequence,
    prunable="q k v",
    layout="q: (a + a + a) 5; k: (a + a + a) 5; v: (b + b + b) 5; out.weight: 3 (b + b + b)",
)
def joined_on_batch(net: Net, x: Tensor) -> Tensor:
    q, k, v = (torch.cat(layer(x).chunk(net.heads, -1), 0) for layer in (net.q, net.k, net.v))
    h = (q @ k.mT * 0.5).softmax(-1) @ v
    return net.out(torch.cat(h.chunk(net.heads, 0), -1))


class Head(nn.Module):
    """One head, with layers of its own."""

    def __init__(self, inside: int, size: int, *, read: bool) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(inside, size, bias=False) for _ in range(3))
        self.read = read

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.query(x), self.key(x)
        scale = q.shape[-1] ** -0.5 if self.read else 0.5
        return (q @ k.mT * scale).softmax(-1) @ self.value(x)


class Heads(nn.Module):
    """A list of heads, joined at the end."""

    def __init__(self, *, read: bool) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head(5, size, read=read) for size in (4, 4, 6))
        self.out = nn.Linear(14, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([head(x) for head in self.heads], dim=-1))


add(
    "heads in a list",
    lambda: Heads(read=False),
    inputs=sequence,
    prunable="heads.0 heads.1 heads.2",
    layout=(
        "heads.0.query: a 5; heads.0.key: a 5; heads.0.value: b 5; heads.1.query: c 5; "
        "heads.1.key: c 5; heads.1.value: d 5; heads.2.query: e 5; heads.2.key: e 5; "
        "heads.2.value: f 5; out.weight: 3 (b + d + f)"
    ),
)
add(
    "heads in a list, each with the root of its size",
    lambda: Heads(read=True),
    inputs=sequence,
    prunable="heads.0.value heads.2.value",
    inexact="heads.0.query heads.1.query heads.2.key",
    layout=(
        "heads.0.query: a~ 5; heads.0.key: a~ 5; heads.0.value: b 5; heads.1.query: c~ 5; "
        "heads.1.key: c~ 5; heads.1.value: d 5; heads.2.query: e~ 5; heads.2.key: e~ 5; "
        "heads.2.value: f 5; out.weight: 3 (b + d + f)"
    ),
)
