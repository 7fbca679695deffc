"""From a pruner's groups to masks: the scores of their units, and the lowest gone. Masks only grow;
the last unit stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.criteria import per_unit, wide
from purethin.errors import MaskError
from purethin.measures import KINDS, Measure
from purethin.recipes.groups import Group, Ranking
from purethin.recipes.pruners import Pruner
from purethin.selection import count_removed
from purethin.spec import Masks, Spec

Entries = Callable[[str, int, Masks], Tensor]
"""From a weight's name, a power and masks to Σ|w|^p over each entry of the dims that carry axes:
see `entries`.
"""
_POWERS = {"l1": 1, "l2": 2}


def ranked_masks(
    pruner: Pruner,
    groups: Iterable[Group],
    sparsity: float,
    spec: Spec,
    masks: Masks,
    entries: Entries,
    statistics: Mapping[Measure, Tensor],
    draw: tuple[int, int],
    begun: Masks,
) -> dict[str, Tensor]:
    """The masks of a pruner's axes when a fraction of their dense units is gone.

    Args:
        pruner: the pruner; its criterion scores.
        groups: its groups on this network.
        sparsity: the fraction of the dense units that is gone afterwards.
        spec: the dense spec.
        masks: the masks so far; what they remove stays removed and is counted.
        entries: the weights' entries under masks.
        statistics: `{measure: Tensor[size]}` of the criteria that need data.
        draw: `(seed, epoch)`, from which alone, with the pruner's and the axis's names, random
            scores come.
        begun: the masks as the epoch began: what they remove does not rank. So the order of pruners
            within an epoch is of no account.

    Returns:
        `{axis: BoolTensor[size]}`, True = keep.

    Raises:
        MaskError: a score is nan, or a statistic is missing.
    """
    out: dict[str, Tensor] = {}
    for group in groups:
        if all(
            axis in masks and _gone(masks[axis]) >= count_removed(sparsity, masks[axis].numel())
            for axis in group.axes
        ):
            out.update({axis: masks[axis] for axis in group.axes})
            continue
        scores = [
            _scores(pruner, ranking, spec, begun, entries, statistics, draw) for ranking in group.by
        ]
        total = torch.stack([s.to(scores[0].device) for s in scores]).sum(0)
        total = total / len(scores) if group.mean else total
        for axis in group.axes:
            out[axis] = lowest(total, count_removed(sparsity, total.numel()), masks.get(axis))
    return out


def entries(tensor: Tensor, spec: Spec, name: str, power: int, masks: Masks) -> Tensor:
    """Σ|w|^p over the dims of a parameter that carry no axis, which stay as size 1; zero where an
    element mask says so.

    Units are not masked yet: so it can be kept while unit masks grow.
    """
    magnitudes = wide(tensor.detach().abs())
    if name in masks and name not in spec.axes:
        magnitudes = torch.where(
            masks[name].to(magnitudes.device), magnitudes, torch.zeros_like(magnitudes)
        )
    fixed = [dim for dim, expr in enumerate(spec.layout[name]) if not any(ax.names(expr))]
    magnitudes = magnitudes.pow(power)
    return magnitudes.sum(fixed, keepdim=True) if fixed else magnitudes


def lowest(scores: Tensor, removed: int, before: Tensor | None) -> Tensor:
    """Remove the lowest, those removed before first of all, the last unit never."""
    kept = torch.ones_like(scores, dtype=torch.bool) if before is None else before.to(scores.device)
    order = torch.where(kept, scores, torch.full_like(scores, -torch.inf)).argsort(stable=True)
    count = min(max(removed, _gone(kept)), scores.numel() - 1)
    keep = torch.ones_like(kept)
    keep[order[:count]] = False
    return keep


def _gone(mask: Tensor) -> int:
    return int((~mask).sum())


def _scores(
    pruner: Pruner,
    ranking: Ranking,
    spec: Spec,
    masks: Masks,
    entries: Entries,
    statistics: Mapping[Measure, Tensor],
    draw: tuple[int, int],
) -> Tensor:
    """`Tensor[size]` of one weight: of a norm, of data, or of chance."""
    weight, axis = ranking.weight, ranking.axis
    if pruner.criterion in _POWERS:
        power = _POWERS[pruner.criterion]
        scores = _norms(entries(weight, power, masks), spec, ranking, masks)
        what = f"a norm of nan in {weight}"
    elif pruner.criterion in KINDS:
        measure = Measure(pruner.criterion, weight, ranking.dim, axis)
        if measure not in statistics or statistics[measure].shape != (spec.axes[axis].size,):
            raise MaskError(
                f"pruner '{pruner.name}' ranks '{axis}' by {measure.kind} of {weight}, for which "
                "no statistic of shape "
                f"({spec.axes[axis].size},) is given: measure what recipe.measures_at(epoch, spec) "
                "lists"
            )
        scores, what = statistics[measure], f"a statistic of nan ({measure.kind} of {weight})"
    else:
        scores, what = _chance(spec.axes[axis].size, (*draw, pruner.name, axis)), ""
    if bool(scores.isnan().any()):
        raise MaskError(
            f"{int(scores.isnan().sum())} units of '{axis}' have {what}: they have no rank"
        )
    return scores.detach()


def _norms(entries: Tensor, spec: Spec, ranking: Ranking, masks: Masks) -> Tensor:
    """The sum of each unit's entries over what masks keep along the other dims (its own dim's
    removed units go first anyway).
    """
    for dim, expr in enumerate(spec.layout[ranking.weight]):
        if dim != ranking.dim and (keep := ax.keep(expr, masks, spec.sizes)) is not None:
            entries = (entries.movedim(dim, -1) @ keep.to(entries)).unsqueeze(dim)
    return per_unit(entries, spec, ranking.weight, ranking.dim, ranking.axis)


def _chance(size: int, of: tuple[object, ...]) -> Tensor:
    """Uniform scores that depend on nothing but `of`: the same in every process, whatever ran
    before.
    """
    seed = int.from_bytes(hashlib.blake2b(repr(of).encode(), digest_size=7).digest(), "big")
    return torch.rand(size, generator=torch.Generator().manual_seed(seed), device="cpu")
