"""A training's state on disk, without pickle: its tensors in safetensors files, all else in
`state.json`, which is written last.

Invariant: `state.json` names tensors that lie whole beside it; whenever the process dies, one such
pair is there or none was.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from purethin.errors import CheckpointError
from purethin.spec import Spec
from purethin.storage import safetensors_library, written_whole
from purethin.training import shards
from purethin.training.network import Engine, OneProcess

STATE = "state.json"
_VERSION = 1


def write(folder: Path, state: Mapping[str, Any], engine: Engine | None = None) -> Path:
    """Write a state, then remove the one before it; returns the path of `state.json`.

    Args:
        folder: made where it is missing; belongs to one run, whose processes share it.
        state: any nesting of dicts with tensors, specs, numbers, words, lists, tuples and None.
        engine: of a run of several processes: each calls this. Process 0 writes, unless tensors are
            spread: then each its own.

    Raises:
        CheckpointError: safetensors is not installed, a file cannot be written, or the state holds
            something else.
    """
    safetensors_library()
    engine = engine or OneProcess()
    tensors: dict[str, Tensor] = {}
    plain = encoded(state, "state", tensors)
    spread = [name for name, tensor in tensors.items() if shards.is_spread(tensor)]
    place: dict[str, Any] = {}
    if engine.rank == 0:
        _tidy(folder)
    if spread:
        place = {**shards.write(folder, tensors, engine), "spread": spread}
    elif engine.rank == 0:
        place = _write_file(folder, tensors)
    if engine.rank == 0:
        write_json(folder / STATE, {"version": _VERSION, "tensors": place, "state": plain})
        for old in folder.glob("state-*"):
            if old.name != place["file"]:
                shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    engine.gathered(None)  # none goes on, and perhaps ends, before all is written
    return folder / STATE


def read(folder: Path, engine: Engine | None = None) -> dict[str, Any] | None:
    """The state that `write` left in a folder, on the CPU; None where there is none.

    Args:
        folder: where it was written.
        engine: of a run of several processes. What was spread is spread anew, over as many
            processes as there are now.

    Raises:
        CheckpointError: a file is missing, truncated or edited, or of a newer version.
    """
    content = read_json(folder / STATE)
    if content is None:
        return None
    place = content["tensors"]
    file = folder / place["file"]
    try:
        if file.is_dir():
            tensors = shards.read(file, place["digest"], place["spread"], engine or OneProcess())
        else:
            tensors = _read_file(file, place["digest"])
    except OSError as error:
        raise CheckpointError(
            f"{file} cannot be read: {error.strerror or error}; {STATE} beside it needs it"
        ) from error
    return decoded(content["state"], tensors)


def _tidy(folder: Path) -> None:
    """Make a folder, and remove what a process that died while it wrote has left."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for torn in folder.glob(".state*"):
            torn.unlink()
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error.strerror or error}") from error


def _write_file(folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    file = folder / f"state-{secrets.token_hex(6)}.safetensors"
    with written_whole(file) as beside:
        safetensors_library().torch.save_file(tensors, beside, {"format": "pt"})
        digest = shards.digest(beside)
    return {"file": file.name, "digest": digest}


def _read_file(file: Path, digest: str) -> dict[str, Tensor]:
    shards.check(file, digest)
    with safetensors_library().safe_open(file, "pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (it is no mapping)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON whole, with a digest of itself."""
    text = json.dumps(content)
    with written_whole(path) as beside:
        beside.write_text(
            json.dumps({"digest": _text_digest(text), "content": content}), encoding="utf-8"
        )


def read_json(path: Path) -> dict[str, Any] | None:
    """Read what `write_json` wrote; None where there is no such file.

    Raises:
        CheckpointError: it was truncated or edited, or is of a newer version.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    try:
        whole = json.loads(text)
        content = whole["content"]
        intact = whole["digest"] == _text_digest(json.dumps(content))
    except (ValueError, KeyError, TypeError, RecursionError):
        intact, content = False, {}
    if not intact:
        raise CheckpointError(
            f"{path} was truncated or edited since it was written: restore it, or start anew in "
            "another folder"
        )
    if content.get("version") != _VERSION:
        raise CheckpointError(
            f"{path} is of version {content.get('version')}; this purethin reads {_VERSION}: "
            "install a newer one"
        )
    return content


def encoded(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """A tree as JSON has it; its tensors go into `tensors` by path, and what JSON lacks is
    `{"$kind": …}`.

    Raises:
        CheckpointError: something is neither plain nor a tensor.
    """
    if isinstance(value, Tensor):
        if shards.is_spread(value):
            tensors[path] = value.detach()
            return {"$tensor": path}
        kept = value.detach().to("cpu", copy=True).contiguous()
        tensors[path] = torch.view_as_real(kept).contiguous() if kept.is_complex() else kept
        return {"$complex" if kept.is_complex() else "$tensor": path}
    if isinstance(value, Spec):
        return {"$spec": value.to_yaml()}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: encoded(entry, f"{path}/{key}", tensors) for key, entry in value.items()}
        return {
            "$pairs": [
                [encoded(k, path, tensors), encoded(v, f"{path}/{k}", tensors)]
                for k, v in value.items()
            ]
        }
    if isinstance(value, list | tuple):
        items = [encoded(entry, f"{path}/{i}", tensors) for i, entry in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CheckpointError(
        f"{path.removeprefix('state/')} is {type(value).__name__}, which has no place in a file "
        "without pickle: "
        "only tensors, numbers, words, lists, tuples, dicts and None can be kept"
    )


def decoded(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `encoded`."""
    if isinstance(value, list):
        return [decoded(entry, tensors) for entry in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((kind, inner),) = value.items()
        if kind == "$tensor":
            return tensors[inner]
        if kind == "$complex":
            return torch.view_as_complex(tensors[inner])
        if kind == "$spec":
            return Spec.from_yaml(inner)
        if kind == "$pairs":
            return {decoded(k, tensors): decoded(v, tensors) for k, v in inner}
        if kind == "$tuple":
            return tuple(decoded(inner, tensors))
    return {key: decoded(entry, tensors) for key, entry in value.items()}


def outline(value: Any) -> Any:
    """Frozen data as plain data, without the fields that do not count when compared: to tell
    whether a recipe is the same.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: outline(getattr(value, f.name)) for f in fields(value) if f.compare}
    if isinstance(value, Mapping):
        return {str(key): outline(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [outline(entry) for entry in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _text_digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
