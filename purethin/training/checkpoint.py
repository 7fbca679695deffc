"""A training's state on disk: `state.pt`, by `torch.save`, and beside it the parts of tensors that
are spread over processes.

Invariant: `torch.load(weights_only=True)` reads it, so no code of the file runs. `state.pt` is
renamed into place once it and its parts are whole, so a run that dies leaves the state before.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor

from purethin.errors import CheckpointError
from purethin.storage import written_whole
from purethin.training import shards
from purethin.training.network import Engine, OneProcess
from purethin.tree import map_named, named

STATE = "state.pt"
_VERSION = 2
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
    engine = engine or OneProcess()
    plain = _portable(state, "")
    spread = {name: leaf for name, leaf in named(plain).items() if shards.is_spread(leaf)}
    if engine.rank == 0:
        _tidy(folder)
    parts = shards.write(folder, spread, engine) if spread else {}
    if engine.rank == 0:
        kept = map_named(lambda name, leaf: 0 if name in spread else leaf, plain)
        with written_whole(folder / STATE) as beside, open(beside, "wb") as file:
            torch.save({"version": _VERSION, "parts": parts, "state": kept}, file)
        for old in folder.glob("state-*"):
            if old.name != parts.get("folder"):
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
    path = folder / STATE
    try:
        with ZipFile(path) as archive:  # torch reads past a wrong checksum
            if (name := archive.testzip()) is not None:
                raise BadZipFile(f"the checksum of {name} is wrong")
        content = torch.load(path, "cpu", weights_only=True)
        version, parts, state = content["version"], content["parts"], content["state"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged file makes zipfile and torch raise errors of any type
        raise CheckpointError(
            f"{path} was truncated or edited since it was written, or is not a training's state: "
            "restore it, or start anew in another folder"
        ) from error
    if version != _VERSION:
        raise CheckpointError(
            f"{path} is of version {version}; this purethin reads {_VERSION}: install the one "
            "that wrote it"
        )
    if not parts:
        return state
    spread = shards.read(folder / parts["folder"], parts["digests"], engine or OneProcess())
    return map_named(lambda name, leaf: spread.get(name, leaf), state)


def _tidy(folder: Path) -> None:
    """Make a folder, and remove what a process that died while it wrote has left."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for torn in folder.glob(f".{STATE}.*"):
            torn.unlink()
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error.strerror or error}") from error


def _portable(value: Any, path: str) -> Any:
    """A copy on the CPU of what `weights_only=True` reads; tensors that are spread stay as they
    are.

    Raises:
        CheckpointError: it would not read something, which the error names by its path.
    """
    if isinstance(value, Tensor):
        if shards.is_spread(value):
            return value.detach()
        return value.detach().to("cpu", copy=True).contiguous()
    if isinstance(value, Mapping):
        return {_portable(k, path): _portable(v, f"{path}/{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        kept = [_portable(entry, f"{path}/{i}") for i, entry in enumerate(value)]
        return kept if isinstance(value, list) else tuple(kept)
    if value is None:
        return None
    for kind in _PLAIN:
        if isinstance(value, kind):
            return kind(value)
    raise CheckpointError(
        f"{path.removeprefix('/')} is {type(value).__name__}, which torch.load reads only by "
        "running code of the file: keep tensors, numbers, words, lists, tuples, dicts or None "
        "there instead"
    )
