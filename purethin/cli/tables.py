"""Tables for people: drawn by rich where it is installed and a terminal shows them, else plain
text.
"""

from __future__ import annotations

import sys
from typing import Any

from purethin.table import Table


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
                drawn.add_column(
                    name, justify="right" if j in part.numbers else "left", overflow="fold"
                )
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
