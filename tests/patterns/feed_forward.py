"""Feed-forward layers: gated, transposed, tied, adapted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pattern import Net, layers, pattern, sequence, tokens, weight


def gated(**more: object) -> dict[str, object]:
    return layers(both=nn.Linear(5, 16), down=nn.Linear(8, 6), head=nn.Linear(6, 3), **more)


# ---- gated


@pattern(
    "SwiGLU packed",
    gated,
    inputs=sequence,
    prunable="both down",
    layout="both: (a + a) 5; down: b a; head.weight: 3 b",
)
def swiglu(net: Net, x: Tensor) -> Tensor:
    a, b = net.both(x).chunk(2, dim=-1)
    return net.head(net.down(F.silu(a) * b))


@pattern(
    "SwiGLU packed, split at an attribute",
    lambda: gated(hidden=8),
    inputs=sequence,
    prunable="both down",
    layout="both: (a + a) 5; down: b a; head.weight: 3 b",
)
def swiglu_split(net: Net, x: Tensor) -> Tensor:
    a, b = net.both(x).split(net.hidden, dim=-1)
    return net.head(net.down(F.silu(a) * b))


@pattern(
    "SwiGLU packed, sliced at half",
    gated,
    inputs=sequence,
    prunable="both down",
    layout="both: (a + a) 5; down: b a; head.weight: 3 b",
)
def swiglu_sliced(net: Net, x: Tensor) -> Tensor:
    h = net.both(x)
    half = h.shape[-1] // 2
    return net.head(net.down(F.silu(h[..., :half]) * h[..., half:]))


@pattern(
    "SwiGLU packed in pairs, clamped",
    gated,
    inputs=sequence,
    prunable="both down",
    layout="both: (a 2) 5; down: b a; head.weight: 3 b",
)
def swiglu_pairs(net: Net, x: Tensor) -> Tensor:
    h = net.both(x)
    gate, up = h[..., ::2].clamp(max=7.0), h[..., 1::2].clamp(-7.0, 7.0)
    return net.head(net.down((up + 1) * gate * torch.sigmoid(gate * 1.702)))


@pattern(
    "SwiGLU of three layers in a residual",
    lambda: layers(
        embed=nn.Linear(5, 8),
        norm=nn.RMSNorm(8, eps=1e-6),
        gate=nn.Linear(8, 12, bias=False),
        up=nn.Linear(8, 12, bias=False),
        down=nn.Linear(12, 8, bias=False),
        head=nn.Linear(8, 3),
    ),
    inputs=sequence,
    prunable="gate up",
    inexact="embed down",
    layout="embed: a~ 5; norm: a~; gate: b a~; up: b a~; down: a~ b; head.weight: 3 a~",
)
def swiglu_residual(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    y = net.norm(h)
    return net.head(h + net.down(F.silu(net.gate(y)) * net.up(y)))


@pattern(
    "GEGLU, the gate last, normed",
    lambda: gated(norm=nn.LayerNorm(8)),
    inputs=sequence,
    prunable="down",
    inexact="both",
    layout="both: (a~ + a~) 5; down: b a~; head.weight: 3 b; norm: a~",
)
def geglu_normed(net: Net, x: Tensor) -> Tensor:
    h, gate = net.both(x).chunk(2, dim=-1)
    return net.head(net.down(net.norm(h * F.gelu(gate))))


@pattern(
    "a spatial gate over tokens",
    lambda: layers(
        both=nn.Linear(5, 16), norm=nn.LayerNorm(8), space=nn.Linear(7, 7), down=nn.Linear(8, 3)
    ),
    inputs=sequence,
    inexact="both",
    frozen="space.weight:0 space.weight:1",
    layout="both: (a~ + a~) 5; norm: a~; down.weight: 3 a~",
    why="a layer norm over it in layer_norm",
)
def spatial_gate(net: Net, x: Tensor) -> Tensor:
    a, b = F.gelu(net.both(x)).chunk(2, -1)
    return net.down(a * net.space(net.norm(b).mT).mT)


@pattern(
    "attention and feed-forward side by side out of one layer",
    lambda: layers(
        fused=nn.Linear(5, 46),
        out=nn.Linear(12, 6),
        down=nn.Linear(5, 6),
        head=nn.Linear(6, 3),
        heads=3,
        head_dim=4,
        hidden=10,
    ),
    inputs=sequence,
    prunable="fused out",
    layout="fused: ((a b) + (a b) + (a b) + c + c) 5; out: d (a b); down: d c; head.weight: 3 d",
)
def side_by_side(net: Net, x: Tensor) -> Tensor:
    width = net.heads * net.head_dim
    q, k, v, h = net.fused(x).split([width, width, width, net.hidden], dim=-1)
    q, k, v = (part.unflatten(-1, (net.heads, net.head_dim)).transpose(1, 2) for part in (q, k, v))
    a, b = h.chunk(2, -1)
    y = F.scaled_dot_product_attention(q, k, v, scale=0.5).transpose(1, 2).flatten(2)
    return net.head(net.out(y) + net.down(F.silu(a) * b))


# ---- tied, transposed, adapted


class Conv1D(nn.Module):
    """GPT-2's linear layer, its weight the other way round."""

    def __init__(self, outside: int, inside: int) -> None:
        super().__init__()
        self.nf = outside
        self.weight, self.bias = weight(inside, outside), weight(outside)

    def forward(self, x: Tensor) -> Tensor:
        size_out = x.size()[:-1] + torch.Size([self.nf])
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(size_out)


