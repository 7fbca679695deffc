"""Scores of the weights alone: norms of filters, LAMP, the scale of batch norms."""

from __future__ import annotations

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.arguments import explained
from purethin.criteria.shared import Reduce, fitting, reduced
from purethin.errors import MaskError
from purethin.spec import Scores, Spec
from purethin.tree import TensorTree
from purethin.units import by_unit, wide


@explained
def lp_norm(params: TensorTree, spec: Spec, *, p: float = 1, reduce: Reduce = "sum") -> Scores:
    """The Lp norm of each unit's producing filters, Σ|w|^p; where several tensors produce an axis,
    theirs add up.

    Args:
        params: the parameter pytree. Differentiable; works under `vmap` over stacked parameters.
        spec: its spec.
        p: the power, 1 or 2 as a rule.
        reduce: how the tensors that produce one axis count together.

    Returns:
        `{axis: Tensor[size]}` for every axis; half types are summed in float32.

    Raises:
        SpecError: the parameters do not fit the spec.
        MaskError: p is not positive and finite.

    Source: Li et al., Pruning Filters for Efficient ConvNets, arXiv 1608.08710, sec. 3.1.

    >>> spec = Spec.from_layout({"w": "h 2"}, {"w": torch.zeros(3, 2)})
    >>> lp_norm({"w": torch.tensor([[1., -2.], [0., 1.], [3., 0.]])}, spec)["h"]
    tensor([3., 1., 3.])
    """
    tensors = fitting(params, spec, "lp_norm(params, spec)")
    if not 0 < p < float("inf"):
        raise MaskError(f"p is {p}: the power of the norm is positive and finite, as 1 or 2")
    rows: dict[tuple[str, int], Tensor] = {}  # packed axes share a dim, which is summed once
    for axis in spec.axes.values():
        for name, dim in axis.producers:
            if (name, dim) not in rows:
                rows[name, dim] = _along(tensors[name], dim, p)
    return {
        axis.name: reduced(
            [by_unit(rows[n, d], spec.layout[n][d], axis.name, spec) for n, d in axis.producers],
            reduce,
        )
        for axis in spec.axes.values()
    }


CHUNK = 2**17
"""Entries whose powers are held at once: fresh memory would cost more than the sums."""


def _along(tensor: Tensor, dim: int, p: float) -> Tensor:
    """`Tensor[entries]`: Σ|w|^p over all dims but one."""
    w, others = wide(tensor), [d for d in range(tensor.dim()) if d != dim]
    if p == 2 and others:  # no tensor of powers is made
        return torch.linalg.vector_norm(w, 2, others).square()
    if not others:
        return w.abs().pow(p)
    rows = max(1, CHUNK * len(w) // max(w.numel(), 1))
    powers = (c.abs() if p == 1 else c.abs().pow(p) for c in w.split(rows))
    sums = [c.sum(others) for c in powers]
    return torch.cat(sums) if dim == 0 else torch.stack(sums).sum(0)


@explained
def lamp(params: TensorTree, spec: Spec, *, reduce: Reduce = "sum") -> Scores:
    """LAMP of each unit, w_u² / Σ w_v² over the units v of its axis that are no smaller: of the
    norms of what produces it. Made to be ranked across axes: the largest unit of each has 1.

    The paper scores single weights; here w_u² is the squared L2 norm of a unit. Units of equal norm
    have equal scores.

    Args:
        params: the parameter pytree.
        spec: its spec.
        reduce: how the squares of the tensors that produce one axis count together.

    Returns:
        `{axis: Tensor[size]}` for every axis, from 0 to 1.

    Raises:
        SpecError: the parameters do not fit the spec.

    Source: Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, arXiv 2010.07611,
    eq. 4.

    >>> spec = Spec.from_layout({"w": "h 1"}, {"w": torch.zeros(3, 1)})
    >>> lamp({"w": torch.tensor([[1.], [2.], [0.]])}, spec)["h"]
    tensor([0.2000, 1.0000, 0.0000])
    """
    squares = lp_norm(params, spec, p=2, reduce=reduce)
    return {name: _lamp(s) for name, s in squares.items()}


def _lamp(squares: Tensor) -> Tensor:
    no_smaller = torch.where(squares[None, :] >= squares[:, None], squares[None, :], 0).sum(1)
    return torch.where(no_smaller > 0, squares / no_smaller, torch.zeros_like(squares))


@explained
def batch_norm_scale(params: TensorTree, spec: Spec, *, reduce: Reduce = "sum") -> Scores:
    """|γ| of the batch norms that scale each unit: slimming.

    Args:
        params: the parameter pytree.
        spec: its spec.
        reduce: how several norms of one axis count together, as along a residual stream.

    Returns:
        `{axis: Tensor[size]}` for every axis that a batch norm scales. The others have no such
        score, and stay out.

    Raises:
        SpecError: the parameters do not fit the spec.
        MaskError: no axis has a batch norm.

    Source: Liu et al., Learning Efficient Convolutional Networks through Network Slimming, arXiv
    1708.06519, sec. 3.

    >>> params = {"w": torch.ones(2, 3), "bn.weight": torch.tensor([-2., 1.]),
    ...           "bn.running_var": torch.ones(2)}
    >>> layout = {"w": "h 3", "bn.weight": "h", "bn.running_var": "h"}
    >>> batch_norm_scale(params, Spec.from_layout(layout, params))["h"]
    tensor([2., 1.])
    """
    tensors = fitting(params, spec, "batch_norm_scale(params, spec)")
    found: dict[str, list[Tensor]] = {}
    for name in _scales(spec):
        for axis in dict.fromkeys(ax.names(spec.layout[name][0])):
            scale = by_unit(wide(tensors[name].abs()), spec.layout[name][0], axis, spec)
            found.setdefault(axis, []).append(scale)
    if not found:
        raise MaskError("no axis of this spec has a batch norm: use another criterion")
    return {name: reduced(found[name], reduce) for name in spec.axes if name in found}


def _scales(spec: Spec) -> dict[str, None]:
    """The scales of batch norms: as the trace saw them, else by the running variance beside."""
    if spec.sites:
        scaled = (s for s in spec.sites if s.role == "scales" and "batch_norm" in s.call)
        return dict.fromkeys(name for s in scaled for name, _ in s.weights)
    return {
        name: None
        for name, dims in spec.layout.items()
        if len(dims) == 1
        and name.endswith("weight")
        and f"{name.removesuffix('weight')}running_var" in spec.layout
    }
