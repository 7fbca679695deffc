"""The house in figures: sizes of files and functions, and who imports whom, for a package's folder.

`python tests/support/house.py [FOLDER…]` prints a table, `purethin` if no folder is named.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MACHINE = "trace silence solver sizes places caches sources readout trial infer"
"""The inference of the layout before `inference/`, to compare with."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class File:
    """One module: its dotted name below the package, its text."""

    name: str
    text: str
    package: str

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        """The folder, or "" on top."""
        return self.name.partition(".")[0] if "." in self.name else ""

    def functions(self) -> Iterator[Function]:
        return (n for n in ast.walk(self.tree) if isinstance(n, Function))

    def imports(self, *, late: bool = True) -> set[str]:
        """The package's modules that it imports; without `late`, as it is imported itself."""
        nodes = ast.walk(self.tree) if late else iter(self.tree.body)
        found: set[str] = set()
        for node in nodes:
            if isinstance(node, ast.Import):
                found |= {a.name for a in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
        start = f"{self.package}."
        return {name.removeprefix(start) for name in found if name.startswith(start)}


def files_of(folder: Path) -> dict[str, File]:
    """The modules of a package by dotted name below it; a package's own is its folder's name."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = File(name, path.read_text(encoding="utf-8"), folder.name)
    return found


def arrows(files: Mapping[str, File], *, late: bool = True) -> dict[str, set[str]]:
    """`{module: the modules that it imports}`."""
    return {n: (f.imports(late=late) & files.keys()) - {n} for n, f in files.items()}


def across(files: Mapping[str, File]) -> list[tuple[str, str]]:
    """Imports of inference from outside it, those of `__init__` aside."""
    inside = {n for n in files if n.split(".")[0] == "inference"} or {
        n for n in files if n in MACHINE.split() or n.split(".")[0] == "rules"
    }
    graph = arrows(files)
    return [(n, m) for n in graph if n not in inside | {"__init__"} for m in graph[n] & inside]


def loops(files: Mapping[str, File]) -> list[str]:
    """The modules that import themselves by way of others."""
    graph = arrows(files, late=False)

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = set(graph[start])
        while ahead:
            seen |= ahead
            ahead = {m for n in ahead for m in graph[n]} - seen
        return seen

    return [n for n in graph if n in reached(n)]


def length(function: Function) -> int:
    """Lines of a function, its docstring and the blank line below not counted."""
    doc = ast.get_docstring(function, clean=False) is not None
    first = function.body[0]
    text = (first.end_lineno or 0) - first.lineno + 1 if doc else 0
    return (function.end_lineno or 0) - function.lineno + 1 - text


def arguments(function: Function) -> int:
    """How many arguments a caller may give, `self` not counted."""
    a = function.args
    names = [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    return len([n for n in names if n not in ("self", "cls")])


def long_files(files: Mapping[str, File], most: int = 350) -> dict[str, int]:
    """Files of more lines than that."""
    return {n: len(f.lines) for n, f in files.items() if len(f.lines) > most}


def wide_lines(files: Mapping[str, File], most: int = 100) -> dict[str, int]:
    """How many lines of a file are longer than that."""
    counts = {n: sum(len(line) > most for line in f.lines) for n, f in files.items()}
    return {n: count for n, count in counts.items() if count}


def long_functions(files: Mapping[str, File], most: int = 40) -> dict[str, int]:
    """Functions of more lines than that."""
    return _functions(files, length, most)


def many_arguments(files: Mapping[str, File], most: int = 7) -> dict[str, int]:
    """Functions of more arguments than that."""
    return _functions(files, arguments, most)


def _functions(
    files: Mapping[str, File], measure: Callable[[Function], int], most: int
) -> dict[str, int]:
    return {
        f"{n}:{g.lineno} {g.name}": size
        for n, f in files.items()
        for g in f.functions()
        if (size := measure(g)) > most
    }


def table(folder: Path) -> str:
    """What a reader of the house wants to know, a line each."""
    files = files_of(folder)
    rooms, lines = Counter(f.room for f in files.values()), Counter[str]()
    for f in files.values():
        lines[f.room] += len(f.lines)
    longest = max(files.values(), key=lambda f: len(f.lines))
    most = _functions(files, arguments, 0)
    widest = max(most, key=lambda name: most[name])
    rows = {
        "lines": f"{sum(lines.values()):,} in {len(files)} files",
        **{f"  {r or '(top)'}": f"{lines[r]:,} in {rooms[r]} files" for r in sorted(rooms)},
        "longest file": f"{longest.name}, {len(longest.lines)}",
        "files over 350 lines": long_files(files),
        "functions over 40 lines": long_functions(files),
        "most arguments": f"{most[widest]}, {widest}",
        "functions over 7 arguments": many_arguments(files),
        "lines over 100 columns": sum(wide_lines(files).values()),
        "fmt: skip": sum(f.text.count("fmt: skip") for f in files.values()),
        "arrows into inference": across(files),
        "modules in import loops": loops(files),
    }
    return "\n".join(f"{name:28}{value or 0}" for name, value in rows.items())


if __name__ == "__main__":
    for name in sys.argv[1:] or ["purethin"]:
        print(f"{name}\n{table(Path(name).resolve())}\n")
