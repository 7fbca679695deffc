"""The laws of values: how an operator's output entries come from its inputs'.

A rule says what dimensions are; its law says what removing a unit does to the numbers. There are
few laws and many operators.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from purethin.inference.nodes import Node

if TYPE_CHECKING:
    from purethin.inference.rules.call import Call

Label = Hashable


class Law:
    """How values behave; each law is a class of its own."""


@dataclass(frozen=True)
class Pointwise(Law):
    """Each output entry is one function of the operands' entries there; decided by trying it on
    scalars.
    """


@dataclass(frozen=True)
class Moved(Law):
    """Each output entry is a copy of source entries (or their sum), or the constant `fill` that
    pads the dims `filled`.
    """

    sources: tuple[Tensor, ...]
    fill: float = 0.0
    filled: tuple[int, ...] = ()


@dataclass(frozen=True)
class Contracted(Law):
    """Products summed over the labels that `out` lacks, as in einsum; `bias` is added after.
    `nodes`: each label's dimension. Labels are in the order of dims; see `dim_of`. `slid`: labels
    along which a window slides, so that an entry depends on its neighbours.
    """

    operands: tuple[tuple[Tensor, tuple[Label, ...]], ...]
    out: tuple[Label, ...]
    nodes: Mapping[Label, Node]
    bias: tuple[Tensor, tuple[Label, ...]] | None = None
    slid: tuple[Label, ...] = ()


def dim_of(label: Label, row: tuple[Label, ...]) -> int:
    """The dim of a label in a row of a contraction; "groups" shares that of the label after it.

    >>> dim_of("in", ("batch", "groups", "in"))
    1
    """
    at = row.index(label)
    return at - ("groups" in row[:at])


@dataclass(frozen=True)
class Summed(Law):
    """Summed (or normed) over these dims of the first source: silent units add nothing. `running`:
    the output keeps the dims.
    """

    dims: tuple[int, ...]
    running: bool = False
    what: str = "a sum"


@dataclass(frozen=True)
class Mixed(Law):
    """Every entry along these dims depends on all of them, silent ones too (mean, max, softmax):
    inexact over them.

    `keeps_zero`: a slice of zeros gives zero.
    """

    dims: tuple[int, ...]
    what: str
    keeps_zero: bool = False


@dataclass(frozen=True)
class Normalised(Law):
    """Statistics over `dims` (and `within`, a part of a dim), then a scale and a shift, which start
    at dim `at`.
    """

    dims: tuple[int, ...]
    what: str
    weight: Tensor | None = None
    bias: Tensor | None = None
    at: int = 0
    within: Node | None = None


@dataclass(frozen=True)
class WeightNormed(Law):
    """A direction divided by its norm over `dims`, to which silent units add nothing, times a
    length.
    """

    direction: Tensor
    length: Tensor
    dims: tuple[int, ...]
    what: str = "a weight norm"


@dataclass(frozen=True)
class Attended(Law):
    """Scaled dot product attention: q, k, v; `scaled` if the scale was read from the head dim's
    size.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    scaled: bool


@dataclass(frozen=True)
class Compared(Law):
    """Distances between the rows of two tensors: units silent in both add nothing."""

    left: Tensor
    right: Tensor


@dataclass(frozen=True)
class Recurrent(Law):
    """A recurrent cell: a hidden unit whose weights and initial state are zero stays zero.
    `weights[0]` meets the source.
    """

    source: Tensor
    weights: tuple[Tensor, ...]
    states: tuple[Tensor, ...]


@dataclass(frozen=True)
class Written(Law):
    """The first argument, and what shares its memory, is overwritten in part by `source` (None: by
    a number not zero).
    """

    source: Tensor | None


@dataclass(frozen=True)
class Made(Law):
    """Made from sizes alone; `zero` everywhere, or `positional`: its values depend on the position
    along these dims.
    """

    zero: bool = False
    positional: tuple[int, ...] = ()
    what: str = ""


@dataclass(frozen=True)
class Opaque(Law):
    """Nothing is known of the values."""

    what: str = "an operator without a law"


def moved(call: Call) -> Moved:
    """The entries of the first tensor are moved."""
    return Moved((call.tensors[0],))


def joined(call: Call) -> Moved:
    """The entries of all tensors are moved."""
    return Moved(tuple(call.tensors))


def unstated(name: str) -> Opaque:
    """The law of an operator whose rule says only what its dimensions are."""
    return Opaque(f"the operator {name}, whose rule states no law,")
