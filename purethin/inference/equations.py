"""Sizes as polynomials, and the equations between them.

A size is a polynomial in its atoms: variables, and takes that are not a permutation. An atom is the
node itself; only the order within a monomial goes by serial numbers (addresses would sort by
chance).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import gcd

from purethin.inference.nodes import (
    Node,
    Why,
    constant,
    factors,
    find,
    freeze,
    leaves,
    product,
    total,
    within,
)
from purethin.inference.places import Because
from purethin.inference.solver import unify

ATTRIBUTE = "@"
"""Labels of nodes that are sizes only (a module's attribute, a quotient) start so: they measure,
they are not dimensions.
"""

Monomial = tuple[Node, ...]
Polynomial = dict[Monomial, int]
Takes = dict[tuple[Node, tuple[int, ...]], Node]
"""From a base and a sorted index to the node that stands for all takes of that size."""

Equation = tuple[Node, Node, Why]


def is_size_only(node: Node) -> bool:
    """Whether a node measures and is not a dimension itself."""
    return node.kind == "variable" and node.label.startswith(ATTRIBUTE)


def resolve(equations: Iterable[Equation]) -> None:
    """Make every equation true: bind what only measures, else tie the two axes, else freeze."""
    todo: list[tuple[Difference | None, Equation]] = [(None, e) for e in equations]
    while todo:
        open_: list[tuple[Difference, Equation]] = []
        changed = False
        for rest, (left, right, why) in todo:
            if rest is None or rest.stale:
                if factors(left) == factors(right) or (rest := Difference(left, right)).empty:
                    continue
                if rest.bind_measure():
                    changed = True
                    continue
            open_.append((rest, (left, right, why)))
        if not changed and open_:
            # a tie of dimensions may say what a measure is
            dims = (i for i, (rest, _) in enumerate(open_) if not rest.measures)
            rest, (left, right, why) = open_.pop(next(dims, 0))
            said = why if isinstance(why, Because) else Because("sizes must agree", why)
            rest.tie(left, right, said)
        todo = [*open_]


def polynomial(n: Node, takes: Takes) -> Polynomial:
    """A node's size as a polynomial in the sizes of its atoms; `takes` grows by those it meets."""
    n = find(n)
    if n.kind == "constant":
        return {(): n.size} if n.size else {}
    if n.kind == "take":
        return _taken(find(n.parts[0]), Counter(n.index), takes)
    if n.kind == "variable":
        return {(n,): 1}
    out: Polynomial = {(): 1} if n.kind == "product" else {}
    for part in n.parts:
        poly = polynomial(part, takes)
        out = _sum(out, poly) if n.kind == "sum" else _product(out, poly)
    return _gathered(out, takes) if takes else out


def _taken(base: Node, count: Counter[int], takes: Takes) -> Polynomial:
    """The size of units taken so many times each: as often as every unit is, that of the whole."""
    whole = min(count[i] for i in range(base.size))
    index = tuple(sorted(i for i in count for _ in range(count[i] - whole)))
    out: Polynomial = {}
    if index:
        fresh = Node("take", len(index), (base,), index=index)
        out[(takes.setdefault((base, index), fresh),)] = 1
    return _sum(out, _product({(): whole}, polynomial(base, takes))) if whole else out


def _gathered(poly: Polynomial, takes: Takes) -> Polynomial:
    """Takes of one base that stand in a sum, with the same factors, as one."""
    out: Polynomial = {}
    counts: dict[tuple[Monomial, Node], Counter[int]] = {}
    for monomial, k in poly.items():
        taken = [x for x in monomial if x.kind == "take"]
        if len(taken) == 1:
            others = tuple(x for x in monomial if x is not taken[0])
            count = counts.setdefault((others, find(taken[0].parts[0])), Counter())
            count.update({i: k * m for i, m in Counter(taken[0].index).items()})
        else:
            out[monomial] = k
    for (others, base), count in counts.items():
        out = _sum(out, _product({others: 1}, _taken(base, count, takes)))
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
        self._made_of = [(n, n.kind) for side in (left, right) for n in within(side)]
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
    def stale(self) -> bool:
        """Whether what the two sides are made of was bound or frozen since."""
        return any(n.up is not None or n.kind != kind for n, kind in self._made_of)

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
        """Bind a size-only variable q where one side is q times something, by which the other
        can be divided.
        """
        for mine, other in (self.sides, self.sides[::-1]):
            needed = {v for m in other for x in m for v in leaves(x)}
            for q in next(iter(mine), ()) if other else ():
                if not is_size_only(q) or q in needed or any(m.count(q) != 1 for m in mine):
                    continue
                by = {_without(m, [q]): c for m, c in mine.items()}
                if (found := _quotient(other, by)) is not None:
                    q.up = total(product([constant(c), *m]) for m, c in found.items())
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
        """Tie the axes if one stands on one side, as often as others of its size on the other
        (3 c = q + k + v); else the sides themselves, which have one size then; else freeze all.
        """
        if self.bind_by_size():
            return
        one, other = (sum(side.values()) for side in self.sides)
        alone = all(len(m) == 1 for side in self.sides for m in side) and one == other
        if alone and min(map(len, self.sides)) == 1 and len({x.size for x in self.atoms}) == 1:
            for x in self.atoms[1:]:
                unify(self.atoms[0], x, why)
        elif left.size == right.size and not any(
            is_size_only(v) for n in (left, right) for v in leaves(n)
        ):
            unify(left, right, why)
        else:
            for v in [v for x in self.atoms for v in leaves(x)]:
                freeze(v, why)


def _quotient(a: Polynomial, b: Polynomial) -> Polynomial | None:
    """a / b where it is a polynomial with positive coefficients, else None."""
    rest, out = dict(a), {}
    (lead, k), *_ = sorted(b.items(), key=lambda row: _order(row[0]), reverse=True)
    while rest:
        m = max(rest, key=_order)
        if rest[m] < 1 or rest[m] % k or len(_intersect(list(m), lead)) < len(lead):
            return None
        term = {_without(m, [*lead]): rest[m] // k}
        out = _sum(out, term)
        for n, c in _product(term, b).items():
            if not (c := rest.pop(n, 0) - c):
                continue
            rest[n] = c
    return out


def _order(monomial: Monomial) -> tuple[int, list[int]]:
    """The order by degree, then by serial numbers, which products keep."""
    return len(monomial), [x.serial for x in monomial]


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
