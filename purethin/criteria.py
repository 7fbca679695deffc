"""Saliency criteria: from parameters to scores, one number per unit of each axis, the higher the
more worth keeping. All pure.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from purethin.checks import check_fits
from purethin.errors import MaskError, SpecError
from purethin.records import Axis
from purethin.spec import Scores, Spec
from purethin.tree import TensorTree, named
from purethin.units import change, leaving, per_unit, wide


def lp_norm(params: TensorTree, spec: Spec, *, p: float = 1) -> Scores:
    """The Lp norm of each unit's producing filters, Σ|w|^p; where several tensors produce an axis,
    theirs add up.

    Args:
        params: the parameter pytree. Differentiable; works under `vmap` over stacked parameters.
        spec: its spec.
        p: the power, 1 or 2 as a rule.

    Returns:
        `{axis: Tensor[size]}` for every axis; half types are summed in float32.

    Raises:
        SpecError: the parameters do not fit the spec.
        MaskError: p is not positive and finite.

    Source: Li et al., Pruning Filters for Efficient ConvNets, arXiv 1608.08710.

    >>> spec = Spec.from_layout({"w": "h 2"}, {"w": torch.zeros(3, 2)})
    >>> lp_norm({"w": torch.tensor([[1., -2.], [0., 1.], [3., 0.]])}, spec)["h"]
    tensor([3., 1., 3.])
    """
    tensors = named(params)
    check_fits(spec, tensors)
    if not 0 < p < float("inf"):
        raise MaskError(f"p is {p}: the power of the norm is positive and finite, as 1 or 2")

    def score(axis: Axis) -> Tensor:
        return torch.stack(
            [
                filter_norm(tensors[name], spec, name, dim, axis.name, p=p)
                for name, dim in axis.producers
            ]
        ).sum(0)

    return {axis.name: score(axis) for axis in spec.axes.values()}


def filter_norm(
    tensor: Tensor, spec: Spec, parameter: str, dim: int, axis: str, *, p: float = 1
) -> Tensor:
    """`Tensor[size]`: Σ|w|^p over all entries of one parameter that belong to each unit of an axis,
    along one of its dims.
    """
    return per_unit(wide(tensor.abs()).pow(p), spec, parameter, dim, axis)


def taylor(params: TensorTree, spec: Spec, grads: Iterable[TensorTree]) -> Scores:
    """The first-order Taylor criterion, E_batch[(Σ g·w)²]: how much the loss changes when a unit
    goes.

    The sum runs over all entries that leave with the unit, in every parameter; the square is
    outside it, the mean outside that. An axis that the loss does not reach has score 0: to first
    order nothing is lost with it.

    Args:
        params: the parameter pytree.
        spec: its spec.
        grads: for each batch, the loss's gradients, a pytree like `params`; parameters without one
            (buffers) may be left out, or be None. A generator is read once, a batch at a time.

    Returns:
        `{axis: Tensor[size]}` for every axis; half types are summed in float32.

    Raises:
        SpecError: parameters or gradients do not fit the spec.
        MaskError: there is no batch, or one without any gradient.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning, arXiv 1906.10771,
    eq. 8.

    >>> spec = Spec.from_layout({"w": "h 2"}, {"w": torch.zeros(2, 2)})
    >>> params = {"w": torch.tensor([[1., 2.], [1., 1.]])}
    >>> taylor(params, spec, [{"w": torch.tensor([[1., 1.], [2., -2.]])}])["h"]
    tensor([9., 0.])
    """
    if not isinstance(spec, Spec):
        raise SpecError(
            f"a Spec is expected, not {type(spec).__name__}: write taylor(params, spec, grads)"
        )
    tensors = named(params)
    check_fits(spec, tensors)
    batches: list[Scores] = []
    for tree in grads:
        given = {name: g for name, g in named(tree).items() if g is not None}
        check_fits(spec, tensors | given)
        changes = {name: change(g, tensors[name]) for name, g in given.items()}
        if not changes and spec.axes:
            first = next(iter(spec.axes.values()))
            raise MaskError(
                f"no gradient is given of any parameter that carries '{first.name}': "
                f"{first.places[0][0]} is one"
            )
        batches.append(
            {axis.name: leaving(changes, spec, axis).square() for axis in spec.axes.values()}
        )
    if not batches:
        raise MaskError("no batch of gradients is given: give one at least, [grads]")
    return {name: torch.stack([squares[name] for squares in batches]).mean(0) for name in spec.axes}


def apoz(activation: Tensor, *, dim: int = 1) -> Tensor:
    """The fraction of a unit's activations that are not zero: 1 − APoZ, the average percentage of
    zeros.

    Args:
        activation: `Tensor[…, units, …]`, after the nonlinearity.
        dim: the dim of the units; 1 for images, -1 for tokens.

    Returns:
        `Tensor[units]`, fractions, the higher the more worth keeping: one axis's scores.

    Raises:
        MaskError: the activation has no such dim.

    Source: Hu et al., Network Trimming, arXiv 1607.03250.

    >>> apoz(torch.tensor([[0., 1.], [0., 0.]]))
    tensor([0.0000, 0.5000])
    """
    return activation_mean((activation != 0).to(activation.dtype), dim=dim)


def activation_mean(activation: Tensor, *, dim: int = 1) -> Tensor:
    """The mean of a unit's activations, over all but its own dim.

    Args:
        activation: `Tensor[…, units, …]`, after the nonlinearity.
        dim: the dim of the units; 1 for images, -1 for tokens.

    Returns:
        `Tensor[units]`, the higher the more worth keeping: one axis's scores. Half types are
        summed in float32.

    Raises:
        MaskError: the activation has no such dim.

    Source: Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient
    Inference, arXiv 1611.06440, sec. 2.2.

    >>> activation_mean(torch.tensor([[0., 1.], [4., 0.]]))
    tensor([2.0000, 0.5000])
    """
    if not -activation.dim() <= dim < activation.dim():
        raise MaskError(
            f"an activation of shape {tuple(activation.shape)} has no dim {dim}: give the dim of "
            "the units, as 1 for images and -1 for tokens"
        )
    others = [d for d in range(activation.dim()) if d != dim % activation.dim()]
    return wide(activation).mean(others) if others else wide(activation)


def random_scores(
    params: TensorTree, spec: Spec, *, generator: torch.Generator | None = None
) -> Scores:
    """Uniform scores in [0, 1), the baseline that every criterion must beat.

    Args:
        params: the parameter pytree; only its devices are read.
        spec: the spec whose axes are scored.
        generator: the source of randomness, for a repeatable answer; torch's own where there is
            none.

    Returns:
        `{axis: Tensor[size]}` for every axis, on the device of the axis's first producer.

    Raises:
        SpecError: the parameters do not fit the spec.

    >>> spec = Spec.from_layout({"w": "h 2"}, {"w": torch.zeros(3, 2)})
    >>> chance = torch.Generator().manual_seed(0)
    >>> random_scores({"w": torch.zeros(3, 2)}, spec, generator=chance)["h"]
    tensor([0.4963, 0.7682, 0.0885])
    """
    tensors = named(params)
    check_fits(spec, tensors)
    source = generator.device if generator else torch.device("cpu")

    def score(axis: Axis) -> Tensor:
        return torch.rand(axis.size, generator=generator, device=source).to(
            tensors[axis.producers[0][0]].device
        )

    return {axis.name: score(axis) for axis in spec.axes.values()}
