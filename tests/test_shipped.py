"""The shipped recipes, examples/recipes: each fits its network, and a run of it ends as its plan
says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
import torch
from resnet_cifar import resnet20, resnet56
from torch import Tensor, nn
from torchvision import models
from trainers import trainer_of

import purethin as pt

FOLDER = Path(__file__).parents[1] / "examples" / "recipes"
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet20": (resnet20, 32),
    "resnet56": (resnet56, 32),
    "resnet50": (models.resnet50, 224),
    "vgg16_bn": (models.vgg16_bn, 224),
    "mobilenet_v2": (models.mobilenet_v2, 224),
    "googlenet": (lambda: models.googlenet(aux_logits=False, init_weights=False), 224),
    "densenet121": (models.densenet121, 224),
}
LARGE = ("resnet56", "resnet50", "vgg16_bn", "googlenet", "densenet121")
"""Those whose runs take more than some seconds."""


@cache
def inferred(name: str) -> tuple[nn.Module, dict[str, Tensor], pt.Spec]:
    make, size = NETWORKS[name]
    torch.manual_seed(0)
    model = make().eval()
    params = pt.params_of(model)
    return model, params, pt.infer(model, params, torch.zeros(1, 3, size, size))


def ends_of(masks: Mapping[str, Tensor]) -> dict[str, int]:
    return {name: int(m.sum()) for name, m in masks.items()}


def test_every_shipped_recipe_has_its_network_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_shipped_recipe_plans_exact_axes_to_the_cost_at_its_top(name: str) -> None:
    _, params, spec = inferred(name)
    recipe = pt.load_recipe(FOLDER / f"{name}.yaml")
    plan = pt.plan(recipe, params, spec)
    assert set(plan.masks) <= set(spec.exact)
    assert not plan.notes
    head = (FOLDER / f"{name}.yaml").read_text().partition("version:")[0]
    rows = re.findall(r"(\w+) +([\d,]+) +([\d,]+) ", head)
    shown = {what: tuple(int(n.replace(",", "")) for n in counts) for what, *counts in rows}
    assert shown == {
        "parameters": (plan.before.parameters, plan.after.parameters),
        "MACs": (plan.before.macs, plan.after.macs),
    }


@pytest.mark.parametrize(
    "name", [n if n not in LARGE else pytest.param(n, marks=pytest.mark.survey) for n in NETWORKS]
)
def test_a_run_of_a_shipped_recipe_ends_as_its_plan_says(name: str) -> None:
    model, params, spec = inferred(name)
    recipe = pt.load_recipe(FOLDER / f"{name}.yaml")
    size = min(NETWORKS[name][1], 64)
    batch = (
        torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)),
        torch.tensor([1, 3]),
    )
    trainer = trainer_of(
        model,
        recipe,
        loss_fn=lambda outputs, batch: nn.functional.cross_entropy(outputs, batch[1]),
        optimizer=lambda params: torch.optim.SGD(params, lr=1e-4),
        example=batch[0],
    )
    trainer.fit([batch], recipe.last_epoch + 1)
    plan = pt.plan(recipe, params, spec)
    assert ends_of(trainer.masks) == ends_of(trainer.thinned_masks) == ends_of(plan.masks)
    small = trainer.model()
    assert sum(p.numel() for p in small.parameters()) == plan.after.parameters
    again = pt.infer(
        small, pt.params_of(small), torch.zeros(1, 3, NETWORKS[name][1], NETWORKS[name][1])
    )
    assert pt.cost(again) == plan.after
    with torch.no_grad():
        assert small(batch[0]).isfinite().all()
