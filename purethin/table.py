"""Text in columns, for plans, reports and the command line: a head and rows, never cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A head and rows of text; the columns in `numbers` are aligned to the right."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: Sequence[int] = ()

    def __str__(self) -> str:
        """Plain text.

        >>> print(Table(("axis", "size"), [("conv1", "64"), ("fc", "8")], numbers=(1,)))
        axis   size
        conv1    64
        fc        8
        """
        table = [self.head, *self.rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if i in self.numbers else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in table
        )
