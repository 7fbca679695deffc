"""The laws of unification on random expressions: the two sides become equal entry for entry, and no
more is tied than must be.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purethin.inference.equations import Difference
from purethin.inference.nodes import (
    Node,
    constant,
    expression,
    factors,
    find,
    freeze,
    leaves,
    product,
    take,
    total,
    variable,
)
from purethin.inference.solver import unify

Units = list[frozenset[tuple[Node, int]]]


def entries(n: Node) -> Units:
    """The units that each entry of a dimension belongs to, spelled out."""
    n = find(n)
    if n.kind == "variable":
        return [frozenset({(n, i)}) for i in range(n.size)]
    if n.kind == "constant":
        return [frozenset()] * n.size
    parts = [entries(p) for p in n.parts]
    if n.kind == "sum":
        return [e for p in parts for e in p]
    if n.kind == "take":
        return [parts[0][i] for i in n.index]
    out: Units = [frozenset()]
    for p in parts:
        out = [a | b for a in out for b in p]
    return out


Plan = Callable[[list[Node]], Node]


@st.composite
def plans(draw: st.DrawFn, size: int, *, flat: bool) -> Plan:
    """How to build an expression of this size from a pool of variables (so that two may share
    some).
    """
    kind = draw(st.sampled_from(["fresh", "pool", "constant", "sum", "product", "take"]))
    if kind == "sum" and size > 1:
        cut = draw(st.integers(1, size - 1))
        left, right = draw(plans(cut, flat=flat)), draw(plans(size - cut, flat=flat))
        return lambda pool: total([left(pool), right(pool)])
    divisors = [d for d in range(2, size) if size % d == 0]
    if kind == "product" and divisors:
        d = draw(st.sampled_from(divisors))
        left, right = draw(plans(d, flat=flat)), draw(plans(size // d, flat=flat))
        if flat:
            return lambda pool: product([constant(d, "literal"), right(pool)])
        return lambda pool: product([left(pool), right(pool)])
    if kind == "take":
        base = draw(plans(size, flat=flat))
        order = draw(st.permutations(range(size)))
        return lambda pool: take(base(pool), order)
    if kind == "constant" and draw(st.booleans()):
        return lambda pool: constant(size, "literal")
    if kind == "pool":
        return lambda pool: next((v for v in pool if v.size == size), variable(size))

    def fresh(pool: list[Node]) -> Node:
        pool.append(variable(size))
        return pool[-1]

    return fresh


@st.composite
def pairs(draw: st.DrawFn, *, flat: bool) -> Callable[[], tuple[Node, Node]]:
    size = draw(st.sampled_from([2, 3, 4, 5, 6, 8, 12]))
    left, right = draw(plans(size, flat=flat)), draw(plans(size, flat=flat))

    def build() -> tuple[Node, Node]:
        pool: list[Node] = []
        return left(pool), right(pool)

    return build


@given(pairs(flat=False))
@settings(max_examples=500, deadline=None)
def test_unified_sides_are_equal_entry_for_entry(pair: Callable[[], tuple[Node, Node]]) -> None:
    a, b = pair()
    unify(a, b, "here")
    assert entries(a) == entries(b)


@given(pairs(flat=False))
@settings(max_examples=300, deadline=None)
def test_unify_is_commutative(pair: Callable[[], tuple[Node, Node]]) -> None:
    a, b = pair()
    unify(a, b, "here")
    c, d = pair()
    unify(d, c, "here")
    assert shape_of(a) == shape_of(c)


def shape_of(n: Node) -> list[list[int]]:
    """How many units each two entries share: equal for expressions that are equal up to names."""
    e = entries(n)
    return [[len(x & y) for y in e] for x in e]


@given(pairs(flat=True))
@settings(max_examples=500, deadline=None)
def test_flat_sides_tie_and_freeze_exactly_the_orbits(
    pair: Callable[[], tuple[Node, Node]],
) -> None:
    a, b = pair()
    up: dict[object, object] = {}

    def root(x: object) -> object:
        while up.setdefault(x, x) != x:
            x = up[x]
        return x

    for x, y in zip(entries(a), entries(b), strict=True):
        u, v = (next(iter(e)) if e else "fixed" for e in (x, y))
        up[root(u)] = root(v)
    before = [root(next(iter(e))) if e else root("fixed") for e in entries(a)]
    unify(a, b, "here")
    after = entries(a)
    for x, orbit in zip(after, before, strict=True):
        assert not (x and orbit == root("fixed")), "a fixed unit is free"
        for y, other in zip(after, before, strict=True):
            assert not (x and x == y and orbit != other), "two orbits are tied"
            assert not (x and orbit == other and x != y), "one orbit is two units"
    lone = {o for x, o in zip(after, before, strict=True) if not x and o != root("fixed")}
    assert len(lone) <= len(leaves(a)) + 2, (
        "more is frozen than pieces of one unit, which are no axis"
    )


@pytest.mark.parametrize(
    ("left", "right", "want"),
    [
        ("a6 b4", "c4 d6", None),
        ("a12", "b3 c4", "(b c)"),
        ("a3 b4", "c12", "(a b)"),
    ],
)
def test_products_refine_or_freeze(left: str, right: str, want: str | None) -> None:
    made: dict[str, Node] = {}

    def build(text: str) -> Node:
        return product([made.setdefault(t, variable(int(t[1:]), t[0])) for t in text.split()])

    a, b = build(left), build(right)
    unify(a, b, "here")
    got = str(expression(a, lambda v: v.label))
    assert entries(a) == entries(b)
    assert want is None or got == want


def test_sums_of_other_order_meet_at_common_boundaries() -> None:
    a, b, c = variable(2, "a"), variable(3, "b"), variable(5, "c")
    unify(total([a, b]), c, "cat")
    assert str(expression(c, lambda v: v.label)) == "(a + b)"
    d, e = variable(4, "d"), variable(1)
    unify(c, total([d, e]), "split")
    assert [f.size for f in leaves(c)] == [2, 2]
    assert e.kind == "constant"


def test_a_flip_ties_mirrored_units_only() -> None:
    a = variable(6, "a")
    unify(a, take(a, range(6)[::-1]), "x + x.flip(1)")
    assert len(leaves(a)) == 1
    assert leaves(a)[0].size == 3


def test_frozen_keeps_its_first_reason() -> None:
    a = variable(4, "a")
    freeze(product([a, constant(2)]), "a literal")
    freeze(a, "another")
    assert find(a).why == "a literal"
    assert factors(constant(1)) == []


def test_polynomials_of_reordered_axes_are_equal() -> None:
    a, b = variable(4, "a"), variable(6, "b")
    swapped = product([b, a])
    one = product([a, total([b, constant(2)])])
    assert Difference(one, total([swapped, product([constant(2), a])])).empty
    assert not Difference(one, swapped).empty
