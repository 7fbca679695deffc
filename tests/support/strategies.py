"""Axis expressions for property tests: any that can be written over `SIZES`, masks of them, and
the plain list of units that says what an expression means.
"""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from purethin.axes import Axes, Fixed, Name, Product, Sum, Take

SIZES = {"a": 2, "b": 3, "layer1.0.conv2": 4, "attn.head-dim": 1}
LARGEST = 40

Entries = list[tuple[tuple[str, int], ...]]


def entries(expr: Axes, sizes: dict[str, int]) -> Entries:
    """The units `(axis, index)` of each entry."""
    if isinstance(expr, Name):
        return [((expr.name, i),) for i in range(sizes[expr.name])]
    if isinstance(expr, Fixed):
        return [()] * expr.size
    if isinstance(expr, Sum):
        return [e for t in expr.terms for e in entries(t, sizes)]
    if isinstance(expr, Take):
        base = entries(expr.base, sizes)
        return [
            e for i in expr.index for e in ([base[i]] if isinstance(i, int) else base[slice(*i)])
        ]
    out: Entries = [()]
    for factor in expr.factors:
        out = [x + y for x in out for y in entries(factor, sizes)]
    return out


def written_slices(size: int) -> st.SearchStrategy[tuple[int | None, int | None, int | None]]:
    place = st.none() | st.integers(-size, size)
    return st.tuples(place, place, st.none() | st.sampled_from([-3, -2, -1, 1, 2, 3]))


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> Axes:
    """Any expression over SIZES with at most LARGEST entries, takes within range."""
    kind = (
        draw(st.sampled_from(["name", "name", "fixed", "product", "sum", "take"]))
        if depth
        else "name"
    )
    if kind == "fixed":
        return Fixed(draw(st.integers(0, 5)))
    if kind == "take":
        base = draw(expressions(depth - 1))
        n = len(entries(base, SIZES))
        position = written_slices(n) if n == 0 else st.integers(0, n - 1) | written_slices(n)
        return Take(base, tuple(draw(st.lists(position, min_size=1, max_size=4))))
    if kind in ("product", "sum"):
        parts = tuple(draw(st.lists(expressions(depth - 1), min_size=2, max_size=3)))
        made = Product(parts) if kind == "product" else Sum(parts)
        if len(entries(made, SIZES)) <= LARGEST:
            return made
    return Name(draw(st.sampled_from([*SIZES])))


def masks_of(dtype: torch.dtype = torch.bool) -> st.SearchStrategy[dict[str, Tensor]]:
    """Masks of some of the axes, never empty."""

    def one(size: int) -> st.SearchStrategy[Tensor]:
        value = st.booleans() if dtype == torch.bool else st.floats(-2, 2, width=32)
        return (
            st.lists(value, min_size=size, max_size=size)
            .filter(any)
            .map(lambda v: torch.tensor(v, dtype=dtype))
        )

    return st.fixed_dictionaries({}, optional={name: one(n) for name, n in SIZES.items()})
