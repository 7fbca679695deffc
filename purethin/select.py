"""From scores to masks: how many units go, and which. The lowest go; among equals the first."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil, floor
from typing import Literal

import torch
from torch import Tensor
from torch._C._functorch import is_batchedtensor

from purethin.errors import MaskError, nearest
from purethin.spec import Scores


def select(
    scores: Scores,
    sparsity: float | Mapping[str, float],
    *,
    scope: Literal["local", "global"] = "local",
    round_to: int = 1,
    min_keep: int = 1,
) -> dict[str, Tensor]:
    """Masks that remove the units of lowest score.

    Args:
        scores: `{axis: Tensor[size]}`.
        sparsity: the fraction of units removed, in [0, 1]; or `{axis: fraction}`, the other axes untouched. Of n units exactly
            floor(sparsity · n) go, counted as a person would: 100 units at 0.29 lose 29.
        scope: `"local"` ranks within each axis; `"global"` ranks all axes' units together by score.
        round_to: keep a multiple of so many units, rounded up, where the axis has more than that.
        min_keep: keep at least so many units of each axis.

    Returns:
        `{axis: BoolTensor[size]}`, True = keep. Works under `vmap` over stacked scores with the local scope.

    Raises:
        MaskError: a sparsity outside [0, 1], an axis without scores, scores that are nan.

    >>> select({"h": torch.tensor([3., 1., 2., 4.])}, 0.5)["h"]
    tensor([ True, False, False,  True])
    """
    wanted = dict(sparsity) if isinstance(sparsity, Mapping) else dict.fromkeys(scores, sparsity)
    for name, fraction in wanted.items():
        if name not in scores:
            raise MaskError(f"a sparsity is given for '{name}', which has no scores; {nearest(name, scores)}")
        if not 0 <= fraction <= 1:
            raise MaskError(f"the sparsity of '{name}' is {fraction}: give the fraction to remove, from 0 to 1 (0.5 for half)")
        if not is_batchedtensor(scores[name]) and bool(scores[name].isnan().any()):
            count = int(scores[name].isnan().sum())
            raise MaskError(f"{count} scores of '{name}' are nan: a unit without a score has no rank; mend the criterion")
    if scope == "global":
        removed = _global_counts({n: scores[n] for n in wanted}, wanted)
    elif scope == "local":
        removed = {name: count_removed(fraction, scores[name].shape[-1]) for name, fraction in wanted.items()}
    else:
        raise MaskError(f"the scope is '{scope}'; it is 'local' or 'global'")
    return {name: _keep(scores[name], _rounded(n, scores[name].shape[-1], round_to, min_keep)) for name, n in removed.items()}


def count_removed(sparsity: float, size: int) -> int:
    """floor(sparsity · size) as a person would count it: the decimal that is written, not its binary neighbour.

    >>> count_removed(0.29, 100), count_removed(0.09999999999999998, 10)
    (29, 1)
    """
    return floor(Fraction(str(round(float(sparsity), 12))) * size)


def _rounded(removed: int, size: int, round_to: int, min_keep: int) -> int:
    kept = max(size - removed, min(min_keep, size))
    if round_to > 1 and size > round_to:
        kept = min(ceil(kept / round_to) * round_to, size)
    return size - kept


def _keep(scores: Tensor, removed: int) -> Tensor:
    """True for all but the `removed` lowest; a stable order breaks ties by index."""
    rank = scores.argsort(dim=-1, stable=True).argsort(dim=-1, stable=True)
    return rank >= removed


def _global_counts(scores: Scores, wanted: Mapping[str, float]) -> dict[str, int]:
    """How many of each axis are among the lowest of all together."""
    fractions = set(wanted.values())
    if len(fractions) > 1:
        raise MaskError("a global ranking has one sparsity; give a number, not one per axis, or scope='local'")
    owner = torch.cat([torch.full((s.shape[-1],), i) for i, s in enumerate(scores.values())]) if scores else torch.empty(0)
    flat = torch.cat([s.double().cpu() for s in scores.values()]) if scores else torch.empty(0)
    lowest = flat.argsort(stable=True)[: count_removed(next(iter(fractions), 0.0), flat.numel())]
    return {name: int((owner[lowest] == i).sum()) for i, name in enumerate(scores)}
