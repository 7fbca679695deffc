"""The tutorial is its own test: each section's blocks run in order, and what they print is compared
with the page.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pages import Shown, blocks, run

import purethin as pt

PAGE = Path(__file__).parents[1] / "docs" / "pruning-filters-and-channels.md"
PREAMBLE, *SECTIONS = re.split(r"^(?=## )", PAGE.read_text(), flags=re.MULTILINE)
TITLES = [section.splitlines()[0].removeprefix("## ") for section in SECTIONS]


class Ran:
    """One section, run: its outputs and the names that its code left."""

    def __init__(self, section: str, folder: Path) -> None:
        self.names: dict[str, Any] = {"__name__": "page"}
        run(PREAMBLE, folder, self.names)
        self.outputs: list[Shown] = run(section, folder, self.names)

    def shapes(self, tree: str) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.names[tree].items()}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages read their recipes from the current folder."""
    monkeypatch.chdir(tmp_path)


def section(number: int) -> str:
    return next(s for s in SECTIONS if s.startswith(f"## {number}"))


@pytest.mark.parametrize("text", SECTIONS, ids=TITLES)
def test_the_page_shows_what_its_code_prints(text: str, tmp_path: Path) -> None:
    outputs = Ran(text, tmp_path).outputs
    assert len(outputs) >= 2
    for output in outputs:
        assert output.shown
        assert output.beginning == output.shown


@pytest.mark.parametrize("text", SECTIONS, ids=TITLES)
def test_each_network_thinned_computes_what_it_computes_masked(text: str, tmp_path: Path) -> None:
    page = Ran(text, tmp_path).names
    report = pt.check(page["model"], page["params"], page["spec"], page["masks"], page["x"])
    assert (report.removed, report.units) == (4, 8)
    assert report.relative < 1e-5


@pytest.mark.parametrize("text", blocks(PAGE.read_text(), "yaml"))
def test_every_recipe_of_the_page_loads_as_it_stands(text: str) -> None:
    assert pt.Recipe.from_yaml(text).pruners


def test_channel_pruning_gives_the_shapes_of_filter_pruning(tmp_path: Path) -> None:
    filters, channels = Ran(section(3), tmp_path), Ran(section(6), tmp_path)
    assert channels.shapes("params") == filters.shapes("params")
    assert channels.shapes("thinned") == filters.shapes("thinned") != filters.shapes("params")


def test_summed_convolutions_without_a_leader_are_refused_with_axis_weights_line_and_remedy(
    tmp_path: Path,
) -> None:
    page = Ran(section(4), tmp_path).names
    with pytest.raises(pt.RecipeError) as refused:
        pt.plan(pt.load_recipe("no_leader.yaml"), page["params"], page["spec"])
    for part in (
        "'conv1'",
        "conv1.weight",
        "conv2.weight",
        "add at residual.py:16",
        "group_dependency: Leader",
    ):
        assert part in str(refused.value)
