"""Torch's own transformer layers: heads, their size, the hidden layer and the model's width."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from .multihead import two
from .pattern import Net, add, layers, pattern, random, sequence, tokens
from .written import LAYOUTS


def whole(make: Callable[[], nn.Module]) -> Callable[[], dict[str, object]]:
    """A layer of torch's between an embedding of 12 and a head."""
    return lambda: layers(embed=nn.Linear(5, 12), layer=make(), head=nn.Linear(12, 3))


BOTH = (
    "layer.layers.0.self_attn.in_proj_weight:0 layer.layers.1.self_attn.in_proj_weight:0 "
    "layer.layers.0.linear1 layer.layers.1.linear1"
)


def through(net: Net, x: Tensor) -> Tensor:
    return net.head(net.layer(net.embed(x)))


def quiet(make: Callable[[], nn.Module]) -> nn.Module:
    """Made without torch's warning that its encoder will not use nested tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return make()


def block(
    *,
    heads: int = 3,
    first: bool = False,
    batch_first: bool = True,
    activation: str = "relu",
    bias: bool = True,
) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        12, heads, 10, batch_first=batch_first, norm_first=first, activation=activation, bias=bias
    )


LAYERS: dict[str, Callable[[], nn.Module]] = {
    ", norms behind": block,
    ", norms before": lambda: block(first=True),
    ", batch second, gelu": lambda: block(batch_first=False, activation="gelu"),
    " without biases": lambda: block(bias=False),
}
ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "two layers and a norm": lambda: nn.TransformerEncoder(
        block(first=True), 2, nn.LayerNorm(12), enable_nested_tensor=False
    ),
    "two layers, norms behind": lambda: nn.TransformerEncoder(block(heads=2), 2),
}
ALONE = "layer.self_attn.in_proj_weight:0 layer.linear1"
for name, make in LAYERS.items():
    pattern(
        f"torch's encoder layer{name}",
        whole(make),
        inputs=sequence,
        prunable=ALONE,
        inexact="embed",
        layout=LAYOUTS[f"torch's encoder layer{name}"],
    )(through)
for name, make in ENCODERS.items():
    pattern(
        f"torch's encoder, {name}",
        whole(make),
        inputs=sequence,
        prunable=BOTH,
        inexact="embed",
        layout=LAYOUTS[f"torch's encoder, {name}"],
    )(through)


@pattern(
    "torch's encoder with masks",
    whole(lambda: nn.TransformerEncoder(block(), 2, enable_nested_tensor=False)),
    inputs=lambda: (random(2, 7, 5), torch.arange(7)[None, :] >= torch.tensor([[7], [4]])),
    prunable=BOTH,
    inexact="embed",
    layout=(
        "embed: a~ 5; layer.layers.0.self_attn.in_proj_weight: ((b c) + (b c) + (b d)) a~; "
        "layer.layers.0.self_attn.in_proj_bias: ((b c) + (b c) + (b d)); "
        "layer.layers.0.self_attn.out_proj: a~ (b d); layer.layers.0.linear1: e a~; "
        "layer.layers.0.linear2: a~ e; layer.layers.0.norm1: a~; layer.layers.0.norm2: a~; "
        "layer.layers.1.self_attn.in_proj_weight: ((f g) + (f g) + (f h)) a~; "
        "layer.layers.1.self_attn.in_proj_bias: ((f g) + (f g) + (f h)); "
        "layer.layers.1.self_attn.out_proj: a~ (f h); layer.layers.1.linear1: i a~; "
        "layer.layers.1.linear2: a~ i; layer.layers.1.norm1: a~; layer.layers.1.norm2: a~; "
        "head.weight: 3 a~"
    ),
)
def masked_encoder(net: Net, x: Tensor, ignored: Tensor) -> Tensor:
    mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(2)
    return net.head(net.layer(net.embed(x), mask=mask, src_key_padding_mask=ignored))


@pattern(
    "torch's encoder with padding, and nested tensors allowed",
    whole(lambda: nn.TransformerEncoder(block(heads=2), 2)),
    inputs=lambda: (random(2, 7, 5), torch.arange(7)[None, :] >= torch.tensor([[7], [4]])),
    prunable="layer.layers.0.linear1 layer.layers.1.linear1",
    inexact="embed",
    layout=(
        "embed: a~ 5; layer.layers.0.self_attn.in_proj_weight: ((b c) + (b c) + (b d)) a~; "
        "layer.layers.0.self_attn.in_proj_bias: ((b c) + (b c) + (b d)); "
        "layer.layers.0.self_attn.out_proj: a~ (b d); layer.layers.0.linear1: e a~; "
        "layer.layers.0.linear2: a~ e; layer.layers.0.norm1: a~; layer.layers.0.norm2: a~; "
        "layer.layers.1.self_attn.in_proj_weight: ((f g) + (f g) + (f h)) a~; "
        "layer.layers.1.self_attn.in_proj_bias: ((f g) + (f g) + (f h)); "
        "layer.layers.1.self_attn.out_proj: a~ (f h); layer.layers.1.linear1: i a~; "
        "layer.layers.1.linear2: a~ i; layer.layers.1.norm1: a~; layer.layers.1.norm2: a~; "
        "head.weight: 3 a~"
    ),
)
def nested_encoder(net: Net, x: Tensor, ignored: Tensor) -> Tensor:
    return net.head(net.layer(net.embed(x), src_key_padding_mask=ignored))


@pattern(
    "torch's encoder as a language model, causal",
    lambda: layers(
        table=nn.Embedding(11, 12),
        place=nn.Embedding(5, 12),
        head=nn.Linear(12, 11, bias=False),
        layer=nn.TransformerEncoder(block(first=True), 2, enable_nested_tensor=False),
    ),
    inputs=tokens,
    prunable="layer.layers.0.self_attn.in_proj_weight:0 layer.layers.1.linear1",
    inexact="table",
    frozen="table.weight:0 head.weight:0",
    layout=(
        "table: 11 a~; place: 5 a~; head: 11 a~; "
        "layer.layers.0.self_attn.in_proj_weight: ((b c) + (b c) + (b d)) a~; "
        "layer.layers.0.self_attn.in_proj_bias: ((b c) + (b c) + (b d)); "
        "layer.layers.0.self_attn.out_proj: a~ (b d); layer.layers.0.linear1: e a~; "
        "layer.layers.0.linear2: a~ e; layer.layers.0.norm1: a~; layer.layers.0.norm2: a~; "
        "layer.layers.1.self_attn.in_proj_weight: ((f g) + (f g) + (f h)) a~; "
        "layer.layers.1.self_attn.in_proj_bias: ((f g) + (f g) + (f h)); "
        "layer.layers.1.self_attn.out_proj: a~ (f h); layer.layers.1.linear1: i a~; "
        "layer.layers.1.linear2: a~ i; layer.layers.1.norm1: a~; layer.layers.1.norm2: a~"
    ),
)
def language(net: Net, x: Tensor) -> Tensor:
    h = net.table(x) + net.place.weight[: x.shape[1]]
    mask = nn.Transformer.generate_square_subsequent_mask(
        x.shape[1], device=x.device, dtype=h.dtype
    )
    return net.head(net.layer(h, mask=mask, is_causal=True))


def across(make: Callable[[], nn.Module]) -> Callable[[], dict[str, object]]:
    """A layer of torch's after an embedding of 12 for each of two sequences, and before a head."""
    return lambda: layers(
        mine=nn.Linear(5, 12), theirs=nn.Linear(6, 12), layer=make(), head=nn.Linear(12, 3)
    )


