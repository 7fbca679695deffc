"""Pictures: each is a figure, drawn into axes of one's own where they are given, and shows the
numbers.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from pages import alone

import purethin as pt
from purethin import plot

DOCS = Path(__file__).parents[1] / "docs"
SPEC = pt.Spec.from_layout(
    {"a.w": "a 3", "b.w": "b a"}, {"a.w": torch.ones(8, 3), "b.w": torch.ones(4, 8)}
)
MASKS = {"a": torch.arange(8) < 3}
RECORDS = [pt.Record(e, 1.0 / (e + 1), None, 0.25 * (e > 0), 40, 80, 0.1, 0.05) for e in range(3)]
CURVES = {"L1": [(40.0, 0.8), (20.0, 0.5)], "random": [(20.0, 0.1)]}


def profile() -> pt.Profile:
    params = {"a.w": torch.ones(8, 3), "b.w": torch.ones(4, 8)}
    loss = lambda p: (p["b.w"] @ p["a.w"] - 8).square().sum()  # noqa: E731
    return pt.sensitivity(loss, params, SPEC, (0.5,), scores=pt.lp_norm(params, SPEC))


PICTURES: dict[str, tuple[int, Callable[..., Figure]]] = {
    "widths": (1, lambda **ax: plot.widths(SPEC, MASKS, **ax)),
    "layers": (2, lambda **ax: plot.layers(SPEC, MASKS, **ax)),
    "worth": (2, lambda **ax: plot.worth(SPEC, MASKS, **ax)),
    "sensitivity": (1, lambda **ax: plot.sensitivity(profile(), **ax)),
    "tradeoff": (1, lambda **ax: plot.tradeoff(CURVES, dense=(80.0, 0.9), **ax)),
    "history": (2, lambda **ax: plot.history(RECORDS, **ax)),
}


def labels(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


# ---- what all have in common


@pytest.mark.parametrize("name", PICTURES)
def test_each_is_a_figure_with_its_panels_or_is_drawn_into_axes_that_are_given(name: str) -> None:
    count, draw = PICTURES[name]
    own = draw()
    assert isinstance(own, Figure)
    assert len(own.axes) == count
    figure = Figure()
    left = figure.subfigures(1, 2, squeeze=False)[0, 0]
    axes = left.subplots(count)
    assert draw(ax=axes) is figure
    assert figure.axes == (list(axes) if count > 1 else [axes])
    assert all(axis.get_title(loc="left") for axis in figure.axes)


@pytest.mark.parametrize("name", PICTURES)
def test_no_two_texts_of_a_picture_overlap(name: str) -> None:
    figure = PICTURES[name][1]()
    figure.draw_without_rendering()
    texts = [t for axis in figure.axes for t in axis.texts + axis.get_yticklabels()]
    boxes = [t.get_window_extent() for t in texts if t.get_text() and t.get_visible()]
    assert boxes
    assert not [1 for a, b in itertools.combinations(boxes, 2) if a.overlaps(b) and a != b]


def test_too_few_axes_are_an_error_that_says_how_many() -> None:
    with pytest.raises(pt.PurethinError, match=r"2 panels and 1 axes .* ax=figure.subplots\(2\)"):
        plot.worth(SPEC, ax=[Figure().subplots()])


def test_masks_of_another_network_are_refused_before_anything_is_drawn() -> None:
    for draw in (plot.widths, plot.layers, plot.worth, plot.dot):
        with pytest.raises(pt.MaskError, match="'c'"):
            draw(SPEC, {"c": torch.ones(3, dtype=torch.bool)})


def test_a_figure_is_its_own_picture_in_a_notebook_without_pyplot() -> None:
    picture: Any = plot.tradeoff({"a": [(1.0, 2.0)]})
    assert picture._repr_png_().startswith(b"\x89PNG")


# ---- what each shows


def test_widths_show_dense_and_kept_units_of_every_axis() -> None:
    figure = plot.widths(SPEC, MASKS)
    assert labels(figure) == ["a", "b"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["8 → 3", "4"]


def test_layers_show_dense_and_kept_costs_and_what_is_left_of_the_whole() -> None:
    figure = plot.layers(SPEC, MASKS)
    assert labels(figure) == ["a", "b"]
    parameters = figure.axes[1]
    dense, kept = parameters.containers
    assert [list(each.datavalues) for each in (dense, kept)] == [[24, 32], [9, 12]]  # type: ignore[attr-defined]
    assert parameters.get_title(loc="left") == "Parameters: 38% of 56"


def test_layers_of_a_large_network_are_told_block_by_block() -> None:
    layout = {f"stage{i}.{j}.w": f"c{i}{j} 6" for i in range(2) for j in range(5)}
    spec = pt.Spec.from_layout(layout, {name: torch.ones(6, 6) for name in layout})
    assert labels(plot.layers(spec)) == [name.removesuffix(".w") for name in layout]
    assert labels(plot.layers(spec, most=4)) == ["stage0", "stage1"]


def test_the_worth_of_a_unit_is_shown_as_a_part_of_the_network() -> None:
    figure = plot.worth(SPEC, MASKS)
    macs, parameters = figure.axes
    assert [label.get_text() for label in macs.get_yticklabels()] == ["a (3)", "b (4)"]
    ends = [bar.get_extents().x1 for bar in parameters.patches]
    assert ends == sorted(ends, reverse=True)
    assert parameters.dataLim.x1 == 7 / 21


def test_costs_are_shown_as_parts_of_the_dense_networks() -> None:
    (panel,) = plot.tradeoff(CURVES, dense=(80.0, 0.9)).axes
    lines = {str(line.get_label()): line for line in panel.get_lines()}
    assert list(lines["L1"].get_xdata()) == [0.25, 0.5]  # type: ignore[arg-type]
    assert list(lines["L1"].get_ydata()) == [0.5, 0.8]  # type: ignore[arg-type]
    assert list(lines["dense"].get_xdata()) == [1.0]  # type: ignore[arg-type]
    assert panel.get_xlabel() == "MACs, of the dense network's 80"


def test_history_has_a_panel_for_each_thing_measured() -> None:
    figure = plot.history(RECORDS)
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "parameters removed",
        "training loss",
    ]
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == ["25.0%", "0.333"]


def test_the_summary_has_widths_and_history_side_by_side() -> None:
    titles = [ax.get_title(loc="left") for ax in plot.summary(SPEC, MASKS, RECORDS).axes]
    assert titles == ["Widths by axis", "parameters removed", "training loss"]


# ---- the graph


def test_the_graph_has_a_node_an_axis_and_an_arrow_a_layer() -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1, bias=False),
        torch.nn.Conv2d(8, 8, 3, padding=1, groups=8),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 5, 1),
    )
    params = pt.params_of(net)
    spec = pt.infer(net, params, torch.zeros(1, 3, 8, 8))
    text = plot.dot(spec, {"0.weight": torch.arange(8) < 6})
    body = {line.strip() for line in text.splitlines()}
    arrows = {line for line in body if "->" in line}
    assert '"0.weight" [label="0.weight\\n8 → 6", fillcolor="#cfe0f3"];' in body
    assert arrows == {
        '"input" -> "0.weight" [label="0"];',
        '"0.weight" -> "0.weight" [label="1"];',
        '"0.weight" -> "output" [label="3"];',
    }


def test_names_with_quotes_are_written_so_that_they_can_be_read() -> None:
    spec = pt.Spec.from_layout({'a"b.w': "h 3"}, {'a"b.w': torch.ones(4, 3)})
    assert '[label="a\\"b"]' in plot.dot(spec)


def test_the_page_of_pictures_runs_and_its_pictures_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (DOCS / "plots.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (block,) = alone(text)
    assert block.shown
    shown = block.run(tmp_path, {})
    assert shown.printed == shown.shown
    files = re.findall(r"\((pictures/\S+)\)", text)
    assert len(files) == 5
    assert all((DOCS / file).stat().st_size < 60_000 for file in files)
