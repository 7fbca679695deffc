"""Training on several processes, launched by `torchrun`: here each holds the whole network; in
`sharded.py`, a part of it.

Invariant: what decides (masks, learning rates, when to thin, when to stop) is the same in every
process; batches alone differ.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from purethin.arguments import explained
from purethin.errors import PurethinError
from purethin.modules import tensors_of
from purethin.training.network import Engine, Forward, Network, Value

_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@explained
def ddp(
    *, device: str | torch.device | None = None, timeout: float = 600.0, **options: Any
) -> Replicated:
    """An engine by `torch.nn.parallel.DistributedDataParallel`: every process has the whole
    network, and a part of each batch.

    Call it before anything is moved to a GPU: it joins the process group that `torchrun` describes,
    unless there is one already, and makes this process's GPU the current one. Gradients are meaned
    over the processes. Buffers (batch norm's running statistics) are those of process 0, before
    each forward and after each epoch; batch norm normalizes by its own process's batch, as
    everywhere in DDP (`nn.SyncBatchNorm` does otherwise). The network is wrapped anew after each
    thinning.

    Args:
        device: this process's; by default its GPU where there are any, else the CPU. Give the
            trainer a model that lies there.
        timeout: seconds after which a process that waits for another ends with an error.
        **options: of DistributedDataParallel: `find_unused_parameters=True` for a forward that
            leaves parameters out.

    Raises:
        PurethinError: the script was not started by `torchrun`.
    """
    return Replicated(device, timeout, options)


class Processes(Engine):
    """What engines of several processes have in common.

    Attributes:
        rank: this process's number.
        count: how many there are.
        device: this process's.
    """

    def __init__(self, device: str | torch.device | None, timeout: float) -> None:
        self.device = _join(device, timeout)
        self.rank, self.count = dist.get_rank(), dist.get_world_size()

    def total(self, tensor: Tensor) -> Tensor:
        summed = tensor.to(self.device, copy=True)
        dist.all_reduce(summed)
        return summed.to(tensor.device)

    def mean(self, value: float) -> float:
        return float(self.total(torch.tensor(value, dtype=torch.float64))) / self.count

    @torch.no_grad()
    def agree(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            here = tensor.detach().to(self.device).contiguous()
            dist.broadcast(here, 0)
            tensor.copy_(here)

    def gathered(self, value: Value) -> list[Value]:
        out: list[Any] = [None] * self.count
        dist.all_gather_object(out, value)
        return out

    def together(self, groups: Iterable[list[Any]]) -> Iterator[list[Any]]:
        iterator = iter(groups)
        while True:
            group = next(iterator, [])
            size, square = self.total(torch.tensor([len(group), len(group) ** 2])).tolist()
            if size * size != square * self.count:
                raise PurethinError(
                    f"the loaders give unlike numbers of batches: process {self.rank} has "
                    f"{len(group) or 'none'} left where others have more or less; give each as "
                    "many, as DistributedSampler does"
                )
            if not group:
                return
            yield group

    def same(self, what: str, value: object, remedy: str) -> None:
        values = self.gathered(value)
        for rank, other in enumerate(values):
            if other != values[0]:
                raise PurethinError(
                    f"{what} differ: {values[0]} in process 0, {other} in process {rank}; {remedy}"
                )


class Replicated(Processes):
    """The engine that `ddp` makes."""

    def __init__(
        self, device: str | torch.device | None, timeout: float, options: dict[str, Any]
    ) -> None:
        super().__init__(device, timeout)
        self._options = options

    def network(self, module: nn.Module, transform: Callable[[Forward], Forward] | None) -> Network:
        params = dict(tensors_of(module, duplicates=False))
        devices = {tensor.device for tensor in params.values()}
        if len(devices) == 1 and devices != {self.device}:
            raise PurethinError(
                f"the model lies on {devices.pop()}, and process {self.rank} is to work on "
                f"{self.device}: make the engine first, and give the trainer "
                "`model.to(engine.device)`; or `ddp(device=…)`"
            )
        wrapped = DistributedDataParallel(module, **self._options)
        return Network(
            module, params, transform(wrapped) if transform else wrapped, wrapped.no_sync
        )


def _join(device: str | torch.device | None, timeout: float) -> torch.device:
    """This process's device; it is of the process group then."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    here = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if here.type == "cuda":
        here = here if here.index is not None else torch.device("cuda", local)
        torch.cuda.set_device(here)
    if dist.is_initialized():
        return here
    if missing := [name for name in _NEEDED if name not in os.environ]:
        raise PurethinError(
            f"this process was not started by torchrun ({missing[0]} is not set): run "
            f"`torchrun --nproc-per-node=2 {sys.argv[0] or 'train.py'}`, or give the trainer no "
            "engine to train in one process"
        )
    backend = "cpu:gloo,cuda:nccl" if here.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    atexit.register(_leave)
    return here


def _leave() -> None:
    # after an error the others may wait for us: torchrun ends them
    failed = getattr(sys, "last_type", None) is not None
    if dist.is_initialized() and not failed:
        gc.collect()  # networks that are done with hold on to the group, whose threads end with it
        dist.destroy_process_group()
        # a thread that still drops what the last exchange held needs the interpreter, or it aborts
        time.sleep(0.1)
