"""A row of a plan: what one pruner has removed of one axis, or of one parameter's single weights,
by one epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

WORDS = ("epoch", "pruner", "axis", "why")
NUMBERS = ("sparsity", "size", "removed", "kept", "parameters", "MACs")


@dataclass(frozen=True)
class Row:
    """One axis at one epoch, or one parameter whose single weights are zeroed.

    `pruner` is the instance that acts, a regularizer's too; `why` is the group type and the weight
    that pick and rank the axis, `size` the dense one, `removed` all that is gone so far, `sparsity`
    the fraction asked for; `parameters` and `macs` are the whole network's after the epoch's
    pruners; `thins` is whether removed units leave the tensors in this epoch.
    """

    epoch: int
    pruner: str
    axis: str
    why: str
    size: int
    removed: int
    sparsity: float
    parameters: int
    macs: int
    thins: bool

    @property
    def kept(self) -> int:
        """Units that stay."""
        return self.size - self.removed

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text: `WORDS`, then `NUMBERS`."""
        words = (f"{self.epoch}{'*' if self.thins else ''}", self.pruner, self.axis, self.why)
        units = (f"{self.sparsity:.4f}", str(self.size), str(self.removed), str(self.kept))
        return *words, *units, f"{self.parameters:,}", f"{self.macs:,}"
