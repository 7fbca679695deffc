"""Pictures: files are written, and they show the numbers."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure

import purethin as pt
from purethin import plot

SPEC = pt.Spec.from_layout(
    {"a.w": "a 3", "b.w": "b a"}, {"a.w": torch.ones(8, 3), "b.w": torch.ones(4, 8)}
)
MASKS = {"a": torch.arange(8) < 3}
RECORDS = [pt.Record(e, 1.0 / (e + 1), None, 0.25 * (e > 0), 40, 80, 0.1, 0.05) for e in range(3)]


def test_widths_show_dense_and_kept_units_of_every_axis() -> None:
    figure = Figure()
    plot.widths(SPEC, MASKS, figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["8 → 3", "4"]


def test_the_worth_of_a_unit_is_shown_as_a_part_of_the_network() -> None:
    figure = Figure()
    plot.worth(SPEC, MASKS, figure)
    macs, parameters = figure.axes
    assert [label.get_text() for label in macs.get_yticklabels()] == ["a (3)", "b (4)"]
    ends = [bar.get_extents().x1 for bar in parameters.patches]
    assert ends == sorted(ends, reverse=True)
    assert parameters.dataLim.x1 == 7 / 21


def test_history_has_a_panel_for_each_thing_measured() -> None:
    figure = Figure()
    plot.history(RECORDS, figure)
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "parameters removed",
        "training loss",
    ]
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == ["25.0%", "0.333"]


def test_each_writes_a_file(tmp_path: Path) -> None:
    plot.widths(SPEC, MASKS, tmp_path / "widths.png")
    plot.history(RECORDS, tmp_path / "history.png")
    plot.summary(SPEC, MASKS, RECORDS, tmp_path / "summary.svg")
    assert all(
        (tmp_path / name).stat().st_size > 1000
        for name in ("widths.png", "history.png", "summary.svg")
    )
