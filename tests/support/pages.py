"""Pages that are their own tests: run a page's blocks in order, and pair what they print with what
the page shows.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FENCE = re.compile(r'^```(\w+)(?: title="(.+?)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
VARYING = re.compile(r"\d\.\d+e[-+]\d+|(?<=\bresnet\.py:)\d+")
"""Rounding errors, and the lines of torchvision's source."""


@dataclass(frozen=True)
class Shown:
    """A text block of a page beside what the Python block before it printed. One that ends in …
    shows the beginning.
    """

    printed: str
    shown: str

    @property
    def beginning(self) -> str:
        """What was printed, as far as the page shows it."""
        return (
            self.printed[: len(self.shown) - 1] + "…" if self.shown.endswith("…") else self.printed
        )


def blocks(text: str, language: str) -> list[str]:
    """The bodies of the fenced blocks in this language."""
    return [body for kind, _, body in FENCE.findall(text) if kind == language]


def run(text: str, folder: Path, names: dict[str, Any]) -> list[Shown]:
    """Run the Python blocks in `names`, save the YAML blocks by their titles in `folder`, collect
    the text blocks.
    """
    outputs, printed = [], ""
    for language, title, body in FENCE.findall(text):
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(body, title or "page.py", "exec"), names)
            printed = out.getvalue()
        elif language == "yaml":
            (folder / title).write_text(body)
        elif language == "text":
            outputs.append(Shown(_plain(printed), _plain(body)))
    return outputs


def _plain(text: str) -> str:
    """Without trailing blanks, and with the numbers that differ between installations masked."""
    return VARYING.sub("#", "\n".join(line.rstrip() for line in text.strip().splitlines()))
