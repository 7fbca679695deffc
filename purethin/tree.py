"""Pytrees of parameters: every leaf has a name, its path joined by dots, in insertion order (optree
would sort); and outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import optree
import torch
from torch import Tensor

TensorTree = Any
"""Any nesting of dicts, lists, tuples and named tuples whose leaves are tensors; most often `{name:
Tensor}`.
"""

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


def map_named(change: Callable[[str, Any], Any], tree: TensorTree) -> TensorTree:
    """`change(name, leaf)` at every leaf; the structure stays."""
    names, leaves, structure = flatten(tree)
    return unflatten(structure, [change(n, leaf) for n, leaf in zip(names, leaves, strict=True)])
