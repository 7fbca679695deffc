"""From the entries of a tensor to the units that they belong to: sums over each unit of an axis."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.axes import Axes
from purethin.records import Axis
from purethin.spec import Spec


def wide(tensor: Tensor) -> Tensor:
    """Half types, whose sums overflow or stall, and integers in float32."""
    return (
        tensor
        if tensor.dtype in (torch.float32, torch.float64) or tensor.is_complex()
        else tensor.float()
    )


def per_unit(entries: Tensor, spec: Spec, parameter: str, dim: int, axis: str) -> Tensor:
    """`Tensor[size]`: the sum of a parameter's entries, or of what is shaped like it, over each
    unit of an axis along a dim.
    """
    others = [d for d in range(entries.dim()) if d != dim]
    entries = entries.sum(others) if others else entries
    return by_unit(entries, spec.layout[parameter][dim], axis, spec)


def by_unit(values: Tensor, expr: Axes, axis: str, spec: Spec) -> Tensor:
    """`Tensor[size]`: values of the entries of an expression, summed over those of each unit."""
    match expr:
        case ax.Name(name) if name == axis:
            return values
        case ax.Product(factors):
            carrying = [i for i, f in enumerate(factors) if axis in ax.names(f)]
            if len(carrying) == 1:
                values = values.reshape([ax.size(f, spec.sizes) for f in factors])
                values = values.sum([i for i in range(len(factors)) if i not in carrying])
                return by_unit(values, factors[carrying[0]], axis, spec)
        case ax.Sum(terms):
            parts = values.split([ax.size(t, spec.sizes) for t in terms])
            pairs = [(t, p) for t, p in zip(terms, parts, strict=True) if axis in ax.names(t)]
            return torch.stack([by_unit(p, t, axis, spec) for t, p in pairs]).sum(0)
        case _:
            pass
    return onto_units(ax.units(expr, axis, spec.sizes), values, spec.axes[axis].size)


def onto_units(unit: Tensor, entries: Tensor, size: int) -> Tensor:
    """`Tensor[size]`: the entries summed by unit, those of none (-1) left out."""
    carrying = (unit >= 0).nonzero()[:, 0]
    onto = torch.zeros(size, dtype=entries.dtype, device=entries.device)
    return onto.index_add(
        0, unit[carrying].to(entries.device), entries[carrying.to(entries.device)]
    )


def change(gradient: Tensor, weight: Tensor) -> Tensor:
    """g·w entry by entry: to first order, what the loss loses with each entry."""
    product = wide(gradient.conj()) * wide(weight)
    return product.real if product.is_complex() else product


def leaving(entries: Mapping[str, Tensor], spec: Spec, axis: Axis) -> Tensor:
    """`Tensor[size]`: the sum over all entries that leave with each unit, in the parameters that
    are given; 0 where none of them carries the axis.
    """
    found = [
        _leaving(entries[name], spec, name, axis.name)
        for name in dict.fromkeys(name for name, _ in axis.places)
        if name in entries
    ]
    if not found:
        like = next(iter(entries.values()))
        return torch.zeros(axis.size, dtype=like.dtype, device=like.device)
    return torch.stack(found).sum(0)


def _leaving(entries: Tensor, spec: Spec, parameter: str, axis: str) -> Tensor:
    """`Tensor[size]`: the sum over the entries that leave with each unit, each once, though several
    dims carry the axis.
    """
    factors = [
        f
        for e in spec.layout[parameter]
        for f in (e.factors if isinstance(e, ax.Product) else (e,))
    ]
    entries = entries.reshape([ax.size(f, spec.sizes) for f in factors])
    units = [ax.units(f, axis, spec.sizes).to(entries.device) for f in factors]
    out = torch.zeros(spec.axes[axis].size, dtype=entries.dtype, device=entries.device)
    before: list[Tensor] = []
    for dim, unit in enumerate(units):
        if not bool((unit >= 0).any()):
            continue
        along = unit.reshape([-1 if d == dim else 1 for d in range(entries.dim())])
        fresh = entries
        for earlier in before:
            fresh = torch.where(earlier == along, torch.zeros_like(fresh), fresh)
        others = [d for d in range(entries.dim()) if d != dim]
        out = out + onto_units(unit, fresh.sum(others) if others else fresh, len(out))
        before.append(along)
    return out


def readers(spec: Spec, axis: Axis) -> tuple[tuple[str, int], ...]:
    """The `(parameter, dim)` that a gate on the axis multiplies: those of float masks
    (`Axis.gates`); of an axis without, those by which calls sum over it; of a spec without a trace,
    the matrices that carry it and do not make it.
    """
    if axis.gates:
        return axis.gates
    if spec.sites:
        reading = (s for s in spec.sites if s.role == "reads" and axis.name in s.axes)
        return tuple(dict.fromkeys(place for s in reading for place in s.weights))
    return tuple(p for p in axis.places if p not in axis.producers and len(spec.layout[p[0]]) > 1)


def read(entries: Mapping[str, Tensor], spec: Spec, axis: Axis) -> Tensor:
    """`Tensor[size]`: the sum over the entries that a gate on each unit multiplies; where no such
    place is known, over all that leave with it.
    """
    found = [
        per_unit(entries[name], spec, name, dim, axis.name)
        for name, dim in readers(spec, axis)
        if name in entries
    ]
    return torch.stack(found).sum(0) if found else leaving(entries, spec, axis)
