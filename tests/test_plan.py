"""Plans: what a recipe will do to a network epoch by epoch, as a table and as data, and what of it
will never fire.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from small import AGP, BASE, PARAMS, SPEC, edited, kept, planned, pruning
from tables import case
from torch import Tensor, nn

import purethin as pt
from purethin.recipes.groups import groups_of


def test_a_plan_says_why_each_axis_is_pruned() -> None:
    recipe = pt.load_recipe(
        pruning("[conv2.weight, conv3.weight]", "Channels", group_dependency="Auto")
    )
    assert [g.why for g in groups_of(recipe.pruners["low"], SPEC)] == ["Channels of conv2.weight"]
    led = pt.load_recipe(pruning("[conv2.weight, conv1.weight]", group_dependency="Leader"))
    assert [r.why for r in pt.plan(led, PARAMS, SPEC).rows] == ["Filters, led by conv2.weight"]


STEPS = edited(*AGP[:2], ("epochs: [0]", "starting_epoch: 1\n    ending_epoch: 4"))


def test_a_plan_prints_a_short_line_for_each_epoch_and_says_where_the_axes_are() -> None:
    plan = planned(STEPS)
    lines = str(plan).splitlines()
    head = ["epoch", "units", "removed", "parameters", "left", "MACs", "left"]
    assert lines[0].split() == head
    assert [line.split()[:2] for line in lines[1:4]] == [["1", "0"], ["2*", "2"], ["3", "3"]]
    assert lines[4] == "each axis at each epoch: print(plan.by_axis())"
    assert "\n".join(lines[5:]) == plan.outcome
    assert max(map(len, lines[:5])) <= 100


def test_a_plan_by_axis_is_an_aligned_table_with_the_cost_after_each_step() -> None:
    plan = planned(STEPS)
    lines = str(plan.by_axis()).splitlines()
    head = [
        "epoch",
        "pruner",
        "axis",
        "why",
        "sparsity",
        "size",
        "removed",
        "kept",
        "parameters",
        "MACs",
    ]
    why = ["Filters", "of", "conv3.weight"]
    assert lines[0].split() == head
    assert [line.split()[:10] for line in lines[1:4]] == [
        ["1", "low", "conv3", *why, "0.1000", "6", "0", "6"],
        ["2*", "low", "conv3", *why, "0.4500", "6", "2", "4"],
        ["3", "low", "conv3", *why, "0.5000", "6", "3", "3"],
    ]
    for line, removed in zip(lines[1:4], (0, 2, 3), strict=True):
        cost = pt.cost(SPEC, {"conv3": torch.arange(6) >= removed})
        assert line.split()[10:] == [f"{cost.parameters:,}", f"{cost.macs:,}"]
    assert len(lines) == 4 and len({*map(len, lines)}) == 1
    assert plan.outcome.splitlines() == [
        "* thinned as the epoch begins: 2",
        f"dense {plan.before.parameters:,} parameters, {plan.before.macs:,} MACs; "
        f"at the end {plan.after.parameters:,} and {plan.after.macs:,}",
        f"note: {plan.notes[0]}",
    ]


def test_a_plan_names_the_epochs_of_thinning_where_no_pruner_acts() -> None:
    plan = planned(BASE)
    assert [(r.epoch, r.thins) for r in plan.rows] == [(0, False)]
    assert plan.thinnings == (2,)
    assert "* thinned as the epoch begins: 2" in str(plan)


def test_a_plan_notes_inexact_axes_and_prints_its_notes_last() -> None:
    params = {"conv3.weight": torch.ones(6, 2), "conv1.weight": torch.ones(4, 6)}
    layout = {"conv3.weight": "conv3 2", "conv1.weight": "4 conv3"}
    spec = pt.Spec.from_layout(layout, params, inexact={"conv3": "a mean at net.py:7"})
    decay = BASE[BASE.index("  - lr_scheduler:") : BASE.index("  - extension:")]
    text = edited((decay, ""))
    plan = pt.plan(pt.load_recipe(text), params, spec)
    assert plan.notes == (
        "'decay' has no policy: it never acts",
        "the axis 'conv3' is inexact: a mean at net.py:7",
    )
    assert str(plan).splitlines()[-2:] == [f"note: {note}" for note in plan.notes]


EXTENSION = "  - extension:\n      instance_name: thinner\n    epochs: [2]\n"
NOTES = [
    case("nothing where all is well", [], None).gives([]),
    case("nothing where all fires in time", [], 9).gives([]),
    case(
        "an instance without a policy",
        [("lr_schedulers:\n", "lr_schedulers:\n  late: {class: StepLR, step_size: 9}\n")],
        None,
    ).gives([["'late' has no policy: it never acts"]]),
    case("a policy past the last epoch", [], 2).gives(
        [
            [
                "the policy of 'thinner' at recipe:27:5",
                "begins at epoch 2",
                "the last of 2 epochs is 1",
                "never fires",
            ],
            ["no thinner follows what 'low' removes until epoch 0"],
        ]
    ),
    case("a schedule that is cut off", AGP, 6).gives(
        [
            [
                "the policy of 'low' at recipe:20:5 lasts until epoch 7",
                "the last of 6 epochs is 5",
                "it reaches 0.45, not 0.5",
            ],
            ["no thinner follows what 'low' removes until epoch 4"],
        ]
    ),
    case("masks that no thinner follows", [("epochs: [0]", "epochs: [3]")], None).gives(
        [
            [
                "no thinner follows what 'low' removes until epoch 3",
                "extension (FilterRemover) at that epoch or later",
            ]
        ]
    ),
    case(
        "no thinner at all",
        [(BASE[BASE.index("extensions:") : BASE.index("lr_schedulers")], ""), (EXTENSION, "")],
        None,
    ).gives([["no thinner follows what 'low' removes"]]),
    case("statistics that only data has", [("L1Ranked", "ActivationAPoZRanked")], None).gives(
        [["which units 'low' removes, its apoz says in training; how many is certain"]]
    ),
]


@pytest.mark.parametrize(("edits", "epochs", "notes"), NOTES)
def test_a_plan_notes_what_will_never_fire(
    edits: list[tuple[str, str]], epochs: int | None, notes: list[list[str]]
) -> None:
    plan = pt.plan(pt.load_recipe(edited(*edits)), PARAMS, SPEC, epochs=epochs)
    assert len(plan.notes) == len(notes), plan.notes
    for note, words in zip(plan.notes, notes, strict=True):
        for word in words:
            assert word in note


def test_a_plan_ends_with_the_last_epoch_trained() -> None:
    recipe = pt.load_recipe(edited(*AGP))
    whole, cut = pt.plan(recipe, PARAMS, SPEC), pt.plan(recipe, PARAMS, SPEC, epochs=5)
    assert cut.rows == whole.rows[:2] and [r.epoch for r in whole.rows] == [1, 4, 7]
    assert kept(cut.masks) == {"conv3": 4}
    assert pt.plan(recipe, PARAMS, SPEC, epochs=2).thinnings == ()


def test_a_statistic_that_only_data_has_is_counted_exactly() -> None:
    for first in ("ActivationAPoZ", "ActivationMean", "Gradient"):
        plan = planned(edited(*AGP).replace("L1Ranked", f"{first}Ranked"))
        assert [(r.size, r.removed) for r in plan.rows] == [(6, 0), (6, 2), (6, 3)]
        assert plan.after == planned(edited(*AGP)).after


def test_a_plan_changes_nothing() -> None:
    before = {n: t.clone() for n, t in PARAMS.items()}
    planned(BASE)
    assert all(torch.equal(PARAMS[n], t) for n, t in before.items())


SHARED = ["conv1.weight, conv2.weight", "conv3.weight", "conv1.weight, conv3.weight, up.weight"]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_plan_of_any_pruners_leaves_the_masks_of_the_epochs_one_by_one(
    data: st.DataObject,
) -> None:
    def draw(*choices: object) -> object:
        return data.draw(st.sampled_from(choices))

    recipe = pt.load_recipe(f"""\
