"""Regularizers: a penalty that pulls whole groups of weights to zero, and the removal of those that
it brought there.

The penalty is of the tensors as they are, thinned or not: what is removed adds nothing to it, nor
to its gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import torch
import yaml
from torch import Tensor

from purethin import axes as ax
from purethin.criteria import wide
from purethin.errors import MaskError, nearest
from purethin.recipes.distiller import class_of
from purethin.recipes.groups import Listed, locate, prunable, resolve
from purethin.recipes.located import fail, mapping, number, place, sequence, value
from purethin.recipes.pruners import read_group_type
from purethin.spec import Masks, Spec
from purethin.thinning import kept_sizes, masked_leaf

_CLASSES = ("GroupLassoRegularizer", "L1Regularizer")
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

    def listed(self, spec: Spec) -> list[tuple[Listed, float, str | None]]:
        """Each weight on this network, with its strength and group type.

        Raises:
            RecipeError: there is no such weight, or it has no such dim.
        """
        places = self.places or [self.place] * len(self.weights)
        return [
            (
                Listed(resolve(w, at, spec), at, -1) if kind is None else locate(w, at, kind, spec),
                strength,
                kind,
            )
            for w, at, strength, kind in zip(
                self.weights, places, self.strengths, self.group_types, strict=True
            )
        ]


def read_regularizer(name: str, at: yaml.Node, node: yaml.Node) -> Regularizer:
    """A regularizer from its entry under `regularizers`.

    Raises:
        RecipeError: the class or an argument is unknown, refused, missing or out of range.
    """
    fields = mapping(node, f"regularizer '{name}'")
    kind = class_of(name, at, fields, _CLASSES)
    groups = kind == "GroupLassoRegularizer"
    allowed = ("class", "reg_regims", "threshold_criteria")
    for key, (key_at, _) in fields.items():
        if key not in allowed:
            fail(key_at, f"{kind} has no argument '{key}'; {nearest(key, allowed)}")
    example = "{conv1.weight: [0.0008, Filters]}" if groups else "{bn1.weight: 0.0001}"
    if "reg_regims" not in fields:
        fail(at, f"regularizer '{name}' lacks 'reg_regims': write `reg_regims: {example}`")
    threshold = value(fields["threshold_criteria"][1]) if "threshold_criteria" in fields else None
    if threshold is not None and not groups:
        fail(
            fields["threshold_criteria"][1],
            "threshold_criteria of an L1Regularizer would zero single weights by its strength: "
            "remove it, and use "
            "GroupLassoRegularizer to remove groups, or AutomatedGradualPruner to zero single "
            "weights",
        )
    if threshold is not None and threshold not in _CRITERIA:
        fail(
            fields["threshold_criteria"][1],
            f"no threshold_criteria is '{threshold}'; {nearest(str(threshold), _CRITERIA)}",
        )
    regims = mapping(fields["reg_regims"][1], "reg_regims")
    if not regims:
        fail(
            fields["reg_regims"][1],
            f"regularizer '{name}' lists no weights: write `reg_regims: {example}`",
        )
    read = [
        _group_regim(entry) if groups else (number(entry, "the strength"), None)
        for _, entry in regims.values()
    ]
    return Regularizer(
        name,
        tuple(regims),
        tuple(strength for strength, _ in read),
        tuple(kind for _, kind in read),
        threshold,
        place(at),
        tuple(place(key) for key, _ in regims.values()),
    )


def _group_regim(node: yaml.Node) -> tuple[float, str]:
    parts = sequence(node, "a strength and a group type")
    if len(parts) != 2:
        more = (
            ": a threshold is `threshold_criteria`, and what follows a weight the network says"
            if len(parts) > 2
            else ""
        )
        fail(
            node,
            "a strength and a group type are two entries, as [0.0008, Filters]; here are "
            f"{len(parts)}{more}",
        )
    return number(parts[0], "the strength"), read_group_type(parts[1])


def penalty(regularizer: Regularizer, tensors: Mapping[str, Tensor], spec: Spec) -> Tensor:
    """λ·Σ_g ‖w_g‖₂ over the groups of every listed weight, or λ·Σ|w|; a scalar, differentiable (0
    at zero).

    Args:
        regularizer: the regularizer.
        tensors: the parameters as they are now, thinned or not; half types are summed in float32.
        spec: theirs.

    Raises:
        RecipeError: the regularizer does not fit the network.

    Source: Yuan & Lin, Model selection and estimation in regression with grouped variables, 2006;
    Wen et al., Learning structured sparsity in deep neural networks, arXiv 1608.03665.
    """
    terms = []
    for listed, strength, kind in regularizer.listed(spec):
        tensor = wide(tensors[listed.weight])
        others = [d for d in range(tensor.dim()) if d != listed.dim]
        norm = tensor.abs() if kind is None else torch.linalg.vector_norm(tensor, 2, dim=others)
        terms.append(strength * norm.sum())
    return torch.stack([term.to(terms[0].device) for term in terms]).sum()


def fallen(
    regularizer: Regularizer, tensors: Mapping[str, Tensor], spec: Spec, masks: Masks
) -> dict[str, Tensor]:
    """Masks of the units that a regularizer brought to its threshold, together with those removed
    before.

    A unit goes when, in every listed weight that carries its axis, every group of it is at or below
    that weight's strength; never the last unit of an axis. What is frozen, or a product of several
    axes, is left alone.

    Args:
        regularizer: the regularizer.
        tensors: the parameters at their dense shapes.
        spec: the dense spec.
        masks: the masks so far. A mean is over what they keep, so that thinning changes no answer.

    Returns:
        `{axis: BoolTensor[size]}` of the axes of which it removes any unit, True = keep.

    Raises:
        RecipeError: the regularizer does not fit the network.
        MaskError: a listed weight holds nan.
    """
    above: dict[str, Tensor] = {}
    kept = kept_sizes(spec, {name: m for name, m in masks.items() if name in spec.axes})
    for listed, strength, _ in regularizer.listed(spec):
        layout, tensor = spec.layout[listed.weight], tensors[listed.weight].detach().abs()
        tensor = wide(masked_leaf(listed.weight, tensor, spec, masks, spare=False))
        others = [d for d in range(tensor.dim()) if d != listed.dim]
        if regularizer.threshold == "Max":
            level = tensor.amax(others)
        else:
            level = tensor.sum(others) / prod(kept(layout[d]) for d in others)
        if bool(level.isnan().any()):
            raise MaskError(
                f"{int(level.isnan().sum())} groups of {listed.weight} hold nan: they have no "
                "magnitude"
            )
        for axis in prunable(listed, spec):
            unit = ax.units(layout[listed.dim], axis, spec.sizes)
            entries = (unit >= 0).nonzero()[:, 0].to(level.device)
            margin = torch.full(
                (spec.axes[axis].size,), -torch.inf, dtype=level.dtype, device=level.device
            )
            margin = margin.scatter_reduce(
                0, unit.to(level.device)[entries], level[entries] - strength, "amax"
            )
            above[axis] = (
                margin if axis not in above else torch.maximum(above[axis], margin.to(above[axis]))
            )
    out = {}
    for axis, margin in above.items():
        before = (
            masks[axis].to(margin.device)
            if axis in masks
            else torch.ones_like(margin, dtype=torch.bool)
        )
        keep = before & (margin > 0)
        if not bool(keep.any()):
            keep[torch.where(before, margin, -torch.inf).argmax()] = True
        if not bool(keep.equal(before)):
            out[axis] = keep
    return out


def reasons(regularizer: Regularizer, spec: Spec) -> dict[str, str]:
    """`{axis: why}` of the axes from which a regularizer may remove units."""
    out: dict[str, str] = {}
    for listed, strength, kind in regularizer.listed(spec):
        for axis in prunable(listed, spec) if kind else ():
            out.setdefault(
                axis, f"{kind} of {listed.weight}, {regularizer.threshold} up to {strength:g}"
            )
    return out
