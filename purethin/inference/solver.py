"""Unification of tensor dimensions, as Hindley–Milner unifies types.

`unify(a, b, why)` makes two nodes the same entry for entry, by binding variables to expressions; it
never fails, never ties what need not be tied, and what cannot be tied it freezes, with the reason.
Nothing is undone: every step states an equality that stays true.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd, prod

from purethin.inference.nodes import (
    Node,
    Why,
    constant,
    factors,
    find,
    freeze,
    leaves,
    product,
    take,
    terms,
    total,
    variable,
)
from purethin.inference.orbits import groups, orbits
from purethin.inference.places import Because


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
            _refine(a, b, why, factors, product, _split_factor)
        case "sum", "sum":  # from the left
            _refine(a, b, why, lambda n: terms(n)[::-1], lambda ts: total(ts[::-1]), _split_term)
        case "sum", "product":
            _unify_sum_with_product(a, b, why)
        case "take", "take" if a.index == b.index and find(a.parts[0]).size == len(set(a.index)):
            unify(a.parts[0], b.parts[0], why)
        case _:
            _join_units(a, b, why)


def _refine(
    a: Node,
    b: Node,
    why: Why,
    parts: Callable[[Node], list[Node]],
    joined: Callable[[list[Node]], Node],
    split: Callable[[Node, Node, Why], list[Node]],
) -> None:
    """Tie the parts of two nodes, the last first; a part that is larger than its partner is
    split.
    """
    xs, ys = parts(a), parts(b)
    while xs and ys:
        xs[-1:], ys[-1:] = parts(xs[-1]), parts(ys[-1])
        x, y = xs[-1], ys[-1]
        if x.size == y.size:
            unify(x, y, why)
            xs.pop()
            ys.pop()
            continue
        if x.size < y.size:
            xs, ys, x, y = ys, xs, y, x
        smaller = split(x, y, why)
        if not smaller:
            return _join_units(joined(xs), joined(ys), why)
        xs[-1:] = smaller


def _split_factor(x: Node, y: Node, why: Why) -> list[Node]:
    """A factor as two, y the last of them; none where y does not divide it."""
    if x.size % y.size:
        return []
    if x.kind == "constant":
        freeze(y, x.why or why)
        return [constant(x.size // y.size, x.why), y]
    rest = variable(x.size // y.size)
    unify(x, product([rest, y]), why)
    return [rest, y]


def _split_term(x: Node, y: Node, why: Why) -> list[Node]:
    """A term as what follows y, and y; or as copies of one; none where it cannot be split."""
    if x.kind == "product" and factors(x)[0].kind == "constant":
        outer, *inner = factors(x)
        return [product(inner)] * outer.size
    if x.kind == "constant":
        freeze(y, x.why or why)
        return [constant(x.size - y.size, x.why), y]
    if x.kind == "variable" or (
        x.kind == "product" and y.size % (x.size // factors(x)[0].size) == 0
    ):
        rest = variable(x.size - y.size)
        unify(x, total([y, rest]), why)
        return [rest, y]
    return []


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

    Entries of a product of several variables belong to several units: there all factors but the
    last are frozen, if the last ones share a factor (groups of other widths); else the smaller
    variables first.
    """
    shared = gcd(*_strides(a), *_strides(b))
    every: dict[Node, range] = {}
    while (ua := _units(a, every)) is None or (ub := _units(b, every)) is None:
        crowds = [*_crowded(a), *_crowded(b)]
        reason = f"sizes {_sizes(a)} and {_sizes(b)} have no common factors: {why}"
        if shared > 1:
            frozen = [f for crowd in crowds for f in crowd[:-1]]
        else:
            variables = [v for crowd in crowds for f in crowd for v in leaves(f)]
            smallest = min(v.size for v in variables)
            frozen = [v for v in variables if v.size == smallest]
        for n in frozen:
            freeze(n, reason)
    unit = [(v, i) for v, numbers in every.items() for i in range(len(numbers))]
    met_by = orbits(ua, ub)  # of plain numbers: they hash fast
    classes = {unit[u]: None if c is None else unit[c] for u, c in met_by.items()}
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
            v.up = take(base, [number[c] for c in met[v]], why)


_Units = Sequence[int | None]
"""The number of the unit that each entry belongs to; None where it cannot move."""


def _units(n: Node, every: dict[Node, range]) -> _Units | None:
    """The unit of each entry; None in all where some entry belongs to several. `every`: the numbers
    of each variable's units, which grow on the way.
    """
    n = find(n)
    inner = [_units(p, every) for p in n.parts]
    match n.kind:
        case "variable":
            start = sum(map(len, every.values()))
            return every.setdefault(n, range(start, start + n.size))
        case "constant":
            return [None] * n.size
        case "sum":
            known = [u for u in inner if u is not None]
            return [x for u in known for x in u] if len(known) == len(inner) else None
        case "take":
            return None if (base := inner[0]) is None else [base[i] for i in n.index]
    moving = [i for i, p in enumerate(n.parts) if leaves(p)]
    if len(moving) != 1:
        return None if moving else [None] * n.size
    if (u := inner[moving[0]]) is None:
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


def _crowded(n: Node) -> list[list[Node]]:
    """The moving factors of each product in a node that has several."""
    n = find(n)
    if n.kind == "product" and len(moving := [p for p in n.parts if leaves(p)]) > 1:
        return [moving]
    return [crowd for p in n.parts for crowd in _crowded(p)]


def _strides(n: Node) -> list[int]:
    """After how many entries the units of each term come again."""
    n = find(n)
    if n.kind == "sum":
        return [size for p in n.parts for size in _strides(p)]
    if n.kind == "product":
        moving = [i for i, p in enumerate(n.parts) if leaves(p)]
        return [prod(find(p).size for p in n.parts[moving[-1] :])] if moving else []
    return [n.size] if leaves(n) else []
