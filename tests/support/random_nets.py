"""Random small networks for property tests: graphs of layers, sums, slices, views and products,
drawn by hypothesis.

A network is a list of steps, each a piece applied to earlier results along dim 1, for vectors
(linear layers) and images (convolutions) alike; its `repr` is the program. A piece is an operator
with what it asks of the sizes given.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import rnn

CHANNELS = 5
WIDEST = 36
RECENT = 4
"""A step reads one of so many last results, so that networks grow deep."""
LAYER_SIZES = (4, 6, 8, 12)

Run = Callable[..., Tensor]
"""`run(*sources, *numbers)`, with the step's own layer before them where it has one."""


@dataclass(frozen=True)
class Piece:
    """One kind of step.

    Attributes:
        run: what it computes.
        size: the result's channels, from the sources' channels and the numbers.
        sources: how many earlier results it takes.
        fits: whether it can take sources of these channels.
        numbers: the strategy of each number it is given, from the first source's channels.
        layer: its parameters, from the rank of the tensors, the first source's channels and the
            numbers.
        weight: how often it is drawn.
    """

    run: Run
    size: Callable[..., int] = lambda c, *rest: c
    sources: int = 1
    fits: Callable[..., bool] = lambda *channels: True
    numbers: Sequence[Callable[[int], st.SearchStrategy[int]]] = ()
    layer: Callable[..., Any] | None = None
    weight: int = 1


@dataclass(frozen=True)
class Step:
    """A piece with its sources (places in the list of results, the input first) and its numbers."""

    piece: str
    sources: tuple[int, ...]
    numbers: tuple[int, ...] = ()

    def __str__(self) -> str:
        arguments = [*(f"v{i}" for i in self.sources), *map(str, self.numbers)]
        return f"{self.piece}({', '.join(arguments)})"


class RandomNet(nn.Module):
    """The network of some steps; what no step reads goes through a head each, and the heads are
    summed.
    """

    def __init__(self, steps: Sequence[Step], rank: int) -> None:
        super().__init__()
        self.steps = tuple(steps)
        self.layers = nn.ModuleDict()
        self.weights = nn.ParameterDict()
        channels = [CHANNELS]
        for i, step in enumerate(steps):
            piece, inside = PIECES[step.piece], [channels[s] for s in step.sources]
            if piece.layer is not None:
                made = piece.layer(rank, inside[0], *step.numbers)
                (self.layers if isinstance(made, nn.Module) else self.weights)[str(i)] = made
            channels.append(piece.size(*inside, *step.numbers))
        self.channels = " ".join(map(str, channels))
        read = {source for step in steps for source in step.sources}
        self.heads = nn.ModuleDict(
            {str(i): layer(rank, c, 3) for i, c in enumerate(channels) if i not in read}
        )

    def forward(self, x: Tensor) -> Tensor:
        results = [x]
        for i, step in enumerate(self.steps):
            own = [bag[str(i)] for bag in (self.layers, self.weights) if str(i) in bag]
            results.append(
                PIECES[step.piece].run(*own, *(results[s] for s in step.sources), *step.numbers)
            )
        return torch.stack([head(results[int(i)]) for i, head in self.heads.items()]).sum(0)

    def __repr__(self) -> str:
        sizes = self.channels.split()
        lines = [f"  v{i} = {step}  # {sizes[i]}" for i, step in enumerate(self.steps, start=1)]
        outs = " + ".join(f"head(v{i})" for i in self.heads)
        return "\n".join([f"v0 of {sizes[0]} channels", *lines, f"  out = {outs}"])


@st.composite
def networks(draw: st.DrawFn, *, most: int = 14) -> tuple[RandomNet, tuple[Tensor]]:
    """A random network in float64 and eval mode, and its example input: vectors or images.

    Args:
        draw: hypothesis's.
        most: the largest number of steps.
    """
    rank = draw(st.sampled_from([2, 4]), label="rank")
    channels, steps = [CHANNELS], []
    for _ in range(draw(st.integers(3, most), label="steps")):
        first = draw(st.integers(max(0, len(channels) - RECENT), len(channels) - 1))
        drawn = [
            name
            for name, piece in PIECES.items()
            for _ in range(piece.weight)
            if _mates(piece, first, channels)
        ]
        name = draw(st.sampled_from(drawn))
        piece = PIECES[name]
        mates = _mates(piece, first, channels)
        sources = (first, draw(st.sampled_from(mates))) if piece.sources == 2 else (first,)
        numbers = tuple(draw(strategy(channels[first])) for strategy in piece.numbers)
        steps.append(Step(name, sources, numbers))
        channels.append(piece.size(*(channels[s] for s in sources), *numbers))
    shape = (3, CHANNELS) if rank == 2 else (2, CHANNELS, 3, 3)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return RandomNet(steps, rank).double().eval(), (x,)


