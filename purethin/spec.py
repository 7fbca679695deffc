"""The dependency spec: which axis every dimension of every parameter carries. Plain data; compares,
prints, saves as YAML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

from torch import Tensor

from purethin import axes as ax
from purethin.axes import Axes
from purethin.document import read, written
from purethin.errors import SpecError, nearest
from purethin.layouts import solved_sizes
from purethin.notation import parse_layout
from purethin.records import Activation, Axis, Condition, Frozen, Site, placed
from purethin.table import Table, folded, in_short
from purethin.tree import TensorTree, named

Masks = Mapping[str, Tensor]
"""`{axis: BoolTensor[size]}`, True = keep; an absent axis keeps all."""
Elements = Mapping[str, Tensor]
"""`{parameter: BoolTensor of its shape}`, True = keep: single elements that are zero. They thin
nothing.
"""
Scores = Mapping[str, Tensor]
"""`{axis: Tensor[size]}`, the higher the more worth keeping."""


@dataclass(frozen=True)
class Spec:
    """Layout, axes and what was learnt beside them; made by `infer` or `Spec.from_layout`.

    Attributes:
        layout: `{parameter or buffer: (one axis expression per dimension)}`.
        axes: `{name: Axis}`, in the order in which parameters first carry them.
        frozen: the dimensions that cannot be pruned, with reasons.
        dtypes: `{parameter: dtype name}`, for bytes.
        buffers: the names in `layout` that are buffers.
        attributes: `{module path: {attribute: expression, or a tuple of them}}`: integers that
            measure axes.
        stand_ins: `{module path: class}` that takes the place of a module's own where that asserts
            what thinning breaks.
        caches: `{module path: (dict that the forward fills with tensors, …)}`: a thinned network
            starts with empty ones.
        activations: where parameters meet the data, module by module.
        sites: the calls that read axes, and those that scale them, operator by operator.
        positions: `{buffer: expression}`: integer tensors whose values are positions along it.
        conditions: comparisons of sizes that the forward made.
        macs: `(coefficient, expressions)`: multiply-accumulates, each the coefficient times the
            expressions' sizes.
        activation_bytes: alike, the bytes of what the operators with MACs give.
        batch: how many examples these two are of: the example input's leading size; 0 where it is
            not evident that this is a batch.
        ties: `{axis: (operator and source line where two tensors meet along it, …)}`, for messages.
        branches: `{axis: (axes that go with it, …)}` of those that may lose all units, where
            `infer(…, branches=True)` tried: what goes with it is then read by nothing.
        needed: `{axis: why it cannot lose all units}` of the other exact axes; and so of
            concatenations, by their text.
        empty_layers: `{module path: (class, expressions)}` that takes the place of a module's own
            where one of these has no entry left.
        notes: what a reader should know about how the spec came to be.
    """

    layout: Mapping[str, tuple[Axes, ...]]
    axes: Mapping[str, Axis]
    frozen: tuple[Frozen, ...] = ()
    dtypes: Mapping[str, str] = field(default_factory=dict)
    buffers: frozenset[str] = frozenset()
    attributes: Mapping[str, Mapping[str, Axes | tuple[Axes, ...]]] = field(default_factory=dict)
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    caches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    activations: tuple[Activation, ...] = ()
    sites: tuple[Site, ...] = ()
    positions: Mapping[str, Axes] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    macs: tuple[tuple[int, tuple[Axes, ...]], ...] = ()
    activation_bytes: tuple[tuple[int, tuple[Axes, ...]], ...] = ()
    batch: int = 1
    ties: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    branches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needed: Mapping[str, str] = field(default_factory=dict)
    empty_layers: Mapping[str, tuple[str, tuple[Axes, ...]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def sizes(self) -> dict[str, int]:
        """`{axis: number of units}`."""
        return {name: axis.size for name, axis in self.axes.items()}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """`{parameter: the shape of its tensor}`."""
        known: dict[int, int] = {}
        for name, dims in self.layout.items():
            for n, e in zip(self.numbers[name], dims, strict=True):
                if n not in known:
                    known[n] = ax.size(e, self.sizes)
        return {name: tuple(known[n] for n in mine) for name, mine in self.numbers.items()}

    @cached_property
    def numbers(self) -> dict[str, tuple[int, ...]]:
        """`{parameter: a number for each dim}`: dims of equal expressions have the same."""
        known: dict[Axes, int] = {}
        # By identity: many dims share one object, and a long sum hashes slowly.
        same: dict[int, int] = {}

        def number(e: Axes) -> int:
            if id(e) not in same:
                same[id(e)] = known.setdefault(e, len(known))
            return same[id(e)]

        return {name: tuple(map(number, dims)) for name, dims in self.layout.items()}

    @cached_property
    def spared(self) -> dict[tuple[str, int], frozenset[str]]:
        """`{(parameter, dim): the axes whose masks leave it as it is}`."""
        places = dict.fromkeys(p for axis in self.axes.values() for p in axis.spared)
        return {p: frozenset(n for n, a in self.axes.items() if p in a.spared) for p in places}

    @property
    def exact(self) -> tuple[str, ...]:
        """The names of the exact axes."""
        return tuple(name for name, axis in self.axes.items() if axis.exact)

    @property
    def gated(self) -> tuple[str, ...]:
        """The names of the axes that float masks can gate."""
        return tuple(name for name, axis in self.axes.items() if axis.gates)

    def shape(self, parameter: str) -> tuple[int, ...]:
        """The shape of a parameter's tensor."""
        return self.shapes[parameter]

    def axis(self, name: str) -> Axis:
        """The axis of this name.

        Raises:
            SpecError: there is none; the nearest name is offered.
        """
        if name not in self.axes:
            raise SpecError(f"no axis is named '{name}'; {nearest(name, self.axes)}")
        return self.axes[name]

    @staticmethod
    def from_layout(
        layout: Mapping[str, str], params: TensorTree, *, inexact: Mapping[str, str] | None = None
    ) -> Spec:
        """A spec by hand.

        Args:
            layout: `{parameter: "conv1 3 7 7"}`; parameters left out are frozen.
            params: the parameter pytree, for shapes and dtypes.
            inexact: `{axis: reason}` of those whose removal changes more than zeroing them does.

        Raises:
            SpecError: a parameter is unknown, an expression does not fit its shape, or an axis has
                no certain size.

        >>> import torch
        >>> params = {"w": torch.zeros(4, 3), "v": torch.zeros(2, 4)}
        >>> spec = Spec.from_layout({"w": "h 3", "v": "2 h"}, params)
        >>> spec.axes["h"].size
        4
        """
        tensors = named(params)
        for name in layout:
            if name not in tensors:
                raise SpecError(
                    f"the layout names '{name}', which is not a parameter; {nearest(name, tensors)}"
                )
        parsed = {name: parse_layout(text) for name, text in layout.items()}
        for name, dims in parsed.items():
            if len(dims) != tensors[name].dim():
                raise SpecError(
                    f"'{layout[name]}' gives {name} {len(dims)} dimensions, but its shape is "
                    f"{tuple(tensors[name].shape)}: "
                    "write one expression per dimension, products in parentheses"
                )
        sizes = solved_sizes({n: (d, tuple(tensors[n].shape)) for n, d in parsed.items()})
        full = {n: parsed.get(n) or tuple(ax.Fixed(s) for s in t.shape) for n, t in tensors.items()}
        why = inexact or {}
        if (unknown := next((n for n in why if n not in sizes), None)) is not None:
            raise SpecError(
                f"'{unknown}' is given a reason but no dimension carries it; "
                f"{nearest(unknown, sizes)}"
            )
        return Spec(
            layout=full,
            axes=_by_hand(
                full, {n: Axis(n, s, n not in why, why.get(n)) for n, s in sizes.items()}
            ),
            frozen=tuple(
                Frozen(n, d, s, "not in the layout given by hand")
                for n, t in tensors.items()
                if n not in parsed
                for d, s in enumerate(t.shape)
            ),
            dtypes={n: dtype_name(t) for n, t in tensors.items()},
        )

    def __repr__(self) -> str:
        """What there is, in two lines; `print(spec)` shows all of it."""
        sizes = in_short(f"{axis.name} {axis.size:,}" for axis in self.axes.values())
        return f"Spec: {self._counts}\n  {sizes}" if self.axes else f"Spec: {self._counts}"

    def _repr_html_(self) -> str:
        """As a notebook shows it: counts, and tables that unfold."""
        axes = [(a.name, f"{a.size:,}", _said(a)) for a in self.axes.values()]
        layout = [(name, ax.layout_text(dims)) for name, dims in self.layout.items()]
        frozen = [(f.parameter, str(f.dim), f"{f.size:,}", f.reason) for f in self.frozen]
        sections = {
            "axes": Table(("axis", "units", "removal"), axes, numbers=(1,)),
            "layout": Table(("parameter", "layout"), layout),
            "frozen": Table(("parameter", "dim", "size", "why"), frozen, numbers=(1, 2)),
            "notes": "\n".join(self.notes),
        }
        return folded(f"Spec: {self._counts}", sections)

    @property
    def _counts(self) -> str:
        counts = f"{len(self.axes)} axes, {len(self.exact)} exact, in {len(self.layout)} tensors"
        return f"{counts}; {len(self.frozen)} frozen dimensions"

    def __str__(self) -> str:
        """The spec as an aligned table."""
        width = max(map(len, self.layout), default=0)
        lines = [f"{name:<{width}}  {ax.layout_text(dims)}" for name, dims in self.layout.items()]
        wide = max(map(len, self.axes), default=0)
        lines += ["", f"{len(self.axes)} axes, {len(self.exact)} exact"]
        lines += [f"  {a.name:<{wide}}  {a.size:>6}  {_said(a)}" for a in self.axes.values()]
        if self.frozen:
            places: dict[str, dict[tuple[str, int], None]] = {}
            for f in self.frozen:
                places.setdefault(f.reason, {})[f.parameter, f.dim] = None
            wide = max(map(len, places))
            lines += ["", f"frozen: {len(self.frozen)} dimensions"]
            lines += [f"  {why:<{wide}}  {_few([*where])}" for why, where in places.items()]
        if self.branches:
            wide = max(map(len, self.branches))
            lines += ["", f"{len(self.branches)} branches that may go whole"]
            lines += [f"  {n:<{wide}}  {_with(others)}" for n, others in self.branches.items()]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)

    def to_yaml(self) -> str:
        """The whole spec as YAML text, which `from_yaml` reads back equal."""
        return written({f.name: getattr(self, f.name) for f in fields(self)})

    @staticmethod
    def from_yaml(text: str) -> Spec:
        """A spec from `to_yaml`'s text.

        Raises:
            SpecError: the text is not such YAML.
        """
        return Spec(**read(text))


