"""Scores of the activations times the weights that read them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from purethin.arguments import explained
from purethin.criteria.shared import Reduce, fitting, of_data
from purethin.measuring.stats import Features, Stats
from purethin.spec import Scores, Spec
from purethin.tree import TensorTree
from purethin.units import by_unit, wide


@explained
def wanda(params: TensorTree, spec: Spec, stats: Stats, *, reduce: Reduce = "sum") -> Scores:
    """Wanda for units: mean_i |W_iu|·‖X_u‖₂ over the rows i of the weight that reads the unit; of
    a unit of several features (a head) their sum.

    A convolution's features are its channels, and i runs over its kernel too. Where no weight reads
    a unit (queries by keys), the weight counts as 1.

    Args:
        params: the parameter pytree.
        spec: its spec.
        stats: what `measure` gave.
        reduce: how several calls that read one axis count together.

    Returns:
        `{axis: Tensor[size]}` for every axis, float64.

    Raises:
        SpecError: the parameters do not fit the spec, or no data of an axis were seen.

    Source: Sun et al., A Simple and Effective Pruning Approach for Large Language Models, arXiv
    2306.11695, eq. 1; for units as Wanda-sp in An et al., arXiv 2312.11983.

    >>> from purethin.inference.infer import infer
    >>> from purethin.measuring.measure import measure
    >>> def net(p, x): return torch.relu(x @ p["w"]) @ p["v"]
    >>> params = {"w": torch.tensor([[1., -1.]]), "v": torch.tensor([[1., 3.], [1., -5.]])}
    >>> x = torch.tensor([[3.], [4.], [-1.]])
    >>> spec = infer(net, params, x)
    >>> wanda(params, spec, measure(net, params, spec, [x]))["w"]
    tensor([10.,  3.], dtype=torch.float64)
    """
    tensors = fitting(params, spec, "wanda(params, spec, stats)")

    def value(f: Features, axis: str) -> Tensor:
        weight = _columns(f, tensors, power=1, mean=True)
        return by_unit(weight * f.square.sqrt(), f.site.channels, axis, spec)

    return of_data(spec, stats, value, reduce)


@explained
def flap(params: TensorTree, spec: Spec, stats: Stats, *, reduce: Reduce = "sum") -> Scores:
    """FLAP's fluctuation: Var(X_u)·‖W_:u‖² with the weight W that reads the unit; of a unit of
    several features their sum. What does not fluctuate, a bias can stand for: `repair` puts
    W_:u·E[X_u] into it.

    Convolutions and units that no weight reads as in `wanda`.

    Args:
        params: the parameter pytree.
        spec: its spec.
        stats: what `measure` gave.
        reduce: how several calls that read one axis count together.

    Returns:
        `{axis: Tensor[size]}` for every axis, float64. The paper standardises each axis's scores
        before it ranks across axes.

    Raises:
        SpecError: the parameters do not fit the spec, or no data of an axis were seen.

    Source: An et al., Fluctuation-based Adaptive Structured Pruning for Large Language Models,
    arXiv 2312.11983, eq. 5.

    >>> from purethin.inference.infer import infer
    >>> from purethin.measuring.measure import measure
    >>> def net(p, x): return torch.relu(x @ p["w"]) @ p["v"]
    >>> params = {"w": torch.tensor([[1., 0.]]), "v": torch.tensor([[1., 2.], [1., 1.]])}
    >>> x = torch.tensor([[1.], [3.]])
    >>> spec = infer(net, params, x)
    >>> flap(params, spec, measure(net, params, spec, [x]))["w"]
    tensor([5., 0.], dtype=torch.float64)
    """
    tensors = fitting(params, spec, "flap(params, spec, stats)")

    def value(f: Features, axis: str) -> Tensor:
        weight = _columns(f, tensors, power=2, mean=False)
        return by_unit(weight * f.variance, f.site.channels, axis, spec)

    return of_data(spec, stats, value, reduce)


def _columns(f: Features, tensors: Mapping[str, Tensor], *, power: int, mean: bool) -> Tensor:
    """`Tensor[features]`: Σ_i or mean_i of |W_iu|^power over the weights that read each feature."""
    features, found = len(f.total), []
    for name, dim in f.site.weights:
        entries = wide(f.computed.get(name, tensors[name]).abs()).double().pow(power)
        if features == entries.shape[dim]:
            rows = entries.movedim(dim, 0)
        elif dim == 1 and features % entries.shape[1] == 0:  # a grouped convolution
            groups = features // entries.shape[1]
            rows = entries.unflatten(0, (groups, -1)).movedim(2, 1).flatten(0, 1)
        else:
            continue
        rows = rows.reshape(features, -1).to(f.total.device)
        found.append(rows.mean(1) if mean else rows.sum(1))
    return torch.stack(found).sum(0) if found else torch.ones_like(f.total)
