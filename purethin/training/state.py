"""All that a run goes on from, as one pytree of copies: taken and put back, here or on disk.

Invariant: a state that is refused changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch

from purethin import storage
from purethin.costs import cost
from purethin.errors import CheckpointError
from purethin.recipes.recipe import Recipe
from purethin.spec import Spec
from purethin.training import checkpoint
from purethin.training.batches import order_of, set_order
from purethin.training.begun import Begun
from purethin.training.events import Record
from purethin.training.randomness import fork_generators, generators, set_generators
from purethin.training.rates import Rates
from purethin.training.tensors import Tensors
from purethin.training.zeros import remaining_cost

_KEYS = {
    *("params", "average", "optimizer", "masks", "elements", "thinned_masks", "spec", "recipe"),
    *("epoch", "step", "rates", "scaler", "processes", "history", "best"),
}


@dataclass
class Run:
    """A training's parts that have a state, and how far it has come.

    Attributes:
        epoch: the number of epochs trained.
        step: the number of optimizer steps.
        history: one `Record` an epoch.
        best: the record of the best metric since the masks last changed.
        begun: the epoch that is being trained.
        loader: what `fit` was given.
        order: of a resumed run's loader, until `fit` has one.
    """

    recipe: Recipe
    tensors: Tensors
    rates: Rates
    scaler: torch.amp.GradScaler
    epoch: int = 0
    step: int = 0
    history: list[Record] = field(default_factory=list)
    best: Record | None = None
    begun: Begun | None = None
    loader: Iterable[Any] | None = None
    order: Mapping[str, Any] | None = None

    def take_order(self, loader: Iterable[Any]) -> None:
        """Train on this loader from now on; after a resume, in the order of the run before."""
        another = self.loader is not None and self.loader is not loader
        if self.begun is not None and another:
            self.begun.order = None
        self.loader = loader
        if self.order is not None:
            set_order(loader, self.order)
            self.order = None

    @property
    def spec(self) -> Spec:
        """The dense network's."""
        return self.tensors.pruned.pruning.spec

    def end_epoch(self, loss: float, metric: float | None) -> Record:
        """Add the epoch that has begun to the history."""
        pruned, begun = self.tensors.pruned, self.begun
        assert begun is not None
        now, sparsity = remaining_cost(self.spec, pruned.masks, pruned.elements)
        held = cost(self.spec, pruned.thinned_masks)
        masked = {
            "masked_parameters": held.parameters - now.parameters,
            "masked_macs": held.macs - now.macs,
            "batch": now.batch,
        }
        sizes = (sparsity, now.parameters, now.macs)
        record = Record(self.epoch, loss, metric, *sizes, begun.seconds, begun.lr, **masked)
        self.history.append(record)
        self.epoch, self.begun = self.epoch + 1, None
        return record

    def improves(self, better: str) -> bool:
        """Whether the last epoch's metric is the best so far, by "max" or "min"; nan is not."""
        metric, best = self.history[-1].metric, None if self.best is None else self.best.metric
        if metric is None or math.isnan(metric):
            return False
        return best is None or (metric > best if better == "max" else metric < best)

    @property
    def state(self) -> dict[str, Any]:
        """Copies of everything, by name."""
        order = self.order or ({} if self.loader is None else order_of(self.loader))
        begun = None if self.begun is None else self.begun.state
        mine = {"generators": generators(), "order": order, "begun": begun}
        return {
            **self.tensors.state,
            "spec": self.spec.to_yaml(),
            "recipe": _outline(self.recipe),
            "epoch": self.epoch,
            "step": self.step,
            "rates": self.rates.state,
            "scaler": self.scaler.state_dict(),
            "processes": self.tensors.engine.gathered(mine),
            "history": [asdict(record) for record in self.history],
            "best": None if self.best is None else asdict(self.best),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave, here or in another run of the same network and recipe.

        Raises:
            CheckpointError: it is not a training's state, or of another network, recipe or
                optimizer.
        """
        try:
            history = [Record(**record) for record in state["history"]]
            best = None if state["best"] is None else Record(**state["best"])
            self._check(state)
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"this is not what `Trainer.state` gave, or not all of it ({error!r}): set it as "
                "it was taken"
            ) from error
        # A scheduler that is made sets rates: the optimizer's own options come after.
        self.rates.restore(state["rates"])
        self.tensors.restore(state)
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.history, self.best = history, best
        rank, processes = self.tensors.engine.rank, state["processes"]
        mine = processes[rank if rank < len(processes) else 0]
        self.order = dict(mine["order"]) or None
        self.begun, self.loader = Begun.restored(mine.get("begun")), None
        set_generators(mine["generators"])
        if rank >= len(processes):  # a process more than wrote it: its draws must not be another's
            fork_generators(rank)

    def _check(self, state: Mapping[str, Any]) -> None:
        if missing := [key for key in _KEYS if key not in state]:
            raise KeyError(missing[0])
        if (spec := Spec.from_yaml(state["spec"])) != self.spec:
            raise CheckpointError(
                f"this state is of another network: {_difference(spec, self.spec)}"
            )
        if state["recipe"] != _outline(self.recipe):
            raise CheckpointError(
                "this state is of another recipe: go on with the recipe that it began with; to "
                "change course, start a new run from trainer.model()"
            )
        self.tensors.check(state)

    def resume(self, folder: Path) -> bool:
        """Go on from the last state that was written to a folder; whether there was one.

        Raises:
            CheckpointError: it is damaged, or of another network, recipe or optimizer.
            PurethinError: the processes find other states.
        """
        found = checkpoint.read(folder, self.tensors.engine)
        self.tensors.engine.same(
            f"the states in {folder}",
            found and found["step"],
            "give each a folder that all of them share",
        )
        if found is not None:
            self.restore(found)
        return found is not None

    def save(self, folder: Path) -> Path:
        """Write the state; returns the path of its file."""
        return checkpoint.write(folder, self.state, self.tensors.engine)

    def save_network(self, path: Path) -> None:
        """Write the network, thinned, as `load` reads it."""
        params, config = self.tensors.thinned(average=True)
        if self.tensors.engine.rank == 0:
            checkpoint.tidy(path.parent)
            storage.save(path, params, config)


def _difference(saved: Spec, own: Spec) -> str:
    """The first way in which two specs differ, as words."""
    for name in [*saved.layout, *own.layout]:
        if name not in own.layout or name not in saved.layout:
            return f"{name} is in one of them only"
        if saved.shape(name) != own.shape(name):
            return f"{name} was {saved.shape(name)} and is {own.shape(name)}"
        if saved.layout[name] != own.layout[name]:
            was, now = (" ".join(map(str, s.layout[name])) for s in (saved, own))
            return f"{name} was '{was}' and is '{now}'"
    return (
        "their specs differ beside the layout: it was inferred by another version, or from other "
        "inputs"
    )


def _outline(value: Any) -> Any:
    """Frozen data as plain data, without the fields that do not count when compared: to tell
    whether a recipe is the same.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _outline(getattr(value, f.name)) for f in fields(value) if f.compare}
    if isinstance(value, Mapping):
        return {str(key): _outline(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_outline(entry) for entry in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
