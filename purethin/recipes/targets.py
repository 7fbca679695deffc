"""Pruners with a target, `target: {macs: 0.5}`: their axes keep as many units as the network may
cost. On the way there the cost falls as a sparsity would rise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from purethin.budgets.asked import limits_of
from purethin.budgets.solve import Options, require_reachable, solution
from purethin.costs import cost
from purethin.errors import MaskError
from purethin.limits import steps_of
from purethin.recipes.by_axis import ByAxis
from purethin.recipes.groups import Group
from purethin.recipes.masking import Score, total_score
from purethin.recipes.nodes import fail
from purethin.recipes.pruners import Pruner
from purethin.spec import Masks, Spec


def targeted_masks(
    ranked: Sequence[tuple[Pruner, Sequence[Group], Score]],
    budgets: Mapping[str, float],
    masks: Masks,
    spec: Spec,
) -> dict[str, Tensor]:
    """The masks of the axes of some groups, together within budgets.

    Args:
        ranked: pruners, their groups, and what scores these.
        budgets: what the network may cost.
        masks: the masks so far; what they remove stays removed.
        spec: the dense spec.
    """
    scores = {
        axis: total_score(group, score)
        for _, groups, score in ranked
        for group in groups
        for axis in group.axes
    }
    options = _options([(pruner, groups) for pruner, groups, _ in ranked], spec)
    found = solution(scores, spec, options, budgets, {n: m.cpu() for n, m in masks.items()}).masks
    whole = {n: torch.ones(spec.sizes[n], dtype=torch.bool, device="cpu") for n in scores}
    return {n: found.get(n, whole[n]) for n in scores}


def _options(acting: Sequence[tuple[Pruner, Sequence[Group]]], spec: Spec) -> Options:
    """What `solve` is asked, axis by axis."""
    by: dict[str, ByAxis] = {}
    steps: dict[str, int] = {}
    for pruner, groups in acting:
        choice = pruner.by_axis or ByAxis(axes={})
        own = [axis for group in groups for axis in group.axes]
        by |= dict.fromkeys(own, choice)
        steps |= steps_of({axis: spec.sizes[axis] for axis in own}, choice.round_to, spec)
    said = {b.normalize for b in by.values()}
    return Options(
        axes=sorted(by),
        round_to=steps,
        min_keep={axis: b.min_keep for axis, b in by.items()},
        max_sparsity={a: 1.0 if b.max_sparsity is None else b.max_sparsity for a, b in by.items()},
        normalize=None if "raw" in said else "share" if "share" in said else "layers",
    )


def budgets_at(target: Mapping[str, float], part: float, spec: Spec) -> dict[str, float]:
    """What the network may cost when a part of the way to its target is gone, from 0 to 1.

    >>> from purethin.spec import Spec
    >>> spec = Spec.from_layout({"w": "a 3"}, {"w": torch.zeros(4, 3)})
    >>> budgets_at({"parameters": 0.5}, 0.5, spec)
    {'parameters': 9}
    """
    dense = cost(spec)
    ends = {k: min(int(end), getattr(dense, k)) for k, end in limits_of(target, spec).items()}
    return {k: end + int((1 - part) * (getattr(dense, k) - end)) for k, end in ends.items()}


def check_targets(
    groups: Mapping[str, Sequence[Group]], pruners: Iterable[Pruner], spec: Spec
) -> None:
    """That each target can be reached by its pruners' axes, and that each axis has its own width.

    Raises:
        RecipeError: one cannot, or a Leader's axes should have one width.
    """
    together: dict[str, list[Pruner]] = {}
    for pruner in (p for p in pruners if p.target):
        together.setdefault("" if pruner.shared else pruner.name, []).append(pruner)
        for group in groups[pruner.name]:
            if len(group.axes) > 1:
                fail(
                    pruner.place,
                    f"pruner '{pruner.name}' has a target, which gives each axis its own width, "
                    f"and a Leader of {len(group.axes)} axes: write `group_dependency: Auto`",
                )
    for acting in together.values():
        options = _options([(pruner, groups[pruner.name]) for pruner in acting], spec)
        ones = {a: torch.ones(spec.sizes[a], device="cpu") for a in options.axes or ()}
        target = acting[0].target or {}
        try:
            require_reachable(ones, spec, options, target)
        except MaskError as error:
            fail(acting[0].place, f"the target of '{acting[0].name}': {error}")
