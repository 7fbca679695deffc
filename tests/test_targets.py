"""Pruners that end at a cost: the plan and the masks keep within it, along the schedule too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from resnet_cifar import resnet20
from torch import nn

import purethin as pt

PRUNER = """
  {name}:
    class: {kind}
    group_type: Filters
    group_dependency: Auto
    weights: [{weights}]
"""
WEIGHTS = [f"layer{i}.{j}.conv1.weight" for i in (1, 2, 3) for j in (0, 1, 2)]
GRADUAL, ONCE = (f"L1RankedStructureParameterPruner{last}" for last in ("_AGP", ""))


def recipe_of(*pruners: str, top: str = "", end: int = 10) -> str:
    text = f"version: 1\n{top}\npruners:" + "".join(pruners)
    text += "policies:\n"
    for name in [p.split(":")[0].strip() for p in pruners]:
        when = f"starting_epoch: 0, ending_epoch: {end}, frequency: 3" if end else "epochs: [0]"
        text += f"  - {{pruner: {{instance_name: {name}}}, {when}}}\n"
    return text


def pruner(name: str, kind: str, weights: list[str], more: str = "") -> str:
    return PRUNER.format(name=name, kind=kind, weights=", ".join(weights)) + more


@pytest.fixture(scope="module")
def network() -> tuple[dict[str, torch.Tensor], pt.Spec]:
    torch.manual_seed(0)
    model = resnet20()
    params = pt.params_of(model)
    return params, pt.infer(model, params, torch.zeros(1, 3, 32, 32))


def test_a_pruner_with_a_target_ends_within_it(
    network: tuple[dict[str, torch.Tensor], pt.Spec],
) -> None:
    params, spec = network
    text = recipe_of(
        pruner("some", ONCE, WEIGHTS, "    target: {macs: 0.7, parameters: 200000}\n"), end=0
    )
    plan = pt.plan(pt.load_recipe(text), params, spec)
    dense = pt.cost(spec)
    assert 0.65 * dense.macs < plan.after.macs <= 0.7 * dense.macs
    assert plan.after.parameters <= 200_000
    assert plan.masks.keys() == {w.removesuffix(".weight") for w in WEIGHTS}


def test_the_cost_falls_along_the_schedule_and_masks_only_grow(
    network: tuple[dict[str, torch.Tensor], pt.Spec],
) -> None:
    params, spec = network
    parts = pruner("a", GRADUAL, WEIGHTS[:5]), pruner("b", GRADUAL, WEIGHTS[5:])
    pruning = pt.load_recipe(recipe_of(*parts, top="target: {macs: 0.6}")).on(spec)
    dense, masks, reached = pt.cost(spec).macs, {}, []
    for epoch in range(10):
        before = masks
        masks = pruning.masks_at(epoch, params, before)
        assert all(bool((m <= before.get(n, m)).all()) for n, m in masks.items())
        reached.append(pt.cost(spec, masks).macs / dense)
    want = [
        1 - 0.4 * pt.agp(e - e % 3, initial=0, final=1, begin=0, end=10, frequency=3)
        for e in range(10)
    ]
    assert all(0 <= w - r < 0.01 for w, r in zip(want, reached, strict=True))
    assert len(masks) == len(WEIGHTS)


def test_what_a_target_cannot_be_is_said_with_its_place(
    network: tuple[dict[str, torch.Tensor], pt.Spec], tmp_path: Path
) -> None:
    _, spec = network
    one = pruner("some", ONCE, WEIGHTS[:1], "    target: {macs: 0.2}\n")
    with pytest.raises(pt.RecipeError, match=r"recipe:4:3: .*the least is"):
        pt.load_recipe(recipe_of(one, end=0)).on(spec)
    led = one.replace("Auto", "Leader").replace(
        "conv1.weight]", "conv1.weight, layer1.1.conv1.weight]"
    )
    with pytest.raises(pt.RecipeError, match="gives each axis its own width"):
        pt.load_recipe(recipe_of(led.replace("0.2", "0.99"), end=0)).on(spec)
    for wrong, message in (
        ("target: {flops: 0.5}", "no target is of 'flops'; Known: "),
        ("target: {macs: 0}", "a target of no macs"),
        ("target: {}", "a target of nothing"),
        ("desired_sparsity: 0.5, target: {macs: 0.5}", "desired_sparsity"),
    ):
        text = recipe_of(pruner("some", ONCE, WEIGHTS[:1]), end=0)
        text = text.replace(
            "    group_type: Filters",
            "    " + wrong.replace(", ", "\n    ") + "\n    group_type: Filters",
        )
        with pytest.raises(pt.RecipeError, match=message):
            pt.load_recipe(text)
    lone = pruner("some", ONCE, WEIGHTS[:1], "    desired_sparsity: 0.5\n")
    with pytest.raises(pt.RecipeError, match="recipe:2:1: the recipe's target is nobody's"):
        pt.load_recipe(recipe_of(lone, top="target: {macs: 0.5}", end=0))


def test_a_recipe_for_a_network_may_say_what_it_may_cost(
    network: tuple[dict[str, torch.Tensor], pt.Spec],
) -> None:
    params, spec = network
    text = pt.recipe_for(spec, macs=0.5, parameters=0.6, end=6)
    assert "target: {macs: 0.5, parameters: 0.6}" in text
    assert " go" not in text
    plan, dense = pt.plan(pt.load_recipe(text), params, spec), pt.cost(spec)
    assert 0.45 * dense.macs < plan.after.macs <= 0.5 * dense.macs
    assert plan.after.parameters <= 0.6 * dense.parameters
    with pytest.raises(pt.MaskError, match="give a fraction of the dense cost"):
        pt.recipe_for(spec, macs=-1)
    with pytest.raises(pt.MaskError, match="a recipe has no target of 'latency'; Known: "):
        pt.recipe_for(spec, latency=0.5)


BY_AXIS = """\
version: 1
pruners:
  inner: {axes: [inner, other], target: {macs: 0.4}, criterion: lp_norm, min_keep: 0, round_to: 4}
