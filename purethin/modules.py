"""Modules in and out: parameters as a dict, a copy on meta, and the thinned module rebuilt.

Nothing here changes the user's module.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from purethin.arguments import explained
from purethin.builtin import misfits
from purethin.copying import copy_with, like
from purethin.empty import let_stand_in
from purethin.errors import SpecError, listed, nearest
from purethin.holders import TORCHS, holder_of
from purethin.hooked import refresh
from purethin.multihead import stand_in
from purethin.parts import parts_of, tensors_of
from purethin.spec import Spec
from purethin.thinning import CLASS, Config

_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")

_QUANTIZING = ("torch.ao.quantization", "torch.quantization", "torchao.quantization")

_QUANTIZERS = ("FakeQuantizeBase", "FakeQuantizerBase", "ObserverBase")

_PACKED = ("torchao.", "bitsandbytes.")


@explained
def params_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, detached, sharing memory with the model.

    Args:
        model: any module with a Python forward.

    Returns:
        `{name: Tensor}`; a tied tensor stands once, by its first name.

    Raises:
        SpecError: the module is scripted, compiled, quantized or not yet initialised.

    >>> {name: tuple(t.shape) for name, t in params_of(nn.Linear(3, 2)).items()}
    {'weight': (2, 3), 'bias': (2,)}
    """
    refuse(model)
    return {name: tensor.detach() for name, tensor in tensors_of(model, duplicates=False)}


@explained
def split(params: Mapping[str, Tensor], spec: Spec) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters and buffers apart: what takes a gradient, and what does not.

    `torch.func.functional_call` takes the two as a tuple, so that `grad` and `vmap(grad)` may be
    asked of the parameters alone.

    Args:
        params: `{name: Tensor}`, as `params_of` gives them.
        spec: their spec, which knows the buffers. A tensor of integers is a buffer too.

    Returns:
        `(parameters, buffers)`, the same tensors, each in the order given.

    >>> from purethin.inference.infer import infer
    >>> norm = nn.Sequential(nn.BatchNorm1d(2)).eval()
    >>> params = params_of(norm)
    >>> spec = infer(norm, params, torch.rand(3, 2))
    >>> [list(part) for part in split(params, spec)]
    [['0.weight', '0.bias'], ['0.running_mean', '0.running_var', '0.num_batches_tracked']]
    """

    def kept(name: str, tensor: Tensor) -> bool:
        takes = tensor.is_floating_point() or tensor.is_complex()
        return takes and name not in spec.buffers

    trained = {name: tensor for name, tensor in params.items() if kept(name, tensor)}
    return trained, {name: tensor for name, tensor in params.items() if name not in trained}


@explained
def rebuild(model: nn.Module, params: Mapping[str, Tensor], config: Config) -> nn.Module:
    """A new module of the model's own class, with these tensors and this config.

    Args:
        model: the dense module; it is not changed, and shares no tensor with the result.
        params: the tensors that `thin` or `load` gave, `{name: Tensor}`: all that the model's
            state dict has. Buffers that it does not save may be left out.
        config: the config that it gave, `{module path: {attribute: value}}`; `{}` for a network
            that is dense or masked: dicts of floating-point tensors, which are mostly caches of
            what the old parameters gave, are then emptied; else those that the spec knows of.

    Returns:
        The smaller module, in the model's train or eval mode; parameters require grad where the
        model's do.

    Raises:
        SpecError: a name is not one of the model's, one of the model's is missing, the config names
            a module that the model lacks, parameters and config stand in each other's place, or a
            layer's tensors have other sizes than it says (a head of other classes).

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
    if wrong := misnamed(model, own, params):
        raise SpecError(f"the parameters do not fit this {type(model).__name__}: {wrong}")
    given = {id(own[name]): tensor for name, tensor in params.items()}

    def replacement(old: Tensor) -> Tensor:
        new = given.get(id(old), old).detach()
        return like(old, new.clone() if new.device.type != "meta" else new)

    small = copy_with(model, replacement)
    dense, parts = parts_of(model), parts_of(small)
    give_classes(small, config)
    configure(small, config)
    wrong = [
        f"{path}: {misfit}".removeprefix(": ")
        for path, module in parts.items()
        for misfit in (misfits(module, dense[path]) if path in dense else ())
    ]
    if wrong:
        raise SpecError(
            f"the parameters do not fit this {type(model).__name__}: {listed(wrong)}. Give the "
            "model that they were thinned from, built with the same arguments, and their config"
        )
    for module in parts.values():
        if not config:
            _forget_caches(module)
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()
    refresh(small)
    return small


