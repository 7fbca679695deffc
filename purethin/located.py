"""YAML as nodes that know their place: a complaint begins with file:line:column. Plain values only; no object is ever made."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import yaml

from purethin.errors import RecipeError

Fields = dict[str, tuple[yaml.Node, yaml.Node]]
"""A mapping's `{key: (the key's node, the value's node)}`."""

_CORE = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map"))
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
"""What YAML 1.2 and a reader take for a number, and YAML 1.1 for a word: 1e-4."""


def compose(text: str, title: str) -> yaml.Node | None:
    """The root node of a YAML text, None where it is empty; `title` is the file name in complaints.

    Raises:
        RecipeError: the text is not YAML.
    """
    try:
        loader = yaml.SafeLoader(text)
        loader.name = title
        return loader.get_single_node()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{title}:{mark.line + 1}:{mark.column + 1}" if mark else title
        raise RecipeError(f"{at}: not YAML: {getattr(error, 'problem', None) or error}") from error
    except RecursionError as error:
        raise RecipeError(f"{title}: nested too deeply for a recipe") from error


def place(node: yaml.Node) -> str:
    """`file:line:column`, counted from 1."""
    mark = node.start_mark
    return f"{mark.name}:{mark.line + 1}:{mark.column + 1}"


def fail(at: yaml.Node | str, message: str) -> NoReturn:
    """Raise a RecipeError at a node, or at a place kept from one."""
    raise RecipeError(f"{at if isinstance(at, str) else place(at)}: {message}")


def mapping(node: yaml.Node, what: str) -> Fields:
    """The entries of a mapping, in order; a key that stands twice is an error."""
    _plain(node)
    if not isinstance(node, yaml.MappingNode):
        fail(node, f"{what} is a mapping of names to values, not {_kind(node)}")
    out: Fields = {}
    for key, entry in node.value:
        if not isinstance(key, yaml.ScalarNode):
            fail(key, f"a name in {what} is one word, not {_kind(key)}")
        name = str(value(key))
        if name in out:
            fail(key, f"'{name}' stands twice in {what}; first at line {out[name][0].start_mark.line + 1}")
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
    if node.style is None and _NUMBER.fullmatch(node.value):
        return float(node.value)
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        fail(node, f"'{node.value}' is no plain value: {error}")


def values(node: yaml.Node) -> Any:
    """A scalar's value, or a list's, item by item."""
    return [value(item) for item in node.value] if isinstance(node, yaml.SequenceNode) else value(node)


def fraction(node: yaml.Node, what: str) -> float:
    """A number from 0 to 1."""
    number = value(node)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 1:
        fail(node, f"{what} is {number}; it is the fraction removed, from 0 to 1 (0.5 for half)")
    return float(number)


def whole(node: yaml.Node, what: str, least: int) -> int:
    """A whole number of at least `least`."""
    number = value(node)
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        fail(node, f"{what} is {number}; it is a whole number from {least}")
    return number


def empty(node: yaml.Node) -> bool:
    """Whether a node holds nothing: null, [] or {}."""
    return not node.value if isinstance(node, yaml.CollectionNode) else value(node) is None


def _plain(node: yaml.Node) -> None:
    if node.tag not in _CORE:
        fail(node, f"the tag {node.tag} would make an object; a recipe holds plain values only: remove it")


def _kind(node: yaml.Node) -> str:
    return {yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list"}.get(type(node), f"'{node.value}'")
