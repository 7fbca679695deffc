"""The notebooks of the docs run from top to bottom, and print what is stored in them but for their
numbers.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NUMBER = re.compile(r"-?\d[\d.,]*(?:e[-+]\d+)?%?")


def cells(path: Path) -> list[tuple[str, str, bool]]:
    """Of each cell of code: what it is, what it printed, and whether it shows a picture."""
    found: list[tuple[str, str, bool]] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            outputs = cell["outputs"]
            printed = "".join("".join(o.get("text", "")) for o in outputs)
            picture = any("image/png" in o.get("data", {}) for o in outputs)
            found.append(("".join(cell["source"]), printed, picture))
    return found


def ran(code: str, names: dict[str, Any]) -> str:
    """What a cell prints; its last expression is its value, as in a notebook."""
    *lines, last = ast.parse(code).body
    with contextlib.redirect_stdout(io.StringIO()) as out:
        if isinstance(last, ast.Expr):
            exec(compile(ast.Module(lines, []), "cell", "exec"), names)
            names["_"] = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        else:
            exec(compile(code, "cell", "exec"), names)
    return out.getvalue()


def test_three_notebooks_hold_short_outputs_and_pictures() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["first-steps", "u-net", "vit-heads"]
    for path in NOTEBOOKS:
        assert path.stat().st_size < 60_000
        assert any(picture for _, _, picture in cells(path))
        assert all(len(printed.splitlines()) <= 30 for _, printed, _ in cells(path))


@pytest.mark.survey
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_notebook_prints_what_is_stored_in_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    threads = torch.get_num_threads()
    names: dict[str, Any] = {"__name__": "notebook"}
    for code, stored, _ in cells(path):
        assert NUMBER.sub("#", ran(code, names)).split() == NUMBER.sub("#", stored).split()
    torch.set_num_threads(threads)
