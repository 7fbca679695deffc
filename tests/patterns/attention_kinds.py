"""Attention to other things than all tokens: to another sequence, in windows, between channels,
without a softmax.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import attend
from .pattern import Net, add, layers, pattern, random, sequence, weight
from .transformers import Attention, Block


def split(h: Tensor, heads: int) -> Tensor:
    return h.unflatten(-1, (heads, -1)).transpose(1, 2)


@pattern(
    "attention across to tokens of another width",
    lambda: layers(
        mine=nn.Linear(5, 8),
        theirs=nn.Linear(6, 10),
        q=nn.Linear(8, 12),
        kv=nn.Linear(10, 24),
        out=nn.Linear(12, 8),
        head=nn.Linear(8, 3),
        heads=3,
    ),
    inputs=lambda: (random(2, 7, 5), random(2, 4, 6, seed=1)),
    prunable="mine theirs q kv",
    layout=(
        "mine: a 5; theirs: b 6; q: (c d) a; kv: ((c d) + (c d)) b; out: a (c d); head.weight: 3 a"
    ),
)
def across(net: Net, x: Tensor, y: Tensor) -> Tensor:
    h, other = net.mine(x), net.theirs(y)
    k, v = (split(part, net.heads) for part in net.kv(other).chunk(2, -1))
    return net.head(h + net.out(attend(split(net.q(h), net.heads), k, v)))


@pattern(
    "attention both ways between two towers",
    lambda: layers(
        mine=nn.Linear(5, 8),
        theirs=nn.Linear(6, 10),
        q=nn.Linear(8, 12),
        k=nn.Linear(10, 12),
        v=nn.Linear(8, 12),
        w=nn.Linear(10, 15),
        out1=nn.Linear(15, 3),
        out2=nn.Linear(12, 3),
        heads=3,
    ),
    inputs=lambda: (random(2, 7, 5), random(2, 4, 6, seed=1)),
    prunable="mine theirs q k v w",
    layout=(
        "mine: a 5; theirs: b 6; q: (c d) a; k: (c d) b; v: (c e) a; w: (c f) b; "
        "out1.weight: 3 (c f); out2.weight: 3 (c e)"
    ),
)
def both_ways(net: Net, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    h, other = net.mine(x), net.theirs(y)
    q, k, v, w = (
        split(layer(t), net.heads)
        for layer, t in ((net.q, h), (net.k, other), (net.v, h), (net.w, other))
    )
    scores = q @ k.mT * 0.5
    mine, theirs = scores.softmax(-1) @ w, scores.mT.softmax(-1) @ v
    return net.out1(mine.transpose(1, 2).flatten(2)), net.out2(theirs.transpose(1, 2).flatten(2))


@pattern(
    "attention of the first token only",
    lambda: layers(
        embed=nn.Linear(5, 8),
        q=nn.Linear(8, 12),
        kv=nn.Linear(8, 24),
        proj=nn.Linear(12, 8),
        head=nn.Linear(8, 3),
        heads=3,
    ),
    inputs=sequence,
    prunable="embed q kv",
    layout="embed: a 5; q: (b c) a; kv: (2 b c) a; proj: a (b c); head.weight: 3 a",
)
def of_first(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    first = h[:, :1]
    k, v = net.kv(h).unflatten(-1, (2, net.heads, -1)).permute(2, 0, 3, 1, 4)
    first = first + net.proj(attend(split(net.q(first), net.heads), k, v))
    return net.head(torch.cat([first, h[:, 1:]], 1))


@pattern(
    "pooling by attention with a learned query",
    lambda: layers(
        embed=nn.Linear(5, 8),
        query=weight(1, 1, 6),
        q=nn.Linear(6, 12),
        k=nn.Linear(8, 12),
        v=nn.Linear(8, 15),
        head=nn.Linear(15, 3),
        heads=3,
    ),
    inputs=sequence,
    prunable="embed query:2 q k v",
    layout="query: 1 1 a; embed: b 5; q: (c d) a; k: (c d) b; v: (c e) b; head.weight: 3 (c e)",
)
def learned_query(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    q = split(net.q(net.query).expand(x.shape[0], -1, -1), net.heads)
    return net.head(attend(q, split(net.k(h), net.heads), split(net.v(h), net.heads)).squeeze(1))


@pattern(
    "pooling by the mean token as a query",
    lambda: layers(
        embed=nn.Conv2d(3, 8, 3, stride=3),
        place=weight(5, 8),
        q=nn.Linear(8, 12),
        kv=nn.Linear(8, 24),
        head=nn.Linear(12, 3),
        heads=3,
    ),
    prunable="embed q kv",
    layout="place: 5 a; embed: a 3 3 3; q: (b c) a; kv: ((b c) + (b c)) a; head.weight: 3 (b c)",
)
def mean_query(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x).flatten(2).permute(2, 0, 1)
    h = torch.cat([h.mean(0, keepdim=True), h], 0) + net.place[:, None]
    h = h.transpose(0, 1)
    k, v = (split(part, net.heads) for part in net.kv(h).chunk(2, -1))
    return net.head(attend(split(net.q(h[:, :1]), net.heads), k, v)[:, 0])


@pattern(
    "latents that attend, flattened",
    lambda: layers(
        latents=weight(4, 8),
        q=nn.Linear(8, 12),
        k=nn.Linear(5, 12),
        v=nn.Linear(5, 12),
        out=nn.Linear(12, 6),
        head=nn.Linear(24, 3),
        heads=3,
    ),
    inputs=sequence,
    prunable="latents:0 latents:1 q k v out",
    layout="latents: a b; q: (c d) b; k: (c d) 5; v: (c e) 5; out: f (c e); head.weight: 3 (a f)",
)
def latents(net: Net, x: Tensor) -> Tensor:
    q = split(net.q(net.latents).expand(x.shape[0], -1, -1), net.heads)
    h = attend(q, split(net.k(x), net.heads), split(net.v(x), net.heads))
    return net.head(net.out(h).relu().flatten(1))


@pattern(
    "latents that attend, then to each other",
    lambda: layers(
        latents=weight(4, 12), k=nn.Linear(5, 12), block=Block(norm="none"), head=nn.Linear(12, 3)
    ),
    inputs=sequence,
    prunable="block.attn.qkv k",
    inexact="latents:0",
    layout=(
        "latents: a~ b; k: b 5; block.attn.qkv: (3 c d) b; block.attn.proj: b (c d); "
        "block.fc1: e b; block.fc2: b e; head.weight: 3 b"
    ),
)
def latents_block(net: Net, x: Tensor) -> Tensor:
    h = (net.latents @ net.k(x).mT).softmax(-1) @ net.k(x)
    return net.head(net.block(net.latents + h)).sum(1)


@pattern(
    "learned keys and values before the others",
    lambda: layers(
        q=nn.Linear(5, 12),
        k=nn.Linear(5, 12),
        v=nn.Linear(5, 12),
        keys=weight(3, 4, 4),
        values=weight(3, 4, 4),
        out=nn.Linear(12, 3),
        heads=3,
    ),
    inputs=sequence,
    prunable="q k v keys:0 keys:2",
    inexact="keys:1",
    layout=(
        "keys: a b~ c; values: a b~ d; q: (a c) 5; k: (a c) 5; v: (a d) 5; out.weight: 3 (a d)"
    ),
)
def prefix(net: Net, x: Tensor) -> Tensor:
    q, k, v = (split(layer(x), net.heads) for layer in (net.q, net.k, net.v))
    k = torch.cat([net.keys.expand(x.shape[0], -1, -1, -1), k], dim=2)
    v = torch.cat([net.values.expand(x.shape[0], -1, -1, -1), v], dim=2)
    return net.out(attend(q, k, v))


# ---- windows


def windows(x: Tensor, size: int) -> Tensor:
    b, h, w, c = x.shape
    return (
        x.view(b, h // size, size, w // size, size, c)
        .permute(0, 1, 3, 2, 4, 5)
        .reshape(-1, size * size, c)
    )


def merge_windows(x: Tensor, size: int, h: int, w: int) -> Tensor:
    b = x.shape[0] // (h * w // size // size)
    return (
        x.view(b, h // size, w // size, size, size, -1)
        .permute(0, 1, 3, 2, 4, 5)
        .reshape(b, h, w, -1)
    )


@pattern(
    "attention in shifted windows",
    lambda: layers(
        embed=nn.Conv2d(3, 12, 1), attn=Attention(12, 3, own=True), head=nn.Linear(12, 3), window=3
    ),
    prunable="embed attn.qkv",
    layout="embed: a 3 1 1; attn.qkv: (3 b c) a; attn.proj: a (b c); head.weight: 3 a",
)
def shifted_windows(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x).permute(0, 2, 3, 1)
    y = torch.roll(h, shifts=(-1, -1), dims=(1, 2))
    y = merge_windows(net.attn(windows(y, net.window)), net.window, *h.shape[1:3])
    return net.head(h + torch.roll(y, shifts=(1, 1), dims=(1, 2)))


@pattern(
    "patches merged by strided slices, normed and reduced",
    lambda: layers(
        embed=nn.Conv2d(3, 8, 1),
        norm=nn.LayerNorm(32),
        reduce=nn.Linear(32, 16, bias=False),
        head=nn.Linear(16, 3),
    ),
    prunable="reduce",
    inexact="embed",
    layout=(
        "embed: a~ 3 1 1; norm: (a~ + a~ + a~ + a~); reduce: b (a~ + a~ + a~ + a~); "
        "head.weight: 3 b"
    ),
)
def merged_patches(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x).permute(0, 2, 3, 1)
    h = torch.cat([h[:, 0::2, 0::2], h[:, 1::2, 0::2], h[:, 0::2, 1::2], h[:, 1::2, 1::2]], -1)
    return net.head(net.reduce(net.norm(h)).relu())


@pattern(
    "attention to keys of fewer pixels",
    lambda: layers(
        embed=nn.Conv2d(3, 8, 1),
        q=nn.Linear(8, 12),
        reduce=nn.Conv2d(8, 6, 2, stride=2),
        kv=nn.Linear(6, 24),
        out=nn.Linear(12, 3),
        heads=3,
    ),
    prunable="embed q reduce kv",
    layout="embed: a 3 1 1; q: (b c) a; reduce: d a 2 2; kv: (2 b c) d; out.weight: 3 (b c)",
)
def fewer_pixels(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    b, c, *_ = h.shape
    flat = h.flatten(2).mT
    less = net.reduce(flat.permute(0, 2, 1).reshape(b, c, 6, 6)).flatten(2).mT
    k, v = (
        net.kv(less)
        .reshape(b, -1, 2, net.heads, net.kv.out_features // 2 // net.heads)
        .permute(2, 0, 3, 1, 4)
    )
    return net.out(attend(split(net.q(flat), net.heads), k, v))


@pattern(
    "attention along rows, then along columns",
    lambda: layers(
        embed=nn.Conv2d(3, 12, 1),
        rows=Attention(12, 3, own=True),
        columns=Attention(12, 2, own=True),
        head=nn.Conv2d(12, 4, 1),
    ),
    prunable="embed rows.qkv columns.qkv",
    layout=(
        "embed: a 3 1 1; rows.qkv: (3 b c) a; rows.proj: a (b c); columns.qkv: (3 d e) a; "
        "columns.proj: a (d e); head.weight: 4 a 1 1"
    ),
)
def axial(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    b, c, y, w = h.shape
    rows = net.rows(h.permute(0, 2, 3, 1).reshape(b * y, w, c)).view(b, y, w, c).permute(0, 3, 1, 2)
    h = h + rows
    columns = (
        net.columns(h.permute(0, 3, 2, 1).reshape(b * w, y, -1))
        .view(b, w, y, -1)
        .permute(0, 3, 2, 1)
    )
    return net.head(h + columns)


# ---- other scores than a softmax over tokens


@pattern(
    "attention between channels",
    lambda: layers(
        qkv=nn.Conv2d(3, 36, 1),
        deep=nn.Conv2d(36, 36, 3, padding=1, groups=36),
        scale=weight(3, 1, 1),
        out=nn.Conv2d(12, 4, 1),
        heads=3,
    ),
    prunable="qkv scale:0",
    inexact="qkv",
    layout=(
        "scale: a 1 1; qkv: ((a b~) + (a b~) + (a b~)) 3 1 1; "
        "deep: ((a b~) + (a b~) + (a b~)) 1 3 3; out.weight: 4 (a b~) 1 1"
    ),
)
def between_channels(net: Net, x: Tensor) -> Tensor:
    q, k, v = (
        part.flatten(2).unflatten(1, (net.heads, -1))
        for part in net.deep(net.qkv(x)).chunk(3, dim=1)
    )
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    h = (q @ k.transpose(-2, -1) * net.scale).softmax(-1) @ v
    return net.out(h.flatten(1, 2).unflatten(-1, (6, 6)))


@pattern(
    "attention between channels, a layer for each",
    lambda: layers(
        q=nn.Conv2d(3, 15, 1),
        k=nn.Conv2d(3, 12, 1),
        v=nn.Conv2d(3, 12, 1),
        out=nn.Conv2d(15, 4, 1),
        heads=3,
    ),
    prunable="q k v",
    inexact="k v",
    layout="q: (a b) 3 1 1; k: (a c~) 3 1 1; v: (a c~) 3 1 1; out.weight: 4 (a b) 1 1",
)
def between_channels_apart(net: Net, x: Tensor) -> Tensor:
    q, k, v = (layer(x).flatten(2).unflatten(1, (net.heads, -1)) for layer in (net.q, net.k, net.v))
    return net.out(((q @ k.mT / 36).softmax(-1) @ v).flatten(1, 2).unflatten(-1, (6, 6)))


def linear(**more: object) -> dict[str, object]:
    return layers(
        q=nn.Linear(5, 12),
        k=nn.Linear(5, 12),
        v=nn.Linear(5, 15),
        out=nn.Linear(15, 3),
        heads=3,
        **more,
    )


@pattern(
    "linear attention by elu plus one",
    linear,
    inputs=sequence,
    prunable="q k v",
    inexact="q k",
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def by_elu(net: Net, x: Tensor) -> Tensor:
    q, k, v = (split(layer(x), net.heads) for layer in (net.q, net.k, net.v))
    q, k = F.elu(q) + 1, F.elu(k) + 1
    context = torch.einsum("bhnd,bhne->bhde", k, v)
    z = 1 / torch.einsum("bhnd,bhd->bhn", q, k.sum(2))
    return net.out(torch.einsum("bhnd,bhde,bhn->bhne", q, context, z).transpose(1, 2).flatten(2))


@pattern(
    "linear attention by relu",
    linear,
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def by_relu(net: Net, x: Tensor) -> Tensor:
    q, k, v = (split(layer(x), net.heads) for layer in (net.q, net.k, net.v))
    q, k = q.relu(), k.relu()
    v = F.pad(v, (0, 1), value=1.0)
    h = q @ (k.mT @ v)
    h = h[..., :-1] / (h[..., -1:] + 1e-5)
    return net.out(h.transpose(1, 2).flatten(2))


@pattern(
    "linear attention by relu, without a floor",
    linear,
    inputs=sequence,
    prunable="q v",
    inexact="q v",
    layout="q: (a~ b) 5; k: (a~ b) 5; v: (a~ c) 5; out.weight: 3 (a~ c)",
)
def without_floor(net: Net, x: Tensor) -> Tensor:
    q, k, v = (split(layer(x), net.heads) for layer in (net.q, net.k, net.v))
    q, k = q.relu() ** 2, k.relu() ** 2
    h = (q @ (k.mT @ v)) / (q @ k.sum(2, keepdim=True).mT)
    return net.out(h.transpose(1, 2).flatten(2))


@pattern(
    "linear attention by two softmaxes",
    linear,
    inputs=sequence,
    prunable="q k v",
    inexact="q k",
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def by_softmaxes(net: Net, x: Tensor) -> Tensor:
    q, k, v = (split(layer(x), net.heads) for layer in (net.q, net.k, net.v))
    return net.out((q.softmax(-1) @ (k.softmax(-2).mT @ v)).transpose(1, 2).flatten(2))


@pattern(
    "linear attention, causal, with a decay for each head",
    lambda: linear(decay=nn.Buffer(torch.tensor([0.9, 0.8, 0.7]))),
    inputs=sequence,
    prunable="q k v decay:0",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c); decay: a",
)
def retention(net: Net, x: Tensor) -> Tensor:
    q, k, v = (split(layer(x), net.heads) for layer in (net.q, net.k, net.v))
    place = torch.arange(x.shape[1], device=x.device)
    away = (place[:, None] - place).clamp(min=0)
    share = (net.decay[:, None, None] ** away).tril()
    return net.out(((q @ k.mT * share) @ v).transpose(1, 2).flatten(2))


@pattern(
    "linear attention, a state carried from token to token, a group norm by head",
    lambda: linear(norm=nn.GroupNorm(3, 15)),
    inputs=sequence,
    prunable="q k v",
    inexact="v",
    layout="q: (a b) 5; k: (a b) 5; v: (a c~) 5; out.weight: 3 (a c~); norm: (a c~)",
)
def carried(net: Net, x: Tensor) -> Tensor:
    q, k, v = (split(layer(x), net.heads) for layer in (net.q, net.k, net.v))
    state, out = torch.zeros_like(k[:, :, 0, :, None] * v[:, :, 0, None]), []
    for i in range(x.shape[1]):
        state = 0.9 * state + k[:, :, i, :, None] * v[:, :, i, None]
        out.append((q[:, :, i, None] @ state).squeeze(2).flatten(1))
    h = torch.stack(out, 1)
    return net.out(net.norm(h.flatten(0, 1)).view_as(h))


@pattern(
    "squeeze and excite over tokens",
    lambda: layers(
        embed=nn.Linear(5, 8), squeeze=nn.Linear(8, 4), excite=nn.Linear(4, 8), head=nn.Linear(8, 3)
    ),
    inputs=sequence,
    prunable="embed squeeze",
    layout="embed: a 5; squeeze: b a; excite: a b; head.weight: 3 a",
)
def excited(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    return net.head(h * net.excite(net.squeeze(h.mean(1, keepdim=True)).relu()).sigmoid())


class Levit(nn.Module):
    """Attention with biases by offset, kept in a cache in eval mode; keys smaller than values."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.key_dim, self.value_dim = 3, 4, 6
        self.embed, self.head = nn.Linear(5, 8), nn.Linear(8, 3)
        self.qkv, self.proj = nn.Linear(8, 3 * 14), nn.Linear(18, 8)
        self.attention_biases = weight(3, 7)
        place = torch.arange(7)
        self.attention_bias_idxs = nn.Buffer((place[:, None] - place).abs())
        self.cache: dict[str, Tensor] = {}

    def biases(self, device: torch.device) -> Tensor:
        key = str(device)
        if key not in self.cache:
            self.cache[key] = self.attention_biases[:, self.attention_bias_idxs]
        return self.cache[key]

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        b, n, _ = h.shape
        q, k, v = (
            self.qkv(h)
            .view(b, n, self.num_heads, -1)
            .split([self.key_dim, self.key_dim, self.value_dim], dim=3)
        )
        q, k, v = q.permute(0, 2, 1, 3), k.permute(0, 2, 3, 1), v.permute(0, 2, 1, 3)
        share = (q @ k * 0.5 + self.biases(x.device)).softmax(-1)
        y = (share @ v).transpose(1, 2).reshape(b, n, self.num_heads * self.value_dim)
        return self.head(h + self.proj(F.hardswish(y)))


add(
    "attention with biases kept in a cache",
    Levit,
    inputs=sequence,
    prunable="embed qkv attention_biases:0",
    layout=(
        "attention_biases: a 7; embed: b 5; head.weight: 3 b; qkv: (a (c + c + d)) b; proj: b (a d)"
    ),
)
