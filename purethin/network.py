"""How a training runs its module: on one process here; an engine of the same form spreads it over several.

Invariant: a network's `params` are the very tensors that its forward reads and its optimizer steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn
from torch.func import functional_call

from purethin.modules import tensors_of
from purethin.tree import TensorTree

Forward = Callable[..., Any]


@dataclass(frozen=True)
class Network:
    """A module at work.

    Attributes:
        module: the module of the user's class.
        params: its parameters and buffers by name, a tied one once.
        forward: `(*args, **kwargs) -> outputs`, of `params`.
        local: a context in which gradients only add up on this process, for all but the last backward of a step.
    """

    module: nn.Module
    params: Mapping[str, Tensor]
    forward: Forward
    local: Callable[[], AbstractContextManager[Any]] = nullcontext


class Engine(Protocol):
    """Where the tensors of a training lie, and how processes agree."""

    rank: int

    def network(self, module: nn.Module, transform: Callable[[Forward], Forward] | None) -> Network:
        """A module, which is this engine's own from now on, at work; `transform` (`torch.compile`) wraps its forward."""
        ...

    def full(self, tree: TensorTree) -> TensorTree:
        """A tree with whole tensors, from one whose tensors lie as the network's do; every process calls it, and gets all."""
        ...

    def spread(self, whole: Mapping[str, Tensor], params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors by parameter name, laid out as these parameters are; one of another shape stays whole."""
        ...

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over the processes."""
        ...

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over the processes."""
        ...


class OneProcess:
    """The engine of a training in one process."""

    rank = 0

    def network(self, module: nn.Module, transform: Callable[[Forward], Forward] | None) -> Network:
        params = dict(tensors_of(module, duplicates=False))

        def forward(*args: Any, **kwargs: Any) -> Any:
            return functional_call(module, params, args, kwargs)

        return Network(module, params, transform(forward) if transform else forward)

    def full(self, tree: TensorTree) -> TensorTree:
        return tree

    def spread(self, whole: Mapping[str, Tensor], params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(whole)

    def total(self, tensor: Tensor) -> Tensor:
        return tensor

    def mean(self, tensor: Tensor) -> Tensor:
        return tensor
