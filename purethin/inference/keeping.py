"""What a forward changes besides what it returns is put back: attributes, dicts and lists, cells of
closures, globals and class attributes, the memory of tensors that it did not make, and the state of
random generators.

Invariant: when the block ends, all that the traced code can reach by name is as it was.
"""

from __future__ import annotations

import functools
import random
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from purethin.parts import parts_of

MANY = 10_000
"""Entries of a container up to which what they hold is looked into."""
_LIBRARIES = {"torch", *sys.stdlib_module_names} - {"__main__", "types"}
_ATOMS = (str, bytes, int, float, complex, type(None), Tensor, type, types.ModuleType)


Undo = tuple[Callable[[], None], ...]


def noted(traced: Any) -> Undo:
    """How to put back what a forward may change, as it is now.

    Args:
        traced: a function, or a module of which copies are traced: what its functions close over,
            and its classes, are shared with the copies.
    """
    undo: dict[int, Callable[[], None]] = {}
    if isinstance(traced, nn.Module):
        for module in parts_of(traced).values():
            _note_home(type(module), undo)
            for value in [*vars(module).values()]:
                if isinstance(value, _ATOMS) or (isinstance(value, dict) and not value):
                    continue
                held = value.values() if isinstance(value, dict) else [value]
                _note([x for x in held if callable(x) and not isinstance(x, nn.Module)], undo)
    else:
        _note([traced], undo)
    return (*undo.values(), *_generators())


@contextmanager
def unchanged(undo: Undo) -> Iterator[None]:
    """Put back what the block changes."""
    try:
        yield
    finally:
        for back in undo:
            back()


def _generators() -> list[Callable[[], None]]:
    """How to set the global random generators back."""
    found = [
        functools.partial(torch.set_rng_state, torch.get_rng_state()),
        functools.partial(random.setstate, random.getstate()),
    ]
    if (numpy := sys.modules.get("numpy")) is not None:
        found.append(functools.partial(numpy.random.set_state, numpy.random.get_state()))
    return found


def _note(roots: list[Any], undo: dict[int, Callable[[], None]]) -> None:
    """Note how to put back each thing that can change and is held by one of the roots."""
    stack = roots
    while stack:
        x = stack.pop()
        if isinstance(x, _ATOMS) or id(x) in undo:
            continue
        held, back = _holds(x)
        undo[id(x)] = functools.partial(back, x)  # and x lives on, so that none takes its id
        if hasattr(x, "__dict__") and not _of_a_library(x):
            _note_home(x if isinstance(x, types.FunctionType) else type(x), undo)
        stack.extend(held if len(held) <= MANY else ())


def _note_home(home: Any, undo: dict[int, Callable[[], None]]) -> None:
    """Note the names and containers of the classes and Python modules that something is of."""
    if id(home) in undo or _of_a_library(home):
        return
    classes = [c for c in getattr(home, "__mro__", ()) if not _of_a_library(c)]
    modules = [sys.modules.get(c.__module__) for c in (classes or [home])]
    for scope in (*classes, *modules):
        if id(scope) in undo or scope is None:
            continue
        names = {n: x for n, x in vars(scope).items() if not n.startswith("__")}
        undo[id(scope)] = functools.partial(_set_names, scope, names)
        _note([x for x in names.values() if isinstance(x, dict | list | set | deque)], undo)


def _holds(x: Any) -> tuple[list[Any], Callable[[Any], None]]:
    """What something holds, and how to give it back what it holds now."""
    match x:
        case dict():
            before = list(x.items())
            return [v for _, v in before], functools.partial(_set_entries, before=before)
        case list() | deque():
            items = list(x)
            return items, functools.partial(_set_items, before=items)
        case set():
            items = list(x)
            return items, functools.partial(_set_items, before=items)
        case tuple() | frozenset():
            return list(x), _nothing
        case types.CellType():
            try:
                content = x.cell_contents
            except ValueError:  # not filled yet
                return [], _nothing
            return [content], functools.partial(_set_cell, before=content)
        case types.FunctionType():
            named = [x.__globals__[n] for n in x.__code__.co_names if n in x.__globals__]
            near = [v for v in named if not _of_a_library(v)]
            parts = (x.__closure__, x.__defaults__, x.__kwdefaults__, vars(x))
            return [*near, *(part for part in parts if part)], _nothing
        case types.MethodType():
            return [x.__self__, x.__func__], _nothing
        case functools.partial():
            return [x.func, x.args, x.keywords], _nothing
    return ([] if _of_a_library(x) else [getattr(x, "__dict__", None)]), _nothing


def _of_a_library(x: Any) -> bool:
    """Whether Python or torch itself wrote it (a layer of torch's is the user's own, though)."""
    kind = x if isinstance(x, types.FunctionType | type) else type(x)
    home = getattr(kind, "__module__", None) or ""
    first = home.partition(".")[0]
    plain = isinstance(x, dict | list | set | deque | tuple | nn.Module | functools.partial)
    return not plain and first in _LIBRARIES


def _nothing(x: Any) -> None: ...


def _set_names(scope: Any, before: dict[str, Any]) -> None:
    now = {n: x for n, x in vars(scope).items() if not n.startswith("__")}
    for name in now.keys() - before.keys():
        if not isinstance(now[name], types.ModuleType):  # an import is not undone
            delattr(scope, name)
    for name, value in before.items():
        if now.get(name, before) is not value:
            setattr(scope, name, value)


def _set_entries(x: dict[Any, Any], before: list[tuple[Any, Any]]) -> None:
    now = list(x.items())
    if len(now) == len(before) and all(
        k is m and v is w for (k, v), (m, w) in zip(now, before, strict=True)
    ):
        return
    kind: Any = OrderedDict if isinstance(x, OrderedDict) else dict
    kind.clear(x)  # a subclass may refuse it
    kind.update(x, before)


def _set_items(x: Any, before: list[Any]) -> None:
    now = list(x)
    if len(now) != len(before) or any(a is not b for a, b in zip(now, before, strict=True)):
        x.clear()
        (x.update if isinstance(x, set) else x.extend)(before)


def _set_cell(x: types.CellType, before: Any) -> None:
    x.cell_contents = before
