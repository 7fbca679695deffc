"""A recipe's learning-rate schedulers over an optimizer: each is made as its policy begins and
steps as its epochs end.

Made before, it would set its first rate too early.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from purethin.recipes.recipe import Recipe
from purethin.recipes.schedulers import Scheduler, build_schedulers


class Rates:
    """The schedulers that have begun, by instance name."""

    def __init__(self, recipe: Recipe, optimizer: Optimizer) -> None:
        self._recipe, self._optimizer = recipe, optimizer
        self._begun: dict[str, Any] = {}

    def begin(self, epoch: int) -> None:
        """Make those whose policy acts at this epoch for the first time."""
        for policy in self._recipe.at(epoch, Scheduler):
            self._make(policy.instance.name)

    def end(self, epoch: int) -> None:
        """Step those whose policy acts at this epoch."""
        for policy in self._recipe.at(epoch, Scheduler):
            self._make(policy.instance.name).step()

    @property
    def first(self) -> float:
        """That of the first parameter group; nan where the optimizer finds its own."""
        rate = self._optimizer.param_groups[0].get("lr")
        return math.nan if rate is None else float(rate)

    @property
    def state(self) -> dict[str, Any]:
        """`{instance name: the scheduler's state_dict}`."""
        return {name: dict(scheduler.state_dict()) for name, scheduler in self._begun.items()}

    def restore(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Make what had begun, with its state. A scheduler that is made sets rates: restore the
        optimizer's options after.
        """
        self._begun = {}
        for name, values in state.items():
            scheduler = self._make(name)
            own = scheduler.state_dict()  # a file has dicts alone
            scheduler.load_state_dict(
                {k: Counter(v) if isinstance(own.get(k), Counter) else v for k, v in values.items()}
            )

    def _make(self, name: str) -> Any:
        if name not in self._begun:
            alone = [self._recipe.schedulers[name]]
            self._begun.update(build_schedulers(alone, self._optimizer))
        return self._begun[name]
