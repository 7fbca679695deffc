"""Parts of a network that stand in one list and have equal shapes, as experts do: what is learnt of
one holds for the others, which may not have run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from torch import nn

Shapes = Mapping[str, tuple[int, ...]]

_LISTS = (nn.ModuleList, nn.ModuleDict, nn.Sequential, nn.ParameterList, nn.ParameterDict)


def lists_of(modules: Mapping[str, nn.Module]) -> frozenset[str]:
    """The paths of a module's lists and dicts of parts."""
    return frozenset(path for path, module in modules.items() if isinstance(module, _LISTS))


def twins_of(unread: Collection[str], shapes: Shapes, lists: Collection[str]) -> dict[str, str]:
    """`{part: a part like it that did not run}`: of those in one list (`lists`, or parts that are
    numbered), whose parameters have the same names and shapes.

    >>> shapes = {"e.0.w": (2,), "e.1.w": (2,), "o": (2,)}
    >>> twins_of({"e.1.w"}, shapes, {"e"})
    {'e.0': 'e.1'}
    """
    found: dict[str, str] = {}
    for name in unread:
        for holder, part in _parts(name, lists):
            own = _inside(part, shapes)
            if not own.keys() <= {*unread}:
                continue
            held = {p for n in shapes for h, p in _parts(n, lists) if h == holder and p != part}
            for other in held:
                theirs = _inside(other, shapes)
                same = {n[len(other) :]: s for n, s in theirs.items()} == {
                    n[len(part) :]: s for n, s in own.items()
                }
                if same and not theirs.keys() <= {*unread}:
                    found.setdefault(other, part)
    return found


def _parts(name: str, lists: Collection[str]) -> Iterator[tuple[str, str]]:
    """The lists that a parameter lies in, each with the part of it that it belongs to."""
    words = name.split(".")
    for i in range(len(words)):
        holder = ".".join(words[:i])
        if holder in lists or (words[i].isdigit() and not lists):
            yield holder, ".".join(words[: i + 1])


def _inside(part: str, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    return {n: s for n, s in shapes.items() if n == part or n.startswith(f"{part}.")}
