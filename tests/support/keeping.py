"""All that a module holds, as values that can be compared bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

OPAQUE = (type, FunctionType, MethodType, ModuleType, torch.Generator)


def state(model: nn.Module) -> dict[str, object]:
    """Each leaf of the tree of `__dict__` of a module, by its path: a tensor by its type, place,
    shape and bytes, a plain value by itself, anything else by its identity. An object that is held
    twice is followed once.
    """
    leaves: dict[str, object] = {}
    seen: set[int] = set()
    stack: list[tuple[str, Any]] = [("", model)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, Tensor):
            leaves[path] = (id(value), *tensor(value))
        elif isinstance(value, (str, bytes, int, float, complex, torch.dtype, torch.device)):
            leaves[path] = (type(value), repr(value))
        elif isinstance(value, OPAQUE) or value is None or id(value) in seen:
            leaves[path] = id(value)
        else:
            seen.add(id(value))
            inner = held(value)
            leaves[path] = (type(value), id(value), len(inner))
            stack += [(f"{path}.{k}", v) for k, v in inner.items()]
    return leaves


def held(value: Any) -> dict[str, Any]:
    """What an object holds: its entries, then its attributes."""
    inner: dict[str, Any] = {}
    if isinstance(value, Mapping):
        inner |= {f"[{k!r}]": v for k, v in value.items()}
    elif isinstance(value, (list, tuple)):
        inner |= {f"[{i}]": v for i, v in enumerate(value)}
    elif isinstance(value, (set, frozenset)):
        inner |= {f"[{v!r}]": v for v in value}
    return inner | dict(getattr(value, "__dict__", {}))


def tensor(value: Tensor) -> tuple[object, ...]:
    """A tensor's class, place, shape and bytes."""
    kind = (type(value), value.device, value.dtype, value.layout, tuple(value.shape))
    if value.device.type == "meta" or value.layout != torch.strided or value.is_quantized:
        return kind
    with torch.no_grad():
        flat = value.detach().resolve_conj().contiguous().reshape(-1)
    return *kind, crc32(flat.view(torch.uint8).numpy().data) if len(flat) else 0
