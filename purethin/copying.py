"""A deep copy of a module in which each tensor is replaced, as `copy.deepcopy` with a memo makes,
at a third of its time: modules that copy in the usual way are filled one by one.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from purethin.errors import SpecError
from purethin.parts import parts_of

_PLAIN = frozenset((int, float, str, bool, type(None), complex, bytes))
_OWN = frozenset(("_parameters", "_buffers", "_modules"))
_DICTS = frozenset((dict, OrderedDict))
Rows = list[tuple[str, Any]]
"""The attributes of a module that are more than plain values, by name."""


def copy_with(model: nn.Module, replacement: Callable[[Tensor], Tensor]) -> nn.Module:
    """A deep copy in which each parameter and buffer is its replacement, made once per tensor.

    Raises:
        SpecError: something in it cannot be copied.
    """
    memo: dict[int, Any] = {}
    modules = [*parts_of(model).values()]
    for rows in ("_parameters", "_buffers"):
        for module in modules:
            for tensor in getattr(module, rows).values():
                if tensor is not None and id(tensor) not in memo:
                    memo[id(tensor)] = replacement(tensor)
    meta = bool(memo) and all(t.is_meta for t in memo.values())
    rows = [[row for row in vars(m).items() if type(row[1]) not in _PLAIN] for m in modules]
    for name, value in itertools.chain(*rows):
        if name in _OWN or (type(value) in _DICTS and not value):
            continue
        # a tensor that is a plain attribute was perhaps made by a hook
        if isinstance(value, Tensor) and id(value) not in memo:
            memo[id(value)] = value.detach().to("meta" if meta else value.device)
        held = value.values() if isinstance(value, dict) else value
        for x in [*held] if isinstance(value, (dict, list, tuple)) else ():
            if isinstance(x, Tensor) and x.grad_fn is not None:  # deepcopy refuses these
                memo.setdefault(id(x), x.detach().clone())
    try:
        made = _copied(model, modules, rows, memo)
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise SpecError(
            f"this {type(model).__name__} cannot be copied: {error}. purethin works on a copy: "
            "give a module that copy.deepcopy takes"
        ) from error
    recurrent = any(isinstance(m, nn.RNNBase) for m in modules)
    for module in parts_of(made).values() if recurrent else ():
        if isinstance(module, nn.RNNBase):  # a functional call may have left others in this list
            names = module._flat_weights_names
            module._flat_weights = [getattr(module, name, None) for name in names]
    return made


def meta_copy(model: nn.Module) -> nn.Module:
    """The model on the meta device: no weight is copied."""
    return copy_with(model, lambda old: like(old, hollow(old)))


def on_meta(model: nn.Module) -> nn.Module:
    """The model itself, its tensors replaced by ones on meta."""
    made: dict[int, Tensor] = {}
    for module in parts_of(model).values():
        for rows in (module._parameters, module._buffers):
            for name, old in rows.items():
                if old is not None and not old.is_meta:
                    if id(old) not in made:
                        made[id(old)] = like(old, hollow(old))
                    rows[name] = made[id(old)]  # type: ignore[assignment]
    return model


def hollow(tensor: Tensor) -> Tensor:
    """An empty tensor on meta, laid out as this one; torch's own way is slow for one on meta."""
    if tensor.is_meta and tensor.is_contiguous():
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    return torch.empty_like(tensor, device="meta")


def like(old: Tensor, new: Tensor) -> Tensor:
    """A tensor in the place of another: a parameter where that is one."""
    return nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new


def _copied(
    model: nn.Module, modules: list[nn.Module], rows: list[Rows], memo: dict[int, Any]
) -> nn.Module:
    """The copy: first all modules that copy in the usual way, empty, then what they hold."""
    usual = [(m, own) for m, own in zip(modules, rows, strict=True) if _is_usual(type(m))]
    for module, _ in usual:
        memo[id(module)] = type(module).__new__(type(module))
    for module, own in usual:
        held = vars(memo[id(module)])
        held.update(vars(module))
        held.pop("_compiled_call_impl", None)
        for name, value in own:
            if name in held:
                held[name] = _entry(value, memo)
    return copy.deepcopy(model, memo)


@functools.cache
def _is_usual(kind: type) -> bool:
    """Whether a class leaves its copying to Python and torch, whose own hooks only fill in what
    older files lack and leave out what is compiled.
    """
    hooks = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
    owners = [next((c for c in kind.__mro__ if hook in vars(c)), object) for hook in hooks]
    usual = all(c is object or c.__module__.startswith("torch.nn.") for c in owners)
    slots = any(vars(c).get("__slots__") for c in kind.__mro__)
    own = hasattr(kind, "__deepcopy__") or hasattr(kind, "__getnewargs__")
    return usual and not slots and not own


def _entry(value: Any, memo: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _PLAIN or (kind is tuple and _all_plain(value)):
        return value
    if (done := memo.get(id(value))) is not None:
        return done
    if kind in _DICTS:
        made = memo[id(value)] = kind()
        for key, x in value.items():
            made[key if type(key) in _PLAIN else copy.deepcopy(key, memo)] = _entry(x, memo)
        return made
    if kind is set and _all_plain(value):
        return memo.setdefault(id(value), set(value))
    return copy.deepcopy(value, memo)


def _all_plain(values: Iterable[Any]) -> bool:
    return all(type(x) in _PLAIN for x in values)
