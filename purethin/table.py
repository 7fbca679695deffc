"""Text in columns, for plans, reports and the command line: a head and rows, never cut off; and the
same in a notebook, folded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import shorten


@dataclass(frozen=True)
class Table:
    """A head and rows of text; the columns in `numbers` are aligned to the right."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: Sequence[int] = ()

    def __str__(self) -> str:
        """Plain text.

        >>> print(Table(("axis", "size"), [("conv1", "64"), ("fc", "8")], numbers=(1,)))
        axis   size
        conv1    64
        fc        8
        """
        table = [self.head, *self.rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if i in self.numbers else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in table
        )

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        sides = ["right" if i in self.numbers else "left" for i in range(len(self.head))]

        def line(cells: Sequence[str], tag: str) -> str:
            texts = zip(sides, map(escape, cells), strict=True)
            return "".join(f'<{tag} style="text-align: {s}">{text}</{tag}>' for s, text in texts)

        body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in self.rows)
        return (
            f"<table><thead><tr>{line(self.head, 'th')}</tr></thead><tbody>{body}</tbody></table>"
        )


def folded(title: str, sections: Mapping[str, Table | str], opened: Collection[str] = ()) -> str:
    """HTML of a title and of sections that unfold, for notebooks; one without content is left out.

    >>> folded("2 axes", {"notes": "a < b", "frozen": ""})
    '<b>2 axes</b><details><summary>notes</summary><pre>a &lt; b</pre></details>'
    """
    parts = [f"<b>{escape(title)}</b>"]
    for name, content in sections.items():
        plain = isinstance(content, str)
        inside = f"<pre>{escape(content)}</pre>" if plain else content._repr_html_()
        how = " open" if name in opened else ""
        if content if plain else content.rows:
            parts.append(f"<details{how}><summary>{escape(name)}</summary>{inside}</details>")
    return "".join(parts)


def in_short(items: Iterable[str], *, most: int = 6) -> str:
    """The first of some items, on one line of at most 96 characters.

    >>> in_short(["conv1 64", "fc 10", "out 3"], most=2)
    'conv1 64, fc 10, … (3 in all)'
    """
    every = list(items)
    more = f", … ({len(every)} in all)" if len(every) > most else ""
    return shorten(", ".join(every[:most]) + more, 96, placeholder=" …")
