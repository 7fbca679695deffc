"""Files written whole or not at all: made beside their place, then renamed; nothing is replaced
unless asked.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from purethin.errors import PurethinError


def refuse_existing(path: Path, *, force: bool) -> None:
    """See that nothing is there that would be replaced; a folder may be there, empty.

    Raises:
        PurethinError: something is, and `force` is not given; or its parent is no folder.
    """
    if not path.parent.is_dir():
        raise PurethinError(f"{path} cannot be written: there is no folder {path.parent}")
    if force or not path.exists():
        return
    if not path.is_dir():
        raise PurethinError(f"{path} exists: choose another place, or give --force to replace it")
    if any(path.iterdir()):
        raise PurethinError(
            f"{path} is not empty: choose another place, or give --force to replace files in it"
        )


def write_file(path: Path, text: str) -> None:
    """Write a text file in UTF-8."""

    def fill(folder: Path) -> None:
        (folder / path.name).write_text(text, encoding="utf-8")

    _through(path.parent, fill, lambda folder: os.replace(folder / path.name, path))


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder of what `fill` writes into the one it is given; in a folder that has files,
    those of the same name go.
    """

    def place(folder: Path) -> None:
        path.mkdir(exist_ok=True)
        if any(path.iterdir()):
            for file in folder.iterdir():
                os.replace(file, path / file.name)
        else:
            path.rmdir()
            os.rename(folder, path)

    _through(path.parent, fill, place)


def _through(parent: Path, fill: Callable[[Path], None], place: Callable[[Path], None]) -> None:
    """Fill a folder beside the place, put its contents there, and leave nothing behind."""
    work = Path(tempfile.mkdtemp(prefix=".purethin.", dir=parent))
    folder = work / "new"
    try:
        folder.mkdir()  # mkdtemp's own is the owner's alone
        fill(folder)
        place(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
