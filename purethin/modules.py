"""Modules in and out: parameters as a dict, a copy on meta whose integers are tracked, and the
thinned module rebuilt.

Nothing here changes the user's module: copies are made by `deepcopy` with a memo from each tensor
to its replacement.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from purethin.errors import SpecError, nearest
from purethin.multihead import stand_in
from purethin.thinning import CLASS, Config


def params_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, detached, sharing memory with the model; a tied tensor stands
    once, by its first name.

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


def rebuild(model: nn.Module, params: Mapping[str, Tensor], config: Config) -> nn.Module:
    """A new module of the model's own class, with these tensors and this config.

    Args:
        model: the dense module; it is not changed, and shares no tensor with the result.
        params: the tensors that `thin` or `load` gave: `{name: Tensor}`. A tensor that stays as
            it was is copied.
        config: the config that it gave: `{module path: {attribute: value}}`; `{}` for a network
            that is dense or masked.

    Returns:
        The smaller module, in the model's train or eval mode; parameters require grad where the
        model's do.

    Raises:
        SpecError: a name is not a parameter of the model, the config names a module that it lacks,
            or parameters and config are given in each other's place.

    >>> model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    >>> params = params_of(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)))
    >>> rebuild(model, params, {"0": {"out_features": 2}, "1": {"in_features": 2}})
    Sequential(
      (0): Linear(in_features=3, out_features=2, bias=True)
      (1): Linear(in_features=2, out_features=2, bias=True)
    )
    """
    refuse(model)
    if any(isinstance(value, Tensor) for value in config.values()):
        raise SpecError(
            "tensors are given as the config: write rebuild(model, params, config), or "
            "rebuild(model, *thin(params, spec, masks))"
        )
    own = dict(tensors_of(model, duplicates=True))
    for name in params:
        if name not in own:
            raise SpecError(
                f"'{name}' is no parameter of this {type(model).__name__}; {nearest(name, own)}"
            )
    given = {id(own[name]): tensor for name, tensor in params.items()}

    def replacement(old: Tensor) -> Tensor:
        new = given.get(id(old), old).detach()
        new = new.clone() if new.device.type != "meta" else new
        return (
            nn.Parameter(new, requires_grad=old.requires_grad)
            if isinstance(old, nn.Parameter)
            else new
        )

    small = copy_with(model, replacement)
    stand_in(small, {path for path, attributes in config.items() if CLASS in attributes})
    paths = dict(small.named_modules())
    for path, attributes in config.items():
        if (owner := paths.get(path)) is None:
            raise SpecError(
                f"the config names the module '{path}', which this {type(model).__name__} lacks; "
                f"{nearest(path, paths)}"
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
            if (
                isinstance(value, Tensor) and id(value) not in memo
            ):  # a plain attribute, perhaps made by a hook
                memo[id(value)] = value.detach().to("meta" if _on_meta(memo) else value.device)
    try:
        return copy.deepcopy(model, memo)
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise SpecError(
            f"this {type(model).__name__} cannot be copied: {error}. purethin works on a copy: "
            "give a module that copy.deepcopy takes"
        ) from error


def _on_meta(memo: Mapping[int, Any]) -> bool:
    return bool(memo) and all(
        t.device.type == "meta" for t in memo.values() if isinstance(t, Tensor)
    )


def meta_copy(model: nn.Module) -> nn.Module:
    """The model on the meta device: no weight is copied."""

    def meta(old: Tensor) -> Tensor:
        new = torch.empty_like(old, device="meta")
        return (
            nn.Parameter(new, requires_grad=old.requires_grad)
            if isinstance(old, nn.Parameter)
            else new
        )

    return copy_with(model, meta)


def _forget_caches(module: nn.Module) -> None:
    """Empty the plain dicts of tensors that modules keep (attention-bias tables): they have the old
    sizes.
    """
    for name, value in module.__dict__.items():
        if (
            type(value) is dict
            and not name.startswith("_")
            and any(isinstance(v, Tensor) for v in value.values())
        ):
            module.__dict__[name] = {}


def refuse(model: nn.Module) -> None:
    """Refuse what has no Python forward or no plain tensors to thin.

    Raises:
        SpecError: scripted, traced, compiled, quantized or lazy modules, each with what to give
            instead.
    """
    if not isinstance(model, nn.Module):
        raise SpecError(f"an nn.Module is expected, not {type(model).__name__}")
    kind = type(model).__name__
    if isinstance(model, torch.jit.ScriptModule):
        raise SpecError(
            f"this {kind} is scripted or traced: its source is gone. Thin the nn.Module that it "
            "was made from, then script that"
        )
    for path, module in model.named_modules():
        at = f"the module '{path}'" if path else f"this {kind}"
        if isinstance(module, torch.jit.ScriptModule):
            raise SpecError(
                f"{at} is scripted: its source is gone. Put the nn.Module that it was made from in "
                "its place"
            )
        if type(module).__module__.startswith(
            ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")
        ):
            raise SpecError(
                f"{at} is quantized ({type(module).__name__}): its weights are packed. Thin the "
                "float model, then quantize it"
            )
        if type(module).__name__ == "OptimizedModule":
            raise SpecError(
                f"{at} is compiled: give model._orig_mod, and compile what rebuild returns"
            )
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
                raise SpecError(
                    f"{name} of {at} has no shape yet: run the lazy module once on an example "
                    "input first"
                )
            if tensor is not None and tensor.is_quantized:
                raise SpecError(
                    f"{name} of {at} is a quantized tensor: thin the float model, then quantize it"
                )
