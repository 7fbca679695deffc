"""Learning-rate schedulers of a recipe: torch's own, by class name; torch's complaint about
arguments comes as they are read.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import yaml
from torch.optim import lr_scheduler

from purethin.errors import nearest
from purethin.recipes.distiller import CLASSES, class_of
from purethin.recipes.located import fail, mapping, sequence, values, whole


@dataclass(frozen=True)
class Scheduler:
    """A learning-rate scheduler of torch by class name, and its arguments."""

    name: str
    kind: str
    arguments: Mapping[str, Any]


def read_scheduler(name: str, at: yaml.Node, node: yaml.Node) -> Scheduler:
    """A scheduler from its entry under `lr_schedulers`.

    Raises:
        RecipeError: torch has no such scheduler, or refuses its arguments.
    """
    fields = mapping(node, f"lr_scheduler '{name}'")
    classes = {
        k: v
        for k, v in vars(lr_scheduler).items()
        if inspect.isclass(v) and issubclass(v, lr_scheduler.LRScheduler)
    }
    known = [
        k
        for k in classes
        if k.endswith(("LR", "Restarts")) and not k.startswith("_") and k not in CLASSES
    ]
    kind = class_of(name, at, fields, known)
    signature = inspect.signature(classes[kind])
    allowed = [
        p for p in signature.parameters if p not in ("self", "optimizer", "last_epoch", "verbose")
    ]
    for key, (key_at, _) in fields.items():
        if key not in ("class", *allowed):
            fail(key_at, f"{kind} has no argument '{key}'; {nearest(key, allowed)}")
    for key in allowed:
        if signature.parameters[key].default is inspect.Parameter.empty and key not in fields:
            fail(at, f"{kind} needs '{key}'")
    if "milestones" in fields:
        for item in sequence(fields["milestones"][1], "milestones"):
            whole(item, "a milestone", 0)
    scheduler = Scheduler(
        name, kind, {key: values(entry) for key, (_, entry) in fields.items() if key != "class"}
    )
    _try(scheduler, classes[kind], fields["class"][1])
    return scheduler


def _try(scheduler: Scheduler, made: Any, at: yaml.Node) -> None:
    """Build a scheduler over an optimizer of nothing and step it once, so that torch's complaint
    comes now and has a line.
    """
    if any(isinstance(v, list) for key, v in scheduler.arguments.items() if key != "milestones"):
        return  # one value for each of the optimizer's parameter groups, which are not known here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.9)
            stepped = made(optimizer, **scheduler.arguments)
            optimizer.step()
            stepped.step()
    except (
        TypeError,
        ValueError,
        ArithmeticError,
        RuntimeError,
        LookupError,
        AttributeError,
    ) as error:
        fail(at, f"torch refuses these arguments of {scheduler.kind}: {error}")
