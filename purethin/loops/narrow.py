"""A module and its optimizer, thinned in the middle of a training: as a new module, or in place for
loops of others, which hold the module that they were started with.

Invariant: what cannot be done is an error before anything has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, overload

from torch import Tensor, nn
from torch.optim import Optimizer

from purethin.arguments import explained
from purethin.errors import SpecError
from purethin.hooked import refresh
from purethin.loops.configuring import configured, put
from purethin.loops.steps import lr_factors, warn_of
from purethin.modules import params_of, rebuild, tensors_of
from purethin.optimizers.probe import unwrapped
from purethin.optimizers.slots import thin_state
from purethin.spec import Masks, Spec
from purethin.thinning import Config, Thinning, thin
from purethin.training import moments


@overload
@explained
def thin_module(
    model: nn.Module, spec: Spec, masks: Masks, optimizer: None = None
) -> tuple[nn.Module, None]: ...
@overload
def thin_module(
    model: nn.Module, spec: Spec, masks: Masks, optimizer: Optimizer
) -> tuple[nn.Module, Optimizer]: ...


def thin_module(
    model: nn.Module, spec: Spec, masks: Masks, optimizer: Optimizer | None = None
) -> tuple[nn.Module, Optimizer | None]:
    """A smaller module, and the optimizer that goes on with it.

    Args:
        model: the dense module; it is not changed. An average of it (`AveragedModel.module`) thins
            by a call of its own, with the same masks.
        spec: its spec.
        masks: `{axis: BoolTensor[size]}`, True = keep.
        optimizer: the one that steps the model, wrapped by accelerate or Lightning or not. It stays
            the same object, so that schedulers, hooks and scalers of gradients go on: its groups
            now hold the small module's parameters, its state (momenta) is thinned, options stay.

    Returns:
        `(small, optimizer)`: a new module of the model's own class, gradients thinned too; the
        optimizer that was given.

    Raises:
        MaskError: the masks do not fit the spec, or a size would take another branch.
        SpecError: the model does not fit the spec, the optimizer steps none of its parameters, or
            keeps what can't be thinned. Nothing is changed then.

    >>> import torch
    >>> from purethin.inference.infer import infer
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> spec = infer(model, params_of(model), torch.rand(1, 2))
    >>> keep = {"0.weight": torch.tensor([True, False, True])}
    >>> small, optimizer = thin_module(model, spec, keep, optimizer)
    >>> small[0], optimizer.param_groups[0]["params"][0] is small[0].weight
    (Linear(in_features=2, out_features=2, bias=True), True)
    """
    plan = _planned(model, spec, masks, optimizer)
    small = rebuild(model, plan.params, plan.config)
    new = dict(tensors_of(small, duplicates=False))
    for name, grad in plan.grads.items():
        new[name].grad = grad
    if optimizer is not None:
        moments.swap(unwrapped(optimizer), plan.live, new, plan.state)
    warn_of(plan.factors)
    return small, optimizer


@explained
def narrow(model: nn.Module, spec: Spec, masks: Masks, optimizer: Optimizer | None = None) -> None:
    """Thin a module in place, with its optimizer: the same parameter objects, fewer units.

    For loops of others (transformers, Lightning, accelerate, ultralytics), which go on with the
    module that they were started with. It is the one function of purethin that changes what it is
    given; `thin_module` leaves the module as it is.

    Args:
        model: the dense module. Its parameters and buffers get new data, and its attributes their
            new values. An object of settings that it holds (`model.config`) is replaced by a copy,
            as others may hold it too.
        spec: its spec.
        masks: `{axis: BoolTensor[size]}`, True = keep.
        optimizer: as `thin_module` takes it.

    Raises:
        MaskError, SpecError: as `thin_module`; or the module's tensors are spread over processes.
            Nothing is changed then.

    >>> import torch
    >>> from purethin.inference.infer import infer
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> spec = infer(model, params_of(model), torch.rand(1, 2))
    >>> narrow(model, spec, {"0.weight": torch.tensor([True, False, True])})
    >>> model
    Sequential(
      (0): Linear(in_features=2, out_features=2, bias=True)
      (1): ReLU()
      (2): Linear(in_features=2, out_features=1, bias=True)
    )
    """
    plan = _planned(model, spec, masks, optimizer)
    with configured(model, plan.config, plan.params):
        for name, tensor in plan.live.items():
            put(tensor, plan.params[name].detach(), plan.grads.get(name))
    if optimizer is not None:
        for name, values in plan.state.items():
            unwrapped(optimizer).state[plan.live[name]] = values
    refresh(model)
    warn_of(plan.factors)


@dataclass(frozen=True)
class _Plan:
    """All that changes, worked out before anything does."""

    live: Mapping[str, Tensor]
    params: Mapping[str, Tensor]
    config: Config
    grads: Mapping[str, Tensor]
    state: Mapping[str, Mapping[str, Any]]
    factors: Mapping[str, float]


def _planned(model: nn.Module, spec: Spec, masks: Masks, optimizer: Optimizer | None) -> _Plan:
    """Everything of the thinned network."""
    params, config = thin(params_of(model), spec, masks)
    live, thinning = dict(tensors_of(model, duplicates=False)), Thinning(spec, masks)
    if (spread := next((n for n, t in live.items() if hasattr(t, "to_local")), None)) is not None:
        raise SpecError(
            f"{spread} is spread over processes: pt.Trainer with engine=pt.fully_sharded() thins "
            "such a network; in a loop of your own, thin it before it is sharded"
        )
    given = {n: t.grad for n, t in live.items() if t.is_leaf}
    grads = {n: thinning.leaf(n, g) for n, g in given.items() if g is not None and not g.is_sparse}
    if optimizer is None:
        return _Plan(live, params, config, grads, {}, {})
    groups = moments.named_groups(unwrapped(optimizer), live)
    if not any(name in live for group in groups for name in group):
        raise SpecError(
            f"this {type(optimizer).__name__} steps none of the parameters of this "
            f"{type(model).__name__}: give the optimizer that was made over model.parameters(), "
            "and the module that it was made over (model.module of a DistributedDataParallel)"
        )
    state = thin_state(optimizer, moments.by_name(unwrapped(optimizer), live), spec, masks)
    return _Plan(live, params, config, grads, state, lr_factors(optimizer, live, spec, masks))
