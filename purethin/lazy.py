"""Public names that are imported when they are first used (PEP 562): `import purethin` costs next
to nothing beside `import torch`.

Invariant: a name is written once, as an import that type checkers read, and nothing else is public.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from typing import Any


def attach(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """What a package needs so that the imports below its `if TYPE_CHECKING:` happen on first use.

    Args:
        package: the name of a package that is being imported; `__all__` is set on it.

    Returns:
        Its `__getattr__` and its `__dir__`, which lists the public names alone.
    """
    module = sys.modules[package]
    places = _places(module.__loader__.get_source(package))  # type: ignore[union-attr]
    public = sorted(["__version__", *places])
    vars(module)["__all__"] = public

    def found(name: str) -> Any:
        if name not in places:
            message = f"module '{package}' has no attribute '{name}'"
            raise AttributeError(message, name=name, obj=module)
        where, original = places[name]
        inner = None if where == package else importlib.import_module(where)
        value = getattr(inner, original, None)
        if value is None:  # a module of the package
            value = importlib.import_module(f"{where}.{original}")
        vars(module)[name] = value  # the next look-up does not come here
        return value

    return found, public.copy


def _places(source: str) -> dict[str, tuple[str, str]]:
    """`{public name: (module, its name there)}`, as the imports for type checkers say.

    >>> _places("if TYPE_CHECKING: from a.b import c as d")
    {'d': ('a.b', 'c')}
    """
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in imports
        for alias in node.names
    }
