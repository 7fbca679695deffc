"""Axis expressions: what a tensor dimension is made of. Immutable; `notation.parse(str(e)) == e`
always.

Five forms, written as in einops: a name `conv1`; an integer `7` (a fixed size); a product `(heads
dim)`, row-major; a sum `(a + b)`, a concatenation; a take `a[::-1]`, `a[3, 0:2]`, a reindexing. A
layout is a row of them, `conv1 3 7 7`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from purethin.errors import MaskError, SpecError


@dataclass(frozen=True)
class Name:
    """A named axis; every dimension that carries the name is pruned with it."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Fixed:
    """A size that cannot change."""

    size: int

    def __str__(self) -> str:
        return str(self.size)


@dataclass(frozen=True)
class Product:
    """Factors flattened row-major: the last one varies fastest."""

    factors: tuple[Axes, ...]

    def __str__(self) -> str:
        return f"({' '.join(map(str, self.factors))})"


@dataclass(frozen=True)
class Sum:
    """Terms laid one after the other, as `torch.cat` does."""

    terms: tuple[Axes, ...]

    def __str__(self) -> str:
        return f"({' + '.join(map(str, self.terms))})"


@dataclass(frozen=True)
class Take:
    """The units of `base` at these positions, in this order; a run is `(start, stop, step)`, open
    ends None.
    """

    base: Axes
    index: tuple[int | tuple[int | None, int | None, int | None], ...]

    def __str__(self) -> str:
        return f"{self.base}[{', '.join(map(_index_text, self.index))}]"

    def positions(self, size: int) -> list[int]:
        """The positions in a base of this size, spelled out."""
        out: list[int] = []
        for entry in self.index:
            out.extend([entry] if isinstance(entry, int) else range(*slice(*entry).indices(size)))
        if (beyond := next((i for i in out if not 0 <= i < size), None)) is not None:
            raise SpecError(
                f"'{self}' reaches position {beyond}, but {self.base} has {size} units, 0 to "
                f"{size - 1}"
            )
        return out


Axes = Name | Fixed | Product | Sum | Take
ONE = Fixed(1)


def product(parts: Iterable[Axes]) -> Axes:
    """The product in normal form: nested products flattened, ones dropped, neighbouring integers
    multiplied.
    """
    flat: list[Axes] = []
    for part in parts:
        for f in part.factors if isinstance(part, Product) else (part,):
            if f == ONE:
                continue
            if isinstance(f, Fixed) and flat and isinstance(last := flat[-1], Fixed):
                flat[-1] = Fixed(last.size * f.size)
            else:
                flat.append(f)
    return ONE if not flat else flat[0] if len(flat) == 1 else Product(tuple(flat))


def total(parts: Iterable[Axes]) -> Axes:
    """The sum in normal form: nested sums flattened, zeros dropped, neighbouring integers added."""
    flat: list[Axes] = []
    for part in parts:
        for t in part.terms if isinstance(part, Sum) else (part,):
            if t == Fixed(0):
                continue
            if isinstance(t, Fixed) and flat and isinstance(last := flat[-1], Fixed):
                flat[-1] = Fixed(last.size + t.size)
            else:
                flat.append(t)
    return Fixed(0) if not flat else flat[0] if len(flat) == 1 else Sum(tuple(flat))


def take(base: Axes, positions: Sequence[int], size: int) -> Axes:
    """`base` of this size reindexed, in the shortest notation: runs of equal step become slices."""
    positions = list(positions)
    if positions == list(range(size)):
        return base
    if not positions:
        return Fixed(0)
    if positions == list(range(size))[::-1]:
        return Take(base, ((None, None, -1),))
    return Take(base, tuple(_runs(positions)))


def names(expr: Axes) -> Iterator[str]:
    """Every axis name in the expression, left to right, repeats included."""
    if isinstance(expr, Name):
        yield expr.name
    for part in parts(expr):
        yield from names(part)


def size(expr: Axes, sizes: Mapping[str, int]) -> int:
    """The number of entries, from the sizes of the named axes.

    >>> from purethin.notation import parse
    >>> size(parse("(a (b + 2))"), {"a": 3, "b": 4})
    18
    """
    if isinstance(expr, Name):
        if expr.name not in sizes:
            raise SpecError(f"the axis '{expr.name}' has no known size")
        return sizes[expr.name]
    if isinstance(expr, Fixed):
        return expr.size
    if isinstance(expr, Product):
        return prod(size(f, sizes) for f in expr.factors)
    if isinstance(expr, Sum):
        return sum(size(t, sizes) for t in expr.terms)
    return len(expr.positions(size(expr.base, sizes)))


