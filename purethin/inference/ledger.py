"""What the sizes of a trace were used for: the ledger that tracked integers write to."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from purethin.inference.equations import Equation, is_size_only
from purethin.inference.nodes import Node, Why, find, leaves
from purethin.inference.places import Because, Place

SMALL = 3
"""Up to here a plain integer is taken for a literal: two and three stand in every program."""


@dataclass
class Ledger:
    """Equations between sizes, comparisons (path conditions), uses as a number, and as text.

    `tracking`: whether integers are tracked; else every dim whose size is read is frozen.
    `tentative`: whether a plain integer that `int()` made of a size may be taken for that size
    (`lost`, by value), as a trial follows; `taken`: those that were, by the number of the question;
    `only`: in a trial, the questions at which the dense network's were.
    """

    tracking: bool = True
    tentative: bool = False
    lost: dict[int, Any] = field(default_factory=dict)
    taken: dict[int, Node] = field(default_factory=dict)
    asked: int = 0
    only: Container[int] | None = None
    equations: list[Equation] = field(default_factory=list)
    comparisons: list[tuple[Node, str, Node, bool, Place]] = field(default_factory=list)
    as_numbers: list[tuple[Node, Place]] = field(default_factory=list)
    spelled: list[tuple[Node, Because]] = field(default_factory=list)

    def found(self, value: int) -> int:
        """The size that a plain integer may have been, else the integer."""
        if not self.tentative or type(value) is not int:
            return value
        self.asked += 1
        may = value > SMALL if self.only is None else self.asked in self.only
        if not may or (size := self.lost.get(value)) is None:
            return value
        self.taken[self.asked] = size.measured
        return size

    def equal(self, a: Node, b: Node, why: Why) -> None:
        """State that two sizes are one: a node that only measures is bound at once, for the dims
        that follow.
        """
        a, b = find(a), find(b)
        for measure, other in ((a, b), (b, a)):
            if is_size_only(measure) and measure not in leaves(other):
                measure.up = other
                return
        self.equations.append((a, b, why))
