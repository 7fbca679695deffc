"""The reference, docs/api.md, lists the public names, all of them and no others."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import purethin as pt

PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^::: (purethin\.\S+)", PAGE, re.MULTILINE)
CRITERIA = [name for name in ENTRIES if name.startswith("purethin.criteria.")]


def test_each_entry_is_imported_as_the_page_says() -> None:
    assert len(ENTRIES) > 80 and len(CRITERIA) > 20
    for entry in ENTRIES:
        listed = pkgutil.resolve_name(entry)
        pictures = entry.startswith("purethin.plot.")
        home = pt.criteria if entry in CRITERIA else pt.plot if pictures else pt
        name = entry.rpartition(".")[2]
        assert getattr(home, name, None) is listed or entry == "purethin.errors", entry


def test_the_reference_has_every_public_name() -> None:
    public = [name for name in dir(pt) if not name.startswith("__")]
    assert [name for name in public if not re.search(rf"\b{name}\b", PAGE)] == []
