"""What a person sees of a training: plain lines in a file, one live line in a terminal, the table
at the end.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import purethin as pt
from purethin.training.events import Callbacks, Moment, Record
from purethin.training.progress import closing_table, progress

AXES = 15
PARAMS = {f"l{i}.w": torch.zeros(8, 8 if i else 3) for i in range(AXES)}
SPEC = pt.Spec.from_layout(
    {f"l{i}.w": f"a{i} a{i - 1}" if i else "a0 3" for i in range(AXES)}, PARAMS
)
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def half(count: int) -> dict[str, Tensor]:
    return {f"a{i}": torch.arange(8) < 4 for i in range(count)}


def fake(
    masks: Mapping[str, Tensor] | None = None,
    thinned_masks: Mapping[str, Tensor] | None = None,
    elements: Mapping[str, Tensor] | None = None,
) -> SimpleNamespace:
    masks = dict(masks or {})
    thinned_masks = masks if thinned_masks is None else dict(thinned_masks)
    return SimpleNamespace(
        spec=SPEC,
        masks=masks,
        elements=dict(elements or {}),
        thinned_masks=thinned_masks,
        history=[],
        best=None,
    )


def record(epoch: int, metric: float | None = None) -> Record:
    return Record(epoch, 1 / (epoch + 1), metric, 0.0, 100, 1000, 1.0, 0.1)


def watch(
    callbacks: Callbacks,
    trainer: Any,
    *,
    epochs: int = 3,
    steps: int | None = 4,
    begin: int = 0,
    fails: int = -1,
) -> None:
    """What a trainer tells; it dies in epoch `fails`."""

    def tell(event: Any, epoch: int, **told: Any) -> None:
        if event in callbacks:
            callbacks[event](Moment(event, trainer, epoch, epochs, **told))

    tell("fit", begin)
    for epoch in range(begin, epochs):
        for step in range(steps or 4):
            tell("step", epoch, step=step, steps=steps, loss=torch.tensor(0.5))
        if epoch == fails:
            return
        trainer.history.append(record(epoch, 0.1 * epoch))
        tell("epoch", epoch + 1, record=trainer.history[-1])
        if epoch == 1:
            trainer.best = trainer.history[-1]
    tell("end", epochs)


def plain(text: str) -> str:
    """Without colours, and as in a terminal that is wide enough."""
    return " ".join(re.sub(r"\x1b\[[\d;]*m", "", text).split())


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is drawn; the environment of the tests does not matter."""
    monkeypatch.setattr("purethin.training.progress._BETWEEN", 0.0)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")


def test_a_plain_line_tells_the_time_that_remains_at_the_pace_so_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([100.0, 160.0, 220.0, 280.0])  # fit begins, two epochs end, fit ends
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    out = io.StringIO()
    watch(progress(file=out), fake(), begin=5, epochs=8)
    lines = out.getvalue().splitlines()
    assert [line.rsplit("  ", 1)[1] for line in lines[:2]] == ["0:02:00 left", "0:01:00 left"]
    assert lines[-1] == "3 epochs in 0:03:00"


def test_where_there_is_no_terminal_each_epoch_is_one_plain_line_with_the_time_that_remains() -> (
    None
):
    out = io.StringIO()
    trainer = fake()
    watch(progress(file=out), trainer)
    lines = out.getvalue().splitlines()
    assert lines[:3] == [
        f"{trainer.history[0]}  0:00:00 left",
        f"{trainer.history[1]}  0:00:00 left",
        str(trainer.history[2]),
    ]
    assert "last  loss 0.3333  metric 0.2000  epoch 2" in lines
    assert "best  loss 0.5000  metric 0.1000  epoch 1" in lines
    assert lines[-1] == "3 epochs in 0:00:00"
    assert "\x1b" not in out.getvalue()


