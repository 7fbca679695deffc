"""What a recipe will do to a network, epoch by epoch, without training: the ranking is that of the
given parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from purethin.costs import Cost, cost
from purethin.recipes.foresight import notes_of
from purethin.recipes.groups import Group, elements_of, measures_of
from purethin.recipes.masking import Entries, entries
from purethin.recipes.recipe import Recipe, next_masks
from purethin.recipes.regularizers import reasons
from purethin.recipes.rows import Row
from purethin.spec import Masks, Spec, check_fits
from purethin.table import Table
from purethin.tree import TensorTree, named

_HEAD = (
    "epoch",
    "pruner",
    "axis",
    "why",
    "sparsity",
    "size",
    "removed",
    "kept",
    "parameters",
    "MACs",
)
_WORDS = 4  # the leading columns that are text, aligned to the left


@dataclass(frozen=True)
class Plan:
    """The rows by epoch, the masks at the end, the network's cost before and after.

    `thinnings` are the epochs at which removed units leave the tensors; `notes`, what a reader
    should know beside all that.
    """

    rows: tuple[Row, ...]
    masks: Mapping[str, Tensor]
    before: Cost
    after: Cost
    thinnings: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The plan as an aligned table."""
        lines = [
            str(Table(_HEAD, [row.cells for row in self.rows], numbers=range(_WORDS, len(_HEAD))))
        ]
        if self.thinnings:
            lines.append(f"* thinned as the epoch begins: {', '.join(map(str, self.thinnings))}")
        lines.append(
            f"dense {self.before.parameters:,} parameters, {self.before.macs:,} MACs; "
            f"at the end {self.after.parameters:,} and {self.after.macs:,}"
        )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def plan(recipe: Recipe, params: TensorTree, spec: Spec, *, epochs: int | None = None) -> Plan:
    """What each pruner removes, when, from which axis and why that axis; nothing is trained.

    Args:
        recipe: what `load_recipe` read.
        params: the dense parameters; they rank, with zeros where earlier epochs removed units, and
            what fell below a regularizer's threshold in them is removed. Criteria that need data
            rank by index.
        spec: their spec.
        epochs: how many epochs will be trained; what comes after them never fires, and is noted.
            All, where it is not given.

    Returns:
        A plan: `.rows` by epoch, `.masks` at the end; it prints as a table.

    Raises:
        RecipeError: the recipe does not fit the network.
        SpecError: the parameters do not fit the spec.
    """
    tensors, groups, masks = named(params), recipe.groups(spec), dict[str, Tensor]()
    check_fits(spec, tensors)
    rows: list[Row] = []
    before = now = cost(spec)
    read = _remembering(tensors, spec)
    for epoch in _epochs(recipe, epochs):
        acting = recipe.at(epoch, "pruner")
        unknown = [
            m for p in acting for m in measures_of(recipe.pruners[p.instance], groups[p.instance])
        ]
        statistics = {m: torch.zeros(spec.axes[m.axis].size, device="cpu") for m in unknown}
        last, masks = (
            masks,
            next_masks(recipe, epoch, groups, tensors, read, spec, masks, 0, statistics, 0),
        )
        if any(masks[name] is not last.get(name) for name in masks):
            now = cost(spec, masks)
        for pruner, name, why, sparsity in _acted(recipe, groups, spec, epoch):
            if name in masks:
                size, kept = masks[name].numel(), int(masks[name].sum())
                asked = (size - kept) / size if sparsity is None else sparsity
                thins = recipe.thins_at(epoch)
                rows.append(
                    Row(
                        epoch,
                        pruner,
                        name,
                        why,
                        size,
                        size - kept,
                        asked,
                        now.parameters,
                        now.macs,
                        thins,
                    )
                )
    return Plan(
        tuple(rows),
        masks,
        before,
        now,
        thinnings=tuple(
            sorted(
                {
                    e
                    for p in recipe.policies
                    if p.kind == "extension"
                    for e in p.epochs
                    if not _past(e, epochs)
                }
            )
        ),
        notes=notes_of(recipe, rows, spec, epochs),
    )


def _acted(
    recipe: Recipe, groups: Mapping[str, list[Group]], spec: Spec, epoch: int
) -> Iterator[tuple[str, str, str, float | None]]:
    """`(instance, axis or parameter, why, sparsity)` of what removes anything at an epoch; a
    threshold asks for no sparsity.
    """
    for policy in recipe.at(epoch, "pruner"):
        pruner = recipe.pruners[policy.instance]
        sparsity = pruner.sparsity_at(epoch, policy)
        yield from (
            (pruner.name, axis, group.why, sparsity)
            for group in groups[pruner.name]
            for axis in group.axes
        )
        yield from (
            (pruner.name, weight, f"single weights of {weight}", sparsity)
            for weight in elements_of(pruner, spec)
        )
    for regularizer in recipe.removes_at(epoch):
        yield from (
            (regularizer.name, axis, why, None) for axis, why in reasons(regularizer, spec).items()
        )


def _epochs(recipe: Recipe, epochs: int | None) -> list[int]:
    """Those at which masks may change."""
    found = {e for p in recipe.policies if p.kind == "pruner" for e in p.epochs}
    thinning = {e for p in recipe.policies if p.kind == "extension" for e in p.epochs}
    over = {p.over for p in recipe.policies if p.kind == "regularizer"}
    found |= {e for e in thinning | over if recipe.removes_at(e)}
    return sorted(e for e in found if not _past(e, epochs))


def _past(epoch: int, epochs: int | None) -> bool:
    return epochs is not None and epoch >= epochs


def _remembering(tensors: Mapping[str, Tensor], spec: Spec) -> Entries:
    """The weights' entries, each summed once: weights do not change while one plans, but where
    single ones are zeroed.
    """
    known: dict[tuple[str, int], Tensor] = {}

    def read(name: str, power: int, masks: Masks) -> Tensor:
        if name in masks and name not in spec.axes:
            return entries(tensors[name], spec, name, power, masks)
        if (name, power) not in known:
            known[name, power] = entries(tensors[name], spec, name, power, {})
        return known[name, power]

    return read
