"""Pages that are their own tests: run a page's blocks, in order or each alone, and pair what they
print with what the page shows.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Block:
    """A Python block that runs by itself, beside the YAML files that it may read."""

    heading: str
    code: str
    files: dict[str, str]
    shown: str | None

    def run(self, folder: Path, names: dict[str, Any]) -> Shown:
        """Run it in `names`; the YAML blocks above it lie in `folder`."""
        for title, body in self.files.items():
            (folder / title).write_text(body)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(self.code, "page.py", "exec"), names)
        return Shown(_plain(out.getvalue()), _plain(self.shown or ""))


def alone(text: str) -> list[Block]:
    """The Python blocks of a page whose blocks each run alone."""
    found: list[Block] = []
    files: dict[str, str] = {}
    last = ""
    for block in FENCE.finditer(text):
        language, title, body = block.groups()
        if language == "yaml" and title:
            files[title] = body
        elif language == "python":
            heading = re.findall(r"^#+ (.+)$", FENCE.sub("", text[: block.start()]), re.MULTILINE)
            found.append(Block(heading[-1], body, dict(files), None))
        elif language == "text" and last == "python":
            found[-1] = replace(found[-1], shown=body)
        last = language
    return found


def _plain(text: str) -> str:
    """Without trailing blanks, and with the numbers that differ between installations masked."""
    return VARYING.sub("#", "\n".join(line.rstrip() for line in text.strip().splitlines()))
