"""The cost of a network as a function of its widths, compiled once: many candidates in one call,
differentiable, exact.

The value is computed in float64, in which whole numbers below 2**53 are exact: no part of a sum of
positive terms is larger than the sum. A network that costs more is computed in int64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from purethin.arguments import explained
from purethin.axes import Axes
from purethin.budgets.forms import Linear, Monomial, Reader, Uneven
from purethin.errors import MaskError, SpecError, nearest
from purethin.spec import Masks, Spec

_EXACT, _LARGEST = 2**53, 2**63
_CHUNK = 192  # so many candidates at once: their values lie in the cache


class Amounts(NamedTuple):
    """Costs of candidates: each field a tensor of the candidates' shape."""

    macs: Tensor
    parameters: Tensor
    bytes: Tensor
    activation_bytes: Tensor


@dataclass(frozen=True, eq=False)
class CostFunction:
    """Widths to costs; made by `cost_function`.

    Attributes:
        axes: the names that the entries of a vector of widths belong to, in the spec's order.
        sizes: the dense widths.
        uneven: takes that hold some units more often than others. A vector of `counts` has an entry
            more for each: how many of its entries stay.
    """

    axes: tuple[str, ...]
    sizes: Mapping[str, int]
    uneven: tuple[Uneven, ...]
    _ends: Tensor  # the unknowns behind those given: 1 and 0
    _row: Tensor
    _weight: Tensor | None
    _bounds: tuple[Tensor, ...]  # where the forms start and stop in the row's running sums
    _factors: tuple[Tensor, ...]
    _coefficients: Tensor

    def __call__(self, widths: Tensor | Mapping[str, Tensor | int]) -> Amounts:
        """The costs of networks of these widths.

        Args:
            widths: `Tensor[..., axes]`, the number of units of each axis in the order of `axes`; or
                `{axis: Tensor[...]}`, the axes left out dense; or what `counts` gives. Integers, or
                floats to differentiate.

        Returns:
            `Amounts` of the leading shape: int64 of integers, float64 of floats. Works under `vmap`
            and `grad`. An uneven take counts as the mean over all choices of units, unless `counts`
            gave the widths.

        Raises:
            MaskError: an unknown axis, or a vector of another length.
        """
        given = self._given(widths) if isinstance(widths, Mapping) else widths
        if not isinstance(given, Tensor) or not given.dim():
            raise MaskError(
                "widths are a Tensor[..., axes] or {axis: number}, for those of `.axes`"
            )
        if given.shape[-1] not in (len(self.axes), len(self.axes) + len(self.uneven)):
            raise MaskError(
                f"widths have {given.shape[-1]} entries, but the network has {len(self.axes)} "
                "axes: give one number for each of `.axes`"
            )
        whole = not given.is_floating_point()
        flat = given.to(self._coefficients.dtype if whole else torch.float64)
        if flat.dim() == 1:
            out = self._of(flat)
        else:
            rows = flat.reshape(prod(flat.shape[:-1]), flat.shape[-1]).split(_CHUNK)
            out = torch.cat([self._of(chunk.t()) for chunk in rows], 1)
        out = out.to(torch.int64) if whole else out
        out = out if flat.dim() == 1 else out.view(len(out), *given.shape[:-1])
        return Amounts(*out.unbind())

    def counts(self, masks: Masks) -> Tensor:
        """`LongTensor[axes + uneven takes]`: what masks keep of each axis and of each uneven take;
        from it the costs are exact whatever units stay.

        Raises:
            MaskError: a mask does not fit.
        """
        for n, m in masks.items():
            if n not in self.sizes:
                raise MaskError(f"no axis is named '{n}'; {nearest(n, self.axes)}")
            if m.dtype != torch.bool or m.shape != (self.sizes[n],):
                raise MaskError(
                    f"the mask of '{n}' is {m.dtype} of shape {tuple(m.shape)}: give torch.bool, "
                    f"True = keep, of shape ({self.sizes[n]},)"
                )
        kept = [int(masks[n].sum()) if n in masks else self.sizes[n] for n in self.axes]
        takes = [take.kept(masks, self.sizes) for take in self.uneven]
        return torch.tensor([*kept, *takes], dtype=torch.int64, device="cpu")

    def _given(self, widths: Mapping[str, Tensor | int]) -> Tensor:
        for name in widths:
            if name not in self.sizes:
                raise MaskError(f"no axis is named '{name}'; {nearest(name, self.axes)}")
        if not self.axes:
            return torch.zeros(0, dtype=torch.int64)
        columns = [torch.as_tensor(widths.get(name, self.sizes[name])) for name in self.axes]
        kind = reduce(torch.promote_types, (c.dtype for c in columns), torch.int64)
        return torch.stack([c.to(kind) for c in torch.broadcast_tensors(*columns)], -1)

    def _of(self, given: Tensor) -> Tensor:
        """`Tensor[costs, candidates]` of `Tensor[axes, candidates]`; the candidates may lack."""
        kind, ends, weight = given.dtype, self._ends, self._weight
        ends = ends if ends.dtype == kind else ends.to(kind)
        if given.dim() > 1:
            ends = ends[:, None].expand(2, given.shape[1])
            weight = None if weight is None else weight[:, None]
        unknowns = torch.cat([given, *self._means(given), ends])
        if len(self._row):
            entries = unknowns.index_select(0, self._row)
            sums = (entries if weight is None else entries * weight.to(kind)).cumsum(0)
            starts, stops = (sums.index_select(0, places) for places in self._bounds)
            unknowns = torch.cat([unknowns, stops - starts])
        first, *others = self._factors
        terms = unknowns.index_select(0, first)
        for index in others:
            terms = terms * unknowns.index_select(0, index)
        coefficients = self._coefficients
        return (coefficients if coefficients.dtype == kind else coefficients.to(kind)) @ terms

    def _means(self, given: Tensor) -> list[Tensor]:
        """The uneven takes' mean sizes, where only the axes' widths are given."""
        if given.shape[0] > len(self.axes) or not self.uneven:
            return []
        at = {name: i for i, name in enumerate(self.axes)}
        shares = [
            reduce(torch.mul, (given[at[n]].double() / self.sizes[n] for n in take.axes))
            * take.kept({}, self.sizes)
            for take in self.uneven
        ]
        return [torch.stack(shares).to(given.dtype)]


