"""Axis expressions against a spelled-out reference: the list of the units that each entry belongs
to.
"""

from __future__ import annotations

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SIZES, entries, expressions, masks_of
from torch import Tensor

import purethin as pt
from purethin import axes as ax
from purethin.axes import Axes, Fixed, Name, Product, Sum, Take
from purethin.notation import parse, parse_layout

# ---- printing and parsing


@given(expressions())
def test_parse_is_the_inverse_of_print(expr: Axes) -> None:
    assert parse(str(expr)) == expr


@given(st.lists(expressions(), max_size=4))
def test_a_whole_layout_parses_to_what_was_printed(dims: list[Axes]) -> None:
    assert parse_layout(ax.layout_text(dims)) == tuple(dims)


@pytest.mark.parametrize(
    ("text", "expr"),
    [
        ("conv1", Name("conv1")),
        ("7", Fixed(7)),
        ("(heads 64)", Product((Name("heads"), Fixed(64)))),
        ("(a + a)", Sum((Name("a"), Name("a")))),
        ("(a b + c)", Sum((Product((Name("a"), Name("b"))), Name("c")))),
        ("( a  (b+2) )", Product((Name("a"), Sum((Name("b"), Fixed(2)))))),
        ("((a))", Name("a")),
        ("mid[::-1]", Take(Name("mid"), ((None, None, -1),))),
        ("mid[3, 0:2]", Take(Name("mid"), (3, (0, 2, None)))),
        ("(a + b)[1::2][0]", Take(Take(Sum((Name("a"), Name("b"))), ((1, None, 2),)), (0,))),
    ],
)
def test_the_notation_means_what_the_design_says(text: str, expr: Axes) -> None:
    assert parse(text) == expr


@pytest.mark.parametrize(
    ("text", "why", "caret"),
    [
        ("c (3 3", "a ')' is missing", 6),
        ("c ()", "an axis name, an integer or '(' is expected", 3),
        ("c (a +)", "an axis name, an integer or '(' is expected", 6),
        ("c )", "an axis name, an integer or '(' is expected", 2),
        ("a + b", "'+' stands inside parentheses only, as '(a + b)'", 2),
        ("[0] a", "an axis name, an integer or '(' is expected", 0),
        ("a[]", "a position or a slice is expected", 2),
        ("a[b]", "a position or a slice is expected", 2),
        ("a[-]", "a position or a slice is expected", 2),
        ("a[0:-]", "a position or a slice is expected", 2),
        ("a[1.5]", "a position or a slice is expected", 2),
        ("a[0:2:3:4]", "a position or a slice is expected", 2),
        ("a[::0]", "a slice's step cannot be 0", 2),
        ("a[0", "',' or ']' is expected", 3),
        ("a[0 1]", "',' or ']' is expected", 4),
        ("a[0,]", "a position or a slice is expected", 4),
    ],
)
def test_what_does_not_parse_is_answered_with_the_users_text_and_a_caret(
    text: str, why: str, caret: int
) -> None:
    with pytest.raises(pt.SpecError) as caught:
        parse_layout(text)
    said, shown, mark = str(caught.value).splitlines()
    assert why in said
    assert shown == f"    {text}"
    assert mark == " " * (4 + caret) + "^"


def test_several_expressions_where_one_is_meant_are_refused_with_the_remedy() -> None:
    with pytest.raises(pt.SpecError, match=r"'a b' is 2 expressions.*'\(a b\)'"):
        parse("a b")


# ---- what an expression means


@given(expressions())
def test_size_counts_the_entries(expr: Axes) -> None:
    assert ax.size(expr, SIZES) == len(entries(expr, SIZES))


@given(expressions(), masks_of())
def test_an_entry_is_kept_when_all_its_units_are(expr: Axes, masks: dict[str, Tensor]) -> None:
    keep = ax.keep(expr, masks, SIZES)
    if not set(ax.names(expr)) & set(masks):
        assert keep is None
        return
    assert keep is not None and keep.dtype == torch.bool
    assert keep.tolist() == [
        all(masks[a][i] for a, i in e if a in masks) for e in entries(expr, SIZES)
    ]


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_a_take_of_no_entries_keeps_none_of_none(dtype: torch.dtype) -> None:
    none = Take(Name("a"), ((None, 0, None),))
    keep = ax.keep(none, {"a": torch.ones(4, dtype=dtype)}, {"a": 4})
    assert keep is not None and (keep.dtype, keep.tolist()) == (dtype, [])


