"""Pruners as a recipe defines them: what ranks, which weights, along what, how much. A class is a
thin name over a criterion.

A pruner knows no network: `groups_of` says which axes it means on one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial

import yaml

from purethin.budgets.asked import KINDS
from purethin.errors import nearest
from purethin.recipes import nodes
from purethin.recipes.by_axis import ByAxis, read_by_axis
from purethin.recipes.distiller import GROUPS, class_of, off
from purethin.recipes.nodes import Fields, said

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
_AMOUNTS = {"desired_sparsity", "initial_sparsity", "final_sparsity", "target"}
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
        criterion: one of `CRITERIA`'s values; "magnitude" zeroes single weights. Of a pruner by
            axes, its name.
        weights: the listed names.
        group_type: one of `GROUP_TYPES`; None for single weights.
        group_dependency: one of `DEPENDENCIES`, or None.
        initial: the fraction removed at the first epoch.
        final: the fraction removed at the last.
        gradual: whether it follows a curve between the two.
        target: `{kind: fraction or number}`: what the network may cost at the end, in place of a
            sparsity; `initial` and `final` are then parts of the way there.
        shared: whether the target is that of the whole recipe, which its pruners reach together.
        by_axis: what a pruner says that lists axes, not weights.
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
    target: Mapping[str, float] | None = None
    shared: bool = False
    by_axis: ByAxis | None = None
    place: str = field(default="", compare=False, repr=False)
    places: tuple[str, ...] = field(default=(), compare=False, repr=False)


# ---- what an entry under `pruners` says, by form


def read_group_type(node: yaml.Node, _: str = "group_type") -> str:
    """One of `GROUP_TYPES`."""
    kind = str(nodes.value(node))
    if kind in GROUPS:
        why = f"removes {GROUPS[kind]}, which leaves no smaller network; use Filters or Channels"
        nodes.fail(node, f"group_type {kind} {why}")
    if kind not in GROUP_TYPES:
        nodes.fail(node, f"no group_type is named '{kind}'; {nearest(kind, GROUP_TYPES)}")
    return kind


def read_target(node: yaml.Node, _: str = "target") -> dict[str, float]:
    """`{kind: fraction of the dense cost, or number}`."""
    found = {}
    for kind, (at, given) in nodes.mapping(node, "target").items():
        if kind not in KINDS:
            nodes.fail(at, f"no target is of '{kind}'; {nearest(kind, KINDS)}")
        if not (number := nodes.number(given, f"target of {kind}")):
            nodes.fail(given, f"a target of no {kind}: write a fraction, as 0.5, or a number")
        found[kind] = number
    if not found:
        nodes.fail(node, "a target of nothing: write `target: {macs: 0.5}`")
    return found


def _weights(node: yaml.Node, _: str) -> dict[str, str]:
    """`{weight: place}`; one word is a list of one, as Distiller's own schedules have it."""
    word = isinstance(node, yaml.ScalarNode) and not nodes.empty(node)
    weights: dict[str, str] = {}
    for item in [node] if word else nodes.sequence(node, "weights"):
        weight = str(nodes.value(item))
        if weight.removeprefix("module.") in {w.removeprefix("module.") for w in weights}:
            nodes.fail(item, f"'{weight}' is listed twice; list each weight once")
        weights[weight] = nodes.place(item)
    return weights


@dataclass(frozen=True, kw_only=True)
class _Once:
    weights: Mapping[str, str] = said(_weights, "[…]")
    desired_sparsity: float = said(nodes.fraction, "0.5")


@dataclass(frozen=True, kw_only=True)
class _Gradually:
    weights: Mapping[str, str] = said(_weights, "[…]")
    initial_sparsity: float = said(nodes.fraction, "0.5")
    final_sparsity: float = said(nodes.fraction, "0.5")


@dataclass(frozen=True, kw_only=True)
class _Units:
    group_type: str = said(read_group_type, "Filters")
    group_dependency: str | None = said(partial(nodes.one_of, allowed=DEPENDENCIES), default=None)


@dataclass(frozen=True, kw_only=True)
class _Target(_Units):
    weights: Mapping[str, str] = said(_weights, "[…]")
    target: Mapping[str, float] = said(read_target, "{macs: 0.5}")


@dataclass(frozen=True)
class _UnitsOnce(_Once, _Units):
    pass


@dataclass(frozen=True)
class _UnitsGradually(_Gradually, _Units):
    pass


