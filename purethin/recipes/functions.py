"""Criteria and curves as a recipe names them: public ones by name, others by `module:function`.

Reading a recipe imports nothing: a module is imported when the function is needed.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Literal

import yaml

from purethin import criteria
from purethin.errors import RecipeError, nearest
from purethin.recipes import curves, nodes

Role = Literal["criterion", "curve"]


def _public(module: Any, result: str) -> dict[str, Callable[..., Any]]:
    """The functions of a module that say that they return this."""
    return {
        name: f
        for name, f in vars(module).items()
        if inspect.isfunction(f) and not name.startswith("_")
        if f.__annotations__.get("return") == result
    }


PUBLIC: Mapping[Role, Mapping[str, Callable[..., Any]]] = {
    "criterion": _public(criteria, "Scores"),
    "curve": _public(curves, "float"),
}
"""The functions that a recipe may name by one word."""


@dataclass(frozen=True)
class Function:
    """A criterion or a curve. Two are equal if they have one name and the same options.

    Attributes:
        name: of a public one, or `module:function`; where neither names it, what Python calls it.
        options: keyword arguments that are set.
        given: the function itself, where Python gave it.
        place: its line, for messages.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    given: Callable[..., Any] | None = field(default=None, compare=False, repr=False)
    place: str = field(default="", compare=False, repr=False)

    def load(self, role: Role) -> Callable[..., Any]:
        """The function, with its options set.

        Raises:
            RecipeError: no such module, or no such function in it.
        """
        function = self.given or PUBLIC[role].get(self.name) or self._imported(role)
        return partial(function, **self.options) if self.options else function

    def _imported(self, role: Role) -> Callable[..., Any]:
        module, _, name = self.name.partition(":")
        where = f"{self.place}: " * bool(self.place)
        try:
            found: Any = import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError, ValueError) as error:
            raise RecipeError(
                f"{where}the {role} '{self.name}' cannot be imported: {error}; write "
                "`module:function` of a module that Python finds, or one of "
                f"{', '.join(sorted(PUBLIC[role]))}"
            ) from error
        if not callable(found):
            raise RecipeError(f"{where}the {role} '{self.name}' is not a function")
        return found

    def written(self, role: Role) -> str | dict[str, Any]:
        """What YAML says of it.

        Raises:
            RecipeError: a function that only this session knows.
        """
        if self.name not in PUBLIC[role] and ":" not in self.name:
            raise RecipeError(
                f"the {role} '{self.name}' cannot be written: YAML names public functions and "
                "`module:function`, and no module that another process can import has this one "
                "at its top; move it into a module of its own"
            )
        return {self.name: dict(self.options)} if self.options else self.name


def function_of(given: Callable[..., Any], role: Role) -> Function:
    """A function that Python gave, by the name that a recipe has for it.

    >>> from purethin.criteria import lp_norm
    >>> function_of(partial(lp_norm, p=2), "criterion")
    Function(name='lp_norm', options={'p': 2})
    """
    function, options = given, dict[str, Any]()
    while isinstance(function, partial) and not function.args:
        function, options = function.func, {**function.keywords, **options}
    name = getattr(function, "__qualname__", None) or type(function).__name__
    module = getattr(function, "__module__", None) or "__main__"
    known = next((n for n, f in PUBLIC[role].items() if f is function), None)
    if known is None and module != "__main__":
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        known = f"{module}:{name}" if found is function else None
    return Function(known or name, options, function)


def read_function(node: yaml.Node, role: Role) -> Function:
    """A function from its entry: a name, or `{name: {option: value}}`.

    Raises:
        RecipeError: no public function has this name.
    """
    options: dict[str, Any] = {}
    named = node
    if isinstance(node, yaml.MappingNode):
        entries = list(nodes.mapping(node, f"a {role} with options").values())
        if len(entries) != 1:
            nodes.fail(node, f"write one {role} with its options, as `{{lp_norm: {{p: 2}}}}`")
        named, inner = entries[0]
        given = nodes.mapping(inner, "its options")
        options = {key: nodes.values(value) for key, (_, value) in given.items()}
    name = str(nodes.value(named))
    if name not in PUBLIC[role] and not all(name.partition(":")):
        known = nearest(name, PUBLIC[role])
        nodes.fail(named, f"no {role} is named '{name}'; {known}; or write `module:function`")
    return Function(name, options, place=nodes.place(named))
