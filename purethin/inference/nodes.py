"""The dimensions of a trace while their names are open: variables that get bound to expressions.

A `Node` is a variable, a constant, a product, a sum or a take. A normal form is never stored:
`factors` and `terms` flatten through `find`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Literal

from purethin import axes as ax
from purethin.axes import Axes
from purethin.inference.places import Reasons

Why = object
"""Anything whose `str` is the reason; made into text only when somebody reads it."""

_serial = itertools.count()


class Node:
    """One dimension, or a part of one. `up` points to what it was bound to; read through `find`."""

    __slots__ = ("index", "kind", "label", "parts", "serial", "size", "up", "why")

    def __init__(
        self,
        kind: Literal["variable", "constant", "product", "sum", "take"],
        size: int,
        parts: tuple[Node, ...] = (),
        *,
        why: Why = "",
        label: str = "",
        index: tuple[int, ...] = (),
    ) -> None:
        self.kind = kind
        self.size = size
        self.parts = parts
        self.why = why
        self.label = label
        self.index = index
        self.up: Node | None = None
        self.serial = next(_serial)

    def __repr__(self) -> str:
        return str(expression(self, lambda v: v.label or f"v{v.serial}"))


def find(n: Node) -> Node:
    """What a node stands for now."""
    while (up := n.up) is not None:
        if up.up is not None:
            n.up = up.up
        n = up
    return n


def variable(size: int, label: str = "") -> Node:
    """A fresh dimension of this size; a size of 1 is the constant 1, and nothing is the
    constant 0.
    """
    return Node("variable", size, label=label) if size > 1 else Node("constant", size)


def constant(size: int, why: Why = "") -> Node:
    """A size that cannot change, and why."""
    return Node("constant", size, why=why)


def factors(n: Node) -> list[Node]:
    """The factors of a product, flattened, ones dropped."""
    return _flat(n, "product", 1)


def terms(n: Node) -> list[Node]:
    """The terms of a sum, flattened, zeros dropped."""
    return _flat(n, "sum", 0)


def _flat(n: Node, kind: str, unit: int) -> list[Node]:
    n = find(n)
    if n.kind == kind:
        return [part for p in n.parts for part in _flat(p, kind, unit)]
    return [] if n.size == unit else [n]


def product(parts: Iterable[Node]) -> Node:
    """The row-major product, neighbouring constants merged."""
    flat: list[Node] = []
    for f in (f for p in parts for f in factors(p)):
        if f.kind == "constant" and flat and flat[-1].kind == "constant":
            flat[-1] = constant(flat[-1].size * f.size, _both(flat[-1], f))
        else:
            flat.append(f)
    if not flat:
        return constant(1)
    return flat[0] if len(flat) == 1 else Node("product", prod(f.size for f in flat), tuple(flat))


def _both(a: Node, b: Node) -> Why:
    """Why two constants that became one are fixed."""
    said = [n.why for n in (a, b) if n.why and n.size > 1]
    return Reasons(tuple(said)) if len(said) > 1 else said[0] if said else a.why or b.why


def total(parts: Iterable[Node]) -> Node:
    """The sum, laid one after the other."""
    flat = [t for p in parts for t in terms(p)]
    size = sum(t.size for t in flat)
    if all(t.kind == "constant" for t in flat):
        return constant(size, next((t.why for t in flat if t.why), ""))
    return flat[0] if len(flat) == 1 else Node("sum", size, tuple(flat))


def take(base: Node, index: Sequence[int], why: Why = "") -> Node:
    """`base` reindexed; copies of it as a whole, or of each unit, are a product."""
    base, index = find(base), tuple(index)
    if base.kind == "constant":
        return constant(len(index), base.why)
    copies, every = len(index) // base.size, range(base.size)
    if len(index) == copies * base.size:
        if index == (*every,) * copies:
            return product([constant(copies, why), base])
        if index == tuple(i for i in every for _ in range(copies)):
            return product([base, constant(copies, why)])
    return Node("take", len(index), (base,), index=index)


def leaves(n: Node) -> list[Node]:
    """The variables in a node, each once, left to right."""
    if not (n := find(n)).parts:
        return [n] if n.kind == "variable" else []
    out: dict[Node, None] = {}
    stack = [n]
    while stack:
        n = find(stack.pop())
        if n.kind == "variable":
            out[n] = None
        elif n.parts:
            stack.extend(reversed(n.parts))
    return list(out)


def within(n: Node) -> list[Node]:
    """A node and all that it is made of, with repeats."""
    n = find(n)
    return [n, *(inner for part in n.parts for inner in within(part))]


def freeze(n: Node, why: Why) -> None:
    """Make a node and all its parts constant, for this reason."""
    n = find(n)
    if n.kind == "constant":
        return
    parts, n.parts = n.parts, ()
    n.kind, n.why = "constant", why
    for part in parts:
        freeze(part, why)


def expression(n: Node, name: Callable[[Node], str]) -> Axes:
    """The axis expression of a node, its variables named."""
    n = find(n)
    parts = [expression(p, name) for p in n.parts]
    match n.kind:
        case "variable":
            return ax.Name(name(n))
        case "constant":
            return ax.Fixed(int(n.size))  # a number that data gave is marked as such
        case "product":
            return ax.product(parts)
        case "sum":
            return ax.total(parts)
    return ax.take(parts[0], n.index, find(n.parts[0]).size)
