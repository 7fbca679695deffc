"""Places in the user's source, and reasons that carry one; made into text only when somebody reads
them.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import linecache
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

import torch


class Place:
    """An operator and the user's source line that called it; made into text only when read."""

    __slots__ = ("code", "line", "op")

    def __init__(self, op: str, code: CodeType | None, line: int) -> None:
        self.op, self.code, self.line = op, code, line

    def __str__(self) -> str:
        file = Path(self.code.co_filename).name if self.code else "?"
        return f"{self.op} at {file}:{self.line}"


@dataclass(frozen=True)
class Because:
    """A reason with its place, `literal size 49 in view at swin_transformer.py:54`, and what to
    write there instead.
    """

    what: str
    place: object
    instead: str = ""

    def __str__(self) -> str:
        more = f": {self.instead}" if self.instead else ""
        return f"{self.what} in {self.place}{more}"


@dataclass(frozen=True)
class Reasons:
    """Several reasons, each said once."""

    each: tuple[object, ...]

    def __str__(self) -> str:
        return "; ".join(
            dict.fromkeys(part for reason in self.each for part in str(reason).split("; "))
        )


_OWN = str(Path(__file__).parent.parent) + os.sep
_LIBRARY = (str(Path(torch.__file__).parent) + os.sep, _OWN, "<frozen", "<string>")


def is_purethin(code: CodeType) -> bool:
    """Whether this code is purethin's own."""
    return code.co_filename.startswith(_OWN)


@functools.cache
def in_library(file: str) -> bool:
    """Whether this file is torch's, purethin's or another library's that only passes sizes on."""
    einops = getattr(sys.modules.get("einops"), "__file__", None)
    passing = (*_LIBRARY, contextlib.__file__, *([str(Path(einops).parent)] if einops else []))
    return file.startswith(passing)


def place(op: str) -> Place:
    """The nearest line outside torch and purethin, seen from the caller."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not in_library((code := frame.f_code).co_filename):
            return Place(op, code, frame.f_lineno)
        frame = frame.f_back
    return Place(op, None, 0)


_PRINTING = {"print", "warn", "_assert", "_check"}
_LOGGING = {"debug", "info", "warning", "error", "exception", "critical", "log"}
"""Functions, and methods of a logger, whose argument a reader sees, and no code."""


def is_message(at: Place) -> bool:
    """Whether the statement at a place raises, asserts or says something: text made there is read
    by nobody else.
    """
    return at.code is not None and _says(at.code.co_filename, at.line)


@functools.cache
def _says(file: str, line: int) -> bool:
    covering = [s for s in _statements(file) if s.lineno <= line <= _end(s)]
    match max(covering, key=lambda s: (s.lineno, -_end(s)), default=None):
        case ast.Assert() | ast.Raise():
            return True
        case ast.Expr(ast.Call(ast.Name(name))):
            return name in _PRINTING
        case ast.Expr(ast.Call(ast.Attribute(attr=name))):
            return name in _PRINTING | _LOGGING
    return False


def is_compared(at: Place) -> bool:
    """Whether the statement at a place, or one of its function that reads a name which it assigns,
    compares, branches or takes a remainder.
    """
    return at.code is not None and _decides(at.code.co_filename, at.line)


@functools.cache
def _decides(file: str, line: int) -> bool:
    here = [s for s in _statements(file) if s.lineno <= line <= _end(s)]
    statement = max(here, key=lambda s: (s.lineno, -_end(s)), default=None)
    function = [s for s in here if isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef)]
    if statement is None:
        return False
    targets = [n for t in getattr(statement, "targets", ()) for n in ast.walk(t)]
    names = {n.id for n in targets if isinstance(n, ast.Name)}
    deciding = [
        part
        for n in ast.walk(function[-1] if function else ast.Module(here[:1], []))
        for part in _deciding(n)
    ]
    own = {*map(id, ast.walk(statement))}
    return any(
        id(n) in own or (isinstance(n, ast.Name) and n.id in names)
        for part in deciding
        for n in ast.walk(part)
    )


def _deciding(n: ast.AST) -> list[ast.expr]:
    """The expressions on whose value it rests what code does."""
    match n:
        case ast.If(test) | ast.While(test) | ast.IfExp(test) | ast.Assert(test):
            return [test]
        case ast.Compare():
            return [n]
        case ast.BinOp(op=ast.Mod()):
            return [n]
        case ast.comprehension(ifs=tests):
            return tests
    return []


@functools.cache
def _statements(file: str) -> list[ast.stmt]:
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return []
    return [n for n in ast.walk(tree) if isinstance(n, ast.stmt)]


def _end(statement: ast.stmt) -> int:
    return statement.end_lineno or statement.lineno


def raised_at(error: BaseException) -> Place:
    """The nearest line outside torch and purethin on the way to an error."""
    found = Place(type(error).__name__, None, 0)
    step = error.__traceback__
    while step is not None:
        if not in_library((code := step.tb_frame.f_code).co_filename):
            found = Place(type(error).__name__, code, step.tb_lineno)
        step = step.tb_next
    return found
