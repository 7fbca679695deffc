"""From scores to masks: which axes, how many units go, and which. The lowest go; among equals the
first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from math import ceil, floor
from typing import Literal, get_args

import torch
from torch import Tensor

from purethin.arguments import explained
from purethin.checks import check_names
from purethin.costs import cost
from purethin.errors import MaskError
from purethin.finding import hint, kinds
from purethin.limits import among, least_of, most_of, scored, steps_of
from purethin.spec import Masks, Scores, Spec

Scope = Literal["local", "global", "isomorphic"]
Normalize = Literal["raw", "mean", "max", "l2", "cost"]
_CHOICES = (
    "normalize='raw' for scores that estimate one loss (taylor, leave_one_out), 'mean', 'max' or "
    "'l2' for norms, 'cost' to divide by the MACs that a unit takes with it"
)


@explained
def select(
    scores: Scores,
    sparsity: float | Mapping[str, float],
    *,
    scope: Scope = "local",
    normalize: Normalize | None = None,
    max_sparsity: float | Mapping[str, float] | None = None,
    keep: str | Iterable[str] = (),
    groups: Sequence[str | Iterable[str]] = (),
    spec: Spec | None = None,
    axes: str | Iterable[str] | None = None,
    round_to: int | Mapping[str, int] = 1,
    min_keep: int | Mapping[str, int] = 1,
    masks: Masks | None = None,
) -> dict[str, Tensor]:
    """Masks that remove the units of lowest score; among equal scores, those of lower index.

    Args:
        scores: `{axis: Tensor[size]}`.
        sparsity: the fraction of units removed, in [0, 1]; or `{axis: fraction}`, the other axes
            untouched. Of n units exactly floor(sparsity · n) go, counted as a person would: 100
            units at 0.29 lose 29.
        scope: whose units rank together, and n counts them: `"local"`, those of each axis;
            `"global"`, those of all; `"isomorphic"`, those of axes of one structural kind (needs
            `spec`): stems with stems, heads with heads, kernels with kernels of their size.
        normalize: what makes the scores of different axes comparable, where they rank together: the
            axis's own mean, max or l2 norm of absolute values, or the cost of its units (needs
            `spec`); `"raw"` takes them as they are. A global scope asks for one.
        max_sparsity: at most this fraction of an axis goes; or `{text: fraction}`. By default,
            where axes rank together, each keeps at least a quarter of what it would keep at this
            sparsity alone, so that none is emptied.
        keep: axes that stay whole.
        groups: instead of a scope, axes whose units rank together: `["layer1.*", ["a", "b"]]`;
            those in no group rank alone.
        spec: the network's spec. With it, only exact axes are pruned, unless `axes` or `sparsity`
            names others, and all texts mean axes as `find` has it: by name, pattern, weight, role.
            Without it, all axes that have scores are, inexact ones too: scores do not say which.
        axes: the axes that may lose units; `"all"` for inexact ones too.
        round_to: keep a multiple of so many units, rounded up, where the axis has more than that;
            or `{text: number}`, as `round_for` gives it: a multiple, or all.
        min_keep: keep at least so many units of each axis; or `{text: number}`. With 0, a whole
            branch may go; with a spec, only one that is in `spec.branches`.
        masks: what is gone already, in a schedule: it stays gone, whatever its scores, and
            counts among what goes.

    Returns:
        `{axis: BoolTensor[size]}`, True = keep. Works under `vmap` over stacked scores with the
        local scope.

    Raises:
        MaskError: a sparsity outside [0, 1], an axis without scores, scores that are nan, not a
            vector, or not keyed by axis, a global scope without a normalisation.

    Source of the isomorphic scope: Fang et al., Isomorphic Pruning for Vision Models, ECCV 2024.

    >>> select({"h": torch.tensor([3., 1., 2., 4.])}, 0.5)["h"]
    tensor([ True, False, False,  True])
    >>> scores = {"a": torch.tensor([1., 2., 9.]), "b": torch.tensor([10., 50., 90.])}
    >>> select(scores, 1 / 3, scope="global", normalize="mean")["b"]
    tensor([False,  True,  True])
    """
    if normalize not in (None, *get_args(Normalize)):
        raise MaskError(f"normalize is {normalize!r}: give {_CHOICES}")
    wanted = _wanted(scores, sparsity, spec, axes, keep)
    steps = steps_of({n: len(s) for n, s in scores.items()}, round_to, spec)
    least = least_of(scores, min_keep, spec)
    most = most_of(scores, max_sparsity, spec)
    check_names(masks or {}, scores if spec is None else spec.axes)
    before = {n: _fitting(m, n, scores) for n, m in (masks or {}).items() if n in wanted}
    removed: dict[str, int] = {}
    for names in _rankings([*wanted], scope, groups, spec):
        part = {name: scores[name] for name in names}
        if len(part) > 1 or scope == "global":
            how = partial(_normalized, how=normalize, scope=scope, spec=spec)
            part = {n: how(s, n, kept=before.get(n)) for n, s in part.items()}
            removed |= _shared_counts(part, wanted, most, least)
        else:
            fraction = min(wanted[name := names[0]], most.get(name, 1.0))
            removed[name] = count_removed(fraction, len(scores[name]))
    for name in wanted:
        removed[name] = _rounded(removed[name], len(scores[name]), steps[name], least[name])
    removed |= {name: max(removed[name], int((~m).sum())) for name, m in before.items()}
    return {n: _keep(_gone_first(scores[n], before.get(n)), removed[n]) for n in wanted}


def _fitting(mask: Tensor, name: str, scores: Scores) -> Tensor:
    """The mask of an axis so far, beside its scores."""
    if mask.shape != scores[name].shape:
        raise MaskError(
            f"the mask of '{name}' has shape {tuple(mask.shape)}, its scores "
            f"{tuple(scores[name].shape)}: give scores of all units, those that are gone too"
        )
    return mask.to(scores[name].device, torch.bool)


def _gone_first(scores: Tensor, kept: Tensor | None) -> Tensor:
    """Scores by which units that are gone already go before all others."""
    return scores if kept is None else torch.where(kept, scores, -torch.inf)


# ---- which axes


def _wanted(
    scores: Scores,
    sparsity: float | Mapping[str, float],
    spec: Spec | None,
    axes: str | Iterable[str] | None,
    keep: str | Iterable[str],
) -> dict[str, float]:
    """The fraction to remove from each axis."""
    if not isinstance(scores, Mapping):
        raise MaskError(
            f"scores are {{axis: Tensor[size]}}, not a {type(scores).__name__}: name the axis that "
            "they rank, select({'conv1': scores}, sparsity)"
        )
    if spec is not None and (unknown := next((n for n in scores if n not in spec.axes), None)):
        raise MaskError(f"scores are given of '{unknown}', which is no axis; {hint(spec, unknown)}")
    wanted: dict[str, float] = {}
    if isinstance(sparsity, Mapping):
        for text, fraction in sparsity.items():
            for name in (text,) if text in scores else scored(scores, text, spec, "a sparsity is"):
                wanted.setdefault(name, fraction)
    else:
        usual = [n for n in scores if spec is None or spec.axes[n].exact]
        wanted = dict.fromkeys(usual if axes is None else scores, sparsity)
    if axes is not None:
        allowed = {*scored(scores, axes, spec, "axes are")}
        wanted = {n: fraction for n, fraction in wanted.items() if n in allowed}
    stay = {*among(scores, keep, spec, "axes to keep are")}
    wanted = {n: fraction for n, fraction in wanted.items() if n not in stay}
    for name, fraction in wanted.items():
        if not 0 <= fraction <= 1:
            raise MaskError(
                f"the sparsity of '{name}' is {fraction}: give the fraction to remove, from 0 to 1 "
                "(0.5 for half)"
            )
        check_scores(name, scores[name], spec)
    return wanted


def _rankings(
    names: Sequence[str], scope: Scope, groups: Sequence[str | Iterable[str]], spec: Spec | None
) -> list[list[str]]:
    """The axes whose units rank together."""
    if scope not in ("local", "global", "isomorphic"):
        raise MaskError(f"the scope is '{scope}'; it is 'local' or 'global' or 'isomorphic'")
    if groups and scope != "local":
        raise MaskError("groups say which axes rank together: leave the scope out")
    if scope == "global":
        return [[*names]] if names else []
    if scope == "isomorphic" and spec is None:
        raise MaskError("the kinds of axes are read off the spec: give select(…, spec=spec)")
    of = kinds(spec) if scope == "isomorphic" and spec is not None else {}
    key: dict[str, object] = {n: of.get(n, n) for n in names}
    for i, texts in enumerate(groups):
        for name in among(names, texts, spec, "a group is"):
            if not isinstance(key.get(name, ""), str):
                raise MaskError(f"'{name}' stands in two groups: leave it in one")
            key[name] = i
    found: dict[object, list[str]] = {}
    for name in names:
        found.setdefault(key[name], []).append(name)
    return [*found.values()]


# ---- how many of each


def _normalized(
    scores: Tensor,
    name: str,
    how: Normalize | None,
    scope: Scope,
    spec: Spec | None,
    kept: Tensor | None,
) -> Tensor:
    """The scores of one axis, comparable with those of others; by what is not gone yet."""
    kept = None if kept is None else kept.cpu()
    scores = scores.detach().double().cpu()
    size = (scores if kept is None else scores[kept]).abs()
    size = size[size.isfinite()]  # infinite ones rank at the ends whatever they are divided by
    scores = _gone_first(scores, kept)
    if how is None and scope != "global":
        how = "raw" if scope == "isomorphic" else None
    if how == "raw":
        return scores
    if how == "cost":
        if spec is None:
            raise MaskError("the cost of units is read off the spec: give select(…, spec=spec)")
        one = {name: torch.arange(len(scores)) > 0}
        by = float(cost(spec).macs - cost(spec, one).macs) if len(scores) > 1 else 0.0
    elif how in ("mean", "max", "l2") and len(size):
        by = float({"mean": size.mean(), "max": size.max(), "l2": size.norm()}[how])
    else:
        raise MaskError(
            f"scores of several axes rank together, but normalize is {how!r}: raw norms of thin "
            f"and wide layers do not compare, and empty whole stages. Give {_CHOICES}"
        )
    return scores / by if by > 0 else scores


def _shared_counts(
    scores: Scores, wanted: Mapping[str, float], most: Mapping[str, float], least: Mapping[str, int]
) -> dict[str, int]:
    """How many of each axis are among the lowest of all together, when what an axis must keep, its
    best, is out of reach.
    """
    fractions = {wanted[name] for name in scores}
    if len(fractions) > 1:
        raise MaskError(
            "a global ranking has one sparsity; give a number, not one per axis, or scope='local'"
        )
    (fraction,) = fractions
    usual = 1 - (1 - fraction) / 4
    lowest = {name: s.sort(stable=True).values for name, s in scores.items()}
    free = [
        s[: max(min(len(s) - least[name], count_removed(most.get(name, usual), len(s))), 0)]
        for name, s in lowest.items()
    ]
    owner = torch.tensor([i for i, s in enumerate(free) for _ in s], dtype=torch.long, device="cpu")
    count = count_removed(fraction, sum(map(len, lowest.values())))
    gone = torch.cat(free).argsort(stable=True)[:count]
    return {name: int((owner[gone] == i).sum()) for i, name in enumerate(scores)}


def count_removed(sparsity: float, size: int) -> int:
    """floor(sparsity · size) as a person would count it: the decimal that is written, not its
    binary neighbour.

    >>> count_removed(0.29, 100), count_removed(0.09999999999999998, 10)
    (29, 1)
    """
    return floor(Fraction(str(round(float(sparsity), 12))) * size)


def check_scores(name: str, scores: Tensor, spec: Spec | None) -> None:
    """That an axis has one number for each unit.

    Raises:
        MaskError: it has others, or some are nan.
    """
    if scores.dim() == 1 and spec is not None and len(scores) != spec.sizes[name]:
        raise MaskError(
            f"the scores of '{name}' are {len(scores)}, and the axis has {spec.sizes[name]} units: "
            "give one number per unit, by the spec of the network as it is now"
        )
    if scores.is_complex():
        raise MaskError(f"the scores of '{name}' are complex: give numbers that have an order")
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
    return size - min(ceil(kept / round_to) * round_to, size)


def _keep(scores: Tensor, removed: int) -> Tensor:
    """True for all but the `removed` lowest; a stable order breaks ties by index."""
    rank = scores.argsort(stable=True).argsort(stable=True)
    return rank >= removed
