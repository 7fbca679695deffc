"""Saliency criteria: from parameters to scores, one number per unit of each axis, the higher the more worth keeping. All pure."""

from __future__ import annotations

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.errors import MaskError
from purethin.spec import Axis, Scores, Spec, check_fits
from purethin.tree import TensorTree, named


def lp_norm(params: TensorTree, spec: Spec, *, p: float = 1) -> Scores:
    """The Lp norm of each unit's producing filters, Σ|w|^p; where several tensors produce an axis, theirs add up.

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
        return torch.stack([filter_norm(tensors[name], spec, name, dim, axis.name, p=p) for name, dim in axis.producers]).sum(0)

    return {axis.name: score(axis) for axis in spec.axes.values()}


def filter_norm(tensor: Tensor, spec: Spec, parameter: str, dim: int, axis: str, *, p: float = 1) -> Tensor:
    """`Tensor[size]`: Σ|w|^p over all entries of one parameter that belong to each unit of an axis, along one of its dims."""
    tensor = tensor.abs() if tensor.is_complex() else tensor
    tensor = tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
    others = [d for d in range(tensor.dim()) if d != dim]
    entries = tensor.abs().pow(p)
    entries = entries.sum(others) if others else entries
    unit = ax.units(spec.layout[parameter][dim], axis, spec.sizes)
    carrying = (unit >= 0).nonzero()[:, 0]
    onto = torch.zeros(spec.axes[axis].size, dtype=entries.dtype, device=entries.device)
    return onto.index_add(0, unit[carrying].to(entries.device), entries[carrying.to(entries.device)])


def random_scores(params: TensorTree, spec: Spec, *, generator: torch.Generator | None = None) -> Scores:
    """Uniform scores in [0, 1), the baseline that every criterion must beat.

    Args:
        params: the parameter pytree; only its devices are read.
        spec: the spec whose axes are scored.
        generator: the source of randomness, for a repeatable answer; torch's own where there is none.

    Returns:
        `{axis: Tensor[size]}` for every axis, on the device of the axis's first producer.

    >>> spec = Spec.from_layout({"w": "h 2"}, {"w": torch.zeros(3, 2)})
    >>> random_scores({"w": torch.zeros(3, 2)}, spec, generator=torch.Generator().manual_seed(0))["h"]
    tensor([0.4963, 0.7682, 0.0885])
    """
    tensors = named(params)
    check_fits(spec, tensors)
    source = generator.device if generator else torch.device("cpu")

    def score(axis: Axis) -> Tensor:
        return torch.rand(axis.size, generator=generator, device=source).to(tensors[axis.producers[0][0]].device)

    return {axis.name: score(axis) for axis in spec.axes.values()}
