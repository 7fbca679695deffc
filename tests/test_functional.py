"""The page of torch.func examples runs as it stands and prints what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import run

PAGE = Path(__file__).parents[1] / "docs" / "functional.md"


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_the_page_shows_what_its_code_prints(tmp_path: Path) -> None:
    outputs = run(PAGE.read_text(), tmp_path, {"__name__": "page"})
    assert len(outputs) == 8
    for output in outputs:
        assert output.printed == output.shown
