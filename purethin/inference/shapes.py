"""Tracked numbers on their way: out of dims, through containers and arguments, into dims."""

from __future__ import annotations

from typing import Any

import torch

from purethin.inference import ratios  # noqa: F401  (it gives sizes their division)
from purethin.inference.equations import is_size_only
from purethin.inference.ledger import Ledger
from purethin.inference.nodes import Node, Why, constant, find, freeze, variable
from purethin.inference.places import Because, place
from purethin.inference.posing import Posing
from purethin.inference.sizes import Size


def tracked(value: int, node: Node, ledger: Ledger) -> int:
    """The integer, tracked if the node can change."""
    if find(node).kind == "constant":
        return value
    if not ledger.tracking:
        freeze(node, Because("its size is read as a plain integer", place("a size")))
        return value
    return Size(value, node, ledger)


def dimension(value: int, ledger: Ledger, why: Why) -> Node:
    """A dimension whose size this integer states: fresh, with an equation, or a constant for a
    literal.
    """
    if not isinstance(value, Size) or value.ledger is not ledger:
        return constant(value, why)
    fresh, node = variable(value.value), find(value.measured)
    if node.kind == "constant":
        return constant(value.value, node.why or why)
    if is_size_only(node):
        node.up = fresh
    else:
        ledger.equations.append((fresh, node, why))
    return fresh


_UNTRACKED = frozenset((int, float, bool, str, type(None), torch.Tensor, torch.nn.Parameter))


class Shape(tuple[int, ...]):
    """What `x.shape` gives while its sizes are tracked; by `isinstance` a `torch.Size`."""

    __class__ = property(lambda self: torch.Size)  # type: ignore[assignment]

    def numel(self) -> int:
        out = 1
        for s in self:
            out = out * s
        return out

    def __getitem__(self, i: Any) -> Any:
        got = tuple.__getitem__(self, i)
        return Shape(got) if isinstance(i, slice) else got

    def __add__(self, other: Any) -> Shape:
        return Shape((*self, *other))


def sizes_in(tree: Any) -> list[Posing]:
    """The tracked integers and fractions among arguments."""
    if isinstance(tree, Posing):
        return [tree]
    inner: Any = ()
    if isinstance(tree, (tuple, list)):
        inner = tree
    elif isinstance(tree, dict):
        inner = tree.values()
    elif isinstance(tree, slice):
        inner = tree.start, tree.stop, tree.step
    found: list[Posing] = []
    for x in inner:
        if type(x) not in _UNTRACKED:
            found += sizes_in(x)
    return found


def plain(x: Any) -> Any:
    """The value of a tracked number; anything else as it is, with those in it replaced."""
    if isinstance(x, Posing):
        return x.value
    if isinstance(x, tuple | list) and any(map(_has_size, x)):
        parts = map(plain, x)
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    if isinstance(x, slice):
        return slice(plain(x.start), plain(x.stop), plain(x.step))
    if type(x) is dict:
        return {k: plain(v) for k, v in x.items()}
    return x


def _has_size(x: Any) -> bool:
    return isinstance(x, Posing | tuple | list | slice | dict)
