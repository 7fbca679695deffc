"""Sizes as polynomials, and the equations between them.

A size is a polynomial in its atoms: variables, and takes that are not a permutation. An atom is the
node itself; only the order within a monomial goes by serial numbers (addresses would sort by
chance).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd

from purethin.inference.nodes import Node, Why, constant, find, freeze, leaves, product, total
from purethin.inference.places import Because
from purethin.inference.solver import unify

ATTRIBUTE = "@"
"""Labels of nodes that are sizes only (a module's attribute, a quotient) start so: they measure,
they are not dimensions.
"""

Monomial = tuple[Node, ...]
Polynomial = dict[Monomial, int]
Takes = dict[tuple[Node, tuple[int, ...]], Node]
"""From a take's base and sorted index to the node that stands for all takes of that size."""

Equation = tuple[Node, Node, Why]


def is_size_only(node: Node) -> bool:
    """Whether a node measures and is not a dimension itself."""
    return node.kind == "variable" and node.label.startswith(ATTRIBUTE)


def resolve(equations: Iterable[Equation]) -> None:
    """Make every equation true: bind what only measures, else tie the two axes, else freeze."""
    todo = list(equations)
    while todo:
        open_, changed = [], False
        for left, right, why in todo:
            rest = Difference(left, right)
            if rest.empty:
                continue
            if rest.bind_measure():
                changed = True
            else:
                open_.append((rest, (left, right, why)))
        if not changed and open_:
            # a tie of dimensions may say what a measure is
            dims = (i for i, (rest, _) in enumerate(open_) if not rest.measures)
            rest, (left, right, why) = open_.pop(next(dims, 0))
            said = why if isinstance(why, Because) else Because("sizes must agree", why)
            rest.tie(left, right, said)
        todo = [equation for _, equation in open_]


def polynomial(n: Node, takes: Takes) -> Polynomial:
    """A node's size as a polynomial in the sizes of its atoms; `takes` grows by those it meets."""
    n = find(n)
    if n.kind == "constant":
        return {(): n.size} if n.size else {}
    if n.kind == "take":
        base = find(n.parts[0])
        index = tuple(sorted(n.index))
        if index == tuple(range(base.size)):
            return polynomial(base, takes)
        n = takes.setdefault((base, index), n)
    if n.kind in ("variable", "take"):
        return {(n,): 1}
    out: Polynomial = {(): 1} if n.kind == "product" else {}
    for part in n.parts:
        poly = polynomial(part, takes)
        out = _sum(out, poly) if n.kind == "sum" else _product(out, poly)
    return out


def _sum(a: Polynomial, b: Polynomial) -> Polynomial:
    return {m: a.get(m, 0) + b.get(m, 0) for m in (*a, *(m for m in b if m not in a))}


def _product(a: Polynomial, b: Polynomial) -> Polynomial:
    out: Polynomial = {}
    for xs, k in a.items():
        for ys, m in b.items():
            monomial = tuple(sorted(xs + ys, key=lambda x: x.serial))
            out[monomial] = out.get(monomial, 0) + k * m
    return out


class Difference:
    """The two sides of an equation as polynomials, what they have in common cancelled."""

    def __init__(self, left: Node, right: Node) -> None:
        takes: Takes = {}
        self.sides = [polynomial(left, takes), polynomial(right, takes)]
        a, b = self.sides
        for monomial in list(a):
            if monomial in b:
                common = min(a[monomial], b[monomial])
                for side in (a, b):
                    side[monomial] -= common
                    if not side[monomial]:
                        del side[monomial]
        if a and b:
            shared = list(next(iter(a)))
            for monomial in (*a, *b):
                shared = _intersect(shared, monomial)
            k = gcd(*a.values(), *b.values())
            self.sides = [{_without(m, shared): c // k for m, c in side.items()} for side in (a, b)]

    @property
    def empty(self) -> bool:
        return not any(self.sides)

    @property
    def atoms(self) -> list[Node]:
        """What is left in it, each once."""
        return list(dict.fromkeys(x for side in self.sides for m in side for x in m))

    @property
    def measures(self) -> bool:
        """Whether something that only measures is left in it."""
        return any(map(is_size_only, self.atoms))

    def bind_measure(self) -> bool:
        """Bind a size-only variable that stands alone on one side to the other side's size."""
        for alone, other in (self.sides, self.sides[::-1]):
            if len(alone) == 1 and other:
                monomial, k = next(iter(alone.items()))
                needed = {v for m in other for x in m for v in leaves(x)}
                only = monomial[0] if k == len(monomial) == 1 else None
                if only is not None and is_size_only(only) and only not in needed:
                    only.up = total(product([constant(c), *m]) for m, c in other.items())
                    return True
        return False

    def bind_by_size(self) -> bool:
        """Bind several measures that are multiplied, where the other side's factors have their
        sizes, each once: 3 d = k h.
        """
        for measures, other in (self.sides, self.sides[::-1]):
            if len(measures) == len(other) == 1:
                (nodes, one), (right, k) = next(iter(measures.items())), next(iter(other.items()))
                given = [*([constant(k)] if k > 1 else []), *right]
                parts = {x.size: x for x in given}
                sizes = {n.size for n in nodes}
                each_once = len(sizes) == len(nodes) > 1 and len(parts) == len(given)
                if one == 1 and each_once and sizes == set(parts) and all(map(is_size_only, nodes)):
                    for n in nodes:
                        n.up = parts[n.size]
                    return True
        return False

    def tie(self, left: Node, right: Node, why: Why) -> None:
        """Tie the two axes if one stands on each side; else the sides themselves, which have one
        size then; else freeze all.
        """
        if self.bind_by_size():
            return
        one_each = all(len(side) == 1 and set(side.values()) == {1} for side in self.sides)
        single = [x for side in self.sides for m in side for x in m]
        if one_each and len(single) == 2 and single[0].size == single[1].size:
            unify(single[0], single[1], why)
        elif left.size == right.size and not any(
            is_size_only(v) for n in (left, right) for v in leaves(n)
        ):
            unify(left, right, why)
        else:
            for v in [v for x in self.atoms for v in leaves(x)]:
                freeze(v, why)


def _intersect(xs: list[Node], ys: Monomial) -> list[Node]:
    rest, out = list(ys), []
    for x in xs:
        if x in rest:
            rest.remove(x)
            out.append(x)
    return out


def _without(monomial: Monomial, shared: list[Node]) -> Monomial:
    rest = list(monomial)
    for x in shared:
        rest.remove(x)
    return tuple(rest)
