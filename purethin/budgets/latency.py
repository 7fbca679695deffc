"""Milliseconds: the layers of a network timed at a grid of widths, and what they say of other
widths.

A layer is a module with a weight of its own. Its time depends on its widths, the sizes of the named
dimensions of that weight; between two widths of the grid it is interpolated, and never falls as a
width grows. What layers do not account for grows and falls with them.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.axes import Axes, Fixed, Name, Product, Sum
from purethin.errors import SpecError
from purethin.notation import parse
from purethin.spec import Spec


@dataclass(frozen=True)
class LayerTime:
    """One layer's seconds on its grid.

    Attributes:
        module: its path.
        widths: groups of axis expressions; the grid has a direction for each group.
        fractions: the parts of the dense widths that were timed, ascending, the last is 1.
        seconds: row-major over the directions.
    """

    module: str
    widths: tuple[tuple[str, ...], ...]
    fractions: tuple[float, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class LatencyTable:
    """The times of a network's layers on one machine.

    Attributes:
        layers: each with its grid.
        dense: seconds of the whole dense network.
        machine: what it was timed on.
    """

    layers: tuple[LayerTime, ...]
    dense: float
    machine: Mapping[str, str | int]

    def seconds(self, spec: Spec, widths: Mapping[str, Tensor | int]) -> Tensor:
        """What networks of these widths take: `DoubleTensor[…]`.

        Args:
            spec: the dense spec.
            widths: `{axis: Tensor[…]}`, the axes left out dense.
        """
        full = {n: torch.as_tensor(widths.get(n, s)).double() for n, s in spec.sizes.items()}
        full = dict(zip(full, torch.broadcast_tensors(*full.values()), strict=True))
        parts = [_interpolated(layer, full, spec.sizes) for layer in self.layers]
        dense = sum(max(layer.seconds) for layer in self.layers)
        return torch.stack(parts).sum(0) * (self.dense / dense)

    def save(self, file: str | Path) -> None:
        """Write it as JSON."""
        Path(file).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @staticmethod
    def load(file: str | Path) -> LatencyTable:
        """Read what `save` wrote.

        Raises:
            SpecError: it is no such file.
        """
        try:
            said = json.loads(Path(file).read_text(encoding="utf-8"))
            layers = tuple(
                LayerTime(
                    row["module"],
                    tuple(map(tuple, row["widths"])),
                    tuple(row["fractions"]),
                    tuple(row["seconds"]),
                )
                for row in said["layers"]
            )
            return LatencyTable(layers, said["dense"], said["machine"])
        except (ValueError, KeyError, TypeError) as error:
            raise SpecError(f"{file} is no latency table: {error!r}") from error


def machine() -> dict[str, str | int]:
    """What identifies this machine, as far as times go."""
    return {
        "processor": platform.processor() or platform.machine(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }


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


def _interpolated(
    layer: LayerTime, widths: Mapping[str, Tensor], sizes: Mapping[str, int]
) -> Tensor:
    """A layer's seconds: multilinear between the points of its grid, flat below the first."""
    grid = torch.tensor(layer.fractions, dtype=torch.float64, device="cpu")
    table = torch.tensor(layer.seconds, dtype=torch.float64, device="cpu")
    table = table.view([len(grid)] * len(layer.widths))
    for dim in range(table.dim()):
        table = table.cummax(dim).values
    like = next(iter(widths.values()))
    corners = [(torch.ones_like(like), torch.zeros_like(like, dtype=torch.int64))]
    for group in layer.widths:
        parsed = [parse(text) for text in group]
        at = sum(_size(e, widths) / ax.size(e, sizes) for e in parsed) / len(parsed)
        at = torch.as_tensor(at).clamp(float(grid[0]), 1.0)
        low = (torch.searchsorted(grid, at.contiguous(), right=True) - 1).clamp(0, len(grid) - 2)
        up = (at - grid[low]) / (grid[low + 1] - grid[low])
        corners = [
            (weight * share, place * len(grid) + low + step)
            for weight, place in corners
            for share, step in ((1 - up, 0), (up, 1))
        ]
    flat = table.flatten()
    return torch.stack([weight * flat[place] for weight, place in corners]).sum(0)


def _size(expr: Axes, widths: Mapping[str, Tensor]) -> Tensor | int:
    """An expression's size at these widths; a take's as that of its part of the base."""
    match expr:
        case Name(name):
            return widths[name]
        case Fixed(number):
            return number
        case Product(factors):
            out: Tensor | int = 1
            for factor in factors:
                out = out * _size(factor, widths)
            return out
        case Sum(terms):
            return sum((_size(term, widths) for term in terms), start=0)
    return _size(expr.base, widths)
