"""The line that tells how far long work is."""

from __future__ import annotations

import io
import re
import sys
from types import SimpleNamespace

import pytest
import torch

import purethin as pt
from purethin.waiting import told

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor
PARAMS = {"w": torch.ones(2, 3), "v": torch.ones(3, 2)}


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error, with a cursor that can be moved; every step is drawn."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("purethin.waiting._BETWEEN", 0.0)
    found = Terminal()
    streams = SimpleNamespace(stderr=found, stdout=found)  # pytest puts sys.stderr back by itself
    monkeypatch.setattr("purethin.waiting.sys", streams)
    return found


def net(p: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x @ p["w"]) @ p["v"]


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_a_measurement_tells_its_batches_in_a_terminal(terminal: Terminal) -> None:
    batches = [torch.ones(1, 2) for _ in range(3)]
    spec = pt.infer(net, PARAMS, batches[0])
    pt.measure(net, PARAMS, spec, batches, progress=True)
    assert re.findall(r"\d/3 batches", plain(terminal.getvalue()))[-1] == "3/3 batches"
    before = len(terminal.getvalue())
    pt.measure(net, PARAMS, spec, iter(batches), progress=True)  # nobody knows how many there are
    assert "3 batches" in plain(terminal.getvalue()[before:])
    assert terminal.getvalue().rindex(SHOW) > terminal.getvalue().rindex(HIDE)


def test_the_oracle_tells_its_masks_of_all_batches(terminal: Terminal) -> None:
    spec = pt.infer(net, PARAMS, torch.ones(1, 2))

    def loss(p: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return net(p, x).sum()

    pt.leave_one_out(loss, PARAMS, spec, [(torch.ones(1, 2),)] * 2, chunk=2, progress=True)
    assert "6/6 masks" in plain(terminal.getvalue())


@pytest.mark.parametrize("why", ["nobody asked", "no terminal", "no rich"])
def test_nothing_is_told_where(
    why: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "no terminal":
        monkeypatch.setattr(Terminal, "isatty", lambda self: False)
    if why == "no rich":
        monkeypatch.setitem(sys.modules, "rich.progress", None)
    with told("batches", 2, show=why != "nobody asked") as done:
        done(2)
    assert not terminal.getvalue()


def test_an_error_within_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    with pytest.raises(ValueError), told("batches", None, show=True) as done:
        done(1)
        raise ValueError
    assert terminal.getvalue().rindex(SHOW) > terminal.getvalue().rindex("1 batches")
