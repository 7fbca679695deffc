"""What a person sees while a network trains: a live line in a terminal, plain lines elsewhere, and
a table at the end.

Invariant: it only watches, and nothing that it does to a terminal outlives the training, however
that ends.
"""

from __future__ import annotations

import atexit
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any, TextIO

from purethin.costs import cost
from purethin.spec import Masks, Spec
from purethin.table import Table
from purethin.training.events import Callbacks, Moment, Record
from purethin.training.zeros import left

_ROWS = 12  # axes in the closing table
_BAR = 12  # characters
_BETWEEN = 0.2  # seconds from one drawing of the line to the next


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


def remaining(
    past: Sequence[tuple[int, float]],
    macs: int,
    left: int,
    elapsed: float = 0.0,
    fraction: float | None = 0.0,
) -> float | None:
    """Seconds until a training ends: epochs last as those at the same cost did, else in proportion
    to their MACs.

    Args:
        past: `(MACs of the tensors, seconds)` of each epoch that has ended.
        macs: of the tensors as they are now: masked units cost their time until they are thinned.
        left: epochs that have not ended, the current one among them.
        elapsed: seconds of the current epoch.
        fraction: how much of it is done; None where nobody knows.

    Returns:
        None where nothing is known yet.

    >>> remaining([(100, 8.0), (50, 6.0)], macs=50, left=2)
    12.0
    >>> remaining([(100, 8.0)], macs=50, left=2)
    8.0
    """
    same = [seconds for cost_then, seconds in past if cost_then == macs][-3:]
    if same:
        pace = sum(same) / len(same)
    elif past:
        pace = past[-1][1] * macs / max(past[-1][0], 1)
    elif fraction:
        pace = elapsed / fraction
    else:
        return None
    if fraction is None:
        return max(pace - elapsed, 0.0) + pace * (left - 1)
    pace = elapsed + pace * (
        1 - fraction
    )  # what this epoch has taken so far corrects the others' pace
    return pace * (left - fraction)


def closing_table(spec: Spec, masks: Masks, thinned_masks: Masks) -> str:
    """Dense against thinned: parameters, MACs and bytes, and what is left of each pruned axis.

    Args:
        spec: the dense spec.
        masks: all masks of axes.
        thinned_masks: those of them that are thinned already.
    """
    dense, now = cost(spec), cost(spec, thinned_masks)
    pruned = {n: int(m.sum()) for n, m in masks.items() if not bool(m.all())}
    both = {
        "parameters": (dense.parameters, now.parameters),
        "MACs": (dense.macs, now.macs),
        "bytes": (dense.bytes, now.bytes),
    }
    rows = [
        (name, f"{a:,}", f"{b:,}", f"{b / a:.3f}" if a else "") for name, (a, b) in both.items()
    ]
    lines = [str(Table(("", "dense", "thinned", "ratio"), rows, numbers=(1, 2, 3)))]
    waiting = [
        n for n in pruned if n not in thinned_masks or int(thinned_masks[n].sum()) != pruned[n]
    ]
    if waiting:
        later = cost(spec, masks)
        lines.append(
            f"masked, not thinned yet: {len(waiting)} axes; then {later.parameters:,} parameters, "
            f"{later.macs:,} MACs"
        )
    if pruned:
        units = [
            (n, f"{spec.axes[n].size:,}", f"{kept:,}") for n, kept in list(pruned.items())[:_ROWS]
        ]
        lines += ["", str(Table(("pruned axis", "size", "kept"), units, numbers=(1, 2)))]
    if len(pruned) > _ROWS:
        lines.append(f"... and {len(pruned) - _ROWS} more")
    return "\n".join(lines)


