"""Raw Python errors of public functions, answered by the argument that does not fit its annotation.

Numbers, texts and switches are checked before a call; all else only when it has failed, so nothing
that works is refused.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import islice
from typing import Any, Literal, ParamSpec, TypeVar, Union

from torch import Generator, Tensor, nn

from purethin.errors import OptionError, PurethinError

P = ParamSpec("P")
R = TypeVar("R")

_PLAIN = (int, float, bool, str, type(None), Generator)
_LOOKED_AT = 50  # entries of a mapping or list
_GIVE = {
    "model": "an nn.Module",
    "params": "pt.params_of(model), {name: Tensor}",
    "spec": "what pt.infer(model, params, x) gives",
    "masks": "{axis: BoolTensor[size]}, as pt.select(scores, 0.5) gives",
    "scores": "{axis: Tensor[size]}, as pt.lp_norm(params, spec) gives",
    "config": "what pt.thin(params, spec, masks) gives beside the tensors",
    "recipe": "pt.load_recipe('recipe.yaml')",
    "optimizer": "a function of the parameters, lambda params: torch.optim.SGD(params, lr=0.1)",
    "update": "pt.Update(loss_fn), with loss_fn(outputs, batch) -> loss",
    "state": "what pt.begin(spec, recipe) gives",
    "stats": "what pt.measure(model, params, spec, batches) gives",
    "grads": "a list of gradients, one {name: Tensor} a batch: [grads]",
    "batches": "a list or a DataLoader",
    "loader": "a list or a DataLoader",
    "path": "the path of a file",
    "folder": "the path of a folder",
    "loss": "a function of (outputs, batch)",
    "loss_fn": "a function of (outputs, batch)",
    "validate": "a function of the module that gives one number",
}
"""What to write for an argument of this name, which means the same in every function."""
_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    type(None): "None",
    Tensor: "a tensor",
}


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """The function; where one of its arguments does not fit its annotation, an OptionError says
    which, and what to write. An error of purethin's that the function raises goes first.
    """
    plain: dict[str, Any] | None = None

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal plain
        if plain is None:
            plain = {name: hint for name, hint in hints_of(function).items() if _is_plain(hint)}
        if plain and (wrong := misfit(function, args, kwargs, plain)) is not None:
            raise OptionError(wrong)
        try:
            return function(*args, **kwargs)
        except PurethinError:
            raise
        except Exception as error:
            if (wrong := misfit(function, args, kwargs)) is not None:
                raise OptionError(wrong) from error
            raise

    return call


def misfit(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    hints: Mapping[str, Any] | None = None,
) -> str | None:
    """The first argument of a call that does not fit its annotation, as words; None if all do.

    >>> def half(rate: float, name: str | None = None) -> float: return rate / 2
    >>> misfit(half, ("0.5",), {})
    "rate is '0.5', a str: give a number, as in half(rate, name)"
    """
    hints = hints_of(function) if hints is None else hints
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    for name, value in (*zip(names, args, strict=False), *kwargs.items()):
        if name in hints and not fits(value, hints[name]):
            give = _give(name, hints[name])
            return f"{name} is {_shown(value)}: give {give}, as in {_call(function)}"
    return None


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """`{argument: its type}`, of those that are annotated with what can be told."""
    function = inspect.unwrap(function)
    found: dict[str, Any] = {}
    for p in inspect.signature(function).parameters.values():
        text = str(p.annotation)
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        try:
            found[p.name] = _Tree if text.startswith("TensorTree") else eval(text, _names(function))
        except Exception:  # a name that only type checkers import
            continue
    return found


def _names(function: Callable[..., Any]) -> dict[str, Any]:
    return getattr(function, "__globals__", {})


def _is_plain(hint: Any) -> bool:
    parts = typing.get_args(hint) if _is_union(hint) else (hint,)
    return all(part in _PLAIN for part in parts)


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (Union, types.UnionType)


class _Tree:
    """Any nesting of tensors."""


def fits(value: object, hint: Any) -> bool:
    """Whether a value is of a type, as far as its first entries tell.

    >>> fits({"a": 1}, Mapping[str, float]), fits({int: 1}, Mapping[str, float]), fits(True, int)
    (True, False, False)
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if _is_union(hint):
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return isinstance(value, str | int | type(None)) and value in inner
    if isinstance(hint, Hashable) and hint in _NUMBERS:
        return _NUMBERS[hint](value)
    if hint is _Tree:
        return isinstance(value, Mapping | list | tuple | Tensor)
    kind = origin or hint
    if kind is Callable or not isinstance(kind, type) or kind.__module__ == "typing":
        return callable(value) if kind is Callable else True
    if not issubclass(kind, Iterable) or issubclass(kind, str | Tensor | nn.Module):
        return kind is object or isinstance(value, kind)
    return _holds(value, kind, inner)


