"""Schedules in Python: the recipes that their YAML reads as, and what these remove."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import PARAMS, SPEC, refused

import purethin as pt
from purethin.recipes.regrowth import exchanged

ROOT = Path(__file__).parents[1]
SHIPPED = sorted([*(ROOT / "tests/recipes").glob("*.yaml"), *(ROOT / "examples").rglob("*.yaml")])
REGULARIZED = """
regularizers:
  lasso: {class: GroupLassoRegularizer, reg_regims: {conv1.weight: [0.001, Filters]},
    threshold_criteria: Max}
  l1: {class: L1Regularizer, reg_regims: {fc1.weight: 0.0001}}
pruners:
  single: {class: AutomatedGradualPruner, initial_sparsity: 0.1, final_sparsity: 0.5,
    weights: [fc1.weight]}
  once: {class: ActivationAPoZRankedFilterPruner, desired_sparsity: 0.5, weights: conv3.weight}
  some: {class: L2RankedStructureParameterPruner_AGP, group_type: Channels, weights: [fc2.weight],
    target: {macs: 0.9}}
lr_schedulers: {steps: {class: MultiStepLR, milestones: [3, 7], gamma: 0.1}}
policies:
  - {regularizer: {instance_name: lasso, args: {keep_mask: True}}, epochs: [1, 5]}
  - {regularizer: {instance_name: l1}, starting_epoch: 0, ending_epoch: 9, frequency: 2}
  - {pruner: {instance_name: single, args: {mini_batch_pruning_frequency: 3}}, starting_epoch: 2,
    ending_epoch: 3, frequency: 4}
  - {pruner: {instance_name: some}, starting_epoch: 0, ending_epoch: 3, frequency: 1}
  - {pruner: {instance_name: once}, epochs: [4]}
  - {lr_scheduler: {instance_name: steps}, epochs: [0, 1, 2]}
"""
SHARED = """
target: {parameters: 0.8}
pruners:
  yes: {axes: [conv3], curve: cosine}
  fc: {class: L1RankedFilterPruner, weights: [fc1.weight]}
policies:
  - {pruner: {instance_name: yes}, starting_epoch: 0, ending_epoch: 3, frequency: 1}
  - {pruner: {instance_name: fc}, epochs: [2]}
