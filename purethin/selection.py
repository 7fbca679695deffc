"""From scores to masks: how many units go, and which. The lowest go; among equals the first."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil, floor
from typing import Literal

import torch
from torch import Tensor

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
    """Masks that remove the units of lowest score; among equal scores, those of lower index.

    Args:
        scores: `{axis: Tensor[size]}`.
        sparsity: the fraction of units removed, in [0, 1]; or `{axis: fraction}`, the other axes
            untouched. Of n units exactly floor(sparsity · n) go, counted as a person would: 100
            units at 0.29 lose 29.
        scope: `"local"` ranks within each axis; `"global"` ranks all axes' units together by score,
            and n counts them all.
        round_to: keep a multiple of so many units, rounded up, where the axis has more than that.
        min_keep: keep at least so many units of each axis.

    Returns:
        `{axis: BoolTensor[size]}`, True = keep. Works under `vmap` over stacked scores with the
        local scope.

    Raises:
        MaskError: a sparsity outside [0, 1], an axis without scores, scores that are nan, not a
            vector, or not keyed by axis.

    >>> select({"h": torch.tensor([3., 1., 2., 4.])}, 0.5)["h"]
    tensor([ True, False, False,  True])
    """
    if not isinstance(scores, Mapping):
        raise MaskError(
            f"scores are {{axis: Tensor[size]}}, not a {type(scores).__name__}: name the axis that "
            "they rank, select({'conv1': scores}, sparsity)"
        )
    if scope not in ("local", "global"):
        raise MaskError(f"the scope is '{scope}'; it is 'local' or 'global'")
    if round_to < 1 or min_keep < 0:
        raise MaskError(
            f"round_to is {round_to} and min_keep {min_keep}: round_to is at least 1, min_keep at "
            "least 0"
        )
    wanted = _wanted(scores, sparsity)
    if scope == "global":
        removed = _global_counts({n: scores[n] for n in wanted}, wanted, min_keep)
    else:
        removed = {
            name: count_removed(fraction, scores[name].shape[0])
            for name, fraction in wanted.items()
        }
    return {
        name: _keep(scores[name], _rounded(n, scores[name].shape[0], round_to, min_keep))
        for name, n in removed.items()
    }


def _wanted(scores: Scores, sparsity: float | Mapping[str, float]) -> Mapping[str, float]:
    """The fraction to remove from each axis."""
    wanted = dict(sparsity) if isinstance(sparsity, Mapping) else dict.fromkeys(scores, sparsity)
    for name, fraction in wanted.items():
        if name not in scores:
            raise MaskError(
                f"a sparsity is given for '{name}', which has no scores; {nearest(name, scores)}"
            )
        if not 0 <= fraction <= 1:
            raise MaskError(
                f"the sparsity of '{name}' is {fraction}: give the fraction to remove, from 0 to 1 "
                "(0.5 for half)"
            )
        _check_scores(name, scores[name])
    return wanted


def count_removed(sparsity: float, size: int) -> int:
    """floor(sparsity · size) as a person would count it: the decimal that is written, not its
    binary neighbour.

    >>> count_removed(0.29, 100), count_removed(0.09999999999999998, 10)
    (29, 1)
    """
    return floor(Fraction(str(round(float(sparsity), 12))) * size)


def _check_scores(name: str, scores: Tensor) -> None:
    if scores.dim() != 1:
        raise MaskError(
            f"the scores of '{name}' have shape {tuple(scores.shape)}: give one number per unit, "
            "shape (size,); "
            "for stacked scores use torch.func.vmap(lambda s: select(s, …))"
        )
    nan = scores.isnan()
    try:
        count = int(nan.sum())
    except RuntimeError:  # under vmap no value can be read
        return
    if count:
        raise MaskError(
            f"{count} scores of '{name}' are nan: a unit without a score has no rank; mend the "
            "criterion"
        )


def _rounded(removed: int, size: int, round_to: int, min_keep: int) -> int:
    kept = max(size - removed, min(min_keep, size))
    if round_to > 1 and size > round_to:
        kept = min(ceil(kept / round_to) * round_to, size)
    return size - kept


def _keep(scores: Tensor, removed: int) -> Tensor:
    """True for all but the `removed` lowest; a stable order breaks ties by index."""
    rank = scores.argsort(stable=True).argsort(stable=True)
    return rank >= removed


def _global_counts(scores: Scores, wanted: Mapping[str, float], min_keep: int) -> dict[str, int]:
    """How many of each axis are among the lowest of all together, when each axis's best `min_keep`
    are out of reach.
    """
    fractions = set(wanted.values())
    if len(fractions) > 1:
        raise MaskError(
            "a global ranking has one sparsity; give a number, not one per axis, or scope='local'"
        )
    lowest = [s.detach().double().cpu().sort(stable=True).values for s in scores.values()]
    free = [s[: max(len(s) - min_keep, 0)] for s in lowest]
    owner = torch.tensor([i for i, s in enumerate(free) for _ in s], dtype=torch.long, device="cpu")
    gone = (
        torch.cat(free).argsort(stable=True)[
            : count_removed(next(iter(fractions)), sum(map(len, lowest)))
        ]
        if free
        else owner
    )
    return {name: int((owner[gone] == i).sum()) for i, name in enumerate(scores)}
