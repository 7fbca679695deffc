"""From a recipe to masks: what ranks the units of an axis, what depends on data or chance, and what
happens within an epoch.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import AGP, BASE, PARAMS, SPEC, edited, kept, pruning
from torch import Tensor

import purethin as pt
from purethin.measures import Measure


def removed(mask: Tensor) -> set[int]:
    return set((~mask).nonzero()[:, 0].tolist())


def masks_of(text: str, epoch: int = 0, **options: object) -> dict[str, Tensor]:
    return pt.load_recipe(text).on(SPEC).masks_at(epoch, PARAMS, {}, **options)  # type: ignore[arg-type]


# ---- several weights of one axis


@pytest.mark.parametrize("dependency", ["Sum", "Mean"])
def test_the_whole_group_ranks_by_the_scores_of_all_its_listed_weights(dependency: str) -> None:
    masks = masks_of(
        pruning("[conv1.weight, conv3.weight, conv2.weight]", group_dependency=dependency)
    )
    total = PARAMS["conv1.weight"].abs().sum((1, 2, 3)) + PARAMS["conv2.weight"].abs().sum(
        (1, 2, 3)
    )
    assert removed(masks["conv1"]) == set(total.argsort()[:8].tolist())
    assert removed(masks["conv3"]) == set(
        PARAMS["conv3.weight"].abs().sum((1, 2, 3)).argsort()[:3].tolist()
    )


def test_readers_of_one_axis_rank_it_together() -> None:
    masks = masks_of(pruning("[conv2.weight, conv3.weight]", "Channels", group_dependency="Sum"))
    total = PARAMS["conv2.weight"].abs().sum((0, 2, 3)) + PARAMS["conv3.weight"].abs().sum(
        (0, 2, 3)
    )
    assert removed(masks["conv1"]) == set(total.argsort()[:8].tolist())


def test_a_plan_names_the_weights_that_rank_together() -> None:
    plan = pt.plan(
        pt.load_recipe(pruning("[conv1.weight, conv2.weight]", group_dependency="Mean")),
        PARAMS,
        SPEC,
    )
    assert [r.why for r in plan.rows] == ["Filters, mean of conv1.weight and 1 more"]


# ---- data


@pytest.mark.parametrize(
    ("first", "kind"),
    [("ActivationAPoZ", "apoz"), ("ActivationMean", "activation_mean"), ("Gradient", "gradient")],
)
def test_a_statistic_of_data_ranks_and_is_asked_for_before(first: str, kind: str) -> None:
    recipe = pt.load_recipe(edited(*AGP).replace("L1Ranked", f"{first}Ranked"))
    measures = recipe.on(SPEC).measures_at(4)
    assert measures == (Measure(kind, "conv3.weight", 0, "conv3"),)
    assert recipe.on(SPEC).measures_at(3) == ()
    scores = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0, 6.0])
    assert removed(
        recipe.on(SPEC).masks_at(4, PARAMS, {}, statistics={measures[0]: scores})["conv3"]
    ) == {1, 3}


def test_axes_that_follow_a_leader_ask_for_one_measure_and_a_sum_for_one_of_each_weight() -> None:
    led = pruning("[conv2.weight, conv1.weight]", group_dependency="Leader").replace(
        "L1Ranked", "ActivationAPoZRanked"
    )
    assert pt.load_recipe(led).on(SPEC).measures_at(0) == (
        Measure("apoz", "conv2.weight", 0, "conv1"),
    )
    both = led.replace("Leader", "Sum")
    assert [m.weight for m in pt.load_recipe(both).on(SPEC).measures_at(0)] == [
        "conv2.weight",
        "conv1.weight",
    ]


@pytest.mark.parametrize(
    "given", [{}, {Measure("apoz", "conv3.weight", 0, "conv3"): torch.ones(5)}]
)
def test_a_statistic_that_is_missing_or_of_another_size_is_an_error_that_says_what_to_measure(
    given: dict[Measure, Tensor],
) -> None:
    with pytest.raises(
        pt.MaskError,
        match=r"'low' ranks 'conv3' by apoz of conv3\.weight.*shape \(6,\).*measures_at",
    ):
        masks_of(BASE.replace("L1Ranked", "ActivationAPoZRanked"), statistics=given)


def test_a_statistic_of_nan_ranks_nothing() -> None:
    statistics = {Measure("apoz", "conv3.weight", 0, "conv3"): torch.full((6,), float("nan"))}
    with pytest.raises(pt.MaskError, match=r"6 units of 'conv3' have a statistic of nan"):
        masks_of(BASE.replace("L1Ranked", "ActivationAPoZRanked"), statistics=statistics)


# ---- chance

RANDOM = edited(
    ("L1Ranked", "RandomRanked"),
    ("[module.conv3.weight]", "[conv1.weight, conv3.weight, up.weight]"),
)


def test_chance_depends_on_the_seed_the_epoch_the_pruner_and_the_axis_alone() -> None:
    first = masks_of(RANDOM)
    torch.manual_seed(7)
    torch.rand(3)
    again = pt.load_recipe(RANDOM).on(SPEC).masks_at(0, {n: t + 1 for n, t in PARAMS.items()}, {})
    assert all(torch.equal(first[a], again[a]) for a in first)
    only = masks_of(
        RANDOM.replace("[conv1.weight, conv3.weight, up.weight]", "[up.weight, conv1.weight]")
    )
    assert all(torch.equal(first[a], only[a]) for a in only)
    others = [
        masks_of(RANDOM, seed=1),
        masks_of(RANDOM.replace("low", "lower")),
        masks_of(RANDOM.replace("[0]", "[5]"), epoch=5),
    ]
    assert all(any(not torch.equal(first[a], other[a]) for a in first) for other in others)


def test_chance_leaves_torchs_own_generator_alone() -> None:
    torch.manual_seed(3)
    want = torch.rand(1)
    torch.manual_seed(3)
    masks_of(RANDOM)
    assert torch.equal(torch.rand(1), want)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_chance_removes_as_many_as_any_other_ranking(seed: int) -> None:
    assert kept(masks_of(RANDOM, seed=seed)) == {"conv1": 8, "conv3": 3, "up": 5}


# ---- within an epoch

OFTEN = edited(
    *AGP,
    ("instance_name: low\n", "instance_name: low\n      args: {mini_batch_pruning_frequency: 4}\n"),
)


def test_a_pruner_acts_within_its_epochs_before_every_so_many_batches() -> None:
    recipe = pt.load_recipe(OFTEN)
    assert [s for s in range(13) if recipe.acts_within(4, s)] == [4, 8, 12]
    assert not any(recipe.acts_within(epoch, s) for epoch in (0, 2, 3, 5, 9) for s in range(13))
    assert not any(pt.load_recipe(edited(*AGP)).acts_within(4, s) for s in range(13))


def test_within_an_epoch_only_those_act_that_say_so_and_only_at_their_batches() -> None:
    more = (
        "  more:\n    class: L1RankedFilterPruner\n    desired_sparsity: 0.5\n    weights: "
        "[up.weight]\nextensions:\n"
    )
    text = OFTEN.replace("extensions:\n", more).replace(
        "policies:\n", "policies:\n  - pruner: {instance_name: more}\n    epochs: [4]\n"
    )
    recipe = pt.load_recipe(text)
    assert kept(recipe.on(SPEC).masks_at(4, PARAMS, {})) == {"conv3": 4, "up": 5}
    assert kept(recipe.on(SPEC).masks_at(4, PARAMS, {}, step=8)) == {"conv3": 4}
    assert kept(recipe.on(SPEC).masks_at(4, PARAMS, {}, step=9)) == {}


def test_acting_again_within_an_epoch_removes_nothing_more() -> None:
    recipe = pt.load_recipe(OFTEN)
    first = recipe.on(SPEC).masks_at(4, PARAMS, {})
    flipped = PARAMS | {"conv3.weight": 1 / PARAMS["conv3.weight"]}
    assert torch.equal(recipe.on(SPEC).masks_at(4, flipped, first, step=4)["conv3"], first["conv3"])


# ---- what is read


def test_of_weights_that_no_pruner_lists_only_shapes_are_read() -> None:
    shapes = {n: t if n == "conv3.weight" else t.to("meta") for n, t in PARAMS.items()}
    assert torch.equal(
        pt.load_recipe(BASE).on(SPEC).masks_at(0, shapes, {})["conv3"], masks_of(BASE)["conv3"]
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_weights_of_any_type_rank(dtype: torch.dtype) -> None:
    halves = {n: t.to(dtype) for n, t in PARAMS.items()}
    assert kept(pt.load_recipe(BASE).on(SPEC).masks_at(0, halves, {})) == {"conv3": 3}


def test_masks_change_no_weight_and_no_mask() -> None:
    before = {n: t.clone() for n, t in PARAMS.items()}
    recipe = pt.load_recipe(edited(*AGP))
    first = recipe.on(SPEC).masks_at(4, PARAMS, {})
    copy = first["conv3"].clone()
    recipe.on(SPEC).masks_at(7, PARAMS, first)
    assert torch.equal(first["conv3"], copy) and all(
        torch.equal(PARAMS[n], t) for n, t in before.items()
    )


def test_random_ranking_reads_no_weight_at_all() -> None:
    shapes = {n: t.to("meta") for n, t in PARAMS.items()}
    masks = pt.load_recipe(RANDOM).on(SPEC).masks_at(0, shapes, {})
    assert all(torch.equal(masks[axis], m) for axis, m in masks_of(RANDOM).items())


def test_pruners_of_one_epoch_rank_by_what_was_there_as_it_began_in_whatever_order_they_stand() -> (
    None
):
    pruner = "{{class: L1RankedFilterPruner, desired_sparsity: 0.5, weights: [{0}.weight]}}"
    names = ("conv1", "conv3", "fc1")
    pruners = "".join(f"  {name}: {pruner.format(name)}\n" for name in names)
    policies = [f"  - {{pruner: {{instance_name: {name}}}, epochs: [0]}}\n" for name in names]
    found = [
        masks_of(f"pruners:\n{pruners}policies:\n{''.join(order)}")
        for order in (policies, policies[::-1])
    ]
    assert {n: m.tolist() for n, m in found[0].items()} == {
        n: m.tolist() for n, m in found[1].items()
    }
    for name in names:
        weight = PARAMS[f"{name}.weight"].abs().flatten(1).sum(1)
        assert removed(found[0][name]) == set(weight.argsort()[: len(weight) // 2].tolist())