@given(expressions(), masks_of(torch.float64))
def test_a_float_keep_is_the_product_of_its_units_factors(
    expr: Axes, masks: dict[str, Tensor]
) -> None:
    keep = ax.keep(expr, masks, SIZES)
    if keep is None:
        assert not set(ax.names(expr)) & set(masks)
        return
    want = [prod(float(masks[a][i]) for a, i in e if a in masks) for e in entries(expr, SIZES)]
    assert torch.allclose(keep, torch.tensor(want, dtype=torch.float64))


@given(expressions(), st.sampled_from([*SIZES]))
def test_units_gives_each_entry_its_unit_of_an_axis(expr: Axes, name: str) -> None:
    want = [next((i for a, i in e if a == name), -1) for e in entries(expr, SIZES)]
    assert ax.units(expr, name, SIZES).tolist() == want


@given(expressions(), masks_of())
@settings(max_examples=200)
def test_thinned_is_the_expression_of_the_entries_that_stay(
    expr: Axes, masks: dict[str, Tensor]
) -> None:
    new = {(a, i): (a, int(m[:i].sum())) for a, m in masks.items() for i in range(len(m)) if m[i]}
    stay = [e for e in entries(expr, SIZES) if all(u in new for u in e if u[0] in masks)]
    left = SIZES | {a: int(m.sum()) for a, m in masks.items()}
    small = ax.thinned(expr, masks, SIZES)
    assert entries(small, left) == [tuple(new.get(u, u) for u in e) for e in stay]
    assert parse(str(small)) == small


@given(st.data(), st.integers(1, 9))
def test_take_writes_positions_that_read_back(data: st.DataObject, size: int) -> None:
    positions = data.draw(st.lists(st.integers(0, size - 1), max_size=9))
    expr = ax.take(Name("a"), positions, size)
    assert entries(parse(str(expr)), {"a": size}) == [(("a", i),) for i in positions]


@pytest.mark.parametrize(
    ("positions", "text"),
    [
        ([0, 1, 2, 3, 4, 5], "a"),
        ([5, 4, 3, 2, 1, 0], "a[::-1]"),
        ([0, 2, 4], "a[0:5:2]"),
        ([3, 0, 1, 2], "a[3, 0:3]"),
        ([2, 1, 0, 5], "a[2::-1, 5]"),
        ([1, 1, 1], "a[1, 1, 1]"),
        ([4, 5], "a[4, 5]"),
        ([], "0"),
    ],
)
def test_take_is_written_in_the_shortest_notation(positions: list[int], text: str) -> None:
    assert str(ax.take(Name("a"), positions, 6)) == text


@given(st.lists(expressions(2), max_size=4))
def test_product_and_total_change_the_writing_and_not_the_entries(parts: list[Axes]) -> None:
    assert entries(ax.total(parts), SIZES) == [e for p in parts for e in entries(p, SIZES)]
    if len(want := entries(Product(tuple(parts)), SIZES)) <= 1000:
        assert entries(ax.product(parts), SIZES) == want


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (ax.product(map(parse, ["2", "(h d)"])), "(2 h d)"),
        (ax.product(map(parse, ["a", "1", "2", "3"])), "(a 6)"),
        (ax.product([]), "1"),
        (ax.total(map(parse, ["a", "(b + 2)", "3", "0"])), "(a + b + 5)"),
        (ax.total([]), "0"),
    ],
)
def test_printing_flattens(made: Axes, text: str) -> None:
    assert str(made) == text


# ---- mistakes


def test_a_position_out_of_range_is_named_with_the_bases_size() -> None:
    with pytest.raises(pt.SpecError, match=r"'a\[0, 5\]' reaches position 5, but a has 4 units"):
        ax.size(parse("a[0, 5]"), {"a": 4})
    with pytest.raises(pt.SpecError, match=r"'a\[-1, 2\]' reaches position -1"):
        ax.size(parse("a[-1, 2]"), {"a": 4})


def test_an_axis_of_unknown_size_is_named() -> None:
    with pytest.raises(pt.SpecError, match="'b' has no known size"):
        ax.size(parse("(a b)"), {"a": 4})


def test_a_mask_of_another_length_is_named() -> None:
    with pytest.raises(pt.MaskError, match=r"'a' has shape \(3,\), not \(4,\)"):
        ax.keep(parse("(a 2)"), {"a": torch.ones(3)}, {"a": 4})
