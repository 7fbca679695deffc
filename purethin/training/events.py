"""What a trainer tells those who watch it: the record of an epoch, and the moments at which
callbacks are called.

Invariant: a callback set is a plain mapping from an event to a function of one `Moment`; it
watches, the trainer decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from torch import Tensor

from purethin.costs import for_batch
from purethin.errors import PurethinError, nearest

Event = Literal["fit", "step", "prune", "thin", "epoch", "best", "save", "end", "fail"]


@dataclass(frozen=True)
class Record:
    """One epoch.

    Attributes:
        epoch: counted from 0.
        loss: the mean over the epoch's batches.
        metric: what `validate` returned, or None.
        sparsity: fraction of the dense network's parameters that is masked or gone.
        parameters: elements that remain.
        macs: multiply-accumulates that remain, for the spec's example input.
        seconds: wall time of the epoch's training, validation aside.
        lr: the learning rate of the first parameter group; nan where the optimizer finds its own.
        masked_parameters: elements of removed units that are zero and still in the tensors:
            `parameters + masked_parameters` is what the network holds.
        masked_macs: alike, of the MACs.
        batch: how many examples the MACs are of; 0 where that is not evident.
    """

    epoch: int
    loss: float
    metric: float | None
    sparsity: float
    parameters: int
    macs: int
    seconds: float
    lr: float
    masked_parameters: int = 0
    masked_macs: int = 0
    batch: int = 1

    def __str__(self) -> str:
        metric = "" if self.metric is None else f"  metric {self.metric:.4f}"
        parameters, macs = f"{self.parameters:,}", f"{self.macs:,}"
        if self.masked_parameters or self.masked_macs:
            parameters = f"masked to {parameters} of {self.parameters + self.masked_parameters:,}"
            macs = f"{macs} of {self.macs + self.masked_macs:,}"
        macs += f" MACs{for_batch(self.batch)}"
        return (
            f"epoch {self.epoch:>3}  loss {self.loss:.4f}{metric}  lr {self.lr:.3g}  sparsity "
            f"{self.sparsity:6.1%}  {parameters} parameters  {macs}  {self.seconds:.1f} s"
        )


@dataclass(frozen=True)
class Moment:
    """Where a training stands as an event happens.

    A call of `fit` makes "fit"; per epoch "prune" (the masks changed), "thin" (the tensors shrank),
    a "step" after each optimizer step, "epoch", then "best" and "save" where they apply; and "end"
    at last, or "fail" where an error ends it.

    Attributes:
        event: which one.
        trainer: the `Trainer`, to be read: `spec` (dense), `masks`, `elements`, `thinned_masks`,
            `history`, `epoch`, `step`.
        epoch: the number of epochs trained: while one runs, its own, counted from 0.
        epochs: the epoch at which this `fit` ends, exclusive.
        step: the optimizer step within the epoch, counted from 0 ("step").
        steps: optimizer steps in the epoch, where the loader has a length.
        loss: the running mean of the epoch on this process, a scalar that is still on its device
            ("step").
        record: of the epoch that has ended ("epoch", "best").
        path: what was written ("save").
    """

    event: Event
    trainer: Any
    epoch: int
    epochs: int
    step: int = 0
    steps: int | None = None
    loss: Tensor | None = None
    record: Record | None = None
    path: str | None = None


Callbacks: TypeAlias = Mapping[str, Callable[[Moment], object]]
"""`{event: function of one Moment}`."""
lines: Callbacks = {"epoch": lambda moment: print(moment.record, flush=True)}
"""One plain line an epoch."""


def tell(callbacks: Iterable[Callbacks], moment: Moment) -> None:
    """Call those of an event, in order."""
    for each in callbacks:
        if moment.event in each:
            each[moment.event](moment)


def checked(callbacks: Iterable[Callbacks] | None) -> tuple[Callbacks, ...]:
    """The callbacks, each of them a function under an event's name.

    Raises:
        PurethinError: one is not, and would never be called.
    """
    found = () if isinstance(callbacks, Mapping) else tuple(callbacks or ())
    if isinstance(callbacks, Mapping) or not all(isinstance(each, Mapping) for each in found):
        raise PurethinError(
            'callbacks are a list of mappings from an event to a function: callbacks=[{"epoch": f}]'
        )
    for event, function in (item for each in found for item in each.items()):
        if event not in get_args(Event):
            raise PurethinError(
                f"no event is named {event!r}; {nearest(str(event), get_args(Event))}"
            )
        if not callable(function):
            raise PurethinError(
                f"the callback of {event!r} is {type(function).__name__}: give a function of one "
                "Moment"
            )
    return found
