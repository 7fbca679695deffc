"""What of a recipe will never fire, or fires otherwise than a reader may think: the notes of a
plan. Each names what to write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from purethin.measures import KINDS
from purethin.recipes.groups import prunable
from purethin.recipes.policies import Policy, Thinner, sparsity_at
from purethin.recipes.pruners import Pruner
from purethin.recipes.pruning import Pruning
from purethin.recipes.recipe import Recipe
from purethin.recipes.rows import Row
from purethin.recipes.scoring import looks_at_data


def notes_of(
    recipe: Recipe, pruning: Pruning, rows: Sequence[Row], epochs: int | None
) -> tuple[str, ...]:
    """What a reader of a plan should know beside its rows.

    Args:
        recipe: the recipe.
        pruning: the recipe on its network.
        rows: the plan's.
        epochs: how many epochs will be trained, where that is known.
    """
    axes = pruning.spec.axes
    return (
        *_without_policy(recipe),
        *_too_late(recipe, epochs),
        *_never_thinned(recipe, [row for row in rows if row.axis in axes], epochs),
        *_not_known(recipe),
        *_never_removed(recipe, pruning),
        *(
            f"the axis '{name}' is inexact: {axes[name].reason}"
            for name in dict.fromkeys(row.axis for row in rows)
            if name in axes and not axes[name].exact
        ),
    )


def unfired(recipe: Recipe, epochs: int, *, thins: bool) -> Iterator[str]:
    """The instances of a recipe that have done nothing in so many epochs of training, as words that
    are the same after each epoch.

    Args:
        recipe: the recipe.
        epochs: how many are trained.
        thins: whether a thinner that has not fired counts.
    """
    recipe = recipe if thins else _never_thinning(recipe)
    yield from _without_policy(recipe)
    for policy in recipe.policies:
        if policy.begin >= epochs:
            yield (
                f"{_where(policy)} begins at epoch {policy.begin}, counted from 0: it has not "
                "fired; train longer, or let it begin earlier"
            )


def too_late(recipe: Recipe, epochs: int, *, thins: bool) -> Iterator[str]:
    """The policies that will not fire, or not to their end, when so many epochs are trained; see
    `unfired`.
    """
    recipe = recipe if thins else _never_thinning(recipe)
    yield from _without_policy(recipe)
    yield from _too_late(recipe, epochs)


def _never_thinning(recipe: Recipe) -> Recipe:
    policies = tuple(p for p in recipe.policies if not isinstance(p.instance, Thinner))
    return replace(recipe, thinners={}, policies=policies)


def _where(policy: Policy[Any]) -> str:
    return f"the policy of '{policy.instance.name}'{policy.place and f' at {policy.place}'}"


def _without_policy(recipe: Recipe) -> Iterator[str]:
    if not recipe.scheduled:
        yield (
            "no policy says when: shown is the end, each pruner at its final sparsity; to train, "
            "add `policies`"
        )
        return
    for defined in (recipe.pruners, recipe.regularizers, recipe.thinners, recipe.schedulers):
        for name, instance in defined.items():
            if not _policies(recipe, instance):
                yield f"'{name}' has no policy: it never acts"


def _policies(recipe: Recipe, instance: object) -> list[Policy[Any]]:
    return [policy for policy in recipe.policies if policy.instance is instance]


def _too_late(recipe: Recipe, epochs: int | None) -> Iterator[str]:
    if epochs is None or not recipe.scheduled:
        return
    but = f"but the last of {epochs} epochs is {epochs - 1}"
    for policy in recipe.policies:
        pruner, last = policy.instance, policy.epochs[-1]
        where = _where(policy)
        if policy.begin >= epochs:
            yield f"{where} begins at epoch {policy.begin}, {but}: it never fires"
        elif isinstance(pruner, Pruner) and pruner.gradual and last >= epochs:
            of = " of the way to its target" if pruner.target else ""
            reached = f"{sparsity_at(policy, epochs - 1):.4g}{of}, not {pruner.final:g}"
            yield f"{where} lasts until epoch {last}, {but}: it reaches {reached}"
        elif policy.keep_mask and policy.over >= epochs:
            yield (
                f"{where} keeps its mask at epoch {policy.over}, {but}: only a thinner before "
                "that removes anything; end it earlier, or train longer"
            )


def _never_thinned(recipe: Recipe, rows: Sequence[Row], epochs: int | None) -> Iterator[str]:
    """Pruners that remove units after the last thinning."""
    if not recipe.scheduled:
        return
    thinned = max((e for e in _thinnings(recipe) if epochs is None or e < epochs), default=-1)
    last: dict[str, Row] = {}
    for row in rows:
        if row.removed > (last[row.axis].removed if row.axis in last else 0):
            last[row.axis] = row
    late: dict[str, int] = {}
    for row in last.values():
        if row.epoch > thinned:
            late[row.pruner] = max(row.epoch, late.get(row.pruner, 0))
    for pruner, epoch in late.items():
        yield (
            f"no thinner follows what '{pruner}' removes until epoch {epoch}: it stays in the "
            "tensors, as zeros; add a policy of an extension (FilterRemover) at that epoch or later"
        )


def _thinnings(recipe: Recipe) -> list[int]:
    return [epoch for policy in recipe.of(Thinner) for epoch in policy.epochs]


def _not_known(recipe: Recipe) -> Iterator[str]:
    for name, pruner in recipe.pruners.items():
        by = pruner.by_axis
        of_data = pruner.criterion in KINDS if by is None else by.regrow or looks_at_data(by)
        if of_data and _policies(recipe, pruner):
            counted = by is None or (by.scope == "local" and pruner.target is None)
            many = "how many is certain" if counted else "how many of each axis, too"
            says = f"its {pruner.criterion} says in training; {many}"
            yield f"which units '{name}' removes, {says}"
    for name, regularizer in recipe.regularizers.items():
        if regularizer.threshold and _policies(recipe, regularizer):
            shown = "shown is what is at its threshold in the given weights"
            yield f"what '{name}' removes, training decides: {shown}"


def _never_removed(recipe: Recipe, pruning: Pruning) -> Iterator[str]:
    """Regularizers with a threshold that nothing acts upon."""
    layout, acting = pruning.spec.layout, _thinnings(recipe)
    for name in (n for n, r in recipe.regularizers.items() if r.threshold):
        policies = _policies(recipe, recipe.regularizers[name])
        removes = any(p.keep_mask or any(p.begin < e <= p.over for e in acting) for p in policies)
        if policies and not removes:
            yield (
                f"'{name}' has a threshold, but removes nothing: let a thinner fire while its "
                "policy lasts, or give the policy `args: {keep_mask: True}`"
            )
        for p in pruning.penalties[name]:
            if not prunable(p.listed, pruning.spec):
                weight, dim = p.listed.weight, p.listed.dim
                expr = f"its dim {dim} is '{layout[weight][dim]}'"
                yield f"{p.group_type} of {weight} are penalized and never removed: {expr}"
