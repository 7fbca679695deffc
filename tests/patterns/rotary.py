"""Rotary position embeddings: halves, interleaved pairs, complex numbers; tables in buffers and
computed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pattern import Net, layers, pattern, random, sequence, weight


def parts(**more: object) -> dict[str, object]:
    """A layer for each, 3 heads of 6, values of 5."""
    return layers(
        q=nn.Linear(5, 18),
        k=nn.Linear(5, 18),
        v=nn.Linear(5, 15),
        out=nn.Linear(15, 3),
        heads=3,
        **more,
    )


def tables(size: int) -> dict[str, nn.Buffer]:
    """Cosines and sines by position."""
    return {"cos": nn.Buffer(torch.rand(9, size)), "sin": nn.Buffer(torch.rand(9, size))}


def frequencies() -> nn.Buffer:
    return nn.Buffer(torch.tensor([1.0, 0.1, 0.01]))


def split(net: Net, x: Tensor) -> list[Tensor]:
    """Queries, keys and values, heads before tokens."""
    return [
        layer(x).unflatten(-1, (net.heads, -1)).transpose(1, 2) for layer in (net.q, net.k, net.v)
    ]


def attend(net: Net, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    h = F.scaled_dot_product_attention(q, k, v, scale=0.5)
    return net.out(h.transpose(1, 2).flatten(2))


def rotate_half(x: Tensor) -> Tensor:
    """As in transformers."""
    x1 = x[..., : x.shape[-1] // 2]
    x2 = x[..., x.shape[-1] // 2 :]
    return torch.cat((-x2, x1), dim=-1)


@pattern(
    "rotary halves by slices",
    lambda: parts(**tables(6)),
    inputs=sequence,
    prunable="q k v cos:1 sin:1",
    layout=(
        "q: (a (b + b)) 5; k: (a (b + b)) 5; v: (a c) 5; out.weight: 3 (a c); cos: 9 (b + b); "
        "sin: 9 (b + b)"
    ),
)
def halves(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    cos, sin = net.cos[: x.shape[1]], net.sin[: x.shape[1]]
    q, k = (h * cos + rotate_half(h) * sin for h in (q, k))
    return attend(net, q, k, v)


@pattern(
    "rotary halves by chunk",
    lambda: parts(**tables(3)),
    inputs=sequence,
    prunable="q k v cos:1 sin:1",
    layout=(
        "q: (a (b + b)) 5; k: (a (b + b)) 5; v: (a c) 5; out.weight: 3 (a c); cos: 9 b; sin: 9 b"
    ),
)
def chunks(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    cos, sin = net.cos[: x.shape[1]], net.sin[: x.shape[1]]

    def turn(h: Tensor) -> Tensor:
        a, b = h.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    return attend(net, turn(q), turn(k), v)


@pattern(
    "rotary halves by frequencies in a buffer",
    lambda: parts(inv=frequencies()),
    inputs=sequence,
    prunable="q k v inv:0",
    layout="q: (a (b + b)) 5; k: (a (b + b)) 5; v: (a c) 5; out.weight: 3 (a c); inv: b",
)
def by_frequencies(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    place = torch.arange(x.shape[1], dtype=x.dtype, device=x.device)
    angles = torch.outer(place, net.inv)
    angles = torch.cat((angles, angles), dim=-1)
    cos, sin = angles.cos()[None, None], angles.sin()[None, None]
    q, k = (h * cos + rotate_half(h) * sin for h in (q, k))
    return attend(net, q, k, v)


@pattern(
    "rotary halves by frequencies and positions given",
    lambda: parts(inv=frequencies()),
    inputs=lambda: (random(2, 7, 5), torch.arange(14).reshape(2, 7)),
    prunable="q k v inv:0",
    layout="q: (a (b + b)) 5; k: (a (b + b)) 5; v: (a c) 5; out.weight: 3 (a c); inv: b",
)
def by_position(net: Net, x: Tensor, place: Tensor) -> Tensor:
    q, k, v = split(net, x)
    inv = net.inv[None, :, None].to(x.dtype).expand(place.shape[0], -1, 1)
    angles = (inv @ place[:, None, :].to(x.dtype)).transpose(1, 2)
    angles = torch.cat((angles, angles), dim=-1)
    cos, sin = (angles.cos() * 1.5).unsqueeze(1), (angles.sin() * 1.5).unsqueeze(1)
    q, k = (h * cos + rotate_half(h) * sin for h in (q, k))
    return attend(net, q, k, v)


@pattern(
    "rotary halves, tables looked up by position",
    lambda: parts(**tables(6)),
    inputs=lambda: (random(2, 7, 5), torch.arange(14).reshape(2, 7) % 9),
    prunable="q k v cos:1",
    frozen="cos:0",
    layout=(
        "q: (a (b + b)) 5; k: (a (b + b)) 5; v: (a c) 5; out.weight: 3 (a c); cos: 9 (b + b); "
        "sin: 9 (b + b)"
    ),
)
def looked_up(net: Net, x: Tensor, place: Tensor) -> Tensor:
    q, k, v = split(net, x)
    cos, sin = net.cos[place].unsqueeze(1), net.sin[place].unsqueeze(1)
    q, k = (h * cos + rotate_half(h) * sin for h in (q, k))
    return attend(net, q, k, v)


@pattern(
    "rotary halves, queries and keys stacked",
    lambda: parts(**tables(3)),
    inputs=sequence,
    prunable="q k v",
    layout=(
        "q: (a (b + b)) 5; k: (a (b + b)) 5; v: (a c) 5; out.weight: 3 (a c); cos: 9 b; sin: 9 b"
    ),
)
def stacked(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    a, b = torch.stack([q, k]).chunk(2, -1)
    cos, sin = net.cos[: x.shape[1]], net.sin[: x.shape[1]]
    q, k = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
    return attend(net, q, k, v)


@pattern(
    "rotary with frequencies from the head's size",
    parts,
    inputs=sequence,
    prunable="q k v",
    inexact="q k",
    layout="q: (a (b~ + b~)) 5; k: (a (b~ + b~)) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def from_size(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    dim = q.shape[-1]
    inv = 1.0 / (10000 ** (torch.arange(0, dim, 2, dtype=x.dtype, device=x.device) / dim))
    angles = torch.arange(x.shape[1], dtype=x.dtype, device=x.device)[:, None] * inv
    angles = torch.cat((angles, angles), dim=-1)
    q, k = (h * angles.cos() + rotate_half(h) * angles.sin() for h in (q, k))
    return attend(net, q, k, v)


@pattern(
    "rotary with frequencies from the head's size, an attribute",
    lambda: parts(head_dim=6),
    inputs=sequence,
    prunable="q k v",
    inexact="q k",
    layout="q: (a 2 b~) 5; k: (a 2 b~) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def from_attribute(net: Net, x: Tensor) -> Tensor:
    q, k = (
        layer(x).view(*x.shape[:2], -1, net.head_dim).transpose(1, 2) for layer in (net.q, net.k)
    )
    half = torch.arange(net.head_dim // 2, dtype=x.dtype, device=x.device)
    angles = torch.arange(x.shape[1], dtype=x.dtype, device=x.device)[:, None] * 10000 ** (
        -2 * half / net.head_dim
    )
    angles = angles.repeat(1, 2)
    q, k = (h * angles.cos() + rotate_half(h) * angles.sin() for h in (q, k))
    return attend(net, q, k, split(net, x)[2])


# ---- interleaved


@pattern(
    "rotary pairs by strided slices",
    lambda: parts(**tables(3)),
    inputs=sequence,
    prunable="q k v cos:1",
    layout="q: (a b 2) 5; k: (a b 2) 5; v: (a c) 5; out.weight: 3 (a c); cos: 9 b; sin: 9 b",
)
def strided(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    cos, sin = net.cos[: x.shape[1]], net.sin[: x.shape[1]]

    def turn(h: Tensor) -> Tensor:
        a, b = h[..., ::2], h[..., 1::2]
        return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)

    return attend(net, turn(q), turn(k), v)


@pattern(
    "rotary pairs by strided slices, tables repeated",
    lambda: parts(**tables(3)),
    inputs=sequence,
    prunable="q k v cos:1",
    layout="q: (a b 2) 5; k: (a b 2) 5; v: (a c) 5; out.weight: 3 (a c); cos: 9 b; sin: 9 b",
)
def repeated(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    cos, sin = (t[: x.shape[1]].repeat_interleave(2, dim=-1) for t in (net.cos, net.sin))

    def turn(h: Tensor) -> Tensor:
        other = torch.stack((-h[..., 1::2], h[..., ::2]), -1).reshape(h.shape)
        return h * cos + other * sin

    return attend(net, turn(q), turn(k), v)


@pattern(
    "rotary pairs written in place",
    lambda: parts(**tables(3)),
    inputs=sequence,
    prunable="q k v cos:1",
    layout="q: (a b 2) 5; k: (a b 2) 5; v: (a c) 5; out.weight: 3 (a c); cos: 9 b; sin: 9 b",
)
def written(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    cos, sin = net.cos[: x.shape[1]], net.sin[: x.shape[1]]

    def turn(h: Tensor) -> Tensor:
        out = torch.empty_like(h)
        out[..., 0::2] = h[..., 0::2] * cos - h[..., 1::2] * sin
        out[..., 1::2] = h[..., 0::2] * sin + h[..., 1::2] * cos
        return out

    return attend(net, turn(q), turn(k), v)


@pattern(
    "rotary pairs by a view",
    lambda: parts(**tables(3)),
    inputs=sequence,
    prunable="q k v cos:1",
    layout="q: (a b 2) 5; k: (a b 2) 5; v: (a c) 5; out.weight: 3 (a c); cos: 9 b; sin: 9 b",
)
def viewed(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    cos, sin = net.cos[: x.shape[1]], net.sin[: x.shape[1]]

    def turn(h: Tensor) -> Tensor:
        a, b = h.reshape(*h.shape[:-1], -1, 2).unbind(-1)
        return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(3)

    return attend(net, turn(q), turn(k), v)


@pattern(
    "rotary pairs as complex numbers",
    lambda: parts(turns=nn.Buffer(torch.rand(9, 3, 2))),
    inputs=sequence,
    prunable="q k v turns:1",
    layout="q: (a b 2) 5; k: (a b 2) 5; v: (a c) 5; out.weight: 3 (a c); turns: 9 b 2",
)
def as_complex(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    turns = torch.view_as_complex(net.turns)[: x.shape[1]]

    def turn(h: Tensor) -> Tensor:
        z = torch.view_as_complex(h.reshape(*h.shape[:-1], -1, 2))
        return torch.view_as_real(z * turns).flatten(-2)

    return attend(net, turn(q), turn(k), v)


@pattern(
    "rotary pairs as complex numbers from angles",
    lambda: parts(inv=frequencies()),
    inputs=sequence,
    prunable="q k v inv:0",
    layout="q: (a b 2) 5; k: (a b 2) 5; v: (a c) 5; out.weight: 3 (a c); inv: b",
)
def polar(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    angles = torch.outer(torch.arange(x.shape[1], dtype=x.dtype, device=x.device), net.inv)
    turns = torch.polar(torch.ones_like(angles), angles)

    def turn(h: Tensor) -> Tensor:
        z = torch.view_as_complex(h.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(z * turns[None, None]).flatten(3).type_as(h)

    return attend(net, turn(q), turn(k), v)


@pattern(
    "rotary with learned frequencies for each head",
    lambda: parts(inv=weight(3, 3)),
    inputs=sequence,
    prunable="q k v inv:0 inv:1",
    layout="inv: a b; q: (a (b + b)) 5; k: (a (b + b)) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def learned(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    angles = torch.arange(x.shape[1], dtype=x.dtype, device=x.device)[:, None] * net.inv[:, None]

    def turn(h: Tensor) -> Tensor:
        a, b = h.chunk(2, -1)
        return torch.cat(
            [a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1
        )

    return attend(net, turn(q), turn(k), v)


# ---- part of the dims


@pattern(
    "rotary on a part of the dims, by an attribute",
    lambda: parts(rotary=4, **tables(4)),
    inputs=sequence,
    prunable="q k v cos:1",
    layout=(
        "q: (a (b + b + c)) 5; k: (a (b + b + c)) 5; v: (a d) 5; out.weight: 3 (a d); "
        "cos: 9 (b + b); sin: 9 (b + b)"
    ),
)
def partial(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    cos, sin = net.cos[: x.shape[1]], net.sin[: x.shape[1]]

    def turn(h: Tensor) -> Tensor:
        turned, kept = h[..., : net.rotary], h[..., net.rotary :]
        return torch.cat([turned * cos + rotate_half(turned) * sin, kept], dim=-1)

    return attend(net, turn(q), turn(k), v)


@pattern(
    "rotary on as many dims as the table has",
    lambda: parts(**tables(4)),
    inputs=sequence,
    prunable="q k v cos:1",
    layout=(
        "q: (a (b + b + c)) 5; k: (a (b + b + c)) 5; v: (a d) 5; out.weight: 3 (a d); "
        "cos: 9 (b + b); sin: 9 (b + b)"
    ),
)
def as_the_table(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    cos, sin = net.cos[: x.shape[1]], net.sin[: x.shape[1]]
    size = cos.shape[-1]

    def turn(h: Tensor) -> Tensor:
        return torch.cat(
            [h[..., :size] * cos + rotate_half(h[..., :size]) * sin, h[..., size:]], -1
        )

    return attend(net, turn(q), turn(k), v)


@pattern(
    "rotary on a literal part of the dims",
    lambda: parts(**tables(4)),
    inputs=sequence,
    prunable="q k v",
    frozen="cos:1",
    layout="q: (a (4 + b)) 5; k: (a (4 + b)) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def literal_part(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    cos, sin = net.cos[: x.shape[1]], net.sin[: x.shape[1]]

    def turn(h: Tensor) -> Tensor:
        return torch.cat([h[..., :4] * cos + rotate_half(h[..., :4]) * sin, h[..., 4:]], -1)

    return attend(net, turn(q), turn(k), v)


@pattern(
    "rotary on a half of the dims",
    lambda: layers(
        q=nn.Linear(5, 24),
        k=nn.Linear(5, 24),
        v=nn.Linear(5, 15),
        out=nn.Linear(15, 3),
        heads=3,
        **tables(4),
    ),
    inputs=sequence,
    prunable="q k v cos:1",
    layout=(
        "q: (a (b + b + b + b)) 5; k: (a (b + b + b + b)) 5; v: (a c) 5; out.weight: 3 (a c); "
        "cos: 9 (b + b); sin: 9 (b + b)"
    ),
)
def half_of_dims(net: Net, x: Tensor) -> Tensor:
    q, k, v = split(net, x)
    cos, sin = net.cos[: x.shape[1]], net.sin[: x.shape[1]]

    def turn(h: Tensor) -> Tensor:
        turned, kept = h.chunk(2, -1)
        return torch.cat([turned * cos + rotate_half(turned) * sin, kept], dim=-1)

    return attend(net, turn(q), turn(k), v)


@pattern(
    "rotary in two directions",
    lambda: layers(
        q=nn.Linear(5, 24),
        k=nn.Linear(5, 24),
        v=nn.Linear(5, 15),
        out=nn.Linear(15, 3),
        heads=3,
        inv=nn.Buffer(torch.rand(2)),
    ),
    inputs=lambda: (random(2, 6, 5), torch.arange(12).reshape(6, 2)),
    prunable="q k v inv:0",
    layout=(
        "q: (a ((2 b) + (2 b))) 5; k: (a ((2 b) + (2 b))) 5; v: (a c) 5; out.weight: 3 (a c); "
        "inv: b"
    ),
)
def two_directions(net: Net, x: Tensor, place: Tensor) -> Tensor:
    q, k, v = split(net, x)
    angles = (place[:, :, None].to(x.dtype) * net.inv).flatten(1)
    angles = torch.cat([angles, angles], -1)
    q, k = (h * angles.cos() + rotate_half(h) * angles.sin() for h in (q, k))
    return attend(net, q, k, v)
