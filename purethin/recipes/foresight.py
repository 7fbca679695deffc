"""What of a recipe will never fire, or fires otherwise than a reader may think: the notes of a
plan. Each names what to write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from purethin.measures import KINDS
from purethin.recipes.groups import prunable
from purethin.recipes.recipe import Recipe
from purethin.recipes.rows import Row
from purethin.spec import Spec


def notes_of(
    recipe: Recipe, rows: Sequence[Row], spec: Spec, epochs: int | None
) -> tuple[str, ...]:
    """What a reader of a plan should know beside its rows.

    Args:
        recipe: the recipe.
        rows: the plan's.
        spec: the network's.
        epochs: how many epochs will be trained, where that is known.
    """
    return (
        *_without_policy(recipe),
        *_too_late(recipe, epochs),
        *_never_thinned(recipe, rows, spec, epochs),
        *_not_known(recipe),
        *_never_removed(recipe, spec),
        *(
            f"the axis '{name}' is inexact: {spec.axes[name].reason}"
            for name in dict.fromkeys(r.axis for r in rows)
            if name in spec.axes and not spec.axes[name].exact
        ),
    )


def _without_policy(recipe: Recipe) -> Iterator[str]:
    used = {(policy.kind, policy.instance) for policy in recipe.policies}
    defined = {
        "pruner": recipe.pruners,
        "regularizer": recipe.regularizers,
        "extension": recipe.thinners,
        "lr_scheduler": recipe.schedulers,
    }
    for kind, names in defined.items():
        yield from (
            f"'{name}' has no policy: it never acts" for name in names if (kind, name) not in used
        )


def _too_late(recipe: Recipe, epochs: int | None) -> Iterator[str]:
    if epochs is None:
        return
    for policy in recipe.policies:
        where = f"the policy of '{policy.instance}'" + (
            f" at {policy.place}" if policy.place else ""
        )
        gradual = policy.kind == "pruner" and recipe.pruners[policy.instance].gradual
        if policy.begin >= epochs:
            yield (
                f"{where} begins at epoch {policy.begin}, but the last of {epochs} epochs is "
                f"{epochs - 1}: it never fires"
            )
        elif gradual and policy.epochs[-1] >= epochs:
            pruner = recipe.pruners[policy.instance]
            reached = pruner.sparsity_at(epochs - 1, policy)
            yield (
                f"{where} lasts until epoch {policy.epochs[-1]}, but the last of {epochs} epochs "
                f"is {epochs - 1}: "
                f"it reaches {reached:.4g}, not {pruner.final:g}"
            )
        elif policy.keep_mask and policy.over >= epochs:
            yield (
                f"{where} keeps its mask at epoch {policy.over}, but the last of {epochs} epochs "
                f"is {epochs - 1}: "
                "only a thinner before that removes anything; end it earlier, or train longer"
            )


def _never_thinned(
    recipe: Recipe, rows: Sequence[Row], spec: Spec, epochs: int | None
) -> Iterator[str]:
    thinning = [
        e
        for p in recipe.policies
        if p.kind == "extension"
        for e in p.epochs
        if epochs is None or e < epochs
    ]
    last: dict[str, tuple[int, str]] = {}
    gone: dict[str, int] = {}
    for row in rows:
        if row.axis in spec.axes and row.removed > gone.get(row.axis, 0):
            gone[row.axis] = row.removed
            last[row.axis] = (row.epoch, row.pruner)
    late: dict[str, int] = {}
    for epoch, pruner in last.values():
        if epoch > max(thinning, default=-1):
            late[pruner] = max(epoch, late.get(pruner, 0))
    for pruner, epoch in late.items():
        yield (
            f"no thinner follows what '{pruner}' removes until epoch {epoch}: it stays in the "
            "tensors, as zeros; "
            "add a policy of an extension (FilterRemover) at that epoch or later"
        )


def _not_known(recipe: Recipe) -> Iterator[str]:
    used = {(policy.kind, policy.instance) for policy in recipe.policies}
    for name, pruner in recipe.pruners.items():
        if pruner.criterion in KINDS and ("pruner", name) in used:
            yield (
                f"which units '{name}' removes, its {pruner.criterion} says in training; how many "
                "is certain"
            )
    for name, regularizer in recipe.regularizers.items():
        if regularizer.threshold and ("regularizer", name) in used:
            yield (
                f"what '{name}' removes, training decides: shown is what is at its threshold in "
                "the given weights"
            )


def _never_removed(recipe: Recipe, spec: Spec) -> Iterator[str]:
    """Regularizers with a threshold that nothing acts upon."""
    for name, regularizer in recipe.regularizers.items():
        if not regularizer.threshold:
            continue
        policies = [p for p in recipe.policies if (p.kind, p.instance) == ("regularizer", name)]
        thinning = [e for p in recipe.policies if p.kind == "extension" for e in p.epochs]
        if policies and not any(
            p.keep_mask or any(p.begin < e <= p.over for e in thinning) for p in policies
        ):
            yield (
                f"'{name}' has a threshold, but removes nothing: let a thinner fire while its "
                "policy lasts, "
                "or give the policy `args: {keep_mask: True}`"
            )
        for listed, _, kind in regularizer.listed(spec):
            if not prunable(listed, spec):
                expr = spec.layout[listed.weight][listed.dim]
                yield (
                    f"{kind} of {listed.weight} are penalized and never removed: its dim "
                    f"{listed.dim} is '{expr}'"
                )
