"""Pages whose blocks run one after the other print what they show."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import run

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(("page", "blocks"), [("budgets.md", 9), ("deploy.md", 4)])
def test_the_page_shows_what_its_code_prints(page: str, blocks: int, tmp_path: Path) -> None:
    outputs = run((DOCS / page).read_text(encoding="utf-8"), tmp_path, {"__name__": "page"})
    assert len(outputs) == blocks
    for output in outputs:
        assert output.printed == output.shown
