"""An optimizer's state by parameter name: taken out, thinned elsewhere, put back.

Invariant: the optimizer stays the same object and its groups the same lists, so options, schedulers
and hooks simply go on.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from purethin.errors import CheckpointError, SpecError
from purethin.tree import copied


def named_groups(optimizer: Optimizer, params: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Each group's parameters by name; one that is not the network's own (a learnt loss weight) is
    `#group.position`.
    """
    known = {id(tensor): name for name, tensor in params.items()}
    return [
        {known.get(id(p), f"#{g}.{i}"): p for i, p in enumerate(group["params"])}
        for g, group in enumerate(optimizer.param_groups)
    ]


def by_name(optimizer: Optimizer, params: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """`{name: {key: value}}`: the state itself, no copy, of what has any."""
    held = {
        name: optimizer.state.get(p)
        for group in named_groups(optimizer, params)
        for name, p in group.items()
    }
    return {name: state for name, state in held.items() if state}


def state_of(optimizer: Optimizer, params: Mapping[str, Tensor]) -> dict[str, Any]:
    """`{"class": its name, "state": {name: {key: value}}, "groups": [{"params": [name], option:
    value}], "others": {name: Tensor}}`.

    Tensors are copies. `others` are the parameters that are not the network's own.
    """
    groups = named_groups(optimizer, params)
    return {
        "class": type(optimizer).__name__,
        "state": copied(by_name(optimizer, params)),
        "groups": [
            {**copied({k: v for k, v in options.items() if k != "params"}), "params": list(group)}
            for options, group in zip(optimizer.param_groups, groups, strict=True)
        ],
        "others": copied({n: p for group in groups for n, p in group.items() if n not in params}),
    }


def swap(
    optimizer: Optimizer,
    old: Mapping[str, Tensor],
    new: Mapping[str, Tensor],
    state: Mapping[str, Any],
) -> None:
    """Put new tensors in the place of old ones of the same name, with this state by name instead of
    what they had.
    """
    for options, group in zip(optimizer.param_groups, named_groups(optimizer, old), strict=True):
        options["params"][:] = [new.get(name, p) for name, p in group.items()]
        for name, p in group.items():
            if name in old or name in state:
                optimizer.state.pop(p, None)
            if state.get(name):
                optimizer.state[new.get(name, p)] = dict(state[name])


def check_groups(
    optimizer: Optimizer, params: Mapping[str, Tensor], saved: Mapping[str, Any]
) -> None:
    """That an optimizer is of the class of a saved one, and has its groups.

    Raises:
        CheckpointError: it is another, or its groups hold other parameters.
    """
    if (kind := type(optimizer).__name__) != saved["class"]:
        raise CheckpointError(
            f"the optimizer is {kind}, the saved one {saved['class']}: make the optimizer as it "
            "was made for that run"
        )
    groups = named_groups(optimizer, params)
    have, want = [list(g) for g in groups], [list(g["params"]) for g in saved["groups"]]
    if have != want:
        odd = sorted({n for g in have for n in g} ^ {n for g in want for n in g})
        raise CheckpointError(
            f"the optimizer has {len(have)} group(s) of {[*map(len, have)]} parameters, the saved "
            f"one {len(want)} of {[*map(len, want)]}"
            f"{f' ({odd[0]} is in one of them only)' if odd else ''}: make the optimizer as it was "
            "made for that run"
        )


def restore(
    optimizer: Optimizer,
    old: Mapping[str, Tensor],
    new: Mapping[str, Tensor],
    saved: Mapping[str, Any],
) -> None:
    """Put back what `state_of` took out of an optimizer of the same groups; `old` are the tensors
    that it holds now.
    """
    groups = named_groups(optimizer, old)
    swap(optimizer, old, new, saved["state"])
    for options in optimizer.param_groups:
        if not (options.get("fused") or options.get("capturable")):
            continue
        for p in options["params"]:  # their steps are counted on the parameters' device
            state = optimizer.state.get(p, {})
            tensors = {key: t for key, t in state.items() if isinstance(t, Tensor)}
            state.update({key: t.to(p.device) for key, t in tensors.items()})
    for options, group, kept in zip(optimizer.param_groups, groups, saved["groups"], strict=True):
        options.update({k: v for k, v in kept.items() if k != "params"})
        with torch.no_grad():
            for name in group.keys() & saved["others"].keys():
                group[name].copy_(saved["others"][name])


def check_steps(optimizer: Optimizer) -> None:
    """That a training can step an optimizer.

    Raises:
        SpecError: it steps by a closure.
    """
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise SpecError(
            f"{type(optimizer).__name__} steps by a closure that it calls several times, which a "
            "Trainer does not give: use one that steps by gradients (SGD, Adam, AdamW, RMSprop, …)"
        )
