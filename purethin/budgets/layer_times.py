"""Seconds of layers: timed at a grid of widths, and what they add up to at others, all at once.

A layer's time depends on the sizes of the named dimensions of its weight. Between two points of its
grid it is multilinear, below the first it is flat, and it never falls as a width grows.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.axes import Axes, Fixed, Name, Product, Sum, Take
from purethin.notation import parse


@dataclass(frozen=True)
class LayerTime:
    """One layer's seconds on its grid.

    Attributes:
        module: its path.
        widths: groups of axis expressions; the grid has a direction for each group.
        fractions: the parts of the dense widths that were timed, ascending, the last is 1.
        seconds: row-major over the directions.
        odd: how many times as long a layer takes whose narrowest divisor is 1, 2, 4, … than what is
            interpolated; 1 beyond.
    """

    module: str
    widths: tuple[tuple[str, ...], ...]
    fractions: tuple[float, ...]
    seconds: tuple[float, ...]
    odd: tuple[float, ...] = ()

    @property
    def multiple(self) -> int:
        """The least power of two whose multiples take no longer than those of a larger one, within
        5 %.
        """
        kinds = (*self.odd, 1.0)
        good = (k for k, factor in enumerate(kinds) if factor <= 1.05 * min(kinds[k:]))
        return 2 ** next(good)


Adder = Callable[[Mapping[str, Tensor]], Tensor]
"""From widths `{axis: DoubleTensor[…]}` to seconds `DoubleTensor[…]`."""


def directions(dims: Sequence[Axes]) -> tuple[tuple[Axes, ...], ...]:
    """The named dimensions of a weight, those that share an axis together: what one fraction
    narrows at once.
    """
    groups: list[tuple[Axes, ...]] = []
    for dim in dict.fromkeys(d for d in dims if any(ax.names(d))):
        mine = {*ax.names(dim)}
        met = [g for g in groups if mine & {n for d in g for n in ax.names(d)}]
        groups = [g for g in groups if g not in met]
        groups.append((*(d for g in met for d in g), dim))
    return tuple(groups)


def narrowed(
    group: Sequence[Axes], widths: Mapping[str, Tensor], sizes: Mapping[str, int]
) -> float:
    """What stays of a group of dimensions, as a fraction: where on its direction of the grid."""
    return sum(float(_size(e, widths, sizes)) / ax.size(e, sizes) for e in group) / len(group)


def adder(layers: Sequence[LayerTime], sizes: Mapping[str, int]) -> Adder:
    """What layers take, one after the other, as a function of widths; longer where a width that is
    cut has few divisors.
    """
    groups = chain.from_iterable(layer.widths for layer in layers)
    exprs = {text: parse(text) for text in dict.fromkeys(chain.from_iterable(groups))}
    dense = torch.tensor(
        [ax.size(e, sizes) for e in exprs.values()], dtype=torch.float64, device="cpu"
    )
    at = {text: i for i, text in enumerate(exprs)}
    kinds: dict[tuple[object, ...], list[LayerTime]] = {}
    for layer in layers:
        kind = layer.fractions, len(layer.widths), len(layer.odd)
        kinds.setdefault(kind, []).append(layer)
    grids = [_grids(alike, at) for alike in kinds.values()]

    def add(widths: Mapping[str, Tensor]) -> Tensor:
        like = next(iter(widths.values()))
        each = [_size(e, widths, sizes).expand(like.shape) for e in exprs.values()]
        full = torch.stack(each, -1).view(-1, len(dense))
        return torch.stack([_seconds(grid, full, dense) for grid in grids]).sum(0).view(like.shape)

    return add


class _Grids(NamedTuple):
    """Layers with equal points of their grids, of as many directions.

    Attributes:
        points: `DoubleTensor[points]`, the fractions.
        seconds: `DoubleTensor[layers, points ** directions]`, row-major.
        means: `DoubleTensor[layers * directions, expressions]`: weights of a direction's own.
        own: `LongTensor[layers, …]`: each layer's expressions.
        odd: `DoubleTensor[layers, kinds]`: factors, by the power of two that divides a width.
        directions: how many.
    """

    points: Tensor
    seconds: Tensor
    means: Tensor
    own: Tensor
    odd: Tensor
    directions: int


def _grids(layers: Sequence[LayerTime], at: Mapping[str, int]) -> _Grids:
    first = layers[0]
    ways, rows = len(first.widths), [group for layer in layers for group in layer.widths]

    def doubles(values: object) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device="cpu")

    seconds = doubles([layer.seconds for layer in layers])
    seconds = seconds.view(len(layers), *[len(first.fractions)] * ways)
    for way in range(1, ways + 1):
        seconds = seconds.cummax(way).values
    means = torch.zeros(len(rows), len(at), dtype=torch.float64, device="cpu")
    for row, group in zip(means, rows, strict=True):
        for text in group:
            row[at[text]] += 1 / len(group)
    own = [[at[text] for group in layer.widths for text in group] for layer in layers]
    longest = max(map(len, own))
    own = [[*mine, *mine[-1:] * (longest - len(mine))] for mine in own]
    odd = doubles([(*layer.odd, 1.0) for layer in layers])
    places = torch.tensor(own, dtype=torch.int64, device="cpu")
    return _Grids(doubles(first.fractions), seconds.flatten(1), means, places, odd, ways)


def _seconds(grids: _Grids, widths: Tensor, dense: Tensor) -> Tensor:
    """`DoubleTensor[candidates]` of `DoubleTensor[candidates, expressions]`."""
    points, many = grids.points, len(widths)
    at = ((widths / dense) @ grids.means.t()).view(many, -1, grids.directions)
    at = at.clamp(float(points[0]), 1.0)
    low = (torch.searchsorted(points, at, right=True) - 1).clamp(0, len(points) - 2)
    up = (at - points[low]) / (points[low + 1] - points[low])
    weight, place = torch.ones_like(up[..., :1]), torch.zeros_like(low[..., :1])
    for above, below in zip(up.unbind(-1), low.unbind(-1), strict=True):
        weight = torch.cat([weight * (1 - above)[..., None], weight * above[..., None]], -1)
        place = len(points) * place + below[..., None]
        place = torch.cat([place, place + 1], -1)
    between = (grids.seconds.expand(many, -1, -1).gather(2, place) * weight).sum(-1)
    return (between * _oddness(grids, widths, dense)).sum(-1)


def _oddness(grids: _Grids, widths: Tensor, dense: Tensor) -> Tensor:
    """`DoubleTensor[candidates, layers]`: the factor of the width with the fewest divisors by two
    among those that are cut.
    """
    most, whole = 2 ** (grids.odd.shape[1] - 1), widths.round().long()
    divisor = torch.where((whole < dense) & (whole > 0), whole & -whole, most).clamp(max=most)
    kind = divisor[:, grids.own].amin(-1).log2().long()
    return grids.odd.expand(len(widths), -1, -1).gather(2, kind[..., None])[..., 0]


def _size(expr: Axes, widths: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Tensor:
    """An expression's size at these widths; a take's in proportion to its base."""
    match expr:
        case Name(name):
            return widths[name]
        case Fixed(number):
            return torch.tensor(float(number), dtype=torch.float64, device="cpu")
        case Product(factors):
            return reduce(operator.mul, (_size(f, widths, sizes) for f in factors))
        case Sum(terms):
            return reduce(operator.add, (_size(t, widths, sizes) for t in terms))
        case Take(base):
            return _size(base, widths, sizes) * (ax.size(expr, sizes) / ax.size(base, sizes))
