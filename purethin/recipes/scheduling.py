"""A schedule in Python: a recipe for axes of any sort, by any criterion, along any curve.

Invariant: it is the recipe that its YAML reads as, where YAML can name its functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypedDict

import yaml

from purethin.arguments import explained
from purethin.budgets.asked import KINDS
from purethin.criteria import lp_norm
from purethin.errors import RecipeError, SpecError, nearest
from purethin.recipes.by_axis import ByAxis
from purethin.recipes.curves import agp
from purethin.recipes.functions import Function, Role, function_of
from purethin.recipes.pruners import Pruner
from purethin.recipes.recipe import Recipe
from purethin.recipes.text import dumped
from purethin.selection import Normalize, Scope
from purethin.spec import Scores, Spec

if TYPE_CHECKING:
    from typing_extensions import Unpack

_TITLE = "pt.schedule"
_PLACEHOLDERS: Mapping[Role, str] = {"criterion": "lp_norm", "curve": "agp"}


class Choices(TypedDict, total=False):
    """How units are chosen, and what the network may cost; see `schedule`."""

    initial: float
    scope: Scope
    normalize: Normalize
    round_to: int | Mapping[str, int]
    min_keep: int
    max_sparsity: float
    keep: str | Sequence[str]
    gram: bool
    regrow: float
    macs: float
    parameters: float
    bytes: float
    activation_bytes: float
    name: str


@explained
def schedule(
    spec: Spec,
    axes: float | str | Sequence[str] | Mapping[str, float] = "*",
    *,
    criterion: Callable[..., Scores] | str = lp_norm,
    curve: Callable[..., float] | str = agp,
    begin: int = 0,
    end: int = 30,
    frequency: int = 1,
    **choices: Unpack[Choices],
) -> Recipe:
    """A recipe that removes units of these axes along a curve, and thins at its last step.

    Args:
        spec: the spec of the network.
        axes: `{text: the fraction of units to remove}`, each text as `find` reads it: a name, a
            role ("heads"), a weight, a pattern; an axis by its own name first, then by the first
            text that means it. A number is one fraction for all exact axes. With a target (below),
            texts alone: the axes that may lose units.
        criterion: what ranks the units: one of `purethin.criteria`, or a function of one's own
            that returns `{axis: Tensor[size]}`. It is given what its arguments are called:
            `params`, `spec`; `stats` of `measure`; `grads`, an iterable of the loss's gradients
            batch by batch; `model`; `batches`, the inputs of these. Further options are set by
            `functools.partial`.
        curve: how much is gone by when: one of `purethin.recipes.curves`, or a function with their
            arguments.
        begin: the first epoch.
        end: the epoch after the last (exclusive).
        frequency: epochs between steps.
        choices: `initial`, the fraction removed at `begin`, less where an axis loses less in all;
            `scope`, `normalize`, `round_to`, `min_keep`, `max_sparsity` and `keep`, as `select` has
            them; `gram=True` for criteria of second moments; `regrow`, the part of the units that
            stay which is exchanged at each step for units that were gone (`docs/schedules.md`);
            `macs`, `parameters`, `bytes`, `activation_bytes`: what the network may cost at the end,
            as `solve` takes it, in place of fractions: the cost then falls along the curve; `name`,
            of the pruner.

    Raises:
        RecipeError: an axis, an option or a time that does not fit; says what to write.

    >>> import torch
    >>> params = {"a.w": torch.arange(8.0).view(4, 2), "b.w": torch.ones(3, 4)}
    >>> spec = Spec.from_layout({"a.w": "a 2", "b.w": "3 a"}, params)
    >>> recipe = schedule(spec, {"a": 0.5}, end=3)
    >>> print(recipe.to_yaml())
    version: 1
    pruners:
      lp_norm:
        axes: {a: 0.5}
        criterion: lp_norm
        curve: agp
    extensions:
      thinner: {class: StructureRemover}
    policies:
    - pruner: {instance_name: lp_norm}
      starting_epoch: 0
      ending_epoch: 3
      frequency: 1
    - extension: {instance_name: thinner}
      epochs: [2]
    <BLANKLINE>
    """
    if not isinstance(spec, Spec):
        what = "give what pt.infer(model, params, x) gave"
        raise SpecError(f"spec is {type(spec).__name__}; {what}")
    functions: dict[Role, Function] = {
        "criterion": _function(criterion, "criterion"),
        "curve": _function(curve, "curve"),
    }
    entry = _entry(axes, functions, choices)
    times = _times(functions["curve"], begin, end, frequency)
    name = str(choices.get("name", functions["criterion"].name))
    plain = {
        "version": 1,
        "pruners": {name: entry},
        "extensions": {"thinner": {"class": "StructureRemover"}},
        "policies": [
            {"pruner": {"instance_name": name}, **times},
            {"extension": {"instance_name": "thinner"}, "epochs": [_last(times)]},
        ],
    }
    try:
        recipe = _with(Recipe.from_yaml(dumped(plain), _TITLE), functions)
        recipe.on(spec)
    except yaml.YAMLError as error:
        raise RecipeError(f"an option is no plain value: {error}") from error
    except RecipeError as error:
        raise RecipeError(re.sub(rf"{re.escape(_TITLE)}:\d+:\d+: ", "", str(error))) from error
    return recipe


def _function(given: Callable[..., Any] | str, role: Role) -> Function:
    if isinstance(given, str):
        return Function(given)
    if not callable(given):
        raise RecipeError(f"the {role} is {type(given).__name__}: give a function, as pt.taylor")
    return function_of(given, role)


def _entry(
    axes: float | str | Sequence[str] | Mapping[str, float],
    functions: Mapping[Role, Function],
    choices: Choices,
) -> dict[str, Any]:
    """The pruner's entry in YAML, as plain data."""
    known = {f.name for f in fields(ByAxis)} - {"axes", "criterion", "curve"}
    allowed = [*known, "initial", "name", *KINDS]
    if unknown := next((key for key in choices if key not in allowed), None):
        raise RecipeError(f"schedule has no option '{unknown}'; {nearest(unknown, allowed)}")
    if isinstance(axes, int | float):
        axes = {"*": axes}
    listed = dict(axes) if isinstance(axes, Mapping) else [axes] if isinstance(axes, str) else axes
    entry: dict[str, Any] = {"axes": listed if isinstance(listed, dict) else list(listed)}
    entry |= {role: _word(function, role) for role, function in functions.items()}
    if "initial" in choices:
        entry["initial_sparsity"] = choices["initial"]
    if target := {kind: value for kind, value in choices.items() if kind in KINDS}:
        entry["target"] = target
    given = {key: value for key, value in choices.items() if key in known and value is not None}
    return entry | {key: _plain(value) for key, value in given.items()}


