"""The site and README lead to each page, and no link of README leads nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def pages(nav: Any) -> Iterator[str]:
    """The files of a navigation, depth first."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from pages(part)


def headings(path: Path) -> set[str]:
    """The anchors of a page, as GitHub and mkdocs make them of simple headings."""
    found = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_every_page_is_in_the_navigation_once() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    files = [str(p.relative_to(DOCS)) for end in ("md", "ipynb") for p in DOCS.rglob(f"*.{end}")]
    assert sorted(pages(nav)) == sorted(files)


def test_every_link_of_readme_leads_to_a_file_and_a_heading_of_it() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#([^)]+))?\)", README)
    assert len(links) > 20
    for path, anchor in links:
        assert (ROOT / path).exists(), path
        assert not anchor or anchor in headings(ROOT / path), f"{path}#{anchor}"
