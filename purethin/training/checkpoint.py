"""A training's state on disk: `state.pt`, by `torch.save`; tensors that are spread over processes
in a folder beside it, a file for each part.

Invariant: `torch.load(weights_only=True)` reads all, so no code of a file runs. `state.pt` is
renamed into place once it and the parts are whole, so a run that dies leaves the state before.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor
from torch.serialization import get_safe_globals

from purethin.errors import CheckpointError
from purethin.storage import written_whole
from purethin.training.network import Engine
from purethin.tree import is_packed, map_named, named, packed_copy

STATE = "state.pt"
_VERSION = 2
_OLD = "state.json"  # of version 1
_PARTS = re.compile(r"state-[0-9a-f]{12}")
_TORN = re.compile(r"\.(state\.pt|best\.safetensors)\.\w{8}")  # what `written_whole` writes to
_INTEGER_BITS = 2000  # longer ones torch reads only by running code
_DAMAGED = (
    "was truncated or edited since it was written: restore it, or start anew in another folder"
)
_PLAIN: tuple[Any, ...] = (bool, int, float, complex, str, bytes)


def write(folder: Path, state: Mapping[str, Any], engine: Engine | None = None) -> Path:
    """Write a state, then remove the one before it; returns the path of `state.pt`.

    Args:
        folder: made where it is missing; belongs to one run, whose processes share it.
        state: any nesting of dicts, lists and tuples with tensors, numbers, words and None.
        engine: of a run of several processes: each calls this. Process 0 writes; of tensors that
            are spread, each its own part.

    Raises:
        CheckpointError: a file cannot be written, or the state holds something else.
    """
    engine = engine or Engine()
    plain = _portable(state, "")
    spread = {name: leaf for name, leaf in named(plain).items() if _is_spread(leaf)}
    if engine.rank == 0:
        tidy(folder)
    parts = _write_parts(folder, spread, engine) if spread else {}
    if engine.rank == 0:
        kept = map_named(lambda name, leaf: 0 if name in spread else leaf, plain)
        _save(folder / STATE, {"version": _VERSION, "parts": parts, "state": kept})
        for old in folder.iterdir():
            if _PARTS.fullmatch(old.name) and old.is_dir() and old.name != parts.get("folder"):
                shutil.rmtree(old)
    engine.gathered(None)  # none goes on, and perhaps ends, before all is written
    return folder / STATE


def read(folder: Path, engine: Engine | None = None) -> dict[str, Any] | None:
    """The state that `write` left in a folder, on the CPU; None where there is none.

    Args:
        folder: where it was written.
        engine: of a run of several processes. What was spread is spread anew, over as many
            processes as there are now.

    Raises:
        CheckpointError: a file is missing, truncated or edited, or of another version.
    """
    path, engine = folder / STATE, engine or Engine()
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder} is a file: give the trainer a folder")
    if not path.exists():
        path = folder / _OLD
    if not path.exists():
        return None
    content = None if path.name == _OLD else _load(path)
    if not isinstance(content, dict) or content.get("version") != _VERSION:
        raise CheckpointError(
            f"{path} is not a training's state as this purethin reads it (version {_VERSION}): "
            "install the version that wrote it, or start anew in another folder"
        )
    if not content.keys() >= {"parts", "state"}:
        raise CheckpointError(f"{path} {_DAMAGED}")
    if not (parts := content["parts"]):
        return content["state"]
    files = [_load(folder / parts["folder"] / f"{i}.pt", True) for i in range(parts["count"])]

    def spread(name: str, leaf: Any) -> Any:
        dim = parts["dims"].get(name)
        return leaf if dim is None else engine.split(torch.cat([f[name] for f in files], dim))

    return map_named(spread, content["state"])


def _write_parts(folder: Path, spread: Mapping[str, Any], engine: Engine) -> dict[str, Any]:
    """Write this process's part of each tensor into a new folder; all processes call it."""
    name = f"state-{engine.gathered(secrets.token_hex(6))[0]}"
    *replica, part = next(iter(spread.values())).device_mesh.get_coordinate()
    if not any(replica):
        (folder / name).mkdir(exist_ok=True)
        _save(folder / name / f"{part}.pt", {n: t.to_local().cpu() for n, t in spread.items()})
    dims = {n: t.placements[-1].dim for n, t in spread.items()}
    return {"folder": name, "count": max(engine.gathered(part)) + 1, "dims": dims}


def _save(path: Path, content: Any) -> None:
    try:
        with written_whole(path) as beside, open(beside, "wb") as file:
            torch.save(content, file)
    except RuntimeError as error:  # torch's own, where a disk is full
        raise CheckpointError(f"{path} cannot be written: {error}") from error


def _load(path: Path, mmap: bool = False) -> Any:
    """What `_save` wrote.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        with ZipFile(path) as archive:  # torch reads past a wrong checksum
            if (name := archive.testzip()) is not None:
                raise BadZipFile(f"the checksum of {name} is wrong")
        return torch.load(path, "cpu", weights_only=True, mmap=mmap)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged file makes zipfile and torch raise errors of any type
        raise CheckpointError(f"{path} {_DAMAGED}") from error


def tidy(folder: Path) -> None:
    """Make a folder, and remove what a process that died while it wrote has left."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for torn in folder.iterdir():
            if _TORN.fullmatch(torn.name):
                torn.unlink()
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error.strerror or error}") from error


def _is_spread(tensor: Any) -> bool:
    """Whether this is one process's part of a tensor (a DTensor)."""
    return hasattr(tensor, "placements")


def _portable(value: Any, path: str) -> Any:
    """A copy on the CPU of what `weights_only=True` reads; tensors that are spread stay as they
    are.

    Raises:
        CheckpointError: it would not read something, which the error names by its path.
    """
    if _is_spread(value):
        return value.detach()
    if isinstance(value, Tensor) and type(plain := value.detach()) is Tensor:
        return plain.to("cpu", copy=True).contiguous()
    if isinstance(value, Tensor) and is_packed(value) and type(value) in get_safe_globals():
        return packed_copy(value, "cpu")
    if isinstance(value, Mapping):
        return {_portable(k, path): _portable(v, f"{path}/{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        kept = [_portable(entry, f"{path}/{i}") for i, entry in enumerate(value)]
        return kept if isinstance(value, list) else tuple(kept)
    if value is None:
        return None
    long = isinstance(value, int) and value.bit_length() > _INTEGER_BITS
    if not (long or isinstance(value, Enum | Tensor)):
        for kind in _PLAIN:
            if isinstance(value, kind):
                return kind(value)
    raise CheckpointError(
        f"{path.removeprefix('/')} is {'a long ' if long else ''}{type(value).__name__}, which a "
        "state in a file cannot hold: keep plain tensors, numbers, words, lists, tuples, dicts or "
        "None there instead"
    )