@pattern(
    "a feed-forward of GPT-2's transposed layers",
    lambda: layers(fc=Conv1D(12, 5), proj=Conv1D(6, 12), head=nn.Linear(6, 3)),
    inputs=sequence,
    prunable="fc proj fc.weight:1 proj.weight:0",
    frozen="fc.weight:0",
    layout="fc.weight: 5 a; fc.bias: a; proj.weight: a b; proj.bias: b; head.weight: 3 b",
)
def transposed(net: Net, x: Tensor) -> Tensor:
    return net.head(net.proj(F.gelu(net.fc(x), approximate="tanh")))


@pattern(
    "attention of GPT-2's transposed layers",
    lambda: layers(
        table=nn.Embedding(11, 12), attn=Conv1D(36, 12), proj=Conv1D(12, 12), width=12, head_dim=4
    ),
    inputs=tokens,
    prunable="table attn",
    frozen="table.weight:0",
    layout=(
        "table: 11 a; attn.weight: a ((b c) + (b c) + (b c)); attn.bias: ((b c) + (b c) + (b c)); "
        "proj.weight: (b c) a; proj.bias: a"
    ),
)
def transposed_attention(net: Net, x: Tensor) -> Tensor:
    h = net.table(x)
    q, k, v = net.attn(h).split(net.width, dim=2)
    shape = (*q.shape[:-1], -1, net.head_dim)
    q, k, v = (part.view(shape).transpose(1, 2) for part in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.5)
    h = h + net.proj(y.transpose(1, 2).reshape(*q.shape[:1], -1, net.width))
    return h @ net.table.weight.T


@pattern(
    "a factorised embedding, tied to its head",
    lambda: layers(table=nn.Embedding(11, 4), widen=nn.Linear(4, 8), narrow=nn.Linear(8, 4)),
    inputs=tokens,
    prunable="table widen",
    frozen="table.weight:0",
    layout="table: 11 a; widen: b a; narrow: a b",
)
def factorised(net: Net, x: Tensor) -> Tensor:
    return F.linear(net.narrow(net.widen(net.table(x)).relu()), net.table.weight)


@pattern(
    "a low-rank adapter",
    lambda: layers(
        fc=nn.Linear(5, 8),
        a=nn.Linear(5, 4, bias=False),
        b=nn.Linear(4, 8, bias=False),
        head=nn.Linear(8, 3),
        scaling=2.0,
    ),
    inputs=sequence,
    prunable="fc a",
    layout="fc: a 5; a: b 5; b: a b; head.weight: 3 a",
)
def adapter(net: Net, x: Tensor) -> Tensor:
    return net.head((net.fc(x) + net.b(net.a(x)) * net.scaling).relu())


@pattern(
    "a low-rank adapter merged into the weight, scaled by its rank",
    lambda: layers(fc=nn.Linear(5, 8), a=weight(4, 5), b=weight(8, 4), head=nn.Linear(8, 3)),
    inputs=sequence,
    prunable="fc b:0",
    inexact="a:0",
    layout="a: a~ 5; b: b a~; fc: b 5; head.weight: 3 b",
)
def merged_adapter(net: Net, x: Tensor) -> Tensor:
    delta = net.b @ net.a * (2.0 / net.a.shape[0])
    return net.head(F.linear(x, net.fc.weight + delta, net.fc.bias).relu())
