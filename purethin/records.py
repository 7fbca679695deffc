"""What a spec says of one axis, one frozen dimension, one place of the data, one comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from purethin import axes as ax
from purethin.axes import Axes


@dataclass(frozen=True)
class Axis:
    """A named dimension with its size; `reason` says why it is not exact.

    `places` are the `(parameter, dim)` that carry it, `producers` those of them that make its
    values: a convolution's filters, an embedding's columns. `spared` are those that `mask` leaves
    as they are, for zeros there would be divided by zeros (the direction of a weight norm): the
    others silence the unit. Where `finite` is False no choice of zeros keeps the masked network
    finite, and only `thin` removes its units.
    `gates` are those that a float mask multiplies: what reads the units, so that each unit's output
    is multiplied once; none where no such place is known.
    """

    name: str
    size: int
    exact: bool = True
    reason: str | None = None
    places: tuple[tuple[str, int], ...] = ()
    producers: tuple[tuple[str, int], ...] = ()
    spared: tuple[tuple[str, int], ...] = ()
    finite: bool = True
    gates: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Frozen:
    """A dimension of a parameter, or a part of it, that cannot be pruned, and why (with the source
    line).
    """

    parameter: str
    dim: int
    size: int
    reason: str


Role = Literal["makes", "reads", "scales"]


@dataclass(frozen=True)
class Activation:
    """Where the data meet a dim of a parameter: a tensor that the module returns or takes.

    Attributes:
        parameter: its name.
        dim: the dim of it that carries axes.
        role: "makes": the module returns what the dim makes; "reads": it takes what the dim is
            summed with; "scales": it takes what the dim is multiplied with or added to.
        module: the module's path; "" is the network itself.
        argument: of what it takes, the position or the keyword; None for what it returns.
        at: the tensor's dim that carries the axes, counted from the end: -1 is the last.
        channels: what that dim is made of.
    """

    parameter: str
    dim: int
    role: Role
    module: str
    argument: int | str | None
    at: int
    channels: Axes


@dataclass(frozen=True)
class Norm:
    """A norm that divides each position by its own standard deviation, or root mean square.

    Attributes:
        call: its name, as that of a `Site`.
        operand: which of its tensors it norms, over the last dim.
        centred: whether the mean is taken off first: a layer norm, not an RMS norm.
    """

    call: str
    operand: int
    centred: bool


@dataclass(frozen=True)
class Site:
    """A call of the forward at which the data carry axes, module or not.

    Attributes:
        role: "reads": the call sums over the axes; "scales": it norms the data, then multiplies
            them by a parameter; "makes": its output is the last tensor that carries the axes, where
            no call reads them.
        call: the operator, the first parameter that it takes, if any, and how many such calls came
            before: `linear fc2.weight 0`, `matmul 3`.
        operand: which of the call's tensors holds the data, from 0; -1 is what it returns; None
            where no tensor shows them (between the layers of an LSTM).
        at: the dim that carries the axes, counted from the end: -1 is the last.
        channels: what that dim is made of.
        axes: those of the channels' axes that the role is about.
        weights: the `(parameter, dim)` by which the call reads or scales, if any.
        norm: of a call that reads by weights, the first norm that reads its output, or the sum into
            which that goes (a residual stream).
    """

    role: Role
    call: str
    operand: int | None
    at: int
    channels: Axes
    axes: tuple[str, ...]
    weights: tuple[tuple[str, int], ...] = ()
    norm: Norm | None = None


@dataclass(frozen=True)
class Condition:
    """A comparison of sizes that the traced forward made: pruning must not change its answer."""

    left: Axes
    relation: str
    right: Axes
    held: bool
    place: str


def placed(layout: Mapping[str, tuple[Axes, ...]], known: Mapping[str, Axis]) -> dict[str, Axis]:
    """The axes that a layout carries, in order of appearance, each with its places.

    One whose producers are not known is made by dim 0 of the matrices and kernels that have it
    there, else by all its places.
    """
    places: dict[str, list[tuple[str, int]]] = {}
    for parameter, dims in layout.items():
        for dim, expr in enumerate(dims):
            for name in dict.fromkeys(ax.names(expr)):
                places.setdefault(name, []).append((parameter, dim))

    def making(name: str) -> tuple[tuple[str, int], ...]:
        first = tuple((p, d) for p, d in places[name] if d == 0 and len(layout[p]) > 1)
        return known[name].producers or first or tuple(places[name])

    return {n: replace(known[n], places=tuple(p), producers=making(n)) for n, p in places.items()}
