"""An epoch that has begun: how far it is, so that one that was interrupted goes on with its rest.

Invariant: a batch that was trained is not trained again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from purethin.training.batches import order_of, set_order
from purethin.training.randomness import generators, set_generators
from purethin.tree import copied


@dataclass
class Begun:
    """An epoch from when its masks are set until its record is written.

    Attributes:
        order: the loader's, as the epoch began.
        generators: as the epoch began.
        count: the batches that are trained.
        total: the sum of their losses.
        seconds: that they took.
        over: whether all batches are trained.
        lr: the learning rate with which they were.
        fresh: whether nothing was interrupted.
    """

    order: Mapping[str, Any] | None
    generators: dict[str, Any]
    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    seconds: float = 0.0
    over: bool = False
    lr: float = 0.0
    fresh: bool = True

    @staticmethod
    def now(loader: Iterable[Any]) -> Begun:
        """An epoch that begins."""
        return Begun(order_of(loader), generators())

    def rest(self, loader: Iterable[Any]) -> Iterator[Any]:
        """The batches that are not trained yet: of an epoch that was interrupted, in the order that
        it had.
        """
        if self.fresh:
            self.fresh = False
            return iter(loader)
        now = generators()
        set_generators(self.generators)  # a loader may shuffle by torch's own
        if self.order is not None:
            set_order(loader, self.order)
        batches = iter(loader)
        if batches is not loader:  # an iterator goes on by itself
            next(islice(batches, self.count, self.count), None)
        set_generators(now)
        return batches

    def add(self, losses: Tensor, batches: int) -> None:
        """So many batches are trained, with this sum of losses."""
        self.total = self.total.to(losses.device, losses.dtype) + losses
        self.count += batches

    @property
    def loss(self) -> Tensor:
        """The mean of the batches so far, a scalar on its device."""
        return self.total / self.count

    @property
    def state(self) -> dict[str, Any]:
        """Copies, as plain data."""
        held = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "fresh"}
        return copied(held)

    @staticmethod
    def restored(state: Mapping[str, Any] | None) -> Begun | None:
        """What `state` gave; None where no epoch had begun."""
        return None if state is None else Begun(**copied(state), fresh=False)
