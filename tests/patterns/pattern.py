"""The form of the pattern table: a tiny network, an example input, and what must be said of its
axes.

An entry of `prunable`, `inexact` and `guards` stands for axes. It is the path of the module that
produces them: `conv1` is every axis that a parameter below that path produces, and those that are
named by the path, with or without a suffix (`conv1.groups`). Or it is a dim, `w1:0`: every axis
that this dim of the parameter carries. See `owned`. What an entry of one list stands for is all of
that kind; what it stands for in both lists is some of each. What stands in no list may be exact,
inexact or frozen: the law that masked equals thinned on every exact axis holds there too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

Inputs = tuple[Any, ...]
Forward = TypeVar("Forward", bound=Callable[..., Any])


@dataclass(frozen=True)
class Pattern:
    """One network of the table.

    Attributes:
        name: a sentence fragment, unique in the table.
        make: a fresh module, in float64 and eval mode; the parameter pytree where `function` is
            given.
        inputs: the example inputs, float64 where they are floats.
        prunable: entries whose axes must be prunable and exact.
        inexact: entries whose axes must be prunable and labelled inexact.
        frozen: dims, `"conv1.weight:0"`, of which no part may be prunable.
        guards: entries whose axes' sizes the forward compares with a number: a mask that changes
            the answer must be refused (or the axis be frozen).
        layout: which dims are one axis: `layout_text` of the spec, "conv1: a 3 3 3; head: 4 a 3 3".
        why: part of the reason why no axis is exact, of a network that has no exact axis.
        function: `f(params, *inputs, **kwargs)` for a network on bare parameters, else None.
        kwargs: the example's keyword arguments.
    """

    name: str
    make: Callable[[], Any]
    inputs: Callable[[], Inputs]
    prunable: tuple[str, ...] = ()
    inexact: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    layout: str = ""
    why: str = ""
    function: Callable[..., Any] | None = None
    kwargs: Callable[[], dict[str, Any]] = dict

    def __str__(self) -> str:
        return self.name


PATTERNS: list[Pattern] = []
"""The whole table, in the order in which the families register it."""


class Axis(Protocol):
    """What the table asks of an axis: the `(parameter, dim)` that carry it, and those of them that
    produce it.
    """

    @property
    def places(self) -> Iterable[tuple[str, int]]: ...

    @property
    def producers(self) -> Iterable[tuple[str, int]]: ...


def owned(entry: str, axes: Mapping[str, Axis]) -> list[str]:
    """The names of the axes that an entry of the table stands for."""
    path, _, dim = entry.partition(":")
    if dim:
        return [name for name, axis in axes.items() if (path, int(dim)) in axis.places]

    def below(name: str) -> bool:
        return name == path or name.startswith((f"{path}.", f"{path}#"))

    return [
        name
        for name, axis in axes.items()
        if below(name) or any(below(p) for p, _ in axis.producers)
    ]


# ---- networks without a class of their own


class Net(nn.Module):
    """A module of given members whose forward is a plain function of it."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, forward: Callable[..., Any], members: dict[str, Any]) -> None:
        super().__init__()
        self.function = forward
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


def layers(**members: Any) -> dict[str, Any]:
    """The members of a `Net`: modules, parameters, buffers, integers."""
    return members


def add(
    name: str,
    make: Callable[[], Any],
    inputs: Callable[[], Inputs] | None = None,
    *,
    prunable: str = "",
    inexact: str = "",
    frozen: str = "",
    guards: str = "",
    layout: str = "",
    why: str = "",
    function: Callable[..., Any] | None = None,
    kwargs: Callable[[], dict[str, Any]] = dict,
) -> None:
    """Put a network into the table; paths and dims are separated by spaces."""

    def fresh() -> Any:
        made = make()
        return made.double().eval() if isinstance(made, nn.Module) else made

    said = [tuple(text.split()) for text in (prunable, inexact, frozen, guards)]
    row = Pattern(name, fresh, inputs or image, said[0], said[1], said[2], said[3], layout, why)
    PATTERNS.append(replace(row, function=function, kwargs=kwargs))


def pattern(
    name: str, members: Callable[[], dict[str, Any]], **fields: Any
) -> Callable[[Forward], Forward]:
    """Put a `Net` of these members into the table, the decorated function its forward."""

    def register(forward: Forward) -> Forward:
        add(name, lambda: Net(forward, members()), **fields)
        return forward

    return register


def bare(name: str, params: Callable[[], Any], **fields: Any) -> Callable[[Forward], Forward]:
    """Put the decorated function of bare parameters into the table."""

    def register(function: Forward) -> Forward:
        add(name, params, function=function, **fields)
        return function

    return register


# ---- parts


def conv(inside: int, outside: int, kernel: int = 3, **options: Any) -> nn.Conv2d:
    """A convolution that keeps the image's size, unless strided."""
    return nn.Conv2d(inside, outside, kernel, padding=kernel // 2, **options)


def weight(*shape: int) -> nn.Parameter:
    """A bare parameter of a `Net`."""
    return nn.Parameter(torch.full(shape, 0.5, dtype=torch.float64))


def ones(*shape: int) -> Tensor:
    """A bare parameter of a function."""
    return torch.ones(shape, dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> Tensor:
    """An example tensor, the same each time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def image() -> Inputs:
    """Two images of 3 channels, 6 by 6."""
    return (random(2, 3, 6, 6),)


def vector() -> Inputs:
    """Four vectors of 5."""
    return (random(4, 5),)


def sequence() -> Inputs:
    """Two sequences of 7 vectors of 5, batch first."""
    return (random(2, 7, 5),)


def tokens() -> Inputs:
    """Two sequences of 5 tokens out of 11."""
    return (torch.arange(10).reshape(2, 5) % 11,)
