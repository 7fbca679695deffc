"""What people get: tables on a terminal, drawn by rich where it is installed, else plain text; and
files, of which none is replaced unless asked, and a folder is filled whole.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from purethin.errors import PurethinError
from purethin.storage import written_whole
from purethin.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def show(*parts: Table | str) -> None:
    """Print tables and paragraphs, an empty line between them."""
    draw = _drawing()
    for i, part in enumerate(parts):
        print(end="\n" if i else "")
        put = draw if draw and isinstance(part, Table) else print
        put(part)


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


def refuse_existing(path: Path | None, *, force: bool) -> None:
    """See that nothing is there that would be replaced, if a path is given at all; a folder may be
    there, empty.

    Raises:
        PurethinError: something is, and `force` is not given; or its parent is not a folder.
    """
    if path is None:
        return
    if not path.parent.is_dir():
        raise PurethinError(f"{path} cannot be written: there is no folder {path.parent}")
    if force or not path.exists():
        return
    if not path.is_dir():
        raise PurethinError(f"{path} exists: choose another name, or give --force to replace it")
    if any(path.iterdir()):
        raise PurethinError(
            f"{path} is not empty: choose another name, or give --force to replace files in it"
        )


def writable_picture(path: Path | None, *, force: bool) -> None:
    """See that a picture can be drawn there, if a path is given at all.

    Raises:
        PurethinError: matplotlib is not installed, or does not write such files; or as
            `refuse_existing`.
    """
    if path is None:
        return
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise PurethinError("pictures need matplotlib: pip install 'purethin[plot]'") from error
    if path.suffix.removeprefix(".").lower() not in FigureCanvasBase.get_supported_filetypes():
        raise PurethinError(f"{path} is not a picture's name: let it end in .png, .svg or .pdf")
    refuse_existing(path, force=force)


def drawn(path: Path, figure: Figure) -> None:
    """Write a picture, whole, and say so."""
    with written_whole(path) as beside:
        figure.savefig(beside, format=path.suffix.removeprefix(".").lower())
    print(f"wrote {path}")


def write_text(path: Path, text: str) -> None:
    """Write a text, whole, and say so."""
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")
    print(f"wrote {path}")


@contextmanager
def filled(path: Path) -> Iterator[Path]:
    """A folder to write files to, which come to stand in `path` once all are written."""
    with tempfile.TemporaryDirectory(prefix=".purethin.", dir=path.parent) as work:
        yield Path(work)
        path.mkdir(exist_ok=True)
        for file in Path(work).iterdir():
            os.replace(file, path / file.name)
