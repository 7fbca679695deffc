"""The integers of a module, tracked: on the copy that is traced, each knows what it measures."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from purethin.builtin import measures
from purethin.holders import holders
from purethin.inference.equations import ATTRIBUTE, is_size_only
from purethin.inference.frames import Frame, innermost
from purethin.inference.ledger import Ledger
from purethin.inference.nodes import Node, find, product
from purethin.inference.shapes import Shape
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
    modules: Mapping[str, nn.Module],
    own: Callable[[], Container[int]],
    ledger: Ledger,
    dims_of: Callable[[Tensor], list[Node]],
) -> list[Attribute]:
    """Replace the integers of a copied model by tracked ones; built-in layers' say at once what
    they measure. What the copy shares with the user's own model (an enum, a logger), of which `own`
    gives the ids, stays.
    """
    found: list[Attribute] = []
    seen: set[int] = set()
    for path, module in modules.items():
        mine: dict[str, Node] = {}
        for prefix, holder in [*holders(module)]:
            if (shared := holder.shared) is not None:
                if id(shared) in seen or id(shared) in own():
                    continue
                seen.add(id(shared))
            for name, whole in holder.values.items():
                if not (integers := _integers(whole)):
                    continue
                attribute = f"{prefix}.{name}".strip(".")
                label = f"{ATTRIBUTE}{path}.{attribute}"
                nodes = {at: Node("variable", n, label=label) for at, n in integers}
                found += [Attribute(path, attribute, at, whole, n) for at, n in nodes.items()]
                if None in nodes:
                    mine[attribute] = nodes[None]
                if ledger.tracking:
                    holder.put(name, _tracked(whole, nodes, ledger))
        if mine:
            _bind_builtin(module, mine, _own_dims(module, dims_of))
    return found


def _integers(value: Any) -> list[tuple[int | None, int]]:
    """`(None, value)` of an integer above 1; of a tuple or list of integers each such entry with
    its position.
    """
    if type(value) is int:
        return [(None, value)] if value > 1 else []
    if type(value) in (tuple, list, torch.Size) and all(type(x) is int and x >= 0 for x in value):
        return [(i, x) for i, x in enumerate(value) if x > 1]
    return []


def _tracked(value: Any, nodes: Mapping[int | None, Node], ledger: Ledger) -> Any:
    """An attribute's value with its integers tracked."""
    if None in nodes:
        return Size(value, nodes[None], ledger)
    kind = Shape if isinstance(value, torch.Size) else type(value)
    return kind(Size(x, nodes[i], ledger) if i in nodes else x for i, x in enumerate(value))


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


def bind_wrapped(attributes: Sequence[Attribute]) -> None:
    """What an integer that the forward did not read measures, where a layer right below has one of
    the same name and value: a wrapper's (`out_features` of a LoRA layer and of its base layer).
    """
    alone = {(a.module, a.name): a for a in attributes if a.position is None}
    children: dict[tuple[str, str], list[Attribute]] = {}
    for (path, name), a in alone.items():
        if path:
            children.setdefault((path.rpartition(".")[0], name), []).append(a)
    for (path, name), a in sorted(alone.items(), key=lambda item: -item[0][0].count(".")):
        same = [c for c in children.get((path, name), ()) if c.whole == a.whole]
        nodes = {id(find(c.node)): find(c.node) for c in same}
        if a.node.up is None and is_size_only(a.node) and len(nodes) == 1:
            [node] = nodes.values()
            if not is_size_only(node):
                a.node.up = node


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

    for attribute, parameter, dim in measures(type(module)):
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
