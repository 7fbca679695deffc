"""Axis expressions from text, as einops writes them; an error marks the place in the user's own
line.
"""

from __future__ import annotations

import re

from purethin.axes import Axes, Fixed, Name, Product, Sum, Take
from purethin.errors import SpecError

# ---- parsing

_TOKEN = re.compile(r"\s+|[()+\[\],]|[^\s()+\[\],]+")


def parse(text: str) -> Axes:
    """One expression from its text.

    >>> str(parse("(heads (pair + pair))"))
    '(heads (pair + pair))'
    """
    dims = parse_layout(text)
    if len(dims) != 1:
        raise SpecError(
            f"'{text}' is {len(dims)} expressions; one is expected: group a product in "
            f"parentheses, '({text})'"
        )
    return dims[0]


def parse_layout(text: str) -> tuple[Axes, ...]:
    """A tensor's dimensions from one line, the inverse of `layout_text`."""
    if text.strip() == "scalar":
        return ()
    parser = _Parser(text)
    dims = parser.row(closing=None)
    return tuple(dims)


class _Parser:
    """Recursive descent over one line; `fail` marks the place in the user's own text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [
            (m.group(), m.start()) for m in _TOKEN.finditer(text) if not m.group().isspace()
        ]
        self.at = 0

    def peek(self) -> str | None:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else None

    def fail(self, why: str) -> SpecError:
        place = self.tokens[self.at][1] if self.at < len(self.tokens) else len(self.text)
        return SpecError(f"{why} in the layout\n    {self.text}\n    {' ' * place}^")

    def row(self, closing: str | None) -> list[Axes]:
        out: list[Axes] = []
        while (token := self.peek()) != closing:
            if token is None:
                raise self.fail("a ')' is missing")
            if token == "+":
                raise self.fail("'+' stands inside parentheses only, as '(a + b)':")
            out.append(self.term())
        return out

    def group(self) -> Axes:
        terms: list[Axes] = []
        while True:
            factors: list[Axes] = []
            while self.peek() not in ("+", ")"):
                if self.peek() is None:
                    raise self.fail("a ')' is missing")
                factors.append(self.term())
            if not factors:
                raise self.fail("an axis name, an integer or '(' is expected")
            terms.append(factors[0] if len(factors) == 1 else Product(tuple(factors)))
            self.at += 1
            if self.tokens[self.at - 1][0] == ")":
                return terms[0] if len(terms) == 1 else Sum(tuple(terms))

    def term(self) -> Axes:
        token = self.peek()
        if token is None or token in "+)[],":
            raise self.fail("an axis name, an integer or '(' is expected")
        self.at += 1
        expr: Axes
        if token == "(":
            expr = self.group()
        elif token.isdecimal():
            expr = Fixed(int(token))
        else:
            expr = Name(token)
        while self.peek() == "[":
            self.at += 1
            expr = Take(expr, self.index())
        return expr

    def index(self) -> tuple[int | tuple[int | None, int | None, int | None], ...]:
        entries: list[int | tuple[int | None, int | None, int | None]] = []
        while True:
            token = self.peek()
            found = re.fullmatch(r"(-?\d+)?(?:(:)(-?\d+)?(?::(-?\d+)?)?)?", token or "")
            if not token or not found:
                raise self.fail("a position or a slice is expected")
            first, colon, second, third = found.groups()
            if colon:
                run = tuple(int(x) if x else None for x in (first, second, third))
                if run[2] == 0:
                    raise self.fail("a slice's step cannot be 0")
                entries.append((run[0], run[1], run[2]))
            else:
                entries.append(int(first))
            self.at += 1
            if self.peek() == "]":
                self.at += 1
                return tuple(entries)
            if self.peek() != ",":
                raise self.fail("',' or ']' is expected")
            self.at += 1
