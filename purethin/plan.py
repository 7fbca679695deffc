"""What a recipe will do to a network, epoch by epoch, without training: the ranking is that of the given parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from purethin.cost import Cost, cost
from purethin.recipe import Recipe, groups_of
from purethin.spec import Spec
from purethin.tree import TensorTree


@dataclass(frozen=True)
class Row:
    """One axis at one epoch: what prunes it and why, its dense size, what is removed, and the whole network's cost after it."""

    epoch: int
    pruner: str
    axis: str
    why: str
    size: int
    removed: int
    parameters: int
    macs: int
    thins: bool

    @property
    def kept(self) -> int:
        """Units that stay."""
        return self.size - self.removed


@dataclass(frozen=True)
class Plan:
    """The rows by epoch, the masks at the end, and the network's cost before and after."""

    rows: tuple[Row, ...]
    masks: Mapping[str, Tensor]
    before: Cost
    after: Cost

    def __str__(self) -> str:
        head = ("epoch", "pruner", "axis", "why", "size", "removed", "kept", "parameters", "MACs")
        table = [head] + [
            (
                f"{r.epoch}{'*' if r.thins else ''}",
                r.pruner,
                r.axis,
                r.why,
                r.size,
                r.removed,
                r.kept,
                f"{r.parameters:,}",
                f"{r.macs:,}",
            )
            for r in self.rows
        ]
        cells = [[str(c) for c in row] for row in table]
        widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
        lines = [
            "  ".join(c.ljust(w) if i < 4 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in cells
        ]
        end = (
            f"dense {self.before.parameters:,} parameters, {self.before.macs:,} MACs; "
            f"at the end {self.after.parameters:,} and {self.after.macs:,}"
        )
        return "\n".join([*lines, "* thinned at this epoch", end] if any(r.thins for r in self.rows) else [*lines, end])


def plan(recipe: Recipe, params: TensorTree, spec: Spec) -> Plan:
    """What each pruner removes, when, from which axis and why that axis; nothing is trained.

    Args:
        recipe: what `load_recipe` read.
        params: the dense parameters; their norms rank.
        spec: their spec.

    Returns:
        A plan: `.rows` by epoch, `.masks` at the end; it prints as a table.

    Raises:
        RecipeError: the recipe does not fit the network.
    """
    masks: dict[str, Tensor] = {}
    rows: list[Row] = []
    for pruner in recipe.pruners.values():
        groups_of(pruner, spec)
    for epoch in range(recipe.last_epoch + 1):
        acting = recipe.at(epoch, "pruner")
        if not acting:
            continue
        masks = recipe.masks_at(epoch, params, spec, masks)
        now = cost(spec, masks)
        for policy in acting:
            for group in groups_of(recipe.pruners[policy.instance], spec):
                for axis in group.axes:
                    size = spec.axes[axis].size
                    rows.append(
                        Row(
                            epoch, policy.instance, axis, group.why, size, size - int(masks[axis].sum()),
                            now.parameters, now.macs, recipe.thins_at(epoch),
                        )
                    )  # fmt: skip
    return Plan(tuple(rows), masks, cost(spec), cost(spec, masks))
