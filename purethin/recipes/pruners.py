"""Pruners as a recipe defines them: what ranks, which weights, along what, how much. A class is a
thin name over a criterion.

A pruner knows no network: `groups_of` says which axes it means on one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from purethin.errors import nearest
from purethin.recipes.distiller import ARGUMENTS, GROUPS, class_of, refuse_argument
from purethin.recipes.located import Fields, empty, fail, fraction, mapping, place, sequence, value

CRITERIA = {
    "L1Ranked": "l1",
    "L2Ranked": "l2",
    "ActivationAPoZRanked": "apoz",
    "ActivationMeanRanked": "activation_mean",
    "GradientRanked": "gradient",
    "RandomRanked": "random",
}
"""What a class name begins with, and what ranks: a norm of the weight, a statistic of data, chance.
"""
ELEMENTS = "AutomatedGradualPruner"
_AMOUNTS = ("initial_sparsity", "final_sparsity", "desired_sparsity")
_FORMS = ("StructureParameterPruner", "FilterPruner")
_CLASSES = [
    ELEMENTS,
    *(f"{first}{form}{last}" for first in CRITERIA for form in _FORMS for last in ("", "_AGP")),
]
GROUP_TYPES = {
    "Filters": "filters",
    "3D": "filters",
    "Rows": "filters",
    "Channels": "channels",
    "Cols": "channels",
}
"""What a group type prunes: the outputs of a weight, or its inputs. Rows and Cols are for matrices.
"""
DEPENDENCIES = ("Leader", "Auto", "Sum", "Mean")
"""Which of the listed weights that share an axis ranks it.

`Leader`: the first listed weight ranks for all. `Auto`: each axis is ranked by the first that
carries it; `Sum` and `Mean`: by the sum or mean of the scores of all that carry it.
"""


@dataclass(frozen=True)
class Pruner:
    """One pruner of a recipe.

    Attributes:
        name: its instance name.
        criterion: one of `CRITERIA`'s values; "magnitude" zeroes single weights.
        weights: the listed names.
        group_type: one of `GROUP_TYPES`; None for single weights.
        group_dependency: one of `DEPENDENCIES`, or None.
        initial: the fraction removed at the first epoch.
        final: the fraction removed at the last.
        gradual: whether it follows automated gradual pruning between the two.
        place: its line, for messages.
        places: those of its weights.
    """

    name: str
    criterion: str
    weights: tuple[str, ...]
    group_type: str | None
    group_dependency: str | None
    initial: float
    final: float
    gradual: bool
    place: str = field(default="", compare=False, repr=False)
    places: tuple[str, ...] = field(default=(), compare=False, repr=False)


def read_pruner(name: str, at: yaml.Node, node: yaml.Node) -> Pruner:
    """A pruner from its entry under `pruners`.

    Raises:
        RecipeError: the class or an argument is unknown, refused, missing or out of range.
    """
    fields = mapping(node, f"pruner '{name}'")
    kind = class_of(name, at, fields, _CLASSES)
    filters, gradual, single = (
        "FilterPruner" in kind,
        kind.endswith("_AGP") or kind == ELEMENTS,
        kind == ELEMENTS,
    )
    amounts = ("initial_sparsity", "final_sparsity") if gradual else ("desired_sparsity",)
    group_type = (
        None
        if single
        else read_group_type(fields["group_type"][1])
        if "group_type" in fields
        else "Filters"
    )
    grouping = () if single else ("group_type", "group_dependency")
    _check_arguments(name, at, fields, kind, ("class", *grouping, "weights", *amounts))
    for key in (*amounts, "weights", *(() if filters else grouping[:1])):
        if key not in fields:
            example = {"weights": "[…]", "group_type": "Filters"}.get(key, "0.5")
            fail(at, f"pruner '{name}' lacks '{key}': write `{key}: {example}`")
    weights = _weights(name, fields["weights"][1])
    fractions = [fraction(fields[key][1], key) for key in amounts]
    if fractions[0] > fractions[-1]:
        fail(
            fields["final_sparsity"][1],
            f"final_sparsity {fractions[-1]} is below initial_sparsity {fractions[0]}: what is "
            "removed stays removed",
        )
    if filters and GROUP_TYPES[group_type or ""] != "filters":
        other = kind.replace("FilterPruner", "StructureParameterPruner")
        fail(
            fields["group_type"][1],
            f"{kind} prunes Filters; for {group_type} write `class: {other}`",
        )
    criterion = next((c for first, c in CRITERIA.items() if kind.startswith(first)), "magnitude")
    return Pruner(
        name,
        criterion,
        tuple(weights),
        group_type,
        _group_dependency(fields),
        fractions[0],
        fractions[-1],
        gradual,
        place(at),
        tuple(weights.values()),
    )


def read_group_type(node: yaml.Node) -> str:
    """One of `GROUP_TYPES`."""
    kind = str(value(node))
    if kind in GROUPS:
        fail(
            node,
            f"group_type {kind} removes {GROUPS[kind]}, which leaves no smaller network; use "
            "Filters or Channels",
        )
    if kind not in GROUP_TYPES:
        fail(node, f"no group_type is named '{kind}'; {nearest(kind, GROUP_TYPES)}")
    return kind


def _check_arguments(
    name: str, at: yaml.Node, fields: Fields, kind: str, allowed: tuple[str, ...]
) -> None:
    for key, (key_at, entry) in fields.items():
        refuse_argument(key, key_at, entry)
        if key not in allowed and key not in ARGUMENTS:
            other = kind.removesuffix("_AGP") if kind.endswith("_AGP") else f"{kind}_AGP"
            hint = f"; that is of {other}" if key in _AMOUNTS and kind != ELEMENTS else ""
            fail(key_at, f"{kind} has no argument '{key}'{hint}; {nearest(key, allowed)}")


def _weights(name: str, node: yaml.Node) -> dict[str, str]:
    """`{weight: place}`; one word is a list of one, as Distiller's own schedules have it."""
    weights: dict[str, str] = {}
    for item in (
        [node]
        if isinstance(node, yaml.ScalarNode) and not empty(node)
        else sequence(node, "weights")
    ):
        weight = str(value(item))
        if weight.removeprefix("module.") in {w.removeprefix("module.") for w in weights}:
            fail(item, f"'{weight}' is listed twice; list each weight once")
        weights[weight] = place(item)
    if not weights:
        fail(node, f"pruner '{name}' lists no weights")
    return weights


def _group_dependency(fields: Fields) -> str | None:
    if "group_dependency" not in fields or empty(node := fields["group_dependency"][1]):
        return None
    if (kind := str(value(node))) not in DEPENDENCIES:
        fail(node, f"no group_dependency is named '{kind}'; {nearest(kind, DEPENDENCIES)}")
    return kind
