"""Tables for people: drawn by rich where it is installed and a terminal shows them, else plain
text.
"""

from __future__ import annotations

import sys
from typing import Any

from purethin.table import Table


def show(*parts: Table | str) -> None:
    """Print tables and paragraphs, an empty line between them."""
    draw = _drawing()
    for i, part in enumerate(parts):
        if i:
            print()
        if draw is None or isinstance(part, str):
            print(part)
        else:
            draw(part)


def _drawing() -> Any:
    """What draws a table on a terminal, if there is one and rich is installed."""
    if not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console
        from rich.table import Table as Drawn
    except ImportError:
        return None
    console = Console(markup=False, highlight=False, emoji=False)

    def draw(table: Table) -> None:
        drawn = Drawn(box=None, header_style="bold", pad_edge=False)
        for i, name in enumerate(table.head):
            side = "right" if i in table.numbers else "left"
            drawn.add_column(name, justify=side, overflow="fold")
        for row in table.rows:
            drawn.add_row(*row)
        console.print(drawn)

    return draw