def read_pruner(
    name: str, at: yaml.Node, node: yaml.Node, target: yaml.Node | None = None
) -> Pruner:
    """A pruner from its entry under `pruners`; `target` is that of the whole recipe.

    Raises:
        RecipeError: the class or an argument is unknown, refused, missing or out of range.
    """
    if "axes" in (given := nodes.mapping(node, f"pruner '{name}'")):
        return _of_axes(name, at, given, target)
    kind, entries = class_of(name, at, given, _CLASSES)
    entries = {k: e for k, e in entries.items() if not off(k, *e)}
    if kind != ELEMENTS:
        entries = _units(kind, entries)
    if shared := target is not None and kind != ELEMENTS and not entries.keys() & _AMOUNTS:
        entries = {**entries, "target": (target, target)}
    form = _UnitsGradually if kind.endswith("_AGP") else _UnitsOnce
    form = _Target if "target" in entries else form
    form = _Gradually if kind == ELEMENTS else form
    says = nodes.read(form, entries, at, f"pruner '{name}'", f"{kind} has no argument")
    if not says.weights:
        nodes.fail(entries["weights"][1], f"pruner '{name}' lists no weights")
    if isinstance(says, _Target):
        initial, final = 0.0, 1.0
    elif isinstance(says, _Gradually):
        initial, final = says.initial_sparsity, says.final_sparsity
    else:
        initial = final = says.desired_sparsity
    if initial > final:
        why = f"is below initial_sparsity {initial}: what is removed stays removed"
        nodes.fail(entries["final_sparsity"][1], f"final_sparsity {final} {why}")
    return Pruner(
        name,
        next((c for first, c in CRITERIA.items() if kind.startswith(first)), "magnitude"),
        tuple(says.weights),
        getattr(says, "group_type", None),
        getattr(says, "group_dependency", None),
        initial,
        final,
        kind.endswith("_AGP") or kind == ELEMENTS,
        getattr(says, "target", None),
        shared,
        place=nodes.place(at),
        places=tuple(says.weights.values()),
    )


@dataclass(frozen=True)
class _Amounts:
    initial_sparsity: float = said(nodes.fraction, default=0.0)
    target: Mapping[str, float] | None = said(read_target, default=None)


def _of_axes(name: str, at: yaml.Node, entries: Fields, target: yaml.Node | None) -> Pruner:
    """A pruner that lists axes."""
    owner = f"pruner '{name}'"
    keys = {f.name for f in fields(_Amounts)}
    own = {key: entry for key, entry in entries.items() if key in keys}
    says = nodes.read(_Amounts, own, at, owner, "")
    by = read_by_axis({k: e for k, e in entries.items() if k not in keys}, at, owner)
    fractions = [f for f in by.axes.values() if f is not None]
    shared = target is not None and not fractions and says.target is None
    goal = read_target(target) if target is not None and shared else says.target
    _check_amounts(owner, at, entries["axes"][1], by, goal)
    gradual = by.curve.name != "one_shot"
    final = 1.0 if goal is not None else max(fractions)
    return Pruner(
        name,
        by.criterion.name,
        (),
        None,
        None,
        says.initial_sparsity if gradual else final,
        final,
        gradual,
        goal,
        shared,
        by,
        nodes.place(at),
    )


def _check_amounts(
    owner: str, at: yaml.Node, listed: yaml.Node, by: ByAxis, goal: Mapping[str, float] | None
) -> None:
    """That a pruner of axes says how much of them goes, once."""
    said = any(f is not None for f in by.axes.values())
    if not by.axes:
        nodes.fail(listed, f"{owner} lists no axes")
    if goal is None and not said:
        example = f"`axes: {{{next(iter(by.axes))}: 0.5}}`"
        nodes.fail(listed, f"how much of these goes is not said: write {example}")
    if goal is not None and said:
        remedy = "write `axes: […]` without numbers, or leave the target out"
        nodes.fail(listed, f"{owner} has sparsities and a target: {remedy}")
    shares = by.normalize in (None, "layers", "share", "raw")
    if goal is not None and not (by.scope == "local" and shares):
        why = "a target gives each axis its own width"
        remedy = "leave the scope out, and write `normalize: layers`, share or raw"
        nodes.fail(at, f"{owner}: {why}: {remedy}")
    if by.regrow and (goal is not None or by.scope != "local" or by.curve.name == "one_shot"):
        why = "`regrow` exchanges units within an axis, step by step"
        nodes.fail(at, f"{owner}: {why}: leave target, scope and one_shot out, or `regrow`")
    if goal is None and by.normalize in ("layers", "share"):
        why = f"`normalize: {by.normalize}` is of a target"
        nodes.fail(at, f"{owner}: {why}; write mean, max, l2 or cost")


def _units(kind: str, entries: Fields) -> Fields:
    """The entries of a pruner of units, whose class says that it prunes Filters, or is gradual."""
    gradual = kind.endswith("_AGP")
    other = kind.removesuffix("_AGP") if gradual else f"{kind}_AGP"
    for key in ("desired_sparsity",) if gradual else ("initial_sparsity", "final_sparsity"):
        if key in entries:
            at, why = entries[key][0], f"that is of {other}; use that"
            nodes.fail(at, f"{kind} has no argument '{key}'; {why}")
    if "FilterPruner" not in kind:
        return entries
    filters = yaml.ScalarNode("tag:yaml.org,2002:str", "Filters")
    at, node = entries.get("group_type", (filters, filters))
    given = read_group_type(node)
    if GROUP_TYPES[given] != "filters":
        other = kind.replace("FilterPruner", "StructureParameterPruner")
        nodes.fail(node, f"{kind} prunes Filters; for {given} write `class: {other}`")
    return {**entries, "group_type": (at, node)}