class _View:
    """What the callbacks share: the file, the live line where there is one, and the clock."""

    def __init__(self, file: TextIO | None) -> None:
        self._given = file
        self._live: Any = None

    def fit(self, moment: Moment) -> None:
        self.stop()
        self._file = self._given or sys.stdout
        self._past: list[tuple[int, float]] = []
        self._began = self._epoch_began = time.perf_counter()
        self._drawn, self._metric, self._first = 0.0, None, moment.epoch
        self.weigh(moment)
        self._live = _live(self._file)
        if self._live is not None:
            atexit.register(self.stop)  # an error that nobody caught

    def weigh(self, moment: Moment) -> None:
        """The network costs less than before."""
        trainer = moment.trainer
        now, sparsity = left(trainer.spec, trainer.masks, trainer.elements)
        self._macs = cost(trainer.spec, trainer.thinned_masks).macs
        self._left = (
            f"sparsity {sparsity:.1%}",
            f"{now.parameters:,} parameters",
            f"{now.macs:,} MACs",
        )

    def step(self, moment: Moment) -> None:
        if self._live is None or (now := time.perf_counter()) - self._drawn < _BETWEEN:
            return
        self._drawn = now
        done, steps = moment.step + 1, moment.steps
        fraction = min(done / steps, 1.0) if steps else None
        seconds = remaining(
            self._past, self._macs, moment.epochs - moment.epoch, now - self._epoch_began, fraction
        )
        items = [
            f"epoch {moment.epoch}/{moment.epochs}",
            f"batch {done}" if fraction is None else f"{self._bar(fraction)} {done}/{steps}",
            *([] if moment.loss is None else [f"loss {float(moment.loss):.4f}"]),
            *([] if self._metric is None else [f"metric {self._metric:.4f}"]),
            *self._left,
            *([] if seconds is None else [f"{clock(seconds)} left"]),
        ]
        self._draw(items)

    def epoch(self, moment: Moment) -> None:
        now, record = time.perf_counter(), moment.record
        assert record is not None
        self._past.append((self._macs, now - self._epoch_began))
        self._epoch_began, self._metric = now, record.metric
        left = moment.epochs - record.epoch - 1
        seconds = remaining(self._past, self._macs, left)
        if self._live is not None or not left or seconds is None:
            self._say(str(record))  # where there is a live line, that tells the time
        else:
            self._say(f"{record}  {clock(seconds)} left")

    def end(self, moment: Moment) -> None:
        self.stop()
        trainer = moment.trainer
        seconds = time.perf_counter() - self._began
        self._say(f"\n{closing_table(trainer.spec, trainer.masks, trainer.thinned_masks)}\n")
        if trainer.history:
            last: Record = trainer.history[-1]
            self._say("  ".join(["last", *_result(last)]))
        if trainer.best is not None:
            self._say("  ".join(["best", *_result(trainer.best)]))
        self._say(f"{moment.epochs - self._first} epochs in {clock(seconds)}")

    def stop(self, moment: Moment | None = None) -> None:
        """The terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            atexit.unregister(self.stop)

    def _say(self, text: str) -> None:
        if self._live is None:
            print(text, file=self._file, flush=True)
        else:
            self._live.console.print(text, markup=False, highlight=False)  # above the line

    def _draw(self, items: Sequence[str]) -> None:
        from rich.text import Text

        line = "  ".join(
            item.replace(" ", "\xa0") for item in items
        )  # a narrow terminal breaks between items only
        text = Text(textwrap.fill(line, self._live.console.width, break_on_hyphens=False))
        text.highlight_regex(r"[━#]+", "cyan")
        self._live.update(text, refresh=True)

    def _bar(self, fraction: float) -> str:
        full, rest = "#-" if self._live.console.options.ascii_only else "━─"
        return full * int(_BAR * fraction) + rest * (_BAR - int(_BAR * fraction))


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss.

    >>> clock(3725.4)
    '1:02:05'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _live(file: TextIO) -> Any:
    """A started live display of rich, or None where plain lines must do."""
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        return None
    console = Console(file=file)
    if not (
        file.isatty() and console.is_interactive
    ):  # FORCE_COLOR lets rich take a log file for a terminal
        return None
    live = Live(
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=sys.stderr.isatty(),  # what goes to a file still goes there
    )
    live.start()
    console.show_cursor(True)  # a process that is killed could not bring it back
    return live


def _result(record: Record) -> list[str]:
    metric = [] if record.metric is None else [f"metric {record.metric:.4f}"]
    return [f"loss {record.loss:.4f}", *metric, f"epoch {record.epoch}"]
