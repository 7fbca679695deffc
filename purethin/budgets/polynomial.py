"""The cost of a network as a function of its widths, compiled once: many candidates in one call,
differentiable, exact.

One candidate of whole numbers is computed in int64, many in float64, which is much faster, and in
which whole numbers below 2**53 are exact: the compiled terms are together smaller. Where they are
not, in int64 too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import accumulate, product
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from purethin.arguments import explained
from purethin.axes import Axes
from purethin.budgets.forms import ONE, Linear, Monomial, Reader, Uneven
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
    _row: Tensor  # forms, laid one after the other
    _times: Tensor | None
    _levels: tuple[tuple[Tensor, Tensor], ...]  # a product of the level before, and an unknown
    _coefficients: tuple[Tensor, ...]  # of the unknowns, and of each level
    _small: bool  # whether float64 is exact

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
        whole, known = not given.is_floating_point(), given.shape[-1] > len(self.axes)
        one = given.dim() == 1 and (known or not self.uneven)
        of = self if whole and (one or not self._small) else self._floating
        if given.dim() == 1:
            out = of._of(given.long() if of is self else given.double())
            return Amounts(*(out.long() if whole else out).unbind())
        rows = given.reshape(prod(given.shape[:-1]), given.shape[-1]).split(_CHUNK)
        kind, layout = of._coefficients[0].dtype, torch.contiguous_format
        copies = (chunk.t().to(kind, copy=True, memory_format=layout) for chunk in rows)
        out = torch.cat([*map(of._of, copies)], 1)
        out = out.long() if whole else out
        return Amounts(*out.view(len(out), *given.shape[:-1]).unbind())

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

    @cached_property
    def _floating(self) -> CostFunction:
        """It in float64."""
        times = None if self._times is None else self._times.double()
        coefficients = tuple(c.double() for c in self._coefficients)
        return replace(self, _times=times, _coefficients=coefficients)

    def _of(self, given: Tensor) -> Tensor:
        """`Tensor[costs, candidates]` of `Tensor[axes, candidates]`; the candidates may lack."""
        one, times, add = given.new_ones(1), self._times, torch.addmv
        if given.dim() > 1:
            one, add = one[:, None].expand(1, given.shape[1]), torch.addmm
            times = None if times is None else times[:, None]
        parts = [given, *self._means(given), one]
        if len(self._row):
            base = given if len(parts) == 2 else torch.cat(parts[:2])
            entries = base.index_select(0, self._row)
            parts.append((entries if times is None else entries * times).cumsum(0))
        terms = unknowns = torch.cat(parts)
        out = self._coefficients[0] @ unknowns
        for (left, right), coefficients in zip(self._levels, self._coefficients[1:], strict=True):
            terms = terms.index_select(0, left) * unknowns.index_select(0, right)
            out = add(out, coefficients, terms)
        return out

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
    values = [prod(sum(k * dense[u] for u, k in form) for form in m) for m in table]
    largest = max(sum(v * k for v, k in zip(values, row, strict=True)) for row in costs)
    if largest >= _LARGEST:
        raise SpecError(
            f"a cost of {largest:,} is beyond int64: use cost(spec, masks), or a smaller "
            "example input"
        )
    row, parts = _laid({f for m in table for f in m}, len(dense) - 1)
    every = [*dense, *accumulate(k * dense[u] for u, k in row)]
    products = _products(table, parts, len(dense) - 1)
    most = max(
        sum(abs(k) * prod(every[u] for u in p) for p, k in zip(products, ks, strict=True))
        for ks in zip(*products.values(), strict=True)
    )
    levels, coefficients = _levels(products, len(every))

    def whole(rows: object) -> Tensor:
        return torch.tensor(rows, dtype=torch.int64, device="cpu")

    return CostFunction(
        tuple(sizes),
        dict(sizes),
        uneven,
        _row=whole([u for u, _ in row]),
        _times=None if {k for _, k in row} <= {1} else whole([k for _, k in row]),
        _levels=tuple((whole(left), whole(right)) for left, right in levels),
        _coefficients=tuple(whole(rows).t().contiguous() for rows in coefficients),
        _small=most < _EXACT,
    )


Places = tuple[int, ...]
"""A product of unknowns, by their places; running sums stand behind the unknown that is 1."""


def _laid(
    forms: set[Linear], one: int
) -> tuple[list[tuple[int, int]], dict[Linear, dict[int, int]]]:
    """All forms laid into one row, and each as `{place: times}`: of an unknown, or of two running
    sums and the unknown that is 1. A form that another begins with lies in it: a dense block's
    concatenations all lie in the last.
    """
    bare = {form: tuple(e for e in form if e[0] != ONE) for form in forms}
    row: list[tuple[int, int]] = []
    last, parts = (), dict[Linear, dict[int, int]]()
    for form, entries in sorted(bare.items(), key=lambda pair: pair[1], reverse=True):
        parts[form] = {one: k} if (k := sum(k for u, k in form if u == ONE)) else {}
        if len(entries) == 1:
            parts[form][entries[0][0]] = entries[0][1]
        elif entries:
            if last[: len(entries)] != entries:
                row += entries
                last = entries
            start = len(row) - len(last)
            parts[form][one + start + len(entries)] = 1
            parts[form] |= {one + start: -1} if start else {}
    return row, parts


def _products(
    table: dict[Monomial, list[int]], parts: dict[Linear, dict[int, int]], one: int
) -> dict[Places, list[int]]:
    """What products of unknowns cost; also 0 of those that others begin with, each shorter one
    first.
    """
    products: dict[Places, list[int]] = {(one,): [0] * len(Amounts._fields)}
    for monomial, row in table.items():
        for chosen in product(*(parts[form].items() for form in monomial)):
            key = tuple(sorted(u for u, _ in chosen if u != one)) or (one,)
            times = prod(k for _, k in chosen)
            for i in range(1, len(key) + 1):
                products.setdefault(key[:i], [0] * len(row))
            products[key] = [a + times * b for a, b in zip(products[key], row, strict=True)]
    return products


def _levels(
    products: dict[Places, list[int]], unknowns: int
) -> tuple[list[tuple[list[int], list[int]]], list[list[list[int]]]]:
    """The products of two unknowns, of three and so on, each by its place in the level before and
    its last unknown; and what unknowns and products cost, level by level.
    """
    nothing = [0] * len(Amounts._fields)
    place: dict[Places, int] = {(u,): u for u in range(unknowns)}
    levels, coefficients = [], [[products.get(key, nothing) for key in place]]
    for degree in range(2, max(map(len, products)) + 1):
        own = sorted(key for key in products if len(key) == degree)
        levels.append(([place[key[:-1]] for key in own], [key[-1] for key in own]))
        coefficients.append([products[key] for key in own])
        place = {key: i for i, key in enumerate(own)}
    return levels, coefficients
