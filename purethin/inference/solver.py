"""Unification of tensor dimensions, as Hindley–Milner unifies types.

A dimension is a `Node`: a variable, a constant, a product, a sum or a take. `unify(a, b, why)`
makes two of them the same entry for entry, by binding variables to expressions; it never fails,
never ties what need not be tied, and what cannot be tied it freezes, with the reason. Nothing is
undone: every step states an equality that stays true.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Literal

from purethin import axes as ax
from purethin.axes import Axes
from purethin.inference.orbits import groups, orbits
from purethin.inference.places import Because, Reasons

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
    n = find(n)
    if n.kind == "product":
        return [f for p in n.parts for f in factors(p)]
    return [] if n.size == 1 else [n]


def terms(n: Node) -> list[Node]:
    """The terms of a sum, flattened, zeros dropped."""
    n = find(n)
    if n.kind == "sum":
        return [t for p in n.parts for t in terms(p)]
    return [] if n.size == 0 else [n]


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
    if not flat:
        return constant(0)
    if all(t.kind == "constant" for t in flat):
        return constant(sum(t.size for t in flat), next((t.why for t in flat if t.why), ""))
    return flat[0] if len(flat) == 1 else Node("sum", sum(t.size for t in flat), tuple(flat))


def take(base: Node, index: Sequence[int]) -> Node:
    """`base` reindexed."""
    base = find(base)
    if base.kind == "constant":
        return constant(len(index), base.why)
    if len(index) == base.size and all(i == j for j, i in enumerate(index)):
        return base
    return Node("take", len(index), (base,), index=tuple(index))


def leaves(n: Node) -> list[Node]:
    """The variables in a node, each once, left to right."""
    out: dict[Node, None] = {}
    stack = [n]
    while stack:
        n = find(stack.pop())
        if n.kind == "variable":
            out[n] = None
        elif n.parts:
            stack.extend(reversed(n.parts))
    return list(out)


def freeze(n: Node, why: Why) -> None:
    """Make a node and all its parts constant, for this reason."""
    n = find(n)
    if n.kind == "constant":
        return
    parts, n.parts = n.parts, ()
    n.kind, n.why = "constant", why
    for part in parts:
        freeze(part, why)


def unify(a: Node, b: Node, why: Why) -> None:
    """Make two nodes of one size the same dimension."""
    a, b = find(a), find(b)
    if a is b:
        return
    if a.size != b.size:
        for n in (a, b):
            freeze(n, f"sizes {a.size} and {b.size} meet: {why}")
        return
    match a.kind, b.kind:
        case "constant", _:
            freeze(b, a.why or (why if isinstance(why, Because) else Because("a fixed size", why)))
            b.up = a
        case "variable", "variable":
            a.up = b
            b.label = b.label or a.label
        case "variable", kind if kind != "constant":
            if a in leaves(b):
                _join_units(a, b, why)
            else:
                a.up = b
        case (_, "constant" | "variable") | ("product", "sum"):
            unify(b, a, why)
        case "product", "product":
            _unify_products(a, b, why)
        case "sum", "sum":
            _unify_sums(a, b, why)
        case "sum", "product":
            _unify_sum_with_product(a, b, why)
        case "take", "take" if a.index == b.index and find(a.parts[0]).size == len(set(a.index)):
            unify(a.parts[0], b.parts[0], why)
        case _:
            _join_units(a, b, why)


def _unify_products(a: Node, b: Node, why: Why) -> None:
    """Refine from the right, splitting the larger factor where the smaller divides it."""
    fa, fb = factors(a), factors(b)
    while fa and fb:
        fa[-1:], fb[-1:] = factors(fa[-1]), factors(fb[-1])
        x, y = fa[-1], fb[-1]
        if x.size == y.size:
            unify(x, y, why)
            fa.pop()
            fb.pop()
            continue
        if x.size < y.size:
            fa, fb, x, y = fb, fa, y, x
        if x.size % y.size:
            return _join_units(product(fa), product(fb), why)
        if x.kind == "constant":
            rest = constant(x.size // y.size, x.why)
            freeze(y, x.why or why)
        else:
            rest = variable(x.size // y.size)
            unify(x, product([rest, y]), why)
        fa[-1] = rest
        fb.pop()


def _unify_sums(a: Node, b: Node, why: Why) -> None:
    """Refine at common boundaries, from the left."""
    ta, tb = terms(a), terms(b)
    while ta and tb:
        ta[:1], tb[:1] = terms(ta[0]), terms(tb[0])
        x, y = ta[0], tb[0]
        if x.size == y.size:
            unify(x, y, why)
            ta.pop(0)
            tb.pop(0)
            continue
        if x.size < y.size:
            ta, tb, x, y = tb, ta, y, x
        if x.kind == "product" and factors(x)[0].kind == "constant":
            outer, *inner = factors(x)
            ta[:1] = [product(inner)] * outer.size
            continue
        if x.kind == "constant":
            rest = constant(x.size - y.size, x.why)
            freeze(y, x.why or why)
        elif x.kind == "variable" or (
            x.kind == "product" and y.size % (x.size // factors(x)[0].size) == 0
        ):
            rest = variable(x.size - y.size)
            unify(x, total([y, rest]), why)
        else:
            return _join_units(total(ta), total(tb), why)
        ta[0] = rest
        tb.pop(0)


def _unify_sum_with_product(a: Node, b: Node, why: Why) -> None:
    """`(x + y) ~ (f rest)`: f becomes a sum, each term a product with rest; or f is a constant, so
    many copies of rest.
    """
    outer, *inner = factors(b)
    rest = product(inner)
    parts = terms(a)
    if all(t.size % rest.size == 0 for t in parts):
        if outer.kind == "constant":
            heads = [constant(t.size // rest.size, outer.why) for t in parts]
        else:
            heads = [variable(t.size // rest.size) for t in parts]
            unify(outer, total(heads), why)
        for term, head in zip(parts, heads, strict=True):
            unify(term, product([head, rest]), why)
    elif outer.kind == "constant":
        unify(a, Node("sum", a.size, tuple([rest] * outer.size)), why)
    else:
        _join_units(a, b, why)


# ---- the complete fallback: units and their orbits


def _join_units(a: Node, b: Node, why: Why) -> None:
    """Join the units that meet at each entry; the joined classes are a new axis e, and each
    variable becomes `e[index]`: both sides are then equal entry for entry.

    Entries of a product of several variables belong to several units: there the smaller variables
    are frozen first.
    """
    while (ua := _units(a)) is None or (ub := _units(b)) is None:
        crowd = [*_crowded(a), *_crowded(b)]
        smallest = min(v.size for v in crowd)
        reason = f"sizes {_sizes(a)} and {_sizes(b)} have no common factors: {why}"
        for v in crowd:
            if v.size == smallest:
                freeze(v, reason)
    classes = orbits(ua, ub)
    for group in groups(classes):
        met = {v: [classes.get((v, u), (v, u)) for u in range(v.size)] for v in group}
        free = list(dict.fromkeys(c for v in group for c in met[v] if c is not None))
        if not free:
            for v in group:
                freeze(v, why)
            continue
        one = constant(1, f"one unit is left to move: {why}")
        joined = variable(len(free)) if len(free) > 1 else one
        stuck = any(None in row for row in met.values())
        base = total([joined, constant(1, why)]) if stuck else joined
        number = {c: i for i, c in enumerate([*free, None])}
        for v in group:
            v.up = take(base, [number[c] for c in met[v]])


_Units = Sequence[tuple[Node, int] | None]
"""The unit that each entry belongs to; None where it cannot move."""


def _units(n: Node) -> _Units | None:
    """The unit of each entry; None in all where some entry belongs to several."""
    n = find(n)
    inner = [_units(p) for p in n.parts]
    match n.kind:
        case "variable":
            return [(n, i) for i in range(n.size)]
        case "constant":
            return [None] * n.size
        case "sum":
            known = [u for u in inner if u is not None]
            return [x for u in known for x in u] if len(known) == len(inner) else None
        case "take":
            return None if (base := inner[0]) is None else [base[i] for i in n.index]
    moving = [i for i, p in enumerate(n.parts) if leaves(p)]
    if not moving:
        return [None] * n.size
    if len(moving) > 1 or (u := inner[moving[0]]) is None:
        return None
    stride = prod(find(p).size for p in n.parts[moving[0] + 1 :])
    return [u[(i // stride) % len(u)] for i in range(n.size)]


def _sizes(n: Node) -> str:
    """The sizes of a node's parts, for a reason."""
    match (n := find(n)).kind:
        case "product":
            return f"({' '.join(map(_sizes, n.parts))})"
        case "sum":
            return f"({' + '.join(map(_sizes, n.parts))})"
    return str(n.size)


def _crowded(n: Node) -> list[Node]:
    """Variables that share entries with others in some product of the node."""
    n = find(n)
    if n.kind == "product" and sum(bool(leaves(p)) for p in n.parts) > 1:
        return leaves(n)
    return next((c for p in n.parts if (c := _crowded(p))), [])


def expression(n: Node, name: Callable[[Node], str]) -> Axes:
    """The axis expression of a node, its variables named."""
    n = find(n)
    parts = [expression(p, name) for p in n.parts]
    match n.kind:
        case "variable":
            return ax.Name(name(n))
        case "constant":
            return ax.Fixed(n.size)
        case "product":
            return ax.product(parts)
        case "sum":
            return ax.total(parts)
    return ax.take(parts[0], n.index, find(n.parts[0]).size)
