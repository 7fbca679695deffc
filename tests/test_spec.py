"""A spec is plain data: by hand or inferred, it compares, prints and comes back from YAML equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import built
from patterns import PATTERNS
from random_nets import Packed
from strategies import SIZES, expressions

import purethin as pt
from purethin import axes as ax

LAYOUT = {
    "conv.weight": "c 3 3 3",
    "qkv.weight": "(3 h d) (c 4)",
    "cat.weight": "5 (c + c + 2)",
    "back.weight": "c[::-1] h",
    "step": "scalar",
}
SHAPES = {
    "conv.weight": (8, 3, 3, 3),
    "qkv.weight": (24, 32),
    "cat.weight": (5, 18),
    "back.weight": (8, 2),
    "step": (),
    "rest": (2, 7),
}


def tensors() -> dict[str, torch.Tensor]:
    return {name: torch.zeros(shape) for name, shape in SHAPES.items()}


def by_hand() -> pt.Spec:
    return pt.Spec.from_layout(
        LAYOUT, tensors(), inexact={"d": "an attention scale at attention.py:7"}
    )


# ---- by hand


def test_a_layout_by_hand_has_its_axes_with_sizes_reasons_and_places() -> None:
    spec = by_hand()
    assert spec.sizes == {"c": 8, "h": 2, "d": 4}
    assert spec.exact == ("c", "h")
    assert spec.axes["d"].reason == "an attention scale at attention.py:7"
    assert spec.axes["c"].places == (
        ("conv.weight", 0),
        ("qkv.weight", 1),
        ("cat.weight", 1),
        ("back.weight", 0),
    )
    assert {n: spec.shape(n) for n in spec.layout} == SHAPES
    assert [(f.parameter, f.dim, f.size) for f in spec.frozen] == [("rest", 0, 2), ("rest", 1, 7)]
    assert spec.axis("h") is spec.axes["h"]


@pytest.mark.parametrize(
    ("layout", "shapes", "sizes"),
    [
        ({"w": "(h d)", "v": "h"}, {"w": (6,), "v": (2,)}, {"h": 2, "d": 3}),
        (
            {"w": "(a + b)", "v": "(b + c)", "u": "c"},
            {"w": (9,), "v": (7,), "u": (2,)},
            {"a": 4, "b": 5, "c": 2},
        ),
        ({"w": "((a + 1) 3)"}, {"w": (12,)}, {"a": 3}),
        ({"w": "(a a)"}, {"w": (25,)}, {"a": 5}),
        ({"w": "a[::2]", "v": "a"}, {"w": (3,), "v": (6,)}, {"a": 6}),
        ({"w": "(a + a[0:2])"}, {"w": (7,)}, {"a": 5}),
        ({"w": "a[0, 1, 2, 2, 1, 0]"}, {"w": (6,)}, {"a": 3}),
        ({"w": "a[0, 1]", "v": "a[3, 2]"}, {"w": (2,), "v": (2,)}, {"a": 4}),
    ],
)
def test_sizes_are_solved_from_the_shapes(
    layout: dict[str, str], shapes: dict[str, tuple[int, ...]], sizes: dict[str, int]
) -> None:
    assert (
        pt.Spec.from_layout(layout, {n: torch.zeros(s) for n, s in shapes.items()}).sizes == sizes
    )


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (
            {"conv.wieght": "c 3 3 3"},
            ["'conv.wieght'", "not a parameter", "did you mean 'conv.weight'?"],
        ),
        (
            {"conv.weight": "c 3 (3 3)"},
            ["'c 3 (3 3)'", "3 dimensions", "(8, 3, 3, 3)", "products in parentheses"],
        ),
        ({"conv.weight": "c 3 3 4"}, ["'4'", "does not make 3", "conv.weight"]),
        ({"conv.weight": "(c 3) 3 3 3"}, ["'(c 3)'", "does not make 8"]),
        (
            {"conv.weight": "c 3 3 3", "back.weight": "c c"},
            ["'c' (c=8)", "does not make 2", "back.weight"],
        ),
        (
            {"conv.weight": "(c d) 3 3 3"},
            ["the size of c, d is not certain from '(c d)'", "by itself"],
        ),
        (
            {"conv.weight": "c[0:7] 3 3 3", "back.weight": "c 2"},
            ["'c[0:7]' (c=8)", "does not make 8", "conv.weight"],
        ),
        (
            {"conv.weight": "c[::2] 3 3 3"},
            ["the size of c is not certain from 'c[::2]'", "by itself"],
        ),
        ({"conv.weight": "8 3 3 c[0, 0, 2]"}, ["the size of c is not certain from 'c[0, 0, 2]'"]),
        ({"conv.weight": "c 3 3 3 +"}, ["c 3 3 3 +", "^"]),
        ({"step": "c"}, ["'c' gives step 1 dimensions", "()"]),
    ],
)
def test_a_layout_that_does_not_fit_is_answered_in_its_own_notation(
    layout: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(pt.SpecError) as caught:
        pt.Spec.from_layout(layout, tensors())
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_a_reason_for_an_axis_that_nothing_carries_is_refused() -> None:
    with pytest.raises(pt.SpecError, match="'head' is given a reason but no dimension carries it"):
        pt.Spec.from_layout({"conv.weight": "heads 3 3 3"}, tensors(), inexact={"head": "a mean"})


def test_an_unknown_axis_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(
        pt.SpecError, match=r"no axis is named 'cc'; did you mean 'c'\? Known: c, d, h"
    ):
        by_hand().axis("cc")


def test_a_hand_written_layout_is_the_inferred_one() -> None:
    model = torchvision.models.resnet18(weights=None)
    params = pt.params_of(model)
    inferred = pt.infer(model, params, torch.zeros(1, 3, 64, 64))
    written = pt.Spec.from_layout(
        {n: ax.layout_text(d) for n, d in inferred.layout.items()}, params
    )
    assert written.layout == inferred.layout
    assert written.sizes == inferred.sizes
    assert [*written.axes] == [*inferred.axes]


# ---- YAML


def inferred(name: str, part: str) -> Callable[[], pt.Spec]:
    def spec() -> pt.Spec:
        pattern = next(p for p in PATTERNS if p.name == name)
        model, params = built(pattern)
        made = pt.infer(model, params, *pattern.inputs(), **pattern.kwargs())
        assert getattr(made, part)
        return made

    return spec


def resnet18() -> pt.Spec:
    model = torchvision.models.resnet18(weights=None)
    return pt.infer(model, pt.params_of(model), torch.zeros(1, 3, 64, 64))


def packed() -> pt.Spec:
    """Of a network whose steps are counted by the data: a sequence of its batch."""
    net, x = Packed(5, 4), torch.rand(3, 5)
    return pt.infer(net, pt.params_of(net), x)


# one pattern for each part of a spec that few networks have
PARTS = {
    "attributes": "qkv as (3 heads dim)",
    "positions": "grouped queries by an index from query head to key head",
    "conditions": "grouped queries as transformers repeats them",
    "frozen": "qkv as (3 heads dim)",
}
SPECS = {"by hand": by_hand, "resnet18": resnet18, "with numbers of the data": packed} | {
    f"with {part}": inferred(name, part) for part, name in PARTS.items()
}


@pytest.mark.parametrize("make", SPECS.values(), ids=[*SPECS])
def test_a_spec_comes_back_from_yaml_equal(make: Callable[[], pt.Spec]) -> None:
    spec = make()
    again = pt.Spec.from_yaml(spec.to_yaml())
    assert again == spec
    assert again.to_yaml() == spec.to_yaml()
    for part in fields(spec):
        assert getattr(again, part.name) == getattr(spec, part.name), part.name


@given(st.lists(expressions(), min_size=1, max_size=3))
@settings(max_examples=50)
def test_any_layout_comes_back_from_yaml_equal(dims: list[ax.Axes]) -> None:
    params = {
        "w": torch.zeros([ax.size(e, SIZES) for e in dims]),
        **{n: torch.zeros(s) for n, s in SIZES.items()},
    }
    spec = pt.Spec.from_layout({"w": ax.layout_text(dims)} | {n: n for n in SIZES}, params)
    assert spec.layout["w"] == tuple(dims)
    assert pt.Spec.from_yaml(spec.to_yaml()) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- 1",
        "layout: 3",
        "layout: {w: 'a ('}",
        "layout: {w: a}",
        "{",
        "layout: {w: a}\naxes: {a: {producers: []}}",
    ],
)
def test_a_text_that_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(pt.SpecError):
        pt.Spec.from_yaml(text)


def test_a_spec_holds_no_objects() -> None:
    with pytest.raises(pt.SpecError, match="python/object"):
        pt.Spec.from_yaml("layout: !!python/object/apply:os.getcwd []")


# ---- comparing and printing


@pytest.mark.parametrize(
    "change",
    [
        {"layout": {n: d for n, d in by_hand().layout.items() if n != "rest"}},
        {"frozen": ()},
        {"axes": {n: replace(a, exact=True, reason=None) for n, a in by_hand().axes.items()}},
        {"buffers": frozenset({"step"})},
        {"notes": ("a note",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_specs_are_equal_when_all_their_parts_are(change: dict[str, Any]) -> None:
    assert by_hand() == by_hand()
    assert replace(by_hand(), **change) != by_hand()


def test_a_spec_prints_as_an_aligned_table() -> None:
    assert str(by_hand()).splitlines() == [
        "conv.weight  c 3 3 3",
        "qkv.weight   (3 h d) (c 4)",
        "cat.weight   5 (c + c + 2)",
        "back.weight  c[::-1] h",
        "step         scalar",
        "rest         2 7",
        "",
        "3 axes, 2 exact",
        "  c       8  exact",
        "  h       2  exact",
        "  d       4  inexact: an attention scale at attention.py:7",
        "",
        "frozen: 2 dimensions",
        "  not in the layout given by hand  rest:0, rest:1",
    ]
