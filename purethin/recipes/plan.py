"""What a recipe will do to a network, epoch by epoch, without training: the ranking is that of the
given parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from textwrap import indent

import torch
from torch import Tensor

from purethin.arguments import explained
from purethin.checks import check_fits
from purethin.costs import Cost, cost, for_batch
from purethin.recipes.foresight import notes_of
from purethin.recipes.masking import Evidence
from purethin.recipes.policies import Thinner, sparsity_at
from purethin.recipes.pruners import Pruner
from purethin.recipes.pruning import Pruning
from purethin.recipes.recipe import Recipe
from purethin.recipes.regularizers import Regularizer, reasons
from purethin.recipes.rows import NUMBERS, WORDS, Row, by_epoch
from purethin.spec import Elements, Masks, Scores, Spec
from purethin.table import Table, folded
from purethin.thinning import masked_leaf
from purethin.tree import TensorTree, named


@dataclass(frozen=True)
class Plan:
    """The rows by epoch, the masks and the element masks at the end, the network's cost before and
    after.

    `thinnings` are the epochs at which removed units leave the tensors; `notes`, what a reader
    should know beside all that.
    """

    rows: tuple[Row, ...]
    masks: Mapping[str, Tensor]
    elements: Mapping[str, Tensor]
    before: Cost
    after: Cost
    thinnings: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """A line for each epoch, and what it comes to."""
        more = "each axis at each epoch: print(plan.by_axis())\n" if self.rows else ""
        return f"{self.by_epoch()}\n{more}{self.outcome}"

    def __repr__(self) -> str:
        """What it comes to; `print(plan)` shows each epoch, `print(plan.by_axis())` each axis."""
        acting = [row.epoch for row in self.rows]
        when = f"epochs {acting[0]} to {acting[-1]}, " if acting else ""
        return f"Plan: {when}{len(self.masks)} axes pruned\n{indent(self.outcome, '  ')}"

    def _repr_html_(self) -> str:
        """As a notebook shows it: the outcome, by epoch, and by axis to unfold."""
        first, *more = self.outcome.splitlines()
        tables = {"by epoch": self.by_epoch(), "by axis": self.by_axis(), "more": "\n".join(more)}
        return folded(first, tables, opened=("by epoch", "more"))

    def by_axis(self) -> Table:
        """The plan in full: a line for each axis at each epoch, and why that axis."""
        head = (*WORDS, *NUMBERS)
        cells = [row.cells for row in self.rows]
        return Table(head, cells, numbers=range(len(WORDS), len(head)))

    def by_epoch(self) -> Table:
        """The plan in short: a line for each epoch at which something acts."""
        return by_epoch(self.rows, self.masks, self.before)

    @property
    def outcome(self) -> str:
        """Where units leave the tensors, the cost before and after, and the notes."""
        lines = []
        if self.thinnings:
            lines.append(f"* thinned as the epoch begins: {', '.join(map(str, self.thinnings))}")
        macs = f"{self.before.macs:,} MACs{for_batch(self.before.batch)}"
        lines.append(
            f"dense {self.before.parameters:,} parameters, {macs}; "
            f"at the end {self.after.parameters:,} and {self.after.macs:,}"
        )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


@explained
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
        A plan: `.rows` by epoch, `.masks` and `.elements` at the end. It prints a line an epoch;
        `print(plan.by_axis())`, one for each axis at each epoch.

    Raises:
        RecipeError: the recipe does not fit the network.
        SpecError: the parameters do not fit the spec.
    """
    pruning, tensors = recipe.on(spec), dict(named(params))
    check_fits(spec, tensors)
    acting = _epochs(recipe, epochs)
    unknown = {m for epoch in acting for m in pruning.measures_at(epoch)}
    nothing = {m: torch.zeros(spec.sizes[m.axis], device="cpu") for m in unknown}
    unscored = {pruner.name for epoch in acting for pruner in pruning.scored_at(epoch)}
    evenly = {name: _by_index(pruning.axes_of(name), spec) for name in unscored}
    evidence = Evidence(spec, tensors, nothing, evenly)
    rows: list[Row] = []
    masks, elements = dict[str, Tensor](), dict[str, Tensor]()
    before = now = cost(spec)
    for epoch in acting:
        masks, last = pruning.next_masks(epoch, evidence, masks), masks
        if any(masks[name] is not last.get(name) for name in masks):
            now = cost(spec, masks)
        elements = pruning.elements_at(epoch, tensors, masks, elements)
        for name in elements:
            tensors[name] = masked_leaf(name, tensors[name], spec, {}, elements)
        thins = recipe.thins_at(epoch)
        for pruner, name, why, mask, sparsity in _acted(pruning, epoch, masks, elements):
            size, gone = mask.numel(), int((~mask).sum())
            asked = gone / size if sparsity is None else sparsity
            costs = (now.parameters, now.macs)
            rows.append(Row(epoch, pruner, name, why, size, gone, asked, *costs, thins))
    thinnings = {e for p in recipe.of(Thinner) for e in p.epochs if epochs is None or e < epochs}
    notes = notes_of(recipe, pruning, rows, epochs)
    return Plan(tuple(rows), masks, elements, before, now, tuple(sorted(thinnings)), notes)


def _acted(
    pruning: Pruning, epoch: int, masks: Masks, elements: Elements
) -> Iterator[tuple[str, str, str, Tensor, float | None]]:
    """`(instance, axis or parameter, why, mask, sparsity)` of what removes anything at an epoch; a
    threshold and a target ask for no sparsity.
    """
    for policy in pruning.timetable.pruning_at(epoch):
        name, targeted = policy.instance.name, policy.instance.target is not None
        by = policy.instance.by_axis
        shared = by is not None and by.scope != "local"
        sparsity = None if targeted else sparsity_at(policy, epoch)
        for group in pruning.groups[name]:
            asked = None if targeted or shared else sparsity_at(policy, epoch, group.final)
            for axis in group.axes:
                yield name, axis, group.why, masks[axis], asked
        for weight in pruning.singles[name]:
            yield name, weight, f"single weights of {weight}", elements[weight], sparsity
    for r in pruning.timetable.removes_at(epoch):
        for axis, why in reasons(r, pruning.penalties[r.name], pruning.spec).items():
            if axis in masks:
                yield r.name, axis, why, masks[axis], None


def _by_index(axes: Iterable[str], spec: Spec) -> Scores:
    """Scores that take the same part of each axis, the first units first."""
    sizes = {axis: spec.sizes[axis] for axis in axes}
    return {a: torch.arange(1, n + 1, device="cpu") / max(n, 1) for a, n in sizes.items()}


def _epochs(recipe: Recipe, epochs: int | None) -> list[int]:
    """Those at which masks may change."""
    found = {e for p in recipe.of(Pruner) for e in p.epochs}
    thinning = {e for p in recipe.of(Thinner) for e in p.epochs}
    over = {p.over for p in recipe.of(Regularizer)}
    found |= {e for e in thinning | over if recipe.removes_at(e)}
    return sorted(e for e in found if epochs is None or e < epochs)