def decoder(first: bool) -> nn.Module:
    return nn.TransformerDecoderLayer(12, 3, 10, batch_first=True, norm_first=first)


def transformer(first: bool) -> nn.Module:
    return quiet(lambda: nn.Transformer(12, 3, 1, 1, 10, batch_first=True, norm_first=first))


def decode(net: Net, x: Tensor, y: Tensor) -> Tensor:
    mask = nn.Transformer.generate_square_subsequent_mask(
        x.shape[1], device=x.device, dtype=x.dtype
    )
    return net.head(net.layer(net.mine(x), net.theirs(y), tgt_mask=mask))


def translate(net: Net, x: Tensor, y: Tensor) -> Tensor:
    return net.head(net.layer(net.theirs(y), net.mine(x)))


DECODER = "layer.self_attn.in_proj_weight:0 layer.multihead_attn.in_proj_weight:0 layer.linear1"
PARTS = (
    "layer.encoder.layers.0.self_attn.in_proj_weight:0 "
    "layer.decoder.layers.0.self_attn.in_proj_weight:0 "
    "layer.decoder.layers.0.multihead_attn.in_proj_weight:0 "
    "layer.encoder.layers.0.linear1 layer.decoder.layers.0.linear1"
)
for title, create, forward, prunable in (
    ("torch's decoder layer", decoder, decode, DECODER),
    ("torch's transformer", transformer, translate, PARTS),
):
    for norms, first in (("behind", False), ("before", True)):
        members = across(partial(create, first))
        pattern(
            f"{title}, norms {norms}",
            members,
            inputs=two,
            prunable=prunable,
            inexact="mine theirs",
            layout=LAYOUTS[f"{title}, norms {norms}"],
        )(forward)


