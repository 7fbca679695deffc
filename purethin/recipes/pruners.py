"""Pruners as a recipe defines them: what ranks, which weights, along what, how much. A class is a
thin name over a criterion.

A pruner knows no network: `groups_of` says which axes it means on one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial

import yaml

from purethin.errors import nearest
from purethin.recipes.distiller import GROUPS, class_of, off
from purethin.recipes.located import (
    Fields,
    empty,
    fail,
    fraction,
    mapping,
    one_of,
    place,
    read,
    said,
    sequence,
    value,
)

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


# ---- what an entry under `pruners` says, by form


def read_group_type(node: yaml.Node, _: str = "group_type") -> str:
    """One of `GROUP_TYPES`."""
    kind = str(value(node))
    if kind in GROUPS:
        why = f"removes {GROUPS[kind]}, which leaves no smaller network; use Filters or Channels"
        fail(node, f"group_type {kind} {why}")
    if kind not in GROUP_TYPES:
        fail(node, f"no group_type is named '{kind}'; {nearest(kind, GROUP_TYPES)}")
    return kind


def _weights(node: yaml.Node, _: str) -> dict[str, str]:
    """`{weight: place}`; one word is a list of one, as Distiller's own schedules have it."""
    word = isinstance(node, yaml.ScalarNode) and not empty(node)
    weights: dict[str, str] = {}
    for item in [node] if word else sequence(node, "weights"):
        weight = str(value(item))
        if weight.removeprefix("module.") in {w.removeprefix("module.") for w in weights}:
            fail(item, f"'{weight}' is listed twice; list each weight once")
        weights[weight] = place(item)
    return weights


@dataclass(frozen=True)
class _Once:
    weights: Mapping[str, str] = said(_weights, "[…]")
    desired_sparsity: float = said(fraction, "0.5")

    @property
    def amounts(self) -> tuple[float, float]:
        return self.desired_sparsity, self.desired_sparsity


@dataclass(frozen=True)
class _Gradually:
    weights: Mapping[str, str] = said(_weights, "[…]")
    initial_sparsity: float = said(fraction, "0.5")
    final_sparsity: float = said(fraction, "0.5")

    @property
    def amounts(self) -> tuple[float, float]:
        return self.initial_sparsity, self.final_sparsity


@dataclass(frozen=True, kw_only=True)
class _Units:
    group_type: str = said(read_group_type, "Filters")
    group_dependency: str | None = said(partial(one_of, allowed=DEPENDENCIES), default=None)


@dataclass(frozen=True, kw_only=True)
class _Filters(_Units):
    group_type: str = said(read_group_type, default="Filters")


@dataclass(frozen=True)
class _UnitsOnce(_Once, _Units):
    pass


@dataclass(frozen=True)
class _UnitsGradually(_Gradually, _Units):
    pass


@dataclass(frozen=True)
class _FiltersOnce(_Once, _Filters):
    pass


@dataclass(frozen=True)
class _FiltersGradually(_Gradually, _Filters):
    pass


def _form(kind: str) -> type[_Once] | type[_Gradually]:
    """What a class of pruner reads."""
    if kind == ELEMENTS:
        return _Gradually
    if kind.endswith("_AGP"):
        return _FiltersGradually if "FilterPruner" in kind else _UnitsGradually
    return _FiltersOnce if "FilterPruner" in kind else _UnitsOnce


def read_pruner(name: str, at: yaml.Node, node: yaml.Node) -> Pruner:
    """A pruner from its entry under `pruners`.

    Raises:
        RecipeError: the class or an argument is unknown, refused, missing or out of range.
    """
    kind, entries = class_of(name, at, mapping(node, f"pruner '{name}'"), _CLASSES)
    form = _form(kind)
    entries = {k: e for k, e in entries.items() if not off(k, *e)}
    _check_amounts(entries, form, kind)
    says = read(form, entries, at, f"pruner '{name}'", f"{kind} has no argument")
    if not says.weights:
        fail(entries["weights"][1], f"pruner '{name}' lists no weights")
    initial, final = says.amounts
    if initial > final:
        fail(
            entries["final_sparsity"][1],
            f"final_sparsity {final} is below initial_sparsity {initial}: what is removed stays "
            "removed",
        )
    units = says if isinstance(says, _Units) else None
    if isinstance(units, _Filters) and GROUP_TYPES[units.group_type] != "filters":
        other = kind.replace("FilterPruner", "StructureParameterPruner")
        fail(
            entries["group_type"][1],
            f"{kind} prunes Filters; for {units.group_type} write `class: {other}`",
        )
    return Pruner(
        name,
        next((c for first, c in CRITERIA.items() if kind.startswith(first)), "magnitude"),
        tuple(says.weights),
        units and units.group_type,
        units and units.group_dependency,
        initial,
        final,
        isinstance(says, _Gradually),
        place(at),
        tuple(says.weights.values()),
    )


def _check_amounts(entries: Fields, form: type, kind: str) -> None:
    """That a pruner is not given the sparsity of its other form, at once or gradually."""
    for key in ("initial_sparsity", "final_sparsity", "desired_sparsity"):
        if key in entries and kind != ELEMENTS and key not in {f.name for f in fields(form)}:
            other = kind.removesuffix("_AGP") if kind.endswith("_AGP") else f"{kind}_AGP"
            fail(entries[key][0], f"{kind} has no argument '{key}'; that is of {other}; use that")
