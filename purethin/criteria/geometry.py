"""Scores of where a filter lies among the others."""

from __future__ import annotations

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.arguments import explained
from purethin.criteria.shared import Reduce, fitting, reduced
from purethin.spec import Scores, Spec
from purethin.tree import TensorTree
from purethin.units import wide


@explained
def geometric_median(params: TensorTree, spec: Spec, *, reduce: Reduce = "sum") -> Scores:
    """Σ_v ‖F_u − F_v‖₂: how far a unit's filter lies from all others of its axis. The lowest are
    near the geometric median, and the others can stand for them: FPGM.

    Args:
        params: the parameter pytree.
        spec: its spec.
        reduce: how the tensors that produce one axis count together.

    Returns:
        `{axis: Tensor[size]}` for every axis; the filters themselves are compared, so that w and −w
        are far apart.

    Raises:
        SpecError: the parameters do not fit the spec.

    Source: He et al., Filter Pruning via Geometric Median, arXiv 1811.00250, sec. 3.2, eq. 3.

    >>> spec = Spec.from_layout({"w": "h 1"}, {"w": torch.zeros(3, 1)})
    >>> geometric_median({"w": torch.tensor([[0.], [1.], [3.]])}, spec)["h"]
    tensor([4., 3., 5.])
    """
    tensors = fitting(params, spec, "geometric_median(params, spec)")
    return {
        axis.name: reduced(
            [_distances(filters(tensors[n], spec, n, d, axis.name)) for n, d in axis.producers],
            reduce,
        )
        for axis in spec.axes.values()
    }


def filters(tensor: Tensor, spec: Spec, parameter: str, dim: int, axis: str) -> Tensor:
    """`Tensor[size, entries]`: all entries of each unit along a dim, side by side; a unit with
    fewer than others is filled up with zeros.
    """
    rows = tensor.movedim(dim, 0).reshape(tensor.shape[dim], -1)
    unit = ax.units(spec.layout[parameter][dim], axis, spec.sizes).to(rows.device)
    counts = unit[unit >= 0].bincount(minlength=spec.axes[axis].size)
    if bool((counts == counts[0]).all()):  # the units' entries, one unit after the other
        order = unit.argsort(stable=True)[int((unit < 0).sum()) :]
        return rows[order].reshape(len(counts), -1)
    mine = [(unit == u).nonzero()[:, 0] for u in range(spec.axes[axis].size)]
    longest = max(map(len, mine))
    blank = rows.new_zeros(longest, rows.shape[1])
    return torch.stack([torch.cat([rows[m], blank[len(m) :]]).flatten() for m in mine])


def _distances(rows: Tensor) -> Tensor:
    """`Tensor[size]`: the sum of distances to all others."""
    w = wide(rows)
    w = torch.view_as_real(w).flatten(1) if w.is_complex() else w
    return torch.cdist(w.double(), w.double()).sum(1).to(w.dtype)
