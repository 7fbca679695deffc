"""Bare parameters: plain functions of a pytree, and what einsum, matmul and functional layers say
of it.
"""

from __future__ import annotations

import json
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .pattern import bare, ones, sequence, vector

Params = dict[str, Tensor]


@bare(
    "einsum on bare parameters",
    lambda: {"w1": ones(8, 3), "b1": ones(8, 1, 1), "w2": ones(4, 8)},
    prunable="w1:0",
    frozen="w1:1 w2:0",
    layout="w1: a 3; b1: a 1 1; w2: 4 a",
)
def einsum(p: Params, x: Tensor) -> Tensor:
    h = torch.einsum("bihw,oi->bohw", x, p["w1"]) + p["b1"]
    return torch.einsum("bihw,oi->bohw", h.relu(), p["w2"])


@bare(
    "functional convolution on bare parameters",
    lambda: {
        "w1": ones(8, 3, 3, 3),
        "b1": ones(8),
        "scale": ones(8),
        "shift": ones(8),
        "w2": ones(4, 8, 3, 3),
    },
    prunable="w1:0",
    layout="w1: a 3 3 3; b1: a; scale: a; shift: a; w2: 4 a 3 3",
)
def convolution(p: Params, x: Tensor) -> Tensor:
    h = F.conv2d(x, p["w1"], p["b1"])
    h = h * p["scale"].view(1, -1, 1, 1) + p["shift"][:, None, None]
    return F.conv2d(h.relu(), p["w2"])


@bare(
    "matmul on bare parameters",
    lambda: {"w1": ones(5, 8), "b1": ones(8), "w2": ones(8, 6), "w3": ones(6, 3)},
    inputs=vector,
    prunable="w1:1 w2:1",
    frozen="w1:0 w3:1",
    layout="w1: 5 a; b1: a; w2: a b; w3: b 3",
)
def matmul(p: Params, x: Tensor) -> Tensor:
    return torch.addmm(p["b1"], x, p["w1"]).relu().mm(p["w2"]).tanh() @ p["w3"]


@bare(
    "a nested pytree of bare parameters",
    lambda: {
        "layers": [{"w": ones(8, 5), "b": ones(8)}, {"w": ones(6, 8), "b": ones(6)}],
        "head": (ones(3, 6), ones(3)),
    },
    inputs=vector,
    prunable="layers.0.w:0 layers.1.w:0",
    layout="layers.0.w: a 5; layers.0.b: a; layers.1.w: b a; layers.1.b: b; head.0: 3 b",
)
def nested(p: Any, x: Tensor) -> Tensor:
    for layer in p["layers"]:
        x = F.linear(x, layer["w"], layer["b"]).relu()
    return F.linear(x, *p["head"])


@bare(
    "layers stacked in one parameter",
    lambda: {"w0": ones(5, 8), "w": ones(3, 8, 8), "head": ones(8, 3)},
    inputs=vector,
    prunable="w0:1",
    frozen="w:0",
    layout="w0: 5 a; w: 3 a a; head: a 3",
)
def stacked_layers(p: Params, x: Tensor) -> Tensor:
    h = x @ p["w0"]
    for w in p["w"]:
        h = (h @ w).tanh()
    return h @ p["head"]


@bare(
    "experts by bmm",
    lambda: {"w1": ones(3, 5, 8), "b1": ones(3, 1, 8), "w2": ones(3, 8, 4)},
    inputs=vector,
    frozen="w1:1 w2:2",
    prunable="w1:0 w1:2",
    layout="w1: a 5 b; b1: a 1 b; w2: a b 4",
)
def experts(p: Params, x: Tensor) -> Tensor:
    h = torch.bmm(x.expand(p["w1"].shape[0], -1, -1), p["w1"]) + p["b1"]
    return torch.bmm(h.relu(), p["w2"]).sum(0)


@bare(
    "experts by bmm, their hidden layers one axis",
    lambda: {"w1": ones(3, 5, 8), "w2": ones(3, 8, 4)},
    inputs=vector,
    prunable="w1:2",
    frozen="w1:0 w1:1",
    layout="w1: 3 5 a; w2: 3 a 4",
)
def literal_experts(p: Params, x: Tensor) -> Tensor:
    return torch.bmm(torch.bmm(x.expand(3, -1, -1), p["w1"]).relu(), p["w2"]).mean(0)


@bare(
    "experts by einsum with a gate",
    lambda: {"gate": ones(5, 3), "w1": ones(3, 5, 8), "w2": ones(3, 8, 4)},
    inputs=vector,
    prunable="w1:0 w1:2",
    layout="gate: 5 a; w1: a 5 b; w2: a b 4",
)
def gated_experts(p: Params, x: Tensor) -> Tensor:
    h = torch.einsum("bd,edh->ebh", x, p["w1"]).relu()
    return torch.einsum("ebh,eho,be->bo", h, p["w2"], (x @ p["gate"]).sigmoid())


