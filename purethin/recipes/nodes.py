"""YAML as nodes that know their place: an error begins with file:line:column. Plain values only;
no object is ever made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import MISSING, field, fields
from math import isfinite
from sys import float_info
from typing import Any, NoReturn, TypeVar

import yaml
from yaml.scanner import ScannerError

from purethin.errors import RecipeError, nearest

T = TypeVar("T")
Fields = dict[str, tuple[yaml.Node, yaml.Node]]
"""A mapping's `{key: (the key's node, the value's node)}`."""

_CORE = {f"tag:yaml.org,2002:{k}" for k in ("null", "bool", "int", "float", "str", "seq", "map")}
_MERGE = "tag:yaml.org,2002:merge"
_MOST = 200_000  # what a published schedule of Distiller has for "never"
_DEEPEST = 50
_LONGEST = 500  # a message repeats what it is about
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
"""What YAML 1.2 and a reader take for a number, and YAML 1.1 for a word: 1e-4."""


class _Loader(yaml.SafeLoader):
    """PyYAML's, whose time grows with the square of how deep brackets nest; a recipe's nest three
    deep.
    """

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        if self.flow_level >= _DEEPEST:
            raise ScannerError(None, None, "nested too deeply for a recipe", self.get_mark())
        super().fetch_flow_collection_start(TokenClass)


def compose(text: str, title: str) -> yaml.Node | None:
    """The root node of a YAML text, None where it is empty; `title` is the file name in errors.

    Raises:
        RecipeError: the text is not YAML.
    """
    try:
        loader = _Loader(text)
        loader.name = title
        return loader.get_single_node()
    except RecursionError as error:
        raise RecipeError(f"{title}:1:1: nested too deeply for a recipe") from error
    except Exception as error:  # of `%YAML x` PyYAML lets a ValueError pass
        at = getattr(error, "position", 0)
        line, column = text.count("\n", 0, at), at - text.rfind("\n", 0, at) - 1
        if mark := getattr(error, "problem_mark", None):
            line, column = mark.line, mark.column
        why = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        if "<block" in str(why):
            why = f"{why}; entries of one mapping begin in one column: indent this line as they are"
        raise RecipeError(f"{title}:{line + 1}:{column + 1}: not YAML: {why}") from error


def place(node: yaml.Node) -> str:
    """`file:line:column`, counted from 1."""
    mark = node.start_mark
    return f"{mark.name}:{mark.line + 1}:{mark.column + 1}"


def fail(at: yaml.Node | str, message: str) -> NoReturn:
    """Raise a RecipeError at a node, or at a place kept from one."""
    raise RecipeError(f"{at if isinstance(at, str) else place(at)}: {message}")


def mapping(node: yaml.Node, what: str) -> Fields:
    """The entries of a mapping, in order, those of its merge keys (<<) after its own; a key that
    stands twice is an error.
    """
    out: Fields = {}
    seen, todo = {id(node)}, [node]
    while todo:  # a merged mapping may merge others, or itself: each is read once
        own = _entries(todo.pop(), what)
        if merged := own.pop("<<", None):
            several = isinstance(merged[1], yaml.SequenceNode)
            parts = sequence(merged[1], "<<") if several else [merged[1]]
            fresh = {id(part): part for part in parts if id(part) not in seen}
            seen |= fresh.keys()
            todo += reversed(fresh.values())
        out |= {name: entry for name, entry in own.items() if name not in out}
    return out


def _entries(node: yaml.Node, what: str) -> Fields:
    """What a mapping itself holds; its merge key, where it has one, under `<<`."""
    _plain(node)
    if not isinstance(node, yaml.MappingNode):
        fail(node, f"{what} is a mapping of names to values, not {_kind(node)}")
    out: Fields = {}
    for key, entry in node.value:
        if not isinstance(key, yaml.ScalarNode):
            fail(key, f"a name in {what} is one word, not {_kind(key)}")
        name = "<<" if key.tag == _MERGE else str(value(key))
        if name in out:
            first = out[name][0].start_mark.line + 1
            fail(key, f"'{name}' stands twice in {what}; first at line {first}")
        out[name] = (key, entry)
    return out


def sequence(node: yaml.Node, what: str) -> list[yaml.Node]:
    """The items of a list."""
    _plain(node)
    if not isinstance(node, yaml.SequenceNode):
        fail(node, f"{what} is a list, not {_kind(node)}: write [a, b] or one `- a` a line")
    return list(node.value)


