"""Where a module keeps integers: among its attributes, and in the plain objects, dicts, pairs,
partial functions and closures that are its attributes.
"""

from __future__ import annotations

import functools
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

TORCHS = frozenset(vars(nn.Module()))
"""The attributes that torch gives every module."""
_PLAIN = frozenset((int, float, str, bool, type(None)))


class Holder(NamedTuple):
    """Named values, and how to set one; `shared`: the object that would then change, if that is
    not the module itself.
    """

    values: dict[str, Any]
    put: Callable[[str, Any], None]
    shared: object = None


def holders(module: nn.Module) -> Iterator[tuple[str, Holder]]:
    """The module itself as `""`, then each of its attributes that holds named values."""
    yield "", (own := _own(module))
    for name, value in [*own.values.items()]:
        if type(value) not in _PLAIN and (found := _holder(module, name, value)) is not None:
            yield name, found


def holder_of(module: nn.Module, name: str) -> Holder:
    """The holder of this name.

    Raises:
        KeyError: the module has no such attribute, or it holds no named values.
    """
    found = _holder(module, name, vars(module)[name]) if name else _own(module)
    if found is None:
        raise KeyError(name)
    return found


def _own(module: nn.Module) -> Holder:
    own = vars(module)
    return Holder({n: x for n, x in own.items() if n not in TORCHS}, own.__setitem__)


def _holder(module: nn.Module, name: str, value: Any) -> Holder | None:
    if isinstance(value, types.FunctionType):
        if value.__module__.partition(".")[0] == "torch":
            return None
        return Holder(_variables(value), functools.partial(_put_variable, module, name))
    if isinstance(value, functools.partial):
        return Holder({**value.keywords, "args": value.args}, functools.partial(_put_given, value))
    if _are_pairs(value):
        return Holder(dict(value), functools.partial(_put_pair, module, name))
    if type(value) in (dict, OrderedDict):
        named = {k: x for k, x in value.items() if isinstance(k, str) and k.isidentifier()}
        return Holder(named, value.__setitem__, value)
    unlike = callable(value) or isinstance(value, Tensor | nn.Module | torch.Generator)
    if unlike or not hasattr(value, "__dict__") or type(value).__module__.startswith("torch"):
        return None
    return Holder(dict(vars(value)), vars(value).__setitem__, value)


def _are_pairs(value: Any) -> bool:
    """Whether something lists named integers, as einops's layers keep the lengths of axes."""
    return (
        type(value) in (tuple, list)
        and any(
            type(x) is tuple and len(x) == 2 and type(x[0]) is str and type(x[1]) is int
            for x in value
        )
        and all(type(x) is tuple and len(x) == 2 for x in value)
    )


def _put_pair(module: nn.Module, attribute: str, name: str, value: Any) -> None:
    old = vars(module)[attribute]
    vars(module)[attribute] = type(old)((k, value if k == name else x) for k, x in old)


def _put_given(function: functools.partial[Any], name: str, value: Any) -> None:
    if name == "args" and name not in function.keywords:
        state = (function.func, value, function.keywords, vars(function))
        function.__setstate__(state)  # type: ignore[attr-defined]
    else:
        function.keywords[name] = value


def _variables(function: types.FunctionType) -> dict[str, Any]:
    """What a function closes over, and its default arguments."""
    code, given = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount][code.co_argcount - len(given) :]
    found = dict(zip(names, given, strict=True)) | (function.__kwdefaults__ or {})
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    return found


def _put_variable(module: nn.Module, attribute: str, name: str, value: Any) -> None:
    """Give the module a twin of its function with another value: others may share the function."""
    old = vars(module)[attribute]
    code, cells, given = old.__code__, old.__closure__ or (), old.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount][code.co_argcount - len(given) :]
    twin = types.FunctionType(
        code,
        old.__globals__,
        old.__name__,
        tuple(value if n == name else x for n, x in zip(names, given, strict=True)),
        tuple(
            types.CellType(value) if n == name else cell
            for n, cell in zip(code.co_freevars, cells, strict=True)
        ),
    )
    keywords = old.__kwdefaults__ or {}
    twin.__kwdefaults__ = {k: value if k == name else x for k, x in keywords.items()} or None
    vars(twin).update(vars(old))
    vars(module)[attribute] = twin