def _holds(value: Any, kind: type, inner: tuple[Any, ...]) -> bool:
    """Whether a value is a collection of this kind whose first entries fit."""
    if issubclass(kind, Mapping):
        entries = islice(value.items(), _LOOKED_AT) if isinstance(value, Mapping) else ()
        known = inner if len(inner) == 2 else (Any, Any)
        right = (fits(k, known[0]) and fits(v, known[1]) for k, v in entries)
        return isinstance(value, Mapping) and all(right)
    iterable = hasattr(value, "__iter__") or hasattr(value, "__getitem__")
    if isinstance(value, str | bytes | Mapping | nn.Module | Tensor) or not iterable:
        return isinstance(value, kind) and kind is not Iterable
    if isinstance(value, list | tuple) and len(inner) == 1:
        return all(fits(entry, inner[0]) for entry in value[:_LOOKED_AT])
    return True


def _is_number(value: Any) -> bool:
    one = not isinstance(value, Tensor) or value.numel() == 1
    return one and hasattr(value, "__float__") and not isinstance(value, bool | str)


_NUMBERS: dict[Any, Callable[[Any], bool]] = {
    Any: lambda _: True,
    bool: lambda value: type(value).__name__.startswith("bool") or value is None,
    int: lambda value: hasattr(value, "__index__") and not isinstance(value, bool | Tensor),
    float: _is_number,
}


def _give(name: str, hint: Any) -> str:
    if name in _GIVE:
        return _GIVE[name]
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return " or ".join(map(repr, inner))
    if _is_union(hint):
        return " or ".join(dict.fromkeys(_give("", each) for each in inner))
    return _WORDS.get(hint, _of_kind(hint))


def _of_kind(hint: Any) -> str:
    kind = typing.get_origin(hint) or hint
    if kind is Callable or not isinstance(kind, type):
        return "a function"
    if issubclass(kind, Mapping):
        inner = [getattr(each, "__name__", str(each)) for each in typing.get_args(hint)]
        return f"a dict {{{': '.join(inner)}}}" if inner else "a dict"
    if issubclass(kind, Iterable) and kind.__module__ in ("builtins", "collections.abc"):
        return "a list"
    return f"a {kind.__name__}"


def _shown(value: object) -> str:
    """A value and its type, short."""
    kind = type(value).__name__
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, str | int | float | bool) and len(repr(value)) < 60:
        return f"{value!r}, a {kind}"
    if isinstance(value, Mapping) and value:
        key, entry = next(iter(value.items()))
        return f"a {kind} of {key!r} to {type(entry).__name__}"
    return f"a {kind}"


def _call(function: Callable[..., Any]) -> str:
    """A call as it is written, by the names of its arguments up to the first that is an option."""
    names = [
        p.name if p.kind is not p.VAR_POSITIONAL else "x"
        for p in inspect.signature(function).parameters.values()
        if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD) and p.name != "self"
    ]
    name = function.__qualname__.removesuffix(".__init__")
    return f"{name}({', '.join(names)})"