@bare(
    "a product of three small factors",
    lambda: {"a": ones(8, 5), "b": ones(6, 8), "c": ones(3, 6)},
    inputs=vector,
    prunable="a:0 b:0",
    layout="a: a 5; b: b a; c: 3 b",
)
def factors(p: Params, x: Tensor) -> Tensor:
    return x @ (p["c"] @ p["b"] @ p["a"]).T


@bare(
    "a low-rank update of a bare weight",
    lambda: {"w": ones(8, 5), "down": ones(4, 5), "up": ones(8, 4), "head": ones(3, 8)},
    inputs=vector,
    prunable="w:0 down:0",
    layout="w: a 5; down: b 5; up: a b; head: 3 a",
)
def low_rank(p: Params, x: Tensor) -> Tensor:
    return F.linear(F.linear(x, p["w"] + p["up"] @ p["down"]).relu(), p["head"])


@bare(
    "a bilinear form by einsum",
    lambda: {"left": ones(8, 5), "right": ones(6, 5), "form": ones(3, 8, 6)},
    inputs=vector,
    prunable="left:0 right:0",
    frozen="form:0",
    layout="left: a 5; right: b 5; form: 3 a b",
)
def form(p: Params, x: Tensor) -> Tensor:
    return torch.einsum("bi,oij,bj->bo", x @ p["left"].T, p["form"], x @ p["right"].T)


@bare(
    "tensordot, addmm and inner",
    lambda: {"w1": ones(8, 5), "w2": ones(8, 2, 3), "w3": ones(4, 3), "b3": ones(4)},
    inputs=vector,
    prunable="w1:0 w2:1 w2:2",
    frozen="w3:0",
    layout="w1: a 5; w2: a b c; w3: 4 c",
)
def tensordot(p: Params, x: Tensor) -> Tensor:
    h = torch.tensordot(x, p["w1"], dims=([1], [1])).relu()  # type: ignore[arg-type]
    h = torch.tensordot(h, p["w2"], dims=1).sum(1)
    return torch.addmm(p["b3"], h, p["w3"].t()) + torch.inner(h, p["w3"])


@bare(
    "attention by einsum, heads and their width in the weights",
    lambda: {"q": ones(5, 3, 4), "k": ones(5, 3, 4), "v": ones(5, 3, 6), "o": ones(3, 6, 5)},
    inputs=sequence,
    prunable="q:1 q:2 v:2",
    frozen="q:0 o:2",
    layout="q: 5 a b; k: 5 a b; v: 5 a c; o: a c 5",
)
def attention(p: Params, x: Tensor) -> Tensor:
    q, k, v = (torch.einsum("btd,dhe->bhte", x, p[name]) for name in "qkv")
    share = torch.einsum("bhqe,bhke->bhqk", q, k).mul(0.5).softmax(-1)
    return torch.einsum("bhqk,bhke,hef->bqf", share, v, p["o"])


@bare(
    "attention by einsum, scaled by the width's root",
    lambda: {"q": ones(5, 3, 4), "k": ones(5, 3, 4), "v": ones(5, 3, 6), "o": ones(3, 6, 5)},
    inputs=sequence,
    prunable="q:1 v:2",
    inexact="q:2",
    frozen="q:0 o:2",
    layout="q: 5 a b~; k: 5 a b~; v: 5 a c; o: a c 5",
)
def scaled_attention(p: Params, x: Tensor) -> Tensor:
    q, k, v = (torch.einsum("btd,dhe->bhte", x, p[name]) for name in "qkv")
    share = (torch.einsum("bhqe,bhke->bhqk", q, k) * q.shape[-1] ** -0.5).softmax(-1)
    return torch.einsum("bhqk,bhke,hef->bqf", share, v, p["o"])


@bare(
    "a linear layer as a product and a sum",
    lambda: {"w1": ones(8, 5), "w2": ones(3, 8)},
    inputs=vector,
    prunable="w1:0",
    layout="w1: a 5; w2: 3 a",
)
def by_hand(p: Params, x: Tensor) -> Tensor:
    h = (x[:, None, :] * p["w1"]).sum(-1).relu()
    return (h.unsqueeze(1) * p["w2"]).sum(2)


@bare(
    "a product of factors by multi_dot",
    lambda: {"a": ones(8, 5), "b": ones(6, 8), "c": ones(3, 6)},
    inputs=vector,
    layout="a: a 5; b: b a; c: 3 b",
)
def multi_dot(p: Params, x: Tensor) -> Tensor:
    return x @ torch.linalg.multi_dot([p["c"], p["b"], p["a"]]).T


@bare(
    "a function mapped over the batch by vmap",
    lambda: {"w1": ones(8, 5), "w2": ones(3, 8)},
    inputs=vector,
    layout="w1: a 5; w2: 3 a",
)
def mapped(p: Params, x: Tensor) -> Tensor:
    return torch.vmap(lambda row: p["w2"] @ (p["w1"] @ row).relu())(x)