def _mates(piece: Piece, first: int, channels: Sequence[int]) -> list[int]:
    """The results that a piece can take beside (for one source: instead of any) this one; none if
    it does not fit.
    """
    if piece.sources == 1:
        return [first] if piece.fits(channels[first]) else []
    return [i for i, c in enumerate(channels) if piece.fits(channels[first], c)]


# ---- layers


def layer(rank: int, inside: int, outside: int, biased: int = 1) -> nn.Module:
    """A linear layer, or a convolution for images."""
    if rank == 2:
        return nn.Linear(inside, outside, bias=bool(biased))
    return nn.Conv2d(inside, outside, 3, padding=1, bias=bool(biased))


def grouped(rank: int, inside: int, outside: int) -> nn.Module:
    """A convolution in two groups; a linear layer for vectors."""
    return nn.Linear(inside, outside) if rank == 2 else nn.Conv2d(inside, outside, 1, groups=2)


def depthwise(rank: int, channels: int) -> nn.Module:
    """A convolution of each channel; a batch norm for vectors."""
    return (
        nn.BatchNorm1d(channels)
        if rank == 2
        else nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
    )


def batch_norm(rank: int, channels: int, affine: int) -> nn.Module:
    return (nn.BatchNorm1d if rank == 2 else nn.BatchNorm2d)(channels, affine=bool(affine))


def layer_norm(rank: int, channels: int) -> nn.Module:
    return nn.LayerNorm(channels) if rank == 2 else nn.LayerNorm([channels, 3, 3])


def group_norm(rank: int, channels: int, groups: int) -> nn.Module:
    return nn.GroupNorm(groups, channels)


def vector(rank: int, channels: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(channels, *[1] * (rank - 2)))


class Order(nn.Module):
    """An order of the channels, in a buffer."""

    def __init__(self, rank: int, channels: int, seed: int) -> None:
        super().__init__()
        self.order = nn.Buffer(
            torch.randperm(channels, generator=torch.Generator().manual_seed(seed))
        )

    def forward(self, h: Tensor) -> Tensor:
        return h[:, self.order]


class Keeping(nn.Module):
    """What a forward leaves on its module: a table by size, the last shape, a count; and a dict
    that is state.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.tables: dict[str, Tensor] = {}
        self.state = {"sign": torch.tensor(-1)}
        self.shape, self.calls = torch.Size([7, channels]), 0

    def forward(self, h: Tensor) -> Tensor:
        key = str(h.device)
        if key not in self.tables:
            self.tables[key] = self.scale * 2
        if self.shape[1] != h.shape[1]:
            self.shape = h.shape
        self.calls += 1
        scale = self.tables[key].view(-1, *[1] * (h.dim() - 2))
        return h * scale * self.state["sign"]


class Configured(nn.Module):
    """Widths in a config, in a partial function and in a closure."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.config = {"width": channels}
        self.wide = functools.partial(torch.Tensor.new_zeros, size=(channels,))
        self.rows = lambda h: h.reshape(-1, channels)

    def forward(self, h: Tensor) -> Tensor:
        rows = self.rows(h.movedim(1, -1)) + h.new_zeros(self.config["width"]) + self.wide(h)
        return rows.view(*h.shape[:1], *h.shape[2:], h.shape[1]).movedim(-1, 1)


class Packed(nn.Module):
    """A recurrent layer over the batch as one packed sequence."""

    def __init__(self, channels: int, outside: int) -> None:
        super().__init__()
        self.layer = nn.GRU(channels, outside)

    def forward(self, h: Tensor) -> Tensor:
        steps = rnn.pack_padded_sequence(h[:, None], torch.tensor([len(h)]))
        return rnn.pad_packed_sequence(self.layer(steps)[0])[0][:, 0]


def through_int(h: Tensor) -> Tensor:
    """The two halves exchanged, the middle by `int()`."""
    first, second = h.split(int(h.shape[1] / 2), 1)
    return torch.cat([second, first.relu()], 1)


# ---- what numbers and sizes may be


def flag(channels: int) -> st.SearchStrategy[int]:
    return st.integers(0, 1)


