"""From a pruner's groups to masks: the scores of their units, and the lowest gone; and the masks of
single weights. Masks only grow; the last unit stays, but that of a branch.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.errors import MaskError
from purethin.measures import KINDS, Measure
from purethin.recipes.groups import Group, Ranking
from purethin.recipes.pruners import Pruner
from purethin.recipes.scoring import scores_by, seeded, spread
from purethin.selection import count_removed
from purethin.spec import Elements, Masks, Scores, Spec
from purethin.thinning import masked_leaf, thin, thin_spec
from purethin.units import per_unit, wide

Score = Callable[[Ranking], Tensor]
"""From what ranks an axis to `Tensor[size]`, the higher the more worth keeping."""
_POWERS = {"l1": 1, "l2": 2}


def ranked_masks(
    groups: Iterable[Group],
    sparsity: float,
    score: Score,
    masks: Masks,
    branches: Container[str] = (),
) -> dict[str, Tensor]:
    """The masks of a pruner's axes when a fraction of their dense units is gone.

    Args:
        groups: the pruner's groups on a network.
        sparsity: the fraction of the dense units that is gone afterwards.
        score: the scores of each group's units.
        masks: the masks so far; what they remove stays removed and is counted.
        branches: the axes whose last unit may go too.

    Returns:
        `{axis: BoolTensor[size]}`, True = keep.
    """
    out: dict[str, Tensor] = {}
    for group in groups:
        known = {axis: masks[axis] for axis in group.axes if axis in masks}
        enough = [_gone(m) >= count_removed(sparsity, m.numel()) for m in known.values()]
        if len(known) == len(group.axes) and all(enough):
            out |= known
            continue
        total = total_score(group, score)
        for axis in group.axes:
            gone = count_removed(sparsity, total.numel())
            gone = gone if axis in branches else min(gone, total.numel() - 1)
            out[axis] = _lowest(total, gone, masks.get(axis))
    return out


def total_score(group: Group, score: Score) -> Tensor:
    """`Tensor[size]`: the scores of all that rank a group's units, added up or averaged."""
    scores = [score(ranking) for ranking in group.by]
    total = torch.stack([s.to(scores[0].device) for s in scores]).sum(0)
    return total / len(scores) if group.mean else total


def _lowest(scores: Tensor, removed: int, before: Tensor | None) -> Tensor:
    """Remove the lowest, those removed before first of all."""
    kept = torch.ones_like(scores, dtype=torch.bool) if before is None else before.to(scores.device)
    order = torch.where(kept, scores, torch.full_like(scores, -torch.inf)).argsort(stable=True)
    count = max(removed, _gone(kept))
    keep = torch.ones_like(kept)
    keep[order[:count]] = False
    return keep


def _gone(mask: Tensor) -> int:
    return int((~mask).sum())


def element_mask(
    tensor: Tensor, spec: Spec, name: str, masks: Masks, elements: Elements, removed: int
) -> Tensor:
    """The mask of a parameter's single weights when so many of them are to be gone: those of least
    magnitude. What belongs to a removed unit counts as gone, so that unit and element sparsity of
    one weight compose.

    Args:
        tensor: the parameter, at its dense shape.
        spec: the dense spec.
        name: the parameter's name.
        masks: the masks so far; what they remove stays removed and is counted.
        elements: those of single elements, alike.
        removed: how many elements of the dense tensor are gone, those of removed units among them;
            never the last one.

    Returns:
        `BoolTensor` of the dense shape, True = keep; among equal magnitudes the first go. What
        masking spares stays.

    Raises:
        MaskError: the parameter holds nan.

    Source: Zhu & Gupta, To prune, or not to prune, arXiv 1710.01878.
    """
    one = torch.ones_like(tensor, dtype=torch.bool)
    kept = masked_leaf(name, one, spec, masks, elements, spare=False).flatten()
    spared = masked_leaf(name, one, spec, masks, elements).flatten() & ~kept
    sizes = wide(tensor.detach().abs().flatten())
    if bool(sizes.sum().isnan()):
        raise MaskError(f"{int(sizes.isnan().sum())} elements of {name} are nan: they have no rank")
    gone = kept.numel() - int(kept.count_nonzero())  # much faster than the sum of a bool tensor
    count = min(max(removed, gone), kept.numel() - 1)
    if count == gone:
        return (kept | spared).view_as(tensor)
    sizes = torch.where(kept, sizes, -1)
    limit = sizes.kthvalue(count).values
    low = sizes <= limit
    if (over := int(low.count_nonzero()) - count) > 0:  # several are as large as the last that goes
        low[(sizes == limit).nonzero()[-over:, 0]] = False
    return (~low | spared).view_as(tensor)


