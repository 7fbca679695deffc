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
    places: list[Any] = [sys.modules[EINOPS]] if EINOPS in sys.modules else []
    if isinstance(traced, nn.Module):
        classes = {
            c
            for module in traced.modules()
            for c in type(module).__mro__
            if not c.__module__.startswith(("torch.", "builtins"))
        }
        places += [
            *classes,
            *(sys.modules[name] for name in {c.__module__ for c in classes} if name in sys.modules),
        ]
    elif (name := getattr(traced, "__module__", None)) in sys.modules:
        places.append(sys.modules[name])
    swapped = [
        (p, name, f, bare)
        for p in places
        for name, f in [*vars(p).items()]
        if (bare := _bare(f)) is not None
    ]
    for place, name, _, bare in swapped:
        setattr(place, name, bare)
    try:
        yield
    finally:
        for place, name, function, _ in swapped:
            setattr(place, name, function)


def _bare(function: Any) -> Any:
    """The function behind a cache; None for anything else."""
    if isinstance(function, staticmethod | classmethod):
        inner = _bare(function.__func__)
        return None if inner is None else type(function)(inner)
    return function.__wrapped__ if isinstance(function, _lru_cache_wrapper) else None