def width(channels: int) -> st.SearchStrategy[int]:
    return st.sampled_from(LAYER_SIZES)


def place(channels: int) -> st.SearchStrategy[int]:
    return st.integers(1, channels - 2)


def divisor(channels: int) -> st.SearchStrategy[int]:
    return st.sampled_from([k for k in (2, 3, 4) if channels % k == 0 and channels > k])


def even(channels: int) -> bool:
    return channels % 2 == 0 and channels >= 4


def divisible(channels: int) -> bool:
    return any(channels % k == 0 and channels > k for k in (2, 3, 4))


def cuttable(channels: int) -> bool:
    return channels >= 4


def same(first: int, second: int) -> bool:
    return first == second


def narrow(*channels: int) -> bool:
    return sum(channels) <= WIDEST


def small(first: int, second: int) -> bool:
    return first * second <= WIDEST


def doubles(channels: int) -> bool:
    return 2 * channels <= WIDEST


# ---- operators that are more than a line


def half(h: Tensor, which: int) -> Tensor:
    """One half, sliced by the shape."""
    middle = h.shape[1] // 2
    return h[:, middle:] if which else h[:, :middle]


def shuffle(h: Tensor, groups: int) -> Tensor:
    return h.unflatten(1, (groups, -1)).transpose(1, 2).relu().flatten(1, 2)


def gram(h: Tensor) -> Tensor:
    """Dot products of the two halves, 2 by 2."""
    q = h.unflatten(1, (2, -1))
    return torch.einsum("bic...,bjc...->bij...", q, q).flatten(1, 2)


def outer(a: Tensor, b: Tensor) -> Tensor:
    return (a.unsqueeze(2) * b.unsqueeze(1)).flatten(1, 2)


def attend(a: Tensor, b: Tensor) -> Tensor:
    """One result reads from another through a softmax over the batch."""
    share = (a.flatten(1) @ a.flatten(1).T).softmax(-1)
    return torch.einsum("bk,kc...->bc...", share, b)


def raised(h: Tensor, start: int) -> Tensor:
    """Some channels raised in place."""
    h = h.clone()
    h[:, start:] += 1.0
    return h


def written(a: Tensor, b: Tensor) -> Tensor:
    """Two results written one after the other into zeros."""
    h = a.new_zeros(a.shape[0], a.shape[1] + b.shape[1], *a.shape[2:])
    h[:, : a.shape[1]] = a
    h[:, a.shape[1] :] = b
    return h


def called(module: nn.Module, h: Tensor, *numbers: int) -> Tensor:
    return module(h)


POINTWISE: dict[str, Run] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "softplus": F.softplus,
    "exp": lambda h: h.tanh().exp(),
    "square": lambda h: h.tanh().square(),
    "cos": torch.cos,
    "neg": torch.neg,
    "clamp": lambda h: h.clamp(-0.5, 2),
    "inverse": lambda h: 1 / (1 + h.abs()),
}

BINARY: dict[str, Run] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": lambda a, b: a * b.tanh(),
    "div": lambda a, b: a / (b.abs() + 1),
    "maximum": torch.maximum,
    "where": lambda a, b: torch.where(a > 0.2, a, b),
    "stack_sum": lambda a, b: torch.stack([a, b], 1).sum(1),
}

