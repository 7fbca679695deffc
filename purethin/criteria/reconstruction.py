"""Scores of what the calls that read a unit lose: the squared error of their outputs, before or
after the best update of their weights. They need Gram matrices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.arguments import explained
from purethin.checks import check_masks
from purethin.criteria.shared import Reduce, check_measured, fitting, of_data, shown
from purethin.errors import MaskError
from purethin.measuring.stats import Features, Gram, Stats
from purethin.spec import Masks, Scores, Spec
from purethin.tree import TensorTree, map_named
from purethin.units import wide


@explained
def obs(
    params: TensorTree,
    spec: Spec,
    stats: Stats,
    *,
    damp: float = 0.01,
    weighted: bool = False,
    reduce: Reduce = "sum",
) -> Scores:
    """Structured OBS: Σ_i W_iS [(H⁻¹)_SS]⁻¹ W_iSᵀ, the squared error of a reader's outputs that is
    left when a unit's features S go and all other weights of the row are updated for the best.
    H = 2·XXᵀ + λI.

    Args:
        params: the parameter pytree.
        spec: its spec.
        stats: what `measure` gave with `gram=`. Of the axes that it was not given for there is no
            score.
        damp: λ, as a fraction of the mean diagonal of 2·XXᵀ.
        weighted: whether positions are weighted by the norm that follows, where one does.
        reduce: how several calls that read one axis count together.

    Returns:
        `{axis: Tensor[size]}` for every axis with Gram matrices, float64.

    Raises:
        SpecError: the parameters do not fit the spec.
        MaskError: no Gram matrix was measured, or damp is not above 0.

    Source: Kurtic et al., ZipLM: Inference-Aware Structured Pruning of Language Models, arXiv
    2302.04089, eq. 2.

    >>> from purethin.inference.infer import infer
    >>> from purethin.measuring.measure import measure
    >>> def net(p, x): return torch.relu(x @ p["w"]) @ p["v"]
    >>> params = {"w": torch.tensor([[1., 2., 0.], [0., 0., 1.]]), "v": torch.ones(3, 1)}
    >>> spec = infer(net, params, torch.ones(1, 2))
    >>> x = torch.tensor([[1., 0.], [0., 3.]])
    >>> stats = measure(net, params, spec, [x], gram=True)
    >>> obs(params, spec, stats, damp=1e-6)["w"].round(decimals=3)  # the first two are alike
    tensor([ 0.,  0., 18.], dtype=torch.float64)
    """
    tensors = fitting(params, spec, "obs(params, spec, stats)")

    def value(f: Features, axis: str) -> Tensor:
        gram = gram_of(f, weighted=weighted)
        inverse = torch.linalg.inv(hessian(gram, damp))
        losses = torch.zeros(spec.axes[axis].size, dtype=torch.float64, device=inverse.device)
        units = gram_units(f, axis, spec)
        for rows, inv, unit in zip(reading_rows(f, gram, tensors), inverse, units, strict=True):
            for index in same_size(unit):
                sub = inv[index[:, :, None], index[:, None, :]]
                w = rows[:, index].movedim(1, 0)  # units, outputs, features of each
                lost = (w @ torch.linalg.inv(sub) * w).sum((1, 2))
                losses = losses.index_add(0, unit[index[:, 0]], lost)
        return losses

    return of_data(with_grams(spec, stats), stats, value, reduce)


@explained
def obs_update(
    params: TensorTree,
    spec: Spec,
    masks: Masks,
    stats: Stats,
    *,
    damp: float = 0.01,
    weighted: bool = False,
) -> TensorTree:
    """The update that goes with `obs`: the rows of each reader take over what they can of the
    features S that masks remove, δW = −W_:S [(H⁻¹)_SS]⁻¹ (H⁻¹)_S:, which leaves W_:S zero.

    Args:
        params: the parameter pytree.
        spec: its spec.
        masks: `{axis: BoolTensor[size]}`, True = keep.
        stats: what `measure` gave with `gram=` of the masked axes.
        damp: as in `obs`.
        weighted: as in `obs`.

    Returns:
        New parameters; those that no call reads by are as they were, to be masked or thinned.

    Raises:
        SpecError: the parameters do not fit the spec.
        MaskError: the masks do not, no Gram matrix was measured of what they remove, or a reader's
            weight is computed of several parameters.

    Source: Kurtic et al., ZipLM, arXiv 2302.04089, eq. 3.
    """
    tensors = fitting(params, spec, "obs_update(params, spec, masks, stats)")
    check_masks(spec, masks)
    check_measured(stats, spec)
    new = dict(tensors)
    for f in (f for f in stats.features if {*f.site.axes} & masks.keys() and f.site.weights):
        gram = gram_of(f, weighted=weighted)
        kept = ax.keep(f.site.channels, masks, spec.sizes)
        if kept is None:
            continue
        if f.computed:
            raise MaskError(
                f"{f.site.call} takes a weight that several parameters make: remove its "
                "parametrization first, torch.nn.utils.parametrize.remove_parametrizations"
            )
        gone = ~_spread(kept, gram).bool()
        inverse = torch.linalg.inv(hessian(gram, damp))
        for name, dim in f.site.weights:
            rows = _matrix(wide(new[name]).double(), dim, gram)
            for group, (inv, out) in enumerate(zip(inverse, gone, strict=True)):
                s = out.nonzero()[:, 0].to(inv.device)
                solved = torch.linalg.solve(inv[s][:, s], inv[s])
                rows[group] -= rows[group][:, s] @ solved
                rows[group][:, s] = 0
            new[name] = _unmatrix(rows, new[name], dim)
    return map_named(lambda name, t: new[name], params)


# ---- the features of a Gram matrix


def with_grams(spec: Spec, stats: Stats) -> Spec:
    """The spec with the axes that Gram matrices were measured of."""
    check_measured(stats, spec)
    seen = [n for n in spec.axes if shown(spec, n)]
    found = [n for n in seen if all(f.gram is not None for f in stats.at(n))]
    if seen and not found:
        raise MaskError(
            "these stats have no Gram matrices: give measure gram=True, or the axes' names"
        )
    return replace(spec, axes={n: a for n, a in spec.axes.items() if n in found or n not in seen})


def gram_of(f: Features, *, weighted: bool) -> Gram:
    """The second moments that were measured at a site, weighted by its norm where that is asked
    and there is one.

    Raises:
        MaskError: none were measured.
    """
    gram = (f.weighted or f.gram) if weighted else f.gram
    if gram is None:
        raise MaskError(
            f"no Gram matrix was measured of '{f.site.axes[0]}': name it in measure's gram="
        )
    return gram


def hessian(gram: Gram, damp: float) -> Tensor:
    """`Tensor[groups, features, features]`: 2·XXᵀ + λI in float64."""
    if not damp > 0:
        raise MaskError(f"damp is {damp}: give a number above 0, as 0.01; 2·XXᵀ alone is singular")
    h = 2 * gram.matrix.double()
    mean = h.diagonal(dim1=1, dim2=2).mean(1)
    level = damp * torch.where(mean > 0, mean, torch.ones_like(mean))
    return h + level[:, None, None] * torch.eye(h.shape[1], dtype=h.dtype, device=h.device)


def _spread(channels: Tensor, gram: Gram) -> Tensor:
    """`Tensor[groups, features]`: a value of each channel, for all places of its kernel."""
    groups, features = gram.total.shape
    each = channels.reshape(groups, -1)
    return each.repeat_interleave(features // each.shape[1], dim=1)


def gram_units(f: Features, axis: str, spec: Spec) -> Tensor:
    """`LongTensor[groups, features]`: which unit each feature of a Gram matrix belongs to."""
    gram = f.gram or f.weighted
    assert gram is not None
    unit = ax.units(f.site.channels, axis, spec.sizes)
    return _spread(unit, gram).to(gram.matrix.device)


def reading_rows(f: Features, gram: Gram, tensors: Mapping[str, Tensor]) -> Tensor:
    """`Tensor[groups, outputs, features]`: the rows of all weights that read; ones, each feature
    for itself, where none does.
    """
    groups, features = gram.total.shape
    rows = [
        _matrix(wide(f.computed.get(n, tensors[n])).double(), d, gram) for n, d in f.site.weights
    ]
    if not rows:
        one = torch.eye(features, dtype=torch.float64, device=gram.matrix.device)
        return one.expand(groups, features, features)
    return torch.cat(rows, 1).to(gram.matrix.device)


def _matrix(weight: Tensor, dim: int, gram: Gram) -> Tensor:
    """A weight as rows over the features of a Gram matrix, a copy."""
    groups, features = gram.total.shape
    if weight.shape[dim] == features and groups == 1:
        return weight.movedim(dim, -1).reshape(1, -1, features).clone()
    return weight.unflatten(0, (groups, -1)).flatten(2).clone()


def _unmatrix(rows: Tensor, weight: Tensor, dim: int) -> Tensor:
    """What `_matrix` made of a weight, in its shape."""
    if rows.shape[0] == 1 and rows.shape[2] == weight.shape[dim]:
        return rows.reshape(weight.movedim(dim, -1).shape).movedim(-1, dim).to(weight)
    return rows.reshape(weight.shape).to(weight)


def same_size(unit: Tensor) -> list[Tensor]:
    """`LongTensor[units, features of each]`, units of equally many features together."""
    order = unit.argsort(stable=True)[int((unit < 0).sum()) :]
    counts = unit[unit >= 0].bincount()
    if len(order) and bool((counts == counts[0]).all()):
        return [order.reshape(len(counts), -1)]
    found: dict[int, list[Tensor]] = {}
    for mine in order.split(counts.tolist()):
        found.setdefault(len(mine), []).append(mine)
    return [torch.stack(rows) for size, rows in found.items() if size]
