"""A network ready to be run with other weights: a module's copy in eval mode, or any function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from math import inf
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from purethin.checks import check_fits
from purethin.errors import SpecError
from purethin.modules import copy_with, like, misnamed, tensors_of
from purethin.multihead import stand_in
from purethin.spec import Spec
from purethin.tree import TensorTree, flatten, unflatten


@dataclass(frozen=True)
class Running:
    """A network and its tensors.

    Attributes:
        tensors: its parameters and buffers by name, detached, sharing memory with those given, but
            for the buffers, which a forward may write.
        call: from tensors by name and a batch to the outputs.
    """

    tensors: Mapping[str, Tensor]
    call: Callable[[Mapping[str, Tensor], Any], Any]


def running(model: nn.Module | Callable[..., Any], params: TensorTree, spec: Spec) -> Running:
    """A network with these parameters, as the spec's trace ran it. Of a batch's entries the forward
    is given as many as it takes; the others, such as labels, are for a loss.

    Raises:
        SpecError: the parameters do not fit the spec or the model.
    """
    names, leaves, structure = flatten(params)
    check_fits(spec, dict(zip(names, leaves, strict=True)))
    once: dict[int, Tensor] = {}  # one tensor under two names stays one
    for name, t in zip(names, leaves, strict=True):
        whole = name in spec.buffers
        once.setdefault(id(t), t.detach().clone() if whole else t.detach())
    tensors = {name: once[id(t)] for name, t in zip(names, leaves, strict=True)}
    if not isinstance(model, nn.Module):
        others = arity(model) - 1

        def function(given: Mapping[str, Tensor], batch: Any) -> Any:
            args, kwargs = arguments(batch, others)
            return model(unflatten(structure, [given[name] for name in names]), *args, **kwargs)

        return Running(tensors, function)
    own = dict(tensors_of(model, duplicates=True))
    if wrong := misnamed(model, own, tensors):
        raise SpecError(f"the parameters do not fit this {type(model).__name__}: {wrong}")
    given = {id(own[name]): t for name, t in tensors.items()}
    net = copy_with(model, lambda old: like(old, given.get(id(old), old).detach()))
    stand_in(net)
    net.eval()
    most = arity(model.forward)

    def module(given: Mapping[str, Tensor], batch: Any) -> Any:
        args, kwargs = arguments(batch, most)
        return functional_call(net, dict(given), args, kwargs)

    return Running(tensors, module)


def arguments(batch: Any, most: float = inf) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`(args, kwargs)` of a batch: a tuple or list of arguments, of which the first `most` are
    taken, a dict of keyword arguments, or one argument.
    """
    if isinstance(batch, Mapping):
        return (), dict(batch)
    args = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    return args[: int(most)] if most < len(args) else args, {}


def arity(function: Callable[..., Any]) -> float:
    """How many arguments a function takes by position."""
    try:
        kinds = [p.kind for p in signature(function).parameters.values()]
    except (TypeError, ValueError):
        return inf
    if Parameter.VAR_POSITIONAL in kinds:
        return inf
    return sum(k in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD) for k in kinds)
