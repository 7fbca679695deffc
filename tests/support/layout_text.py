"""A spec's layout as one line, for tables: which dims are one axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count, product
from string import ascii_lowercase

import purethin as pt
from purethin.axes import Axes, Name, Product, Sum, Take, names

WITH_THE_WEIGHT = ("bias", "running_mean", "running_var")


def layout_text(spec: pt.Spec) -> str:
    """The dims of every parameter that carries an axis, `PARAMETER: DIMS; …`, in the spec's order.

    Axes are letters in the order in which they appear, with `~` where they are inexact; a number
    is a dim that no axis touches. `conv1` stands for `conv1.weight`, and for a bias and statistics
    of the same module, of which each must then be the weight's first dim.
    """
    letters = _letters()
    letter: dict[str, str] = {}
    for dims in spec.layout.values():
        for name in (n for dim in dims for n in names(dim)):
            if name not in letter:
                letter[name] = next(letters) + "~" * (not spec.axes[name].exact)
    words = {
        parameter: tuple(str(_renamed(dim, letter)) for dim in dims)
        for parameter, dims in spec.layout.items()
        if any(True for dim in dims for _ in names(dim))
    }
    for module in [p.removesuffix(".weight") for p in words if p.endswith(".weight")]:
        beside = [p for n in WITH_THE_WEIGHT if (p := f"{module}.{n}") in spec.layout]
        if all(words.get(p) == words[f"{module}.weight"][:1] for p in beside):
            words = {
                module if p == f"{module}.weight" else p: dims
                for p, dims in words.items()
                if p not in beside
            }
    return "; ".join(f"{parameter}: {' '.join(dims)}" for parameter, dims in words.items())


def _letters() -> Iterator[str]:
    """a to z, then aa, ab, …"""
    for n in count(1):
        yield from map("".join, product(ascii_lowercase, repeat=n))


def _renamed(expr: Axes, names: Mapping[str, str]) -> Axes:
    match expr:
        case Name(name):
            return Name(names[name])
        case Product(factors):
            return Product(tuple(_renamed(f, names) for f in factors))
        case Sum(terms):
            return Sum(tuple(_renamed(t, names) for t in terms))
        case Take(base, index):
            return Take(_renamed(base, names), index)
        case _:
            return expr
