"""Transformer blocks: residuals under layer norm, positions, tokens joined, conditions."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pattern import Net, image, layers, pattern, random, sequence, tokens, weight


class Attention(nn.Module):
    """Heads out of one layer; `own` reads the heads' size from the layer, else it is the width over
    the number of heads.
    """

    def __init__(self, width: int, heads: int, *, own: bool) -> None:
        super().__init__()
        self.heads, self.own, self.scale = heads, own, (width // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        if self.own:
            q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            return self.proj(
                (q @ k.mT * self.scale).softmax(-1).matmul(v).transpose(1, 2).reshape(b, n, -1)
            )
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(
            ((q * self.scale) @ k.transpose(-2, -1))
            .softmax(-1)
            .matmul(v)
            .transpose(1, 2)
            .reshape(b, n, c)
        )


class Block(nn.Module):
    """Attention and a feed-forward, each in a residual; the norms before or behind."""

    def __init__(
        self,
        width: int = 12,
        heads: int = 3,
        *,
        own: bool = True,
        first: bool = True,
        norm: str = "layer",
    ) -> None:
        super().__init__()
        made = {
            "layer": lambda: nn.LayerNorm(width),
            "rms": lambda: nn.RMSNorm(width, eps=1e-6),
            "none": nn.Identity,
        }[norm]
        self.norm1, self.norm2, self.first = made(), made(), first
        self.attn = Attention(width, heads, own=own)
        self.fc1, self.fc2 = nn.Linear(width, 10), nn.Linear(10, width)

    def forward(self, x: Tensor) -> Tensor:
        if self.first:
            x = x + self.attn(self.norm1(x))
            return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        x = self.norm1(x + self.attn(x))
        return self.norm2(x + self.fc2(F.gelu(self.fc1(x))))


def encoder(depth: int = 2, **options: object) -> dict[str, object]:
    """Blocks between an embedding of 12 and a head."""
    blocks = nn.Sequential(*(Block(**options) for _ in range(depth)))  # pyright: ignore[reportArgumentType]
    return layers(embed=nn.Linear(5, 12), blocks=blocks, head=nn.Linear(12, 3))


def straight(net: Net, x: Tensor) -> Tensor:
    return net.head(net.blocks(net.embed(x)))


for name, options in {
    "norms before, heads of their own size": {},
    "norms behind, heads of their own size": {"first": False},
    "RMS norms before": {"norm": "rms"},
}.items():
    pattern(
        f"two blocks, {name}",
        partial(encoder, **options),
        inputs=sequence,
        prunable="blocks.0.attn.qkv blocks.1.attn.qkv blocks.0.fc1 blocks.1.fc1",
        inexact="embed",
        layout=(
            "embed: a~ 5; blocks.0.norm1: a~; blocks.0.norm2: a~; blocks.0.attn.qkv: (3 b c) a~; "
            "blocks.0.attn.proj: a~ (b c); blocks.0.fc1: d a~; blocks.0.fc2: a~ d; "
            "blocks.1.norm1: a~; blocks.1.norm2: a~; blocks.1.attn.qkv: (3 e f) a~; "
            "blocks.1.attn.proj: a~ (e f); blocks.1.fc1: g a~; blocks.1.fc2: a~ g; "
            "head.weight: 3 a~"
        ),
    )(straight)
pattern(
    "two blocks without norms",
    lambda: encoder(norm="none"),
    inputs=sequence,
    prunable="embed blocks.0.attn.qkv blocks.1.attn.qkv blocks.0.fc1",
    layout=(
        "embed: a 5; blocks.0.attn.qkv: (3 b c) a; blocks.0.attn.proj: a (b c); "
        "blocks.0.fc1: d a; blocks.0.fc2: a d; blocks.1.attn.qkv: (3 e f) a; "
        "blocks.1.attn.proj: a (e f); blocks.1.fc1: g a; blocks.1.fc2: a g; head.weight: 3 a"
    ),
)(straight)
pattern(
    "two blocks, heads of the model's width, under layer norm",
    lambda: encoder(own=False),
    inputs=sequence,
    prunable="blocks.0.fc1 blocks.1.fc1",
    inexact="embed blocks.0.attn.qkv blocks.1.attn.qkv",
    layout=(
        "embed: (a~ b~) 5; blocks.0.norm1: (a~ b~); blocks.0.norm2: (a~ b~); "
        "blocks.0.attn.qkv: (3 a~ b~) (a~ b~); blocks.0.attn.proj: (a~ b~) (a~ b~); "
        "blocks.0.fc1: c (a~ b~); blocks.0.fc2: (a~ b~) c; blocks.1.norm1: (a~ b~); "
        "blocks.1.norm2: (a~ b~); blocks.1.attn.qkv: (3 a~ b~) (a~ b~); "
        "blocks.1.attn.proj: (a~ b~) (a~ b~); blocks.1.fc1: d (a~ b~); blocks.1.fc2: (a~ b~) d; "
        "head.weight: 3 (a~ b~)"
    ),
)(straight)
pattern(
    "two blocks, heads of the model's width, without norms",
    lambda: encoder(own=False, norm="none"),
    inputs=sequence,
    prunable="embed blocks.0.attn.qkv blocks.1.attn.qkv blocks.0.fc1",
    layout=(
        "embed: (a b) 5; blocks.0.attn.qkv: (3 a b) (a b); blocks.0.attn.proj: (a b) (a b); "
        "blocks.0.fc1: c (a b); blocks.0.fc2: (a b) c; blocks.1.attn.qkv: (3 a b) (a b); "
        "blocks.1.attn.proj: (a b) (a b); blocks.1.fc1: d (a b); blocks.1.fc2: (a b) d; "
        "head.weight: 3 (a b)"
    ),
)(straight)


@pattern(
    "two blocks with other numbers of heads, of the model's width",
    lambda: layers(
        embed=nn.Linear(5, 12),
        block1=Block(heads=3, own=False, norm="none"),
        block2=Block(heads=2, own=False, norm="none"),
        head=nn.Linear(12, 3),
    ),
    inputs=sequence,
    prunable="block1.fc1 block2.fc1",
    layout=(
        "embed: (6 a) 5; block1.attn.qkv: (18 a) (6 a); block1.attn.proj: (6 a) (6 a); "
        "block1.fc1: b (6 a); block1.fc2: (6 a) b; block2.attn.qkv: (18 a) (6 a); "
        "block2.attn.proj: (6 a) (6 a); block2.fc1: c (6 a); block2.fc2: (6 a) c; "
        "head.weight: 3 (6 a)"
    ),
)
def other_heads(net: Net, x: Tensor) -> Tensor:
    return net.head(net.block2(net.block1(net.embed(x))))


@pattern(
    "one block twice",
    lambda: layers(embed=nn.Linear(5, 12), block=Block(), head=nn.Linear(12, 3)),
    inputs=sequence,
    prunable="block.attn.qkv block.fc1",
    inexact="embed",
    layout=(
        "embed: a~ 5; block.norm1: a~; block.norm2: a~; block.attn.qkv: (3 b c) a~; "
        "block.attn.proj: a~ (b c); block.fc1: d a~; block.fc2: a~ d; head.weight: 3 a~"
    ),
)
def twice(net: Net, x: Tensor) -> Tensor:
    return net.head(net.block(net.block(net.embed(x))))


@pattern(
    "a vision transformer",
    lambda: layers(
        patches=nn.Conv2d(3, 12, 3, stride=3),
        cls_token=weight(1, 1, 12),
        pos_embed=weight(1, 5, 12),
        block=Block(),
        norm=nn.LayerNorm(12),
        head=nn.Linear(12, 3),
    ),
    prunable="block.attn.qkv block.fc1",
    inexact="patches cls_token:2",
    frozen="pos_embed:1",
    layout=(
        "cls_token: 1 1 a~; pos_embed: 1 5 a~; patches: a~ 3 3 3; block.norm1: a~; "
        "block.norm2: a~; block.attn.qkv: (3 b c) a~; block.attn.proj: a~ (b c); block.fc1: d a~; "
        "block.fc2: a~ d; norm: a~; head.weight: 3 a~"
    ),
)
def vision(net: Net, x: Tensor) -> Tensor:
    h = net.patches(x).flatten(2).transpose(1, 2)
    h = torch.cat((net.cls_token.expand(h.shape[0], -1, -1), h), dim=1) + net.pos_embed
    return net.head(net.norm(net.block(h))[:, 0])


@pattern(
    "a vision transformer with registers, and the mean over tokens",
    lambda: layers(
        patches=nn.Conv2d(3, 12, 3, stride=3),
        cls=weight(1, 1, 12),
        registers=weight(1, 2, 12),
        place=weight(1, 4, 12),
        block=Block(norm="none"),
        scale=weight(12),
        head=nn.Linear(24, 3),
    ),
    prunable="block.attn.qkv block.fc1 patches cls:2",
    inexact="registers:1",
    layout=(
        "cls: 1 1 a; registers: 1 b~ a; place: 1 4 a; scale: a; patches: a 3 3 3; "
        "block.attn.qkv: (3 c d) a; block.attn.proj: a (c d); block.fc1: e a; block.fc2: a e; "
        "head.weight: 3 (a + a)"
    ),
)
def registers(net: Net, x: Tensor) -> Tensor:
    h = net.patches(x).flatten(2).mT + net.place
    b = h.shape[0]
    h = torch.cat([net.cls.expand(b, -1, -1), net.registers.expand(b, -1, -1), h], 1)
    h = net.block(h) * net.scale
    return net.head(torch.cat([h[:, 0], h[:, 1 + net.registers.shape[1] :].mean(1)], -1))


@pattern(
    "a vision transformer with positions resized",
    lambda: layers(
        patches=nn.Conv2d(3, 12, 3, stride=3),
        place=weight(1, 9, 12),
        block=Block(),
        head=nn.Linear(12, 3),
    ),
    prunable="block.attn.qkv block.fc1",
    inexact="patches",
    layout=(
        "place: 1 9 a~; patches: a~ 3 3 3; block.norm1: a~; block.norm2: a~; "
        "block.attn.qkv: (3 b c) a~; block.attn.proj: a~ (b c); block.fc1: d a~; block.fc2: a~ d; "
        "head.weight: 3 a~"
    ),
)
def resized(net: Net, x: Tensor) -> Tensor:
    h = net.patches(x)
    place = net.place.reshape(1, 3, 3, -1).permute(0, 3, 1, 2)
    place = F.interpolate(place, size=h.shape[-2:], mode="bicubic", align_corners=False)
    return net.head(net.block((h + place).flatten(2).transpose(1, 2)).mean(1))


@pattern(
    "a language model with tied embeddings",
    lambda: layers(
        table=nn.Embedding(11, 12), place=nn.Embedding(6, 12), block=Block(), norm=nn.LayerNorm(12)
    ),
    inputs=tokens,
    prunable="block.attn.qkv block.fc1",
    inexact="table",
    frozen="table.weight:0 place.weight:0",
    layout=(
        "table: 11 a~; place: 6 a~; block.norm1: a~; block.norm2: a~; block.attn.qkv: (3 b c) a~; "
        "block.attn.proj: a~ (b c); block.fc1: d a~; block.fc2: a~ d; norm: a~"
    ),
)
def language(net: Net, x: Tensor) -> Tensor:
    h = net.table(x) + net.place(torch.arange(x.shape[1], device=x.device))
    return F.linear(net.norm(net.block(h)), net.table.weight)


@pattern(
    "image and text tokens together",
    lambda: layers(
        patches=nn.Conv2d(3, 12, 3, stride=3),
        table=nn.Embedding(11, 12),
        kind=nn.Embedding(2, 12),
        block=Block(),
        head=nn.Linear(12, 3),
    ),
    inputs=lambda: (*image(), *tokens()),
    prunable="block.attn.qkv block.fc1",
    inexact="patches table kind.weight:1",
    frozen="table.weight:0 kind.weight:0",
    layout=(
        "patches: a~ 3 3 3; table: 11 a~; kind: 2 a~; block.norm1: a~; block.norm2: a~; "
        "block.attn.qkv: (3 b c) a~; block.attn.proj: a~ (b c); block.fc1: d a~; block.fc2: a~ d; "
        "head.weight: 3 a~"
    ),
)
def together(net: Net, x: Tensor, words: Tensor) -> Tensor:
    seen = net.patches(x).flatten(2).mT + net.kind.weight[0]
    h = torch.cat([seen, net.table(words) + net.kind.weight[1]], dim=1)
    return net.head(net.block(h))


@pattern(
    "a block modulated by a condition",
    lambda: layers(
        embed=nn.Linear(5, 12),
        condition=nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 72)),
        norm=nn.LayerNorm(12, elementwise_affine=False),
        attn=Attention(12, 3, own=True),
        fc1=nn.Linear(12, 10),
        fc2=nn.Linear(10, 12),
        head=nn.Linear(12, 3),
    ),
    inputs=lambda: (random(2, 7, 5), random(2, 4, seed=1)),
    prunable="attn.qkv fc1 condition.0",
    inexact="embed condition.2",
    layout=(
        "embed: a~ 5; condition.0: b 4; condition.2: (a~ + a~ + a~ + a~ + a~ + a~) b; "
        "attn.qkv: (3 c d) a~; attn.proj: a~ (c d); fc1: e a~; fc2: a~ e; head.weight: 3 a~"
    ),
)
def modulated(net: Net, x: Tensor, c: Tensor) -> Tensor:
    h = net.embed(x)
    shift1, scale1, gate1, shift2, scale2, gate2 = net.condition(c)[:, None].chunk(6, dim=-1)
    h = h + gate1 * net.attn(net.norm(h) * (1 + scale1) + shift1)
    return net.head(h + gate2 * net.fc2(F.gelu(net.fc1(net.norm(h) * (1 + scale2) + shift2))))


@pattern(
    "a block with layer scale, attention and feed-forward in parallel",
    lambda: layers(
        embed=nn.Linear(5, 12),
        norm=nn.LayerNorm(12),
        attn=Attention(12, 3, own=True),
        fc1=nn.Linear(12, 10),
        fc2=nn.Linear(10, 12),
        gamma=weight(12),
        head=nn.Linear(12, 3),
    ),
    inputs=sequence,
    prunable="attn.qkv fc1",
    inexact="embed gamma:0",
    layout=(
        "gamma: a~; embed: a~ 5; norm: a~; attn.qkv: (3 b c) a~; attn.proj: a~ (b c); fc1: d a~; "
        "fc2: a~ d; head.weight: 3 a~"
    ),
)
def in_parallel(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    y = net.norm(h)
    return net.head(h + net.gamma * (net.attn(y) + net.fc2(F.gelu(net.fc1(y)))))
