"""Selection against a loop that sorts: the lowest go, among equals the first, as many as a person
would count.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from resnet_cifar import ResNet
from torch import Tensor
from torch.func import vmap

import purethin as pt
from purethin import axes as ax
from purethin.selection import count_removed

Axes = dict[str, list[float]]

# few distinct values, so that many are equal
AXES = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=20),
    min_size=1,
)
PERCENT = st.integers(0, 100)


def tensors(axes: Axes, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {name: torch.tensor(scores, dtype=dtype) for name, scores in axes.items()}


def removed(masks: dict[str, Tensor]) -> dict[str, list[int]]:
    return {name: (~m).nonzero()[:, 0].tolist() for name, m in masks.items()}


def lowest(scores: list[float], count: int) -> list[int]:
    """The places of the lowest; among equals the first."""
    return sorted(sorted(range(len(scores)), key=lambda i: (scores[i], i))[:count])


@given(AXES, PERCENT)
def test_the_lowest_of_each_axis_go(axes: Axes, percent: int) -> None:
    masks = pt.select(tensors(axes), percent / 100)
    assert all(m.dtype == torch.bool for m in masks.values())
    want = {n: lowest(s, min(percent * len(s) // 100, len(s) - 1)) for n, s in axes.items()}
    assert removed(masks) == want


@given(AXES, PERCENT)
def test_the_lowest_of_all_axes_together_go_but_for_the_best_of_each(
    axes: Axes, percent: int
) -> None:
    best = {n: max(range(len(s)), key=lambda i: (s[i], i)) for n, s in axes.items()}
    together = sorted(
        (s, k, i) for k, n in enumerate(axes) for i, s in enumerate(axes[n]) if i != best[n]
    )
    count = percent * sum(map(len, axes.values())) // 100
    want: dict[str, list[int]] = {n: [] for n in axes}
    for _, k, i in together[:count]:
        want[[*axes][k]].append(i)
    assert removed(
        pt.select(tensors(axes), percent / 100, scope="global", normalize="raw", max_sparsity=1)
    ) == {n: sorted(places) for n, places in want.items()}


@given(AXES, PERCENT, st.integers(1, 8), st.integers(0, 30), st.sampled_from(["local", "global"]))
def test_rounding_and_the_least_kept_hold_together(
    axes: Axes, percent: int, round_to: int, min_keep: int, scope: Any
) -> None:
    how: Any = {"scope": scope, "normalize": "raw", "min_keep": min_keep}
    plain = pt.select(tensors(axes), percent / 100, **how)
    masks = pt.select(tensors(axes), percent / 100, **how, round_to=round_to)
    for name, scores in axes.items():
        size, kept = len(scores), int(masks[name].sum())
        assert kept >= min(min_keep, size)
        assert kept % round_to == 0 or size <= round_to or kept == size
        assert int(plain[name].sum()) <= kept < int(plain[name].sum()) + round_to
        assert removed(masks)[name] == lowest(scores, size - kept)


@given(st.integers(0, 1000), st.integers(0, 4096))
def test_of_n_units_the_floor_of_the_written_decimal_goes(thousandths: int, size: int) -> None:
    assert count_removed(thousandths / 1000, size) == Fraction(thousandths, 1000) * size // 1


@pytest.mark.parametrize(
    ("sparsity", "size", "gone"),
    [
        (0.29, 100, 29),
        (0.57, 100, 57),
        (0.1, 10, 1),
        (1 - 0.9, 10, 1),
        (0.3, 10, 3),
        (0.7 - 0.4, 10, 3),
        (1 / 3, 3, 0),
        (0.999, 10, 9),
    ],
)
def test_a_sparsity_is_counted_as_a_person_would(sparsity: float, size: int, gone: int) -> None:
    assert count_removed(sparsity, size) == gone


def test_eight_equal_filters_at_a_quarter_lose_two() -> None:
    assert removed(pt.select({"a": torch.ones(8)}, 0.25)) == {"a": [0, 1]}


@pytest.mark.parametrize("scope", ["local", "global"])
def test_the_last_unit_goes_only_when_asked(scope: Any) -> None:
    scores = {"a": torch.arange(4.0), "b": torch.ones(1)}
    assert removed(pt.select(scores, 1, scope=scope, normalize="raw")) == {"a": [0, 1, 2], "b": []}
    assert removed(pt.select(scores, 1, scope=scope, normalize="raw", min_keep=0)) == {
        "a": [0, 1, 2, 3],
        "b": [0],
    }


def test_a_sparsity_per_axis_leaves_the_others_out() -> None:
    scores = {"a": torch.arange(4.0), "b": torch.arange(10.0), "c": torch.arange(3.0)}
    assert removed(pt.select(scores, {"b": 0.2, "a": 0.5})) == {"a": [0, 1], "b": [0, 1]}
    assert removed(pt.select(scores, {"a": 0.5, "b": 0.5}, scope="global", normalize="raw")) == {
        "a": [0, 1, 2],
        "b": [0, 1, 2, 3],
    }


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_scores_of_any_dtype_rank(dtype: torch.dtype) -> None:
    for scope in ("local", "global"):
        assert removed(
            pt.select(
                {"a": torch.tensor([3, 1, 2, 0]).to(dtype)}, 0.5, scope=scope, normalize="raw"
            )
        ) == {"a": [1, 3]}


def test_infinite_scores_rank_at_the_ends() -> None:
    assert removed(pt.select({"a": torch.tensor([float("inf"), 1, float("-inf"), 0])}, 0.5)) == {
        "a": [2, 3]
    }


def test_it_maps_over_stacked_scores() -> None:
    stacked = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    got = vmap(lambda s: pt.select({"a": s}, 0.4)["a"])(stacked)
    assert torch.equal(got, torch.stack([pt.select({"a": s}, 0.4)["a"] for s in stacked]))


def test_scores_that_carry_gradients_are_ranked_and_left_alone() -> None:
    scores = torch.tensor([2.0, 1.0], requires_grad=True)
    for scope in ("local", "global"):
        assert removed(pt.select({"a": scores}, 0.5, scope=scope, normalize="raw")) == {"a": [1]}
    assert scores.tolist() == [2, 1] and scores.requires_grad and scores.grad is None


def test_no_scores_give_no_masks() -> None:
    assert pt.select({}, 0.5) == pt.select({}, 0.5, scope="global") == {}


@pytest.mark.parametrize(
    ("scores", "arguments", "words"),
    [
        (
            {"a": [1, 2]},
            {"sparsity": 50},
            ["the sparsity of 'a' is 50", "from 0 to 1", "0.5 for half"],
        ),
        ({"a": [1, 2]}, {"sparsity": -0.1}, ["the sparsity of 'a' is -0.1"]),
        ({"a": [1, 2]}, {"sparsity": float("nan")}, ["the sparsity of 'a' is nan"]),
        (
            {"conv1": [1, 2]},
            {"sparsity": {"conv": 0.5}},
            ["'conv', which has no scores", "did you mean 'conv1'?", "With spec=spec"],
        ),
        (
            {"a": [1, float("nan"), float("nan")]},
            {"sparsity": 0.5},
            ["2 scores of 'a' are nan", "mend the criterion"],
        ),
        (
            {"a": [[1, 2], [3, 4]]},
            {"sparsity": 0.5},
            ["the scores of 'a' have shape (2, 2)", "(size,)", "vmap"],
        ),
        (
            {"a": [1, 2]},
            {"sparsity": 0.5, "scope": "layer"},
            ["the scope is 'layer'", "'local' or 'global'"],
        ),
        (
            {"a": [1], "b": [2]},
            {"sparsity": 0.5, "scope": "global"},
            ["rank together", "'raw'", "'mean', 'max' or 'l2' for norms", "'cost'"],
        ),
        ({"a": [1]}, {"sparsity": 0.5, "scope": "isomorphic"}, ["give select(…, spec=spec)"]),
        ({"a": [1]}, {"sparsity": 0.5, "max_sparsity": 2}, ["max_sparsity is 2", "from 0 to 1"]),
        ({"a": [1]}, {"sparsity": 0.5, "keep": "b*"}, ["axes to keep are given for 'b*'"]),
        (
            {"a": [1]},
            {"sparsity": 0.5, "groups": ["a"], "scope": "global"},
            ["leave the scope out"],
        ),
        ({"a": [1, 2]}, {"sparsity": 0.5, "round_to": 0}, ["round_to is 0", "at least 1"]),
        ({"a": [1, 2]}, {"sparsity": 0.5, "min_keep": -1}, ["min_keep is -1", "at least 0"]),
        ({"a": [1, 2]}, {"sparsity": 0.5, "min_keep": {"q": 2}}, ["a number is given for 'q'"]),
        ({"a": [1, 2]}, {"sparsity": 0.5, "max_sparsity": "half"}, ["max_sparsity is 'half'"]),
        ({"a": [1 + 1j, 2]}, {"sparsity": 0.5}, ["complex"]),
        (
            {"a": [1, 2]},
            {"sparsity": 0.5, "spec": pt.Spec.from_layout({"w": "a"}, {"w": torch.zeros(3)})},
            ["the scores of 'a' are 2, and the axis has 3 units"],
        ),
        (
            {"a": [1], "b": [2]},
            {"sparsity": {"a": 0.5, "b": 0.4}, "scope": "global", "normalize": "raw"},
            ["a global ranking has one sparsity", "scope='local'"],
        ),
    ],
)
def test_what_cannot_be_selected_is_one_error_that_says_why(
    scores: dict[str, Any], arguments: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(pt.MaskError) as caught:
        pt.select({n: torch.tensor(s) for n, s in scores.items()}, **arguments)
    for word in words:
        assert word in str(caught.value), str(caught.value)


# ---- which axes, and what ranks together

NET = """
a.w: a 3
b.w: b a 3 3
c.w: c b 3 3
c.gate: c b 3 3
d.w: 2 c
"""


def network() -> tuple[pt.Spec, dict[str, Tensor]]:
    """Kernels of two kinds beside a matrix; one axis is inexact."""
    rows = [line.partition(": ") for line in NET.strip().splitlines()]
    layout = {name: dims for name, _, dims in rows}
    sizes = {"a": 4, "b": 6, "c": 8}
    params = {
        n: torch.zeros([sizes.get(d) or int(d) for d in dims.split()]) for n, dims in layout.items()
    }
    return pt.Spec.from_layout(layout, params, inexact={"a": "a mean"}), {
        n: torch.arange(float(size)) for n, size in sizes.items()
    }


def test_axes_that_are_asked_for_have_scores() -> None:
    spec, scores = network()
    del scores["b"]
    for call in (
        lambda: pt.select(scores, {"b": 0.5}, spec=spec),
        lambda: pt.select(scores, 0.5, spec=spec, axes=["c", "b"]),
    ):
        with pytest.raises(pt.MaskError, match="given for 'b', and 'b' has no scores"):
            call()
    assert "b" not in pt.select(scores, 0.5, spec=spec, keep="b")


def test_with_a_spec_only_exact_axes_lose_units_unless_others_are_named() -> None:
    spec, scores = network()
    assert {*pt.select(scores, 0.5)} == {"a", "b", "c"}
    assert {*pt.select(scores, 0.5, spec=spec)} == {"b", "c"}
    assert {*pt.select(scores, 0.5, spec=spec, axes="all")} == {"a", "b", "c"}
    assert {*pt.select(scores, 0.5, spec=spec, axes="a")} == {"a"}
    assert {*pt.select(scores, {"a": 0.5}, spec=spec)} == {"a"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("c", ("c",)),
        ("[bc]", ("b", "c")),
        ("c.gate", ("c",)),
        ("module.c.w", ("c",)),
        ("filters", ("b", "c")),
        ("all", ("a", "b", "c")),
        (["c", "b"], ("b", "c")),
    ],
)
def test_a_name_a_pattern_a_weight_and_a_role_find_axes(text: Any, found: tuple[str, ...]) -> None:
    spec, scores = network()
    assert pt.find(spec, text) == found
    assert tuple(pt.select(scores, 0.5, spec=spec, axes=text)) == found
    assert {*pt.select(scores, 0.5, spec=spec, keep=text)} == {"b", "c"} - {*found}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("c.ate", "did you mean 'c'|Known: "),
        ("d.w", "'d.w' makes no axis"),
        ("heads", "no exact axis has the role 'heads'.*this network has filters"),
        ("[a]", "'a' \\(inexact: a mean"),
    ],
)
def test_what_means_no_axis_says_what_comes_nearest(text: str, words: str) -> None:
    with pytest.raises(pt.SpecError, match=words):
        pt.find(network()[0], text)


def test_a_module_whose_filters_have_another_name_is_told_by_meaning() -> None:
    spec, _ = network()
    layout = {name.replace("gate", "gate.weight"): dims for name, dims in spec.layout.items()}
    shapes = {
        name: torch.zeros(spec.shape(old)) for name, old in zip(layout, spec.layout, strict=True)
    }
    texts = {name: ax.layout_text(dims) for name, dims in layout.items()}
    spec = pt.Spec.from_layout(texts, shapes)
    for wrong in ("c.gate", "module.c.gate"):
        with pytest.raises(pt.MaskError, match=r"the filters of c\.gate are axis 'c'"):
            pt.mask(shapes, spec, {wrong: torch.ones(8) > 0})


def test_a_shared_ranking_compares_each_axis_by_its_own_measure() -> None:
    scores = {"a": torch.tensor([1.0, 2.0, 3.0, 4.0]), "b": torch.tensor([60.0, 70.0, 80.0, 90.0])}
    measures: tuple[Any, ...] = ("mean", "max", "l2")
    for how in measures:
        masks = pt.select(scores, 0.5, scope="global", normalize=how, max_sparsity=1)
        size = {"mean": Tensor.mean, "max": Tensor.max, "l2": Tensor.norm}[how]
        ratios = [(float(s[i] / size(s)), n, i) for n, s in scores.items() for i in range(4)]
        want = {(n, i) for _, n, i in sorted(ratios)[:4]}
        assert {(n, i) for n, places in removed(masks).items() for i in places} == want


def test_no_axis_is_emptied_by_a_shared_ranking_unless_asked() -> None:
    scores = {"thin": torch.arange(8.0), "wide": torch.arange(100.0, 108.0)}
    kept: Any = {"scope": "global", "normalize": "raw"}
    assert len(removed(pt.select(scores, 0.5, **kept))["thin"]) == 7
    scores = {n: torch.cat([s, s + 8]) for n, s in scores.items()}
    assert len(removed(pt.select(scores, 0.5, **kept))["thin"]) == 14
    masks = pt.select(scores, 0.5, **kept, max_sparsity=0.6)
    assert [len(places) for places in removed(masks).values()] == [9, 7]
    assert len(removed(pt.select(scores, 0.5, max_sparsity=0.25))["thin"]) == 4


def test_limits_by_axis_or_pattern_hold_where_they_are_given() -> None:
    scores = {n: torch.arange(8.0) for n in ("a1", "a2", "b")}
    kept: Any = {"scope": "global", "normalize": "raw"}
    for scope in ({}, kept):
        masks = pt.select(scores, 0.75, max_sparsity={"a*": 0.25, "a2": 0.5}, **scope)
        assert [len(places) for places in removed(masks).values()][:2] == [2, 4]
        masks = pt.select(scores, 0.75, min_keep={"a1": 7, "a*": 5}, **scope)
        assert [len(places) for places in removed(masks).values()][:2] == [1, 3]


def test_infinite_scores_leave_the_others_of_their_axis_comparable() -> None:
    for at in (torch.inf, -torch.inf):
        scores = {"a": torch.tensor([at, 1.0, 2.0, 3.0]), "b": torch.tensor([3.0, 3.0, 3.0, 3.0])}
        masks = pt.select(scores, 0.25, scope="global", normalize="mean", max_sparsity=1)
        assert removed(masks) == {"a": [0, 1] if at < 0 else [1, 2], "b": []}


def test_units_that_cost_more_go_first_by_cost() -> None:
    spec, _ = network()
    spec = replace(spec, macs=((1, (ax.Name("b"), ax.Name("c"))),))
    scores = {"b": torch.full((6,), 7.0), "c": torch.full((8,), 7.0)}
    masks = pt.select(scores, 0.25, scope="global", normalize="cost", spec=spec)
    assert [len(places) for places in removed(masks).values()] == [3, 0]


def test_groups_rank_together_and_the_others_alone() -> None:
    scores = {"a1": torch.arange(4.0), "a2": torch.arange(4.0) + 2, "b": torch.arange(4.0)}
    masks = pt.select(scores, 0.5, groups=["a*"], normalize="raw", max_sparsity=1)
    assert removed(masks) == {"a1": [0, 1, 2], "a2": [0], "b": [0, 1]}
    with pytest.raises(pt.MaskError, match="'a1' stands in two groups"):
        pt.select(scores, 0.5, groups=["a*", ["a1", "b"]], normalize="raw")


def test_isomorphic_axes_rank_together() -> None:
    model = ResNet(2, 10, 3)
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.rand(1, 3, 8, 8))
    scores = pt.lp_norm(params, spec)
    masks = pt.select(scores, 0.5, scope="isomorphic", spec=spec, max_sparsity=1)
    streams = {"conv1", "layer2.0.conv2", "layer3.0.conv2"}
    assert {*masks} == {*scores}
    for names in (streams, {*scores} - streams):
        units = sorted((float(scores[n][i]), n, i) for n in names for i in range(spec.sizes[n]))
        lowest = {(n, i) for _, n, i in units[: len(units) // 2]}
        best = {(n, int(scores[n].argmax())) for n in names}
        gone = {(n, i) for n in names for i in removed(masks)[n]}
        assert len(gone - lowest) <= len(lowest & best)


@given(st.data(), st.sampled_from(["local", "global"]), st.floats(0, 1))
def test_what_is_gone_stays_gone_counts_and_whatever_it_scores(
    data: st.DataObject, scope: Any, fraction: float
) -> None:
    sizes = data.draw(st.lists(st.integers(2, 9), min_size=1, max_size=3))
    scores, masks = dict[str, Tensor](), dict[str, Tensor]()
    for i, size in enumerate(sizes):
        drawn = data.draw(st.lists(st.integers(1, 50), min_size=size, max_size=size, unique=True))
        scores[f"a{i}"] = torch.tensor(drawn, dtype=torch.float64)
        kept = data.draw(st.lists(st.booleans(), min_size=size - 1, max_size=size - 1))
        masks[f"a{i}"] = torch.tensor([*kept, True])
    options: Any = {"scope": scope, "normalize": "mean", "max_sparsity": 1.0}
    new = pt.select(scores, fraction, **options, masks=masks)
    for name, mask in masks.items():
        assert bool((new[name] <= mask).all())
        gone = int((~mask).sum())
        if scope == "local":
            asked = min(count_removed(fraction, mask.numel()), mask.numel() - 1)
            assert int((~new[name]).sum()) == max(asked, gone)
    total, gone = sum(sizes), sum(int((~m).sum()) for m in masks.values())
    asked = min(count_removed(fraction, total), total - len(sizes))
    assert scope == "local" or sum(int((~m).sum()) for m in new.values()) == max(asked, gone)
    other = {n: torch.where(masks[n], s, 1000 - s) for n, s in scores.items()}
    again = pt.select(other, fraction, **options, masks=masks)
    assert all(torch.equal(new[n], again[n]) for n in masks)


def test_a_mask_of_other_units_is_refused() -> None:
    with pytest.raises(pt.MaskError, match=r"the mask of 'h' has shape \(2,\), its scores \(3,\)"):
        pt.select({"h": torch.ones(3)}, 0.5, masks={"h": torch.ones(2, dtype=torch.bool)})
