"""Element masks: single weights of least magnitude go to zero along a schedule, beside pruners of
whole units.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import PARAMS, SPEC, kept
from torch import Tensor

import purethin as pt

TEXT = """\
version: 1
pruners:
  filters:
    class: L1RankedStructureParameterPruner_AGP
    initial_sparsity: 0.1
    final_sparsity: 0.5
    group_type: Filters
    weights: [conv3.weight]
  fine:
    class: AutomatedGradualPruner
    initial_sparsity: 0.05
    final_sparsity: 0.7
    weights: [module.conv3.weight, fc2.weight]
extensions:
  thinner: {class: FilterRemover}
policies:
  - pruner: {instance_name: fine}
    starting_epoch: 2
    ending_epoch: 9
  - pruner: {instance_name: filters}
    starting_epoch: 0
    ending_epoch: 8
    frequency: 2
  - extension: {instance_name: thinner}
    epochs: [8]
"""


Step = tuple[dict[str, Tensor], dict[str, Tensor]]


def sequence(text: str = TEXT, params: dict[str, Tensor] = PARAMS) -> list[Step]:
    """The masks of axes and of elements after each epoch."""
    recipe = pt.load_recipe(text)
    pruning, out = recipe.on(SPEC), [(dict[str, Tensor](), dict[str, Tensor]())]
    for epoch in range(recipe.last_epoch + 1):
        masked = pt.mask(params, SPEC, *out[-1])
        masks = pruning.masks_at(epoch, masked, out[-1][0])
        out.append((masks, pruning.elements_at(epoch, masked, masks, out[-1][1])))
    return out[1:]


def test_the_least_of_a_weights_elements_go_along_the_schedule_and_stay_away() -> None:
    weight, steps = PARAMS["fc2.weight"], sequence()
    for epoch, (_, elements) in enumerate(steps[2:9], 2):
        gone = ~elements["fc2.weight"]
        assert int(gone.sum()) == int(60 * pt.agp(epoch, initial=0.05, final=0.7, begin=2, end=9))
        assert set(weight[gone].tolist()) == set(
            weight.flatten()[weight.abs().flatten().argsort()[: int(gone.sum())]].tolist()
        )
    assert steps[1][1] == {} and int((~steps[-1][1]["fc2.weight"]).sum()) == 42


def test_what_belongs_to_removed_units_counts_as_gone() -> None:
    steps = sequence()
    before = torch.zeros(6, 16, 1, 1, dtype=torch.bool)
    for epoch, (masks, elements) in enumerate(steps[2:9], 2):
        before |= (~masks["conv3"])[:, None, None, None]
        gone = ~elements["conv3.weight"] | before
        want = int(96 * pt.agp(epoch, initial=0.05, final=0.7, begin=2, end=9))
        assert int(gone.sum()) == max(want, int(before.sum()))
        before = gone
    assert int((~steps[-1][0]["conv3"]).sum()) == 3


def test_whole_units_rank_by_what_single_weights_are_left() -> None:
    """The largest filter loses all that made it so."""
    weight = torch.ones(6, 16, 1, 1) + torch.arange(6).view(6, 1, 1, 1)
    keep = torch.ones(6, 16, 1, 1, dtype=torch.bool)
    keep[5, 1:] = False
    params = pt.mask(PARAMS | {"conv3.weight": weight}, SPEC, {}, {"conv3.weight": keep})
    masks = pt.load_recipe(TEXT).on(SPEC).masks_at(6, params, {})
    assert (~masks["conv3"]).nonzero()[:, 0].tolist() == [0, 1, 5]


def test_the_order_of_policies_changes_nothing() -> None:
    lines = TEXT.splitlines(keepends=True)
    at = lines.index("policies:\n") + 1
    other = "".join([*lines[:at], *lines[at + 3 : at + 7], *lines[at : at + 3], *lines[at + 7 :]])
    for steps in zip(sequence(), sequence(other), strict=True):
        for one, two in zip(*steps, strict=True):
            assert one.keys() == two.keys() and all(torch.equal(one[n], two[n]) for n in one)


def test_thinning_carries_element_masks_along_and_takes_nothing_out_for_them() -> None:
    masks, elements = sequence()[-1]
    thinned, _ = pt.thin(pt.mask(PARAMS, SPEC, masks, elements), SPEC, masks)
    assert thinned["fc2.weight"].shape == PARAMS["fc2.weight"].shape
    assert torch.equal(thinned["fc2.weight"], PARAMS["fc2.weight"] * elements["fc2.weight"])
    assert torch.equal(
        thinned["conv3.weight"], (PARAMS["conv3.weight"] * elements["conv3.weight"])[masks["conv3"]]
    )


def test_a_plan_has_a_row_for_each_weight_and_counts_no_parameter_less() -> None:
    plan = pt.plan(pt.load_recipe(TEXT), PARAMS, SPEC)
    rows = [r for r in plan.rows if r.axis == "fc2.weight"]
    assert [(r.epoch, r.size) for r in rows] == [(e, 60) for e in range(2, 9)]
    assert (rows[-1].removed, rows[-1].why, rows[-1].pruner) == (
        42,
        "single weights of fc2.weight",
        "fine",
    )
    assert plan.after == pt.cost(SPEC, {"conv3": plan.masks["conv3"]})
    assert plan.notes == ()


def test_the_plans_masks_are_those_of_the_epochs_one_by_one() -> None:
    plan, (masks, elements) = pt.plan(pt.load_recipe(TEXT), PARAMS, SPEC), sequence()[-1]
    assert plan.masks.keys() == masks.keys() == {"conv3"}
    assert plan.elements.keys() == elements.keys() == {"conv3.weight", "fc2.weight"}
    assert all(torch.equal(plan.masks[n], masks[n]) for n in masks)
    assert all(torch.equal(plan.elements[n], elements[n]) for n in elements)


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]), min_size=1, max_size=30),
    first=st.floats(0, 1),
    second=st.floats(0, 1),
)
def test_exactly_the_floor_goes_the_first_among_equals_never_the_last(
    values: list[float], first: float, second: float
) -> None:
    first, second = round(min(first, second), 3), round(max(first, second), 3)
    params = {"w": torch.tensor(values)}
    spec = pt.Spec.from_layout({}, params)
    text = f"""policies:
  - pruner: {{instance_name: fine}}
    starting_epoch: 0
    ending_epoch: 2