@explained
def cost_function(spec: Spec) -> CostFunction:
    """The cost of a network as a function of its widths, compiled once.

    Args:
        spec: the spec of a network.

    Returns:
        A function of widths: `{axis: number of units}` or `Tensor[..., axes]`, of one candidate or
        of thousands, under `vmap` and `grad`. Its MACs are those of `cost(spec)`: of the example
        input, whatever its batch.

    Raises:
        SpecError: a cost beyond the whole numbers of int64.

    >>> params = {"w": torch.zeros(4, 3), "v": torch.zeros(2, 4)}
    >>> costs = cost_function(Spec.from_layout({"w": "h 3", "v": "2 h"}, params))
    >>> costs({"h": torch.tensor([4, 3, 2])}).parameters
    tensor([20, 15, 10])
    """
    reader = Reader(spec.sizes)
    table: dict[Monomial, list[int]] = {}

    def add(dims: Iterable[Axes], *times: int) -> None:
        for monomial, k in reader.product(dims).items():
            row = table.setdefault(monomial, [0] * len(times))
            row[:] = [r + k * t for r, t in zip(row, times, strict=True)]

    for k, dims in spec.macs:
        add(dims, k, 0, 0, 0)
    for k, dims in spec.activation_bytes:
        add(dims, 0, 0, 0, k)
    for name, dims in spec.layout.items():
        width = getattr(torch, spec.dtypes[name]).itemsize
        add(dims, 0, int(name not in spec.buffers), width, 0)
    return _compiled(spec.sizes, tuple(reader.uneven.values()), table)


def _compiled(
    sizes: Mapping[str, int], uneven: tuple[Uneven, ...], table: dict[Monomial, list[int]]
) -> CostFunction:
    table = table or {(): [0] * len(Amounts._fields)}
    costs = [*zip(*table.values(), strict=True)]
    dense = [*sizes.values(), *(take.kept({}, sizes) for take in uneven), 1]
    values = {m: prod(sum(k * dense[u] for u, k in form) for form in m) for m in table}
    largest = max(sum(values[m] * k for m, k in zip(table, row, strict=True)) for row in costs)
    if largest >= _LARGEST:
        raise SpecError(
            f"a cost of {largest:,} is beyond int64: use cost(spec, masks), or a smaller "
            "example input"
        )
    kind = torch.float64 if max(largest, *values.values()) < _EXACT else torch.int64
    one = len(dense) - 1
    plain: dict[Linear, int] = {((u, 1),): u % len(dense) for u in range(-1, one)}
    sequence, places = _sequence({f for m in table for f in m} - plain.keys())
    number = plain | {form: len(dense) + 1 + i for i, form in enumerate(places)}
    degree = max(1, *map(len, table))
    factors = [[*(number[f] for f in m), *[one] * (degree - len(m))] for m in table]
    weights = [k for _, k in sequence]

    def whole(rows: object) -> Tensor:
        return torch.tensor(rows, dtype=torch.int64, device="cpu")

    return CostFunction(
        tuple(sizes),
        dict(sizes),
        uneven,
        _ends=whole([1, 0]).to(kind),
        _row=whole([len(dense) if u is None else u % len(dense) for u, _ in sequence]),
        _weight=None if {*weights} <= {1} else whole(weights),
        _bounds=tuple(map(whole, zip(*places.values(), strict=True))),
        _factors=tuple(map(whole, zip(*factors, strict=True))),
        _coefficients=whole(costs).to(kind),
    )


def _sequence(
    forms: set[Linear],
) -> tuple[list[tuple[int | None, int]], dict[Linear, tuple[int, int]]]:
    """All forms laid into one row of entries, so that each is a difference of two running sums: one
    that another begins with lies in it. A dense block's concatenations all lie in the last. The
    first entry is a 0.
    """
    row: list[tuple[int | None, int]] = [(None, 1)] if forms else []
    places: dict[Linear, tuple[int, int]] = {}
    last: Linear = ()
    for form in sorted(forms, reverse=True):
        if last[: len(form)] != form:
            row += form
            last = form
        start = len(row) - len(last) - 1
        places[form] = (start, start + len(form))
    return row, places
