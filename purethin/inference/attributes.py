"""The integers of a module, tracked: on the copy that is traced, each knows what it measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from purethin.inference.equations import ATTRIBUTE
from purethin.inference.frames import Frame, innermost
from purethin.inference.ledger import Ledger
from purethin.inference.nodes import Node, find, product
from purethin.inference.sizes import Size
from purethin.inference.trace import Trace


@dataclass(frozen=True)
class Attribute:
    """An integer of a module, alone or in a tuple: where it lives, the whole value, and the
    size-only node that measures what it measures.
    """

    module: str
    name: str
    position: int | None
    whole: int | Sequence[int]
    node: Node


def track_attributes(
    model: nn.Module, own: nn.Module, ledger: Ledger, dims_of: Callable[[Tensor], list[Node]]
) -> list[Attribute]:
    """Replace the integers of a copied model by tracked ones; built-in layers' say at once what
    they measure. What the copy shares with the user's own model (an enum, a logger) stays.
    """
    found: list[Attribute] = []
    seen = {id(value) for module in own.modules() for value in vars(module).values()}
    for path, module in model.named_modules():
        mine: dict[str, Node] = {}
        for prefix, owner in [("", module.__dict__), *_configs(module, seen)]:
            before = dict(owner)
            for name, position, value in list(_integers(owner)):
                node = Node("variable", value, label=f"{ATTRIBUTE}{path}.{prefix}{name}")
                old = owner[name]
                found.append(Attribute(path, prefix + name, position, before[name], node))
                size = Size(value, node, ledger) if ledger.tracking else value
                if position is None:
                    mine[prefix + name] = node
                    owner[name] = size
                else:
                    owner[name] = type(old)(size if i == position else x for i, x in enumerate(old))
        _bind_builtin(module, mine, _own_dims(module, dims_of))
    return found


def _configs(module: nn.Module, seen: set[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The plain objects among a module's attributes (a namespace, a dataclass, a config), each once
    in the whole model.
    """
    for name, value in module.__dict__.items():
        plain = (
            hasattr(value, "__dict__")
            and not callable(value)
            and not isinstance(value, Tensor | nn.Module | torch.Generator)
        )
        if (
            plain
            and not name.startswith("_")
            and not type(value).__module__.startswith("torch")
            and id(value) not in seen
        ):
            seen.add(id(value))
            yield f"{name}.", vars(value)


def _integers(owner: dict[str, Any]) -> Iterator[tuple[str, int | None, int]]:
    """`(attribute, position in it or None, value)` of every integer above 1 among an object's
    attributes.
    """
    for name, value in owner.items():
        if name.startswith("_") or name == "training":
            continue
        if type(value) is int and value > 1:
            yield name, None, value
        elif (
            isinstance(value, tuple | list)
            and type(value) in (tuple, list)
            and all(type(x) is int and x >= 0 for x in value)
        ):
            yield from ((name, i, x) for i, x in enumerate(value) if x > 1)


_MEASURES: dict[type[nn.Module], tuple[tuple[str, str, int], ...]] = {
    nn.Linear: (("in_features", "weight", 1), ("out_features", "weight", 0)),
    nn.Bilinear: (
        ("in1_features", "weight", 1),
        ("in2_features", "weight", 2),
        ("out_features", "weight", 0),
    ),
    nn.Embedding: (("num_embeddings", "weight", 0), ("embedding_dim", "weight", 1)),
    nn.EmbeddingBag: (("num_embeddings", "weight", 0), ("embedding_dim", "weight", 1)),
    nn.modules.batchnorm._NormBase: (
        ("num_features", "weight", 0),
        ("num_features", "running_mean", 0),
    ),
    nn.GroupNorm: (("num_channels", "weight", 0),),
    nn.MultiheadAttention: (
        ("embed_dim", "in_proj_weight", 1),
        ("kdim", "in_proj_weight", 1),
        ("vdim", "in_proj_weight", 1),
        ("embed_dim", "q_proj_weight", 1),
        ("kdim", "k_proj_weight", 1),
        ("vdim", "v_proj_weight", 1),
    ),
    nn.PReLU: (("num_parameters", "weight", 0),),
    nn.RNNBase: (("input_size", "weight_ih_l0", 1),),
    nn.RNNCellBase: (("input_size", "weight_ih", 1), ("hidden_size", "weight_hh", 1)),
}
"""What the integers of torch's own layers measure: (attribute, parameter, dim)."""


def bind_derived(trace: Trace, frames: Sequence[Frame], attributes: Sequence[Attribute]) -> None:
    """What the integers of torch's own layers measure where the weight is not a parameter of the
    layer (a parametrisation's, a hook's): that of the operator which the layer ran.
    """
    mine: dict[str, dict[str, Node]] = {}
    for a in attributes:
        if a.position is None:
            mine.setdefault(a.module, {})[a.name] = a.node
    for call, frame in innermost(frames, trace.tape):
        weight = call.get("weight")
        own = {**frame.module._parameters, **frame.module._buffers}
        if own.get("weight") is None and isinstance(weight, Tensor) and frame.path in mine:
            _bind_builtin(frame.module, mine[frame.path], {"weight": trace.dims_of(weight)})


def _own_dims(module: nn.Module, dims_of: Callable[[Tensor], list[Node]]) -> dict[str, list[Node]]:
    """The dims of a module's own parameters and buffers."""
    return {
        name: dims_of(tensor)
        for name, tensor in [*module._buffers.items(), *module._parameters.items()]
        if tensor is not None
        and not isinstance(tensor, UninitializedParameter | UninitializedBuffer)
    }


def _bind_builtin(
    module: nn.Module, mine: Mapping[str, Node], dims: Mapping[str, list[Node]]
) -> None:
    def bind(attribute: str, node: Node) -> None:
        free = attribute in mine and mine[attribute].up is None
        if free and find(node).size == mine[attribute].size:
            mine[attribute].up = node

    for kind, rows in _MEASURES.items():
        for attribute, parameter, dim in rows if isinstance(module, kind) else ():
            if parameter in dims:
                bind(attribute, dims[parameter][dim])
    if isinstance(module, nn.modules.conv._ConvNd) and "weight" in dims:
        groups = [mine["groups"]] if "groups" in mine else []
        first, second = dims["weight"][:2]
        both = ("in_channels", "out_channels")
        for attribute, node in zip(
            both if module.transposed else both[::-1],
            (first, product([*groups, second])),
            strict=True,
        ):
            bind(attribute, node)
