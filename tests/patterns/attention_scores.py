"""Attention, its scores: scales, norms, mixtures, gates, and what is given out."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pattern import Net, layers, pattern, sequence, weight


def parts(**more: object) -> dict[str, object]:
    """A layer for each, 3 heads of 4."""
    return layers(
        q=nn.Linear(5, 12),
        k=nn.Linear(5, 12),
        v=nn.Linear(5, 15),
        out=nn.Linear(15, 3),
        heads=3,
        **more,
    )


def split(net: Net, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, heads before tokens."""
    q, k, v = (
        layer(x).unflatten(-1, (net.heads, -1)).transpose(1, 2) for layer in (net.q, net.k, net.v)
    )
    return q, k, v


def join(net: Net, h: Tensor) -> Tensor:
    return net.out(h.transpose(1, 2).flatten(2))


# ---- the scale


@pattern(
    "attention heads in one operator",
    parts,
    inputs=sequence,
    prunable="q k v",
    inexact="q k",
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def one_operator(net: Net, x: Tensor) -> Tensor:
    return join(net, F.scaled_dot_product_attention(*split(net, x)))


@pattern(
    "attention heads in one operator, packed",
    lambda: layers(qkv=nn.Linear(5, 36), out=nn.Linear(12, 3), heads=3),
    inputs=sequence,
    prunable="qkv",
    inexact="qkv",
    layout="qkv: (3 a b~) 5; out.weight: 3 (a b~)",
)
def one_operator_packed(net: Net, x: Tensor) -> Tensor:
    q, k, v = net.qkv(x).unflatten(-1, (3, net.heads, -1)).permute(2, 0, 3, 1, 4)
    return net.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


@pattern(
    "attention heads in one operator, scale stored",
    lambda: parts(scale=4**-0.5),
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def one_operator_scaled(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    return join(net, F.scaled_dot_product_attention(q, k, v, dropout_p=0.0, scale=net.scale))


@pattern(
    "attention scaled by the heads' own size",
    lambda: parts(head_dim=4),
    inputs=sequence,
    prunable="q k v",
    inexact="q k",
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def by_attribute(net: Net, x: Tensor) -> Tensor:
    q, k = (
        layer(x).view(*x.shape[:-1], net.heads, net.head_dim).transpose(1, 2)
        for layer in (net.q, net.k)
    )
    return join(net, (q @ k.mT * net.head_dim**-0.5).softmax(-1) @ split(net, x)[2])


@pattern(
    "attention scaled by a root of an attribute",
    lambda: parts(head_dim=4),
    inputs=sequence,
    prunable="q v",
    inexact="q",
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def by_root(net: Net, x: Tensor) -> Tensor:
    q, k = (
        layer(x).view(*x.shape[:-1], -1, net.head_dim).transpose(1, 2) for layer in (net.q, net.k)
    )
    return join(net, (q @ k.mT / math.sqrt(net.head_dim)).softmax(-1) @ split(net, x)[2])


@pattern(
    "attention scaled by a size read last",
    parts,
    inputs=sequence,
    prunable="q k v",
    inexact="q k",
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def by_shape(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    return join(net, ((q * q.shape[-1] ** -0.5) @ k.mT).softmax(-1) @ v)


@pattern(
    "attention scaled on both sides by a fourth root",
    parts,
    inputs=sequence,
    prunable="q k v",
    inexact="q k",
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def by_fourth_root(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    scale = 1 / math.sqrt(math.sqrt(k.size(-1)))
    return join(net, torch.einsum("bhid,bhjd->bhij", q * scale, k * scale).softmax(-1) @ v)


@pattern(
    "attention scaled by a tensor of the size",
    parts,
    inputs=sequence,
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def by_tensor(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    return join(
        net, (q @ k.mT / torch.sqrt(torch.tensor(k.size(-1), dtype=x.dtype))).softmax(-1) @ v
    )


@pattern(
    "attention scaled by a float over the size",
    parts,
    inputs=sequence,
    prunable="q v",
    inexact="q",
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def by_float_over(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    return join(net, (q @ k.mT * (2.0 / q.shape[-1])).softmax(-1) @ v)


@pattern(
    "attention scaled by a float times the size",
    parts,
    inputs=sequence,
    prunable="q v",
    inexact="q",
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def by_float_times(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    return join(net, (q @ k.mT / (0.5 * q.shape[-1])).softmax(-1) @ v)


@pattern(
    "attention scaled by numpy's root of the size",
    parts,
    inputs=sequence,
    prunable="q v",
    inexact="q",
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def by_numpy(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    return join(net, (q @ k.mT / np.sqrt(k.size(-1))).softmax(-1) @ v)


@pattern(
    "attention scaled by a logarithm of the size",
    parts,
    inputs=sequence,
    prunable="q v",
    inexact="q",
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def by_logarithm(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    return join(net, (q @ k.mT / math.log(k.size(-1))).softmax(-1) @ v)


@pattern(
    "attention averaged over heads by their number",
    lambda: parts(scale=weight(3)),
    inputs=sequence,
    inexact="scale:0",
    layout="scale: a~; q: (a~ b) 5; k: (a~ b) 5; v: (a~ c) 5",
)
def by_heads(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    h = (q @ k.mT).softmax(-1) @ v * net.scale[:, None, None]
    return h.sum((1, 3)) * (1.0 / net.heads)


@pattern(
    "attention scaled by a buffer",
    lambda: parts(scale=nn.Buffer(torch.tensor(0.5))),
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def by_buffer(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    return join(net, (q @ k.mT * net.scale).softmax(-1) @ v)


@pattern(
    "attention scaled by the model's width",
    lambda: layers(embed=nn.Linear(5, 8), **parts_of(8)),
    inputs=sequence,
    prunable="q k v",
    inexact="embed",
    layout="embed: a~ 5; q: (b c) a~; k: (b c) a~; v: (b d) a~; out.weight: 3 (b d)",
)
def by_model_width(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    q, k, v = split(net, h)
    return join(net, (q @ k.mT * h.shape[-1] ** -0.5).softmax(-1) @ v)


def parts_of(inside: int) -> dict[str, object]:
    """As `parts`, from another width."""
    return layers(
        q=nn.Linear(inside, 12),
        k=nn.Linear(inside, 12),
        v=nn.Linear(inside, 15),
        out=nn.Linear(15, 3),
        heads=3,
    )


@pattern(
    "cosine attention with a learned temperature",
    lambda: parts(scale=weight(3, 1, 1)),
    inputs=sequence,
    prunable="q k v scale:0",
    layout="scale: a 1 1; q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def cosine(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    scale = torch.clamp(net.scale, max=math.log(100.0)).exp()
    return join(net, (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * scale).softmax(-1) @ v)


# ---- norms and mixtures


@pattern(
    "attention with layer norm of queries and keys",
    lambda: parts(q_norm=nn.LayerNorm(4), k_norm=nn.LayerNorm(4)),
    inputs=sequence,
    prunable="q k v",
    inexact="q k",
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c); q_norm: b~; k_norm: b~",
)
def normed(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    return join(net, F.scaled_dot_product_attention(net.q_norm(q), net.k_norm(k), v, scale=0.5))


@pattern(
    "attention with RMS norm of queries and keys",
    lambda: parts(q_norm=nn.RMSNorm(4, eps=1e-6), k_norm=nn.RMSNorm(4, eps=1e-6), head_dim=4),
    inputs=sequence,
    prunable="q k v",
    inexact="q k",
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c); q_norm: b~; k_norm: b~",
)
def rms_normed(net: Net, x: Tensor) -> Tensor:
    shape = (*x.shape[:-1], -1, net.head_dim)
    q = net.q_norm(net.q(x).view(shape)).transpose(1, 2)
    k = net.k_norm(net.k(x).view(shape)).transpose(1, 2)
    return join(net, F.scaled_dot_product_attention(q, k, split(net, x)[2], scale=0.5))


@pattern(
    "attention with layer norm of queries and keys over all heads",
    lambda: parts(q_norm=nn.LayerNorm(12), k_norm=nn.LayerNorm(12)),
    inputs=sequence,
    prunable="v",
    inexact="q k v",
    layout=(
        "q: (a~ b~) 5; k: (a~ b~) 5; v: (a~ c) 5; out.weight: 3 (a~ c); q_norm: (a~ b~); "
        "k_norm: (a~ b~)"
    ),
)
def wholly_normed(net: Net, x: Tensor) -> Tensor:
    q, k = net.q_norm(net.q(x)), net.k_norm(net.k(x))
    q, k = (h.unflatten(-1, (net.heads, -1)).transpose(1, 2) for h in (q, k))
    return join(net, (q @ k.mT).softmax(-1) @ split(net, x)[2])


@pattern(
    "talking heads",
    lambda: parts(before=nn.Linear(3, 6), after=nn.Linear(6, 3)),
    inputs=sequence,
    prunable="q k v before after",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c); before: d a; after: a d",
)
def talking(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    share = net.before((q @ k.mT).permute(0, 2, 3, 1)).softmax(2)
    return join(net, net.after(share).permute(0, 3, 1, 2) @ v)


@pattern(
    "talking heads by a convolution, then a norm of the scores",
    lambda: parts(mix=nn.Conv2d(3, 3, 1), norm=nn.BatchNorm2d(3)),
    inputs=sequence,
    prunable="q k v mix",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c); mix: a a 1 1; norm: a",
)
def re_attention(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    return join(net, net.norm(net.mix((q @ k.mT).softmax(-1))) @ v)


@pattern(
    "attention heads with gates",
    lambda: parts(gate=weight(3)),
    inputs=sequence,
    prunable="q k v gate:0",
    layout="gate: a; q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def gated(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    h = (q @ k.mT).softmax(-1) @ v
    return join(net, h * net.gate.sigmoid().view(1, -1, 1, 1))


@pattern(
    "attention heads with gates from the input",
    lambda: parts(gate=nn.Linear(5, 3)),
    inputs=sequence,
    prunable="q k v gate",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c); gate: a 5",
)
def input_gated(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    h = (q @ k.mT).softmax(-1) @ v
    return join(net, h * net.gate(x).sigmoid().transpose(1, 2).unsqueeze(-1))


@pattern(
    "attention with an output gate",
    lambda: parts(gate=nn.Linear(5, 15)),
    inputs=sequence,
    prunable="q k v gate",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; out.weight: 3 (a c); gate: (a c) 5",
)
def output_gated(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    h = ((q @ k.mT).softmax(-1) @ v).transpose(1, 2).flatten(2)
    return net.out(h * net.gate(x).sigmoid())


@pattern(
    "attention as a difference of two",
    lambda: layers(
        q=nn.Linear(5, 24),
        k=nn.Linear(5, 24),
        v=nn.Linear(5, 12),
        share=weight(3, 1, 1),
        out=nn.Linear(12, 3),
    ),
    inputs=sequence,
    prunable="q k v share:0",
    layout="share: a 1 1; q: (a 2 b) 5; k: (a 2 b) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def difference(net: Net, x: Tensor) -> Tensor:
    q, k = (
        layer(x).unflatten(-1, (net.share.shape[0], 2, -1)).permute(3, 0, 2, 1, 4)
        for layer in (net.q, net.k)
    )
    v = net.v(x).unflatten(-1, (net.share.shape[0], -1)).transpose(1, 2)
    first, second = (q @ k.mT * 0.5).softmax(-1)
    return net.out(((first - net.share * second) @ v).transpose(1, 2).flatten(2))


# ---- what is given out


@pattern(
    "attention that gives out its weights",
    lambda: parts(scale=weight(3, 1, 1)),
    inputs=sequence,
    prunable="q k v",
    frozen="scale:0",
    layout="q: (3 a) 5; k: (3 a) 5; v: (3 b) 5; out.weight: 3 (3 b)",
)
def with_weights(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = split(net, x)
    share = (q @ k.mT * net.scale).softmax(-1)
    return join(net, share @ v), share


@pattern(
    "attention that gives out the mean of its weights",
    parts,
    inputs=sequence,
    prunable="q v",
    inexact="q v",
    layout="q: (a~ b) 5; k: (a~ b) 5; v: (a~ c) 5; out.weight: 3 (a~ c)",
)
def with_mean_weights(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = split(net, x)
    share = (q @ k.mT).softmax(-1)
    return join(net, share @ v), share.mean(1)


@pattern(
    "attention that gives out its largest scores",
    parts,
    inputs=sequence,
    prunable="q v",
    inexact="q v",
    layout="q: (a~ b) 5; k: (a~ b) 5; v: (a~ c) 5; out.weight: 3 (a~ c)",
)
def with_largest(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = split(net, x)
    scores = q @ k.mT
    return join(net, scores.softmax(-1) @ v), scores.amax(1)
