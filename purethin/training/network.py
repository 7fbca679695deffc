"""How a training runs its module: on one process here; an engine of the same form spreads it over
several.

Invariant: a network's `params` are the very tensors that its forward reads and its optimizer steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from purethin.modules import tensors_of

Forward = Callable[..., Any]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Network:
    """A module at work.

    Attributes:
        module: the module itself.
        params: its parameters and buffers by name, a tied one once.
        forward: `(*args, **kwargs) -> outputs`, of `params`.
        local: a context in which gradients only add up on this process, for all but the last
            backward of a step.
    """

    module: nn.Module
    params: Mapping[str, Tensor]
    forward: Forward
    local: Callable[[], AbstractContextManager[Any]] = nullcontext


class Engine:
    """Where the tensors of a training lie, and how its processes agree: this one is one process.
    Every process calls every method, in the same order.
    """

    rank = 0

    def network(self, module: nn.Module, transform: Callable[[Forward], Forward] | None) -> Network:
        """A module, which is this engine's own from now on, at work; `transform` (`torch.compile`)
        wraps its forward.
        """
        params = dict(tensors_of(module, duplicates=False))
        held = [
            (name, owner._buffers, key)
            for path, owner in module.named_modules()
            for key in owner._buffers
            if (name := f"{path}.{key}".removeprefix(".")) in params
        ]
        run = transform(module) if transform else module

        def forward(*args: Any, **kwargs: Any) -> Any:
            outputs = run(*args, **kwargs)
            for name, buffers, key in held:  # a forward may put another tensor in a buffer's place
                if (now := buffers[key]) is not params[name] and now is not None:
                    params[name] = now
            return outputs

        return Network(module, params, forward)

    def shown(self, module: nn.Module) -> nn.Module:
        """A module of whole tensors, where those who validate it expect it."""
        return module

    def full(self, tensor: Tensor) -> Tensor:
        """The whole of a tensor that lies as the network's do."""
        return tensor

    def split(self, whole: Tensor) -> Tensor:
        """A whole tensor, laid out as this engine lays out parameters."""
        return whole

    def spread(self, whole: Tensor, like: Tensor) -> Tensor:
        """A whole tensor, laid out as a parameter of its shape is; one of another shape lies there
        too, and a single number stays where it is.
        """
        return whole.to(like.device) if whole.numel() > 1 else whole

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over the processes."""
        return tensor

    def mean(self, value: float) -> float:
        """The mean over the processes."""
        return value

    def agree(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors, in place, the values that they have in process 0."""

    def together(self, groups: Iterable[list[Any]]) -> Iterable[list[Any]]:
        """Groups of batches, of a loader that has no length, as they come.

        Raises:
            PurethinError: a process has fewer than another; raised in each of them.
        """
        return groups

    def gathered(self, value: Value) -> list[Value]:
        """The value of each process, by rank; all have come here when it returns."""
        return [value]

    def same(self, what: str, value: object, remedy: str) -> None:
        """That a value is the same in every process: `what` names it, in the plural; `remedy` says
        what to do.

        Raises:
            PurethinError: it is not; raised in each of them.
        """
