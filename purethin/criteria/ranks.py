"""Scores of how much an activation's map holds: its rank."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from purethin import axes as ax
from purethin.arguments import explained
from purethin.criteria.shared import Reduce, reduced, shown
from purethin.errors import MaskError, SpecError
from purethin.measuring.calls import watched
from purethin.measuring.running import Running, running
from purethin.measuring.sums import widened
from purethin.records import Site
from purethin.spec import Scores, Spec
from purethin.tree import TensorTree


@explained
def hrank(
    model: nn.Module | Callable[..., Any],
    params: TensorTree,
    spec: Spec,
    batches: Iterable[Any],
    *,
    reduce: Reduce = "mean",
) -> Scores:
    """HRank: the mean rank of a unit's feature map over examples, as the calls take it that read
    the unit.

    A map is the last two dims of an image's channel; of tokens, the positions by the unit's
    features (a head's width; the one of a neuron has rank 1 at most). It costs a singular value
    decomposition for each map: a few batches do, says the paper.

    Args:
        model: the module, or any function `f(params, *args)`, as `measure` takes it.
        params: its parameters.
        spec: their spec, which `infer` made.
        batches: as `measure` takes them.
        reduce: how several calls that read one axis count together.

    Returns:
        `{axis: Tensor[size]}` for every axis.

    Raises:
        SpecError: model, parameters and spec do not fit, or no data of an axis were seen.
        MaskError: there is no batch.

    Source: Lin et al., HRank: Filter Pruning using High-Rank Feature Map, arXiv 2002.10179, eq. 4.

    >>> from purethin.inference.infer import infer
    >>> def net(p, x): return torch.conv2d(torch.conv2d(x, p["w"]), p["v"])
    >>> params = {"w": torch.tensor([1., 0.]).reshape(2, 1, 1, 1), "v": torch.ones(1, 2, 1, 1)}
    >>> x = torch.eye(3)[None, None]
    >>> hrank(net, params, infer(net, params, x), [x])["w"]
    tensor([3., 0.])
    """
    sums, counts = _sums(running(model, params, spec), spec, batches)
    means = {(s, n): total / counts[s] for (s, n), total in sums.items()}
    measured = {axis for _, axis in means}
    if missing := [n for n in spec.axes if n not in measured and shown(spec, n)]:
        raise SpecError(f"no data of '{missing[0]}' were seen: no call that reads it ran")
    return {
        name: reduced([m for (_, n), m in means.items() if n == name], reduce)
        if name in measured
        else torch.zeros(axis.size)
        for name, axis in spec.axes.items()
    }


def _sums(
    run: Running, spec: Spec, batches: Iterable[Any]
) -> tuple[dict[tuple[Site, str], Tensor], dict[Site, int]]:
    """The ranks of each site and axis, summed over examples; how many there were."""
    named: dict[str, list[Site]] = {}
    for site in spec.sites:
        if site.role != "scales" and site.operand is not None:
            named.setdefault(site.call, []).append(site)
    sums: dict[tuple[Site, str], Tensor] = {}
    counts: dict[Site, int] = {}

    def seen(name: str, tensors: list[Tensor], outs: list[Any], call: Any) -> None:
        for site in named[name]:
            assert site.operand is not None
            x = widened(outs[0] if site.operand < 0 else tensors[site.operand])
            counts[site] = counts.get(site, 0) + (len(x) if x.dim() > 1 else 1)
            for axis in site.axes:
                ranks = _ranks(x, site, axis, spec)
                sums[site, axis] = sums[site, axis] + ranks if (site, axis) in sums else ranks

    count = 0
    for batch in batches:
        count += 1
        with watched(run.tensors, {*named}, seen):
            run.call(run.tensors, batch)
    if not count:
        raise MaskError("no batch is given: give one at least, [inputs]")
    return sums, counts


def _ranks(x: Tensor, site: Site, axis: str, spec: Spec) -> Tensor:
    """`Tensor[size]`: the ranks of each unit's maps, summed over examples."""
    x = x if x.dim() > 1 else x[None]
    at = site.at % x.dim()
    x = x.movedim(at, 1) if at else x.movedim(0, -1)[None]
    image = x.dim() == 4 and site.at == -3
    x = x if image else x.flatten(2)[..., None] if x.dim() > 2 else x[..., None, None]
    unit, out = ax.units(site.channels, axis, spec.sizes).to(x.device), []
    for u in range(spec.axes[axis].size):
        maps = x[:, unit == u]  # examples, features, rows, columns
        maps = maps.flatten(0, 1) if image else maps[..., 0].mT
        out.append(torch.linalg.matrix_rank(maps).sum())
    return torch.stack(out).to(x.dtype)
