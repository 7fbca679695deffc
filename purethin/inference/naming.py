"""A name for each axis: the path of the module whose parameter makes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from purethin.inference.solver import Node, find, leaves
from purethin.inference.sources import Traced


def axis_names(traced: Traced, dims: Mapping[str, list[Node]]) -> dict[Node, str]:
    """A name for each variable: the module path of the first parameter that produces it, in
    registration order.
    """
    produced = traced.trace.producers
    order = [(n, d) for n, ds in dims.items() for d in range(len(ds))]
    owned: dict[str, list[tuple[str, int, Node]]] = {}
    seen: set[Node] = set()
    for first in (True, False):
        for parameter, dim in order:
            if ((parameter, dim) in produced) == first:
                for v in leaves(dims[parameter][dim]):
                    if v not in seen:
                        seen.add(v)
                        owned.setdefault(_module_path(parameter), []).append((parameter, dim, v))
    measured = {
        find(a.node): a
        for a in traced.attributes
        if a.position is None and find(a.node).kind == "variable"
    }
    roles: dict[Node, str] = {}
    for node, role in traced.trace.roles:
        if len(only := leaves(node)) == 1:
            roles.setdefault(only[0], role)
    names: dict[Node, str] = {}
    taken: set[str] = set()
    for path, entries in owned.items():
        per_parameter = Counter(parameter for parameter, _, _ in entries)
        for i, (parameter, dim, v) in enumerate(entries):
            attribute = measured.get(v)
            if (role := roles.get(v)) and find(dims[parameter][dim]) is not v:
                own = (
                    attribute
                    and "." not in attribute.name
                    and attribute.module in (path, path.rpartition(".")[0])
                )
                name = (
                    f"{attribute.module}.{attribute.name}"
                    if attribute and own
                    else f"{path}.{role}"
                )
                name = name.strip(".")
            elif len(entries) == 1 and path:
                name = path
            elif attribute is not None and attribute.module == path:
                name = f"{path}.{attribute.name}".strip(".")
            elif per_parameter[parameter] == 1:
                name = parameter
            else:
                name = f"{path or parameter}.{i}"
            name = parameter if name.isdecimal() else name
            name = f"p{name}" if name.isdecimal() else name
            unique, n = name, 2
            while unique in taken:
                unique, n = f"{name}#{n}", n + 1
            taken.add(unique)
            names[v] = unique
    return names


def _module_path(parameter: str) -> str:
    """The module that owns a parameter; torch keeps a parametrized one in a container of its own,
    inside that module.
    """
    return (
        parameter.partition(".parametrizations.")[0]
        if ".parametrizations." in parameter
        else parameter.rpartition(".")[0]
    )
