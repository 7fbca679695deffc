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
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.axes import Axes, Fixed, Name, Product, Sum
from purethin.errors import SpecError, nearest
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


@dataclass(frozen=True)
class LatencyTable:
    """The times of a network's layers on one machine.

    Attributes:
        layers: each with its grid.
        dense: seconds of the whole dense network.
        machine: what it was timed on.
        whole: networks that were cut and timed whole, ascending: what their layers add up to, and
            what they took.
        sizes: the dense widths of the network, by axis.
    """

    layers: tuple[LayerTime, ...]
    dense: float
    machine: Mapping[str, str | int]
    whole: tuple[tuple[float, float], ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        """How much was timed, and on what."""
        what = ", ".join(f"{key} {value}" for key, value in self.machine.items() if value != "")
        many = f"{len(self.layers)} layers and {len(self.whole)} networks"
        return f"LatencyTable: {many} timed; dense {1e3 * self.dense:.4g} ms; {what}"

    def check_fits(self, spec: Spec) -> None:
        """That a spec is of the network that was timed.

        Raises:
            SpecError: its axes or their sizes are others.
        """
        here = spec.sizes if self.sizes else {}
        for name in {**self.sizes, **here}:
            mine, other = self.sizes.get(name, "no"), spec.sizes.get(name, "no")
            if mine != other:
                raise SpecError(
                    f"this table is of another network: its '{name}' has {mine} units, that of the "
                    f"spec has {other}; time this one, pt.latency_table(model, spec, example)"
                )

    def seconds(self, spec: Spec, widths: Mapping[str, Tensor | int]) -> Tensor:
        """What networks of these widths take: `DoubleTensor[…]`.

        Args:
            spec: the dense spec.
            widths: `{axis: Tensor[…]}`, the axes left out dense.

        Raises:
            SpecError: an axis is none of the spec's.
        """
        if (unknown := next((n for n in widths if n not in spec.sizes), None)) is not None:
            raise SpecError(f"no axis is named '{unknown}'; {nearest(unknown, spec.sizes)}")
        asked = {n: widths.get(n, size) for n, size in spec.sizes.items()}
        full = {n: torch.as_tensor(width, device="cpu").double() for n, width in asked.items()}
        full = dict(zip(full, torch.broadcast_tensors(*full.values()), strict=True))
        return self._of_whole(added(self.layers, full, spec.sizes))

    def _of_whole(self, total: Tensor) -> Tensor:
        """From what layers add up to, to what their network takes: a line between those timed."""
        dense = sum(max(layer.seconds) for layer in self.layers)
        known = [(0.0, 0.0), *(p for p in self.whole if p[0] < dense), (dense, self.dense)]
        xs, ys = torch.tensor(known, dtype=torch.float64, device="cpu").t().contiguous()
        ys = ys.cummax(0).values.clamp(max=self.dense)
        low = (torch.searchsorted(xs, total.contiguous(), right=True) - 1).clamp(0, len(xs) - 2)
        slope = (ys[low + 1] - ys[low]) / (xs[low + 1] - xs[low])
        inside = ys[low] + (total - xs[low]) * slope
        return torch.where(total > dense, total * (self.dense / dense), inside)

    def save(self, file: str | Path) -> None:
        """Write it as JSON.

        Raises:
            SpecError: the file cannot be written.
        """
        try:
            Path(file).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        except OSError as error:
            raise SpecError(f"{file} cannot be written: {error.strerror or error}") from error

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
                    tuple(row["odd"]),
                )
                for row in said["layers"]
            )
            if not layers:
                raise ValueError("it has no layers")
            whole = tuple((float(a), float(b)) for a, b in said["whole"])
            return LatencyTable(layers, said["dense"], said["machine"], whole, said["sizes"])
        except OSError as error:
            raise SpecError(f"{file} cannot be read: {error.strerror or error}") from error
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


def narrowed(
    group: Sequence[Axes], widths: Mapping[str, Tensor], sizes: Mapping[str, int]
) -> Tensor | float:
    """What stays of a group of dimensions, as a fraction: where on its direction of the grid."""
    return sum(_size(e, widths) / ax.size(e, sizes) for e in group) / len(group)


def added(
    layers: Sequence[LayerTime], widths: Mapping[str, Tensor], sizes: Mapping[str, int]
) -> Tensor:
    """What layers of these widths take, one after the other: `DoubleTensor[…]`."""
    return torch.stack([_interpolated(layer, widths, sizes) for layer in layers]).sum(0)


def _interpolated(
    layer: LayerTime, widths: Mapping[str, Tensor], sizes: Mapping[str, int]
) -> Tensor:
    """A layer's seconds: multilinear between the points of its grid, flat below the first; longer
    where a width that is cut has few divisors.
    """
    grid, flat = _grid(layer.fractions, layer.seconds, len(layer.widths))
    like = next(iter(widths.values()))
    corners = [(torch.ones_like(like), torch.zeros_like(like, dtype=torch.int64))]
    for group in layer.widths:
        at = torch.as_tensor(narrowed([*map(_parsed, group)], widths, sizes)).clamp(
            float(grid[0]), 1.0
        )
        low = (torch.searchsorted(grid, at.contiguous(), right=True) - 1).clamp(0, len(grid) - 2)
        up = (at - grid[low]) / (grid[low + 1] - grid[low])
        corners = [
            (weight * share, place * len(grid) + low + step)
            for weight, place in corners
            for share, step in ((1 - up, 0), (up, 1))
        ]
    between = torch.stack([weight * flat[place] for weight, place in corners]).sum(0)
    return between * _oddness(layer, widths, sizes)


@cache
def _grid(
    fractions: tuple[float, ...], seconds: tuple[float, ...], directions: int
) -> tuple[Tensor, Tensor]:
    """The points of each direction, and the seconds row-major, which never fall."""
    grid = torch.tensor(fractions, dtype=torch.float64, device="cpu")
    table = torch.tensor(seconds, dtype=torch.float64, device="cpu")
    table = table.view([len(grid)] * directions)
    for dim in range(directions):
        table = table.cummax(dim).values
    return grid, table.flatten()


_parsed = cache(parse)


def _oddness(layer: LayerTime, widths: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Tensor:
    """The factor of the width with the fewest divisors by two among those that are cut."""
    like = next(iter(widths.values()))
    if not layer.odd:
        return torch.ones_like(like)
    most = 2 ** len(layer.odd)
    divisor = torch.full_like(like, most, dtype=torch.int64)
    for expr in (_parsed(text) for group in layer.widths for text in group):
        width = torch.as_tensor(_size(expr, widths)).round().long()
        mine = torch.where(width < ax.size(expr, sizes), width & -width, most)
        divisor = torch.minimum(divisor, torch.where(mine > 0, mine, most))
    factors = torch.tensor((*layer.odd, 1.0), dtype=torch.float64, device="cpu")
    return factors[divisor.log2().long()]


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