class Detector(nn.Module):
    """Image features, learned queries, torch's transformer, two heads: as in detection."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3, stride=3)
        self.project = nn.Conv2d(8, 12, 1)
        self.place = nn.Parameter(torch.rand(4, 1, 12))
        self.queries = nn.Parameter(torch.rand(5, 12))
        self.transformer = quiet(lambda: nn.Transformer(12, 3, 1, 1, 10))
        self.kind, self.box = nn.Linear(12, 3), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.project(self.features(x).relu())
        h = self.place + h.flatten(2).permute(2, 0, 1)
        h = self.transformer(h, self.queries.unsqueeze(1).expand(-1, x.shape[0], -1)).transpose(
            0, 1
        )
        return self.kind(h), self.box(h).sigmoid()


add(
    "a detector by torch's transformer",
    Detector,
    prunable="features transformer.encoder.layers.0.self_attn.in_proj_weight:0 "
    "transformer.decoder.layers.0.multihead_attn.in_proj_weight:0 "
    "transformer.encoder.layers.0.linear1",
    inexact="project",
    frozen="queries:0 place:0",
    layout=(
        "place: 4 1 a~; queries: 5 a~; features: b 3 3 3; project: a~ b 1 1; "
        "transformer.encoder.layers.0.self_attn.in_proj_weight: ((c d) + (c d) + (c e)) a~; "
        "transformer.encoder.layers.0.self_attn.in_proj_bias: ((c d) + (c d) + (c e)); "
        "transformer.encoder.layers.0.self_attn.out_proj: a~ (c e); "
        "transformer.encoder.layers.0.linear1: f a~; transformer.encoder.layers.0.linear2: a~ f; "
        "transformer.encoder.layers.0.norm1: a~; transformer.encoder.layers.0.norm2: a~; "
        "transformer.encoder.norm: a~; "
        "transformer.decoder.layers.0.self_attn.in_proj_weight: ((g h) + (g h) + (g i)) a~; "
        "transformer.decoder.layers.0.self_attn.in_proj_bias: ((g h) + (g h) + (g i)); "
        "transformer.decoder.layers.0.self_attn.out_proj: a~ (g i); "
        "transformer.decoder.layers.0.multihead_attn.in_proj_weight: ((j k) + (j k) + (j l)) a~; "
        "transformer.decoder.layers.0.multihead_attn.in_proj_bias: ((j k) + (j k) + (j l)); "
        "transformer.decoder.layers.0.multihead_attn.out_proj: a~ (j l); "
        "transformer.decoder.layers.0.linear1: m a~; transformer.decoder.layers.0.linear2: a~ m; "
        "transformer.decoder.layers.0.norm1: a~; transformer.decoder.layers.0.norm2: a~; "
        "transformer.decoder.layers.0.norm3: a~; transformer.decoder.norm: a~; kind.weight: 3 a~; "
        "box.weight: 4 a~"
    ),
)