def test_standard_output_is_the_one_that_is_there_when_fit_begins(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watch(progress(), fake())
    assert capsys.readouterr().out.startswith("epoch   0  loss")


@pytest.mark.usefixtures("patient")
def test_a_terminal_has_one_line_with_everything_and_keeps_the_epochs_and_the_table() -> None:
    terminal = Terminal()
    watch(progress(file=terminal), fake(half(2)))
    text = terminal.getvalue()
    for part in (
        "epoch 1/3",
        "━━━━━━",
        "batch 2/4",
        "loss 0.5000",
        "metric 0.1000",
        "sparsity 10.0%",
        "parameters",
        "MACs",
        "0:00:0",
    ):
        assert part in plain(text), part
    assert "epoch   2  loss 0.3333" in text and "3 epochs in" in text


@pytest.mark.usefixtures("patient")
def test_the_line_counts_units_and_single_elements_that_are_masked_each_once() -> None:
    terminal = Terminal()
    elements = {"l1.w": torch.arange(64).reshape(8, 8) >= 32}  # its rows 0 to 3
    watch(progress(file=terminal), fake(half(1), elements=elements))
    gone = 12 + 32 + 16  # half of l0.w, half of l1.w's columns, and what is left of its rows 0 to 3
    assert f"sparsity {gone / 920:.1%} 876 parameters" in plain(terminal.getvalue())


@pytest.mark.usefixtures("patient")
def test_a_loader_without_a_length_counts_its_batches() -> None:
    terminal = Terminal()
    watch(progress(file=terminal), fake(), steps=None)
    assert "batch 4" in plain(terminal.getvalue())


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(("variable", "value"), [("TERM", "dumb"), ("missing", "rich")])
def test_a_terminal_without_a_cursor_or_a_python_without_rich_has_plain_lines(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    if value == "rich":
        monkeypatch.setitem(sys.modules, "rich.progress", None)
    terminal = Terminal()
    watch(progress(file=terminal), fake())
    assert "\x1b" not in terminal.getvalue() and "0:00:00 left" in terminal.getvalue()


@pytest.mark.usefixtures("patient")
def test_no_color_keeps_the_line_and_takes_its_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    watch(progress(file=terminal), fake())
    assert "━" in terminal.getvalue() and not re.search(r"\x1b\[[349]\d", terminal.getvalue())


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("how", ["told of the failure", "fitted again"])
def test_a_training_that_fails_leaves_the_cursor_and_the_streams_as_they_were(how: str) -> None:
    terminal, before = Terminal(), (sys.stdout, sys.stderr)
    callbacks = progress(file=terminal)
    watch(callbacks, fake(), fails=1)
    assert terminal.getvalue().rindex(SHOW) > terminal.getvalue().rindex(HIDE), (
        "a killed process could not show it again"
    )
    if how == "fitted again":
        watch(callbacks, fake())
    else:
        callbacks["fail"](Moment("fail", fake(), 1, 3))
    assert (sys.stdout, sys.stderr) == before
    text = terminal.getvalue()
    assert text.rindex(SHOW) > text.rindex(HIDE)


@pytest.mark.parametrize(
    ("masks", "done", "said"),
    [
        (half(2), half(2), ["parameters  920  828  0.900", "a0  8  4"]),
        (
            half(2),
            {},
            [
                "parameters  920  920  1.000",
                "masked, not thinned yet: 2 axes; then 828 parameters, 0 MACs",
            ],
        ),
        (half(AXES), half(AXES), ["a11  8  4", "... and 3 more"]),
        ({}, {}, ["bytes  3,680  3,680  1.000"]),
    ],
)
def test_the_closing_table_compares_dense_and_thinned(
    masks: Any, done: Any, said: list[str]
) -> None:
    lines = ["  ".join(line.split("  ")) for line in closing_table(SPEC, masks, done).splitlines()]
    plain = ["  ".join(cell.strip() for cell in line.split("  ") if cell.strip()) for line in lines]
    for line in said:
        assert line in plain
    assert len(plain) <= 20


def test_the_closing_table_leaves_out_axes_that_lose_nothing() -> None:
    masks = {"a0": torch.ones(8, dtype=torch.bool)}
    assert "pruned axis" not in closing_table(SPEC, masks, {})


UNCAUGHT = """
import sys
from test_progress import fake, watch
from purethin.training.progress import progress
watch(progress(), fake(), fails=1)
print("a line of the user's own")
raise ValueError("nobody catches this")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_an_error_that_nobody_catches_is_read_whole_and_leaves_a_terminal_in_order() -> None:
    import pty

    master, slave = pty.openpty()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "TERM": "xterm",
        "COLUMNS": "100",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", UNCAUGHT],
        stdout=slave,
        stderr=slave,
        env=environment,
        close_fds=True,
    )
    os.close(slave)
    seen = bytearray()
    try:
        while block := os.read(master, 65536):
            seen += block
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(master)
    assert process.wait() == 1
    text = seen.decode()
    assert text.rindex(SHOW) > text.rindex(HIDE)
    assert text.endswith("\x1b[2K"), "the line is erased"
    for line in (
        "a line of the user's own",
        "Traceback (most recent call last):",
        "ValueError: nobody catches this",
    ):
        assert f"{line}\r\n" in text
