"""Pytrees of parameters: every leaf has a name, its path joined by dots, in insertion order (optree
would sort).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import optree
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass, transform_subclass

TensorTree = Any
"""Any nesting of dicts, lists, tuples and named tuples whose leaves are tensors; most often `{name:
Tensor}`.
"""

_SPACE = "purethin"
_NUMBERS = frozenset((int, float, bool, str, type(None)))
_NESTED = (tuple, list, dict)


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


def map_named(
    change: Callable[[str, Any], Any],
    tree: TensorTree,
    check: Callable[[dict[str, Any]], None] = lambda _: None,
) -> TensorTree:
    """`change(name, leaf)` at every leaf; the structure stays. First, `{name: leaf}` is checked."""
    names, leaves, structure = flatten(tree)
    check(dict(zip(names, leaves, strict=True)))
    return unflatten(structure, [change(n, leaf) for n, leaf in zip(names, leaves, strict=True)])


def copied(values: Any) -> Any:
    """Nested data whose tensors are copies."""
    if isinstance(values, Tensor):
        return packed_copy(values) if is_packed(values) else values.detach().clone()
    if isinstance(values, Mapping):
        return {key: copied(value) for key, value in values.items()}
    if type(values) in (list, tuple):
        return type(values)(map(copied, values))
    return values


def is_packed(tensor: Tensor) -> bool:
    """Whether a tensor is of a class of its own around others, as rounded ones are."""
    return is_traceable_wrapper_subclass(tensor) and not hasattr(tensor, "placements")


def packed_copy(tensor: Any, device: str | None = None) -> Any:
    """A copy of a packed tensor: such classes need not know how to clone themselves."""
    return transform_subclass(tensor, lambda _, inner: inner.detach().to(device, copy=True))


def tensors_in(tree: Any) -> list[Tensor]:
    """The tensors among (nested lists, tuples and dicts of) arguments."""
    if isinstance(tree, Tensor):
        return [tree]
    inner = tree.values() if isinstance(tree, dict) else tree
    out: list[Tensor] = []
    for x in inner if isinstance(tree, _NESTED) else ():
        if (kind := type(x)) in _NUMBERS:
            continue
        if kind is Tensor or isinstance(x, Tensor):
            out.append(x)
        elif isinstance(x, _NESTED):
            out += tensors_in(x)
    return out
