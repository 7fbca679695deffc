"""Pytrees of parameters: every leaf has a name, its path joined by dots, in insertion order (optree would sort); and outputs."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optree
import torch
from torch import Tensor, nn

TensorTree = Any
"""Any nesting of dicts, lists, tuples and named tuples whose leaves are tensors; most often `{name: Tensor}`."""

_SPACE = "purethin"


def flatten(tree: TensorTree) -> tuple[list[str], list[Any], optree.PyTreeSpec]:
    """The leaves' names, the leaves, and the structure that `unflatten` takes."""
    with optree.dict_insertion_ordered(True, namespace=_SPACE):
        paths, leaves, structure = optree.tree_flatten_with_path(tree, namespace=_SPACE)
    return [".".join(map(str, path)) for path in paths], leaves, structure


def unflatten(structure: optree.PyTreeSpec, leaves: list[Any]) -> TensorTree:
    """The tree of this structure over new leaves."""
    with optree.dict_insertion_ordered(True, namespace=_SPACE):
        return optree.tree_unflatten(structure, leaves)


def named(tree: TensorTree) -> dict[str, Tensor]:
    """`{name: leaf}` of a tree."""
    names, leaves, _ = flatten(tree)
    return dict(zip(names, leaves, strict=True))


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A word that tells tensors from others: names, shapes and values count."""
    out = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(tensors.items()):
        out.update(f"{name} {tuple(tensor.shape)} ".encode())
        out.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return out.hexdigest()


def output_leaves(out: Any, place: str = "output", seen: set[int] | None = None) -> Iterator[tuple[str, Tensor | int]]:
    """`(place, leaf)` of every tensor and integer in what a forward returned, whatever holds it: any object's attributes too."""
    seen = set() if seen is None else seen
    if isinstance(out, Tensor | int):
        yield place, out
    elif id(out) not in seen and not isinstance(out, str | bytes | float | type | nn.Module):
        seen.add(id(out))
        if isinstance(out, Mapping):
            inner = [(f"{place}[{key!r}]", value) for key, value in out.items()]
        elif isinstance(out, list | tuple | set | frozenset):
            inner = [(f"{place}[{i}]", value) for i, value in enumerate(out)]
        else:
            inner = [(f"{place}.{key}", value) for key, value in getattr(out, "__dict__", {}).items()]
        for where, value in inner:
            yield from output_leaves(value, where, seen)


def results(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> list[tuple[str, Any]]:
    """The leaves of what a function returned, without the state that it hands back to be given again.

    An entry of the output named as an argument that this call did not give (`past_key_values`) is such a state: only the
    function reads it, so its sizes are the function's own affair.
    """
    try:
        bound = inspect.signature(function).bind_partial(*args, **kwargs)
        states = {n for n in bound.signature.parameters if bound.arguments.get(n) is None}
    except (TypeError, ValueError):
        states = set()
    if isinstance(out, Mapping):
        out = {key: value for key, value in out.items() if key not in states}
    return list(output_leaves(out))


def map_named(change: Callable[[str, Any], Any], tree: TensorTree) -> TensorTree:
    """`change(name, leaf)` at every leaf; the structure stays."""
    names, leaves, structure = flatten(tree)
    return unflatten(structure, [change(n, leaf) for n, leaf in zip(names, leaves, strict=True)])
