"""Group lasso: the penalty against a naive sum, and the removal of what fell to its threshold."""

from __future__ import annotations

import pytest
import torch
from small import PARAMS, SPEC, kept, refused
from tables import case
from torch import Tensor

import purethin as pt

TEXT = """\
regularizers:
  lasso:
    class: GroupLassoRegularizer
    reg_regims:
      module.conv3.weight: [0.5, Filters]
    threshold_criteria: Mean_Abs
extensions:
  thinner: {class: FilterRemover}
policies:
  - regularizer:
      instance_name: lasso
      args: {keep_mask: True}
    starting_epoch: 1
    ending_epoch: 5
    frequency: 1
  - extension: {instance_name: thinner}
    epochs: [3]
"""
LISTED = "module.conv3.weight: [0.5, Filters]"


def with_regims(regims: str) -> str:
    return TEXT.replace(LISTED, regims)


def groups(weight: str, group_type: str) -> list[Tensor]:
    tensor = PARAMS[weight]
    transposed = weight == "up.weight"
    dim = int((group_type in ("Channels", "Cols")) != transposed)
    return [tensor.select(dim, i) for i in range(tensor.shape[dim])]


# ---- the penalty


@pytest.mark.parametrize(
    ("weight", "group_type"),
    [
        ("conv3.weight", "Filters"),
        ("conv3.weight", "3D"),
        ("conv3.weight", "Channels"),
        ("fc1.weight", "Rows"),
        ("fc1.weight", "Cols"),
        ("up.weight", "Filters"),
        ("up.weight", "Channels"),
        ("conv1.weight", "Channels"),
    ],
)
def test_the_penalty_is_the_sum_of_the_groups_norms(weight: str, group_type: str) -> None:
    recipe = pt.load_recipe(with_regims(f"{weight}: [0.25, {group_type}]"))
    want = 0.25 * sum(float(group.square().sum().sqrt()) for group in groups(weight, group_type))
    assert float(recipe.on(SPEC).penalty_at(1, PARAMS) or 0) == pytest.approx(want, rel=1e-5)


def test_several_weights_and_several_regularizers_add_up() -> None:
    both = "conv3.weight: [0.5, Filters]\n      fc1.weight: [0.25, Cols]"
    more = "  l1: {class: L1Regularizer, reg_regims: {bn1.weight: 0.125}}\nextensions:"
    text = (
        with_regims(both).replace("extensions:", more)
        + "  - regularizer: {instance_name: l1}\n    epochs: [2]\n"
    )
    recipe = pt.load_recipe(text)
    first = 0.5 * sum(g.norm() for g in groups("conv3.weight", "Filters")) + 0.25 * sum(
        g.norm() for g in groups("fc1.weight", "Cols")
    )
    assert torch.allclose(
        torch.as_tensor(recipe.on(SPEC).penalty_at(1, PARAMS)), torch.as_tensor(first)
    )
    second = first + 0.125 * PARAMS["bn1.weight"].abs().sum()
    assert torch.allclose(
        torch.as_tensor(recipe.on(SPEC).penalty_at(2, PARAMS)), torch.as_tensor(second)
    )


def test_there_is_a_penalty_at_the_epochs_of_the_policy_alone() -> None:
    recipe = pt.load_recipe(TEXT)
    assert [e for e in range(8) if recipe.on(SPEC).penalty_at(e, PARAMS) is not None] == [
        1,
        2,
        3,
        4,
    ]


def test_removed_units_add_nothing_to_the_penalty_nor_to_its_gradient() -> None:
    recipe = pt.load_recipe(
        with_regims(
            "conv3.weight: [0.5, Filters]\n      depthwise.weight: [0.1, Filters]\n      "
            "up.weight: [1, Channels]"
        )
    )
    masks = {"conv3": torch.arange(6) > 2, "conv1": torch.arange(16) % 3 > 0}
    dense = {
        n: t.clone().requires_grad_(t.is_floating_point())
        for n, t in pt.mask(PARAMS, SPEC, masks).items()
    }
    small = {
        n: t.clone().requires_grad_(t.is_floating_point())
        for n, t in pt.thin(PARAMS, SPEC, masks)[0].items()
    }
    one, two = (
        recipe.on(SPEC).penalty_at(1, dense),
        recipe.on(SPEC).penalty_at(1, small),
    )
    assert one is not None and two is not None and torch.allclose(one, two)
    one.backward()
    two.backward()
    for name in ("conv3.weight", "depthwise.weight", "up.weight"):
        grad = dense[name].grad
        assert grad is not None and bool(grad.isfinite().all())
        assert torch.allclose(
            pt.thin({**PARAMS, name: grad}, SPEC, masks)[0][name], torch.as_tensor(small[name].grad)
        )
    assert dense["conv1.weight"].grad is None


