"""A thinned network on disk: its tensors and its config in one safetensors file, without pickle.

`rebuild(model, *load(path))` makes the network again from the user's own dense class.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from purethin.arguments import explained
from purethin.errors import CheckpointError, OptionError
from purethin.thinning import Config
from purethin.tree import TensorTree, named

KEY = "purethin"
_VERSION = 1


@explained
def save(path: str | Path, params: TensorTree, config: Config) -> None:
    """Write parameters and config; an interrupted write leaves the old file as it was.

    Args:
        path: the file, by convention `*.safetensors`.
        params: the thinned parameters; written from the CPU, by name.
        config: what `thin` gave, or `Trainer.config`.

    Raises:
        CheckpointError: safetensors is not installed, or the file cannot be written.

    >>> import torch
    >>> path = Path(tempfile.mkdtemp()) / "small.safetensors"
    >>> save(path, {"w": torch.ones(2, 3)}, {"": {"width": 2}})
    >>> load(path)[1]
    {'': {'width': 2}}
    """
    if not isinstance(config, Mapping):
        raise OptionError(
            f"the config is a {type(config).__name__}: give what pt.thin gave beside the tensors, "
            "or {} for a dense network"
        )
    safetensors = safetensors_library()
    tensors = {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in named(params).items()
    }
    metadata = {"format": "pt", KEY: json.dumps({"version": _VERSION, "config": config})}
    with written_whole(Path(path)) as beside:
        try:
            safetensors.torch.save_file(tensors, beside, metadata)
        except safetensors.SafetensorError as error:  # a full disk is one
            raise CheckpointError(f"{path} cannot be written: {error}") from error


@explained
def load(path: str | Path) -> tuple[dict[str, Tensor], Config]:
    """Read what `save` wrote, onto the CPU.

    Returns:
        `(params, config)`, for `rebuild(model, params, config)`.

    Raises:
        CheckpointError: safetensors is not installed; the file is missing, truncated, or not one
            that `save` wrote.
    """
    params, metadata = tensors_in(path)
    return params, config_in(path, metadata)


def tensors_in(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of any safetensors file, by name, and its metadata.

    Raises:
        CheckpointError: safetensors is not installed; the file is missing, truncated, or of
            another format.
    """
    safetensors = safetensors_library()
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file: {error}. A file of torch.save is not "
            "read, because unpickling runs code: convert it, safetensors.torch.save_file("
            "torch.load(path, weights_only=True), 'weights.safetensors')"
        ) from error


def config_in(path: str | Path, metadata: Mapping[str, str]) -> Config:
    """The config in a file's metadata.

    Raises:
        CheckpointError: there is none, or another version of purethin wrote it.
    """
    try:
        content = json.loads(metadata[KEY])
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
    return config


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path beside another to write to, which takes the other's place once that is written.

    Raises:
        CheckpointError: it cannot be written. What stood there stays as it was.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        beside = Path(name)
        try:
            yield beside
            with open(beside, "rb") as file:  # a power cut must not leave a name without content
                os.fsync(file.fileno())
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
