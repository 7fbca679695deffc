"""Files for people: nothing is replaced unless asked, and a folder is filled whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from purethin.errors import PurethinError


def refuse_existing(path: Path, *, force: bool) -> None:
    """See that nothing is there that would be replaced; a folder may be there, empty.

    Raises:
        PurethinError: something is, and `force` is not given; or its parent is not a folder.
    """
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


@contextmanager
def filled(path: Path) -> Iterator[Path]:
    """A folder to write files to, which come to stand in `path` once all are written."""
    with tempfile.TemporaryDirectory(prefix=".purethin.", dir=path.parent) as work:
        yield Path(work)
        path.mkdir(exist_ok=True)
        for file in Path(work).iterdir():
            os.replace(file, path / file.name)
