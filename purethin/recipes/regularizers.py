"""Regularizers: a penalty that pulls whole groups of weights to zero, and the removal of those that
it brought there.

The penalty is of the tensors as they are, thinned or not: what is removed adds nothing to it, nor
to its gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from math import prod

import torch
import yaml
from torch import Tensor

from purethin import axes as ax
from purethin.checks import kept_sizes
from purethin.errors import MaskError, nearest
from purethin.recipes import nodes
from purethin.recipes.distiller import class_of
from purethin.recipes.groups import Listed, locate, prunable, resolve
from purethin.recipes.nodes import said
from purethin.recipes.pruners import read_group_type
from purethin.spec import Masks, Spec
from purethin.thinning import masked_leaf
from purethin.units import wide

_CRITERIA = ("Max", "Mean_Abs")


@dataclass(frozen=True)
class Regularizer:
    """One regularizer of a recipe.

    Attributes:
        name: its instance name.
        weights: the listed names.
        strengths: what the penalty of each is multiplied with; also the threshold at or below which
            a group is removed.
        group_types: what a group of each is, one of `GROUP_TYPES`; None where each element is a
            group (L1).
        threshold: "Max" or "Mean_Abs", what of a group's magnitudes is compared; None where nothing
            is removed.
        place: its line, for messages.
        places: those of its weights.
    """

    name: str
    weights: tuple[str, ...]
    strengths: tuple[float, ...]
    group_types: tuple[str | None, ...]
    threshold: str | None
    place: str = field(default="", compare=False, repr=False)
    places: tuple[str, ...] = field(default=(), compare=False, repr=False)


# ---- reading

Regim = tuple[str, float, str | None]
"""A place, a strength, a group type."""


def _regims(node: yaml.Node, what: str, *, group_type: bool) -> dict[str, Regim]:
    listed, out = nodes.mapping(node, what), dict[str, Regim]()
    for weight, (at, entry) in listed.items():
        pair = _pair(entry) if group_type else (nodes.number(entry, "the strength"), None)
        out[weight] = (nodes.place(at), pair[0], pair[1])
    return out


def _pair(node: yaml.Node) -> tuple[float, str]:
    """A strength and a group type."""
    parts = nodes.sequence(node, "a strength and a group type")
    if (count := len(parts)) != 2:
        more = ": a threshold is `threshold_criteria`, and what follows a weight the network says"
        two = "a strength and a group type are two entries, as [0.0008, Filters]"
        nodes.fail(node, f"{two}; here are {count}{more if count > 2 else ''}")
    return nodes.number(parts[0], "the strength"), read_group_type(parts[1])


def _threshold(node: yaml.Node, _: str) -> str | None:
    if (given := nodes.value(node)) is not None and given not in _CRITERIA:
        nodes.fail(node, f"no threshold_criteria is '{given}'; {nearest(str(given), _CRITERIA)}")
    return given


def _no_threshold(node: yaml.Node, what: str) -> None:
    if not nodes.empty(node):
        remedy = (
            "remove it, and use GroupLassoRegularizer to remove groups, or AutomatedGradualPruner "
            "to zero single weights"
        )
        why = f"{what} of an L1Regularizer would zero single weights by its strength"
        nodes.fail(node, f"{why}: {remedy}")


@dataclass(frozen=True)
class _Lasso:
    reg_regims: Mapping[str, Regim] = said(
        partial(_regims, group_type=True), "{conv1.weight: [0.0008, Filters]}"
    )
    threshold_criteria: str | None = said(_threshold, default=None)


@dataclass(frozen=True)
class _L1:
    reg_regims: Mapping[str, Regim] = said(
        partial(_regims, group_type=False), "{bn1.weight: 0.0001}"
    )
    threshold_criteria: None = said(_no_threshold, default=None)


_FORMS = {"GroupLassoRegularizer": _Lasso, "L1Regularizer": _L1}


def read_regularizer(name: str, at: yaml.Node, node: yaml.Node) -> Regularizer:
    """A regularizer from its entry under `regularizers`.

    Raises:
        RecipeError: the class or an argument is unknown, refused, missing or out of range.
    """
    owner = f"regularizer '{name}'"
    kind, entries = class_of(name, at, nodes.mapping(node, owner), _FORMS)
    says = nodes.read(_FORMS[kind], entries, at, owner, f"{kind} has no argument")
    if not says.reg_regims:
        example = fields(_FORMS[kind])[0].metadata["example"]
        why = f"{owner} lists no weights: write `reg_regims: {example}`"
        nodes.fail(entries["reg_regims"][1], why)
    places, strengths, kinds = zip(*says.reg_regims.values(), strict=True)
    threshold = says.threshold_criteria
    weights = tuple(says.reg_regims)
    return Regularizer(name, weights, strengths, kinds, threshold, nodes.place(at), places)


# ---- on a network


@dataclass(frozen=True)
class Penalty:
    """One listed weight of a regularizer on a network; a group type of None is of L1."""

    listed: Listed
    strength: float
    group_type: str | None


def penalties_of(regularizer: Regularizer, spec: Spec) -> tuple[Penalty, ...]:
    """The weights that a regularizer pulls to zero on this network.

    Raises:
        RecipeError: there is no such weight, or it has no such dim.
    """
    r, out = regularizer, []
    places = r.places or (r.place,) * len(r.weights)
    for w, at, strength, kind in zip(r.weights, places, r.strengths, r.group_types, strict=True):
        listed = Listed(resolve(w, at, spec), at, -1) if kind is None else locate(w, at, kind, spec)
        out.append(Penalty(listed, strength, kind))
    return tuple(out)


def penalty(penalties: Iterable[Penalty], tensors: Mapping[str, Tensor]) -> Tensor:
    """λ·Σ_g ‖w_g‖₂ over the groups of every listed weight, or λ·Σ|w|; a scalar, differentiable (0
    at zero).

    Args:
        penalties: those of the regularizers that act.
        tensors: the parameters as they are now, thinned or not; half types are summed in float32.

    Source: Yuan & Lin, Model selection and estimation in regression with grouped variables, 2006;
    Wen et al., Learning structured sparsity in deep neural networks, arXiv 1608.03665.
    """
    terms = []
    for p in penalties:
        tensor = wide(tensors[p.listed.weight])
        others = [d for d in range(tensor.dim()) if d != p.listed.dim]
        l1 = p.group_type is None
        norm = tensor.abs() if l1 else torch.linalg.vector_norm(tensor, 2, dim=others)
        terms.append(p.strength * norm.sum())
    return torch.stack([term.to(terms[0].device) for term in terms]).sum()


def fallen(
    threshold: str,
    penalties: Iterable[Penalty],
    tensors: Mapping[str, Tensor],
    spec: Spec,
    masks: Masks,
) -> dict[str, Tensor]:
    """Masks of the units that a regularizer brought to its threshold, together with those removed
    before.

    A unit goes when, in every listed weight that carries its axis, every group of it is at or below
    that weight's strength; never the last unit of an axis. What is frozen, or a product of several
    axes, is not touched.

    Args:
        threshold: "Max" or "Mean_Abs": what of a group's magnitudes is compared.
        penalties: the regularizer's.
        tensors: the parameters at their dense shapes.
        spec: the dense spec.
        masks: the masks so far. A mean is over what they keep, so that thinning changes no answer.

    Returns:
        `{axis: BoolTensor[size]}` of the axes of which it removes any unit, True = keep.

    Raises:
        MaskError: a listed weight holds nan.
    """
    above: dict[str, Tensor] = {}
    kept = kept_sizes(spec, masks)
    for p in penalties:
        weight, dim = p.listed.weight, p.listed.dim
        tensor = wide(masked_leaf(weight, tensors[weight].detach().abs(), spec, masks, spare=False))
        others = [d for d in range(tensor.dim()) if d != dim]
        counted = prod(kept(spec.layout[weight][d]) for d in others)
        level = tensor.amax(others) if threshold == "Max" else tensor.sum(others) / counted
        if bool(level.isnan().any()):
            count = int(level.isnan().sum())
            raise MaskError(f"{count} groups of {weight} hold nan: they have no magnitude")
        for axis in prunable(p.listed, spec):
            unit = ax.units(spec.layout[weight][dim], axis, spec.sizes).to(level.device)
            margin = _largest(level - p.strength, unit, spec.sizes[axis])
            before = above.get(axis, margin)
            above[axis] = torch.maximum(before, margin.to(before))
    out: dict[str, Tensor] = {}
    for axis, margin in above.items():
        before = torch.ones_like(margin, dtype=torch.bool)
        before = masks[axis].to(margin.device) if axis in masks else before
        keep = before & (margin > 0)
        if not bool(keep.any()):
            keep[torch.where(before, margin, -torch.inf).argmax()] = True
        if not bool(keep.equal(before)):
            out[axis] = keep
    return out


def _largest(entries: Tensor, unit: Tensor, size: int) -> Tensor:
    """`Tensor[size]`: the largest of each unit's entries."""
    carrying = (unit >= 0).nonzero()[:, 0]
    least = entries.new_full((size,), -torch.inf)
    return least.scatter_reduce(0, unit[carrying], entries[carrying], "amax")


def reasons(regularizer: Regularizer, penalties: Iterable[Penalty], spec: Spec) -> dict[str, str]:
    """`{axis: why}` of the axes from which a regularizer may remove units."""
    out: dict[str, str] = {}
    for p in penalties:
        why = f"{p.group_type} of {p.listed.weight}, {regularizer.threshold} up to {p.strength:g}"
        for axis in prunable(p.listed, spec) if p.group_type else ():
            out.setdefault(axis, why)
    return out
