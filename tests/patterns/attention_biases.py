"""Attention, what is added to its scores or hides them: masks, positions, slopes, sinks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention_scores import join, parts, split
from .pattern import Net, pattern, random, sequence, weight

# ---- masks


@pattern(
    "attention with a causal mask made on the spot",
    parts,
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def causal(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    n = x.shape[1]
    later = torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1)
    return join(net, (q @ k.mT).masked_fill(later, float("-inf")).softmax(-1) @ v)


@pattern(
    "attention with a causal mask in a buffer",
    lambda: parts(seen=nn.Buffer(torch.ones(9, 9).tril().view(1, 1, 9, 9))),
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def causal_buffer(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    n = x.size(1)
    share = (q @ k.mT).masked_fill(net.seen[:, :, :n, :n] == 0, float("-inf"))
    return join(net, F.softmax(share, dim=-1) @ v)


@pattern(
    "attention with a mask of padding",
    parts,
    inputs=lambda: (random(2, 7, 5), torch.arange(7)[None, :] < torch.tensor([[7], [4]])),
    prunable="q k v",
    inexact="q k",
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def padded(net: Net, x: Tensor, seen: Tensor) -> Tensor:
    return join(
        net, F.scaled_dot_product_attention(*split(net, x), attn_mask=seen[:, None, None, :])
    )


@pattern(
    "attention with a mask that is added, and infinite",
    parts,
    inputs=lambda: (
        random(2, 7, 5),
        (torch.arange(7)[None, :] < torch.tensor([[7], [4]])).double(),
    ),
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def extended(net: Net, x: Tensor, seen: Tensor) -> Tensor:
    q, k, v = split(net, x)
    added = (1.0 - seen[:, None, None, :]) * torch.finfo(x.dtype).min
    return join(net, (q @ k.mT + added).softmax(-1) @ v)


@pattern(
    "attention with a mask given for each head",
    lambda: parts(scale=weight(3, 1, 1)),
    inputs=lambda: (random(2, 7, 5), random(2, 3, 7, 7, seed=1)),
    prunable="q k v",
    frozen="scale:0",
    layout="q: (3 a) 5; k: (3 a) 5; v: (3 b) 5; out.weight: 3 (3 b)",
)
def masked_heads(net: Net, x: Tensor, mask: Tensor) -> Tensor:
    q, k, v = split(net, x)
    return join(net, F.scaled_dot_product_attention(q * net.scale, k, v, attn_mask=mask, scale=0.5))


@pattern(
    "attention with rows that see nothing",
    parts,
    inputs=lambda: (random(2, 7, 5), torch.arange(7)[:, None] > torch.arange(7)),
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def blind(net: Net, x: Tensor, seen: Tensor) -> Tensor:
    q, k, v = split(net, x)
    share = (q @ k.mT).masked_fill(~seen, -torch.inf).softmax(-1)
    return join(net, share.masked_fill(~seen, 0.0) @ v)


# ---- biases


@pattern(
    "attention with relative positions in a table",
    lambda: parts(
        table=weight(13, 3), index=nn.Buffer(torch.arange(7)[:, None] - torch.arange(7) + 6)
    ),
    inputs=sequence,
    prunable="q k v table:1",
    frozen="table:0",
    layout="table: 13 a; q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def table(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    n = x.shape[1]
    bias = net.table[net.index.view(-1)].view(n, n, -1).permute(2, 0, 1).contiguous()
    return join(net, (q @ k.mT + bias.unsqueeze(0)).softmax(-1) @ v)


@pattern(
    "attention with relative positions in an embedding",
    lambda: parts(bias=nn.Embedding(8, 3)),
    inputs=sequence,
    prunable="q k v bias",
    frozen="bias.weight:0",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c); bias: 8 a",
)
def bucketed(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    place = torch.arange(x.shape[1], device=x.device)
    bucket = (place[None, :] - place[:, None]).abs().clamp(max=7)
    return join(net, (q @ k.mT + net.bias(bucket).permute(2, 0, 1).unsqueeze(0)).softmax(-1) @ v)


@pattern(
    "attention with relative positions through a small network",
    lambda: parts(
        cpb=nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3, bias=False)),
        at=nn.Buffer(torch.rand(7, 7, 2)),
    ),
    inputs=sequence,
    prunable="q k v cpb.0 cpb.2",
    layout=(
        "q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c); cpb.0: d e; cpb.2: a d; at: 7 7 e"
    ),
)
def continuous(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    bias = 16 * torch.sigmoid(net.cpb(net.at).permute(2, 0, 1))
    return join(net, (q @ k.mT + bias).softmax(-1) @ v)


@pattern(
    "attention with relative keys for each dim",
    lambda: parts(
        table=weight(13, 4), index=nn.Buffer(torch.arange(7)[:, None] - torch.arange(7) + 6)
    ),
    inputs=sequence,
    prunable="q k v table:1",
    layout="table: 13 a; q: (b a) 5; k: (b a) 5; v: (b c) 5; out.weight: 3 (b c)",
)
def relative_keys(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    share = q @ k.mT + torch.einsum("bhid,ijd->bhij", q, net.table[net.index])
    return join(net, (share * 0.5).softmax(-1) @ v)


@pattern(
    "attention with shifted relative positions, as Transformer-XL",
    lambda: parts(r=nn.Linear(6, 12, bias=False), u=weight(3, 4), w=weight(3, 4)),
    inputs=lambda: (random(2, 7, 5), random(7, 6, seed=1)),
    prunable="q k v r u:0 u:1 w:1",
    layout="u: a b; w: a b; q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c); r: (a b) 6",
)
def shifted(net: Net, x: Tensor, place: Tensor) -> Tensor:
    q, k, v = split(net, x)
    r = net.r(place).unflatten(-1, (net.heads, -1)).transpose(0, 1)
    content = (q + net.u[:, None]) @ k.mT
    position = F.pad((q + net.w[:, None]) @ r.mT, (1, 0))
    b, h, n, m = position.shape
    position = position.view(b, h, m, n)[:, :, 1:].view(b, h, n, m - 1)
    return join(net, ((content + position) * 0.5).softmax(-1) @ v)


@pattern(
    "attention with slopes in a buffer",
    lambda: parts(slopes=nn.Buffer(torch.tensor([0.5, 0.25, 0.125]))),
    inputs=sequence,
    prunable="q k v slopes:0",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c); slopes: a",
)
def slopes(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    place = torch.arange(x.shape[1], device=x.device)
    away = (place[None, :] - place[:, None]).abs()
    return join(net, (q @ k.mT - net.slopes[:, None, None] * away).softmax(-1) @ v)


@pattern(
    "attention with slopes from the number of heads",
    parts,
    inputs=sequence,
    layout="q: (3 a) 5; k: (3 a) 5; v: (3 b) 5; out.weight: 3 (3 b)",
)
def computed_slopes(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    slopes = torch.tensor(
        [2 ** (-8 * (i + 1) / net.heads) for i in range(net.heads)], dtype=x.dtype, device=x.device
    )
    near = torch.arange(x.shape[1], device=x.device)
    return join(net, (q @ k.mT + slopes.view(1, -1, 1, 1) * near).softmax(-1) @ v)


@pattern(
    "attention with slopes from a range that ends behind the heads",
    parts,
    inputs=sequence,
    layout="q: (a~ b) 5; k: (a~ b) 5; v: (a~ c) 5; out.weight: 3 (a~ c)",
)
def ended_slopes(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    slopes = 2.0 ** -torch.arange(1, net.heads + 1, dtype=x.dtype, device=x.device)
    near = torch.arange(x.shape[1], device=x.device)
    return join(net, (q @ k.mT + slopes[:, None, None] * near).softmax(-1) @ v)


@pattern(
    "attention with slopes from a range over the heads",
    parts,
    inputs=sequence,
    prunable="q v",
    inexact="q v",
    layout="q: (a~ b) 5; k: (a~ b) 5; v: (a~ c) 5; out.weight: 3 (a~ c)",
)
def ranged_slopes(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    slopes = 2.0 ** -(torch.arange(net.heads, dtype=x.dtype, device=x.device) + 1)
    near = torch.arange(x.shape[1], device=x.device)
    return join(net, (q @ k.mT + slopes[:, None, None] * near).softmax(-1) @ v)


@pattern(
    "attention with a sink for each head",
    lambda: parts(sinks=weight(3)),
    inputs=sequence,
    prunable="q k v sinks:0",
    layout="sinks: a; q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def sinks(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    b, n, _ = x.shape
    share = torch.cat([q @ k.mT, net.sinks.reshape(1, -1, 1, 1).expand(b, -1, n, -1)], dim=-1)
    share = (share - share.max(dim=-1, keepdim=True).values).softmax(-1)
    return join(net, share[..., :-1] @ v)


@pattern(
    "attention with a softmax plus one",
    parts,
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def plus_one(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    share = (q @ k.mT).exp()
    return join(net, share / (1 + share.sum(-1, keepdim=True)) @ v)


@pattern(
    "attention with scores capped by tanh",
    parts,
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def capped(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    return join(net, (50.0 * torch.tanh(q @ k.mT / 50.0)).softmax(-1) @ v)


@pattern(
    "attention by sigmoids",
    parts,
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def sigmoids(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    return join(net, (q @ k.mT - math.log(x.shape[1])).sigmoid() @ v)


@pattern(
    "attention to the best few keys",
    parts,
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def best(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    scores = q @ k.mT
    least = scores.topk(3, dim=-1).values[..., -1:]
    return join(net, scores.masked_fill(scores < least, -torch.inf).softmax(-1) @ v)