def value(node: yaml.Node) -> Any:
    """A scalar's plain value: a number, a word, true or false, or None."""
    _plain(node)
    if not isinstance(node, yaml.ScalarNode):
        fail(node, f"a number or a word is expected, not {_kind(node)}")
    if (length := len(node.value)) > _LONGEST:
        most = f"a name or a number has at most {_LONGEST}"
        fail(node, f"'{_short(node.value)}' has {length:,} characters; {most}")
    if node.style is None and _NUMBER.fullmatch(node.value):
        return float(node.value)
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except Exception as error:  # `!!float half`, `!!bool 7`, 2001-99-99
        fail(node, f"'{_short(node.value)}' is not a plain value: {error}")


def values(node: yaml.Node, _: str = "") -> Any:
    """A scalar's value, or a list's, item by item; numbers are finite."""
    if isinstance(node, yaml.SequenceNode):
        return [_finite(item) for item in sequence(node, "a value")]
    return _finite(node)


def _finite(node: yaml.Node) -> Any:
    given = value(node)
    if isinstance(given, float) and not isfinite(given):
        fail(node, f"{given} is not a finite number")
    return given


def fraction(node: yaml.Node, what: str) -> float:
    """A number from 0 to 1."""
    return float(_number(node, what, 0, 1, "the fraction removed, from 0 to 1 (0.5 for half)"))


def number(node: yaml.Node, what: str) -> float:
    """A finite number from 0."""
    return float(_number(node, what, 0, float_info.max, "a number from 0, as 0.0008"))


def whole(node: yaml.Node, what: str, least: int = 0) -> int:
    """A whole number from `least` to two hundred thousand, beyond which no epoch is."""
    meant = f"a whole number from {least} to {_MOST:,}"
    return _number(node, what, least, _MOST, meant, kind=int)


def _number(
    node: yaml.Node, what: str, least: float, most: float, meant: str, kind: Any = (int, float)
) -> Any:
    given = value(node)
    typed = isinstance(given, kind) and not isinstance(given, bool)
    if not typed or not least <= given <= most:
        fail(node, f"{what} is {_short(given)}; it is {meant}")
    return given


def truth(node: yaml.Node, what: str) -> bool:
    """True or false."""
    if not isinstance(given := value(node), bool):
        fail(node, f"{what} is {_short(given)}; it is true or false")
    return given


def one_of(node: yaml.Node, what: str, allowed: Iterable[str]) -> str | None:
    """One of the allowed words, None where the node is empty."""
    if empty(node):
        return None
    if (given := str(value(node))) not in allowed:
        fail(node, f"no {what} is named '{given}'; {nearest(given, allowed)}")
    return given


def empty(node: yaml.Node) -> bool:
    """Whether a node holds nothing: null, [] or {}."""
    return not node.value if isinstance(node, yaml.CollectionNode) else value(node) is None


def _plain(node: yaml.Node) -> None:
    if node.tag not in _CORE:
        why = "would make an object; a recipe holds plain values only: remove it"
        fail(node, f"the tag {node.tag} {why}")


def _kind(node: yaml.Node) -> str:
    kinds = {yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list"}
    return kinds.get(type(node)) or f"'{_short(node.value)}'"


def _short(given: Any) -> str:
    """A value as text that fits a line."""
    text = str(given)
    return text if len(text) <= 60 else f"{text[:57]}..."


# ---- entries as dataclasses


def said(read: Callable[[yaml.Node, str], Any], example: str = "", **default: Any) -> Any:
    """A field of a dataclass that an entry of a mapping gives: `read(node, key)` reads its value.

    Args:
        read: from the entry's node and its key to the value.
        example: what to write where it lacks; without a `default` it must be there.
        **default: `default=…`.
    """
    return field(metadata={"read": read, "example": example}, **default)


def read(cls: type[T], entries: Fields, at: yaml.Node, owner: str, unknown: str) -> T:
    """A dataclass from the entries of a mapping, one for each field that `said` made.

    Args:
        cls: the dataclass.
        entries: the mapping.
        at: where an error is that something lacks.
        owner: whose entries they are, in that error: `pruner 'low'`.
        unknown: how the error of an unknown entry begins: `L1RankedFilterPruner has no argument`.

    Raises:
        RecipeError: an entry is unknown, lacks, or cannot be read.
    """
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for key, (key_at, _) in entries.items():
        if key not in known:
            fail(key_at, f"{unknown} '{key}'; {nearest(key, known)}")
    for key, f in known.items():
        if key not in entries and f.default is MISSING:
            fail(at, f"{owner} lacks '{key}': write `{key}: {f.metadata['example']}`")
    return cls(**{k: known[k].metadata["read"](node, k) for k, (_, node) in entries.items()})
