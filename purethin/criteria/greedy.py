"""Units that go one after the other, each time the one that costs the readers least, with all that
went before. They need Gram matrices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from purethin.arguments import explained
from purethin.criteria.reconstruction import (
    gram_of,
    gram_units,
    hessian,
    reading_rows,
    same_size,
    with_grams,
)
from purethin.criteria.shared import fitting, shown
from purethin.measuring.stats import Features, Stats
from purethin.spec import Scores, Spec
from purethin.tree import TensorTree


@explained
def thinet(params: TensorTree, spec: Spec, stats: Stats) -> Scores:
    """ThiNet's greedy choice: units go one after the other, each time the one whose going, with all
    that went before, adds least to Σ_i ‖Σ_{v∈T} W_iv·X_v‖², the change of the readers' outputs.

    The paper samples positions and one output each; here all count, by the Gram matrix.

    Args:
        params: the parameter pytree.
        spec: its spec.
        stats: what `measure` gave with `gram=`. Of the axes that it was not given for there is no
            score.

    Returns:
        `{axis: Tensor[size]}` for every axis with Gram matrices: when a unit goes, as a fraction of
        the axis, 0 the first.

    Raises:
        SpecError: the parameters do not fit the spec.
        MaskError: no Gram matrix was measured.

    Source: Luo et al., ThiNet, arXiv 1707.06342, sec. 3.2.2, eq. 6, algorithm 1.

    >>> from purethin.inference.infer import infer
    >>> from purethin.measuring.measure import measure
    >>> def net(p, x): return (x @ p["w"]) @ p["v"]
    >>> params = {"w": torch.tensor([[2., -2.1, 1.]]), "v": torch.ones(3, 1)}
    >>> spec = infer(net, params, torch.ones(1, 1))
    >>> thinet(params, spec, measure(net, params, spec, [torch.ones(1, 1)], gram=True))["w"]
    tensor([0.6667, 0.3333, 0.0000], dtype=torch.float64)
    """
    tensors = fitting(params, spec, "thinet(params, spec, stats)")
    out: dict[str, Tensor] = {}
    for name, axis in with_grams(spec, stats).axes.items():
        out[name] = torch.zeros(axis.size, dtype=torch.float64)
        if shown(spec, name):
            found = [_products(f, name, spec, tensors) for f in stats.at(name)]
            out[name] = _order(torch.stack(found).sum(0)) / axis.size
    return out


@explained
def ziplm(
    params: TensorTree, spec: Spec, stats: Stats, *, damp: float = 0.01, weighted: bool = False
) -> Scores:
    """ZipLM's greedy choice: units go one after the other, each time the one of least `obs`, and
    the weights that stay take over what they can of it before the next is chosen.

    So of two units that are alike one goes first, for nothing, and the other is then worth both. A
    score is the squared error that the readers gain as the unit goes, and never less than that of
    those that went before; sums of scores are errors, so `solve(…, normalize=None)` may add them.

    Args:
        params: the parameter pytree.
        spec: its spec.
        stats: what `measure` gave with `gram=`. Of the axes that it was not given for there is no
            score.
        damp: λ, as in `obs`.
        weighted: as in `obs`.

    Returns:
        `{axis: Tensor[size]}` for every axis with Gram matrices, float64.

    Raises:
        SpecError: the parameters do not fit the spec.
        MaskError: no Gram matrix was measured, or damp is not above 0.

    Source: Kurtic et al., ZipLM: Inference-Aware Structured Pruning of Language Models, arXiv
    2302.04089, sec. 3.1, algorithm 1.

    >>> from purethin.inference.infer import infer
    >>> from purethin.measuring.measure import measure
    >>> def net(p, x): return torch.relu(x @ p["w"]) @ p["v"]
    >>> params = {"w": torch.tensor([[1., 2., 0.], [0., 0., 1.]]), "v": torch.ones(3, 1)}
    >>> spec = infer(net, params, torch.ones(1, 2))
    >>> x = torch.tensor([[1., 0.], [0., 3.]])
    >>> stats = measure(net, params, spec, [x], gram=True)
    >>> ziplm(params, spec, stats, damp=1e-9)["w"].round(decimals=3)  # the first two are alike
    tensor([ 0., 18., 18.], dtype=torch.float64)
    """
    tensors = fitting(params, spec, "ziplm(params, spec, stats)")
    out: dict[str, Tensor] = {}
    for name, axis in with_grams(spec, stats).axes.items():
        out[name] = torch.zeros(axis.size, dtype=torch.float64)
        if shown(spec, name):
            found = [_readers(f, name, spec, tensors, (damp, weighted)) for f in stats.at(name)]
            out[name] = _greedy([reader for each in found for reader in each], axis.size)
    return out


@dataclass(frozen=True)
class _Reader:
    """The rows of one group of one call, `Tensor[outputs, features]`, H⁻¹ and the features of each
    unit, `(units, LongTensor[units, features of each])`.
    """

    rows: Tensor
    inverse: Tensor
    units: list[tuple[Tensor, Tensor]]

    def losses(self, size: int) -> Tensor:
        """`Tensor[size]`: the error that is left when one unit goes, after the best update."""
        total = torch.zeros(size, dtype=torch.float64, device=self.rows.device)
        for units, index in self.units:
            sub = self.inverse[index[:, :, None], index[:, None, :]]
            w = self.rows[:, index].movedim(1, 0)
            total = total.index_add(0, units, (torch.linalg.solve(sub, w.mT) * w.mT).sum((1, 2)))
        return total

    def remove(self, unit: int) -> None:
        """Let a unit go, in place: the rows take over what they can, H⁻¹ is that of the rest."""
        for units, index in self.units:
            for s in index[units == unit]:
                solved = torch.linalg.solve(self.inverse[s][:, s], self.inverse[s])
                self.rows.sub_(self.rows[:, s] @ solved)
                self.inverse.sub_(self.inverse[:, s] @ solved)
                self.rows[:, s] = 0
                self.inverse[s] = 0
                self.inverse[:, s] = 0
                self.inverse[s, s] = 1


def _readers(
    f: Features, axis: str, spec: Spec, tensors: Mapping[str, Tensor], how: tuple[float, bool]
) -> list[_Reader]:
    """What is to be known of a call, group by group."""
    damp, weighted = how
    gram = gram_of(f, weighted=weighted)
    inverse = torch.linalg.inv(hessian(gram, damp))
    out = []
    units = gram_units(f, axis, spec)
    for rows, inv, unit in zip(reading_rows(f, gram, tensors), inverse, units, strict=True):
        found = [(unit[index[:, 0]], index) for index in same_size(unit)]
        out.append(_Reader(rows.clone(), inv.clone(), found))
    return out


def _greedy(readers: list[_Reader], size: int) -> Tensor:
    """The error that each unit adds as it goes, the running maximum."""
    scores = torch.zeros(size, dtype=torch.float64)
    there, most = torch.ones(size, dtype=torch.bool), 0.0
    for _ in range(size):
        losses = torch.stack([r.losses(size).cpu() for r in readers]).sum(0)
        unit = int(torch.where(there, losses, torch.inf).argmin())
        most = max(most, float(losses[unit]))
        scores[unit], there[unit] = most, False
        for reader in readers:
            reader.remove(unit)
    return scores


def _order(products: Tensor) -> Tensor:
    """When each unit goes."""
    cost = products.diagonal().clone()
    order = torch.zeros_like(cost)
    for step in range(len(cost)):
        unit = int(cost.argmin())
        order[unit] = step
        cost = cost + 2 * products[unit]
        cost[unit] = torch.inf
    return order


def _products(f: Features, axis: str, spec: Spec, tensors: Mapping[str, Tensor]) -> Tensor:
    """`Tensor[size, size]`: Σ_i Σ_positions (W_iu·X_u)(W_iv·X_v)."""
    gram, size = gram_of(f, weighted=False), spec.axes[axis].size
    total = torch.zeros(size, size, dtype=torch.float64, device=gram.matrix.device)
    rows, units = reading_rows(f, gram, tensors), gram_units(f, axis, spec)
    for matrix, w, unit in zip(gram.matrix.double(), rows, units, strict=True):
        mine = (unit >= 0).nonzero()[:, 0]
        entries, of = (w.T @ w * matrix)[mine][:, mine], unit[mine]
        rows_of_units = entries.new_zeros(size, len(mine)).index_add(0, of, entries)
        total = total.index_add(1, of, rows_of_units)
    return total
