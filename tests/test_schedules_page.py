"""The blocks of the page on schedules each run alone, and print what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import Block, alone, blocks

import purethin as pt

TEXT = (Path(__file__).parents[1] / "docs" / "schedules.md").read_text(encoding="utf-8")
BLOCKS = alone(TEXT)


@pytest.mark.parametrize("block", BLOCKS, ids=[block.heading for block in BLOCKS])
def test_a_block_runs_alone_and_prints_what_the_page_shows(block: Block, tmp_path: Path) -> None:
    shown = block.run(tmp_path, {"__name__": "page"})
    assert shown.shown
    assert shown.printed == shown.shown


def test_the_yaml_of_the_page_is_read() -> None:
    (text,) = blocks(TEXT, "yaml")
    recipe = pt.load_recipe(text)
    assert pt.load_recipe(recipe.to_yaml()) == recipe
