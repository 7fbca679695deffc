"""The normal equations of a reader: how its weights make up for what is missing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Equations:
    """Sums over positions, float64: `matrix` `Tensor[groups, features, features]`: Σ w·x·xᵀ;
    `aims` `Tensor[groups, features, outputs]`: Σ w·x·rᵀ, where r is what the outputs lack.
    """

    matrix: Tensor
    aims: Tensor

    def __add__(self, other: Equations) -> Equations:
        return Equations(self.matrix + other.matrix, self.aims + other.aims)

    def solved(self, ridge: float) -> Tensor:
        """`Tensor[groups, features, outputs]`: the change that makes Σ w·(r − xᵀ·change)² +
        Σ p·change² least, where p is the ridge times the geometric mean of the feature's own energy
        and the mean feature's: what is hardly ever active moves little, what is active in a few
        positions alone does not rule the rest.
        """
        own = self.matrix.diagonal(dim1=1, dim2=2)
        mean = own.mean(1, keepdim=True)
        floor = torch.where(mean > 0, mean, torch.ones_like(mean))
        p = ridge * (own.clamp(min=0) * floor).sqrt() + 1e-9 * floor
        return torch.linalg.solve(self.matrix + torch.diag_embed(p), self.aims)


def equations(x: Tensor, lacking: Tensor, weights: Tensor | None, *, shift: bool) -> Equations:
    """The sums over one batch.

    Args:
        x: `Tensor[groups, positions, features]`.
        lacking: `Tensor[groups, positions, outputs]`.
        weights: `Tensor[positions]`; None for all alike.
        shift: whether a bias may change too: a last feature of 1.
    """
    if shift:
        x = torch.cat([x, torch.ones_like(x[..., :1])], 2)
    scaled = x if weights is None else x * weights[:, None]
    return Equations((scaled.mT @ x).double(), (scaled.mT @ lacking).double())