"""


@pytest.mark.parametrize("text", [*SHIPPED, REGULARIZED, SHARED, "version: 1\npolicies: []"])
def test_a_recipe_that_is_written_reads_back_as_itself(text: Any) -> None:
    recipe = pt.load_recipe(text)
    written = recipe.to_yaml() + "\n"
    assert pt.load_recipe(written) == recipe
    assert pt.load_recipe(written).to_yaml() + "\n" == written


FRACTION = st.integers(0, 100).map(lambda n: n / 100)
CRITERIA = [
    pt.lp_norm,
    partial(pt.lp_norm, p=2),
    partial(pt.lp_norm, p=2, reduce="max"),
    pt.criteria.geometric_median,
    pt.random_scores,
    pt.taylor,
]
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "criterion": st.sampled_from(CRITERIA),
        "curve": st.sampled_from([pt.curves.linear, pt.curves.one_shot, pt.curves.exponential]),
        "begin": st.integers(0, 3),
        "frequency": st.integers(1, 4),
        "initial": FRACTION,
        "round_to": st.integers(1, 4) | st.just({"fc*": 3, "conv1": 2}),
        "min_keep": st.integers(1, 4),
        "max_sparsity": FRACTION,
        "keep": st.sampled_from(["fc1", ("fc1",), ["conv3"]]),
        "regrow": FRACTION,
        "name": st.text("yesno: #", min_size=1),
    },
)
SCOPES = st.sampled_from([{}, {"scope": "isomorphic"}, {"scope": "global", "normalize": "mean"}])


@settings(max_examples=25, deadline=None)
@given(FRACTION, OPTIONS, SCOPES)
def test_a_schedule_is_the_recipe_that_its_yaml_reads_as_and_its_masks_only_grow(
    fraction: float, options: dict[str, Any], scope: dict[str, Any]
) -> None:
    axes = {"conv*": fraction, "fc1": fraction}
    if scope or options.get("curve") is pt.curves.one_shot:
        options.pop("regrow", None)
    recipe = pt.schedule(SPEC, axes, end=6, **options, **scope)
    assert pt.load_recipe(recipe.to_yaml()) == recipe
    (pruner,), pruning = recipe.pruners.values(), recipe.on(SPEC)
    scores = {a: torch.arange(n) + 1.0 for a, n in SPEC.sizes.items()}
    masks: dict[str, torch.Tensor] = {}
    for epoch in range(recipe.last_epoch + 1):
        given = {pruner.name: scores} if pruning.scored_at(epoch) else {}
        before, masks = masks, pruning.masks_at(epoch, PARAMS, masks, scores=given)
        assert all(int(masks[n].sum()) <= int(m.sum()) for n, m in before.items())
        stays = all(bool((masks[n] <= m).all()) for n, m in before.items())
        assert stays or options.get("regrow")
    if not options.keys() & {"round_to", "min_keep", "max_sparsity"} and not scope:
        gone = {n: int((~m).sum()) for n, m in masks.items()}
        sizes = {n: SPEC.sizes[n] for n in masks}
        assert gone == {
            n: min(int(round(fraction * 100) * k // 100), k - 1) for n, k in sizes.items()
        }


def test_each_axis_has_the_fraction_of_the_first_text_that_means_it() -> None:
    recipe = pt.schedule(SPEC, {"fc*": 0.5, "conv*": 0.25, "conv3": 0.5}, end=1, keep="fc1")
    masks = pt.plan(recipe, PARAMS, SPEC).masks
    assert {n: int((~m).sum()) for n, m in masks.items()} == {"conv1": 4, "conv3": 3}


def test_units_go_by_the_criterion_of_what_is_left() -> None:
    recipe = pt.schedule(
        SPEC,
        {"conv1": 0.5, "fc1": 0.5},
        criterion=pt.criteria.geometric_median,
        curve=pt.curves.linear,
        end=3,
    )
    masks: dict[str, torch.Tensor] = {}
    want: dict[str, torch.Tensor] = {}
    for epoch, fraction in enumerate((0.0, 0.25, 0.5)):
        masks = recipe.on(SPEC).masks_at(epoch, PARAMS, masks)
        thinned, spec = pt.thin(PARAMS, SPEC, want)[0], pt.thin_spec(SPEC, want)
        left = pt.criteria.geometric_median(thinned, spec)
        for name in ("conv1", "fc1"):
            kept = want.get(name, torch.ones(SPEC.sizes[name], dtype=torch.bool))
            scores = torch.full((SPEC.sizes[name],), -torch.inf).masked_scatter(kept, left[name])
            want |= pt.select({name: scores}, fraction)
    assert all(torch.equal(masks[n], want[n]) for n in want)


def test_with_a_target_the_cost_falls_along_the_curve() -> None:
    recipe = pt.schedule(SPEC, macs=0.6, curve="linear", end=5, min_keep=2, keep="fc1")
    dense, masks, parts = pt.cost(SPEC).macs, dict[str, torch.Tensor](), list[float]()
    for epoch in range(5):
        masks = recipe.on(SPEC).masks_at(epoch, PARAMS, masks)
        parts.append(pt.cost(SPEC, masks).macs / dense)
    assert all(0 <= w - p < 0.1 for w, p in zip((1, 0.9, 0.8, 0.7, 0.6), parts, strict=True))
    assert min(int(m.sum()) for m in masks.values()) >= 2
    assert bool(masks.get("fc1", torch.ones(1)).all())


@given(st.data(), st.integers(2, 9), FRACTION)
def test_an_exchange_keeps_the_count_and_lets_none_go_that_is_worth_more(
    data: st.DataObject, size: int, part: float
) -> None:
    bits = st.lists(st.booleans(), min_size=size, max_size=size)
    before = torch.tensor(data.draw(bits))
    new = before & torch.tensor(data.draw(bits))
    worth = torch.tensor(data.draw(st.permutations(range(size)))).double()
    after = exchanged({"h": new}, {"h": before}, {"h": worth}, part)["h"]
    back, left = after & ~new, new & ~after
    assert int(after.sum()) == int(new.sum())
    assert not bool((back & before).any())
    assert int(back.sum()) == min(int(part * int(new.sum())), int((~before).sum()))
    for high, low in ((new & after, left), (back, ~before & ~after)):
        assert not (bool(high.any()) and bool(low.any())) or worth[high].min() > worth[low].max()


def test_two_recipes_are_one_that_does_what_either_does() -> None:
    norms = pt.schedule(SPEC, {"conv1": 0.5}, end=3)
    second = partial(pt.lp_norm, p=2)
    squares = pt.schedule(SPEC, {"fc1": 0.5}, criterion=second, begin=1, end=3, name="squares")
    both = norms | squares | pt.load_recipe(REGULARIZED.partition("pruners:")[0] + "policies: []\n")
    assert pt.load_recipe(both.to_yaml()) == both
    assert [*both.pruners] == ["lp_norm", "squares"] and [*both.thinners] == ["thinner"]
    plans = [pt.plan(r, PARAMS, SPEC) for r in (norms, squares, both)]
    assert plans[2].masks.keys() == {"conv1", "fc1"}
    for plan in plans[:2]:
        assert all(torch.equal(plans[2].masks[n], m) for n, m in plan.masks.items())
    assert not any("no policy" in note and "thinner" in note for note in plans[2].notes)
    with pytest.raises(pt.RecipeError, match="both recipes have pruners named 'lp_norm': rename"):
        _ = norms | pt.schedule(SPEC, {"fc1": 0.5}, end=3)


def own(tree: Any, table: Any) -> pt.Scores:
    """A criterion with arguments of other names."""
    return pt.lp_norm(tree, table, p=2)


def slow(
    epoch: int, *, initial: float, final: float, begin: int, end: int, frequency: int
) -> float:
    """A curve of one's own: all at the end."""
    return final if epoch >= end - 1 else 0.0


