"""Scores of the activations alone, as the calls take them that read a unit: after norms and
nonlinearities.
"""

from __future__ import annotations

from torch import Tensor

from purethin.arguments import explained
from purethin.criteria.shared import Reduce, fitting, mean_by_unit, of_data
from purethin.measuring.stats import Features, Stats
from purethin.spec import Scores, Spec
from purethin.tree import TensorTree


@explained
def apoz(params: TensorTree, spec: Spec, stats: Stats, *, reduce: Reduce = "mean") -> Scores:
    """The fraction of a unit's activations that are not zero: 1 − APoZ, the average percentage of
    zeros. It tells units apart only behind a ReLU.

    Args:
        params: the parameter pytree.
        spec: its spec.
        stats: what `measure` gave.
        reduce: how several calls that read one axis count together.

    Returns:
        `{axis: Tensor[size]}` for every axis, fractions, float64.

    Raises:
        SpecError: the parameters do not fit the spec, or no data of an axis were seen.

    Source: Hu et al., Network Trimming, arXiv 1607.03250, sec. 3.1.

    >>> import torch
    >>> from purethin.inference.infer import infer
    >>> from purethin.measuring.measure import measure
    >>> def net(p, x): return torch.relu(x @ p["w"]) @ p["v"]
    >>> params = {"w": torch.tensor([[1., -1.]]), "v": torch.ones(2, 1)}
    >>> x = torch.tensor([[1.], [2.], [-1.], [3.]])
    >>> spec = infer(net, params, x)
    >>> apoz(params, spec, measure(net, params, spec, [x]))["w"]
    tensor([0.7500, 0.2500], dtype=torch.float64)
    """
    fitting(params, spec, "apoz(params, spec, stats)")

    def value(f: Features, axis: str) -> Tensor:
        return mean_by_unit(f.nonzero / f.positions, f.site.channels, axis, spec)

    return of_data(spec, stats, value, reduce)


@explained
def activation_mean(
    params: TensorTree, spec: Spec, stats: Stats, *, reduce: Reduce = "mean"
) -> Scores:
    """The mean of a unit's activations, over all positions of all examples.

    Args:
        params: the parameter pytree.
        spec: its spec.
        stats: what `measure` gave.
        reduce: how several calls that read one axis count together.

    Returns:
        `{axis: Tensor[size]}` for every axis, float64.

    Raises:
        SpecError: the parameters do not fit the spec, or no data of an axis were seen.

    Source: Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient
    Inference, arXiv 1611.06440, sec. 2.2.

    >>> import torch
    >>> from purethin.inference.infer import infer
    >>> from purethin.measuring.measure import measure
    >>> def net(p, x): return torch.relu(x @ p["w"]) @ p["v"]
    >>> params = {"w": torch.tensor([[1., -1.]]), "v": torch.ones(2, 1)}
    >>> x = torch.tensor([[1.], [2.], [-1.], [3.]])
    >>> spec = infer(net, params, x)
    >>> activation_mean(params, spec, measure(net, params, spec, [x]))["w"]
    tensor([1.5000, 0.2500], dtype=torch.float64)
    """
    fitting(params, spec, "activation_mean(params, spec, stats)")

    def value(f: Features, axis: str) -> Tensor:
        return mean_by_unit(f.mean, f.site.channels, axis, spec)

    return of_data(spec, stats, value, reduce)


@explained
def activation_norm(
    params: TensorTree, spec: Spec, stats: Stats, *, reduce: Reduce = "mean"
) -> Scores:
    """Minitron's activation norms: the L2 norm over examples of the mean over positions of
    ‖a_u‖₂, where a_u is all of a unit at one position: a neuron's activation, a head's output.

    Args:
        params: the parameter pytree.
        spec: its spec.
        stats: what `measure` gave.
        reduce: how several calls that read one axis count together.

    Returns:
        `{axis: Tensor[size]}` for every axis, float64; it grows with the number of examples.

    Raises:
        SpecError: the parameters do not fit the spec, or no data of an axis were seen.

    Source: Muralidharan et al., Compact Language Models via Pruning and Knowledge Distillation,
    arXiv 2407.14679, sec. 2.2, with batch = L2 and sequence = mean, its best.

    >>> import torch
    >>> from purethin.inference.infer import infer
    >>> from purethin.measuring.measure import measure
    >>> def net(p, x): return torch.relu(x @ p["w"]) @ p["v"]
    >>> params = {"w": torch.tensor([[1., -1.]]), "v": torch.ones(2, 1)}
    >>> x = torch.tensor([[3.], [4.], [-1.]])
    >>> spec = infer(net, params, x)
    >>> activation_norm(params, spec, measure(net, params, spec, [x]))["w"]
    tensor([5., 1.], dtype=torch.float64)
    """
    fitting(params, spec, "activation_norm(params, spec, stats)")
    return of_data(spec, stats, lambda f, axis: f.pooled[axis].sqrt(), reduce)
