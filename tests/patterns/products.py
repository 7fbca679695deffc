"""Products of activations: dot products, outer products, distances, attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pattern import Net, conv, layers, pattern, random, sequence, tokens, vector, weight


def towers(**more: object) -> dict[str, object]:
    return layers(left=nn.Linear(5, 8), right=nn.Linear(5, 8), **more)


@pattern(
    "two towers with a dot product",
    towers,
    inputs=vector,
    prunable="left right",
    layout="left: a 5; right: a 5",
)
def dot(net: Net, x: Tensor) -> Tensor:
    return (net.left(x) * net.right(x)).sum(-1)


@pattern(
    "two towers with all dot products",
    towers,
    inputs=vector,
    prunable="left right",
    layout="left: a 5; right: a 5",
)
def all_dots(net: Net, x: Tensor) -> Tensor:
    return net.left(x) @ net.right(x).T


@pattern(
    "two towers with a cosine",
    towers,
    inputs=vector,
    prunable="left right",
    layout="left: a 5; right: a 5",
)
def cosine(net: Net, x: Tensor) -> Tensor:
    return F.cosine_similarity(net.left(x), net.right(x), dim=-1)


@pattern(
    "two towers with a product that is not zero at zero",
    towers,
    inputs=vector,
    inexact="left right",
    layout="left: a~ 5; right: a~ 5",
    why="a sum over it, where it is not zero when zeroed, in sum",
)
def sigmoid_dot(net: Net, x: Tensor) -> Tensor:
    return (net.left(x).sigmoid() * net.right(x).sigmoid()).sum(-1)


@pattern(
    "two towers, one of sigmoids, with a dot product",
    towers,
    inputs=vector,
    prunable="left right",
    layout="left: a 5; right: a 5",
)
def half_sigmoid_dot(net: Net, x: Tensor) -> Tensor:
    return torch.einsum("bi,bi->b", net.left(x).sigmoid(), net.right(x))


@pattern(
    "two towers with distances",
    towers,
    inputs=vector,
    prunable="left right",
    layout="left: a 5; right: a 5",
)
def distances(net: Net, x: Tensor) -> Tensor:
    return torch.cdist(net.left(x), net.right(x))


@pattern(
    "two towers with distances of what is not zero at zero",
    towers,
    inputs=vector,
    inexact="left right",
    layout="left: a~ 5; right: a~ 5",
    why="a distance over it, where it is not zero when zeroed, in cdist",
)
def sigmoid_distances(net: Net, x: Tensor) -> Tensor:
    return torch.cdist(net.left(x).sigmoid(), net.right(x).exp())


@pattern(
    "two towers with a squared distance",
    towers,
    inputs=vector,
    prunable="left right",
    layout="left: a 5; right: a 5",
)
def squared_distance(net: Net, x: Tensor) -> Tensor:
    return (net.left(x) - net.right(x)).pow(2).sum(-1)


@pattern(
    "two towers with torch's pairwise distance",
    towers,
    inputs=vector,
    layout="left: a~ 5; right: a~ 5",
    why="a norm over it, where it is not zero when zeroed, in norm",
)
def pairwise(net: Net, x: Tensor) -> Tensor:
    return F.pairwise_distance(net.left(x), net.right(x))


@pattern(
    "bilinear",
    lambda: layers(
        left=nn.Linear(5, 8), right=nn.Linear(5, 6), both=nn.Bilinear(8, 6, 7), head=nn.Linear(7, 3)
    ),
    inputs=vector,
    prunable="left right both",
    layout="left: a 5; right: b 5; both: c a b; head.weight: 3 c",
)
def bilinear(net: Net, x: Tensor) -> Tensor:
    return net.head(net.both(net.left(x), net.right(x)).relu())


@pattern(
    "bilinear of a tensor with itself",
    lambda: layers(fc=nn.Linear(5, 8), both=nn.Bilinear(8, 8, 7), head=nn.Linear(7, 3)),
    inputs=vector,
    prunable="fc both",
    layout="fc: a 5; both: b a a; head.weight: 3 b",
)
def bilinear_itself(net: Net, x: Tensor) -> Tensor:
    h = net.fc(x)
    return net.head(net.both(h, h))


@pattern(
    "pooling by x xᵀ",
    lambda: layers(conv1=conv(3, 8), head=nn.Linear(64, 3)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 3 (a a)",
)
def gram(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu().flatten(2)
    return net.head((h @ h.transpose(1, 2) / 36).flatten(1))


@pattern(
    "pooling by x yᵀ, signed root and normalised",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 6), head=nn.Linear(48, 3)),
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: b 3 3 3; head.weight: 3 (a b)",
)
def cross_gram(net: Net, x: Tensor) -> Tensor:
    h = torch.einsum("bchw,bdhw->bcd", net.conv1(x), net.conv2(x)).flatten(1)
    return net.head(F.normalize(h.sign() * h.abs().sqrt()))


@pattern(
    "half of x xᵀ",
    lambda: layers(fc=nn.Linear(5, 8), head=nn.Linear(64, 3)),
    inputs=vector,
    why="a triangle compares positions along it in tril",
)
def triangle(net: Net, x: Tensor) -> Tensor:
    h = net.fc(x)
    return net.head((h[:, :, None] * h[:, None, :]).tril(-1).flatten(1))


@pattern(
    "the diagonal of x xᵀ",
    lambda: layers(fc=nn.Linear(5, 8), head=nn.Linear(8, 3)),
    inputs=vector,
    why="a diagonal compares positions along it in diagonal",
)
def diagonal(net: Net, x: Tensor) -> Tensor:
    h = net.fc(x)
    return net.head((h[:, :, None] * h[:, None, :]).diagonal(dim1=1, dim2=2))


@pattern(
    "an outer product of two layers",
    lambda: layers(left=nn.Linear(5, 8), right=nn.Linear(5, 6), head=nn.Linear(48, 3)),
    inputs=vector,
    prunable="left right",
    layout="left: a 5; right: b 5; head.weight: 3 (a b)",
)
def outer(net: Net, x: Tensor) -> Tensor:
    return net.head((net.left(x).unsqueeze(2) * net.right(x).unsqueeze(1)).flatten(1))


@pattern(
    "an outer sum of two layers",
    lambda: layers(left=nn.Linear(5, 8), right=nn.Linear(5, 6), head=nn.Linear(48, 3)),
    inputs=vector,
    prunable="left right",
    layout="left: a 5; right: b 5; head.weight: 3 (a b)",
)
def outer_sum(net: Net, x: Tensor) -> Tensor:
    return net.head((net.left(x).unsqueeze(2) + net.right(x).unsqueeze(1)).relu().flatten(1))


@pattern(
    "an outer sum of two layers, summed over one",
    lambda: layers(left=nn.Linear(5, 8), right=nn.Linear(5, 6), head=nn.Linear(8, 3)),
    inputs=vector,
    prunable="left",
    inexact="right",
    layout="left: a 5; right: b~ 5; head.weight: 3 a",
)
def outer_sum_reduced(net: Net, x: Tensor) -> Tensor:
    return net.head((net.left(x).unsqueeze(2) + net.right(x).unsqueeze(1)).relu().sum(2))


@pattern(
    "a factorisation machine",
    lambda: layers(table=nn.Embedding(11, 8)),
    inputs=tokens,
    prunable="table",
    layout="table: 11 a",
)
def factorisation(net: Net, x: Tensor) -> Tensor:
    h = net.table(x)
    return 0.5 * (h.sum(1).square() - h.square().sum(1)).sum(-1)


@pattern(
    "attention between two images, one channel a token",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 6), head=conv(8, 4)),
    prunable="conv1",
    inexact="conv2",
    layout="conv1: a 3 3 3; conv2: b~ 3 3 3; head.weight: 4 a 3 3",
)
def channel_attention(net: Net, x: Tensor) -> Tensor:
    q, v = net.conv1(x).flatten(2), net.conv2(x).flatten(2)
    return net.head(((q @ v.transpose(1, 2)).softmax(-1) @ v).unflatten(2, (6, 6)))


@pattern(
    "non-local attention over space",
    lambda: layers(
        conv1=conv(3, 8),
        query=nn.Conv2d(8, 4, 1),
        key=nn.Conv2d(8, 4, 1),
        value=nn.Conv2d(8, 6, 1),
        out=nn.Conv2d(6, 8, 1),
        head=conv(8, 4),
    ),
    prunable="conv1 query value",
    layout=(
        "conv1: a 3 3 3; query: b a 1 1; key: b a 1 1; value: c a 1 1; out: a c 1 1; "
        "head.weight: 4 a 3 3"
    ),
)
def non_local(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    q, k, v = (part(h).flatten(2) for part in (net.query, net.key, net.value))
    share = torch.softmax(torch.bmm(q.transpose(1, 2), k), dim=-1)
    y = torch.bmm(v, share.transpose(1, 2)).view(h.shape[0], -1, *h.shape[2:])
    return net.head(h + net.out(y))


def attention_layers(**more: object) -> dict[str, object]:
    return layers(
        q=nn.Linear(5, 8), k=nn.Linear(5, 8), v=nn.Linear(5, 6), head=nn.Linear(6, 3), **more
    )


@pattern(
    "attention with a stored scale",
    lambda: attention_layers(scale=8**-0.5),
    inputs=sequence,
    prunable="q k v",
    layout="q: a 5; k: a 5; v: b 5; head.weight: 3 b",
)
def stored_scale(net: Net, x: Tensor) -> Tensor:
    share = (net.q(x) @ net.k(x).mT * net.scale).softmax(-1)
    return net.head(share @ net.v(x))


@pattern(
    "attention with a scale read from the size",
    attention_layers,
    inputs=sequence,
    prunable="v",
    inexact="q k",
    layout="q: a~ 5; k: a~ 5; v: b 5; head.weight: 3 b",
)
def read_scale(net: Net, x: Tensor) -> Tensor:
    q = net.q(x)
    share = (q @ net.k(x).transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
    return net.head(share @ net.v(x))


@pattern(
    "attention in one operator",
    attention_layers,
    inputs=sequence,
    prunable="v",
    inexact="q k",
    layout="q: a~ 5; k: a~ 5; v: b 5; head.weight: 3 b",
)
def one_operator(net: Net, x: Tensor) -> Tensor:
    return net.head(F.scaled_dot_product_attention(net.q(x), net.k(x), net.v(x)))


@pattern(
    "attention in one operator, its scale given",
    attention_layers,
    inputs=sequence,
    prunable="q k v",
    layout="q: a 5; k: a 5; v: b 5; head.weight: 3 b",
)
def given_scale(net: Net, x: Tensor) -> Tensor:
    return net.head(F.scaled_dot_product_attention(net.q(x), net.k(x), net.v(x), scale=0.5))


@pattern(
    "heads out of one projection, their number an attribute",
    lambda: layers(qkv=nn.Linear(5, 36), head=nn.Linear(12, 3), heads=3, scale=0.5),
    inputs=sequence,
    prunable="qkv",
    layout="qkv: (3 a b) 5; head.weight: 3 (a b)",
)
def heads(net: Net, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    qkv = net.qkv(x)
    q, k, v = qkv.reshape(b, n, 3, net.heads, qkv.shape[-1] // 3 // net.heads).permute(
        2, 0, 3, 1, 4
    )
    h = (q @ k.mT * net.scale).softmax(-1) @ v
    return net.head(h.transpose(1, 2).reshape(b, n, -1))


@pattern(
    "a memory of learned keys and values",
    lambda: layers(
        keys=weight(10, 8), values=weight(10, 6), fc=nn.Linear(5, 8), head=nn.Linear(6, 3)
    ),
    inputs=vector,
    prunable="fc values:1",
    inexact="keys:0",
    layout="keys: a~ b; values: a~ c; fc: b 5; head.weight: 3 c",
)
def memory(net: Net, x: Tensor) -> Tensor:
    return net.head((net.fc(x) @ net.keys.T).softmax(-1) @ net.values)


@pattern(
    "a codebook of centres",
    lambda: layers(fc=nn.Linear(5, 8), centres=weight(6, 8), head=nn.Linear(6, 3)),
    inputs=vector,
    prunable="fc centres:0",
    layout="centres: a b; fc: b 5; head.weight: 3 a",
)
def centres(net: Net, x: Tensor) -> Tensor:
    return net.head((-torch.cdist(net.fc(x), net.centres)).exp())


@pattern(
    "slots filled by a softmax over slots",
    lambda: layers(
        slots=weight(4, 8), fc=nn.Linear(5, 8), value=nn.Linear(5, 6), head=nn.Linear(6, 3)
    ),
    inputs=sequence,
    prunable="fc value",
    inexact="slots:0",
    layout="slots: a~ b; fc: b 5; value: c 5; head.weight: 3 c",
)
def slots(net: Net, x: Tensor) -> Tensor:
    share = torch.einsum("bnd,sd->bns", net.fc(x), net.slots).softmax(-1)
    return net.head(torch.einsum("bns,bnd->bsd", share, net.value(x)).relu().sum(1))


@pattern(
    "spatial positions correlated between two images",
    lambda: layers(conv1=conv(3, 8), head=conv(36, 4)),
    inputs=lambda: (random(2, 3, 6, 6), random(2, 3, 6, 6, seed=1)),
    prunable="conv1",
    frozen="head.weight:1",
    layout="conv1: a 3 3 3",
)
def correlation(net: Net, x: Tensor, y: Tensor) -> Tensor:
    a, b = net.conv1(x).flatten(2), net.conv1(y)
    return net.head(torch.einsum("bcn,bchw->bnhw", a, b))