# ---- the removal


def weak(units: list[int], value: float = 0.01, weight: str = "conv3.weight") -> dict[str, Tensor]:
    """PARAMS whose filters all are 1, but these."""
    tensor = torch.ones_like(PARAMS[weight])
    tensor[units] = value
    return PARAMS | {weight: tensor}


def test_what_fell_below_its_threshold_goes_where_a_thinner_fires_and_as_the_policy_ends() -> None:
    recipe = pt.load_recipe(TEXT)
    gone = {
        e: (~m["conv3"]).nonzero()[:, 0].tolist()
        for e in range(9)
        if (m := recipe.on(SPEC).masks_at(e, weak([1, 4]), {}))
    }
    assert gone == {3: [1, 4], 5: [1, 4]}
    assert recipe.last_epoch == 5


@pytest.mark.parametrize(
    ("edits", "epochs"),
    [
        ([("True", "False")], [3]),
        ([("True", "False"), ("[3]", "[1]")], []),  # nothing has been trained with it yet
        ([("True", "False"), ("[3]", "[5]")], [5]),
        ([("True", "False"), ("[3]", "[6]")], []),  # what is not kept grows back
        ([("[3]", "[6]")], [5]),
        ([("Mean_Abs", "null")], []),
        ([("    threshold_criteria: Mean_Abs\n", "")], []),
        ([("frequency: 1", "frequency: 3")], [3, 5]),
        (
            [("starting_epoch: 1\n    ending_epoch: 5\n    frequency: 1", "epochs: [1, 2, 6]")],
            [3, 7],
        ),
    ],
)
def test_removal_follows_the_policy_the_thinner_and_keep_mask(
    edits: list[tuple[str, str]], epochs: list[int]
) -> None:
    text = TEXT
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    recipe = pt.load_recipe(text)
    assert [e for e in range(9) if recipe.on(SPEC).masks_at(e, weak([1, 4]), {})] == epochs
    assert [r.epoch for r in pt.plan(recipe, weak([1, 4]), SPEC).rows] == epochs[:1] + epochs[1:]


@pytest.mark.parametrize(("criterion", "gone"), [("Mean_Abs", [0, 1]), ("Max", [0])])
def test_the_criterion_is_of_all_a_groups_magnitudes(criterion: str, gone: list[int]) -> None:
    tensor = torch.ones(6, 16, 1, 1)
    tensor[0] = -0.5  # its mean and its largest are the strength itself
    tensor[1] = 0.1
    tensor[1, 3] = -6.0  # on the average below a half, but for one element
    masks = (
        pt.load_recipe(TEXT.replace("Mean_Abs", criterion))
        .on(SPEC)
        .masks_at(3, PARAMS | {"conv3.weight": tensor}, {})
    )
    assert (~masks["conv3"]).nonzero()[:, 0].tolist() == gone


def test_a_largest_magnitude_counts_for_channels_too() -> None:
    tensor = torch.full((6, 16, 1, 1), 0.1)
    tensor[2, 7] = 5.0
    text = with_regims("conv3.weight: [0.5, Channels]").replace("Mean_Abs", "Max")
    masks = pt.load_recipe(text).on(SPEC).masks_at(3, PARAMS | {"conv3.weight": tensor}, {})
    assert masks["conv1"].nonzero()[:, 0].tolist() == [7]


def test_a_shared_axis_loses_a_unit_only_where_all_listed_weights_agree() -> None:
    params = weak([0, 1, 2], weight="conv1.weight") | {
        "conv2.weight": weak([1, 2, 3], weight="conv2.weight")["conv2.weight"]
    }
    both = pt.load_recipe(
        with_regims("conv1.weight: [0.5, Filters]\n      conv2.weight: [0.5, Filters]")
    )
    one = pt.load_recipe(with_regims("conv1.weight: [0.5, Filters]"))
    assert (~both.on(SPEC).masks_at(3, params, {})["conv1"]).nonzero()[:, 0].tolist() == [1, 2]
    assert (~one.on(SPEC).masks_at(3, params, {})["conv1"]).nonzero()[:, 0].tolist() == [0, 1, 2]


