"""Flattening: images to vectors and vectors to images; a computed size follows, a literal one
freezes.
"""

from __future__ import annotations

from torch import Tensor, nn

from .pattern import Net, conv, layers, pattern, random, vector


@pattern(
    "flatten to a linear layer by a literal view",
    lambda: layers(conv1=conv(3, 8), fc=nn.Linear(288, 6), head=nn.Linear(6, 3)),
    prunable="fc",
    frozen="conv1.weight:0 conv1.bias:0 fc.weight:1",
    layout="fc: a 288; head.weight: 3 a",
)
def literal_view(net: Net, x: Tensor) -> Tensor:
    return net.head(net.fc(net.conv1(x).relu().view(-1, 8 * 6 * 6)).relu())


@pattern(
    "flatten to a linear layer by a computed view",
    lambda: layers(conv1=conv(3, 8), fc=nn.Linear(288, 6), head=nn.Linear(6, 3)),
    prunable="conv1 fc",
    layout="conv1: a 3 3 3; fc: b (a 36); head.weight: 3 b",
)
def computed_view(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    return net.head(net.fc(h.view(h.size(0), -1)).relu())


@pattern(
    "flatten to a linear layer by a product of sizes",
    lambda: layers(conv1=conv(3, 8), fc=nn.Linear(288, 6), head=nn.Linear(6, 3)),
    prunable="conv1 fc",
    layout="conv1: a 3 3 3; fc: b (a 36); head.weight: 3 b",
)
def product_view(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    _, c, height, width = h.shape
    return net.head(net.fc(h.view(-1, c * height * width)).relu())


@pattern(
    "flatten to a linear layer by an attribute",
    lambda: layers(conv1=conv(3, 8), fc=nn.Linear(288, 6), head=nn.Linear(6, 3), features=288),
    prunable="conv1 fc",
    layout="conv1: a 3 3 3; fc: b (a 36); head.weight: 3 b",
)
def attribute_view(net: Net, x: Tensor) -> Tensor:
    return net.head(net.fc(net.conv1(x).relu().view(-1, net.features)).relu())


@pattern(
    "flatten to a linear layer by its own in_features",
    lambda: layers(conv1=conv(3, 8), fc=nn.Linear(288, 6), head=nn.Linear(6, 3)),
    prunable="conv1 fc",
    layout="conv1: a 3 3 3; fc: b (a 36); head.weight: 3 b",
)
def layer_view(net: Net, x: Tensor) -> Tensor:
    return net.head(net.fc(net.conv1(x).relu().reshape(-1, net.fc.in_features)).relu())


@pattern(
    "flatten by torch's own layer, with batch norm after",
    lambda: layers(
        conv1=conv(3, 8), flatten=nn.Flatten(), norm=nn.BatchNorm1d(288), head=nn.Linear(288, 3)
    ),
    prunable="conv1",
    layout="conv1: a 3 3 3; norm: (a 36); head.weight: 3 (a 36)",
)
def flatten(net: Net, x: Tensor) -> Tensor:
    return net.head(net.norm(net.flatten(net.conv1(x))).relu())


@pattern(
    "flatten in one order for each consumer",
    lambda: layers(conv1=conv(3, 8), head1=nn.Linear(288, 3), head2=nn.Linear(288, 3)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head1.weight: 3 (a 36); head2.weight: 3 (36 a)",
)
def flatten_orders(net: Net, x: Tensor) -> Tensor:
    h = net.conv1(x).relu()
    return net.head1(h.flatten(1)) + net.head2(h.permute(0, 2, 3, 1).flatten(1))


@pattern(
    "channels last, then flatten",
    lambda: layers(conv1=conv(3, 8), head=nn.Linear(288, 3)),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 3 (36 a)",
)
def channels_last_flatten(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).relu().permute(0, 2, 3, 1).reshape(x.shape[0], -1))


@pattern(
    "flatten of everything, batch and all",
    lambda: layers(conv1=conv(3, 8), head=nn.Linear(288, 3)),
    inputs=lambda: (random(1, 3, 6, 6),),
    prunable="conv1",
    layout="conv1: a 3 3 3; head.weight: 3 (a 36)",
)
def flatten_all(net: Net, x: Tensor) -> Tensor:
    return net.head(net.conv1(x).relu().ravel())


@pattern(
    "a linear layer viewed as an image, its channels a literal",
    lambda: layers(fc=nn.Linear(5, 72), up=nn.ConvTranspose2d(8, 6, 2, stride=2), head=conv(6, 4)),
    inputs=vector,
    prunable="up",
    frozen="fc.weight:0 fc.bias:0 up.weight:0",
    layout="up.weight: 8 a 2 2; up.bias: a; head.weight: 4 a 3 3",
)
def literal_image(net: Net, x: Tensor) -> Tensor:
    return net.head(net.up(net.fc(x).view(-1, 8, 3, 3).relu()).relu())


@pattern(
    "a linear layer viewed as an image, its channels free",
    lambda: layers(fc=nn.Linear(5, 72), up=nn.ConvTranspose2d(8, 6, 2, stride=2), head=conv(6, 4)),
    inputs=vector,
    prunable="fc up",
    layout="fc: (a 9) 5; up.weight: a b 2 2; up.bias: b; head.weight: 4 b 3 3",
)
def free_image(net: Net, x: Tensor) -> Tensor:
    return net.head(net.up(net.fc(x).view(x.shape[0], -1, 3, 3).relu()).relu())


@pattern(
    "a linear layer viewed as an image, its channels an attribute",
    lambda: layers(
        fc=nn.Linear(5, 72), up=nn.ConvTranspose2d(8, 6, 2, stride=2), head=conv(6, 4), width=8
    ),
    inputs=vector,
    prunable="fc up",
    layout="fc: (a 9) 5; up.weight: a b 2 2; up.bias: b; head.weight: 4 b 3 3",
)
def attribute_image(net: Net, x: Tensor) -> Tensor:
    return net.head(net.up(net.fc(x).view(-1, net.width, 3, 3).relu()).relu())


@pattern(
    "a linear layer viewed as an image, by a tuple",
    lambda: layers(
        fc=nn.Linear(5, 72),
        up=nn.ConvTranspose2d(8, 6, 2, stride=2),
        head=conv(6, 4),
        shape=(8, 3, 3),
    ),
    inputs=vector,
    prunable="fc up",
    layout="fc: (a 9) 5; up.weight: a b 2 2; up.bias: b; head.weight: 4 b 3 3",
)
def tuple_image(net: Net, x: Tensor) -> Tensor:
    return net.head(net.up(net.fc(x).view(-1, *net.shape).relu()).relu())


@pattern(
    "a linear layer unflattened by torch's own layer",
    lambda: layers(
        fc=nn.Linear(5, 72),
        unflatten=nn.Unflatten(1, (8, 3, 3)),
        up=nn.ConvTranspose2d(8, 6, 2),
        head=conv(6, 4),
    ),
    inputs=vector,
    prunable="fc up",
    layout="fc: (a 9) 5; up.weight: a b 2 2; up.bias: b; head.weight: 4 b 3 3",
)
def unflatten_image(net: Net, x: Tensor) -> Tensor:
    return net.head(net.up(net.unflatten(net.fc(x)).relu()).relu())
