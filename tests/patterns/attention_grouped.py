"""Attention with fewer key heads than query heads, and keys and values of low rank."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import attend
from .pattern import Net, layers, pattern, sequence, weight


def grouped(**more: object) -> dict[str, object]:
    """Two key and value heads of 4, each for three query heads."""
    return layers(
        q=nn.Linear(5, 24), k=nn.Linear(5, 8), v=nn.Linear(5, 8), out=nn.Linear(24, 3), **more
    )


def counts(**more: object) -> dict[str, object]:
    """As `grouped`, the numbers as attributes."""
    return grouped(heads=6, kv_heads=2, head_dim=4, **more)


def split(net: Net, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, heads before tokens."""
    b, n, _ = x.shape
    q = net.q(x).view(b, n, net.heads, net.head_dim).transpose(1, 2)
    k, v = (
        layer(x).view(b, n, net.kv_heads, net.head_dim).transpose(1, 2) for layer in (net.k, net.v)
    )
    return q, k, v


def repeat_kv(h: Tensor, times: int) -> Tensor:
    """As in transformers."""
    b, heads, n, dim = h.shape
    if times == 1:
        return h
    return h[:, :, None, :, :].expand(b, heads, times, n, dim).reshape(b, heads * times, n, dim)


@pattern(
    "grouped queries by repeat_interleave",
    counts,
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b c) 5; k: (a c) 5; v: (a c) 5; out.weight: 3 (a b c)",
)
def interleaved(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    times = net.heads // net.kv_heads
    return net.out(attend(q, k.repeat_interleave(times, dim=1), v.repeat_interleave(times, dim=1)))


@pattern(
    "grouped queries by repeat_interleave, a temperature for each query of a group",
    lambda: grouped(rep=3, kv_heads=2, scale=weight(3)),
    inputs=sequence,
    prunable="q k v scale:0",
    layout="scale: a; q: (b a c) 5; k: (b c) 5; v: (b d) 5; out.weight: 3 (b a d)",
)
def own_axis(net: Net, x: Tensor) -> Tensor:
    q = net.q(x).unflatten(-1, (net.kv_heads, net.rep, -1)) * net.scale[:, None]
    k, v = (
        layer(x).unflatten(-1, (net.kv_heads, -1)).repeat_interleave(net.rep, 2)
        for layer in (net.k, net.v)
    )
    return net.out(attend(q.flatten(2, 3).transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)))


@pattern(
    "grouped queries as transformers repeats them",
    lambda: counts(rep=3),
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b c) 5; k: (a c) 5; v: (a c) 5; out.weight: 3 (a b c)",
)
def expanded(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    return net.out(attend(q, repeat_kv(k, net.rep), repeat_kv(v, net.rep)))


@pattern(
    "grouped queries, their number read by dividing shapes",
    counts,
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b c) 5; k: (a c) 5; v: (a c) 5; out.weight: 3 (a b c)",
)
def read(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    times = q.shape[1] // k.shape[1]
    return net.out(attend(q, repeat_kv(k, times), repeat_kv(v, times)))


@pattern(
    "grouped queries, heads from minus one",
    lambda: grouped(head_dim=4, rep=3),
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b c) 5; k: (a c) 5; v: (a c) 5; out.weight: 3 (a b c)",
)
def free(net: Net, x: Tensor) -> Tensor:
    shape = (*x.shape[:-1], -1, net.head_dim)
    q, k, v = (layer(x).view(shape).transpose(1, 2) for layer in (net.q, net.k, net.v))
    h = F.scaled_dot_product_attention(q, repeat_kv(k, net.rep), repeat_kv(v, net.rep), scale=0.5)
    return net.out(h.transpose(1, 2).reshape(*x.shape[:-1], -1).contiguous())


