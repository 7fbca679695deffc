"""Modules in and out: parameters as a dict, a copy on meta whose integers are tracked, and the thinned module rebuilt.

Nothing here changes the user's module: copies are made by `deepcopy` with a memo from each tensor to its replacement.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from purethin.errors import SpecError, nearest
from purethin.multihead import stand_in
from purethin.sizes import ATTRIBUTE, Ledger, Size, tracked_ints
from purethin.solver import Node, product
from purethin.thin import CLASS, Config


def params_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, detached, sharing memory with the model; a tied tensor stands once, by its first name.

    Raises:
        SpecError: the module is scripted, quantized or not yet initialised.
    """
    refuse(model)
    return {name: tensor.detach() for name, tensor in tensors_of(model, duplicates=False)}


def tensors_of(model: nn.Module, *, duplicates: bool) -> Iterator[tuple[str, Tensor]]:
    """Parameters, then buffers, by name."""
    seen: set[int] = set()
    for named in (model.named_parameters, model.named_buffers):
        for name, tensor in named(remove_duplicate=False):
            if duplicates or id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tensor


def rebuild(model: nn.Module, config: Config, params: Mapping[str, Tensor]) -> nn.Module:
    """A new module of the model's own class, with these tensors and this config.

    Args:
        model: the dense module; it is not changed, and shares no tensor with the result.
        config: what `thin` gave: `{module path: {attribute: value}}`.
        params: what `thin` gave: `{name: Tensor}`. A tensor that stays as it was is copied.

    Returns:
        The smaller module, in the model's train or eval mode; parameters require grad where the model's do.

    Raises:
        SpecError: a name is no parameter of the model, or the config names no module of it.
    """
    refuse(model)
    own = dict(tensors_of(model, duplicates=True))
    for name in params:
        if name not in own:
            raise SpecError(f"'{name}' is no parameter of this {type(model).__name__}; {nearest(name, own)}")
    given = {id(own[name]): tensor for name, tensor in params.items()}

    def replacement(old: Tensor) -> Tensor:
        new = given.get(id(old), old).detach()
        new = new.clone() if new.device.type != "meta" else new
        return nn.Parameter(new, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else new

    small = copy_with(model, replacement)
    stand_in(small, {path for path, attributes in config.items() if CLASS in attributes})
    paths = dict(small.named_modules())
    for path, attributes in config.items():
        if (owner := paths.get(path)) is None:
            raise SpecError(
                f"the config names the module '{path}', which this {type(model).__name__} lacks; {nearest(path, paths)}"
            )
        for attribute, value in attributes.items():
            if attribute == CLASS:
                continue
            *holders, last = attribute.split(".")
            held: Any = owner
            for holder in holders:
                held = held.__dict__[holder]
            old = held.__dict__.get(last)
            held.__dict__[last] = type(old)(value) if isinstance(old, tuple | list) else value
    for module in small.modules():
        _forget_caches(module)
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()
    return small


def copy_with(model: nn.Module, replacement: Callable[[Tensor], Tensor]) -> nn.Module:
    """A deep copy in which each parameter and buffer is its replacement, made once per tensor."""
    memo: dict[int, Any] = {}
    for _, tensor in tensors_of(model, duplicates=True):
        if id(tensor) not in memo:
            memo[id(tensor)] = replacement(tensor)
    for module in model.modules():
        for value in module.__dict__.values():
            if isinstance(value, Tensor) and id(value) not in memo:  # a plain attribute, perhaps made by a hook
                memo[id(value)] = value.detach().to("meta" if _on_meta(memo) else value.device)
    try:
        return copy.deepcopy(model, memo)
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise SpecError(
            f"this {type(model).__name__} cannot be copied: {error}. purethin works on a copy: "
            "give a module that copy.deepcopy takes"
        ) from error


def _on_meta(memo: Mapping[int, Any]) -> bool:
    return bool(memo) and all(t.device.type == "meta" for t in memo.values() if isinstance(t, Tensor))


def meta_copy(model: nn.Module) -> nn.Module:
    """The model on the meta device: no weight is copied."""

    def meta(old: Tensor) -> Tensor:
        new = torch.empty_like(old, device="meta")
        return nn.Parameter(new, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else new

    return copy_with(model, meta)


@dataclass(frozen=True)
class Attribute:
    """An integer of a module: where it lives, and the size-only node that measures what it measures."""

    module: str
    name: str
    position: int | None
    length: int
    node: Node


def track_attributes(model: nn.Module, ledger: Ledger, dims_of: Callable[[Tensor], list[Node]]) -> list[Attribute]:
    """Replace the integers of a (copied) model by tracked ones; built-in layers' say at once what they measure."""
    found: list[Attribute] = []
    seen: set[int] = set()
    for path, module in model.named_modules():
        mine: dict[str, Node] = {}
        for prefix, owner in [("", module.__dict__), *_configs(module, seen)]:
            for name, position, value in list(tracked_ints(owner)):
                node = Node("variable", value, label=f"{ATTRIBUTE}{path}.{prefix}{name}")
                old = owner[name]
                found.append(Attribute(path, prefix + name, position, 1 if position is None else len(old), node))
                size = Size(value, node, ledger)
                if position is None:
                    mine[prefix + name] = node
                    owner[name] = size
                else:
                    owner[name] = type(old)(size if i == position else x for i, x in enumerate(old))
        _bind_builtin(module, mine, dims_of)
    return found


def _configs(module: nn.Module, seen: set[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The plain objects among a module's attributes (a namespace, a dataclass, a config), each once in the whole model."""
    for name, value in module.__dict__.items():
        plain = hasattr(value, "__dict__") and not callable(value) and not isinstance(value, Tensor | nn.Module | torch.Generator)
        if plain and not name.startswith("_") and not type(value).__module__.startswith("torch") and id(value) not in seen:
            seen.add(id(value))
            yield f"{name}.", vars(value)


_MEASURES: dict[type[nn.Module], tuple[tuple[str, str, int], ...]] = {
    nn.Linear: (("in_features", "weight", 1), ("out_features", "weight", 0)),
    nn.Bilinear: (("in1_features", "weight", 1), ("in2_features", "weight", 2), ("out_features", "weight", 0)),
    nn.Embedding: (("num_embeddings", "weight", 0), ("embedding_dim", "weight", 1)),
    nn.EmbeddingBag: (("num_embeddings", "weight", 0), ("embedding_dim", "weight", 1)),
    nn.modules.batchnorm._NormBase: (("num_features", "weight", 0), ("num_features", "running_mean", 0)),
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


def _bind_builtin(module: nn.Module, mine: Mapping[str, Node], dims_of: Callable[[Tensor], list[Node]]) -> None:
    def dims(name: str) -> list[Node] | None:
        tensor = module._parameters.get(name)
        tensor = module._buffers.get(name) if tensor is None else tensor
        return None if tensor is None or isinstance(tensor, UninitializedParameter | UninitializedBuffer) else dims_of(tensor)

    for kind, rows in _MEASURES.items():
        for attribute, parameter, dim in rows if isinstance(module, kind) else ():
            free = attribute in mine and mine[attribute].up is None
            if free and (d := dims(parameter)) is not None and d[dim].size == mine[attribute].size:
                mine[attribute].up = d[dim]
    if isinstance(module, nn.modules.conv._ConvNd) and (d := dims("weight")) is not None:
        groups = [mine["groups"]] if "groups" in mine else []
        both = ("in_channels", "out_channels") if module.transposed else ("out_channels", "in_channels")
        for attribute, node in zip(both, (d[0], product([*groups, d[1]])), strict=True):
            if attribute in mine and node.size == mine[attribute].size:
                mine[attribute].up = node


def _forget_caches(module: nn.Module) -> None:
    """Empty the plain dicts of tensors that modules keep (attention-bias tables): they have the old sizes."""
    for name, value in module.__dict__.items():
        if type(value) is dict and not name.startswith("_") and any(isinstance(v, Tensor) for v in value.values()):
            module.__dict__[name] = {}


def refuse(model: nn.Module) -> None:
    """Refuse what has no Python forward or no plain tensors to thin.

    Raises:
        SpecError: scripted, traced, compiled, quantized or lazy modules, each with what to give instead.
    """
    if not isinstance(model, nn.Module):
        raise SpecError(f"an nn.Module is expected, not {type(model).__name__}")
    kind = type(model).__name__
    if isinstance(model, torch.jit.ScriptModule):
        raise SpecError(
            f"this {kind} is scripted or traced: its source is gone. Thin the nn.Module that it was made from, then script that"
        )
    for path, module in model.named_modules():
        at = f"the module '{path}'" if path else f"this {kind}"
        if isinstance(module, torch.jit.ScriptModule):
            raise SpecError(f"{at} is scripted: its source is gone. Put the nn.Module that it was made from in its place")
        if type(module).__module__.startswith(("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")):
            raise SpecError(
                f"{at} is quantized ({type(module).__name__}): its weights are packed. Thin the float model, then quantize it"
            )
        if type(module).__name__ == "OptimizedModule":
            raise SpecError(f"{at} is compiled: give model._orig_mod, and compile what rebuild returns")
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
                raise SpecError(f"{name} of {at} has no shape yet: run the lazy module once on an example input first")
            if tensor is not None and tensor.is_quantized:
                raise SpecError(f"{name} of {at} is a quantized tensor: thin the float model, then quantize it")