pruners:
  units:
    class: {draw("L1Ranked", "L2Ranked", "RandomRanked")}FilterPruner_AGP
    initial_sparsity: 0.1
    final_sparsity: {draw(0.3, 0.5, 1.0)}
    group_dependency: {draw("Auto", "Sum", "Mean")}
    weights: [{draw(*SHARED)}]
  inputs:
    class: {draw("L1Ranked", "L2Ranked")}StructureParameterPruner
    group_type: Channels
    group_dependency: Sum
    desired_sparsity: {draw(0, 0.25, 0.6)}
    weights: [conv2.weight, conv3.weight, fc1.weight]
  single:
    class: AutomatedGradualPruner
    initial_sparsity: 0
    final_sparsity: {draw(0.2, 0.9)}
    weights: [conv1.weight, conv3.weight, fc2.weight]
regularizers:
  lasso:
    class: GroupLassoRegularizer
    threshold_criteria: {draw("Max", "Mean_Abs")}
    reg_regims:
      conv2.weight: [{draw(0.04, 0.08)}, Filters]
      fc1.weight: [{draw(0.1, 0.15)}, Cols]
extensions:
  thinner: {{class: FilterRemover}}
policies:
  - pruner: {{instance_name: units}}
    starting_epoch: 0
    ending_epoch: 5
  - pruner: {{instance_name: inputs}}
    epochs: [{draw(6, 7)}]
  - pruner: {{instance_name: single}}
    starting_epoch: {draw(0, 3)}
    ending_epoch: 8
  - regularizer: {{instance_name: lasso, args: {{keep_mask: True}}}}
    starting_epoch: 2
    ending_epoch: {draw(4, 8)}
  - extension: {{instance_name: thinner}}
    epochs: [4]