@bare(
    "fast weights written by an outer product",
    lambda: {
        "w1": ones(8, 5),
        "key": ones(8, 8),
        "value": ones(6, 8),
        "slow": ones(6, 8),
        "head": ones(3, 6),
    },
    inputs=vector,
    prunable="w1:0 value:0",
    layout="w1: a 5; key: a a; value: b a; slow: b a; head: 3 b",
)
def fast_weights(p: Params, x: Tensor) -> Tensor:
    h = (x @ p["w1"].T).tanh()
    keys, values = h @ p["key"].T, h @ p["value"].T
    fast = p["slow"] + torch.einsum("bo,bi->boi", values, keys)
    return torch.einsum("boi,bi->bo", fast, h) @ p["head"].T


@bare(
    "a parameter read twice, and one not at all",
    lambda: {"w1": ones(8, 5), "spare": ones(8, 8), "scale": ones(8), "w2": ones(3, 8)},
    inputs=vector,
    prunable="w1:0",
    frozen="spare:0 spare:1",
    layout="w1: a 5; scale: a; w2: 3 a",
)
def read_twice(p: Params, x: Tensor) -> Tensor:
    h = F.linear(x, p["w1"]) * p["scale"]
    return F.linear(h.relu() + p["scale"], p["w2"])


@bare(
    "einsum with an ellipsis",
    lambda: {"w1": ones(8, 5), "w2": ones(3, 8)},
    inputs=sequence,
    prunable="w1:0",
    layout="w1: a 5; w2: 3 a",
)
def ellipsis(p: Params, x: Tensor) -> Tensor:
    return torch.einsum("...i,oi->...o", torch.einsum("...i,oi->...o", x, p["w1"]).relu(), p["w2"])


@bare(
    "an identity of the hidden size",
    lambda: {"w1": ones(8, 5), "square": ones(8, 8), "w2": ones(3, 8)},
    inputs=vector,
    prunable="w1:0",
    layout="w1: a 5; square: a a; w2: 3 a",
)
def identity(p: Params, x: Tensor) -> Tensor:
    h = F.linear(x, p["w1"])
    return F.linear(
        h @ (p["square"] + torch.eye(h.shape[1], dtype=h.dtype, device=h.device)), p["w2"]
    )


@bare(
    "an identity of a literal size",
    lambda: {"w1": ones(8, 5), "square": ones(8, 8), "w2": ones(3, 8)},
    inputs=vector,
    frozen="w1:0 square:0 square:1",
    why="the literal or fixed size 8 in eye",
)
def literal_identity(p: Params, x: Tensor) -> Tensor:
    h = F.linear(x, p["w1"])
    return F.linear(h @ (p["square"] + torch.eye(8, dtype=h.dtype, device=h.device)), p["w2"])


@bare(
    "fused products and sums",
    lambda: {"w1": ones(8, 5), "b1": ones(8), "scale": ones(8), "w2": ones(3, 8)},
    inputs=vector,
    prunable="w1:0",
    layout="w1: a 5; b1: a; scale: a; w2: 3 a",
)
def fused(p: Params, x: Tensor) -> Tensor:
    h = F.linear(x, p["w1"])
    h = torch.addcmul(p["b1"], h, p["scale"], value=0.5)
    return F.linear(torch.addcdiv(h, h, 1 + h.square()), p["w2"])


@bare(
    "ones beside as many channels",
    lambda: {"w": ones(5, 8), "v": ones(16, 3)},
    inputs=vector,
    layout="w: 5 a~",
    why="a sum over it, where it is not zero when zeroed, in sum",
)
def padded_by_size(p: Params, x: Tensor) -> Tensor:
    h = (x @ p["w"]).relu()
    return F.pad(h, (0, h.shape[1]), value=1.0).sum(1)


@bare(
    "a stride beyond the rows that it goes over",
    lambda: {"w": ones(5, 3), "t": ones(4, 3)},
    inputs=vector,
    layout="t: 4 a",
)
def wide_stride(p: Params, x: Tensor) -> Tensor:
    return x @ p["w"] + p["t"][::5].sum()


@bare(
    "rows split by as many as there are channels",
    lambda: {"w": ones(5, 8), "v": ones(8, 3), "t": ones(8, 3)},
    inputs=vector,
    layout="t: 8 a",
)
def split_rows(p: Params, x: Tensor) -> Tensor:
    h = (x @ p["w"]).relu()
    return h @ p["v"] + p["t"].split(h.shape[1])[0].sum()


@bare(
    "a row indexed by the number of channels",
    lambda: {"w": ones(5, 8), "v": ones(8, 3), "t": ones(20, 3)},
    inputs=vector,
    why="the index 8",
)
def row_of_size(p: Params, x: Tensor) -> Tensor:
    h = (x @ p["w"]).relu()
    return h @ p["v"] + p["t"][h.shape[1]]


@bare(
    "a size through C code that wants a real integer",
    lambda: {"w": ones(5, 8), "v": ones(8, 3), "u": ones(5, 6), "s": ones(6, 3)},
    inputs=vector,
    layout="u: 5 a; s: a 3",
)
def json_size(p: Params, x: Tensor) -> Tensor:
    h = (x @ p["w"]).relu()
    factor = len(json.dumps({"width": h.shape[1]}))
    return h @ p["v"] * factor + (x @ p["u"]).relu() @ p["s"]