pruners:
  fine: {{class: AutomatedGradualPruner, initial_sparsity: {first}, final_sparsity: {second},
    weights: w}}
"""
    recipe = pt.load_recipe(text)
    early = recipe.on(spec).elements_at(0, params, {}, {})
    late = recipe.on(spec).elements_at(1, params, {}, early)
    order = sorted(range(len(values)), key=lambda i: (abs(values[i]), i))
    for sparsity, elements in ((first, early), (second, late)):
        count = min(
            int(pt.select({"w": params["w"]}, sparsity, min_keep=0)["w"].logical_not().sum()),
            len(values) - 1,
        )
        assert set((~elements["w"]).nonzero()[:, 0].tolist()) == set(order[:count])


def test_a_weight_that_holds_nan_ranks_no_elements() -> None:
    params = PARAMS | {"fc2.weight": PARAMS["fc2.weight"] * float("nan")}
    with pytest.raises(pt.MaskError, match=r"60 elements of fc2\.weight are nan"):
        pt.load_recipe(TEXT).on(SPEC).elements_at(3, params, {}, {})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            ("fc2.weight]", "fc9.weight]"),
            r"recipe:13:36: no parameter is named 'fc9\.weight'; did you mean",
        ),
        (
            (
                "extensions:",
                "  other: {class: AutomatedGradualPruner, initial_sparsity: 0, final_sparsity: 1, "
                "weights: fc2.weight}\nextensions:",
            ),
            r"recipe:14:3: pruners 'fine' and 'other' both zero single weights of fc2\.weight "
            "in the same epoch",
        ),
    ],
)
def test_elements_that_the_network_lacks_or_two_pruners_share_are_refused(
    edit: tuple[str, str], message: str
) -> None:
    text = (
        TEXT.replace(*edit)
        + "  - pruner: {instance_name: other}\n    starting_epoch: 8\n    ending_epoch: 9\n"
    )
    text = text if "other:" in text else text.replace("instance_name: other", "instance_name: fine")
    with pytest.raises(pt.RecipeError, match=message):
        pt.load_recipe(text).on(SPEC)


def test_any_parameter_may_lose_elements() -> None:
    text = TEXT.replace("fc2.weight]", "conv1.weight, bn1.bias]")
    assert kept(sequence(text)[-1][1])["bn1.bias"] == 16 - 11
