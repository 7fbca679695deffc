"""What divides by what a unit holds: weight norms, snake activations, spline grids. Masking spares
the divisor, and every filter is exact.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from .pattern import Net, conv, layers, pattern, random, sequence, weight
from .written import LAYOUTS

Norm = Callable[..., Any]


def old_norm(module: nn.Module, **options: Any) -> nn.Module:
    """`torch.nn.utils.weight_norm`, the hook that torch calls deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(module, **options)


NORMS: dict[str, Norm] = {
    "by the old hook": old_norm,
    "by parametrisation": parametrizations.weight_norm,
}


def sound() -> tuple[Tensor]:
    """Two mono sounds of 24 samples."""
    return (random(2, 1, 24),)


def conv1d(inside: int, outside: int, kernel: int = 3, **options: Any) -> nn.Conv1d:
    padding = (kernel - 1) // 2 * options.get("dilation", 1)
    return nn.Conv1d(inside, outside, kernel, padding=padding, **options)


def chain(net: Net, x: Tensor) -> Tensor:
    return net.head(F.leaky_relu(net.normed(F.leaky_relu(net.first(x), 0.1)), 0.1))


# ---- every layer, every dim

for how, norm in NORMS.items():
    for dim in (0, 1, -1, None):
        pattern(
            f"weight norm {how} of a linear layer, over all dims but {dim}",
            lambda norm=norm, dim=dim: layers(
                first=nn.Linear(5, 8), normed=norm(nn.Linear(8, 6), dim=dim), head=nn.Linear(6, 3)
            ),
            inputs=sequence,
            prunable="first normed",
            layout=LAYOUTS[f"weight norm {how} of a linear layer, over all dims but {dim}"],
        )(chain)
        pattern(
            f"weight norm {how} of a convolution, over all dims but {dim}",
            lambda norm=norm, dim=dim: layers(
                first=conv(3, 8), normed=norm(conv(8, 6), dim=dim), head=conv(6, 4)
            ),
            prunable="first normed",
            layout=LAYOUTS[f"weight norm {how} of a convolution, over all dims but {dim}"],
        )(chain)
        pattern(
            f"weight norm {how} of a transposed convolution, over all dims but {dim}",
            lambda norm=norm, dim=dim: layers(
                first=conv1d(1, 8),
                normed=norm(nn.ConvTranspose1d(8, 6, 4, 2, 1), dim=dim),
                head=conv1d(6, 1),
            ),
            inputs=sound,
            prunable="first normed",
            layout=LAYOUTS[
                f"weight norm {how} of a transposed convolution, over all dims but {dim}"
            ],
        )(chain)
    pattern(
        f"weight norm {how} of a grouped convolution",
        lambda norm=norm: layers(
            first=conv1d(1, 8), normed=norm(conv1d(8, 12, groups=4)), head=conv1d(12, 1)
        ),
        inputs=sound,
        prunable="first normed",
        layout=LAYOUTS[f"weight norm {how} of a grouped convolution"],
    )(chain)

    @pattern(
        f"weight norm {how} in a residual block, of a weight whose two dims are one axis",
        lambda norm=norm: layers(
            first=norm(conv1d(1, 8)), normed=norm(conv1d(8, 8)), head=norm(conv1d(8, 1))
        ),
        inputs=sound,
        prunable="first",
        layout=LAYOUTS[
            f"weight norm {how} in a residual block, of a weight whose two dims are one axis"
        ],
    )
    def residual(net: Net, x: Tensor) -> Tensor:
        h = net.first(x)
        return net.head(F.leaky_relu(h + net.normed(F.leaky_relu(h, 0.1)), 0.1))


@pattern(
    "weight norm written out",
    lambda: layers(first=conv(3, 8), v=weight(6, 8, 3, 3), g=weight(6, 1, 1, 1), head=conv(6, 4)),
    prunable="first v:0",
    layout="v: a b 3 3; g: a 1 1 1; first: b 3 3 3; head.weight: 4 a 3 3",
)
def by_hand(net: Net, x: Tensor) -> Tensor:
    w = net.g * net.v / net.v.square().sum((1, 2, 3), keepdim=True).sqrt()
    return net.head(F.conv2d(net.first(x).relu(), w).relu())


