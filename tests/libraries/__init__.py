"""Networks of libraries that people use, in small configurations with random weights: one file a
library, each a table `MODELS` of a name and a function that builds the network and its inputs.

Nothing here is imported before a row is built: the libraries take seconds each to import.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import optree
import torch
from networks import randomise
from torch import Tensor, nn

Row = tuple[nn.Module, tuple[Any, ...], dict[str, Any]]
Models = dict[str, Callable[[], Row]]


class Lazy:
    """A module that is imported when something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


def row(model: nn.Module, *args: Any, **kwargs: Any) -> Row:
    """A network and what its forward takes."""
    return model, args, kwargs


def x(*shape: int, low: float | None = None) -> Tensor:
    """Random numbers, the same for the same shape; in [low, 1) where low is given."""
    state = torch.Generator().manual_seed(sum(shape))
    if low is None:
        return torch.randn(shape, generator=state)
    return torch.rand(shape, generator=state) * (1 - low) + low


def ids(*shape: int, below: int = 16) -> Tensor:
    """Random integers."""
    return torch.randint(1, below, shape, generator=torch.Generator().manual_seed(sum(shape)))


class Call(nn.Module):
    """A network's other method as its forward, of whose outputs `pick` keeps some."""

    def __init__(
        self, model: nn.Module, method: str, pick: Callable[[Any], Any] = lambda y: y
    ) -> None:
        super().__init__()
        self.model, self.method, self.pick = model, method, pick

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.pick(getattr(self.model, self.method)(*args, **kwargs))


def ready(made: Row, dtype: torch.dtype) -> Row:
    """The row with random weights and running statistics, in this dtype; other buffers stay: they
    are tables, windows and masks.
    """
    model, args, kwargs = made
    tables = {
        n: b.clone()
        for n, b in model.named_buffers()
        if b.is_floating_point() and "running" not in n
    }
    empty = {n for n, p in model.named_parameters() if not p.numel()}
    assert not empty, f"without an element: {sorted(empty)}"
    randomise(model, dtype=dtype)
    for name, buffer in model.named_buffers():
        if name in tables:
            buffer.data = tables[name].to(dtype)

    def cast(t: Any) -> Any:
        return t.to(dtype) if isinstance(t, Tensor) and t.is_floating_point() else t

    inputs: Any = (args, kwargs)
    cast_inputs: Any = optree.tree_map(cast, inputs)
    return model, cast_inputs[0], cast_inputs[1]
