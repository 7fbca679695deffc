"""A thinned network on disk: its tensors and its config in one safetensors file, without pickle.

`rebuild(model, params, config)` makes the network again from the user's own dense class.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from purethin.errors import CheckpointError
from purethin.thinning import Config
from purethin.tree import TensorTree, named

_KEY = "purethin"
_VERSION = 1


def save(path: str | Path, params: TensorTree, config: Config) -> None:
    """Write parameters and config; an interrupted write leaves the old file as it was.

    Args:
        path: the file, by custom `*.safetensors`.
        params: the thinned parameters; written from the CPU, by name.
        config: what `thin` gave, or `Trainer.config`.

    Raises:
        CheckpointError: safetensors is not installed, or the file cannot be written.
    """
    safetensors = safetensors_library()
    path = Path(path)
    tensors = {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in named(params).items()
    }
    metadata = {"format": "pt", _KEY: json.dumps({"version": _VERSION, "config": config})}
    with written_whole(path) as beside:
        safetensors.torch.save_file(tensors, beside, metadata)


def load(path: str | Path) -> tuple[dict[str, Tensor], Config]:
    """Read what `save` wrote, onto the CPU.

    Returns:
        `(params, config)`, for `rebuild(model, params, config)`.

    Raises:
        CheckpointError: safetensors is not installed; the file is missing, truncated, or not one
            that `save` wrote.
    """
    safetensors = safetensors_library()
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            params = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path} is damaged or no safetensors file: {error}; save it again"
        ) from error
    try:
        content = json.loads(metadata[_KEY])
        version, config = content["version"], content["config"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} has tensors but no purethin config: write it with pt.save(…)"
        ) from error
    if version != _VERSION:
        raise CheckpointError(
            f"{path} was written as version {version}; this purethin reads {_VERSION}: install a "
            "newer one"
        )
    return params, config


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path beside another to write to, which takes the other's place once that is done.

    Raises:
        CheckpointError: it cannot be written. What stood there stays as it was.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        beside = Path(name)
        try:
            yield beside
            with open(beside, "rb") as written:
                os.fsync(
                    written.fileno()
                )  # a power cut must not leave the name without the content
            os.chmod(beside, 0o666 & ~_umask())  # mkstemp's files are the owner's alone
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}") from error


def safetensors_library() -> Any:
    """The safetensors package.

    Raises:
        CheckpointError: it is not installed.
    """
    try:
        import safetensors.torch
    except ImportError as error:
        raise CheckpointError(
            "saving and loading need safetensors: pip install 'purethin[export]'"
        ) from error
    return safetensors


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
