"""Weights for a model from a file: safetensors (a plain state dict, or what `save` wrote), or a
checkpoint of `torch.save`, of which tensors alone are read.

Invariant: no code of a file is run, and a file fits wholly or is refused with the names that
differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from purethin.errors import CheckpointError, listed
from purethin.modules import misnamed, rebuild, tensors_of
from purethin.storage import KEY, config_in, tensors_in
from purethin.thinning import Config

PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".tar")
_USUAL = ("state_dict", "model", "model_state_dict", "module", "net", "weights")


def readable(path: Path) -> None:
    """See that there is a file, before a model is imported for it.

    Raises:
        CheckpointError: there is none.
    """
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "No such file or directory"
        raise CheckpointError(f"{path} cannot be read: {what}")


def with_weights(model: nn.Module, path: Path) -> tuple[nn.Module, Config, str]:
    """The model with a file's tensors.

    Returns:
        A new module, the config of an earlier thinning (empty for a dense network), and where in
        the file the tensors were, where that is not plain: ", its 'state_dict' without 'module.'".

    Raises:
        CheckpointError: the file cannot be read, or its names or shapes are not the model's.
    """
    tensors, config, said = _read(model, path)
    own = dict(tensors_of(model, duplicates=True))
    if wrong := _misfit(model, tensors, config):
        raise CheckpointError(f"{path}{said} does not fit this {type(model).__name__}: {wrong}")
    given = {
        name: t.to(own[name].dtype) if t.is_floating_point() else t
        for name, t in (_counts(own) | tensors).items()
    }
    return rebuild(model, given, config).eval(), config, said


def _read(model: nn.Module, path: Path) -> tuple[dict[str, Tensor], Config, str]:
    """The tensors in a file that fit the model, or those that come nearest; a config; what is to be
    said of both.
    """
    if path.suffix.lower() in PICKLED:
        config: Config = {}
        found = list(_state_dicts(_unpickled(path)))
        if not found:
            raise CheckpointError(f"{path} holds no state dict: no mapping of names to tensors")
    else:
        tensors, metadata = tensors_in(path)
        config = config_in(path, metadata) if KEY in metadata else {}
        found = [("", tensors)]
    read = [(key, *_unwrapped(model, tensors)) for key, tensors in found]
    fitting = [each for each in read if not _misfit(model, each[1], config)]
    own = {name for name, _ in tensors_of(model, duplicates=True)}
    key, tensors, prefix = (fitting or sorted(read, key=lambda r: -len(own & r[1].keys())))[0]
    said = f", its '{key}'" if key else ""
    return tensors, config, said + (f" without '{prefix}'" if prefix else "")


def _unpickled(path: Path) -> Any:
    """What a file of `torch.save` holds, read by torch's reader of tensors and plain values."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and plain values, and reading that would run its "
            "code: where you trust it, write its state dict alone, torch.save("
            "model.state_dict(), 'weights.pth')"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is damaged or not a file of torch.save: {first}") from error


def _state_dicts(content: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """`(key, tensors by name)` of each mapping of tensors in a checkpoint, those by the usual keys
    first; the whole has the key "".
    """
    if not isinstance(content, Mapping):
        return
    inner = [key for key in content if isinstance(content[key], Mapping)]
    first = [key for key in _USUAL if key in inner]
    for key in [*first, *(k for k in inner if k not in first), None]:
        values = content if key is None else content[key]
        tensors = {str(n): t for n, t in values.items() if isinstance(t, Tensor)}
        if tensors:
            yield "" if key is None else str(key), tensors


def _unwrapped(model: nn.Module, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Tensors without what a wrapper put before their names (`module.` of DataParallel,
    `_orig_mod.` of torch.compile, an attribute's name): a first part that all names have, and none
    of the model's.
    """
    own = {name.partition(".")[0] for name, _ in tensors_of(model, duplicates=True)}
    prefix = ""
    while len(parts := {name.partition(".")[0] for name in tensors}) == 1 and not parts & own:
        (part,) = parts
        if not all(name.startswith(f"{part}.") for name in tensors):
            break
        tensors = {name.removeprefix(f"{part}."): t for name, t in tensors.items()}
        prefix += f"{part}."
    return tensors, prefix


def _misfit(model: nn.Module, tensors: Mapping[str, Tensor], config: Config) -> str:
    """How tensors differ from the model's, by name and shape; "" where they fit."""
    own = dict(tensors_of(model, duplicates=True))
    wrong = misnamed(model, own, _counts(own) | dict(tensors))
    if wrong or config:
        return wrong
    return listed(
        [
            f"{name} of shape {tuple(t.shape)}, which is {tuple(own[name].shape)} in the model"
            for name, t in tensors.items()
            if t.shape != own[name].shape
        ]
    )


def _counts(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The counts of batches that batch norms saw, which a file may lack."""
    return {name: t for name, t in own.items() if name.endswith("num_batches_tracked")}


def merged(before: Config, after: Config) -> Config:
    """The config of a network thinned twice, over the dense class.

    >>> merged({"a": {"heads": 4, "dim": 8}}, {"a": {"heads": 2}, "b": {"width": 3}})
    {'a': {'heads': 2, 'dim': 8}, 'b': {'width': 3}}
    """
    return {path: {**before.get(path, {}), **after.get(path, {})} for path in {**before, **after}}