def keep(expr: Axes, masks: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Tensor | None:
    """The keep-vector `Tensor[size]` of an expression from its axes' masks (bool, or float for
    gradients).

    None where no mask touches it. Works under `vmap` and `grad`.

    >>> from purethin.notation import parse
    >>> keep(parse("(a 2)"), {"a": torch.tensor([True, False])}, {"a": 2})
    tensor([ True,  True, False, False])
    """
    touched = [masks[n] for n in names(expr) if n in masks]
    if not touched:
        return None
    like = (
        touched[0]
        if all(m.dtype == torch.bool for m in touched)
        else next(m for m in touched if m.dtype != torch.bool)
    )
    return _keep(expr, masks, sizes, like)


def _keep(
    expr: Axes, masks: Mapping[str, Tensor], sizes: Mapping[str, int], like: Tensor
) -> Tensor:
    if isinstance(expr, Name) and expr.name in masks:
        mask = masks[expr.name]
        if mask.shape != (sizes[expr.name],):
            raise MaskError(
                f"the mask of '{expr.name}' has shape {tuple(mask.shape)}, not "
                f"({sizes[expr.name]},)"
            )
        return mask.to(like.dtype)
    if isinstance(expr, Name | Fixed):
        return torch.ones(size(expr, sizes), dtype=like.dtype, device=like.device)
    if isinstance(expr, Sum):
        return torch.cat([_keep(t, masks, sizes, like) for t in expr.terms])
    if isinstance(expr, Take):
        base = _keep(expr.base, masks, sizes, like)
        return base[
            torch.tensor(expr.positions(base.shape[0]), dtype=torch.long, device=base.device)
        ]
    out = _keep(expr.factors[0], masks, sizes, like)
    for factor in expr.factors[1:]:
        out = (out[:, None] * _keep(factor, masks, sizes, like)[None, :]).flatten()
    return out


def units(expr: Axes, name: str, sizes: Mapping[str, int]) -> Tensor:
    """`LongTensor[size]`: which unit of the axis `name` each entry of the expression belongs to, -1
    for none.

    >>> from purethin.notation import parse
    >>> units(parse("(a 2)"), "a", {"a": 2})
    tensor([0, 0, 1, 1])
    """
    if isinstance(expr, Sum):
        return torch.cat([units(t, name, sizes) for t in expr.terms])
    if isinstance(expr, Take):
        base = units(expr.base, name, sizes)
        return base[torch.tensor(expr.positions(base.shape[0]), dtype=torch.long, device="cpu")]
    if isinstance(expr, Product):
        out = units(expr.factors[0], name, sizes)
        for factor in expr.factors[1:]:
            inner = units(factor, name, sizes)
            out = torch.where(out[:, None] >= 0, out[:, None], inner[None, :]).flatten()
        return out
    if expr == Name(name):
        return torch.arange(sizes[name], device="cpu")
    return torch.full((size(expr, sizes),), -1, device="cpu")


def thinned(expr: Axes, masks: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Axes:
    """The expression over the axes' remaining units: takes are renumbered, the rest stays as
    written.
    """
    if isinstance(expr, Product):
        return Product(tuple(thinned(f, masks, sizes) for f in expr.factors))
    if isinstance(expr, Sum):
        terms = tuple(thinned(t, masks, sizes) for t in expr.terms)
        return total(terms) if Fixed(0) in terms else Sum(terms)
    kept = keep(expr.base, masks, sizes) if isinstance(expr, Take) else None
    if not isinstance(expr, Take) or kept is None:
        return expr
    new = (kept.cumsum(0) - 1).tolist()
    left = [new[i] for i in expr.positions(len(new)) if kept[i]]
    return take(thinned(expr.base, masks, sizes), left, int(kept.sum()))


def substituted(expr: Axes, fixed: Mapping[str, int]) -> Axes:
    """The expression with these names as integers of their sizes."""
    if isinstance(expr, Name):
        return Fixed(fixed[expr.name]) if expr.name in fixed else expr
    if isinstance(expr, Product):
        return product(substituted(f, fixed) for f in expr.factors)
    if isinstance(expr, Sum):
        return total(substituted(t, fixed) for t in expr.terms)
    if isinstance(expr, Take):
        base = substituted(expr.base, fixed)
        return Fixed(size(expr, fixed)) if isinstance(base, Fixed) else Take(base, expr.index)
    return expr


def layout_text(dims: Sequence[Axes]) -> str:
    """A tensor's dimensions as one line, `conv1 3 7 7`; `scalar` for none."""
    return " ".join(map(str, dims)) or "scalar"


def parts(expr: Axes) -> tuple[Axes, ...]:
    """Factors, terms, or the base of a take; none of a name and an integer."""
    if isinstance(expr, Product):
        return expr.factors
    if isinstance(expr, Sum):
        return expr.terms
    return (expr.base,) if isinstance(expr, Take) else ()


def _index_text(entry: int | tuple[int | None, int | None, int | None]) -> str:
    if isinstance(entry, int):
        return str(entry)
    start, stop, step = ("" if x is None else str(x) for x in entry)
    return f"{start}:{stop}" + (f":{step}" if step else "")


def _runs(positions: list[int]) -> Iterator[int | tuple[int | None, int | None, int | None]]:
    i = 0
    while i < len(positions):
        j = i + 1
        step = positions[j] - positions[i] if j < len(positions) else 1
        while j < len(positions) and positions[j] - positions[j - 1] == step:
            j += 1
        if j - i < 3 or step == 0:
            yield positions[i]
            i += 1
            continue
        stop = positions[j - 1] + (1 if step > 0 else -1)
        yield (positions[i], None if stop < 0 else stop, None if step == 1 else step)
        i = j
