"""While a trace runs, functions that the user's code caches are called afresh: what they kept
belongs to other sizes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import _lru_cache_wrapper
from typing import Any

from torch import nn

EINOPS = "einops.einops"


@contextmanager
def uncached(traced: Any) -> Iterator[None]:
    """Call through every `functools.cache` and `lru_cache` that stands where the traced code looks
    names up.

    That is in the modules and classes of an `nn.Module`'s parts, or beside a function, and in
    einops. The caches themselves are left as they are: nothing tracked gets into them, nothing
    stale comes out.
    """
    swapped = [
        (scope, name, function, bare)
        for scope in _scopes(traced)
        for name, function in [*vars(scope).items()]
        if (bare := _bare(function)) is not None
    ]
    for scope, name, _, bare in swapped:
        setattr(scope, name, bare)
    try:
        yield
    finally:
        for scope, name, function, _ in swapped:
            setattr(scope, name, function)


def _scopes(traced: Any) -> list[Any]:
    """The modules and classes where the traced code looks names up."""
    classes: set[type] = set()
    modules = {EINOPS, getattr(traced, "__module__", None)}
    if isinstance(traced, nn.Module):
        every = {c for module in traced.modules() for c in type(module).__mro__}
        classes = {c for c in every if not c.__module__.startswith(("torch.", "builtins"))}
        modules = {EINOPS, *(c.__module__ for c in classes)}
    return [*classes, *(sys.modules[name] for name in modules if name in sys.modules)]


def _bare(function: Any) -> Any:
    """The function behind a cache; None for anything else."""
    if isinstance(function, staticmethod | classmethod):
        inner = _bare(function.__func__)
        return None if inner is None else type(function)(inner)
    return function.__wrapped__ if isinstance(function, _lru_cache_wrapper) else None
