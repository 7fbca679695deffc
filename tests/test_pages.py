"""The page on budgets prints what it shows."""

from __future__ import annotations

from pathlib import Path

from pages import run

PAGE = Path(__file__).parents[1] / "docs" / "budgets.md"


def test_the_page_shows_what_its_code_prints(tmp_path: Path) -> None:
    outputs = run(PAGE.read_text(encoding="utf-8"), tmp_path, {"__name__": "page"})
    assert len(outputs) == 9
    for output in outputs:
        assert output.printed == output.shown