@pattern(
    "weight norm without a length, whose readers alone silence a filter",
    lambda: layers(first=conv(3, 8), v=weight(6, 8, 3, 3), head=conv(6, 4)),
    prunable="first v:0",
    layout="v: a b 3 3; first: b 3 3 3; head.weight: 4 a 3 3",
)
def without_length(net: Net, x: Tensor) -> Tensor:
    w = net.v / net.v.square().sum((1, 2, 3), keepdim=True).sqrt()
    return net.head(F.conv2d(net.first(x).relu(), w))


@pattern(
    "weight norm without a length, then a sum over channels",
    lambda: layers(first=conv(3, 8), v=weight(6, 8, 3, 3), head=conv(1, 4)),
    prunable="first",
    inexact="v:0",
    layout="v: a~ b 3 3; first: b 3 3 3",
)
def without_readers(net: Net, x: Tensor) -> Tensor:
    w = net.v / net.v.square().sum((1, 2, 3), keepdim=True).sqrt()
    return net.head(F.conv2d(net.first(x).relu(), w).sum(1, keepdim=True))


@pattern(
    "weight norm before a layer norm over channels",
    lambda: layers(
        first=nn.Linear(5, 8),
        normed=parametrizations.weight_norm(nn.Linear(8, 6)),
        norm=nn.LayerNorm(6),
        head=nn.Linear(6, 3),
    ),
    inputs=sequence,
    prunable="first",
    inexact="normed",
    layout=(
        "first: a 5; normed.bias: b~; normed.parametrizations.weight.original0: b~ 1; "
        "normed.parametrizations.weight.original1: b~ a; norm: b~; head.weight: 3 b~"
    ),
)
def before_layer_norm(net: Net, x: Tensor) -> Tensor:
    return net.head(net.norm(net.normed(net.first(x))))


@pattern(
    "layers whose weights are directions",
    lambda: layers(first=nn.Linear(5, 8), normed=nn.Linear(8, 6), head=nn.Linear(6, 3)),
    inputs=sequence,
    prunable="first normed",
    layout="first: a 5; normed: b a; head.weight: 3 b",
)
def cosine_layers(net: Net, x: Tensor) -> Tensor:
    for layer in (net.first, net.normed):
        x = F.linear(x, F.normalize(layer.weight, dim=1), layer.bias).relu()
    return net.head(x)


# ---- whole networks


