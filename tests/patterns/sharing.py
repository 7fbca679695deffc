"""Sharing: one module in two places, one weight in two modules, one dimension on both sides of a
weight.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pattern import Net, add, conv, image, layers, pattern, random, tokens, vector, weight


@pattern(
    "a module used twice",
    lambda: layers(conv1=conv(3, 8), again=conv(8, 8), head=conv(8, 4)),
    prunable="conv1 again",
    layout="conv1: a 3 3 3; again: a a 3 3; head.weight: 4 a 3 3",
)
def twice(net: Net, x: Tensor) -> Tensor:
    return net.head(net.again(net.again(net.conv1(x)).relu()).relu())


@pattern(
    "a shared head on two scales",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 8, stride=2), tower=conv(8, 6), head=conv(6, 4)),
    prunable="conv1 tower",
    layout="conv1: a 3 3 3; conv2: a a 3 3; tower: b a 3 3; head.weight: 4 b 3 3",
)
def shared_head(net: Net, x: Tensor) -> list[Tensor]:
    fine = net.conv1(x).relu()
    coarse = net.conv2(fine).relu()
    return [net.head(net.tower(h).relu()) for h in (fine, coarse)]


@pattern(
    "one tower for two inputs",
    lambda: layers(tower=conv(3, 8), head=conv(8, 4)),
    inputs=lambda: (random(2, 3, 6, 6), random(2, 3, 6, 6, seed=1)),
    prunable="tower",
    layout="tower: a 3 3 3; head.weight: 4 a 3 3",
)
def siamese(net: Net, x: Tensor, y: Tensor) -> Tensor:
    return net.head((net.tower(x) - net.tower(y)).abs())


@pattern(
    "a batch norm shared by two convolutions",
    lambda: layers(conv1=conv(3, 8), conv2=conv(3, 8), norm=nn.BatchNorm2d(8), head=conv(16, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: a 3 3 3; norm: a; head.weight: 4 (a + a) 3 3",
)
def shared_norm(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.cat([net.norm(net.conv1(x)), net.norm(net.conv2(x))], 1))


@pattern(
    "a gate shared by two positions of a concatenation",
    lambda: layers(conv1=conv(3, 8), scale=weight(4, 1, 1), head=conv(8, 4)),
    prunable="conv1",
    layout="scale: a 1 1; conv1: (a + a) 3 3 3; head.weight: 4 (a + a) 3 3",
)
def shared_gate(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x) * torch.cat([net.scale, net.scale]))


@pattern(
    "an embedding",
    lambda: layers(table=nn.Embedding(11, 8), fc=nn.Linear(8, 6), head=nn.Linear(6, 3)),
    inputs=tokens,
    prunable="table fc",
    frozen="table.weight:0",
    layout="table: 11 a; fc: b a; head.weight: 3 b",
)
def embedding(net: Net, x: Tensor) -> Tensor:
    return net.head(net.fc(net.table(x)).relu())


@pattern(
    "embeddings summed, of tokens and of positions",
    lambda: layers(
        table=nn.Embedding(11, 8, padding_idx=0), place=nn.Embedding(5, 8), head=nn.Linear(8, 3)
    ),
    inputs=tokens,
    prunable="table",
    frozen="table.weight:0 place.weight:0",
    layout="table: 11 a; place: 5 a; head.weight: 3 a",
)
def embeddings(net: Net, x: Tensor) -> Tensor:
    return net.head(net.table(x) + net.place(torch.arange(x.shape[1], device=x.device)))


@pattern(
    "a bag of embeddings",
    lambda: layers(table=nn.EmbeddingBag(11, 8, mode="mean"), head=nn.Linear(8, 3)),
    inputs=tokens,
    prunable="table",
    frozen="table.weight:0",
    layout="table: 11 a; head.weight: 3 a",
)
def bag(net: Net, x: Tensor) -> Tensor:
    return net.head(net.table(x))


def tied() -> dict[str, object]:
    members = layers(
        table=nn.Embedding(11, 8), fc=nn.Linear(8, 8), out=nn.Linear(8, 11, bias=False)
    )
    members["out"].weight = members["table"].weight
    return members


@pattern(
    "a tied embedding",
    tied,
    inputs=tokens,
    prunable="table",
    frozen="table.weight:0",
    layout="table: 11 a; fc: a a",
)
def tied_embedding(net: Net, x: Tensor) -> Tensor:
    h = net.table(x)
    return net.out(h + net.fc(h).relu())


@pattern(
    "an embedding that scores its own output",
    lambda: layers(table=nn.Embedding(11, 8), fc=nn.Linear(8, 8)),
    inputs=tokens,
    prunable="table",
    frozen="table.weight:0",
    layout="table: 11 a; fc: a a",
)
def scoring_embedding(net: Net, x: Tensor) -> Tensor:
    return net.fc(net.table(x)) @ net.table.weight.T


def one_weight() -> dict[str, object]:
    members = layers(conv1=conv(3, 8), conv2=conv(8, 8), conv3=conv(8, 8), head=conv(8, 4))
    members["conv3"].weight = members["conv2"].weight
    return members


@pattern(
    "one weight in two modules",
    one_weight,
    prunable="conv1 conv2",
    layout="conv1: a 3 3 3; conv2: a a 3 3; conv3.bias: a; head.weight: 4 a 3 3",
)
def shared_weight(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv3(net.conv2(net.conv1(x).relu()).relu()))


@pattern(
    "F.linear on another module's weight",
    lambda: layers(encode=nn.Linear(5, 8), decode=weight(5), head=nn.Linear(5, 3)),
    inputs=vector,
    prunable="encode",
    frozen="encode.weight:1",
    layout="encode: a 5",
)
def autoencoder(net: Net, x: Tensor) -> Tensor:
    return net.head(F.linear(net.encode(x).relu(), net.encode.weight.t(), net.decode))


@pattern(
    "a transposed convolution by another module's weight",
    lambda: layers(conv1=conv(3, 6), encode=conv(6, 8), head=conv(6, 4)),
    prunable="conv1 encode",
    layout="conv1: a 3 3 3; encode: b a 3 3; head.weight: 4 a 3 3",
)
def convolutional_autoencoder(net: Net, x: Tensor) -> Tensor:
    h = net.encode(net.conv1(x)).relu()
    return net.head(F.conv_transpose2d(h, net.encode.weight, padding=1))


add(
    "square layers, each with axes of its own",
    lambda: nn.Sequential(*(nn.Linear(8, 8) for _ in range(4))),
    inputs=lambda: (random(4, 8),),
    prunable="0 1 2",
    frozen="0.weight:1 3.weight:0",
    layout="0: a 8; 1: b a; 2: c b; 3.weight: 8 c",
)


@pattern(
    "a square parameter, used twice in a row",
    lambda: layers(fc=nn.Linear(5, 8), square=weight(8, 8), head=nn.Linear(8, 3)),
    inputs=vector,
    prunable="fc",
    layout="square: a a; fc: a 5; head.weight: 3 a",
)
def square(net: Net, x: Tensor) -> Tensor:
    return net.head(net.fc(x) @ net.square @ net.square)


@pattern(
    "a square parameter added to its transpose",
    lambda: layers(fc=nn.Linear(5, 8), square=weight(8, 8), head=nn.Linear(8, 3)),
    inputs=vector,
    prunable="fc",
    layout="square: a a; fc: a 5; head.weight: 3 a",
)
def symmetric(net: Net, x: Tensor) -> Tensor:
    return net.head(F.linear(net.fc(x), net.square + net.square.t()))


@pattern(
    "a square parameter between two sides",
    lambda: layers(left=nn.Linear(5, 8), right=nn.Linear(5, 8), square=weight(8, 8)),
    inputs=vector,
    prunable="left right",
    layout="square: a b; left: a 5; right: b 5",
)
def two_sides(net: Net, x: Tensor) -> Tensor:
    return (net.left(x) @ net.square * net.right(x)).sum(-1)


@pattern(
    "a square parameter made orthogonal by a matrix exponential",
    lambda: layers(fc=nn.Linear(5, 8), square=weight(8, 8), head=nn.Linear(8, 3)),
    inputs=vector,
    why="the operator aten::linalg_matrix_exp, which has no rule, in linalg_matrix_exp",
)
def orthogonal(net: Net, x: Tensor) -> Tensor:
    return net.head(net.fc(x) @ torch.linalg.matrix_exp(net.square - net.square.T))


@pattern(
    "half of a weight, by a literal",
    lambda: layers(conv1=conv(3, 8), conv2=conv(8, 12, bias=False), head=conv(6, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; conv2: (6 + b) a 3 3",
)
def half_weight(net: Net, x: Tensor) -> Tensor:
    h = F.conv2d(net.conv1(x).relu(), net.conv2.weight[:6], padding=1)
    return net.head(h)


@pattern(
    "a recursion with its input",
    lambda: layers(conv1=conv(3, 8), step=conv(8, 8), head=conv(8, 4)),
    prunable="conv1",
    layout="conv1: a 3 3 3; step: a a 3 3; head.weight: 4 a 3 3",
)
def recursion(net: Net, x: Tensor) -> Tensor:
    first = net.conv1(x)
    h = first
    for _ in range(3):
        h = (net.step(h) + first).relu()
    return net.head(h)


class Block(nn.Module):
    """A residual block that a network holds several times over."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv(channels, channels)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.conv(x)).relu()


def repeated_block() -> nn.Module:
    block = Block(8)
    return nn.Sequential(conv(3, 8), block, block, Block(8), conv(8, 4))


add(
    "one block object listed twice",
    repeated_block,
    inputs=image,
    prunable="0",
    layout=(
        "0: a 3 3 3; 1.conv: a a 3 3; 1.norm: a; 3.conv: a a 3 3; 3.norm: a; 4.weight: 4 a 3 3"
    ),
)


def shared_buffer() -> dict[str, object]:
    members = layers(
        conv1=conv(3, 8),
        norm1=nn.BatchNorm2d(8),
        conv2=conv(3, 8),
        norm2=nn.BatchNorm2d(8),
        head=conv(16, 4),
    )
    members["norm1"].double()
    members["norm2"].running_mean = members["norm1"].running_mean
    return members


@pattern(
    "one buffer in two modules",
    shared_buffer,
    prunable="conv1",
    layout="conv1: a 3 3 3; norm1: a; conv2: a 3 3 3; norm2: a; head.weight: 4 (a + a) 3 3",
)
def buffer_twice(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.cat([net.norm1(net.conv1(x)), net.norm2(net.conv2(x))], 1))
