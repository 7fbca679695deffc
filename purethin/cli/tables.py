"""Tables for people: drawn by rich where it is installed and a terminal shows them, else plain aligned text, never cut off."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """A head and rows of text; the columns in `numbers` are aligned to the right."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: tuple[int, ...] = ()

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


def show(*parts: Table | str) -> None:
    """Print tables and paragraphs, an empty line between them."""
    console = _console()
    for i, part in enumerate(parts):
        if i:
            print()
        if console is None or isinstance(part, str):
            print(part)
        else:
            from rich.table import Table as Drawn

            drawn = Drawn(box=None, header_style="bold", pad_edge=False)
            for j, name in enumerate(part.head):
                drawn.add_column(name, justify="right" if j in part.numbers else "left", overflow="fold")
            for row in part.rows:
                drawn.add_row(*row)
            console.print(drawn)


def _console() -> Any:
    if not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(markup=False, highlight=False, emoji=False)
