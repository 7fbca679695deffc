"""What one unit costs: by axis, at the widths that masks leave; and what each layer costs.

A unit costs what the network costs less without it, to the last multiplication: the difference of
two values of the cost function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from purethin.arguments import explained
from purethin.axes import Axes, Fixed
from purethin.budgets.polynomial import CostFunction, cost_function
from purethin.checks import check_masks, kept_sizes
from purethin.costs import Cost, for_batch
from purethin.spec import Masks, Spec
from purethin.table import Table, folded


class Unit(NamedTuple):
    """One unit of an axis: what the network costs less without it.

    `share` is the part of all MACs (of parameters, where there are no MACs) in which the axis
    stands, in [0, 1]; shares overlap, since a layer has two axes. Where units of an axis differ,
    the figures are their means, rounded.
    """

    axis: str
    units: int
    macs: int
    parameters: int
    bytes: int
    activation_bytes: int
    share: float


class Layer(NamedTuple):
    """Modules whose weights have the same named dimensions; `widths` are the sizes of these now.

    Products without a weight, as in attention, have no module.
    """

    modules: tuple[str, ...]
    widths: str
    macs: int
    parameters: int
    bytes: int
    share: float


@dataclass(frozen=True)
class Worth:
    """Rows by axis and by layer, and the whole network's cost; prints as two tables."""

    axes: tuple[Unit, ...]
    layers: tuple[Layer, ...]
    total: Cost

    def tables(self) -> tuple[Table, Table]:
        """One row an axis; one row a layer."""
        axes = [(u.axis, f"{u.units:,}", *_cells(u, u.activation_bytes)) for u in self.axes]
        layers = [(_some(r.modules), r.widths, *_cells(r)) for r in self.layers]
        costs = ("MACs", "parameters", "bytes")
        return (
            Table(
                ("one unit of", "units", *costs, "activation bytes", "share"),
                axes,
                numbers=range(1, 7),
            ),
            Table(("layer", "widths", *costs, "share"), layers, numbers=range(2, 6)),
        )

    def __str__(self) -> str:
        """Both tables as text, and whose MACs they are where the example is a batch."""
        whose = for_batch(self.total.batch)
        return "\n\n".join([*map(str, self.tables()), *([f"MACs{whose}"] if whose else [])])

    def __repr__(self) -> str:
        """How many rows, and the whole; `print(worth)` shows the tables."""
        return f"Worth: {len(self.axes)} axes, {len(self.layers)} layers; {self.total}"

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        axes, layers = self.tables()
        return folded(str(self.total), {"by axis": axes, "by layer": layers}, opened=("by axis",))


@explained
def worth(spec: Spec, masks: Masks | None = None) -> Worth:
    """What one unit of each axis costs, and what each layer costs.

    Args:
        spec: the spec of a network.
        masks: `{axis: BoolTensor[size]}`, True = keep: the widths now. Dense without them.

    Returns:
        `.axes`, `.layers`, `.total`. MACs are those of the example input, whatever its batch.

    Raises:
        MaskError: the masks do not fit the spec.

    >>> params = {"w": torch.zeros(4, 3), "v": torch.zeros(2, 4)}
    >>> print(worth(Spec.from_layout({"w": "h 3", "v": "2 h"}, params)).tables()[0])
    one unit of  units  MACs  parameters  bytes  activation bytes   share
    h                4     0           5     20                 0  100.0%
    """
    check_masks(spec, masks or {})
    function = cost_function(spec)
    now = function.counts(masks or {})
    costs = function(now)
    total = Cost(*map(int, costs), batch=spec.batch)
    return Worth(_units(function, now), tuple(_layers(spec, masks or {}, total)), total)


def _units(function: CostFunction, now: Tensor) -> tuple[Unit, ...]:
    less = function(fewer(function, now, (now[: len(function.axes)] - 1).clamp(min=0)))
    none = function(fewer(function, now, torch.zeros_like(now[: len(function.axes)])))
    costs = function(now)
    kind = 0 if int(costs.macs) else 1
    whole = max(int(costs[kind]), 1)
    out = []
    for i, axis in enumerate(function.axes):
        one = [round((c - left[i]).item()) for c, left in zip(costs, less, strict=True)]
        share = float(costs[kind] - none[kind][i]) / whole
        out.append(Unit(axis, int(now[i]), one[0], one[1], one[2], one[3], share))
    return tuple(out)


def fewer(function: CostFunction, now: Tensor, left: Tensor) -> Tensor:
    """`Tensor[axes, axes + uneven takes]`: as many candidates as axes, in each of which one axis
    has `left` units; the others as now. In floats where a mean is in it.
    """
    n = len(function.axes)
    out = now.double() if function.uneven else now
    out = out.repeat(n, 1)
    out[range(n), range(n)] = left.to(out.dtype)
    ratio = left / now[:n].clamp(min=1)
    for column, take in enumerate(function.uneven, start=n):
        for i, axis in enumerate(function.axes):
            if axis in take.axes:
                out[i, column] *= ratio[i]
    return out


def _layers(spec: Spec, masks: Masks, total: Cost) -> list[Layer]:
    """The terms of the cost by the named dimensions in them; a module's bias counts with its
    weight.
    """
    kept = kept_sizes(spec, masks)
    owners: dict[tuple[Axes, ...], dict[str, None]] = {}
    home: dict[str, tuple[Axes, ...]] = {}
    for name, dims in spec.layout.items():
        module = name.rpartition(".")[0] or name
        if len(dims) > 1 and module not in home and name not in spec.buffers:
            home[module] = _named(dims)
            owners.setdefault(_named(dims), {})[module] = None
    sums: dict[tuple[tuple[Axes, ...], tuple[str, ...]], list[int]] = {}

    def add(key: tuple[Axes, ...], modules: Mapping[str, None], more: tuple[int, int, int]) -> None:
        row = sums.setdefault((key, tuple(modules)), [0, 0, 0])
        row[:] = [a + b for a, b in zip(row, more, strict=True)]

    for name, dims in spec.layout.items():
        module = name.rpartition(".")[0] or name
        key = home.setdefault(module, _named(dims))
        entries = prod(map(kept, dims))
        size = entries * getattr(torch, spec.dtypes[name]).itemsize
        add(
            key,
            owners[key] if module in owners.get(key, {}) else {module: None},
            (0, entries * (name not in spec.buffers), size),
        )
    for k, dims in spec.macs:
        add(_named(dims), owners.get(_named(dims), {}), (k * prod(map(kept, dims)), 0, 0))
    out = []
    for (key, modules), (macs, parameters, size) in sums.items():
        widths = " × ".join(f"{kept(d):,}" for d in key)
        share = macs / total.macs if total.macs else parameters / max(total.parameters, 1)
        out.append(Layer(modules, widths, macs, parameters, size, share))
    return out


def _named(dims: tuple[Axes, ...]) -> tuple[Axes, ...]:
    return tuple(sorted((d for d in dims if not isinstance(d, Fixed)), key=str))


def _cells(row: Unit | Layer, *more: int) -> tuple[str, ...]:
    numbers = (row.macs, row.parameters, row.bytes, *more)
    return *(f"{n:,}" for n in numbers), f"{row.share:.1%}"


def _some(modules: tuple[str, ...]) -> str:
    more = f" and {len(modules) - 2} more" if len(modules) > 2 else ""
    return ", ".join(modules[:2]) + more if modules else "(no weight)"
