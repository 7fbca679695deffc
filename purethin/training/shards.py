"""The tensors of a training that is spread over processes, on disk: each writes its own part, and
any number of them read.

By `torch.distributed.checkpoint` in its safetensors form, `HuggingFaceStorageWriter`: its usual one
pickles its `.metadata`. Invariant: what `write` returns names every file with its digest, so that a
part that is missing or torn is found.
"""

from __future__ import annotations

import hashlib
import secrets
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from purethin.errors import CheckpointError
from purethin.storage import safetensors_library
from purethin.training.network import Engine


def is_spread(tensor: Tensor) -> bool:
    """Whether this is one process's part of a tensor (a DTensor)."""
    return hasattr(tensor, "placements")


def write(folder: Path, tensors: Mapping[str, Tensor], engine: Engine) -> dict[str, Any]:
    """Write tensors into a new folder below this one; all processes call it, with the same names.

    Args:
        folder: it is there, for all of them.
        tensors: spread ones, by name.
        engine: the run's.

    Returns:
        `{"folder": the new folder's name, "digests": {file name: digest}}`.

    Raises:
        CheckpointError: it cannot be written, or this torch has no safetensors form.
    """
    library, storage = _libraries()
    place = folder / f"state-{engine.gathered(secrets.token_hex(6))[0]}"
    try:
        library.save(
            dict(tensors),
            storage_writer=storage.HuggingFaceStorageWriter(str(place), save_distributed=True),
        )
        files = sorted(place.iterdir())
        mine = {
            file.name: digest(file) for file in files[engine.rank :: len(engine.gathered(None))]
        }
    except (OSError, library.CheckpointException) as error:
        raise CheckpointError(f"{place} cannot be written: {error}") from error
    return {
        "folder": place.name,
        "digests": {name: d for part in engine.gathered(mine) for name, d in part.items()},
    }


def read(place: Path, digests: Mapping[str, str], engine: Engine) -> dict[str, Tensor]:
    """What `write` wrote, spread by this engine; as many processes as there are now call it.

    Args:
        place: the folder.
        digests: of its files, as `write` returned them.
        engine: gives the tensors that these are read into.

    Raises:
        CheckpointError: a file is missing, truncated or edited.
    """
    library, storage = _libraries()
    for name, written in [*digests.items()][engine.rank :: len(engine.gathered(None))]:
        check(place / name, written)
    reader = storage.HuggingFaceStorageReader(str(place))
    tensors = {
        name: engine.blank(known.size, known.properties.dtype)
        for name, known in reader.read_metadata().state_dict_metadata.items()
    }
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "torch.distributed is disabled"
        )  # one process may read what several wrote
        try:
            library.load(tensors, storage_reader=reader)
        except library.CheckpointException as error:
            raise CheckpointError(f"{place} cannot be read: {error}") from error
    return tensors


def check(file: Path, written: str) -> None:
    """That a file is what was written.

    Raises:
        CheckpointError: it is not.
    """
    try:
        found = digest(file)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}") from error
    if found != written:
        raise CheckpointError(
            f"{file} was truncated or edited since the state was written: restore it, or start anew"
        )


def digest(file: Path) -> str:
    """Of a file's content."""
    out = hashlib.blake2b(digest_size=16)
    with open(file, "rb") as opened:
        while part := opened.read(1 << 20):
            out.update(part)
    return out.hexdigest()


def _libraries() -> tuple[Any, Any]:
    import torch.distributed.checkpoint as library

    safetensors_library()
    try:
        from torch.distributed.checkpoint import hf_storage
    except ImportError as error:
        raise CheckpointError(
            f"torch {torch.__version__} writes what is spread over processes with pickle only: "
            "install 2.9 or newer"
        ) from error
    return library, hf_storage
