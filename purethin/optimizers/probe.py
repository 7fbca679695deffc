"""What an optimizer keeps, learnt by one step of its twin on small tensors whose dims all differ:
so that shapes tell which dims of its parameter a tensor has.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._pytree import keystr, tree_flatten_with_path

from purethin.optimizers.eight_bit import read
from purethin.tree import copied

Slot = tuple[int | None, ...]
"""For each dim of a tensor, the parameter's dim that it is; None for one of size 1."""

_SIZES = (3, 5, 2, 7, 4)
_ELEMENTWISE = "torch.optim."


def unwrapped(optimizer: Optimizer) -> Optimizer:
    """The optimizer itself, where accelerate or Lightning have wrapped it."""
    inner = getattr(optimizer, "optimizer", None)
    return unwrapped(inner) if isinstance(inner, Optimizer) else optimizer


def slots(shape: Sequence[int], of: Sequence[int]) -> list[Slot]:
    """All ways in which a tensor of one shape can have dims of a parameter of another, in order.

    >>> slots((3,), (3, 5)), slots((1, 5), (3, 5)), slots((4, 4), (4, 5)), slots((4,), (4, 4))
    ([(0,)], [(None, 1)], [], [(0,), (1,)])
    """
    if len(shape) == len(of):
        fits = all(n in (m, 1) for n, m in zip(shape, of, strict=True))
        return [tuple(d if n == of[d] else None for d, n in enumerate(shape))] if fits else []
    ways = combinations(range(len(of)), len(shape)) if shape else ()
    return [way for way in ways if all(of[d] == n for d, n in zip(way, shape, strict=True))]


def probed(optimizer: Optimizer) -> dict[tuple[int, str], Slot | None]:
    """`{(dims of the parameter, key of its state): slot}`; None where the tensor is none of its
    dims, or no tensor. Nothing of torch's own optimizers, whose shapes speak for themselves, and of
    one that makes no step by itself (LBFGS).

    Args:
        optimizer: whose class and options count; it is not changed.
    """
    optimizer = unwrapped(optimizer)
    if type(optimizer).__module__.startswith(_ELEMENTWISE):
        return {}
    try:
        state = _stepped(optimizer)
    except Exception:  # whatever a class of others needs beside gradients
        return {}
    found: dict[tuple[int, str], Slot | None] = {}
    for parameter, values in state.items():
        for path, leaf in tree_flatten_with_path(read(values))[0]:
            if isinstance(leaf, Tensor) and leaf.numel() > 1:
                ways = slots(leaf.shape, parameter.shape)
            elif leaf is None or isinstance(leaf, Tensor | int | float | complex | str):
                continue
            else:
                ways = []
            key = path[0].key + keystr(path[1:])  # type: ignore[union-attr]
            found[parameter.dim(), key] = ways[0] if ways else None
    return found


def set_mode(optimizer: Optimizer, *, training: bool) -> None:
    """Train or eval mode of an optimizer that has the two: in eval mode schedule-free ones show
    the averaged weights.
    """
    if callable(change := getattr(optimizer, "train" if training else "eval", None)):
        change()


def twin_of(optimizer: Optimizer, groups: Sequence[Mapping[str, Any]]) -> Optimizer:
    """An optimizer over other parameters, in train mode, without its state, its hooks and what
    wraps its step.

    Args:
        optimizer: it is not changed. (A copy of one lacks attributes of its own.)
        groups: the options and parameters of each group.
    """
    twin = object.__new__(type(optimizer))
    mine = {k: v for k, v in vars(optimizer).items() if k not in ("step", "state", "param_groups")}
    own = {k: copied(v) if type(v) in (dict, list) else v for k, v in mine.items()}
    hooks = {k: OrderedDict() for k in own if k.endswith("_hooks")}
    vars(twin).update(own | hooks)
    twin.state = defaultdict(dict)
    twin.param_groups = [
        {
            **copied({k: v for k, v in group.items() if k not in ("params", "param_names")}),
            "params": [*group["params"]],
        }
        for group in groups
    ]
    set_mode(twin, training=True)
    return twin


@contextmanager
def aside() -> Iterator[None]:
    """Where twins step: no warning is heard, no random number is drawn from the user's generator,
    nothing is compiled.
    """
    with (
        warnings.catch_warnings(),
        torch.random.fork_rng(devices=[]),
        torch.compiler.set_stance("force_eager"),  # some compile their step
    ):
        warnings.simplefilter("ignore")
        yield


def _stepped(optimizer: Optimizer) -> dict[Tensor, dict[str, Any]]:
    """The state of a twin after one step."""
    groups = []
    for group in optimizer.param_groups:
        dims = sorted({p.dim() for p in group["params"]} & {*range(1, len(_SIZES) + 1)})
        groups.append({**group, "params": [_parameter(n) for n in dims]})
    twin = twin_of(optimizer, groups)
    with aside():
        type(twin).step(twin)
    return dict(twin.state)


def _parameter(dims: int) -> Tensor:
    """A parameter whose dims all differ, with a gradient."""
    sizes = _SIZES[:dims]
    made = torch.nn.Parameter(torch.ones(sizes))
    made.grad = torch.arange(1.0, 1 + made.numel()).cos().reshape(sizes)
    return made