def test_functions_of_ones_own_are_written_by_their_module() -> None:
    recipe = pt.schedule(SPEC, {"fc1": 0.5}, criterion=own, curve=slow, end=3)
    text = recipe.to_yaml()
    assert f"criterion: {__name__}:own" in text and f"curve: {__name__}:slow" in text
    again = pt.load_recipe(text)
    assert again == recipe
    norm = pt.schedule(SPEC, {"fc1": 0.5}, criterion=partial(pt.lp_norm, p=2), curve=slow, end=3)
    plans = [pt.plan(r, PARAMS, SPEC) for r in (recipe, again, norm)]
    assert all(torch.equal(plans[0].masks["fc1"], p.masks["fc1"]) for p in plans)
    assert [row.removed for row in plans[0].rows] == [0, 0, 6]


def test_a_function_that_yaml_cannot_name_prunes_and_is_not_written() -> None:
    recipe = pt.schedule(SPEC, {"fc1": 0.5}, criterion=lambda p, s: pt.lp_norm(p, s), end=1)
    assert int(pt.plan(recipe, PARAMS, SPEC).masks["fc1"].sum()) == 6
    with pytest.raises(pt.RecipeError, match="cannot be written: YAML names public functions and"):
        recipe.to_yaml()


def test_reading_a_recipe_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "written_by_me.py").write_text("def score(params, spec):\n    return {}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = pt.load_recipe("pruners:\n  p: {axes: {fc1: 0.5}, criterion: 'written_by_me:score'}")
    assert "written_by_me" not in sys.modules
    with pytest.raises(pt.MaskError, match=r"'written_by_me:score' gave nothing for 'fc1'.*12 num"):
        pt.plan(recipe, PARAMS, SPEC)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"axes": {"fc9": 0.5}}, "'fc9' matches no axis; did you mean 'fc1'"),
    ({"axes": "fc1"}, "how much of these goes is not said: write `axes: {fc1: 0.5}`"),
    ({"axes": {"fc1": 5}}, "the sparsity of 'fc1' is 5; it is the fraction removed"),
    ({"axes": {}}, "lists no axes"),
    ({"keep": "*"}, "all axes that it means stay whole"),
    ({"scope": "globl"}, "no scope is named 'globl'; did you mean 'global'"),
    ({"scope": "global"}, "raw norms of thin and wide layers do not compare"),
    ({"scope": "global", "normalize": "share"}, "`normalize: share` is of a target"),
    ({"scope": "global", "normalize": "layers"}, "`normalize: layers` is of a target"),
    ({"rounds": 4}, "schedule has no option 'rounds'; did you mean 'round_to'"),
    ({"round_to": 0}, "round_to is 0; it is a whole number from 1"),
    ({"round_to": torch.tensor(2)}, "an option is no plain value"),
    ({"begin": 4, "end": 4}, r"ending_epoch 4 \(exclusive\) is not after starting_epoch 4"),
    ({"begin": -1}, "starting_epoch is -1"),
    ({"criterion": "tailor"}, "no criterion is named 'tailor'; did you mean 'taylor'"),
    ({"criterion": 3}, "the criterion is int: give a function"),
    ({"criterion": lambda p, s, x: {}}, "asks for 'p', which is not known: name its arguments"),
    ({"criterion": "json:nothing"}, "'json:nothing' cannot be imported.*write `module:function`"),
    ({"curve": "slope"}, "no curve is named 'slope'"),
    ({"macs": 0.5}, "has sparsities and a target: write `axes: …` without numbers"),
    ({"axes": ["conv1"], "macs": 0.01}, "cannot be reached: the least is"),
    (
        {"axes": ["fc1"], "macs": 0.99, "scope": "global"},
        "each axis its own width: leave the scope",
    ),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_does_not_fit_is_said_without_a_place_in_a_file(
    wrong: dict[str, Any], words: str
) -> None:
    axes = wrong.pop("axes") if "axes" in (wrong := dict(wrong)) else {"fc1": 0.5}
    with pytest.raises(pt.RecipeError, match=words.replace("axes: …", r"axes: \[…\]")) as caught:
        pt.schedule(SPEC, axes, **wrong)
    assert "pt.schedule:" not in str(caught.value)
    assert not str(caught.value).startswith("<")


