"""One optimizer step: forward and loss in autocast, backward, zeros where units are masked,
clipping, the step, the average.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from purethin.training.batches import arguments
from purethin.training.live import Live
from purethin.training.network import Network
from purethin.training.zeros import silence


@dataclass(frozen=True)
class Update:
    """How a step is made.

    Attributes:
        loss_fn: `(outputs, batch) -> loss`.
        inputs_of: from a batch to the module's inputs.
        clip_norm: the most that the gradient's norm may be; None does not clip.
        autocast: the forward's dtype; None leaves it.
        scaler: of the loss; it is disabled unless `autocast` is float16.
    """

    loss_fn: Callable[[Any, Any], Tensor]
    inputs_of: Callable[[Any], Any]
    clip_norm: float | None
    autocast: torch.dtype | None
    scaler: torch.amp.GradScaler

    def loss(self, network: Network, batch: Any) -> Tensor:
        """The loss of one batch, differentiable."""
        args, kwargs = arguments(self.inputs_of(batch))
        if self.autocast is None:
            return self.loss_fn(network.forward(*args, **kwargs), batch)
        device = next(iter(network.params.values())).device.type
        with torch.autocast(device, self.autocast):
            return self.loss_fn(network.forward(*args, **kwargs), batch)

    def step(
        self, live: Live, batches: Sequence[Any], penalty: Callable[[], Tensor | None]
    ) -> Tensor:
        """One step on the mean loss of some batches plus the penalty; returns the sum of their
        losses without it.
        """
        network, optimizer = live.network, live.optimizer
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
                self.scaler.scale(loss).backward()
        self.scaler.unscale_(optimizer)
        silence({name: network.params[name].grad for name in live.gradients}, live.gradients)
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(
                [p for p in network.params.values() if p.requires_grad], self.clip_norm
            )
        self.scaler.step(optimizer)
        self.scaler.update()
        silence(network.params, live.values)
        assert total is not None
        return total


@torch.no_grad()
def move(average: Mapping[str, Tensor], params: Mapping[str, Tensor], decay: float) -> None:
    """Move an exponential moving average towards the parameters; what has no value between (a count
    of batches) is copied.
    """
    for name, tensor in average.items():
        if tensor.is_floating_point() or tensor.is_complex():
            tensor.lerp_(params[name].detach(), 1 - decay)
        else:
            tensor.copy_(params[name])
