"""Trainers as tests want them: the spec inferred from an example, all options in one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

import purethin as pt
from purethin.training.batches import arguments


def trainer_of(
    model: nn.Module,
    recipe: pt.Recipe,
    loss_fn: Callable[[Any, Any], Tensor],
    optimizer: Callable[[list[Tensor]], Optimizer],
    example: Any,
    **options: Any,
) -> pt.Trainer:
    """A trainer of a model and an example; `options` are those of `Trainer` and of `Update`."""
    args, kwargs = arguments(example)
    spec = pt.infer(model, pt.params_of(model), *args, **kwargs)
    step = {f.name: options.pop(f.name) for f in fields(pt.Update) if f.name in options}
    return pt.Trainer(model, spec, recipe, optimizer, pt.Update(loss_fn, **step), **options)


def without_thinner(recipe: pt.Recipe) -> pt.Recipe:
    """The recipe without its extensions: with `thin="end"`, units are masked all along."""
    policies = tuple(p for p in recipe.policies if p.kind != "extension")
    return replace(recipe, thinners={}, policies=policies)
