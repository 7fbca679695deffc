"""Sizes as polynomials in the numbers of units: sums of products of linear forms.

A concatenation stays one linear form where it can, so that a product of two of them is one term,
not hundreds. What an expression keeps depends on more than the number of units only where a take
holds some units more often than others; such takes are unknowns of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.axes import Axes, Fixed, Name, Product, Sum, Take

ONE = -1
"""The unknown that is always 1: what a form has without any unit."""
Linear = tuple[tuple[int, int], ...]
"""`(unknown, times)`, …: a linear form in the order in which it is written."""
Monomial = tuple[Linear, ...]
Polynomial = dict[Monomial, int]


@dataclass(frozen=True, eq=False)
class Uneven:
    """A take in which some units stand more often than others.

    Attributes:
        expression: the take.
        axes: the names in it.
        times: `LongTensor[size]` of its one axis: how often each unit stands in it; None where it
            multiplies several. A take of a concatenation is one of these for each uneven axis.
    """

    expression: Axes
    axes: tuple[str, ...]
    times: Tensor | None

    def kept(self, masks: Mapping[str, Tensor], sizes: Mapping[str, int]) -> int:
        """How many of its entries stay: of its one axis's, where it has one."""
        if self.times is not None:
            mask = masks.get(self.axes[0])
            return int(self.times.sum() if mask is None else self.times[mask.cpu()].sum())
        kept = ax.keep(self.expression, masks, sizes)
        return ax.size(self.expression, sizes) if kept is None else int(kept.sum())


class Reader:
    """Reads expressions over axes of known sizes; each uneven take that it meets becomes an
    unknown, numbered behind the axes.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.at = {name: i for i, name in enumerate(sizes)}
        self.uneven: dict[tuple[Axes, str | None], Uneven] = {}
        self._known: dict[Axes, Polynomial] = {}

    def product(self, dims: Iterable[Axes]) -> Polynomial:
        """The number of entries of a tensor of these dimensions."""
        out: Polynomial = {(): 1}
        for dim in dims:
            out = _times(out, self.size(dim))
        return out

    def size(self, expr: Axes) -> Polynomial:
        """The number of an expression's entries."""
        if expr not in self._known:
            self._known[expr] = self._read(expr)
        return self._known[expr]

    def _read(self, expr: Axes) -> Polynomial:
        match expr:
            case Name(name):
                return {(((self.at[name], 1),),): 1}
            case Fixed(number):
                return {(): number} if number else {}
            case Product(factors):
                return self.product(factors)
            case Sum(terms):
                return _total(self.size(term) for term in terms)
        return self._take(expr)

    def _take(self, expr: Take) -> Polynomial:
        names = tuple(dict.fromkeys(ax.names(expr)))
        base = ax.size(expr.base, self.sizes)
        times = torch.tensor(expr.positions(base), device="cpu").bincount(minlength=base)
        if bool((times == times[0]).all()):
            return _times({(): int(times[0])}, self.size(expr.base))
        owners = {name: ax.units(expr, name, self.sizes) for name in names}
        mine = torch.stack([u >= 0 for u in owners.values()]).sum(0)
        if bool((mine > 1).any()) or _multiplied(expr):
            return self._unknown(expr, None, lambda: Uneven(expr, names, None))
        parts: list[Polynomial] = [{(): int((mine == 0).sum())}]
        for name, unit in owners.items():
            often = unit[unit >= 0].bincount(minlength=self.sizes[name])
            if bool((often == often[0]).all()):
                parts.append(_times({(): int(often[0])}, self.size(Name(name))))
            else:
                parts.append(
                    self._unknown(expr, name, lambda n=name, t=often: Uneven(expr, (n,), t))
                )
        return _total(parts)

    def _unknown(self, expr: Axes, name: str | None, make: Callable[[], Uneven]) -> Polynomial:
        key = (expr, name)
        number = len(self.sizes) + [*self.uneven, key].index(key)
        if key not in self.uneven:
            self.uneven[key] = make()
        return {(((number, 1),),): 1}


def _multiplied(expr: Axes) -> bool:
    """Whether one axis stands in two factors of a product."""
    for part in ax.walk(expr):
        if isinstance(part, Product):
            each = [{*ax.names(factor)} for factor in part.factors]
            if sum(map(len, each)) > len(set().union(*each)):
                return True
    return False


def _times(a: Polynomial, b: Polynomial) -> Polynomial:
    out: Polynomial = {}
    for xs, k in a.items():
        for ys, m in b.items():
            key = tuple(sorted((*xs, *ys)))
            out[key] = out.get(key, 0) + k * m
    return out


def _total(terms: Iterable[Polynomial]) -> Polynomial:
    """The sum: one linear form where each term is linear."""
    terms = list(terms)
    monomials = [(m, k) for term in terms for m, k in term.items() if k]
    if len(monomials) > 1 and all(len(m) <= 1 for m, _ in monomials):
        entries = [
            (unknown, times * k)
            for m, k in monomials
            for unknown, times in (m[0] if m else ((ONE, 1),))
        ]
        return {(tuple(entries),): 1}
    out: Polynomial = {}
    for m, k in monomials:
        out[m] = out.get(m, 0) + k
    return out