def _by_hand(layout: Mapping[str, tuple[Axes, ...]], known: Mapping[str, Axis]) -> dict[str, Axis]:
    """Axes that no trace has seen: what does not make one reads it, and is its gate; all its places
    are where nothing reads it.
    """

    def gates(axis: Axis) -> tuple[tuple[str, int], ...]:
        reading = (p for p in axis.places if len(layout[p[0]]) > 1 and p not in axis.producers)
        return tuple(reading) or axis.places

    return {n: replace(axis, gates=gates(axis)) for n, axis in placed(layout, known).items()}


def dtype_name(tensor: Tensor) -> str:
    """`float32` for `torch.float32`."""
    return str(tensor.dtype).removeprefix("torch.")


def _said(axis: Axis) -> str:
    """What the table says of an axis behind its size."""
    said = "exact" if axis.exact else f"inexact: {axis.reason}"
    said += "" if axis.finite else "; masked, it makes infinities: thin it"
    return f"{said}; masking spares {_few(axis.spared)}" if axis.spared else said


def _with(others: Sequence[str]) -> str:
    """What the table says of a branch behind its name."""
    return f"with {', '.join(others)}" if others else "alone"


def _few(places: Sequence[tuple[str, int]]) -> str:
    """The first of some places, as `conv1.weight:0`, and how many follow."""
    shown = ", ".join(f"{parameter}:{dim}" for parameter, dim in places[:3])
    return f"{shown} and {len(places) - 3} more" if len(places) > 3 else shown
