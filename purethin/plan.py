"""What a recipe will do to a network, epoch by epoch, without training: the ranking is that of the given parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from purethin.cost import Cost, cost
from purethin.recipe import Recipe
from purethin.spec import Spec
from purethin.thin import mask
from purethin.tree import TensorTree


@dataclass(frozen=True)
class Row:
    """One axis at one epoch.

    `why` is the group type and the weight that pick and rank the axis, `size` the dense one, `removed` all that is gone so far,
    `sparsity` the fraction asked for; `parameters` and `macs` are the whole network's after the epoch's pruners; `thins` is
    whether removed units leave the tensors in this epoch.
    """

    epoch: int
    pruner: str
    axis: str
    why: str
    size: int
    removed: int
    sparsity: float
    parameters: int
    macs: int
    thins: bool

    @property
    def kept(self) -> int:
        """Units that stay."""
        return self.size - self.removed

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of the table's head."""
        counts = (
            f"{self.sparsity:.4f}",
            str(self.size),
            str(self.removed),
            str(self.kept),
            f"{self.parameters:,}",
            f"{self.macs:,}",
        )
        return (f"{self.epoch}{'*' if self.thins else ''}", self.pruner, self.axis, self.why, *counts)


_HEAD = ("epoch", "pruner", "axis", "why", "sparsity", "size", "removed", "kept", "parameters", "MACs")
_WORDS = 4  # the leading columns that are text, aligned to the left


@dataclass(frozen=True)
class Plan:
    """The rows by epoch, the masks at the end, the network's cost before and after.

    `thinnings` are the epochs at which removed units leave the tensors; `notes`, what a reader should know beside all that.
    """

    rows: tuple[Row, ...]
    masks: Mapping[str, Tensor]
    before: Cost
    after: Cost
    thinnings: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The plan as an aligned table."""
        table = [_HEAD, *(row.cells for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(c.ljust(w) if i < _WORDS else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in table
        ]
        if self.thinnings:
            lines.append(f"* thinned as the epoch begins: {', '.join(map(str, self.thinnings))}")
        lines.append(
            f"dense {self.before.parameters:,} parameters, {self.before.macs:,} MACs; "
            f"at the end {self.after.parameters:,} and {self.after.macs:,}"
        )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def plan(recipe: Recipe, params: TensorTree, spec: Spec) -> Plan:
    """What each pruner removes, when, from which axis and why that axis; nothing is trained.

    Args:
        recipe: what `load_recipe` read.
        params: the dense parameters; their norms rank, with zeros where earlier epochs removed units.
        spec: their spec.

    Returns:
        A plan: `.rows` by epoch, `.masks` at the end; it prints as a table.

    Raises:
        RecipeError: the recipe does not fit the network.
        SpecError: the parameters do not fit the spec.
    """
    groups = recipe.groups(spec)
    masks: dict[str, Tensor] = {}
    rows: list[Row] = []
    for epoch in sorted({e for p in recipe.policies if p.kind == "pruner" for e in p.epochs}):
        masks = recipe.masks_at(epoch, mask(params, spec, masks), spec, masks)
        now, thins = cost(spec, masks), recipe.thins_at(epoch)
        for policy in recipe.at(epoch, "pruner"):
            sparsity = recipe.sparsity_at(epoch, policy)
            for axis, why in ((axis, group.why) for group in groups[policy.instance] for axis in group.axes):
                size, left = spec.axes[axis].size, int(masks[axis].sum())
                rows.append(Row(epoch, policy.instance, axis, why, size, size - left, sparsity, now.parameters, now.macs, thins))
    return Plan(
        tuple(rows), masks, cost(spec), cost(spec, masks),
        thinnings=tuple(sorted({e for p in recipe.policies if p.kind == "extension" for e in p.epochs})),
        notes=_notes(recipe, masks, spec),
    )  # fmt: skip


def _notes(recipe: Recipe, masks: Mapping[str, Tensor], spec: Spec) -> tuple[str, ...]:
    used = {(policy.kind, policy.instance) for policy in recipe.policies}
    idle = [n for n in recipe.pruners if ("pruner", n) not in used] + [n for n in recipe.thinners if ("extension", n) not in used]
    idle += [n for n in recipe.schedulers if ("lr_scheduler", n) not in used]
    return (
        *(f"'{name}' has no policy: it never acts" for name in idle),
        *(f"the axis '{name}' is inexact: {spec.axes[name].reason}" for name in masks if not spec.axes[name].exact),
    )