PIECES: dict[str, Piece] = {
    "layer": Piece(called, size=lambda c, o, b: o, numbers=(width, flag), layer=layer, weight=40),
    "grouped": Piece(
        called, size=lambda c, o: o, numbers=(width,), layer=grouped, fits=even, weight=3
    ),
    "depthwise": Piece(called, layer=depthwise, weight=2),
    "batch_norm": Piece(called, numbers=(flag,), layer=batch_norm, weight=4),
    "layer_norm": Piece(called, layer=layer_norm),
    "group_norm": Piece(called, numbers=(divisor,), layer=group_norm, fits=divisible, weight=2),
    "keeping": Piece(called, layer=lambda rank, c: Keeping(c), weight=2),
    "configured": Piece(called, layer=lambda rank, c: Configured(c), weight=2),
    "packed": Piece(
        called,
        size=lambda c, o: o,
        numbers=(width,),
        layer=lambda rank, c, o: Packed(c, o) if rank == 2 else layer(rank, c, o),
        weight=2,
    ),
    "through_int": Piece(through_int, fits=even, weight=3),
    "scale": Piece(lambda w, h: h * w, layer=vector, weight=2),
    "shift": Piece(lambda w, h: h + w, layer=vector, weight=2),
    "reorder": Piece(called, numbers=(lambda c: st.integers(0, 9),), layer=Order, weight=2),
    **{name: Piece(run) for name, run in POINTWISE.items()},
    **{name: Piece(run, sources=2, fits=same, weight=3) for name, run in BINARY.items()},
    # joining
    "cat": Piece(
        lambda a, b: torch.cat([a, b], 1), size=lambda a, b: a + b, sources=2, fits=narrow, weight=6
    ),
    "interleave": Piece(
        lambda a, b: torch.stack([a, b], 2).flatten(1, 2),
        size=lambda a, b: a + b,
        sources=2,
        fits=lambda a, b: same(a, b) and doubles(a),
        weight=2,
    ),
    "written": Piece(written, size=lambda a, b: a + b, sources=2, fits=narrow),
    "pad": Piece(
        lambda h, k: torch.cat([h, torch.ones_like(h[:, :k])], 1),
        size=lambda c, k: c + k,
        numbers=(lambda c: st.integers(1, 2),),
        fits=cuttable,
    ),
    "repeat": Piece(
        lambda h: h.repeat(1, 2, *[1] * (h.dim() - 2)),
        size=lambda c: 2 * c,
        fits=lambda c: c >= 2 and doubles(c),
    ),
    "repeat_interleave": Piece(
        lambda h: h.repeat_interleave(2, 1), size=lambda c: 2 * c, fits=doubles
    ),
    # parts
    "chunk": Piece(
        lambda h, i: h.chunk(2, 1)[i],
        size=lambda c, i: c // 2,
        numbers=(flag,),
        fits=even,
        weight=4,
    ),
    "split": Piece(
        lambda h, k, i: h.split([k, h.shape[1] - k], 1)[i],
        size=lambda c, k, i: c - k if i else k,
        numbers=(place, flag),
        fits=cuttable,
        weight=3,
    ),
    "head_slice": Piece(
        lambda h, k: h[:, :k], size=lambda c, k: k, numbers=(place,), fits=cuttable
    ),
    "tail_slice": Piece(
        lambda h, k: h[:, k:], size=lambda c, k: c - k, numbers=(place,), fits=cuttable, weight=2
    ),
    "end_slice": Piece(
        lambda h, k: h[:, :-k], size=lambda c, k: c - k, numbers=(place,), fits=cuttable
    ),
    "half": Piece(half, size=lambda c, i: c // 2, numbers=(flag,), fits=even, weight=2),
    "stride": Piece(
        lambda h, i: h[:, i::2], size=lambda c, i: c // 2, numbers=(flag,), fits=even, weight=2
    ),
    "glu": Piece(lambda h: F.glu(h, 1), size=lambda c: c // 2, fits=even, weight=2),
    "raised": Piece(raised, numbers=(place,), fits=cuttable),
    # order
    "flip": Piece(lambda h: h.flip(1), weight=2),
    "roll": Piece(lambda h, k: h.roll(k, 1), numbers=(place,), fits=cuttable, weight=2),
    "roll_half": Piece(lambda h: h.roll(h.shape[1] // 2, 1), fits=even),
    "shuffle": Piece(shuffle, numbers=(divisor,), fits=divisible, weight=3),
    "maxout": Piece(
        lambda h, k: h.unflatten(1, (-1, k)).amax(2),
        size=lambda c, k: c // k,
        numbers=(divisor,),
        fits=divisible,
    ),
    "maxout_halves": Piece(
        lambda h: h.unflatten(1, (2, -1)).amax(1), size=lambda c: c // 2, fits=even
    ),
    # along all channels
    "cumsum": Piece(lambda h: h.cumsum(1)),
    "softmax": Piece(lambda h: h.softmax(1)),
    "normalize": Piece(lambda h: F.normalize(h, dim=1)),
    "times_sum": Piece(lambda a, b: a.tanh() * b.sum(1, keepdim=True), sources=2, weight=2),
    "plus_mean": Piece(lambda a, b: a + b.mean(1, keepdim=True), sources=2),
    "times_maximum": Piece(lambda a, b: a.tanh() * b.amax(1, keepdim=True), sources=2),
    # products
    "outer": Piece(outer, size=lambda a, b: a * b, sources=2, fits=small, weight=2),
    "gram": Piece(gram, size=lambda c: 4, fits=even, weight=2),
    "attend": Piece(attend, size=lambda a, b: b, sources=2),
}
