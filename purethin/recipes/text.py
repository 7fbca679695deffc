"""A recipe as YAML: the instances and policies as plain data, by the keys that are read.

Invariant: what is written reads back as an equal recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

import yaml

from purethin.recipes.by_axis import ByAxis
from purethin.recipes.functions import Function
from purethin.recipes.policies import Policy, Thinner
from purethin.recipes.pruners import CRITERIA, ELEMENTS, Pruner
from purethin.recipes.regularizers import Regularizer
from purethin.recipes.schedulers import Scheduler

Plain = dict[str, Any]


def written(
    sections: Mapping[str, Mapping[str, Any]], policies: Iterable[Policy[Any]] | None
) -> str:
    """The YAML text of a recipe.

    Args:
        sections: `{section: {name: instance}}`.
        policies: as listed; None where none say when.

    Raises:
        RecipeError: a criterion or curve is a function that YAML cannot name.
    """
    out: Plain = {"version": 1}
    pruners: Iterable[Pruner] = sections["pruners"].values()
    if (shared := next((p.target for p in pruners if p.shared), None)) is not None:
        out["target"] = dict(shared)
    for section, instances in sections.items():
        if instances:
            out[section] = {name: _WRITERS[type(i)](i) for name, i in instances.items()}
    if policies is not None:
        out["policies"] = [_policy(policy) for policy in policies]
    return dumped(out)


def dumped(plain: Plain) -> str:
    """Plain data as YAML text, the innermost mappings and lists on one line."""
    return yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=100)


def _pruner(pruner: Pruner) -> Plain:
    amounts: Plain = {}
    if pruner.target is not None and not pruner.shared:
        amounts = {"target": dict(pruner.target)}
    if pruner.by_axis is not None:
        return {**_axes(pruner.by_axis, pruner.initial if pruner.gradual else 0.0), **amounts}
    first = next((k for k, criterion in CRITERIA.items() if criterion == pruner.criterion), "")
    kind = f"{first}StructureParameterPruner{'_AGP' * pruner.gradual}"
    if pruner.target is None:
        amounts = {"initial_sparsity": pruner.initial, "final_sparsity": pruner.final}
        amounts = amounts if pruner.gradual else {"desired_sparsity": pruner.final}
    groups = {"group_type": pruner.group_type, "group_dependency": pruner.group_dependency}
    said = {key: value for key, value in groups.items() if value is not None}
    kind = kind if pruner.group_type else ELEMENTS
    return {"class": kind, **amounts, **said, "weights": list(pruner.weights)}


def _axes(by: ByAxis, initial: float) -> Plain:
    """The entry of a pruner by axes, but for a target; what is as usual is left out."""
    listed = dict(by.axes) if None not in by.axes.values() else list(by.axes)
    out: Plain = {"axes": listed, "criterion": by.criterion.written("criterion")}
    if initial:
        out["initial_sparsity"] = initial
    for f in (f for f in fields(by) if f.name not in ("axes", "criterion")):
        given = getattr(by, f.name)
        if isinstance(given, Function):
            out[f.name] = given.written("curve")
        elif given != f.default:
            plain = dict(given) if isinstance(given, Mapping) else given
            out[f.name] = list(plain) if isinstance(plain, tuple) else plain
    return out


def _regularizer(regularizer: Regularizer) -> Plain:
    regims: Plain = {}
    r = regularizer
    for weight, strength, kind in zip(r.weights, r.strengths, r.group_types, strict=True):
        regims[weight] = strength if kind is None else [strength, kind]
    if r.group_types[0] is None:
        return {"class": "L1Regularizer", "reg_regims": regims}
    threshold = {} if r.threshold is None else {"threshold_criteria": r.threshold}
    return {"class": "GroupLassoRegularizer", "reg_regims": regims, **threshold}


def _scheduler(scheduler: Scheduler) -> Plain:
    return {"class": scheduler.kind, **scheduler.arguments}


_WRITERS: Mapping[type, Callable[[Any], Plain]] = {
    Pruner: _pruner,
    Regularizer: _regularizer,
    Thinner: lambda _: {"class": "StructureRemover"},
    Scheduler: _scheduler,
}


def _policy(policy: Policy[Any]) -> Plain:
    """A policy's entry."""
    instance: Plain = {"instance_name": policy.instance.name}
    arguments: Plain = {}
    if policy.batches:
        arguments["mini_batch_pruning_frequency"] = policy.batches
    if policy.keep_mask:
        arguments["keep_mask"] = True
    if arguments:
        instance["args"] = arguments
    once = len(policy.epochs) == 1 and (policy.frequency, policy.end) == (1, policy.over)
    gradual = isinstance(policy.instance, Pruner) and policy.instance.gradual
    ranged = tuple(range(policy.begin, policy.end, policy.frequency)) == policy.epochs
    if gradual or (ranged and not once):
        times: Plain = {"starting_epoch": policy.begin, "ending_epoch": policy.end}
        times["frequency"] = policy.frequency
    else:
        times = {"epochs": list(policy.epochs)}
    return {policy.kind: instance, **times}
