"""The cost of a network as a function of its widths, compiled once: many candidates in one call,
differentiable, exact.

One candidate of whole numbers is computed in int64, many in float64, which is much faster, and in
which whole numbers below 2**53 are exact: the compiled terms are together smaller. Where they are
not, in int64 too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate, product
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from purethin.arguments import explained
from purethin.axes import Axes
from purethin.budgets.forms import ONE, Linear, Monomial, Reader, Uneven
from purethin.checks import counts
from purethin.errors import MaskError, SpecError, nearest
from purethin.spec import Masks, Spec

_EXACT, _LARGEST = 2**53, 2**63
_CHUNK = 520  # so many candidates at once lie in the cache; 512 would share few of its sets


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
    _row: Tensor | None  # forms, laid one after the other
    _times: Tensor | None
    _levels: tuple[tuple[Tensor, Tensor], ...]  # a product of the level before, and an unknown
    _constant: Tensor  # the costs of no unit at all
    _coefficients: tuple[Tensor, ...]  # of the unknowns, and of each level
    _small: bool  # whether float64 is exact
    _floating: CostFunction | None = None  # the same in float64

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
        given = widths if isinstance(widths, Tensor) else self._given(widths)
        shape, axes = given.shape, len(self.axes)
        if not shape or shape[-1] not in (axes, axes + len(self.uneven)):
            raise MaskError(
                f"widths have {shape[-1] if shape else 'no'} entries, but the network has {axes} "
                "axes: give one number for each of `.axes`"
            )
        if given.device.type != "cpu" or given.is_complex():
            return self._elsewhere(given)
        whole, one = not given.is_floating_point(), len(shape) == 1
        if one and whole and (shape[-1] > axes or not self.uneven):
            return Amounts(*self._of(given.long()).unbind())
        of = self if whole and not self._small else self._floating or self
        kind = of._constant.dtype
        if one:
            out = of._of(given.to(kind))
        else:
            rows = given.reshape(prod(shape[:-1]), shape[-1]).split(_CHUNK)
            copied = {"copy": True, "memory_format": torch.contiguous_format}
            out = torch.cat([of._of(chunk.t().to(kind, **copied)) for chunk in rows], 1)
            out = out.view(len(out), *shape[:-1])
        return Amounts(*(out.long() if whole else out).unbind())

    def _elsewhere(self, given: Tensor) -> Amounts:
        """The costs where the widths are; they are counted on the processor."""
        if given.is_meta or given.is_complex():
            raise MaskError(f"widths are {given.dtype} on {given.device.type}: give real numbers")
        return Amounts(*(out.to(given.device) for out in self(given.cpu())))

    @explained
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
        kept = {**self.sizes, **counts(masks)}
        takes = [take.kept(masks, self.sizes) for take in self.uneven]
        return torch.tensor([*kept.values(), *takes], dtype=torch.int64, device="cpu")

    def _given(self, widths: Mapping[str, Tensor | int]) -> Tensor:
        if not isinstance(widths, Mapping):
            raise MaskError(
                "widths are a Tensor[..., axes] or {axis: number}, for those of `.axes`"
            )
        for name in widths:
            if name not in self.sizes:
                raise MaskError(f"no axis is named '{name}'; {nearest(name, self.axes)}")
        if all(isinstance(width, int) for width in widths.values()):
            kept = {**self.sizes, **widths}
            return torch.tensor([*kept.values()], dtype=torch.int64, device="cpu")
        place = next((w.device for w in widths.values() if isinstance(w, Tensor)), "cpu")
        try:
            columns = [torch.as_tensor(width, device=place) for width in widths.values()]
            given = torch.stack(torch.broadcast_tensors(*columns), -1)
        except (TypeError, ValueError, RuntimeError) as error:
            raise MaskError(
                f"widths are numbers of units, of all axes for as many candidates: {error}"
            ) from error
        given = given.double() if given.is_floating_point() else given.long()
        dense = given.new_tensor([*self.sizes.values()]).expand(*given.shape[:-1], -1)
        at = given.new_tensor([self.axes.index(name) for name in widths], dtype=torch.int64)
        return dense.index_copy(-1, at, given)

    def _of(self, unknowns: Tensor) -> Tensor:
        """`Tensor[costs, candidates]` of `Tensor[axes, candidates]`; the candidates may lack."""
        add, constant, times = torch.addmv, self._constant, self._times
        if unknowns.dim() > 1:
            add, constant = torch.addmm, constant[:, None]
            times = None if times is None else times[:, None]
        if self.uneven and len(unknowns) == len(self.axes):
            unknowns = torch.cat([unknowns, self._means(unknowns)])
        if self._row is not None:
            entries = unknowns.index_select(0, self._row)
            sums = (entries if times is None else entries * times).cumsum(0)
            unknowns = torch.cat([unknowns, sums])
        out, terms = add(constant, self._coefficients[0], unknowns), unknowns
        for (left, right), coefficients in zip(self._levels, self._coefficients[1:], strict=True):
            terms = terms.index_select(0, left) * unknowns.index_select(0, right)
            out = add(out, coefficients, terms)
        return out

    def _means(self, given: Tensor) -> Tensor:
        """The uneven takes' mean sizes, where only the axes' widths are given."""
        at = {name: i for i, name in enumerate(self.axes)}
        shares = [
            reduce(torch.mul, (given[at[n]].double() / self.sizes[n] for n in take.axes))
            * take.kept({}, self.sizes)
            for take in self.uneven
        ]
        return torch.stack(shares).to(given.dtype)


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
    with torch.inference_mode(False):  # what is made in it has no part in a gradient later
        return _also_floating(_compiled(spec.sizes, tuple(reader.uneven.values()), table))


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
    every = [*dense[:-1], *accumulate(k * dense[u] for u, k in row)]
    products = _products(table, parts)
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
        _row=whole([u for u, _ in row]) if row else None,
        _times=None if {k for _, k in row} <= {1} else whole([k for _, k in row]),
        _levels=tuple((whole(left), whole(right)) for left, right in levels),
        _constant=whole(products[()]),
        _coefficients=tuple(
            whole(rows).view(-1, len(costs)).t().contiguous() for rows in coefficients
        ),
        _small=most < _EXACT,
    )


def _also_floating(found: CostFunction) -> CostFunction:
    """With itself in float64, made once: what is first made under a transform ends with it."""
    floating = replace(
        found,
        _times=None if found._times is None else found._times.double(),
        _constant=found._constant.double(),
        _coefficients=tuple(c.double() for c in found._coefficients),
    )
    return replace(found, _floating=floating)


Places = tuple[int, ...]
"""A product of unknowns, by their places; running sums stand behind the others."""


def _laid(
    forms: set[Linear], unknowns: int
) -> tuple[list[tuple[int, int]], dict[Linear, dict[int, int]]]:
    """All forms laid into one row, and each as `{place: times}`: of an unknown, or of two running
    sums and `ONE`. A form that another begins with lies in it: a dense block's concatenations all
    lie in the last.
    """
    bare = {form: tuple(e for e in form if e[0] != ONE) for form in forms}
    row: list[tuple[int, int]] = []
    last, parts = (), dict[Linear, dict[int, int]]()
    for form, entries in sorted(bare.items(), key=lambda pair: pair[1], reverse=True):
        parts[form] = {ONE: k} if (k := sum(k for u, k in form if u == ONE)) else {}
        if len(entries) == 1:
            parts[form][entries[0][0]] = entries[0][1]
        elif entries:
            if last[: len(entries)] != entries:
                row += entries
                last = entries
            start = unknowns + len(row) - len(last)  # the first running sum of this form
            parts[form][start + len(entries) - 1] = 1
            parts[form] |= {start - 1: -1} if start > unknowns else {}
    return row, parts


def _products(
    table: dict[Monomial, list[int]], parts: dict[Linear, dict[int, int]]
) -> dict[Places, list[int]]:
    """What products of unknowns cost; also 0 of those that others begin with, each shorter one
    first.
    """
    products: dict[Places, list[int]] = {(): [0] * len(Amounts._fields)}
    for monomial, row in table.items():
        for chosen in product(*(parts[form].items() for form in monomial)):
            key = tuple(sorted(u for u, _ in chosen if u != ONE))
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
