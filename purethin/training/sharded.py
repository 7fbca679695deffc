"""Networks beyond one device: each process holds a part of every parameter, gradient, moment and
average (FSDP2).

Invariant: on a device there are never more whole tensors at once than one block's, or the one that
is being thinned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from purethin.arguments import explained
from purethin.errors import PurethinError, SpecError
from purethin.modules import tensors_of
from purethin.training.distributed import Processes
from purethin.training.network import Forward, Network

Wrapped: TypeAlias = tuple[type[nn.Module], ...] | Callable[[str, nn.Module], bool]
"""Classes of modules, or a question to a module's path and the module."""


@explained
def fully_sharded(
    *,
    wrap: Wrapped = (),
    device: str | torch.device | None = None,
    replicas: int = 1,
    shown_on: str | torch.device | None = None,
    timeout: float = 600.0,
    **options: Any,
) -> Sharded:
    """An engine by `torch.distributed.fsdp.fully_shard`: parameters, gradients, optimizer state and
    average are spread.

    Call it before anything is moved to a GPU, and give the trainer a model on the CPU: only parts
    of it are moved. A wrapped module's parameters are gathered for its forward and its backward,
    and freed after; what is in none is gathered for the whole step. So name the blocks of a large
    network. Such a block is called as a module (`block(x)`) and shares no parameter with what is
    outside.

    Pruners' weights, and at a thinning all tensors, are gathered one at a time and put on the CPU,
    where the thinned parameters lie whole, in each process, until they are sharded again block by
    block; moments and average never do. `validate`, `model()` and pruners that measure on batches
    take the whole network. Buffers are whole everywhere, and those of process 0 after each epoch.

    Args:
        wrap: the modules that are sharded by themselves: classes, or a function of `(path,
            module)`; the root always is.
        device: this process's; by default its GPU where there are any, else the CPU.
        replicas: how many groups of processes hold all parts: 2 spreads over half of them, and
            means gradients over both halves.
        shown_on: where `model()` and `validate` get the whole network: `"cpu"` where that is beyond
            one; by default `device`.
        timeout: seconds after which a process that waits for another ends with an error.
        **options: of `fully_shard`: `reshard_after_forward`, `mp_policy`, `offload_policy`.

    Raises:
        PurethinError: the script was not started by `torchrun`, or the replicas do not divide its
            processes.
    """
    return Sharded(wrap, device, replicas, shown_on, timeout, options)


class Sharded(Processes):
    """The engine that `fully_sharded` makes."""

    def __init__(
        self,
        wrap: Wrapped,
        device: str | torch.device | None,
        replicas: int,
        shown_on: str | torch.device | None,
        timeout: float,
        options: dict[str, Any],
    ) -> None:
        super().__init__(device, timeout)
        self._wrap, self._options = wrap, options
        self._shown_on = self.device if shown_on is None else torch.device(shown_on)
        if replicas < 1 or self.count % replicas:
            raise PurethinError(
                f"{self.count} processes cannot make {replicas} replicas: give `replicas` a divisor"
            )
        shape = (replicas, self.count // replicas) if replicas > 1 else (self.count,)
        names = ("replica", "part")[-len(shape) :]
        self._mesh = init_device_mesh(self.device.type, shape, mesh_dim_names=names)
        self._alike = False  # whether the processes' parameters are known to be the same

    def network(self, module: nn.Module, transform: Callable[[Forward], Forward] | None) -> Network:
        blocks = {p: part for p, part in module.named_modules() if p and self._wraps(p, part)}
        _refuse_ties(module, blocks)
        if not self._alike:  # what is spread later was gathered from the processes
            self.agree(tensor for _, tensor in tensors_of(module, duplicates=False))
            self._alike = True
        for part in reversed(blocks.values()):  # those within others first
            fully_shard(part, mesh=self._mesh, **self._options)
        root = fully_shard(module, mesh=self._mesh, **self._options)

        @contextmanager
        def local() -> Iterator[None]:
            root.set_requires_gradient_sync(False)
            try:
                yield
            finally:
                root.set_requires_gradient_sync(True)

        return Network(
            module,
            dict(tensors_of(module, duplicates=False)),
            transform(module) if transform else module,
            local,
        )

    def shown(self, module: nn.Module) -> nn.Module:
        return module.to(self._shown_on)

    def full(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, DTensor):
            return tensor
        whole = tensor.full_tensor()
        return whole if whole.requires_grad else whole.cpu()

    def spread(self, whole: Tensor, like: Tensor) -> Tensor:
        if whole.shape != like.shape:
            return whole
        if not isinstance(like, DTensor):
            return whole.to(like.device)
        if isinstance(whole, DTensor):
            return whole.redistribute(like.device_mesh, like.placements)
        return distribute_tensor(whole.to(self.device), like.device_mesh, like.placements)

    def split(self, whole: Tensor) -> Tensor:
        placements = [Replicate()] * (self._mesh.ndim - 1) + [Shard(0)]
        return distribute_tensor(whole.to(self.device), self._mesh, placements)

    def _wraps(self, path: str, part: nn.Module) -> bool:
        if isinstance(self._wrap, tuple):
            return isinstance(part, self._wrap)
        return self._wrap(path, part)


def _refuse_ties(module: nn.Module, blocks: Iterable[str]) -> None:
    """That no parameter is in a block and outside it too.

    Raises:
        SpecError: one is: each place would get its own.
    """
    where: dict[int, tuple[str, str]] = {}
    for name, tensor in module.named_parameters(remove_duplicate=False):
        block = max((b for b in blocks if name.startswith(f"{b}.")), key=len, default="")
        first, other = where.setdefault(id(tensor), (name, block))
        if other != block:
            raise SpecError(
                f"{first} and {name} are one parameter, in two blocks of fully_sharded ('{other}' "
                f"and '{block}'): leave such modules out of `wrap`, or name one that holds both"
            )
