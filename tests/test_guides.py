"""README and the guides: each block of code runs alone, and prints what the page shows."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pages import Block, alone

import purethin as pt

ROOT = Path(__file__).parents[1]
GUIDES = ("index", "concepts", "distiller", "frozen", "from-torch-pruning", "rules", "transformers")
PAGES = ("README.md", *(f"docs/{name}.md" for name in GUIDES))
HALF = "README.md: Half the MACs"
SLOW = {"README.md: Save, load, export"}
"""Blocks of some seconds each."""


def named(page: str) -> dict[str, Block]:
    """The blocks of a page by their headings; several under one heading are counted."""
    found: dict[str, Block] = {}
    for block in alone((ROOT / page).read_text(encoding="utf-8")):
        name = f"{page}: {block.heading}"
        more = sum(other.startswith(name) for other in found)
        found[f"{name}, {more + 1}" if more else name] = block
    return found


BLOCKS = {name: block for page in PAGES for name, block in named(page).items()}
CASES = [
    pytest.param(block, id=name, marks=[pytest.mark.survey] if name in SLOW else [])
    for name, block in BLOCKS.items()
    if name != HALF  # has its own test below
]


def run(block: Block, folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that a block leaves; what it prints is compared with the page."""
    needed = set(re.findall(r"^(?:import|from) (\w+)", block.code, re.MULTILINE))
    needed |= {"onnxscript"} if "onnx.export" in block.code else set()
    for package in needed:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    patch.chdir(folder)
    torch.manual_seed(0)
    names: dict[str, Any] = {"__name__": "page"}
    shown = block.run(folder, names)
    assert shown.beginning == shown.shown
    return names


@pytest.mark.parametrize("block", CASES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_each_block_runs_alone_and_prints_what_the_page_shows(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(block, tmp_path, monkeypatch)


def test_half_the_macs_thin_resnet18_to_what_the_masked_one_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = run(BLOCKS[HALF], tmp_path, monkeypatch)
    assert names["report"].relative < 1e-5
    want = names["report"].outputs[0].shape
    with torch.no_grad():
        assert names["small"](names["x"]).shape == want
    masks, spec = names["masks"], names["spec"]
    assert pt.cost(spec, masks).macs <= pt.cost(spec).macs / 2
