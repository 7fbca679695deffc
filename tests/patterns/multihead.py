"""Torch's own attention: its heads, their size, and the model's width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .pattern import Inputs, Net, layers, pattern, random, sequence


def two() -> Inputs:
    """Two sequences of 7 vectors of 5, and two of 4 vectors of 6."""
    return random(2, 7, 5), random(2, 4, 6, seed=1)


def attended(width: int = 12, **options: object) -> dict[str, object]:
    """Self-attention of 3 heads of 4 between an embedding and a head."""
    return layers(
        embed=nn.Linear(5, width),
        attn=nn.MultiheadAttention(width, 3, **options),  # pyright: ignore[reportArgumentType]
        head=nn.Linear(width, 3),
    )


# The size of a head is prunable and exact: whoever thins it keeps the scale of the dense layer. The
# model's width is an axis of its own: without a norm it is exact too. The heads' axes are named by
# a dim, since `out_proj` produces the width.


@pattern(
    "multihead attention, batch first",
    lambda: attended(batch_first=True),
    inputs=sequence,
    prunable="embed attn.in_proj_weight:0",
    layout=(
        "embed: a 5; attn.in_proj_weight: ((b c) + (b c) + (b d)) a; "
        "attn.in_proj_bias: ((b c) + (b c) + (b d)); attn.out_proj: a (b d); head.weight: 3 a"
    ),
)
def batch_first(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    return net.head(h + net.attn(h, h, h, need_weights=False)[0])


@pattern(
    "multihead attention, batch second",
    attended,
    inputs=sequence,
    prunable="embed attn.in_proj_weight:0",
    layout=(
        "embed: a 5; attn.in_proj_weight: ((b c) + (b c) + (b d)) a; "
        "attn.in_proj_bias: ((b c) + (b c) + (b d)); attn.out_proj: a (b d); head.weight: 3 a"
    ),
)
def batch_second(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x).transpose(0, 1)
    return net.head(h + net.attn(h, h, h, need_weights=False)[0])


@pattern(
    "multihead attention without a batch",
    attended,
    inputs=lambda: (random(7, 5),),
    prunable="embed attn.in_proj_weight:0",
    layout=(
        "embed: a 5; attn.in_proj_weight: ((b c) + (b c) + (b d)) a; "
        "attn.in_proj_bias: ((b c) + (b c) + (b d)); attn.out_proj: a (b d); head.weight: 3 a"
    ),
)
def without_batch(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    return net.head(h + net.attn(h, h, h)[0])


@pattern(
    "multihead attention without biases",
    lambda: attended(batch_first=True, bias=False),
    inputs=sequence,
    prunable="embed attn.in_proj_weight:0",
    layout=(
        "embed: a 5; attn.in_proj_weight: ((b c) + (b c) + (b d)) a; attn.out_proj: e (b d); "
        "head.weight: 3 e"
    ),
)
def without_bias(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    return net.head(net.attn(h, h, h, need_weights=False)[0])


@pattern(
    "multihead attention whose weights are asked for and left",
    lambda: attended(batch_first=True),
    inputs=sequence,
    prunable="embed attn.in_proj_weight:0",
    layout=(
        "embed: a 5; attn.in_proj_weight: ((b c) + (b c) + (b d)) a; "
        "attn.in_proj_bias: ((b c) + (b c) + (b d)); attn.out_proj: a (b d); head.weight: 3 a"
    ),
)
def weights_left(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    y, _ = net.attn(h, h, h)
    return net.head(h + y)


@pattern(
    "multihead attention, the mean of its weights given out",
    lambda: attended(batch_first=True),
    inputs=sequence,
    prunable="embed attn.in_proj_weight:0",
    inexact="attn.in_proj_weight:0",
    layout=(
        "embed: a 5; attn.in_proj_weight: ((b~ c) + (b~ c) + (b~ d)) a; "
        "attn.in_proj_bias: ((b~ c) + (b~ c) + (b~ d)); attn.out_proj: a (b~ d); "
        "head.weight: 3 a"
    ),
)
def mean_weights(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    h = net.embed(x)
    y, share = net.attn(h, h, h)
    return net.head(h + y), share


@pattern(
    "multihead attention, the weights of each head given out",
    lambda: attended(batch_first=True),
    inputs=sequence,
    prunable="embed attn.in_proj_weight:0",
    layout=(
        "embed: a 5; attn.in_proj_weight: ((3 b) + (3 b) + (3 c)) a; "
        "attn.in_proj_bias: ((3 b) + (3 b) + (3 c)); attn.out_proj: a (3 c); head.weight: 3 a"
    ),
)
def all_weights(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    h = net.embed(x)
    y, share = net.attn(h, h, h, average_attn_weights=False)
    return net.head(h + y), share


@pattern(
    "multihead attention, causal",
    lambda: attended(batch_first=True),
    inputs=sequence,
    prunable="embed attn.in_proj_weight:0",
    layout=(
        "embed: a 5; attn.in_proj_weight: ((b c) + (b c) + (b d)) a; "
        "attn.in_proj_bias: ((b c) + (b c) + (b d)); attn.out_proj: a (b d); head.weight: 3 a"
    ),
)
def causal(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    mask = nn.Transformer.generate_square_subsequent_mask(
        x.shape[1], device=x.device, dtype=x.dtype
    )
    return net.head(h + net.attn(h, h, h, attn_mask=mask, is_causal=True, need_weights=False)[0])


@pattern(
    "multihead attention, a boolean mask, weights asked for",
    lambda: attended(batch_first=True),
    inputs=sequence,
    prunable="embed attn.in_proj_weight:0",
    layout=(
        "embed: a 5; attn.in_proj_weight: ((b c) + (b c) + (b d)) a; "
        "attn.in_proj_bias: ((b c) + (b c) + (b d)); attn.out_proj: a (b d); head.weight: 3 a"
    ),
)
def masked(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
    return net.head(h + net.attn(h, h, h, attn_mask=mask)[0])


@pattern(
    "multihead attention, padded",
    lambda: attended(batch_first=True),
    inputs=lambda: (random(2, 7, 5), torch.arange(7)[None, :] >= torch.tensor([[7], [4]])),
    prunable="embed attn.in_proj_weight:0",
    layout=(
        "embed: a 5; attn.in_proj_weight: ((b c) + (b c) + (b d)) a; "
        "attn.in_proj_bias: ((b c) + (b c) + (b d)); attn.out_proj: a (b d); head.weight: 3 a"
    ),
)
def padded(net: Net, x: Tensor, ignored: Tensor) -> Tensor:
    h = net.embed(x)
    return net.head(h + net.attn(h, h, h, key_padding_mask=ignored, need_weights=False)[0])


@pattern(
    "multihead attention with a mask for each head",
    lambda: attended(batch_first=True),
    inputs=lambda: (random(2, 7, 5), random(6, 7, 7, seed=1)),
    prunable="embed attn.in_proj_weight:0",
    layout=(
        "embed: a 5; attn.in_proj_weight: ((3 b) + (3 b) + (3 c)) a; "
        "attn.in_proj_bias: ((3 b) + (3 b) + (3 c)); attn.out_proj: a (3 c); head.weight: 3 a"
    ),
)
def masked_heads(net: Net, x: Tensor, mask: Tensor) -> Tensor:
    h = net.embed(x)
    return net.head(h + net.attn(h, h, h, attn_mask=mask, need_weights=False)[0])


pattern(
    "multihead attention with a learned key and value",
    lambda: attended(batch_first=True, add_bias_kv=True),
    inputs=sequence,
    prunable="embed attn.in_proj_weight:0 attn.bias_k:2 attn.bias_v:2",
    layout=(
        "embed: a 5; attn.in_proj_weight: ((b c) + (b c) + (b d)) a; "
        "attn.in_proj_bias: ((b c) + (b c) + (b d)); attn.bias_k: 1 1 (b c); "
        "attn.bias_v: 1 1 (b d); attn.out_proj: a (b d); head.weight: 3 a"
    ),
)(batch_first)
pattern(
    "multihead attention with a zero key and value",
    lambda: attended(batch_first=True, add_zero_attn=True),
    inputs=sequence,
    prunable="embed attn.in_proj_weight:0",
    layout=(
        "embed: a 5; attn.in_proj_weight: ((b c) + (b c) + (b d)) a; "
        "attn.in_proj_bias: ((b c) + (b c) + (b d)); attn.out_proj: a (b d); head.weight: 3 a"
    ),
)(batch_first)


@pattern(
    "multihead attention across, one width",
    lambda: layers(
        mine=nn.Linear(5, 12),
        theirs=nn.Linear(6, 12),
        attn=nn.MultiheadAttention(12, 3, batch_first=True),
        head=nn.Linear(12, 3),
    ),
    inputs=two,
    prunable="mine theirs attn.in_proj_weight:0",
    layout=(
        "mine: a 5; theirs: a 6; attn.in_proj_weight: ((b c) + (b c) + (b d)) a; "
        "attn.in_proj_bias: ((b c) + (b c) + (b d)); attn.out_proj: a (b d); head.weight: 3 a"
    ),
)
def across(net: Net, x: Tensor, y: Tensor) -> Tensor:
    h, other = net.mine(x), net.theirs(y)
    return net.head(h + net.attn(h, other, other, need_weights=False)[0])


@pattern(
    "multihead attention across, widths of their own",
    lambda: layers(
        mine=nn.Linear(5, 12),
        keys=nn.Linear(6, 8),
        values=nn.Linear(6, 10),
        attn=nn.MultiheadAttention(12, 3, kdim=8, vdim=10, batch_first=True),
        head=nn.Linear(12, 3),
    ),
    inputs=two,
    prunable="mine keys values attn.q_proj_weight:0 attn.k_proj_weight:0 attn.v_proj_weight:0",
    layout=(
        "mine: a 5; keys: b 6; values: c 6; attn.q_proj_weight: (d e) a; "
        "attn.k_proj_weight: (d e) b; attn.v_proj_weight: (d f) c; "
        "attn.in_proj_bias: ((d e) + (d e) + (d f)); attn.out_proj: a (d f); head.weight: 3 a"
    ),
)
def own_widths(net: Net, x: Tensor, y: Tensor) -> Tensor:
    h = net.mine(x)
    return net.head(h + net.attn(h, net.keys(y), net.values(y), need_weights=False)[0])


@pattern(
    "multihead attention straight on the input",
    lambda: layers(attn=nn.MultiheadAttention(12, 3, batch_first=True), head=nn.Linear(12, 3)),
    inputs=lambda: (random(2, 7, 12),),
    prunable="attn.in_proj_weight:0",
    layout=(
        "attn.in_proj_weight: ((a b) + (a b) + (a c)) 12; "
        "attn.in_proj_bias: ((a b) + (a b) + (a c)); attn.out_proj: d (a c); head.weight: 3 d"
    ),
)
def on_input(net: Net, x: Tensor) -> Tensor:
    return net.head(net.attn(x, x, x, need_weights=False)[0])


@pattern(
    "one multihead attention, twice",
    lambda: attended(batch_first=True),
    inputs=sequence,
    prunable="embed attn.in_proj_weight:0",
    layout=(
        "embed: a 5; attn.in_proj_weight: ((b c) + (b c) + (b d)) a; "
        "attn.in_proj_bias: ((b c) + (b c) + (b d)); attn.out_proj: a (b d); head.weight: 3 a"
    ),
)
def twice(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    for _ in range(2):
        h = h + net.attn(h, h, h, need_weights=False)[0].tanh()
    return net.head(h)


@pattern(
    "multihead attention under layer norm, with a feed-forward",
    lambda: layers(
        embed=nn.Linear(5, 12),
        norm1=nn.LayerNorm(12),
        attn=nn.MultiheadAttention(12, 3, batch_first=True),
        norm2=nn.LayerNorm(12),
        fc1=nn.Linear(12, 10),
        fc2=nn.Linear(10, 12),
        head=nn.Linear(12, 3),
    ),
    inputs=sequence,
    prunable="attn.in_proj_weight:0 fc1",
    inexact="embed",
    layout=(
        "embed: a~ 5; norm1: a~; attn.in_proj_weight: ((b c) + (b c) + (b d)) a~; "
        "attn.in_proj_bias: ((b c) + (b c) + (b d)); attn.out_proj: a~ (b d); norm2: a~; "
        "fc1: e a~; fc2: a~ e; head.weight: 3 a~"
    ),
)
def under_norm(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    y = net.norm1(h)
    h = h + net.attn(y, y, y, need_weights=False)[0]
    return net.head(h + net.fc2(net.fc1(net.norm2(h)).relu()))


@pattern(
    "multihead attention with a learned query",
    lambda: layers(
        embed=nn.Linear(5, 12),
        query=nn.Parameter(torch.rand(1, 1, 12)),
        head=nn.Linear(12, 3),
        attn=nn.MultiheadAttention(12, 3, batch_first=True),
    ),
    inputs=sequence,
    prunable="embed attn.in_proj_weight:0 query:2",
    layout=(
        "query: 1 1 a; embed: a 5; head.weight: 3 b; "
        "attn.in_proj_weight: ((c d) + (c d) + (c e)) a; "
        "attn.in_proj_bias: ((c d) + (c d) + (c e)); attn.out_proj: b (c e)"
    ),
)
def learned_query(net: Net, x: Tensor) -> Tensor:
    h = net.embed(x)
    return net.head(
        net.attn(net.query.expand(x.shape[0], -1, -1), h, h, need_weights=False)[0][:, 0]
    )
