"""Attention, its numbers: where a forward reads how many heads there are, and how large they
are.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import apart, attend, packed
from .pattern import Net, layers, pattern, random, sequence, weight

HEADS = 3


@pattern(
    "heads from minus one, their size an attribute",
    lambda: apart(head_dim=4),
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a b) 5; out.weight: 3 (a b)",
)
def free_heads(net: Net, x: Tensor) -> Tensor:
    shape = (*x.shape[:-1], -1, net.head_dim)
    q, k, v = (layer(x).view(shape).transpose(1, 2) for layer in (net.q, net.k, net.v))
    h = (q @ k.transpose(2, 3) * 0.5).softmax(-1) @ v
    return net.out(h.transpose(1, 2).reshape(*x.shape[:-1], -1).contiguous())


@pattern(
    "heads as BERT writes them",
    lambda: apart(heads=3, head_dim=4, width=12),
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a b) 5; out.weight: 3 (a b)",
)
def transpose_for_scores(net: Net, x: Tensor) -> Tensor:
    def split(h: Tensor) -> Tensor:
        return h.view(*h.size()[:-1], net.heads, net.head_dim).permute(0, 2, 1, 3)

    h = (split(net.q(x)) @ split(net.k(x)).transpose(-1, -2) * 0.5).softmax(-1) @ split(net.v(x))
    h = h.permute(0, 2, 1, 3).contiguous()
    merged = h.size()[:-2] + torch.Size([net.width])
    return net.out(h.view(merged))


@pattern(
    "heads by dividing the layer's own width",
    lambda: apart(heads=3),
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a b) 5; out.weight: 3 (a b)",
)
def divided_width(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    each = net.q.out_features // net.heads
    q, k, v = (
        layer(x).view(b, n, net.heads, each).transpose(1, 2) for layer in (net.q, net.k, net.v)
    )
    return net.out(attend(q, k, v).view(b, n, net.out.in_features))


@pattern(
    "the number of heads by dividing",
    lambda: packed(head_dim=4),
    inputs=sequence,
    prunable="qkv",
    layout="qkv: (3 a b) 5; out.weight: 3 (a b)",
)
def counted_heads(net: Net, x: Tensor) -> Tensor:
    qkv = net.qkv(x)
    heads = qkv.shape[-1] // (3 * net.head_dim)
    q, k, v = qkv.view(*x.shape[:2], 3, heads, net.head_dim).permute(2, 0, 3, 1, 4)
    return net.out(attend(q, k, v))


@pattern(
    "heads of the model's width by a quotient",
    lambda: layers(
        embed=nn.Linear(5, 12),
        qkv=nn.Linear(12, 36),
        proj=nn.Linear(12, 12),
        head=nn.Linear(12, 3),
        heads=3,
    ),
    inputs=sequence,
    prunable="embed qkv",
    layout="embed: (a b) 5; qkv: (3 a b) (a b); proj: (a b) (a b); head.weight: 3 (a b)",
)
def of_model_width(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    b, n, c = h.shape
    q, k, v = net.qkv(h).reshape(b, n, 3, net.heads, c // net.heads).permute(2, 0, 3, 1, 4)
    y = (q @ k.transpose(-2, -1) * 0.5).softmax(dim=-1) @ v
    return net.head(h + net.proj(y.transpose(1, 2).reshape(b, n, c)))


@pattern(
    "heads of the model's width, stored",
    lambda: layers(
        embed=nn.Linear(5, 12),
        attn=nn.Linear(12, 36),
        proj=nn.Linear(12, 12),
        head=nn.Linear(12, 3),
        n_head=3,
        n_embd=12,
    ),
    inputs=sequence,
    prunable="embed attn",
    layout=(
        "embed: (a b) 5; attn: ((a b) + (a b) + (a b)) (a b); proj: (a b) (a b); "
        "head.weight: 3 (a b)"
    ),
)
def nano(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    b, n, c = h.size()
    q, k, v = net.attn(h).split(net.n_embd, dim=2)
    q, k, v = (part.view(b, n, net.n_head, c // net.n_head).transpose(1, 2) for part in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.5)
    return net.head(h + net.proj(y.transpose(1, 2).contiguous().view(b, n, c)))


@pattern(
    "heads of the model's width without projections",
    lambda: layers(embed=nn.Linear(5, 12), head=nn.Linear(12, 3), heads=3),
    inputs=sequence,
    prunable="embed",
    layout="embed: (a b) 5; head.weight: 3 (a b)",
)
def unprojected(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    b, n, c = h.shape
    q = h.view(b, n, net.heads, c // net.heads).transpose(1, 2)
    return net.head(h + attend(q, q, q).view(b, n, c))


@pattern(
    "heads joined by minus one",
    lambda: packed(heads=3),
    inputs=sequence,
    prunable="qkv",
    layout="qkv: (3 a b) 5; out.weight: 3 (a b)",
)
def joined_by_minus_one(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    q, k, v = net.qkv(x).reshape(b, n, 3, net.heads, -1).permute(2, 0, 3, 1, 4)
    return net.out((q @ k.mT).softmax(-1).matmul(v).transpose(1, 2).reshape(b, n, -1))


@pattern(
    "heads of the very width of the input",
    lambda: layers(qkv=nn.Linear(12, 36), out=nn.Linear(12, 3), heads=3),
    inputs=lambda: (random(2, 7, 12),),
    frozen="qkv.weight:1 out.weight:0",
    why="the literal or fixed size 12 in reshape",
)
def of_input_width(net: Net, x: Tensor) -> Tensor:
    b, n, c = x.shape
    q, k, v = net.qkv(x).reshape(b, n, 3, net.heads, c // net.heads).permute(2, 0, 3, 1, 4)
    return net.out(attend(q, k, v).reshape(b, n, c))


@pattern(
    "heads by literal numbers",
    packed,
    inputs=sequence,
    frozen="qkv.weight:0 qkv.bias:0 out.weight:1",
    why="the literal or fixed size 3 in view",
)
def literal(net: Net, x: Tensor) -> Tensor:
    q, k, v = net.qkv(x).view(2, 7, 3, 3, 4).permute(2, 0, 3, 1, 4)
    return net.out(attend(q, k, v))


@pattern(
    "a literal number of heads, as large as they come",
    lambda: packed(scale=weight(3, 1, 1)),
    inputs=sequence,
    prunable="qkv",
    frozen="scale:0",
    layout="qkv: (9 a) 5; out.weight: 3 (3 a)",
)
def literal_heads(net: Net, x: Tensor) -> Tensor:
    q, k, v = net.qkv(x).view(*x.shape[:2], 3, 3, -1).permute(2, 0, 3, 1, 4)
    return net.out(attend(q, k, v, net.scale))


@pattern(
    "any number of heads, of a literal size",
    lambda: packed(scale=weight(4)),
    inputs=sequence,
    prunable="qkv",
    frozen="scale:0",
    layout="qkv: (3 a 4) 5; out.weight: 3 (a 4)",
)
def literal_dim(net: Net, x: Tensor) -> Tensor:
    q, k, v = net.qkv(x).view(*x.shape[:2], 3, -1, 4).permute(2, 0, 3, 1, 4)
    return net.out(attend(q * net.scale, k, v))


@pattern(
    "the number of heads from a constant of the file",
    lambda: apart(scale=weight(3, 1, 1)),
    inputs=sequence,
    prunable="q k v",
    frozen="scale:0",
    layout="q: (3 a) 5; k: (3 a) 5; v: (3 b) 5; out.weight: 3 (3 b)",
)
def global_heads(net: Net, x: Tensor) -> Tensor:
    q, k, v = (
        layer(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for layer in (net.q, net.k, net.v)
    )
    return net.out(attend(q, k, v, net.scale))


@dataclass
class Config:
    width: int = 12
    heads: int = 3


@dataclass(frozen=True)
class FrozenConfig:
    width: int = 12
    heads: int = 3


@dataclass(frozen=True, slots=True)
class SlottedConfig:
    width: int = 12
    heads: int = 3


def by_config(net: Net, x: Tensor) -> Tensor:
    c = net.config
    q, k, v = (
        layer(x).view(2, -1, c.heads, c.width // c.heads).transpose(1, 2)
        for layer in (net.q, net.k, net.v)
    )
    return net.out(attend(q, k, v).view(2, -1, c.width))


pattern(
    "heads from a namespace",
    lambda: apart(config=SimpleNamespace(width=12, heads=3)),
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a b) 5; out.weight: 3 (a b)",
)(by_config)
pattern(
    "heads from a dataclass",
    lambda: apart(config=Config()),
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a b) 5; out.weight: 3 (a b)",
)(by_config)
pattern(
    "heads from a frozen dataclass",
    lambda: apart(config=FrozenConfig()),
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a b) 5; out.weight: 3 (a b)",
)(by_config)
pattern(
    "heads from a dataclass with slots",
    lambda: apart(config=SlottedConfig()),
    inputs=sequence,
    why="the literal or fixed size 3 in view",
)(by_config)