policies:
  - {pruner: {instance_name: inner}, starting_epoch: 0, ending_epoch: 3, frequency: 1}
"""


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.back = nn.Linear(4, 24), nn.Linear(24, 4)
        self.other, self.end = nn.Linear(4, 3), nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.back(self.inner(x).relu()) + self.end(self.other(x).relu())


def test_a_target_may_empty_branches_and_rounds_as_select_does() -> None:
    model, x = Residual(), torch.rand(2, 4)
    params, recipe = pt.params_of(model), pt.load_recipe(BY_AXIS)
    spec = pt.infer(model, params, x, branches=True)
    masks = pt.plan(recipe, params, spec).masks
    assert int(masks["inner"].sum()) in (4, 8)
    assert int(masks["other"].sum()) in (1, 2)  # it has no more units than a step
    none = pt.plan(pt.load_recipe(BY_AXIS.replace("0.4", "0.01")), params, spec).masks
    assert not any(bool(m.any()) for m in none.values())
    with pytest.raises(pt.RecipeError, match=r"min_keep is 0, .* pt.infer\(…, branches=True\)"):
        recipe.on(pt.infer(model, params, x))


def test_a_training_ends_within_the_target(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2))
    batches = [(torch.rand(8, 6), torch.rand(8, 2)) for _ in range(2)]
    spec = pt.infer(net, pt.params_of(net), batches[0][0])
    recipe = pt.load_recipe(pt.recipe_for(spec, parameters=0.4, end=4, frequency=1))
    trainer = pt.Trainer(
        net,
        spec,
        recipe,
        lambda params: torch.optim.SGD(params, lr=0.1),
        pt.Update(lambda outputs, batch: (outputs - batch[1]).square().mean()),
        thin="now",
        folder=tmp_path,
    )
    trainer.fit(batches, 5)
    left = sum(p.numel() for p in trainer.model().parameters())
    assert 0.3 * pt.cost(spec).parameters < left <= 0.4 * pt.cost(spec).parameters