class ResBlock(nn.Module):
    """HiFi-GAN's: dilated convolutions in pairs, each pair added to what it read."""

    def __init__(self, norm: Norm, channels: int) -> None:
        super().__init__()
        self.one = nn.ModuleList(norm(conv1d(channels, channels, dilation=d)) for d in (1, 3))
        self.two = nn.ModuleList(norm(conv1d(channels, channels)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for one, two in zip(self.one, self.two, strict=True):
            x = x + two(F.leaky_relu(one(F.leaky_relu(x, 0.1)), 0.1))
        return x


class Generator(nn.Module):
    """HiFi-GAN's generator (Kong et al., arXiv 2010.05646): upsampling, each time a mean of
    residual blocks.
    """

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.pre = norm(conv1d(5, 16))
        self.ups = nn.ModuleList(
            norm(nn.ConvTranspose1d(16 >> i, 8 >> i, 4, 2, 1)) for i in range(2)
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(ResBlock(norm, 8 >> i) for _ in range(2)) for i in range(2)
        )
        self.post = norm(conv1d(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pre(x)
        for up, blocks in zip(self.ups, self.blocks, strict=True):
            x = up(F.leaky_relu(x, 0.1))
            each = [block(x) for block in blocks]  # pyright: ignore[reportGeneralTypeIssues]
            x = torch.stack(each).sum(0) / len(each)
        return torch.tanh(self.post(F.leaky_relu(x)))


class Period(nn.Module):
    """HiFi-GAN's discriminator of one period: the sound folded to an image; every layer is an
    output.
    """

    def __init__(self, norm: Norm, period: int = 3) -> None:
        super().__init__()
        self.period = period
        sizes = [1, 4, 6, 8]
        self.convs = nn.ModuleList(
            norm(nn.Conv2d(i, o, (3, 1), (2, 1), padding=(1, 0))) for i, o in pairwise(sizes)
        )
        self.post = norm(nn.Conv2d(8, 1, (3, 1), padding=(1, 0)))

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, -x.shape[-1] % self.period), "reflect")
        x = x.unflatten(-1, (-1, self.period))
        for layer in self.convs:
            x = F.leaky_relu(layer(x), 0.1)
        return self.post(x).flatten(1)


class Scales(nn.Module):
    """HiFi-GAN's discriminators of several scales: grouped convolutions, the first under spectral
    norm.
    """

    def __init__(self, norm: Norm, spectral: Norm) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(
                make(conv1d(1, 8, 5)),
                nn.LeakyReLU(0.1),
                make(conv1d(8, 12, 5, groups=4, stride=2)),
                nn.LeakyReLU(0.1),
                make(conv1d(12, 16, 5, groups=4)),
                nn.LeakyReLU(0.1),
                make(conv1d(16, 1)),
            )
            for make in (spectral, norm)
        )
        self.pool = nn.AvgPool1d(4, 2, padding=2)

    def forward(self, x: Tensor) -> list[Tensor]:
        out = []
        for scale in self.scales:
            out.append(scale(x).flatten(1))
            x = self.pool(x)
        return out


class WaveNet(nn.Module):
    """Gated dilated convolutions with residual and skip connections (van den Oord et al., arXiv
    1609.03499).
    """

    def __init__(self, norm: Norm, width: int = 8, skip: int = 6) -> None:
        super().__init__()
        self.width = width
        self.pre = norm(conv1d(1, width))
        self.gates = nn.ModuleList(norm(conv1d(width, 2 * width, dilation=2**i)) for i in range(3))
        self.stay = nn.ModuleList(norm(nn.Conv1d(width, width, 1)) for _ in range(3))
        self.skip = nn.ModuleList(norm(nn.Conv1d(width, skip, 1)) for _ in range(3))
        self.post = nn.Sequential(nn.ReLU(), norm(nn.Conv1d(skip, 7, 1)), nn.ReLU())
        self.head = norm(nn.Conv1d(7, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.pre(x), None
        for gate, stay, skip in zip(self.gates, self.stay, self.skip, strict=True):
            a, b = gate(x).chunk(2, 1)
            h = torch.tanh(a) * torch.sigmoid(b)
            total = skip(h) if total is None else total + skip(h)
            x = x + stay(h)
        return self.head(self.post(total))


class Snake(nn.Module):
    """x + sin²(a x) / a, with one a for each channel (Ziyin et al., arXiv 2006.08195)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.alpha * x).sin().pow(2) / self.alpha


class Codec(nn.Module):
    """An encoder and a decoder as DAC's (Kumar et al., arXiv 2306.06546): snakes, residual units,
    strides.
    """

    def __init__(self, norm: Norm) -> None:
        super().__init__()

        def unit(width: int, dilation: int) -> nn.Module:
            return nn.Sequential(
                Snake(width),
                norm(conv1d(width, width, dilation=dilation)),
                Snake(width),
                norm(nn.Conv1d(width, width, 1)),
            )

        self.pre = norm(conv1d(1, 6))
        self.encode = nn.ModuleList(unit(6, d) for d in (1, 3))
        self.down = nn.Sequential(Snake(6), norm(nn.Conv1d(6, 10, 4, 2, 1)))
        self.code = norm(nn.Conv1d(10, 5, 1))
        self.up = nn.Sequential(Snake(5), norm(nn.ConvTranspose1d(5, 8, 4, 2, 1)))
        self.decode = nn.ModuleList(unit(8, d) for d in (1, 3))
        self.post = nn.Sequential(Snake(8), norm(conv1d(8, 1)), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        x = self.pre(x)
        for block in self.encode:
            x = x + block(x)
        x = self.up(self.code(self.down(x)))
        for block in self.decode:
            x = x + block(x)
        return self.post(x)


class Spline(nn.Module):
    """A layer of a Kolmogorov–Arnold network (Liu et al., arXiv 2404.19756) with a grid of knots
    for each input feature, in a buffer.
    """

    def __init__(self, inside: int, outside: int, cells: int = 3, order: int = 2) -> None:
        super().__init__()
        self.order = order
        knots = torch.arange(-order, cells + order + 1).float() / cells
        self.grid = nn.Buffer(knots.repeat(inside, 1))
        self.base = nn.Parameter(torch.ones(outside, inside))
        self.spline = nn.Parameter(torch.ones(outside, inside, cells + order))

    def forward(self, x: Tensor) -> Tensor:
        grid, y = self.grid, x.unsqueeze(-1)
        b = ((y >= grid[:, :-1]) & (y < grid[:, 1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            rises = (y - grid[:, : -(k + 1)]) / (grid[:, k:-1] - grid[:, : -(k + 1)])
            falls = (grid[:, k + 1 :] - y) / (grid[:, k + 1 :] - grid[:, 1:-k])
            b = rises * b[..., :-1] + falls * b[..., 1:]
        spline = F.linear(b.flatten(1), self.spline.flatten(1))
        return F.linear(F.silu(x), self.base) + spline


def kan(net: Net, x: Tensor) -> Tensor:
    return net.three(net.two(net.one(x)))


pattern(
    "Kolmogorov–Arnold layers with a grid for each feature",
    lambda: layers(one=Spline(5, 8), two=Spline(8, 6), three=Spline(6, 3)),
    inputs=lambda: (random(4, 5).sigmoid(),),
    prunable="one two",
    layout=(
        "one.base: a 5; one.spline: a 5 5; two.base: b a; two.spline: b a 5; three.base: 3 b; "
        "three.spline: 3 b 5; two.grid: a 8; three.grid: b 8"
    ),
)(kan)


class Directed(nn.Module):
    """Queries of grouped attention, each a direction times a length, as DoRA has them."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.length = nn.Parameter(random(16, 5)), nn.Parameter(random(16))
        self.heads, self.kv, self.out = 4, nn.Linear(5, 8), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        length = self.length / self.q.norm(dim=1)
        q = (F.linear(x, self.q) * length).unflatten(-1, (self.heads, -1)).transpose(-2, -3)
        k, v = (t.unsqueeze(-3).expand_as(q) for t in self.kv(x).chunk(2, -1))
        out = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        return self.out(out.transpose(-2, -3).flatten(-2))


pattern(
    "queries of grouped attention that are divided by their norm",
    lambda: layers(net=Directed()),
    inputs=lambda: (random(2, 6, 5),),
    prunable="net",
    layout="net.q: (a b) 5; net.length: (a b); net.kv: (b + b) 5; net.out.weight: 3 (a b)",
)(lambda net, x: net.net(x))

for how, norm in NORMS.items():
    spectral = nn.utils.spectral_norm if norm is old_norm else parametrizations.spectral_norm
    for title, make, inputs, prunable in (
        ("HiFi-GAN's generator", Generator, lambda: (random(2, 5, 6),), "pre ups.0 ups.1"),
        ("HiFi-GAN's discriminator of a period", Period, sound, "convs.0 convs.1 convs.2"),
        ("a WaveNet", WaveNet, sound, "pre gates skip.0 post.1"),
        ("a codec with snakes", Codec, sound, "pre down.1 code up.1"),
    ):
        pattern(
            f"{title}, weight norm {how}",
            lambda make=make, norm=norm: layers(net=make(norm)),
            inputs=inputs,
            prunable=" ".join(f"net.{path}" for path in prunable.split()),
            layout=LAYOUTS[f"{title}, weight norm {how}"],
        )(lambda net, x: net.net(x))
    pattern(
        f"HiFi-GAN's discriminators of several scales, norms {how}",
        lambda norm=norm, spectral=spectral: layers(net=Scales(norm, spectral)),
        inputs=sound,
        prunable="net.scales.0.0 net.scales.0.2 net.scales.0.4 net.scales.1.0 net.scales.1.2",
        layout=LAYOUTS[f"HiFi-GAN's discriminators of several scales, norms {how}"],
    )(lambda net, x: net.net(x))
