"""What a person sees while a network trains: a live line in a terminal, plain lines elsewhere, and
a table at the end.

Invariant: it only watches, and nothing that it does to a terminal outlives the training, however
that ends.
"""

from __future__ import annotations

import atexit
import sys
import time
from datetime import timedelta
from typing import Any, TextIO

from purethin.arguments import explained
from purethin.costs import cost, for_batch
from purethin.spec import Masks, Spec
from purethin.table import Table
from purethin.training.events import Callbacks, Moment, Record
from purethin.training.zeros import remaining_cost
from purethin.waiting import started

_ROWS = 12  # axes in the closing table
_BETWEEN = 0.2  # seconds from one drawing of the line to the next


@explained
def progress(*, file: TextIO | None = None) -> Callbacks:
    """A progress line, one plain line for each epoch, and the closing table, as callbacks for
    `Trainer(callbacks=[progress()])`.

    The line is drawn where `file` is a terminal that can move its cursor (`TERM=dumb` cannot) and
    rich is installed (`pip install 'purethin[cli]'`); `NO_COLOR` takes its colours. Elsewhere the
    plain lines tell the time that remains.

    Args:
        file: where to write; None is `sys.stdout` as it is when `fit` begins.
    """
    view = _View(file)
    return {
        "fit": view.fit,
        "step": view.step,
        "prune": view.weigh,
        "thin": view.weigh,
        "epoch": view.epoch,
        "end": view.end,
        "fail": view.stop,
    }


def closing_table(spec: Spec, masks: Masks, thinned_masks: Masks) -> str:
    """Dense against thinned: parameters, MACs and bytes, and the units kept of each pruned axis.

    Args:
        spec: the dense spec.
        masks: all masks of axes.
        thinned_masks: those of them that are thinned already.
    """
    dense, now = cost(spec), cost(spec, thinned_masks)
    pruned = {n: int(m.sum()) for n, m in masks.items() if not bool(m.all())}
    both = (
        ("parameters", dense.parameters, now.parameters),
        (f"MACs{for_batch(dense.batch)}", dense.macs, now.macs),
        ("bytes", dense.bytes, now.bytes),
    )
    rows = [(name, f"{a:,}", f"{b:,}", f"{b / a:.3f}" if a else "") for name, a, b in both]
    lines = [str(Table(("", "dense", "thinned", "ratio"), rows, numbers=(1, 2, 3)))]
    done = {n: int(m.sum()) for n, m in thinned_masks.items()}
    if waiting := [n for n, kept in pruned.items() if done.get(n) != kept]:
        later = cost(spec, masks)
        lines.append(
            f"masked, not thinned yet: {len(waiting)} axes; then {later.parameters:,} parameters, "
            f"{later.macs:,} MACs"
        )
    if pruned:
        first = list(pruned.items())[:_ROWS]
        units = [(n, f"{spec.axes[n].size:,}", f"{kept:,}") for n, kept in first]
        lines += ["", str(Table(("pruned axis", "size", "kept"), units, numbers=(1, 2)))]
    if len(pruned) > _ROWS:
        lines.append(f"... and {len(pruned) - _ROWS} more")
    return "\n".join(lines)


class _View:
    """What the callbacks share: the file, and rich's progress line where there is one."""

    def __init__(self, file: TextIO | None) -> None:
        self._given = file
        self._bar: Any = None

    def fit(self, moment: Moment) -> None:
        self.stop()
        self._file = self._given or sys.stdout
        self._began, self._drawn = time.perf_counter(), 0.0
        self._first, self._metric = moment.epoch, None
        self.weigh(moment)
        self._bar = started(self._file)
        if self._bar is not None:
            self._task = self._bar.add_task("", total=moment.epochs - moment.epoch, head="")
            atexit.register(self.stop)  # an error that nobody caught

    def weigh(self, moment: Moment) -> None:
        """The network costs less than before."""
        trainer = moment.trainer
        now, sparsity = remaining_cost(trainer.spec, trainer.masks, trainer.elements)
        self._sizes = (
            f"sparsity {sparsity:.1%}",
            f"{now.parameters:,} parameters",
            f"{now.macs:,} MACs",
        )

    def step(self, moment: Moment) -> None:
        if self._bar is None or (now := time.perf_counter()) - self._drawn < _BETWEEN:
            return
        self._drawn = now
        done, steps = moment.step + 1, moment.steps
        items = [
            f"batch {done}/{steps}" if steps else f"batch {done}",
            *([] if moment.loss is None else [f"loss {float(moment.loss):.4f}"]),
            *([] if self._metric is None else [f"metric {self._metric:.4f}"]),
            *self._sizes,
        ]
        self._bar.update(
            self._task,
            completed=moment.epoch - self._first + (min(done / steps, 1.0) if steps else 0.0),
            head=f"epoch {moment.epoch}/{moment.epochs}",
            description="  ".join(items),
            refresh=True,
        )

    def epoch(self, moment: Moment) -> None:
        assert moment.record is not None
        self._metric = moment.record.metric
        done, epochs = moment.epoch - self._first, moment.epochs - self._first
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
            self._say(str(moment.record))
        elif done == epochs:
            self._say(str(moment.record))
        else:
            seconds = (time.perf_counter() - self._began) / done * (epochs - done)
            self._say(f"{moment.record}  {_clock(seconds)} left")

    def end(self, moment: Moment) -> None:
        self.stop()
        trainer = moment.trainer
        self._say(f"\n{closing_table(trainer.spec, trainer.masks, trainer.thinned_masks)}\n")
        if trainer.history:
            self._say(_result("last", trainer.history[-1]))
        if trainer.best is not None:
            self._say(_result("best", trainer.best))
        seconds = time.perf_counter() - self._began
        self._say(f"{moment.epochs - self._first} epochs in {_clock(seconds)}")

    def stop(self, moment: Moment | None = None) -> None:
        """The terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            atexit.unregister(self.stop)

    def _say(self, text: str) -> None:
        if self._bar is None:
            print(text, file=self._file, flush=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False)  # above the line


def _clock(seconds: float) -> timedelta:
    return timedelta(seconds=round(seconds))


def _result(which: str, record: Record) -> str:
    metric = "" if record.metric is None else f"  metric {record.metric:.4f}"
    return f"{which}  loss {record.loss:.4f}{metric}  epoch {record.epoch}"