def test_a_unit_of_several_columns_goes_when_all_of_them_fell() -> None:
    params = {"conv.weight": torch.ones(3, 2, 1, 1), "fc.weight": torch.ones(5, 12)}
    spec = pt.Spec.from_layout({"conv.weight": "c 2 1 1", "fc.weight": "5 (c 4)"}, params)
    params["fc.weight"][:, :7] = 0.01
    masks = pt.load_recipe(with_regims("fc.weight: [0.5, Cols]")).on(spec).masks_at(3, params, {})
    assert masks["c"].tolist() == [False, True, True]


def test_the_last_unit_stays_the_strongest() -> None:
    tensor = torch.full((6, 16, 1, 1), 0.01)
    tensor[3] = 0.02
    masks = pt.load_recipe(TEXT).on(SPEC).masks_at(3, PARAMS | {"conv3.weight": tensor}, {})
    assert masks["conv3"].nonzero()[:, 0].tolist() == [3]


def test_what_was_removed_before_stays_removed_and_a_mean_is_over_what_is_left() -> None:
    before = {"conv1": torch.arange(16) >= 8, "conv3": torch.tensor([False] + [True] * 5)}
    tensor = torch.ones(6, 16, 1, 1)
    tensor[2] = 0.01
    tensor[4] = 0.9  # over all 16 inputs, of which 8 are gone, its mean would be 0.45
    params = pt.mask(PARAMS | {"conv3.weight": tensor}, SPEC, before)
    masks = pt.load_recipe(TEXT).on(SPEC).masks_at(3, params, before)
    assert (~masks["conv3"]).nonzero()[:, 0].tolist() == [0, 2]
    assert torch.equal(masks["conv1"], before["conv1"])


def test_a_weight_that_holds_nan_removes_nothing() -> None:
    with pytest.raises(pt.MaskError, match=r"6 groups of conv3\.weight hold nan"):
        pt.load_recipe(TEXT).on(SPEC).masks_at(
            3, PARAMS | {"conv3.weight": PARAMS["conv3.weight"] * float("nan")}, {}
        )


def test_a_frozen_dimension_is_penalized_and_never_removed_and_the_plan_says_so() -> None:
    recipe = pt.load_recipe(with_regims("conv1.weight: [5, Channels]"))
    assert recipe.on(SPEC).penalty_at(1, PARAMS) is not None
    assert recipe.on(SPEC).masks_at(3, PARAMS, {}) == {}
    plan = pt.plan(recipe, PARAMS, SPEC)
    assert plan.rows == () and any(
        "Channels of conv1.weight are penalized and never removed: its dim 1 is '3'" in n
        for n in plan.notes
    )


# ---- the plan


def test_a_plan_shows_what_the_given_weights_would_lose_and_notes_that_training_decides() -> None:
    plan = pt.plan(pt.load_recipe(TEXT), weak([1, 4]), SPEC)
    assert [(r.epoch, r.pruner, r.axis, r.removed, r.thins) for r in plan.rows] == [
        (3, "lasso", "conv3", 2, True),
        (5, "lasso", "conv3", 2, False),
    ]
    assert plan.rows[0].why == "Filters of conv3.weight, Mean_Abs up to 0.5"
    assert kept(plan.masks) == {"conv3": 4} and plan.after == pt.cost(SPEC, plan.masks)
    assert plan.notes == (
        "what 'lasso' removes, training decides: shown is what is at its threshold in the given "
        "weights",
    )


@pytest.mark.parametrize(
    ("edits", "epochs", "words"),
    [
        (
            [("True", "False"), ("[3]", "[6]")],
            None,
            ["'lasso' has a threshold, but removes nothing", "args: {keep_mask: True}"],
        ),
        (
            [("[3]", "[4]")],
            5,
            ["'lasso' at recipe:10:5 keeps its mask at epoch 5, but the last of 5 epochs is 4"],
        ),
        (
            [(TEXT[TEXT.index("  - regularizer") : TEXT.index("  - extension")], "")],
            None,
            ["'lasso' has no policy"],
        ),
    ],
)
def test_a_plan_notes_a_regularizer_that_removes_nothing(
    edits: list[tuple[str, str]], epochs: int | None, words: list[str]
) -> None:
    text = TEXT
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    notes = "\n".join(pt.plan(pt.load_recipe(text), PARAMS, SPEC, epochs=epochs).notes)
    for word in words:
        assert word in notes


