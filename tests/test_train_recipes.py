"""What a recipe may ask of a training beside unit masks by norm: data, chance, penalties, single
weights, steps in an epoch.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_train import OPTIMIZERS, Net, assert_same, batches, loss_fn
from torch import Tensor
from trainers import trainer_of, without_thinner

import purethin as pt
from purethin.training.events import Moment
from purethin.training.train import Trainer, When

DATA = batches(torch.float64)
TIMES = "starting_epoch: 1, ending_epoch: 4, frequency: 1"


def recipe_of(pruners: str, policies: str) -> pt.Recipe:
    return pt.Recipe.from_yaml(
        f"pruners:\n{pruners}\nextensions: {{thinner: {{class: FilterRemover}}}}\n"
        f"policies:\n{policies}"
    )


def trainer(pruners: str, policies: str, thin: When = "now", **options: Any) -> Trainer:
    torch.manual_seed(0)
    example = torch.zeros(1, 3, 6, 6).double()
    options = {"callbacks": (), "optimizer": OPTIMIZERS["SGD"], **options}
    recipe = recipe_of(pruners, policies)
    recipe = without_thinner(recipe) if thin == "end" else recipe
    return trainer_of(Net().double(), recipe, loss_fn, example=example, thin=thin, **options)


def ranked(kind: str) -> str:
    return f"""
  p: {{class: {kind}RankedFilterPruner_AGP, initial_sparsity: 0.2, final_sparsity: 0.5,
      group_type: Filters, weights: [a.conv1.weight, b.conv1.weight]}}
"""


@pytest.mark.parametrize("kind", ["ActivationAPoZ", "ActivationMean", "Gradient", "Random", "L2"])
def test_each_criterion_thins_in_training_and_as_it_goes_is_at_the_end(kind: str) -> None:
    ends = [
        trainer(ranked(kind), f"  - {{pruner: {{instance_name: p}}, {TIMES}}}", way)
        for way in ("now", "end")
    ]
    for t in ends:
        t.fit(DATA, 5)
        assert t.params["a.conv1.weight"].shape == (6, 10, 3, 3)
    assert_same(ends[0], ends[1], 1e-9)


@pytest.mark.parametrize("kind", ["ActivationAPoZ", "ActivationMean", "Gradient"])
def test_what_is_measured_changes_no_statistic_and_no_gradient(kind: str) -> None:
    before: dict[str, Tensor] = {}
    compared: list[str] = []

    def grads() -> dict[str, Tensor]:
        return {f"{n}'": p.grad.clone() for n, p in t.params.items() if p.grad is not None}

    def keep(_: Moment) -> None:
        if not before:
            before.update({n: p.detach().clone() for n, p in t.params.items()} | grads())

    def compare(moment: Moment) -> None:  # it is called when the pruner of epoch 1 has measured
        assert moment.epoch == 1
        now = dict(t.params) | grads()
        masked = pt.mask({n: before[n] for n in t.params}, t.spec, t.masks)
        for name, tensor in now.items():
            assert torch.equal(tensor, masked.get(name, before[name])), name
            compared.append(name)

    policy = "  - {pruner: {instance_name: p}, epochs: [1]}"
    pruner = ranked(kind).replace("_AGP, initial_sparsity: 0.2, final", ", desired")
    t = trainer(pruner, policy, "end", callbacks=[{"epoch": keep, "prune": compare}])
    t.fit(DATA, 2)
    assert {"a.bn1.running_mean", "a.conv1.weight'", "head.bias'"} <= {*compared}


def test_the_units_that_stay_are_those_of_the_largest_mean_activation() -> None:
    pruner = (
        "  p: {class: ActivationMeanRankedFilterPruner, desired_sparsity: 0.5, group_type: "
        "Filters, weights: [a.conv1.weight]}"
    )
    t = trainer(pruner, "  - {pruner: {instance_name: p}, epochs: [0]}", calibrate=len(DATA))
    model = Net().double()
    model.load_state_dict(t.state["params"])
    seen: list[Tensor] = []
    model.a.conv2.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    for x, _ in DATA:
        model(x)
    means = torch.cat(seen).mean((0, 2, 3))
    t.fit(DATA, 1)
    assert set(t.masks["a.conv1"].nonzero()[:, 0].tolist()) == set(
        means.argsort(descending=True)[:6].tolist()
    )


def test_random_pruners_draw_by_the_trainers_seed_alone() -> None:
    def masks(seed: int, drawn: int) -> list[bool]:
        t = trainer(ranked("Random"), f"  - {{pruner: {{instance_name: p}}, {TIMES}}}", seed=seed)
        torch.manual_seed(drawn)
        t.fit(DATA, 4)
        return t.masks["a.conv1"].tolist()

    assert masks(0, 1) == masks(0, 2)
    assert masks(0, 1) != masks(1, 1)


ELEMENTS = """
  single: {class: AutomatedGradualPruner, initial_sparsity: 0.1, final_sparsity: 0.6,
      weights: [a.conv1.weight, head.weight]}
  p: {class: L1RankedStructureParameterPruner_AGP, initial_sparsity: 0.2, final_sparsity: 0.5,
      group_type: Filters, weights: [a.conv1.weight]}
