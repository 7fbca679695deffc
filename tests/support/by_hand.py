"""What criteria mean, an entry at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from strategies import entries
from torch import Tensor

import purethin as pt
from purethin import axes as ax


def units_of(expr: ax.Axes, axis: str, sizes: dict[str, int]) -> list[set[int]]:
    """Which units of an axis each entry of an expression belongs to."""
    return [{u for a, u in row if a == axis} for row in entries(expr, sizes)]


def leaving(
    spec: pt.Spec, axis: str, unit: int, names: Iterable[str]
) -> list[tuple[str, tuple[int, ...]]]:
    """Every single entry that leaves with a unit, each once."""
    out = []
    for name in names:
        rows = [units_of(e, axis, spec.sizes) for e in spec.layout[name]]
        for place in torch.ones(spec.shape(name)).nonzero().tolist():
            if any(unit in rows[dim][i] for dim, i in enumerate(place)):
                out.append((name, tuple(place)))
    return out


def filters(spec: pt.Spec, params: Mapping[str, Tensor], axis: str) -> list[list[list[float]]]:
    """For each producer, the entries of each unit, in order."""
    out = []
    for name, dim in spec.axes[axis].producers:
        rows = units_of(spec.layout[name][dim], axis, spec.sizes)
        w = (
            params[name].movedim(dim, 0).flatten(1)
            if params[name].dim() > 1
            else params[name][:, None]
        )
        out.append(
            [
                [x for i, row in enumerate(rows) if unit in row for x in w[i].tolist()]
                for unit in range(spec.axes[axis].size)
            ]
        )
    return out


def assert_close(got: Mapping[str, Tensor], want: Mapping[str, Any], rtol: float = 1e-9) -> None:
    assert got.keys() == want.keys()
    for name, values in want.items():
        expected = torch.as_tensor(values, dtype=torch.float64)
        torch.testing.assert_close(got[name].double(), expected, rtol=rtol, atol=1e-10, msg=name)


def each_unit(spec: pt.Spec, value: Callable[[str, int], float]) -> dict[str, list[float]]:
    """A value for each unit of each axis."""
    return {n: [value(n, u) for u in range(a.size)] for n, a in spec.axes.items()}