def test_a_spec_and_numbers_of_epochs_are_asked_for() -> None:
    call: Callable[..., Any] = pt.schedule
    with pytest.raises(pt.SpecError, match=r"spec is dict; give what pt\.infer"):
        call(PARAMS, {"fc1": 0.5})
    with pytest.raises(pt.PurethinError, match="begin is 'soon', a str: give a whole number"):
        call(SPEC, {"fc1": 0.5}, begin="soon")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("p: {axes: {fc1: 0.5}, §class: L1Ranked}", ["has no `class`; `criterion` says it"]),
        ("p: {axes: {fc1: 0.5}, §weights: [fc1.weight]}", ["has no `weights`"]),
        ("p: {axes: {fc1: 0.5}, §final_sparsity: 1}", ["no argument 'final_sparsity'"]),
        ("p: {axes: {fc1: 0.5}, criterion: §{a: {}, b: {}}}", ["write one criterion"]),
        ("p: {axes: {fc1: 0.5}, criterion: {§a: {}}}", ["no criterion is named 'a'"]),
    ],
)
def test_what_yaml_says_wrongly_of_axes_has_its_place(text: str, words: list[str]) -> None:
    refused(f"pruners:\n  {text}", words)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (
            "{pruner: {instance_name: p}, §epochs: [1]}",
            ["a curve other than one_shot needs"],
        ),
        (
            "§{pruner: {instance_name: p, args: {mini_batch_pruning_frequency: 2}}, "
            "starting_epoch: 0, ending_epoch: 2}",
            ["acts as epochs begin"],
        ),
    ],
)
def test_a_policy_of_axes_is_a_range_of_epochs(policy: str, words: list[str]) -> None:
    refused(f"pruners:\n  p: {{axes: {{fc1: 0.5}}}}\npolicies:\n  - {policy}", words)


def test_an_inexact_axis_is_pruned_where_it_is_named() -> None:
    params = {"w": torch.arange(8.0).view(4, 2), "v": torch.ones(3, 4)}
    spec = pt.Spec.from_layout({"w": "a 2", "v": "3 a"}, params)
    axis = replace(spec.axes["a"], exact=False, reason="a mean")
    inexact = replace(spec, axes={"a": axis})
    with pytest.raises(pt.RecipeError, match="matches no exact axis"):
        pt.schedule(inexact, {"*": 0.5}, end=1)
    plan = pt.plan(pt.schedule(inexact, {"a": 0.5}, end=1), params, inexact)
    assert int(plan.masks["a"].sum()) == 2
    assert "the axis 'a' is inexact: a mean" in plan.notes


def test_a_weight_of_several_axes_is_answered_by_the_axes_to_list() -> None:
    params = {"q": torch.ones(6, 3), "o": torch.ones(2, 6), "d": torch.ones(2)}
    layout = {"q": "(heads dim) 3", "o": "2 (heads dim)", "d": "dim"}
    spec = pt.Spec.from_layout(layout, params)
    weight = "{class: L1RankedFilterPruner, desired_sparsity: 0.5, weights: [q]}"
    with pytest.raises(pt.RecipeError, match=r"recipe:1:77: .*`axes: \{heads: 0.5, dim: 0.5\}`"):
        pt.load_recipe(f"pruners: {{p: {weight}}}\n").on(spec)
    recipe = pt.load_recipe("pruners: {p: {axes: {heads: 0.5, dim: 0.5}}}\n")
    assert {n: int(m.sum()) for n, m in pt.plan(recipe, params, spec).masks.items()} == {
        "heads": 2,
        "dim": 1,
    }
