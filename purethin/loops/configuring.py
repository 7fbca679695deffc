"""The attributes of a live module set to what its thinned parameters need, all or none."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from purethin.builtin import measures
from purethin.errors import SpecError, listed
from purethin.modules import configure, give_classes
from purethin.thinning import Config


@contextmanager
def configured(model: nn.Module, config: Config, params: Mapping[str, Tensor]) -> Iterator[None]:
    """Set a module's attributes in place; where that or the body fails, put everything back.

    Args:
        model: it changes. Objects of settings that its modules hold are replaced by copies first:
            another network may hold them too.
        config: the new values, as `thin` gives them.
        params: the thinned tensors by name, whose sizes the integers of torch's layers must be.

    Raises:
        SpecError: the config names what the module lacks, or leaves a layer an integer that is not
            the size of its tensor.
    """
    before = [(module, type(module), dict(vars(module))) for module in model.modules()]
    tensors = [(t, t.data, t.grad) for t in (*model.parameters(), *model.buffers())]
    measured = _measured(model)
    try:
        _copy_settings(model, config)
        give_classes(model, config)
        configure(model, config)
        wrong = [
            f"{name}'s dim {dim} becomes {params[name].shape[dim]}, but {attribute} stays "
            f"{getattr(module, attribute)}"
            for module, attribute, name, dim in measured
            if name in params and params[name].shape[dim] != getattr(module, attribute)
        ]
        if wrong:
            raise SpecError(
                f"the spec does not say which integers of the layers measure axes: {listed(wrong)}."
                " Give the spec that infer(model, ...) makes, or the parameters to a function"
            )
        yield
    except BaseException:
        for module, kind, attributes in before:
            vars(module).clear()
            vars(module).update(attributes)
            module.__class__ = kind
        for tensor, data, grad in tensors:
            put(tensor, data, grad)
        raise


def put(tensor: Tensor, data: Tensor, grad: Tensor | None) -> None:
    """Give a parameter or buffer other data and another gradient.

    A graph that is still alive (of the last loss) would have gradients of the old shape: torch
    lets go of it where the dtype changes, so the data goes by way of another one.
    """
    tensor.grad = None
    if tensor.requires_grad and tensor.shape != data.shape:
        other = torch.float32 if data.dtype == torch.float64 else torch.float64
        tensor.data = data.new_empty(0, dtype=other)
    tensor.data = data
    tensor.grad = grad


def _measured(model: nn.Module) -> list[tuple[nn.Module, str, str, int]]:
    """The integers of torch's layers that are sizes: module, attribute, parameter, dim."""
    return [
        (module, attribute, f"{path}.{parameter}".removeprefix("."), dim)
        for path, module in model.named_modules()
        for attribute, parameter, dim in measures(type(module))
        if (tensor := getattr(module, parameter, None)) is not None
        and tensor.dim() > dim
        and tensor.shape[dim] == getattr(module, attribute, None)
    ]


def _copy_settings(model: nn.Module, config: Config) -> None:
    """Give the modules copies of the objects whose values the config changes, and of those that
    hold one of these: one copy of each, as deepcopy would.
    """
    paths = dict(model.named_modules())
    changed = {
        id(vars(paths[path]).get(attribute.rpartition(".")[0]))
        for path, attributes in config.items()
        for attribute in attributes
        if path in paths and "." in attribute
    }
    memo: dict[int, Any] = {}
    for module in model.modules() if changed else ():
        for name, value in vars(module).items():
            if id(value) in changed or _holds(value, changed):
                vars(module)[name] = copy.deepcopy(value, memo)


def _holds(value: object, changed: set[int]) -> bool:
    """Whether a plain object has one of these among its attributes."""
    if isinstance(value, type | nn.Module | Tensor) or callable(value):
        return False
    return any(id(x) in changed for x in getattr(value, "__dict__", {}).values())
