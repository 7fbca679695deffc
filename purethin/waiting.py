"""What a person sees while long work runs: a live line in a terminal, drawn by rich.

Invariant: nothing that it does to a terminal outlives the work, however that ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_BETWEEN = 0.2  # seconds from one drawing of the line to the next


@contextmanager
def told(what: str, total: int | None, *, show: bool) -> Iterator[Callable[[int], None]]:
    """A line on standard error while the block runs, where that is a terminal and rich is
    installed; nothing elsewhere.

    Args:
        what: what is counted, as "batches".
        total: how many there are; None where nobody knows.
        show: whether there is a line at all.

    Returns:
        What is to be told of each part of the work: `done(count)`.
    """
    line = started(sys.stderr) if show else None
    if line is None:
        yield lambda count: None
        return
    of = "" if total is None else f"/{total:,}"
    task = line.add_task("", total=total, head=f"0{of} {what}")
    so_far, drawn = 0, 0.0

    def done(count: int) -> None:
        nonlocal so_far, drawn
        so_far += count
        if (now := time.perf_counter()) - drawn >= _BETWEEN or so_far == total:
            line.update(task, completed=so_far, head=f"{so_far:,}{of} {what}", refresh=True)
            drawn = now

    try:
        yield done
    finally:
        line.stop()


def started(file: TextIO) -> Any:
    """A progress line of rich, whose tasks have a field `head`: text before the bar; None where
    `file` is no terminal that can move its cursor, or rich is missing.
    """
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column
    except ImportError:
        return None
    console = Console(file=file)
    # FORCE_COLOR lets rich take a log file for a terminal.
    if not (file.isatty() and console.is_interactive):
        return None
    bar = Progress(
        TextColumn("{task.fields[head]}"),
        BarColumn(12),
        TimeRemainingColumn(),
        TextColumn("{task.description}", table_column=Column()),  # a narrow terminal wraps it
        console=console,
        auto_refresh=False,
        speed_estimate_period=3600,  # seconds: a step of a large network may take minutes
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=sys.stderr.isatty(),  # what goes to a file still goes there
    )
    bar.start()
    console.show_cursor(True)  # a process that is killed could not bring it back
    return bar