@dataclass(frozen=True)
class Evidence:
    """What units are ranked by.

    Attributes:
        spec: the dense spec.
        tensors: the parameters at their dense shapes, zero where they are masked. Units that masks
            remove may still hold values: they don't count.
        statistics: `{measure: Tensor[size]}` of the criteria that need data.
        scores: `{pruner: {axis: Tensor[size]}}` of the pruners by axes that need data.
        seed: from it, the epoch and the names of pruner and axis alone come random scores.
    """

    spec: Spec
    tensors: Mapping[str, Tensor]
    statistics: Mapping[Measure, Tensor] = field(default_factory=dict)
    scores: Mapping[str, Scores] = field(default_factory=dict)
    seed: int = 0
    _summed: dict[tuple[str, int], tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def score(self, pruner: Pruner, groups: Sequence[Group], epoch: int, masks: Masks) -> Score:
        """What scores a pruner's axes at an epoch.

        Args:
            pruner: its criterion scores.
            groups: its groups on the network.
            epoch: the epoch.
            masks: as the epoch began. What they remove does not count, so that the order of the
                pruners within an epoch does not matter.
        """
        if pruner.by_axis is None:
            return partial(self._score, pruner, epoch, masks)
        axes = [axis for group in groups for axis in group.axes]
        found = self.scores.get(pruner.name)
        if found is None and pruner.by_axis.regrow:
            raise MaskError(
                f"units of pruner '{pruner.name}' may come back: give `scores` of all units, of "
                "those that are gone what bringing them back is worth"
            )
        if found is None:
            params, seed = thin(self.tensors, self.spec, masks)[0], (self.seed, epoch, pruner.name)
            now = thin_spec(self.spec, masks)
            found = spread(scores_by(pruner.by_axis, axes, params, now, seed), masks)
        for axis in axes:
            if axis not in found or found[axis].shape != (self.spec.sizes[axis],):
                raise MaskError(
                    f"pruner '{pruner.name}' ranks '{axis}' by {pruner.criterion}, of which no "
                    f"scores of shape ({self.spec.sizes[axis]},) are given: give scores of all "
                    "units, those that are gone too"
                )
        return lambda ranking: found[ranking.axis]

    def _score(self, pruner: Pruner, epoch: int, masks: Masks, ranking: Ranking) -> Tensor:
        """`Tensor[size]` of one weight: of a norm, of data, or of chance.

        Raises:
            MaskError: a score is nan, or a statistic is missing.
        """
        axis, size = ranking.axis, self.spec.axes[ranking.axis].size
        if pruner.criterion in _POWERS:
            scores = self._norms(ranking, _POWERS[pruner.criterion], masks)
            what = f"a norm of nan in {ranking.weight}"
        elif pruner.criterion in KINDS:
            measure = Measure(pruner.criterion, ranking.weight, ranking.dim, axis)
            what = f"{measure.kind} of {ranking.weight}"
            if measure not in self.statistics or self.statistics[measure].shape != (size,):
                raise MaskError(
                    f"pruner '{pruner.name}' ranks '{axis}' by {what}, for which no statistic of "
                    f"shape ({size},) is given: measure what measures_at(epoch) lists"
                )
            scores, what = self.statistics[measure], f"a statistic of nan ({what})"
        else:
            scores, what = _chance(size, (self.seed, epoch, pruner.name, axis)), ""
        if bool(scores.isnan().any()):
            count = int(scores.isnan().sum())
            raise MaskError(f"{count} units of '{axis}' have {what}: they have no rank")
        return scores.detach()

    def _norms(self, ranking: Ranking, power: int, masks: Masks) -> Tensor:
        """The sum of each unit's entries over what masks keep along the other dims (its own dim's
        removed units go first anyway).
        """
        entries = self._entries(ranking.weight, power)
        for dim, expr in enumerate(self.spec.layout[ranking.weight]):
            keep = None if dim == ranking.dim else ax.keep(expr, masks, self.spec.sizes)
            if keep is not None:
                entries = (entries.movedim(dim, -1) @ keep.to(entries)).unsqueeze(dim)
        return per_unit(entries, self.spec, ranking.weight, ranking.dim, ranking.axis)

    def _entries(self, name: str, power: int) -> Tensor:
        """Σ|w|^p over the dims of a parameter that carry no axis, which stay as size 1; summed once
        for each tensor, since a plan ranks it at many epochs.
        """
        tensor = self.tensors[name]
        of, entries = self._summed.get((name, power), (None, tensor))
        if of is not tensor:
            fixed = [d for d, expr in enumerate(self.spec.layout[name]) if not any(ax.names(expr))]
            entries = wide(tensor.detach().abs()).pow(power)
            entries = entries.sum(fixed, keepdim=True) if fixed else entries
            self._summed[name, power] = tensor, entries
        return entries


def _chance(size: int, of: tuple[object, ...]) -> Tensor:
    """Uniform scores that depend on nothing but `of`: the same in every process, whatever ran
    before.
    """
    return torch.rand(size, generator=seeded(of), device="cpu")
