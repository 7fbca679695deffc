"""What acts when: the policies of a recipe, asked by epoch. It knows no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from purethin.recipes.policies import Policy, Thinner
from purethin.recipes.pruners import Pruner
from purethin.recipes.regularizers import Regularizer

T = TypeVar("T")


@dataclass(frozen=True)
class Timetable:
    """The policies of a recipe, as listed."""

    policies: tuple[Policy[Any], ...]

    @property
    def last_epoch(self) -> int:
        """The last epoch at which anything acts; -1 where nothing does."""
        return max((p.over if p.keep_mask else p.epochs[-1] for p in self.policies), default=-1)

    def of(self, kind: type[T]) -> list[Policy[T]]:
        """The policies of one kind: `Pruner`, `Regularizer`, `Thinner` or `Scheduler`."""
        return [p for p in self.policies if isinstance(p.instance, kind)]

    def at(self, epoch: int, kind: type[T]) -> list[Policy[T]]:
        """Those of them that act at an epoch."""
        return [p for p in self.of(kind) if p.acts_at(epoch)]

    def pruning_at(self, epoch: int, step: int = 0) -> list[Policy[Pruner]]:
        """The policies of pruners that act as an epoch begins, or before a later batch of it."""
        return [
            p for p in self.at(epoch, Pruner) if not step or (p.batches and not step % p.batches)
        ]

    def thins_at(self, epoch: int) -> bool:
        """Whether a thinning extension fires as this epoch begins, after its pruners."""
        return bool(self.at(epoch, Thinner))

    def acts_at(self, epoch: int) -> bool:
        """Whether masks may change as this epoch begins: `masks_at(epoch, …)` is to be called."""
        return bool(self.pruning_at(epoch) or self.removes_at(epoch))

    def acts_within(self, epoch: int, step: int) -> bool:
        """Whether pruners act before this batch (counted from 0) of an epoch too: `masks_at(…,
        step=step)` is to be called.
        """
        return step > 0 and bool(self.pruning_at(epoch, step))

    def removes_at(self, epoch: int) -> list[Regularizer]:
        """The regularizers whose fallen groups are removed as this epoch begins.

        That is where a thinner fires while their policy lasts, or right after it; and with
        keep_mask right after it in any case.
        """
        due = [
            p.instance
            for p in self.of(Regularizer)
            if (p.keep_mask and epoch == p.over)
            or (p.begin < epoch <= p.over and self.thins_at(epoch))
        ]
        return [regularizer for regularizer in dict.fromkeys(due) if regularizer.threshold]
