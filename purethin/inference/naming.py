"""A name for each axis: the path of the module whose parameter makes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from purethin.inference.nodes import Node, find, leaves
from purethin.inference.sources import Traced


def axis_names(traced: Traced, dims: Mapping[str, list[Node]]) -> dict[Node, str]:
    """A name for each variable: the module path of the first parameter that produces it, in
    registration order.
    """
    measured = {
        find(a.node): (a.module, a.name)
        for a in traced.attributes
        if a.position is None and find(a.node).kind == "variable"
    }
    roles: dict[Node, str] = {}
    for node, role in traced.trace.roles:
        if len(only := leaves(node)) == 1:
            roles.setdefault(only[0], role)
    found: dict[Node, str] = {}
    for path, entries in _owned(traced, dims).items():
        shared = Counter(parameter for parameter, _, _ in entries)
        for i, (parameter, dim, v) in enumerate(entries):
            part = roles.get(v) if find(dims[parameter][dim]) is not v else None
            number = None if len(entries) == 1 else i
            lone = shared[parameter] == 1
            name = next(candidates(path, parameter, part, measured.get(v), number, lone))
            name = parameter if name.isdecimal() else name
            found[v] = f"p{name}" if name.isdecimal() else name
    return dict(zip(found, unique(found.values()), strict=True))


def candidates(
    path: str,
    parameter: str,
    part: str | None,
    measured: tuple[str, str] | None,
    number: int | None,
    lone: bool,
) -> Iterator[str]:
    """Names for an axis, the best first.

    Args:
        path: the module that owns the first parameter that makes it.
        parameter: that parameter.
        part: what the axis is there, where it is a part of a dimension: `heads`, `head_dim`.
        measured: the module and the name of the attribute that holds its size.
        number: its place among the module's axes; None where it is the only one.
        lone: whether it is the only axis that this parameter makes.

    >>> first = lambda *case: next(candidates(*case))
    >>> first("attn.qkv", "attn.qkv.weight", "heads", ("attn", "num_heads"), 0, False)
    'attn.num_heads'
    >>> first("attn.qkv", "attn.qkv.weight", "heads", ("config", "num_heads"), 0, False)
    'attn.qkv.heads'
    >>> first("conv1", "conv1.weight", None, None, None, True)
    'conv1'
    >>> first("cell", "cell.w", None, ("cell", "width"), 0, True)
    'cell.width'
    >>> first("cell", "cell.w", None, None, 0, True)
    'cell.w'
    >>> first("cell", "cell.w", None, None, 1, False)
    'cell.1'
    """
    module, attribute = measured or (None, "")
    if part:
        if "." not in attribute and module in (path, path.rpartition(".")[0]):
            yield f"{module}.{attribute}".strip(".")
        yield f"{path}.{part}".strip(".")
    if number is None and path:
        yield path
    if module == path:
        yield f"{path}.{attribute}".strip(".")
    if lone:
        yield parameter
    yield f"{path or parameter}.{number or 0}"


def unique(names: Iterable[str]) -> Iterator[str]:
    """The names, numbered where one has been given already.

    >>> [*unique(["fc", "fc", "conv"])]
    ['fc', 'fc#2', 'conv']
    """
    taken: set[str] = set()
    for name in names:
        new, n = name, 2
        while new in taken:
            new, n = f"{name}#{n}", n + 1
        taken.add(new)
        yield new


def _owned(
    traced: Traced, dims: Mapping[str, list[Node]]
) -> dict[str, list[tuple[str, int, Node]]]:
    """By module path, the axes that its parameters are the first to make (else the first to carry),
    each with parameter and dim.
    """
    produced = traced.trace.producers
    order = [(name, d) for name, ds in dims.items() for d in range(len(ds))]
    order = [p for p in order if p in produced] + [p for p in order if p not in produced]
    first: dict[Node, tuple[str, int]] = {}
    for parameter, dim in order:
        for v in leaves(dims[parameter][dim]):
            first.setdefault(v, (parameter, dim))
    owned: dict[str, list[tuple[str, int, Node]]] = {}
    for v, (parameter, dim) in first.items():
        owned.setdefault(_module_path(parameter), []).append((parameter, dim, v))
    return owned


def _module_path(parameter: str) -> str:
    """The module that owns a parameter; torch keeps a parametrized one in a container of its own,
    inside that module.
    """
    return (
        parameter.partition(".parametrizations.")[0]
        if ".parametrizations." in parameter
        else parameter.rpartition(".")[0]
    )
