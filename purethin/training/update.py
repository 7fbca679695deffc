"""One optimizer step: forward and loss in autocast, backward, zeros where units are masked,
clipping, the step, the average.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from purethin.errors import OptionError
from purethin.training.batches import arguments, first_of
from purethin.training.network import Network
from purethin.training.tensors import Tensors
from purethin.training.zeros import multiply


@dataclass(frozen=True)
class Update:
    """How one optimizer step is made.

    Attributes:
        loss_fn: `(outputs, batch) -> loss`, a scalar: the mean over the batch.
        inputs_of: from a batch to the module's inputs: a tensor, a tuple of arguments, or a dict of
            keyword arguments. By default the first entry of a tuple or list, else the batch.
        accumulate: batches to one step; their mean loss counts.
        clip_norm: the largest norm that the gradient of all parameters may have.
        autocast: the dtype of the forward's matrix products: `torch.bfloat16`, or `torch.float16`,
            with which the loss is scaled and steps with gradients that are not finite are skipped.

    Raises:
        OptionError: a value is not allowed.

    >>> Update(lambda outputs, batch: outputs.mean(), accumulate=4).accumulate
    4
    """

    loss_fn: Callable[[Any, Any], Tensor]
    inputs_of: Callable[[Any], Any] = first_of
    accumulate: int = 1
    clip_norm: float | None = None
    autocast: torch.dtype | None = None

    def __post_init__(self) -> None:
        if not callable(self.loss_fn) or not callable(self.inputs_of):
            raise OptionError(
                "loss_fn and inputs_of are functions: (outputs, batch) -> loss, and batch -> inputs"
            )
        if not isinstance(self.accumulate, int) or self.accumulate < 1:
            raise OptionError(f"accumulate is {self.accumulate}; give a whole number of batches")
        if self.autocast is not None and not isinstance(self.autocast, torch.dtype):
            raise OptionError(f"autocast is {self.autocast}; give torch.bfloat16, float16 or None")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise OptionError(f"clip_norm is {self.clip_norm}; give a number above 0, or None")

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """What scales the loss; it does nothing unless `autocast` is float16."""
        return torch.amp.GradScaler(device.type, enabled=self.autocast == torch.float16)

    def loss(self, network: Network, batch: Any) -> Tensor:
        """The loss of one batch, differentiable.

        Raises:
            OptionError: the forward or the loss does not take what it is given.
        """
        try:
            return self._loss(network, batch)
        except TypeError as error:
            if (wrong := self._wrong(network, batch)) is not None:
                raise OptionError(wrong) from error
            raise

    def _wrong(self, network: Network, batch: Any) -> str | None:
        """What of a batch the forward or the loss does not take, as words."""
        _, kwargs = arguments(self.inputs_of(batch))
        takes = signature(network.module.forward).parameters
        several = any(p.kind is p.VAR_KEYWORD for p in takes.values())
        if not several and (odd := [name for name in kwargs if name not in takes]):
            keep = ", ".join(f"{n!r}: batch[{n!r}]" for n in kwargs if n in takes)
            given = f"{{{keep}}}), without {odd[0]}" if keep else f"batch[{odd[0]!r}])"
            return (
                f"the forward takes {', '.join(takes)}, and a batch has {', '.join(kwargs)}: give "
                f"pt.Update(loss_fn, inputs_of=lambda batch: {given}"
            )
        if isinstance(self.loss_fn, nn.Module):
            return (
                f"loss_fn is {type(self.loss_fn).__name__}, which takes the target, and is given "
                "the whole batch: write loss_fn=lambda outputs, batch: loss(outputs, batch[1])"
            )
        return None

    def _loss(self, network: Network, batch: Any) -> Tensor:
        args, kwargs = arguments(self.inputs_of(batch))
        if self.autocast is None:
            return self.loss_fn(network.forward(*args, **kwargs), batch)
        device = next(iter(network.params.values())).device.type
        with torch.autocast(device, self.autocast):
            return self.loss_fn(network.forward(*args, **kwargs), batch)

    def step(
        self,
        tensors: Tensors,
        batches: Sequence[Any],
        penalty: Callable[[], Tensor | None],
        scaler: torch.amp.GradScaler,
    ) -> Tensor:
        """One step on the mean loss of some batches plus the penalty; returns the sum of their
        losses without it.
        """
        network, optimizer = tensors.network, tensors.optimizer
        optimizer.zero_grad()
        total: Tensor | None = None
        for i, batch in enumerate(batches):
            last = i == len(batches) - 1
            with nullcontext() if last else network.local():
                loss = self.loss(network, batch)
                seen = loss.detach().to(torch.promote_types(loss.dtype, torch.float32))
                total = seen if total is None else total + seen
                loss = loss / len(batches) if len(batches) > 1 else loss
                if last and (more := penalty()) is not None:
                    loss = loss + more
                scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        if keep := tensors.keep_gradients:
            multiply({name: network.params[name].grad for name in keep}, keep)
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(
                [p for p in network.params.values() if p.requires_grad], self.clip_norm
            )
        scaler.step(optimizer)
        scaler.update()
        if tensors.keep_values:
            multiply(network.params, tensors.keep_values)
        if tensors.average is not None:
            tensors.move_average()
        assert total is not None
        return total