""")
    plan, pruning = pt.plan(recipe, PARAMS, SPEC), recipe.on(SPEC)
    masks, elements, done = dict[str, Tensor](), dict[str, Tensor](), dict[str, Tensor]()
    for epoch in range(recipe.last_epoch + 1):
        # what was thinned already ranks as what is only masked
        thinned, _ = pt.thin(PARAMS, SPEC, done)
        dense = pt.mask(pt.expand(thinned, SPEC, done), SPEC, masks, elements)
        masks = pruning.masks_at(epoch, dense, masks)
        elements = pruning.elements_at(epoch, dense, masks, elements)
        done = masks if epoch % 3 == 1 else done
        at = [r for r in plan.rows if r.epoch == epoch]
        both = masks | elements
        assert {r.axis: r.removed for r in at} == {r.axis: int((~both[r.axis]).sum()) for r in at}
        assert all(
            (r.parameters, r.macs) == (pt.cost(SPEC, masks).parameters, pt.cost(SPEC, masks).macs)
            for r in at
        )
    for plans, found in ((plan.masks, masks), (plan.elements, elements)):
        assert plans.keys() == found.keys()
        assert all(torch.equal(plans[n], m) for n, m in found.items())


@pytest.mark.parametrize(
    "build",
    [torchvision.models.resnet50, torchvision.models.densenet121, torchvision.models.googlenet],
)
def test_thirty_steps_of_a_large_network_are_plansin_seconds(
    build: Callable[..., nn.Module],
) -> None:
    options = (
        {"init_weights": True, "aux_logits": True} if build is torchvision.models.googlenet else {}
    )
    model = build(weights=None, **options).eval()
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.zeros(1, 3, 224, 224))
    listed = [
        p
        for axis in spec.axes.values()
        for p, d in axis.producers[:1]
        if d == 0 and len(spec.layout[p]) == 4
    ]
    text = pruning(f"[{', '.join(dict.fromkeys(listed))}]", group_dependency="Auto")
    text = text.replace("Pruner\n    group_type", "Pruner_AGP\n    group_type")
    text = text.replace("desired_sparsity: 0.5", "initial_sparsity: 0.05\n    final_sparsity: 0.5")
    recipe = pt.load_recipe(text.replace("epochs: [0]", "starting_epoch: 0\n    ending_epoch: 30"))
    start = time.process_time()
    plan = pt.plan(recipe, params, spec)
    assert time.process_time() - start < 5
    assert len({r.epoch for r in plan.rows}) == 30
    assert [r.removed for r in plan.rows[-len(plan.masks) :]] == [
        spec.axes[a].size // 2 for a in plan.masks
    ]
