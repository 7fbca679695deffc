"""Which axes a text means: a name, a pattern, a weight, or a role. One way through all doors:
recipes, selections, measurements, the oracle, the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from purethin import axes as ax
from purethin.arguments import explained
from purethin.errors import PurethinError, SpecError, nearest
from purethin.records import Axis
from purethin.spec import Spec

ROLES: Mapping[str, str] = {
    "heads": "the heads of attention, and their groups",
    "head_width": "the width of each head",
    "feed_forward": "what matrices make and matrices read, within a block",
    "filters": "what kernels make, within a block",
    "model_width": "the residual streams: what several layers add to and several read",
}
"""The words for parts of a network, and what each means."""


@explained
def find(
    spec: Spec, wanted: str | Iterable[str], *, error: type[PurethinError] = SpecError
) -> tuple[str, ...]:
    """The axes that texts mean.

    Args:
        spec: the network's spec.
        wanted: one text or several. Each is read as the first of these that fits: an axis's own
            name; a role ("heads", "head_width", "feed_forward", "filters", "model_width"); "all";
            a weight's name (`layer1.1.conv2.weight`, with or without `module.`), which means the
            axis that it makes; a pattern of axis names (`fnmatch`: `"layer1.*"`). Roles and
            patterns mean exact axes; "all", a name and a weight mean inexact ones too.
        error: the class of what is raised.

    Returns:
        The axes' names, in the spec's order, each once.

    Raises:
        SpecError (or `error`): a text means no axis; says what comes nearest, also by meaning.

    >>> import torch
    >>> params = {"a.w": torch.zeros(8, 3), "b.w": torch.zeros(4, 8), "c.w": torch.zeros(2, 4)}
    >>> spec = Spec.from_layout({"a.w": "a 3", "b.w": "b a", "c.w": "2 b"}, params)
    >>> find(spec, "b.w"), find(spec, "feed_forward"), find(spec, ["[b-z]*", "a"])
    (('b',), ('a', 'b'), ('a', 'b'))
    """
    found: set[str] = set()
    for text in [wanted] if isinstance(wanted, str) else wanted:
        found.update(_meant(spec, text, error))
    return tuple(name for name in spec.axes if name in found)


def matching(names: Iterable[str], text: str) -> list[str]:
    """The names that a text means by itself: all, itself, or those of its pattern."""
    names = [*names]
    if text == "all" or text in names:
        return names if text == "all" else [text]
    return [name for name in names if fnmatchcase(name, text)]


def _meant(spec: Spec, text: str, error: type[PurethinError]) -> Iterable[str]:
    if text in spec.axes:
        return [text]
    if text in ROLES:
        if hits := [n for n in spec.exact if role(spec, n) == text]:
            return hits
        raise error(f"no exact axis has the role '{text}': {ROLES[text]}; {_roles_of(spec)}")
    if text == "all":
        return spec.axes
    weight = text.removeprefix("module.")
    if weight in spec.layout:
        if made := made_by(spec, weight):
            return made
        raise error(f"'{text}' makes no axis: its filters are frozen")
    if hits := [n for n in spec.exact if fnmatchcase(n, text)]:
        return hits
    inexact = next((a for a in spec.axes.values() if fnmatchcase(a.name, text)), None)
    if inexact is None:
        raise error(f"'{text}' matches no axis; {hint(spec, text)}")
    raise error(
        f"'{text}' matches no exact axis, only such as '{inexact.name}' (inexact: "
        f"{inexact.reason}): to prune that all the same, name it outright"
    )


def made_by(spec: Spec, weight: str) -> list[str]:
    """The axes that a weight makes."""
    return [n for n, axis in spec.axes.items() if weight in {p for p, _ in axis.producers}]


def hint(spec: Spec, text: str) -> str:
    """The tail of a message about a name that is no axis: what its filters are, else the nearest
    names.
    """
    module = text.removeprefix("module.").removesuffix(".weight")
    for weight in (f"{module}.weight", module):
        if made := made_by(spec, weight) if weight in spec.layout else []:
            axes = " and ".join(f"'{name}'" for name in made)
            return f"the filters of {module} are axis {axes}"
    return nearest(text, spec.axes)


@explained
def role(spec: Spec, name: str) -> str:
    """The role of an axis, off the spec: how its places are composed, and what meets along it.

    Returns:
        "heads", "head_width", "feed_forward", "filters" or "model_width".

    Raises:
        SpecError: there is no such axis.
    """
    axis = spec.axis(name)
    matrices = [(p, d) for p, d in axis.places if len(spec.layout[p]) == 2]
    for p, d in matrices:
        for part in ax.walk(spec.layout[p][d]):
            if isinstance(part, ax.Product):
                named = [f for f in part.factors if any(ax.names(f))]
                if len(named) > 1 and name in ax.names(part):
                    return "head_width" if name in ax.names(named[-1]) else "heads"
    if _is_stream(spec, axis):
        return "model_width"
    kernels = any(len(spec.layout[p]) > 2 and p not in spec.buffers for p, _ in axis.producers)
    return "filters" if kernels else "feed_forward"


def _is_stream(spec: Spec, axis: Axis) -> bool:
    """Whether several weights add to it and several read it."""
    added = any(place.startswith("add") for place in spec.ties.get(axis.name, ()))
    weights = {p for p, _ in axis.places if len(spec.layout[p]) > 1}
    makers = {p for p, _ in axis.producers if len(spec.layout[p]) > 1}
    return added and len(makers) > 1 and len(weights - makers) > 1


def kinds(spec: Spec) -> dict[str, tuple[str, ...]]:
    """`{axis: its structural kind}`: axes of one kind do the same in the same sort of block. Its
    role, and for filters the sizes of the kernels that make and read them.
    """

    def kind(axis: Axis) -> tuple[str, ...]:
        own = role(spec, axis.name)
        if own != "filters":
            return (own,)
        sizes = {
            f"{'makes' if place in axis.producers else 'reads'} {'x'.join(map(str, dims[2:]))}"
            for place in axis.places
            if len(dims := spec.layout[place[0]]) > 2
        }
        return (own, *sorted(sizes))

    return {name: kind(axis) for name, axis in spec.axes.items()}


def _roles_of(spec: Spec) -> str:
    have = dict.fromkeys(role(spec, n) for n in spec.exact)
    return f"this network has {', '.join(have)}" if have else "this network has no exact axis"
