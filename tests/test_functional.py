"""The page of torch.func examples runs as it stands and prints what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pages import run

import purethin as pt

PAGE = Path(__file__).parents[1] / "docs" / "functional.md"


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_the_page_shows_what_its_code_prints(tmp_path: Path) -> None:
    outputs = run(PAGE.read_text(), tmp_path, {"__name__": "page"})
    assert len(outputs) == 9
    for output in outputs:
        assert output.printed == output.shown


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_the_loop_in_pure_functions_gives_a_network_that_thinned_computes_the_same(
    tmp_path: Path,
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "page"}
    for part in (text.partition("\n## ")[0], text.partition("## A training loop")[2]):
        run(part, tmp_path, names)
    net, pruned, inputs = names["net"], names["pruned"], names["inputs"]
    small = pt.rebuild(net, *pt.thin(pruned, names["names"], names["masks"]))
    with torch.no_grad():
        want = torch.func.functional_call(net, pruned, (inputs,))
        torch.testing.assert_close(small(inputs), want)