# ---- mistakes

MISTAKES = [
    case("an unknown class", "GroupLassoRegularizer", "§GroupLassoRegulariser").says(
        "did you mean 'GroupLassoRegularizer'?"
    ),
    case("a variance", "GroupLassoRegularizer", "§GroupVarianceRegularizer").says(
        "is not supported", "GroupLassoRegularizer"
    ),
    case("weight decay", "GroupLassoRegularizer", "§L2Regularizer").says(
        "is not supported", "weight_decay"
    ),
    case(
        "an unknown argument", "    threshold", "    §threshold_criterion: Max\n    threshold"
    ).says("did you mean 'threshold_criteria'?"),
    case("no weights", f"\n      {LISTED}", " §{}").says(
        "regularizer 'lasso' lists no weights", "[0.0008, Filters]"
    ),
    case("a list of weights", f"\n      {LISTED}", " §[conv3.weight]").says(
        "reg_regims is a mapping"
    ),
    case("a strength alone", "[0.5, Filters]", "§0.5").says(
        "a strength and a group type is a list, not '0.5'"
    ),
    case("three entries", "[0.5, Filters]", "§[0.5, Filters, Max]").says(
        "two entries", "here are 3"
    ),
    case("a negative strength", "0.5", "§-0.5").says("the strength is -0.5", "a number from 0"),
    case("a strength that is a word", "0.5", "§strong").says("the strength is strong"),
    case("kernels", "Filters", "§2D").says("group_type 2D removes kernels"),
    case("rows and columns", "Filters", "§Rows+Cols").says("rows and columns at once"),
    case("an unknown group type", "Filters", "§Filter").says("did you mean 'Filters'?"),
    case("an unknown criterion", "Mean_Abs", "§Mean").says(
        "no threshold_criteria is 'Mean'", "did you mean 'Mean_Abs'?"
    ),
    case("a weight twice", f"{LISTED}\n", f"{LISTED}\n      §{LISTED}\n").says(
        "'module.conv3.weight' stands twice", "line 5"
    ),
    case("another policy's argument", "keep_mask: True", "§mini_batch_pruning_frequency: 4").says(
        "a policy's regularizer has no argument 'mini_batch_pruning_frequency'", "keep_mask"
    ),
    case(
        "a threshold of single weights",
        "GroupLassoRegularizer\n    reg_regims:\n      module.conv3.weight: [0.5, Filters]",
        "L1Regularizer\n    reg_regims:\n      module.conv3.weight: 0.5",
    ).says("would zero single weights", "GroupLassoRegularizer"),
]


@pytest.mark.parametrize(("old", "new", "words"), MISTAKES)
def test_a_mistake_in_a_regularizer_is_one_error_with_line_column_and_remedy(
    old: str, new: str, words: list[str]
) -> None:
    text = TEXT.replace(old, new, 1)
    refused(text if "§" in text else text.replace("Mean_Abs", "§Mean_Abs"), words)


@pytest.mark.parametrize(
    ("regims", "message"),
    [
        (
            "§conv33.weight: [0.5, Filters]",
            r"no parameter is named 'conv33\.weight'; did you mean 'conv3\.weight'",
        ),
        ("§conv3.bias: [0.5, Filters]", r"conv3\.bias has 1 dimensions and no Filters"),
        (
            "§conv3.weight: [0.5, Rows]",
            r"conv3\.weight has 4 dimensions; Rows are of matrices: write `group_type: Filters`",
        ),
    ],
)
def test_a_regularizer_that_does_not_fit_the_network_is_refused_at_the_weights_place(
    regims: str, message: str
) -> None:
    text = with_regims(regims)
    at = f"recipe:5:{text.splitlines()[4].index('§') + 1}: "
    for act in (
        lambda r: r.on(SPEC),
        lambda r: r.on(SPEC).penalty_at(1, PARAMS),
        lambda r: pt.plan(r, PARAMS, SPEC),
    ):
        with pytest.raises(pt.RecipeError, match=at + message):
            act(pt.load_recipe(text.replace("§", "")))
