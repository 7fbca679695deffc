"""Builds of purethin beside each other in one process, taken out of git."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
SETTLED = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}
"""The environment of a process on one thread whose allocator keeps what is freed."""
_loaded: dict[Path, dict[str, ModuleType]] = {}


def taken(commit: str, folder: Path) -> Path:
    """The folder, with the package of a commit in it."""
    folder.mkdir()
    command = ["git", "archive", commit, "purethin"]
    archive = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


@contextmanager
def using(folder: Path) -> Iterator[Any]:
    """`purethin` of a folder; what it imports meanwhile is of that folder too."""
    for name in _own():
        del sys.modules[name]
    sys.modules.update(_loaded.get(folder, {}))
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("purethin")
    finally:
        _loaded[folder] = _own()
        sys.path.remove(str(folder))


def _own() -> dict[str, ModuleType]:
    return {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "purethin"}