"""
BOTH = f"""
  - {{pruner: {{instance_name: single}}, {TIMES}}}
  - {{pruner: {{instance_name: p}}, {TIMES}}}
  - {{extension: {{instance_name: thinner}}, epochs: [2, 3]}}
"""


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_single_weights_stay_zero_and_a_thinning_carries_their_masks_along(optimizer: str) -> None:
    ways: list[When] = ["now", "recipe", "end"]
    ends = [trainer(ELEMENTS, BOTH, way, optimizer=OPTIMIZERS[optimizer]) for way in ways]
    for t in ends:
        t.fit(DATA, 6)
        assert (t.params["head.weight"] == 0).sum() == 24
    assert ends[0].params["a.conv1.weight"].shape == (6, 10, 3, 3)
    assert_same(ends[1], ends[0], 1e-9)
    assert_same(ends[2], ends[0], 1e-9)
    dense = ends[0].elements["a.conv1.weight"]
    assert dense.shape == (12, 10, 3, 3)
    assert (~dense).sum() == 648
    last = ends[0].history[-1]
    assert last.sparsity > 1 - last.parameters / pt.cost(ends[0].spec).parameters


def test_a_pruner_may_act_within_an_epoch() -> None:
    seen: list[tuple[int, int]] = []

    def look(moment: Moment) -> None:
        seen.append((moment.epoch, moment.trainer.step))

    pruner = (
        "  single: {class: AutomatedGradualPruner, initial_sparsity: 0.5, final_sparsity: 0.5, "
        "weights: [head.weight]}"
    )
    policy = (
        f"  - {{pruner: {{instance_name: single, args: {{mini_batch_pruning_frequency: 2}}}}, "
        f"{TIMES}}}"
    )
    t = trainer(pruner, policy, callbacks=[{"prune": look}])
    t.fit(DATA, 2)
    assert seen[0] == (1, 6)
    recipe = recipe_of(pruner, policy)
    assert recipe.acts_within(1, 2)
    assert not recipe.acts_within(1, 3)
    assert not recipe.acts_within(0, 2)


LASSO = """
regularizers:
  lasso:
    class: GroupLassoRegularizer
    reg_regims: {a.conv1.weight: [0.3, 3D], b.conv1.weight: [0.3, 3D]}
    threshold_criteria: Max
"""


@pytest.mark.parametrize("way", ["now", "recipe", "end"])
def test_a_group_lasso_thins_what_it_brought_below_its_threshold(way: When) -> None:
    policies = """
  - {regularizer: {instance_name: lasso, args: {keep_mask: True}},
     starting_epoch: 0, ending_epoch: 6, frequency: 1}
  - {extension: {instance_name: thinner}, epochs: [6]}
"""
    recipe = f"{LASSO}extensions: {{thinner: {{class: FilterRemover}}}}\npolicies:\n{policies}"
    torch.manual_seed(0)
    example = torch.zeros(1, 3, 6, 6).double()
    t = trainer_of(
        Net().double(),
        pt.load_recipe(recipe),
        loss_fn,
        OPTIMIZERS["SGD"],
        example,
        thin=way,
        callbacks=(),
    )
    plain = trainer_of(
        Net().double(),
        pt.load_recipe("policies: []\n"),
        loss_fn,
        OPTIMIZERS["SGD"],
        example,
        callbacks=(),
    )
    t.fit(DATA, 7)
    plain.fit(DATA, 7)
    norms = [u.params["a.conv1.weight"].detach().flatten(1).norm(dim=1).sum() for u in (t, plain)]
    assert norms[0] < norms[1]
    assert t.params["a.conv1.weight"].shape[0] < 12
