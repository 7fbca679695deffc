"""What a forward returned: its tensors and integers, each with its place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn


def output_leaves(
    out: Any, place: str = "output", seen: set[int] | None = None
) -> Iterator[tuple[str, Tensor | int]]:
    """`(place, leaf)` of every tensor and integer in what a forward returned, whatever holds it:
    any object's attributes too.
    """
    seen = set() if seen is None else seen
    if isinstance(out, Tensor | int):
        yield place, out
    elif id(out) not in seen and not isinstance(out, str | bytes | float | type | nn.Module):
        seen.add(id(out))
        if isinstance(out, Mapping):
            inner = [(f"{place}[{key!r}]", value) for key, value in out.items()]
        elif isinstance(out, list | tuple | set | frozenset):
            inner = [(f"{place}[{i}]", value) for i, value in enumerate(out)]
        else:
            inner = [
                (f"{place}.{key}", value) for key, value in getattr(out, "__dict__", {}).items()
            ]
        for where, value in inner:
            yield from output_leaves(value, where, seen)


def results(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], out: Any
) -> list[tuple[str, Any]]:
    """The leaves of what a function returned, without the state that it hands back to be given
    again.

    An entry of the output named as an argument that this call did not give (`past_key_values`) is
    such a state: only the function reads it, so its sizes are the function's own affair. A module
    that takes any keyword and has one child (a wrapper, as peft's) hands them on to that.
    """
    try:
        bound = inspect.signature(function).bind_partial(*args, **kwargs)
        named = bound.signature.parameters | _handed_on(function)
        given = {n for n, value in {**bound.arguments, **kwargs}.items() if value is not None}
        states = named.keys() - given
    except (TypeError, ValueError):
        states = set()
    if isinstance(out, Mapping):
        out = {key: value for key, value in out.items() if key not in states}
    return list(output_leaves(out))


def _handed_on(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments of the modules that a wrapper's forward hands its keywords on to."""
    found: dict[str, inspect.Parameter] = {}
    module, parameters = getattr(function, "__self__", None), inspect.signature(function).parameters
    while isinstance(module, nn.Module) and len(children := [*module.children()]) == 1:
        if all(p.kind != p.VAR_KEYWORD for p in parameters.values()):
            break
        [module] = children
        parameters = inspect.signature(module.forward).parameters
        found |= parameters
    return found
