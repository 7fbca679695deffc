"""Learning-rate schedulers of a recipe: torch's own, by class name; what torch refuses is an error
as it is read.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, make_dataclass
from typing import Any

import torch
import yaml
from torch.optim import lr_scheduler

from purethin.recipes import nodes
from purethin.recipes.distiller import CLASSES, class_of


@dataclass(frozen=True)
class Scheduler:
    """A learning-rate scheduler of torch by class name, and its arguments."""

    name: str
    kind: str
    arguments: Mapping[str, Any]


def build_schedulers(
    schedulers: Iterable[Scheduler], optimizer: torch.optim.Optimizer
) -> dict[str, lr_scheduler.LRScheduler]:
    """Learning-rate schedulers over an optimizer, by name; each steps at the end of the epochs of
    its policies.
    """
    return {s.name: getattr(lr_scheduler, s.kind)(optimizer, **s.arguments) for s in schedulers}


def read_scheduler(name: str, at: yaml.Node, node: yaml.Node) -> Scheduler:
    """A scheduler from its entry under `lr_schedulers`.

    Raises:
        RecipeError: torch has no such scheduler, or refuses its arguments.
    """
    owner = f"lr_scheduler '{name}'"
    classes = {
        k: v
        for k, v in vars(lr_scheduler).items()
        if k.endswith(("LR", "Restarts")) and not k.startswith("_") and k not in CLASSES
    }
    given = nodes.mapping(node, owner)
    kind, entries = class_of(name, at, given, classes)
    form = _form(classes[kind])
    says = nodes.read(form, entries, at, f"{owner} of {kind}", f"{kind} has no argument")
    scheduler = Scheduler(name, kind, {key: getattr(says, key) for key in entries})
    _try(scheduler, given["class"][1])
    return scheduler


def _form(made: type) -> type:
    """A dataclass with a field for each of a scheduler's arguments."""
    arguments: list[Any] = []
    for p in inspect.signature(made).parameters.values():
        if p.name not in ("self", "optimizer", "last_epoch", "verbose"):
            reader = _milestones if p.name == "milestones" else nodes.values
            default = {} if p.default is p.empty else {"default": None}
            arguments.append((p.name, Any, nodes.said(reader, "…", **default)))
    return make_dataclass("Arguments", arguments, kw_only=True)


def _milestones(node: yaml.Node, what: str) -> list[int]:
    return [nodes.whole(item, "a milestone") for item in nodes.sequence(node, what)]


def _try(scheduler: Scheduler, at: yaml.Node) -> None:
    """Build a scheduler over an optimizer of nothing and step it once, so that torch's error
    comes now and has a line.
    """
    if any(isinstance(v, list) for key, v in scheduler.arguments.items() if key != "milestones"):
        return  # one value for each of the optimizer's parameter groups, which are not known here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.9)
            stepped = build_schedulers([scheduler], optimizer)[scheduler.name]
            optimizer.step()
            stepped.step()
    except Exception as error:
        nodes.fail(at, f"torch refuses these arguments of {scheduler.kind}: {error}")
