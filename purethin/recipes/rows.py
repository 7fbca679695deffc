"""A row of a plan: what one pruner has removed of one axis, or of one parameter's single weights,
by one epoch.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from purethin.costs import Cost
from purethin.table import Table

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


def by_epoch(rows: Sequence[Row], axes: Container[str], dense: Cost) -> Table:
    """A line for each epoch: the units removed so far, and the network's cost.

    Args:
        rows: those of a plan, by epoch.
        axes: the names of axes; the other rows are of parameters, whose single weights are zeroed.
        dense: the cost at first.
    """
    units: dict[str, Row] = {}
    weights: dict[str, Row] = {}
    lines: dict[str, tuple[str, ...]] = {}
    for row in rows:
        (units if row.axis in axes else weights)[row.axis] = row
        gone = [f"{sum(r.removed for r in kind.values()):,}" for kind in (units, weights)]
        pairs = (row.parameters, dense.parameters), (row.macs, dense.macs)
        costs = [text for now, all_ in pairs for text in (f"{now:,}", f"{now / max(all_, 1):.1%}")]
        lines[row.cells[0]] = (row.cells[0], *gone, *costs)
    head = ("epoch", "units removed", "weights zeroed", "parameters", "left", "MACs", "left")
    shown = [i for i in range(len(head)) if i != 2 or weights]
    cells = [tuple(line[i] for i in shown) for line in lines.values()]
    return Table(tuple(head[i] for i in shown), cells, numbers=range(1, len(shown)))