def misnamed(model: nn.Module, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """The names that a model lacks, and those of its state dict that are not given; "" if none."""
    have = {id(own[name]) for name in given if name in own}
    lacking = [n for n, tensor in own.items() if id(tensor) not in have]
    kept = model.state_dict(keep_vars=True).keys() if lacking else ()
    return listed(
        [f"{n}, which the model lacks; {nearest(n, own, shown=2)}" for n in given if n not in own]
        + [f"no {n}" for n in lacking if n in kept]
    )


def give_classes(small: nn.Module, config: Config) -> None:
    """Let the classes that the config names stand in for the modules' own."""
    if not any(CLASS in own for own in config.values()):
        return
    modules = parts_of(small)
    classes = {p: own[CLASS] for p, own in config.items() if CLASS in own and p in modules}
    stand_in(small, {*classes})
    let_stand_in(modules, classes)


def configure(small: nn.Module, config: Config) -> None:
    """Set the attributes that the config lists."""
    paths = parts_of(small)
    for path, attributes in config.items():
        if path not in paths:
            raise SpecError(
                f"the config names the module '{path}', which this {type(small).__name__} lacks; "
                f"{nearest(path, paths)}"
            )
        for attribute, value in attributes.items():
            if attribute == CLASS:
                continue
            where, _, name = attribute.rpartition(".")
            holder = holder_of(paths[path], where)
            old = holder.values.get(name)
            if isinstance(value, dict) and isinstance(old, dict):
                old.clear()  # a cache
            else:
                holder.put(name, type(old)(value) if isinstance(old, tuple | list) else value)


def _forget_caches(module: nn.Module) -> None:
    """Empty the dicts of floating-point tensors that a module keeps (attention-bias tables)."""
    for name, value in module.__dict__.items():
        held = value.values() if isinstance(value, dict) and name not in TORCHS else ()
        if any(isinstance(v, Tensor) and v.is_floating_point() for v in held):
            module.__dict__[name] = {}


def refuse(model: nn.Module) -> None:
    """Refuse what has no Python forward or no plain tensors to thin.

    Raises:
        SpecError: scripted, traced, compiled, quantized or lazy modules, each with what to give
            instead.
    """
    if not isinstance(model, nn.Module):
        raise SpecError(f"an nn.Module is expected, not {type(model).__name__}")
    for path, module in parts_of(model).items():
        at = f"the module '{path}'" if path else f"this {type(model).__name__}"
        if why := _unsuitable(type(module)):
            raise SpecError(f"{at} is {why}")
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
                raise SpecError(
                    f"{name} of {at} has no shape yet: run the lazy module once on an example "
                    "input first"
                )
            packed = type(tensor).__module__.startswith(_PACKED)
            if tensor is not None and (tensor.is_quantized or packed):
                raise SpecError(
                    f"{name} of {at} is a quantized tensor: thin the float model, then quantize it"
                )


@functools.cache
def _unsuitable(kind: type) -> str | None:
    if issubclass(kind, torch.jit.ScriptModule):
        return (
            "scripted or traced: its source is gone. Give the nn.Module that it was made from, and "
            "script what rebuild returns"
        )
    if kind.__module__.startswith(_QUANTIZED):
        return (
            f"quantized ({kind.__name__}): its weights are packed. Thin the float model, then "
            "quantize it"
        )
    if any(
        c.__module__.startswith(_QUANTIZING) and c.__name__ in _QUANTIZERS for c in kind.__mro__
    ):
        return (
            f"a quantizer or observer ({kind.__name__}): the model is prepared for quantization. "
            "Thin the float model, then prepare it"
        )
    if kind.__name__ == "OptimizedModule":
        return "compiled: give model._orig_mod, and compile what rebuild returns"
    return None
