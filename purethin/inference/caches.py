"""Caches. While a trace runs, cached functions are called afresh where sizes go through them: what
they kept belongs to other sizes, and nothing tracked may stay in them. Dicts of tensors that the
forward fills are noted, so that a thinned network starts with empty ones.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import _lru_cache_wrapper
from typing import Any

from torch import Tensor, nn

from purethin.holders import TORCHS
from purethin.inference.shapes import sizes_in
from purethin.parts import parts_of

_OWN_CACHES = {"torch", "numpy", "purethin", *sys.stdlib_module_names}
"""Packages whose caches no size of the user's goes through."""
_MAY_CACHE = (_lru_cache_wrapper, staticmethod, classmethod)


class Caches:
    """The caches that a traced function, and its copies, may meet: sought once, and again where
    Python modules came since.
    """

    def __init__(self, traced: Any) -> None:
        self.traced, self.modules = traced, set[str]()
        self.swaps: list[tuple[Any, str, Any, Any]] = []

    def sought(self) -> None:
        """Seek them."""
        if self.modules != sys.modules.keys():
            self.modules, near = set(sys.modules), _scopes(self.traced)
            far = ((m, row) for m in _others(near) for row in _caches(m))
            self.swaps = [(c, *row) for c in near for row in _caches(c)]
            self.swaps += [(m, name, f, _guarded(f, bare)) for m, (name, f, bare) in far]


@contextmanager
def uncached(caches: Caches) -> Iterator[None]:
    """Call through every `functools.cache` and `lru_cache` that stands where the traced code looks
    names up: in the modules and classes of an `nn.Module`'s parts, or beside a function.

    Through those of all other modules only a tracked integer is not cached; those of modules that
    the forward itself imports are cleared. All caches are left as they are.
    """
    caches.sought()
    for scope, name, _, bare in caches.swaps:
        setattr(scope, name, bare)
    try:
        yield
    finally:
        for scope, name, function, _ in caches.swaps:
            setattr(scope, name, function)
        for module in sys.modules.keys() - caches.modules:
            for _, function, _ in _caches(sys.modules[module]):
                function.cache_clear()


@contextmanager
def filled(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, tuple[str, ...]]]:
    """`{module path: attributes}`: the modules' dicts into which tensors come while the block
    runs.
    """
    before = {(path, name): held for path, name, held in _dicts(modules)}
    found: dict[str, tuple[str, ...]] = {}
    yield found
    for path, name, held in _dicts(modules):
        if {*map(id, held)} - {*map(id, before.get((path, name), ()))}:
            found[path] = (*found.get(path, ()), name)


def _dicts(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, str, list[Tensor]]]:
    """The dicts that modules keep, each with the tensors in it."""
    for path, module in modules.items():
        for name, value in vars(module).items():
            if name not in TORCHS and isinstance(value, dict):
                yield path, name, [x for x in value.values() if isinstance(x, Tensor)]


def _scopes(traced: Any) -> list[Any]:
    """The modules and classes where the traced code looks names up."""
    classes: set[type] = set()
    modules = {getattr(traced, "__module__", None)}
    if isinstance(traced, nn.Module):
        every = {c for module in parts_of(traced).values() for c in type(module).__mro__}
        classes = {c for c in every if not c.__module__.startswith(("torch.", "builtins"))}
        modules = {c.__module__ for c in classes}
    return [*classes, *(sys.modules[name] for name in modules if name in sys.modules)]


def _others(scopes: list[Any]) -> list[Any]:
    """All other modules that cache something."""
    near = set(map(id, scopes))
    every = [(name, m) for name, m in [*sys.modules.items()] if _is_foreign(name)]
    every = [(name, m) for name, m in every if id(m) not in near]
    return [m for name, m in every if _has_caches(name, len(getattr(m, "__dict__", ())))]


@functools.cache
def _is_foreign(module: str) -> bool:
    """Whether sizes of the user's may go through a module's caches."""
    return module.partition(".")[0] not in _OWN_CACHES


@functools.cache
def _has_caches(module: str, names: int) -> bool:
    """Whether a module of so many names caches anything."""
    return any(True for _ in _caches(sys.modules[module]))


def _caches(scope: Any) -> Iterator[tuple[str, Any, Any]]:
    """`(name, function, the function behind its cache)` of all in a module or class."""
    for name, function in [*getattr(scope, "__dict__", {}).items()]:
        if isinstance(function, _MAY_CACHE) and (bare := _bare(function)) is not None:
            yield name, function, bare


def _bare(function: Any) -> Any:
    """The function behind a cache; None for anything else."""
    if isinstance(function, staticmethod | classmethod):
        inner = _bare(function.__func__)
        return None if inner is None else type(function)(inner)
    return function.__wrapped__ if isinstance(function, _lru_cache_wrapper) else None


@functools.cache
def _guarded(function: Callable[..., Any], bare: Callable[..., Any]) -> Callable[..., Any]:
    """The cached function, called through where a tracked integer is among its arguments."""

    @functools.wraps(bare)
    def call(*args: Any, **kwargs: Any) -> Any:
        return (bare if sizes_in((args, kwargs)) else function)(*args, **kwargs)

    return call