@pattern(
    "grouped queries, the group a dimension",
    lambda: grouped(kv_heads=2, head_dim=4, scale=weight(2, 3)),
    inputs=sequence,
    prunable="q k v scale:0 scale:1",
    layout="scale: a b; q: (a b c) 5; k: (a c) 5; v: (a c) 5; out.weight: 3 (a b c)",
)
def dimension(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    q = net.q(x).view(b, n, net.kv_heads, -1, net.head_dim)
    k, v = (layer(x).view(b, n, net.kv_heads, net.head_dim) for layer in (net.k, net.v))
    share = (torch.einsum("bigrd,bjgd->bgrij", q, k) * net.scale[..., None, None]).softmax(-1)
    return net.out(torch.einsum("bgrij,bjgd->bigrd", share, v).reshape(b, n, -1))


@pattern(
    "grouped queries, keys broadcast over the group",
    lambda: grouped(kv_heads=2, scale=weight(3, 1, 1)),
    inputs=sequence,
    prunable="q k v scale:0",
    layout="scale: a 1 1; q: (b a c) 5; k: (b c) 5; v: (b d) 5; out.weight: 3 (b a d)",
)
def broadcast(net: Net, x: Tensor) -> Tensor:
    q = net.q(x).unflatten(-1, (net.kv_heads, net.scale.shape[0], -1)).permute(0, 2, 3, 1, 4)
    k, v = (
        layer(x).unflatten(-1, (net.kv_heads, -1)).transpose(1, 2).unsqueeze(2)
        for layer in (net.k, net.v)
    )
    h = (q @ k.mT * net.scale).softmax(-1) @ v
    return net.out(h.permute(0, 3, 1, 2, 4).flatten(2))


@pattern(
    "grouped queries in turn, by repeat",
    lambda: counts(scale=weight(6, 1, 1)),
    inputs=sequence,
    prunable="q k v scale:0",
    layout="scale: (a b) 1 1; q: (a b c) 5; k: (b c) 5; v: (b c) 5; out.weight: 3 (a b c)",
)
def in_turn(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    times = net.heads // net.kv_heads
    return net.out(attend(q, k.repeat(1, times, 1, 1), v.repeat(1, times, 1, 1), net.scale))


@pattern(
    "grouped queries by an index from query head to key head",
    lambda: counts(index=nn.Buffer(torch.tensor([0, 0, 0, 1, 1, 1]))),
    inputs=sequence,
    prunable="k",
    layout="q: (a 3 b) 5; k: (a b) 5; v: (a b) 5; out.weight: 3 (a 3 b); index: (a 3)",
)
def by_index(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    return net.out(attend(q, k[:, net.index], v[:, net.index]))


@pattern(
    "grouped queries by the operator itself",
    counts,
    inputs=sequence,
    prunable="q k v",
    inexact="q k v",
    layout="q: (a b c~) 5; k: (a c~) 5; v: (a c~) 5; out.weight: 3 (a b c~)",
)
def by_operator(net: Net, x: Tensor) -> Tensor:
    h = F.scaled_dot_product_attention(*split(net, x), enable_gqa=True)
    return net.out(h.transpose(1, 2).flatten(2))


@pattern(
    "grouped queries by the operator itself, scale given",
    counts,
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b c) 5; k: (a c) 5; v: (a c) 5; out.weight: 3 (a b c)",
)
def by_operator_scaled(net: Net, x: Tensor) -> Tensor:
    h = F.scaled_dot_product_attention(*split(net, x), scale=0.5, is_causal=True, enable_gqa=True)
    return net.out(h.transpose(1, 2).flatten(2))


@pattern(
    "grouped queries by the operator itself, heads free",
    lambda: grouped(head_dim=4),
    inputs=sequence,
    prunable="q k v",
    layout="q: (a b c) 5; k: (a c) 5; v: (a c) 5; out.weight: 3 (a b c)",
)
def by_operator_free(net: Net, x: Tensor) -> Tensor:
    shape = (*x.shape[:-1], -1, net.head_dim)
    q, k, v = (layer(x).view(shape).transpose(1, 2) for layer in (net.q, net.k, net.v))
    h = F.scaled_dot_product_attention(q, k, v, scale=0.5, enable_gqa=True)
    return net.out(h.transpose(1, 2).flatten(2))


@pattern(
    "grouped queries by the operator itself, a literal number of heads",
    lambda: grouped(scale=weight(6, 1, 1)),
    inputs=sequence,
    prunable="q k v",
    frozen="scale:0",
    layout="q: (6 a) 5; k: (2 a) 5; v: (2 b) 5; out.weight: 3 (6 b)",
)
def by_operator_literal(net: Net, x: Tensor) -> Tensor:
    q = net.q(x).unflatten(-1, (6, -1)).transpose(1, 2) * net.scale
    k, v = (layer(x).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (net.k, net.v))
    return net.out(
        F.scaled_dot_product_attention(q, k, v, scale=0.5, enable_gqa=True)
        .transpose(1, 2)
        .flatten(2)
    )


@pattern(
    "grouped queries packed one after the other",
    lambda: layers(qkv=nn.Linear(5, 40), out=nn.Linear(24, 3), heads=6, kv_heads=2, head_dim=4),
    inputs=sequence,
    prunable="qkv",
    layout="qkv: ((a b c) + (a c) + (a c)) 5; out.weight: 3 (a b c)",
)
def packed(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    q, k, v = net.qkv(x).split(
        [net.heads * net.head_dim, net.kv_heads * net.head_dim, net.kv_heads * net.head_dim], -1
    )
    q = q.view(b, n, net.heads, net.head_dim).transpose(1, 2)
    k, v = (h.view(b, n, net.kv_heads, net.head_dim).transpose(1, 2) for h in (k, v))
    times = net.heads // net.kv_heads
    return net.out(attend(q, k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)))


@pattern(
    "grouped queries packed by slices",
    lambda: layers(qkv=nn.Linear(5, 40), out=nn.Linear(24, 3), heads=6, kv_heads=2, head_dim=4),
    inputs=sequence,
    prunable="qkv",
    layout="qkv: ((a b c) + (a c) + (a c)) 5; out.weight: 3 (a b c)",
)
def packed_slices(net: Net, x: Tensor) -> Tensor:
    qkv = net.qkv(x)
    at = net.heads * net.head_dim
    q, k = qkv[..., :at], qkv[..., at : at + net.kv_heads * net.head_dim]
    v = qkv[..., at + net.kv_heads * net.head_dim :]
    q = q.unflatten(-1, (net.heads, -1)).transpose(1, 2)
    k, v = (h.unflatten(-1, (net.kv_heads, net.head_dim)).transpose(1, 2) for h in (k, v))
    return net.out(
        attend(q, repeat_kv(k, net.heads // net.kv_heads), repeat_kv(v, net.heads // net.kv_heads))
    )


@pattern(
    "grouped queries packed by the group",
    lambda: layers(
        qkv=nn.Linear(5, 40), out=nn.Linear(24, 3), kv_heads=2, rep=3, head_dim=4, scale=weight(3)
    ),
    inputs=sequence,
    prunable="qkv scale:0",
    layout="scale: a; qkv: (b (a + 2) c) 5; out.weight: 3 (b a c)",
)
def packed_groups(net: Net, x: Tensor) -> Tensor:
    qkv = net.qkv(x).view(*x.shape[:2], net.kv_heads, net.rep + 2, net.head_dim)
    q = (qkv[:, :, :, :-2] * net.scale[:, None]).flatten(2, 3)
    k, v = (qkv[:, :, :, [i]].expand(-1, -1, -1, net.rep, -1).flatten(2, 3) for i in (-2, -1))
    return net.out(attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)))


@pattern(
    "one key and value head for all",
    lambda: layers(
        q=nn.Linear(5, 12),
        k=nn.Linear(5, 4),
        v=nn.Linear(5, 6),
        out=nn.Linear(18, 3),
        scale=weight(3, 1, 1),
    ),
    inputs=sequence,
    prunable="q k v scale:0",
    layout="scale: a 1 1; q: (a b) 5; k: b 5; v: c 5; out.weight: 3 (a c)",
)
def multi_query(net: Net, x: Tensor) -> Tensor:
    q = net.q(x).unflatten(-1, (net.scale.shape[0], -1)).transpose(1, 2)
    return net.out(attend(q, net.k(x)[:, None], net.v(x).unsqueeze(1), net.scale))


@pattern(
    "one key and value head for all, expanded",
    lambda: layers(
        q=nn.Linear(5, 12), kv=nn.Linear(5, 8), out=nn.Linear(12, 3), heads=3, head_dim=4
    ),
    inputs=sequence,
    prunable="q kv",
    layout="q: (a b) 5; kv: (b + b) 5; out.weight: 3 (a b)",
)
def multi_query_expanded(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    q = net.q(x).view(b, n, net.heads, net.head_dim).transpose(1, 2)
    k, v = (
        h.unsqueeze(1).expand(b, net.heads, n, net.head_dim)
        for h in net.kv(x).split(net.head_dim, dim=-1)
    )
    return net.out(attend(q, k, v))


@pattern(
    "one key and value head for all, queries as tokens",
    lambda: layers(
        q=nn.Linear(5, 12), kv=nn.Linear(5, 8), out=nn.Linear(12, 3), heads=3, head_dim=4
    ),
    inputs=sequence,
    prunable="q kv",
    layout="q: (a b) 5; kv: (b + b) 5; out.weight: 3 (a b)",
)
def multi_query_tokens(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    k, v = net.kv(x).split((net.head_dim, net.head_dim), dim=-1)
    q = net.q(x).reshape(b, n * net.heads, net.head_dim)
    h = torch.bmm(torch.softmax(torch.bmm(q, k.mT) * 0.5, -1), v)
    return net.out(h.view(b, n, net.heads * net.head_dim))


# ---- low rank


def latent(norm: nn.Module) -> dict[str, object]:
    """Queries of (4 + 2) a head, keys of as many, values of 5, from a latent of 6 and a shared
    rotary part of 2.
    """
    return layers(
        q=nn.Linear(5, 18),
        down=nn.Linear(5, 8),
        norm=norm,
        up=nn.Linear(6, 27),
        out=nn.Linear(15, 3),
        place=nn.Buffer(torch.rand(7, 2)),
        heads=3,
        rank=6,
        plain=4,
        rotary=2,
        value=5,
    )


def latent_attention(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    q = net.q(x).view(b, n, net.heads, net.plain + net.rotary).transpose(1, 2)
    q_plain, q_rotary = q.split([net.plain, net.rotary], dim=-1)
    low, k_rotary = net.down(x).split([net.rank, net.rotary], dim=-1)
    up = net.up(net.norm(low)).view(b, n, net.heads, net.plain + net.value).transpose(1, 2)
    k_plain, v = up.split([net.plain, net.value], dim=-1)
    k_rotary = (k_rotary * net.place).unsqueeze(1).expand(-1, net.heads, -1, -1)
    q = torch.cat([q_plain, q_rotary * net.place], -1)
    return net.out(attend(q, torch.cat([k_plain, k_rotary], -1), v))


pattern(
    "latent attention",
    lambda: latent(nn.RMSNorm(6, eps=1e-6)),
    inputs=sequence,
    prunable="q down up place:1",
    inexact="down norm.weight:0",
    layout=(
        "q: (a (b + c)) 5; down: (d~ + c) 5; norm: d~; up: (a (b + e)) d~; out.weight: 3 (a e); "
        "place: 7 c"
    ),
)(latent_attention)
pattern(
    "latent attention without a norm",
    lambda: latent(nn.Identity()),
    inputs=sequence,
    prunable="q down up place:1",
    layout=(
        "q: (a (b + c)) 5; down: (d + c) 5; up: (a (b + e)) d; out.weight: 3 (a e); place: 7 c"
    ),
)(latent_attention)


@pattern(
    "latent attention, the queries taken to the latent",
    lambda: layers(
        q=weight(5, 3, 4),
        down=nn.Linear(5, 6),
        up_k=weight(3, 6, 4),
        up_v=weight(3, 6, 5),
        out=weight(3, 5, 3),
    ),
    inputs=sequence,
    prunable="down q:1 q:2 up_k:1 up_v:2",
    layout="q: 5 a b; up_k: a c b; up_v: a c d; out: a d 3; down: c 5",
)
def absorbed(net: Net, x: Tensor) -> Tensor:
    low = net.down(x)
    q = torch.einsum("bnc,chd,hrd->bhnr", x, net.q, net.up_k)
    share = (q @ low.mT.unsqueeze(1) * 0.5).softmax(-1)
    return torch.einsum("bhnr,hrv,hvo->bno", share @ low.unsqueeze(1), net.up_v, net.out)


@pattern(
    "tokens projected to fewer, as Linformer",
    lambda: layers(
        q=nn.Linear(5, 12),
        k=nn.Linear(5, 12),
        v=nn.Linear(5, 12),
        low=nn.Linear(7, 4),
        out=nn.Linear(12, 3),
        heads=3,
    ),
    inputs=sequence,
    prunable="q k v",
    inexact="low",
    layout="q: (a b) 5; k: (a b) 5; v: (a c) 5; low: d~ 7; out.weight: 3 (a c)",
)
def fewer_tokens(net: Net, x: Tensor) -> Tensor:
    q = net.q(x).unflatten(-1, (net.heads, -1)).transpose(1, 2)
    k, v = (net.low(layer(x).mT).unflatten(1, (net.heads, -1)).mT for layer in (net.k, net.v))
    return net.out(attend(q, k, v))
