"""What was seen in libraries of other people's networks, made small: sizes that go through `int()`,
configs, caches and closures; group norms over concatenations; packed sequences.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.utils import rnn
from torchvision.ops import DeformConv2d

from .pattern import Inputs, Net, conv, layers, pattern, random, sequence, weight

# ---- group norms over concatenations


def joined(groups: int, **more: nn.Module) -> dict[str, Any]:
    return layers(
        a=conv(3, 32), b=conv(3, 16), norm=nn.GroupNorm(groups, 48), c=conv(48, 2), **more
    )


def over_both(net: Net, x: Tensor) -> Tensor:
    return net.c(net.norm(torch.cat([net.a(x), net.b(x)], 1)))


pattern(
    "group norm over a concatenation at a group's border",
    lambda: joined(3),
    prunable="a",
    inexact="a",
    layout="a: (a b~) 3 3 3; b: b~ 3 3 3; norm: ((a b~) + b~); c.weight: 2 ((a b~) + b~) 3 3",
)(over_both)
pattern(
    "group norm over a concatenation within a group",
    lambda: joined(4),
    inexact="a",
    layout=(
        "a: a~[0:12, 0:12, 0:8] 3 3 3; b: a~[8:12, 0:12] 3 3 3; "
        "norm: (a~[0:12, 0:12, 0:8] + a~[8:12, 0:12]); "
        "c.weight: 2 (a~[0:12, 0:12, 0:8] + a~[8:12, 0:12]) 3 3"
    ),
    why="a group norm over it in group_norm",
)(over_both)


@pattern(
    "group norms before and after a concatenation",
    lambda: layers(
        a=conv(3, 32),
        first=nn.GroupNorm(4, 32),
        b=conv(32, 16),
        norm=nn.GroupNorm(4, 48),
        c=conv(48, 2),
    ),
    inexact="a",
    layout=(
        "a: (8 a~) 3 3 3; first: (8 a~); b: (4 a~) (8 a~) 3 3; norm: ((8 a~) + (4 a~)); "
        "c.weight: 2 ((8 a~) + (4 a~)) 3 3"
    ),
    why="a group norm over it in group_norm",
)
def skips(net: Net, x: Tensor) -> Tensor:
    a = net.a(x)
    return net.c(net.norm(torch.cat([a, net.b(net.first(a).relu())], 1)))


# ---- sizes that leave the track and come back


@pattern(
    "a size through int()",
    lambda: layers(up=nn.Linear(5, 8), down=nn.Linear(8, 3)),
    inputs=sequence,
    prunable="up",
    layout="up: a 5; down.weight: 3 a",
)
def through_int(net: Net, x: Tensor) -> Tensor:
    h = net.up(x)
    return net.down(h.reshape(x.shape[0], -1, int(h.shape[-1])).relu())


@pattern(
    "half of a size through int()",
    lambda: layers(a=conv(3, 8), c=conv(8, 2)),
    prunable="a",
    layout="a: (a + a) 3 3 3; c.weight: 2 (a + a) 3 3",
)
def halves(net: Net, x: Tensor) -> Tensor:
    h = net.a(x)
    u, v = torch.split(h, int(h.size(1) * 0.5), dim=1)
    return net.c(torch.cat([u, v.relu()], 1))


def attention() -> dict[str, Any]:
    return layers(
        heads=2, q=nn.Linear(5, 8), k=nn.Linear(5, 8), v=nn.Linear(5, 8), out=nn.Linear(8, 3)
    )


@pattern(
    "a head width through int() of a quotient",
    attention,
    inputs=sequence,
    prunable="q",
    layout="q: (a b) 5; k: (a b) 5; v: (a b) 5; out.weight: 3 (a b)",
)
def quotient(net: Net, x: Tensor) -> Tensor:
    batch, steps, _ = x.shape
    q = net.q(x)
    width = q.shape[-1]
    q, k, v = (
        t.reshape(batch, steps, net.heads, int(width / net.heads)).transpose(1, 2)
        for t in (q, net.k(x), net.v(x))
    )
    h = (q @ k.transpose(2, 3)).softmax(-1) @ v
    return net.out(h.transpose(1, 2).reshape(batch, steps, width))


@pattern(
    "a part by the floor of a quotient",
    lambda: layers(a=conv(3, 8), c=conv(8, 2)),
    prunable="a",
    layout="a: (2 a) 3 3 3; c.weight: 2 (2 a) 3 3",
)
def floored(net: Net, x: Tensor) -> Tensor:
    h = net.a(x)
    return net.c(h.unflatten(1, (2, math.floor(h.shape[1] / 2))).sin().flatten(1, 2))


@pattern(
    "a memory estimate that chooses a way",
    lambda: layers(a=conv(3, 8), c=conv(8, 2)),
    guards="a",
    prunable="a",
    layout="a: a 3 3 3; c.weight: 2 a 3 3",
)
def estimate(net: Net, x: Tensor) -> Tensor:
    h = net.a(x)
    n, c, y, z = h.shape
    return net.c(h.relu() if n * c * y * z * 2 / 1024 > 0.8 else h)


@pattern(
    "int() of a size that decides",
    lambda: layers(a=conv(3, 8), c=conv(8, 2)),
    why="a trial with fewer units takes another way, to conv2d, in relu",
)
def decides(net: Net, x: Tensor) -> Tensor:
    h = net.a(x)
    return net.c(h.relu() if int(h.shape[1]) > 6 else h)


# ---- where sizes are kept


class Attributed(OrderedDict[str, Any]):
    """A dict that has its entries as attributes too."""

    def __init__(self, **entries: Any) -> None:
        super().__init__(**entries)
        self.__dict__.update(entries)


@pattern(
    "a width from a config under a private name",
    lambda: layers(_config=Attributed(width=8), up=nn.Linear(5, 8), down=nn.Linear(8, 3)),
    inputs=sequence,
    prunable="up",
    layout="up: a 5; down.weight: 3 a",
)
def private(net: Net, x: Tensor) -> Tensor:
    h = net.up(x)
    out = h.new_zeros(h.shape[0], h.shape[1] + 1, net._config.width)
    out[:, 1:] = h
    return net.down(out.relu())


def wider(x: Tensor, planes: int) -> Tensor:
    more = torch.zeros(x.size(0), planes - x.size(1), *x.shape[2:], dtype=x.dtype, device=x.device)
    return torch.cat([x, more], 1)


def by_closure(planes: int) -> Callable[[Tensor], Tensor]:
    return lambda x: F.pad(x, (0, 0, 0, 0, planes // 4, planes // 4))


def by_default(x: Tensor, more: int = 4) -> Tensor:
    return F.pad(x, (0, 0, 0, 0, more, more))


def shortcut(net: Net, x: Tensor) -> Tensor:
    h = net.a(x).relu()
    return net.c((net.b(h) + net.down(h)).relu())


for name, down, wide in (
    ("the keywords of a partial function", functools.partial(wider, planes=16), "a + b"),
    ("a closure", by_closure(16), "b + a + b"),
    ("a default argument", by_default, "b + a + b"),
):
    pattern(
        f"a width from {name}",
        lambda down=down: layers(a=conv(3, 8), b=conv(8, 16), c=conv(16, 2), down=down),
        prunable="a b",
        layout=f"a: a 3 3 3; b: ({wide}) a 3 3; c.weight: 2 ({wide}) 3 3",
    )(shortcut)


@pattern(
    "a shape that an earlier forward left",
    lambda: layers(
        a=conv(3, 8), c=conv(8, 2), kept=torch.Size([2, 8, 6, 6]), grid=torch.ones(6, 6)
    ),
    prunable="a",
    layout="a: a 3 3 3; c.weight: 2 a 3 3",
)
def kept_shape(net: Net, x: Tensor) -> Tensor:
    h = net.a(x).relu()
    if net.kept != h.shape:
        net.grid, net.kept = torch.ones(h.shape[2:]), h.shape
    return net.c(h)


@pattern(
    "a dict of tensors that is state",
    lambda: layers(
        up=nn.Linear(5, 8), down=nn.Linear(8, 3), order={"default": torch.arange(2).flip(0)}
    ),
    inputs=sequence,
    prunable="up",
    layout="up: a 5; down.weight: 3 a",
)
def state(net: Net, x: Tensor) -> Tensor:
    return net.down(net.up(x).relu())[net.order["default"]]


# ---- operators


@pattern(
    "queries, keys and values of one width by its product",
    lambda: layers(i=conv(3, 8), qkv=conv(8, 24), p=conv(8, 8), o=conv(8, 2)),
    inexact="i",
    layout="i: a~ 3 3 3; qkv: (a~ + a~ + a~) a~ 3 3; p: a~ a~ 3 3; o.weight: 2 a~ 3 3",
    why="the attention scale, read from its size, in scaled_dot_product_attention",
)
def thrice(net: Net, x: Tensor) -> Tensor:
    h = net.i(x)
    b, c, y, z = h.shape
    qkv = net.qkv(h).reshape(b, 1, c * 3, -1).permute(0, 1, 3, 2)
    q, k, v = qkv.chunk(3, -1)
    out = F.scaled_dot_product_attention(q, k, v).squeeze(1).permute(0, 2, 1).reshape(b, c, y, z)
    return net.o(h + net.p(out))


def lengths() -> Inputs:
    return random(3, 7, 5), torch.tensor([7, 2, 4])


def tagger() -> dict[str, Any]:
    lstm = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
    return layers(up=nn.Linear(5, 8), lstm=lstm, down=nn.Linear(12, 3))


@pattern(
    "a packed sequence in any order, read both ways",
    tagger,
    inputs=lengths,
    prunable="up lstm",
    layout=(
        "up: a 5; lstm.weight_ih_l0: (4 b) a; lstm.weight_hh_l0: (4 b) b; "
        "lstm.bias_ih_l0: (4 b); lstm.bias_hh_l0: (4 b); "
        "lstm.weight_ih_l0_reverse: (4 b) a; lstm.weight_hh_l0_reverse: (4 b) b; "
        "lstm.bias_ih_l0_reverse: (4 b); lstm.bias_hh_l0_reverse: (4 b); "
        "down.weight: 3 (b + b)"
    ),
)
def packed(net: Net, x: Tensor, lengths: Tensor) -> Tensor:
    h = rnn.pack_padded_sequence(net.up(x).relu(), lengths, batch_first=True, enforce_sorted=False)
    return net.down(rnn.pad_packed_sequence(net.lstm(h)[0], batch_first=True)[0])


@pattern(
    "sequences padded to one length",
    lambda: layers(up=nn.Linear(5, 8), down=nn.Linear(8, 3)),
    inputs=sequence,
    prunable="up",
    layout="up: a 5; down.weight: 3 a",
)
def padded(net: Net, x: Tensor) -> Tensor:
    return net.down(rnn.pad_sequence([net.up(x[0, :3]), net.up(x[1])], batch_first=True))


@pattern(
    "a Kronecker product",
    lambda: layers(u=weight(4, 5), v=weight(3, 1), down=nn.Linear(12, 3)),
    inputs=sequence,
    prunable="u v",
    layout="u: a 5; v: b 1; down.weight: 3 (a b)",
)
def kronecker(net: Net, x: Tensor) -> Tensor:
    return net.down(F.linear(x, torch.kron(net.u, net.v)).relu())


@pattern(
    "a deformable convolution",
    lambda: layers(a=conv(3, 8), off=conv(8, 36), d=DeformConv2d(8, 6, 3, padding=1), c=conv(6, 2)),
    prunable="a d",
    layout="a: (2 a) 3 3 3; off.weight: 36 (2 a) 3 3; d: b (2 a) 3 3; c.weight: 2 b 3 3",
)
def deformed(net: Net, x: Tensor) -> Tensor:
    h = net.a(x).relu()
    return net.c(net.d(h, net.off(h)).relu())


@pattern(
    "a convolution over channels",
    lambda: layers(a=conv(3, 8), gate=nn.Conv1d(1, 1, 3, padding=1), c=conv(8, 2)),
    inexact="a",
    layout="a: a~ 3 3 3; c.weight: 2 a~ 3 3",
    why="a window that slides over it in conv1d",
)
def over_channels(net: Net, x: Tensor) -> Tensor:
    h = net.a(x).relu()
    gate = net.gate(h.mean((2, 3))[:, None])[:, 0].sigmoid()
    return net.c(h * gate[:, :, None, None])


@pattern(
    "automatic casting by the device's name",
    lambda: layers(up=nn.Linear(5, 8), down=nn.Linear(8, 3)),
    inputs=sequence,
    prunable="up",
    layout="up: a 5; down.weight: 3 a",
)
def autocast(net: Net, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return net.down(net.up(x).relu())


def nodes() -> Inputs:
    return (random(6, 5),)


def graph() -> dict[str, Any]:
    return layers(up=nn.Linear(5, 8), down=nn.Linear(8, 3))


@pattern(
    "sums over segments",
    graph,
    inputs=nodes,
    prunable="up",
    layout="up: a 5; down.weight: 3 a",
)
def segments(net: Net, x: Tensor) -> Tensor:
    lengths = torch.tensor([2, 4])
    return net.down(torch.segment_reduce(net.up(x), "sum", lengths=lengths, axis=0))


@pattern(
    "means over neighbours",
    graph,
    inputs=nodes,
    prunable="up",
    layout="up: a 5; down.weight: 3 a",
)
def neighbours(net: Net, x: Tensor) -> Tensor:
    h = net.up(x).relu()
    to = torch.tensor([0, 1, 2, 2, 4, 5])
    with warnings.catch_warnings():  # it is in beta
        warnings.simplefilter("ignore")
        return net.down(torch.zeros_like(h).index_reduce(0, to, h, "mean"))


@pattern(
    "flex attention",
    lambda: layers(
        heads=2, q=nn.Linear(5, 8), k=nn.Linear(5, 8), v=nn.Linear(5, 8), out=nn.Linear(8, 3)
    ),
    inputs=lambda: (random(2, 4, 5),),
    prunable="q v",
    inexact="q",
    layout="q: (a b~) 5; k: (a b~) 5; v: (a c) 5; out.weight: 3 (a c)",
)
def flexible(net: Net, x: Tensor) -> Tensor:
    q, k, v = (
        layer(x).unflatten(-1, (net.heads, -1)).transpose(1, 2) for layer in (net.q, net.k, net.v)
    )
    with warnings.catch_warnings():  # it is not compiled
        warnings.simplefilter("ignore")
        return net.out(flex_attention(q, k, v).transpose(1, 2).flatten(2))


class Parted(nn.Module):
    """Lengths of axes as pairs, as einops's layers keep them."""

    def __init__(self, **lengths: int) -> None:
        super().__init__()
        self._lengths = tuple(lengths.items())

    def forward(self, x: Tensor) -> Tensor:
        length = dict(self._lengths)
        parts = x.reshape(*x.shape[:2], length["three"], length["heads"], -1)
        return parts.permute(2, 0, 3, 1, 4)


@pattern(
    "heads by a layer that keeps pairs of names and lengths",
    lambda: layers(qkv=nn.Linear(5, 24), parts=Parted(three=3, heads=2), out=nn.Linear(8, 3)),
    inputs=sequence,
    prunable="qkv",
    layout="qkv: (3 a b) 5; out.weight: 3 (a b)",
)
def pairs(net: Net, x: Tensor) -> Tensor:
    q, k, v = net.parts(net.qkv(x))
    h = F.scaled_dot_product_attention(q, k, v, scale=1.0)
    return net.out(h.transpose(1, 2).flatten(2))


@pattern(
    "weights that the forward writes",
    lambda: layers(
        a=conv(3, 8, 1, bias=False), b=conv(8, 6, 1, bias=False), c=conv(3, 6, 1), o=conv(6, 2, 1)
    ),
    prunable="a c",
    layout="a: a 3 1 1; b: b a 1 1; c: b 3 1 1; o.weight: 2 b 1 1",
)
def reparametrised(net: Net, x: Tensor) -> Tensor:
    made = net.b.weight.flatten(1) @ net.a.weight.flatten(1)
    net.c.weight.data = made[:, :, None, None]
    return net.o(net.c(x).relu())