def _plain(value: Any) -> Any:
    return (
        dict(value)
        if isinstance(value, Mapping)
        else [*value]
        if isinstance(value, tuple)
        else value
    )


def _word(function: Function, role: Role) -> Any:
    """What YAML says of a function; of one that it cannot name, of another."""
    try:
        return function.written(role)
    except RecipeError:
        return function.name if function.given is None else _PLACEHOLDERS[role]


def _times(curve: Function, begin: int, end: int, frequency: int) -> dict[str, Any]:
    if curve.name == "one_shot":
        return {"epochs": [begin]}
    return {"starting_epoch": begin, "ending_epoch": end, "frequency": frequency}


def _last(times: Mapping[str, Any]) -> Any:
    """The last epoch at which the pruner acts; where there is none, an error comes later."""
    if "epochs" in times:
        return times["epochs"][0]
    begin, end, step = times.values()
    whole = all(isinstance(value, int) for value in times.values()) and end > begin and step > 0
    return range(begin, end, step)[-1] if whole else 0


def _with(recipe: Recipe, functions: Mapping[Role, Function]) -> Recipe:
    """The recipe with the functions themselves, which YAML may not name."""
    (name, old), *_ = recipe.pruners.items()
    assert old.by_axis is not None
    by = replace(old.by_axis, criterion=functions["criterion"], curve=functions["curve"])
    new: Pruner = replace(old, by_axis=by, criterion=by.criterion.name)
    policies = tuple(
        replace(policy, instance=new) if policy.instance is old else policy
        for policy in recipe.policies
    )
    return replace(recipe, pruners={name: new}, policies=policies)
