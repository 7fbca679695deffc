"""Axis expressions: what a tensor dimension is made of. Immutable; `notation.parse(str(e)) == e`
always.

Five forms, written as in einops: a name `conv1`; an integer `7` (a fixed size); a product `(heads
dim)`, row-major; a sum `(a + b)`, a concatenation; a take `a[::-1]`, `a[3, 0:2]`, a reindexing. A
layout is a row of them, `conv1 3 7 7`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from math import prod

import torch
from torch import Tensor

from purethin.errors import MaskError, SpecError

Run = tuple[int | None, int | None, int | None]
"""Start, stop and step of some positions; open ends are None."""
Index = tuple[int | Run, ...]


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
    """The units of `base` at these positions, in this order."""

    base: Axes
    index: Index

    def __str__(self) -> str:
        return f"{self.base}[{', '.join(map(_index_text, self.index))}]"

    def positions(self, size: int) -> list[int]:
        """The positions in a base of this size, spelled out.

        Raises:
            SpecError: one lies beyond it.
        """
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
Keeper = Callable[[Axes], Tensor | None]
ONE = Fixed(1)


def parts(expr: Axes) -> tuple[Axes, ...]:
    """Factors, terms, or the base of a take; none of a name and an integer."""
    if isinstance(expr, Product):
        return expr.factors
    if isinstance(expr, Sum):
        return expr.terms
    return (expr.base,) if isinstance(expr, Take) else ()


# ---- the forms, made


def product(factors: Iterable[Axes]) -> Axes:
    """The product in normal form: nested products flattened, ones dropped, neighbouring integers
    multiplied.
    """
    return _normal(Product, factors, 1, operator.mul)


def total(terms: Iterable[Axes]) -> Axes:
    """The sum in normal form: nested sums flattened, zeros dropped, neighbouring integers added."""
    return _normal(Sum, terms, 0, operator.add)


def _normal(
    form: type[Product | Sum], inner: Iterable[Axes], unit: int, merge: Callable[[int, int], int]
) -> Axes:
    flat: list[Axes] = []
    for part in (x for p in inner for x in (parts(p) if isinstance(p, form) else (p,))):
        if type(part) is not Fixed:
            flat.append(part)
        elif flat and type(last := flat[-1]) is Fixed:
            flat[-1] = Fixed(merge(last.size, part.size))
        elif part.size != unit:
            flat.append(part)
    return form(tuple(flat)) if len(flat) > 1 else flat[0] if flat else Fixed(unit)


def take(base: Axes, positions: Sequence[int], size: int) -> Axes:
    """`base` of this size reindexed, in the shortest notation: runs of equal step become slices."""
    positions, whole = list(positions), list(range(size))
    if positions == whole:
        return base
    if not positions or isinstance(base, Fixed):
        return Fixed(len(positions))
    return Take(base, ((None, None, -1),) if positions == whole[::-1] else (*_runs(positions),))


def rebuilt(expr: Axes, change: Callable[[Axes], Axes]) -> Axes:
    """The form over its changed parts, in normal form; as it is written where none changes."""
    if not (inner := parts(expr)):
        return expr
    new = tuple(map(change, inner))
    if all(a is b for a, b in zip(inner, new, strict=True)):
        return expr
    match expr, new:
        case Take(), (Fixed(number),):
            return Fixed(len(expr.positions(number)))
        case Take(_, index), _:
            return Take(new[0], index)
    return (product if isinstance(expr, Product) else total)(new)


def substituted(expr: Axes, fixed: Mapping[str, int]) -> Axes:
    """The expression with these names as integers of their sizes."""
    if isinstance(expr, Name):
        return Fixed(fixed[expr.name]) if expr.name in fixed else expr
    return rebuilt(expr, lambda part: substituted(part, fixed))


def thinned(expr: Axes, masks: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Axes:
    """The expression over the axes' remaining units: takes are renumbered, the rest stays as
    written.
    """
    if isinstance(expr, Take) and (kept := keep(expr.base, masks, sizes)) is not None:
        new = (kept.cumsum(0) - 1).tolist()
        positions = [new[i] for i in expr.positions(len(new)) if kept[i]]
        return take(thinned(expr.base, masks, sizes), positions, int(kept.sum()))
    return rebuilt(expr, lambda part: thinned(part, masks, sizes))


def vanishes(expr: Axes, gone: Container[str]) -> bool:
    """Whether nothing of an expression is left without any unit of these axes."""
    match expr:
        case Name(name):
            return name in gone
        case Fixed(number):
            return not number
        case Product(factors):
            return any(vanishes(f, gone) for f in factors)
        case Sum(terms):
            return all(vanishes(t, gone) for t in terms)
    return vanishes(expr.base, gone)


# ---- the forms, read


def walk(expr: Axes) -> Iterator[Axes]:
    """The expression and all that it is made of, outer ones first, left to right."""
    yield expr
    for part in parts(expr):
        yield from walk(part)


def names(expr: Axes) -> Iterator[str]:
    """Every axis name in the expression, left to right, repeats included."""
    left = [expr]
    while left:
        part = left.pop()
        if type(part) is Name:
            yield part.name
        else:
            left += parts(part)[::-1]


def size(expr: Axes, sizes: Mapping[str, int]) -> int:
    """The number of entries, from the sizes of the named axes.

    Raises:
        SpecError: an axis has no known size, or a take reaches beyond its base.

    >>> from purethin.notation import parse
    >>> size(parse("(a (b + 2))"), {"a": 3, "b": 4})
    18
    """
    match expr:
        case Name(name):
            if name not in sizes:
                raise SpecError(f"the axis '{name}' has no known size")
            return sizes[name]
        case Fixed(number):
            return number
        case Product(factors):
            return prod(size(f, sizes) for f in factors)
        case Sum(terms):
            return sum(size(t, sizes) for t in terms)
    return len(expr.positions(size(expr.base, sizes)))


def keep(expr: Axes, masks: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Tensor | None:
    """The keep-vector `Tensor[size]` of an expression from its axes' masks (bool, or float for
    gradients, or integers of which all bits say keep).

    None where no mask touches it. Works under `vmap` and `grad`.

    Raises:
        MaskError: a mask has another length than its axis.

    >>> from purethin.notation import parse
    >>> keep(parse("(a 2)"), {"a": torch.tensor([True, False])}, {"a": 2})
    tensor([ True,  True, False, False])
    """
    return keeper(masks, sizes)(expr)


def keeper(masks: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Keeper:
    """`keep` of many expressions, each of which is worked out once."""
    known: dict[int, tuple[Axes, Tensor | None]] = {}  # by identity: a long sum hashes slowly
    of_bits = any(not (m.dtype == torch.bool or m.is_floating_point()) for m in masks.values())
    whole, times = (-1, operator.and_) if of_bits else (1, operator.mul)

    def kept(expr: Axes) -> Tensor | None:
        if type(expr) is Fixed:
            return None
        if (found := known.get(id(expr))) is None:
            found = known[id(expr)] = expr, named(expr) if type(expr) is Name else made(expr)
        return found[1]

    def named(part: Name) -> Tensor | None:
        mask = masks.get(part.name)
        if mask is not None and mask.shape != (want := (sizes[part.name],)):
            raise MaskError(f"the mask of '{part}' has shape {tuple(mask.shape)}, not {want}")
        return mask

    def made(expr: Axes) -> Tensor | None:
        inner = parts(expr)
        found = [kept(part) for part in inner]
        if (like := next((k for k in found if k is not None), None)) is None:
            return None
        if isinstance(expr, Take):
            at = torch.tensor(expr.positions(len(like)), dtype=torch.long, device=like.device)
            return like[at]
        ones = partial(torch.full, fill_value=whole, dtype=like.dtype, device=like.device)
        every = [
            ones((size(part, sizes),)) if k is None else k
            for part, k in zip(inner, found, strict=True)
        ]
        if isinstance(expr, Sum):
            return torch.cat(every)
        return reduce(lambda a, b: times(a[:, None], b).flatten(), every)

    return kept


def units(expr: Axes, name: str, sizes: Mapping[str, int]) -> Tensor:
    """`LongTensor[size]`: which unit of the axis `name` each entry of the expression belongs to, -1
    for none.

    >>> from purethin.notation import parse
    >>> units(parse("(a 2)"), "a", {"a": 2})
    tensor([0, 0, 1, 1])
    """

    match expr:
        case Sum(terms):
            return torch.cat([units(t, name, sizes) for t in terms])
        case Take(base):
            values = units(base, name, sizes)
            return values[torch.tensor(expr.positions(len(values)), dtype=torch.long, device="cpu")]
        case Product(factors):
            rows = (units(f, name, sizes) for f in factors)
            return reduce(lambda a, b: torch.where(a[:, None] < 0, b, a[:, None]).flatten(), rows)
    if expr == Name(name):
        return torch.arange(sizes[name], device="cpu")
    return torch.full((size(expr, sizes),), -1, device="cpu")


# ---- the forms as text


def layout_text(dims: Sequence[Axes]) -> str:
    """A tensor's dimensions as one line, `conv1 3 7 7`; `scalar` for none."""
    return " ".join(map(str, dims)) or "scalar"


def _index_text(entry: int | Run) -> str:
    if isinstance(entry, int):
        return str(entry)
    start, stop, step = ("" if x is None else str(x) for x in entry)
    return f"{start}:{stop}" + (f":{step}" if step else "")


def _runs(positions: list[int]) -> Iterator[int | Run]:
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
