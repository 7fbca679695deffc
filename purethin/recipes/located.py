"""YAML as nodes that know their place: a complaint begins with file:line:column. Plain values only;
no object is ever made.
"""

from __future__ import annotations

import re
from math import isfinite
from sys import float_info
from typing import Any, NoReturn

import yaml
from yaml.scanner import ScannerError

from purethin.errors import RecipeError

Fields = dict[str, tuple[yaml.Node, yaml.Node]]
"""A mapping's `{key: (the key's node, the value's node)}`."""

_CORE = tuple(
    f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")
)
_MOST = 200_000  # what a published schedule of Distiller has for "never"
_LONGEST = 500  # a message repeats what it is about
_DEEPEST = 50
_MERGE = "tag:yaml.org,2002:merge"
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
"""What YAML 1.2 and a reader take for a number, and YAML 1.1 for a word: 1e-4."""


class _Loader(yaml.SafeLoader):
    """PyYAML's, whose time grows with the square of how deep brackets nest: a recipe's nest three
    deep.
    """

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        if self.flow_level >= _DEEPEST:
            raise ScannerError(None, None, "nested too deeply for a recipe", self.get_mark())
        super().fetch_flow_collection_start(TokenClass)


def compose(text: str, title: str) -> yaml.Node | None:
    """The root node of a YAML text, None where it is empty; `title` is the file name in complaints.

    Raises:
        RecipeError: the text is not YAML.
    """
    try:
        loader = _Loader(text)
        loader.name = title
        return loader.get_single_node()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        if isinstance(error, yaml.reader.ReaderError):  # it knows how many characters it had read
            before = text[: error.position]
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            raise RecipeError(
                f"{title}:{line}:{column}: not YAML: the character {error.character!r}"
            ) from error
        at = f"{title}:{mark.line + 1}:{mark.column + 1}" if mark else f"{title}:1:1"
        raise RecipeError(f"{at}: not YAML: {getattr(error, 'problem', None) or error}") from error
    except RecursionError as error:
        raise RecipeError(f"{title}:1:1: nested too deeply for a recipe") from error
    except (
        ValueError
    ) as error:  # of a directive such as `%YAML`, whose numbers PyYAML reads unguarded
        raise RecipeError(f"{title}:1:1: not YAML: {error}") from error


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
    while todo:  # a merged mapping may merge others, or itself; each is read once, the first that has a key gives it
        entries = _entries(todo.pop(), what)
        merged = entries.pop("<<", None)
        for name, entry in entries.items():
            out.setdefault(name, entry)
        if merged is not None:
            parts = (
                sequence(merged[1], "<<")
                if isinstance(merged[1], yaml.SequenceNode)
                else [merged[1]]
            )
            fresh = [part for part in dict.fromkeys(parts) if id(part) not in seen]
            seen |= {id(part) for part in fresh}
            todo += reversed(fresh)
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
            fail(
                key,
                f"'{name}' stands twice in {what}; first at line "
                f"{out[name][0].start_mark.line + 1}",
            )
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
    if len(node.value) > _LONGEST:
        fail(
            node,
            f"'{_short(node.value)}' has {len(node.value):,} characters; a name or a number has at "
            f"most {_LONGEST}",
        )
    if node.style is None and _NUMBER.fullmatch(node.value):
        return float(node.value)
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError, LookupError) as error:
        fail(node, f"'{_short(node.value)}' is no plain value: {error}")


def values(node: yaml.Node) -> Any:
    """A scalar's value, or a list's, item by item; numbers are finite."""
    if isinstance(node, yaml.SequenceNode):
        return [_finite(item) for item in sequence(node, "a value")]
    return _finite(node)


def _finite(node: yaml.Node) -> Any:
    given = value(node)
    if isinstance(given, float) and not isfinite(given):
        fail(node, f"{given} is no number to reckon with")
    return given


def fraction(node: yaml.Node, what: str) -> float:
    """A number from 0 to 1."""
    given = value(node)
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        fail(
            node,
            f"{what} is {_short(given)}; it is the fraction removed, from 0 to 1 (0.5 for half)",
        )
    return float(given)


def whole(node: yaml.Node, what: str, least: int) -> int:
    """A whole number from `least` to two hundred thousand, beyond which no epoch is."""
    number = value(node)
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= _MOST:
        fail(node, f"{what} is {_short(number)}; it is a whole number from {least} to {_MOST:,}")
    return number


def number(node: yaml.Node, what: str) -> float:
    """A finite number from 0."""
    given = value(node)
    if (
        isinstance(given, bool)
        or not isinstance(given, int | float)
        or not 0 <= given <= float_info.max
    ):
        fail(node, f"{what} is {_short(given)}; it is a number from 0, as 0.0008")
    return float(given)


def truth(node: yaml.Node, what: str) -> bool:
    """True or false."""
    given = value(node)
    if not isinstance(given, bool):
        fail(node, f"{what} is {_short(given)}; it is true or false")
    return given


def empty(node: yaml.Node) -> bool:
    """Whether a node holds nothing: null, [] or {}."""
    return not node.value if isinstance(node, yaml.CollectionNode) else value(node) is None


def _plain(node: yaml.Node) -> None:
    if node.tag not in _CORE:
        fail(
            node,
            f"the tag {node.tag} would make an object; a recipe holds plain values only: remove it",
        )


def _kind(node: yaml.Node) -> str:
    return {yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list"}.get(
        type(node)
    ) or f"'{_short(node.value)}'"


def _short(given: Any) -> str:
    """A value as text that fits a line; a number of thousands of digits has none."""
    try:
        text = str(given)
    except ValueError:
        return "a number beyond all bounds"
    return text if len(text) <= 60 else f"{text[:57]}..."
