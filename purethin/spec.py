"""The dependency spec: which axis every dimension of every parameter carries. Plain data; compares,
prints, saves as YAML.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
import yaml
from torch import Tensor

from purethin import axes as ax
from purethin.axes import Axes
from purethin.errors import SpecError, nearest
from purethin.layouts import solved_sizes
from purethin.notation import parse, parse_layout
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
class Axis:
    """A named dimension with its size; `reason` says why it is not exact.

    `places` are the `(parameter, dim)` that carry it, `producers` those of them that make its
    values: a convolution's filters, an embedding's columns. `spared` are those that `mask` leaves
    as they are, for zeros there would be divided by zeros (the direction of a weight norm): the
    others silence the unit. Where `finite` is False no choice of zeros keeps the masked network
    finite, and only `thin` removes its units.
    """

    name: str
    size: int
    exact: bool = True
    reason: str | None = None
    places: tuple[tuple[str, int], ...] = ()
    producers: tuple[tuple[str, int], ...] = ()
    spared: tuple[tuple[str, int], ...] = ()
    finite: bool = True


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
class Condition:
    """A comparison of sizes that the traced forward made: pruning must not change its answer."""

    left: Axes
    relation: str
    right: Axes
    held: bool
    place: str


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
        activations: where parameters meet the data, module by module.
        positions: `{buffer: expression}`: integer tensors whose values are positions along it.
        conditions: comparisons of sizes that the forward made.
        macs: `(coefficient, expressions)`: multiply-accumulates, each the coefficient times the
            expressions' sizes.
        ties: `{axis: (operator and source line where two tensors meet along it, …)}`, for messages.
        notes: what a reader should know about how the spec came to be.
    """

    layout: Mapping[str, tuple[Axes, ...]]
    axes: Mapping[str, Axis]
    frozen: tuple[Frozen, ...] = ()
    dtypes: Mapping[str, str] = field(default_factory=dict)
    buffers: frozenset[str] = frozenset()
    attributes: Mapping[str, Mapping[str, Axes | tuple[Axes, ...]]] = field(default_factory=dict)
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    activations: tuple[Activation, ...] = ()
    positions: Mapping[str, Axes] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    macs: tuple[tuple[int, tuple[Axes, ...]], ...] = ()
    ties: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def sizes(self) -> dict[str, int]:
        """`{axis: number of units}`."""
        return {name: axis.size for name, axis in self.axes.items()}

    @cached_property
    def spared(self) -> dict[tuple[str, int], frozenset[str]]:
        """`{(parameter, dim): the axes whose masks leave it as it is}`."""
        places = dict.fromkeys(p for axis in self.axes.values() for p in axis.spared)
        return {p: frozenset(n for n, a in self.axes.items() if p in a.spared) for p in places}

    @property
    def exact(self) -> tuple[str, ...]:
        """The names of the exact axes."""
        return tuple(name for name, axis in self.axes.items() if axis.exact)

    def shape(self, parameter: str) -> tuple[int, ...]:
        """The shape of a parameter's tensor."""
        return tuple(ax.size(e, self.sizes) for e in self.layout[parameter])

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

        >>> params = {"w": torch.zeros(4, 3), "v": torch.zeros(2, 4)}
        >>> spec = Spec.from_layout({"w": "h 3", "v": "2 h"}, params)
        >>> spec.axes["h"].size
        4
        """
        tensors = named(params)
        for name in layout:
            if name not in tensors:
                raise SpecError(
                    f"the layout names '{name}', which is no parameter; {nearest(name, tensors)}"
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
        return Spec(
            layout=full,
            axes=axes_of(full, sizes, inexact or {}),
            frozen=tuple(
                Frozen(n, d, s, "not in the layout given by hand")
                for n, t in tensors.items()
                if n not in parsed
                for d, s in enumerate(t.shape)
            ),
            dtypes={n: dtype_name(t) for n, t in tensors.items()},
        )

    def __str__(self) -> str:
        """The spec as an aligned table."""
        width = max(map(len, self.layout), default=0)
        lines = [f"{name:<{width}}  {ax.layout_text(dims)}" for name, dims in self.layout.items()]
        wide = max(map(len, self.axes), default=0)
        lines += ["", f"{len(self.axes)} axes, {len(self.exact)} exact"]
        lines += [f"  {a.name:<{wide}}  {a.size:>6}  {_said(a)}" for a in self.axes.values()]
        if self.frozen:
            lines += ["", f"frozen: {len(self.frozen)} dimensions"]
            lines += [f"  {reason}  {where}" for reason, where in _by_reason(self.frozen)]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)

    def to_yaml(self) -> str:
        """The whole spec as YAML text, which `from_yaml` reads back equal."""
        data: dict[str, Any] = {
            "version": 1,
            "layout": {n: ax.layout_text(d) for n, d in self.layout.items()},
            "axes": {a.name: _axis_data(a) for a in self.axes.values()},
            "frozen": [[f.parameter, f.dim, f.size, f.reason] for f in self.frozen],
            "dtypes": dict(self.dtypes),
            "buffers": sorted(self.buffers),
            "attributes": {
                m: {a: _text(e) for a, e in d.items()} for m, d in self.attributes.items()
            },
            "stand_ins": dict(self.stand_ins),
            "activations": [
                [a.parameter, a.dim, a.role, a.module, a.argument, a.at, str(a.channels)]
                for a in self.activations
            ],
            "positions": {n: str(e) for n, e in self.positions.items()},
            "conditions": [
                [str(c.left), c.relation, str(c.right), c.held, c.place] for c in self.conditions
            ],
            "macs": [[k, ax.layout_text(d)] for k, d in self.macs],
            "ties": {n: list(t) for n, t in self.ties.items()},
            "notes": list(self.notes),
        }
        return yaml.safe_dump(
            {k: v for k, v in data.items() if v}, sort_keys=False, width=1000, allow_unicode=True
        )

    @staticmethod
    def from_yaml(text: str) -> Spec:
        """A spec from `to_yaml`'s text.

        Raises:
            SpecError: the text is no such YAML.
        """
        try:
            data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            layout = {n: parse_layout(d) for n, d in data["layout"].items()}
            given = data.get("axes", {})
            return Spec(
                layout=layout,
                axes=axes_of(
                    layout,
                    {n: a["size"] for n, a in given.items()},
                    {n: a["inexact"] for n, a in given.items() if "inexact" in a},
                    {n: tuple((p, d) for p, d in a["producers"]) for n, a in given.items()},
                    {n: tuple((p, d) for p, d in a.get("spared", ())) for n, a in given.items()},
                    {n for n, a in given.items() if not a.get("finite", True)},
                ),
                frozen=tuple(Frozen(*f) for f in data.get("frozen", ())),
                dtypes=data.get("dtypes", {}),
                buffers=frozenset(data.get("buffers", ())),
                attributes={
                    m: {a: _expr(e) for a, e in d.items()}
                    for m, d in data.get("attributes", {}).items()
                },
                stand_ins=data.get("stand_ins", {}),
                activations=tuple(
                    Activation(name, dim, role, module, argument, at, parse(channels))
                    for name, dim, role, module, argument, at, channels in data.get(
                        "activations", ()
                    )
                ),
                positions={n: parse(e) for n, e in data.get("positions", {}).items()},
                conditions=tuple(
                    Condition(parse(left), rel, parse(right), held, place)
                    for left, rel, right, held, place in data.get("conditions", ())
                ),
                macs=tuple((k, parse_layout(d)) for k, d in data.get("macs", ())),
                ties={n: tuple(t) for n, t in data.get("ties", {}).items()},
                notes=tuple(data.get("notes", ())),
            )
        except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise SpecError(f"not a spec that Spec.to_yaml wrote: {error}") from error


def axes_of(
    layout: Mapping[str, tuple[Axes, ...]],
    sizes: Mapping[str, int],
    inexact: Mapping[str, str],
    producers: Mapping[str, tuple[tuple[str, int], ...]] | None = None,
    spared: Mapping[str, tuple[tuple[str, int], ...]] | None = None,
    nonfinite: Collection[str] = (),
) -> dict[str, Axis]:
    """Every axis that a layout carries, in order of appearance, with its places.

    Where nothing says what produces an axis, it is dim 0 of the matrices and kernels that have it
    there, else all places.
    """
    places: dict[str, list[tuple[str, int]]] = {}
    for parameter, dims in layout.items():
        for dim, expr in enumerate(dims):
            for name in dict.fromkeys(ax.names(expr)):
                places.setdefault(name, []).append((parameter, dim))
    for name in inexact:
        if name not in places:
            raise SpecError(
                f"'{name}' is given a reason but no dimension carries it; {nearest(name, places)}"
            )

    def making(name: str) -> tuple[tuple[str, int], ...]:
        if producers and producers.get(name):
            return producers[name]
        first = tuple((p, d) for p, d in places[name] if d == 0 and len(layout[p]) > 1)
        return first or tuple(places[name])

    return {
        n: Axis(
            n,
            sizes[n],
            n not in inexact,
            inexact.get(n),
            tuple(p),
            making(n),
            (spared or {}).get(n, ()),
            n not in nonfinite,
        )
        for n, p in places.items()
    }


def rewritten(spec: Spec, change: Callable[[Axes], Axes], sizes: Mapping[str, int]) -> Spec:
    """The spec with every expression changed; its axes are those of `sizes`, with the reasons and
    producers that they had.
    """

    def new(value: Any) -> Any:
        return tuple(map(new, value)) if isinstance(value, tuple) else change(value)

    layout = {n: new(d) for n, d in spec.layout.items()}
    left = [a for a in spec.axes.values() if a.name in sizes]
    return replace(
        spec,
        layout=layout,
        axes=axes_of(
            layout,
            sizes,
            {a.name: a.reason or "" for a in left if not a.exact},
            {a.name: a.producers for a in left},
            {a.name: a.spared for a in left},
            {a.name for a in left if not a.finite},
        ),
        attributes={m: {k: new(e) for k, e in d.items()} for m, d in spec.attributes.items()},
        activations=tuple(replace(a, channels=new(a.channels)) for a in spec.activations),
        positions={n: new(e) for n, e in spec.positions.items()},
        conditions=tuple(replace(c, left=new(c.left), right=new(c.right)) for c in spec.conditions),
        macs=tuple((k, new(d)) for k, d in spec.macs),
    )


def with_frozen(spec: Spec, reasons: Mapping[str, str]) -> Spec:
    """The spec with these axes frozen, each for its reason."""
    sizes = {n: spec.axes[n].size for n in reasons}
    left = {n: size for n, size in spec.sizes.items() if n not in reasons}
    found = [
        Frozen(p, d, sizes[n], why) for n, why in reasons.items() for p, d in spec.axes[n].places
    ]
    return replace(
        rewritten(spec, lambda e: ax.substituted(e, sizes), left),
        frozen=(*spec.frozen, *found),
        ties={n: t for n, t in spec.ties.items() if n not in reasons},
    )


def with_inexact(spec: Spec, reasons: Mapping[str, str]) -> Spec:
    """The spec with these axes labelled inexact, each for its reason."""
    return replace(
        spec,
        axes={
            n: replace(a, exact=False, reason=reasons[n]) if n in reasons else a
            for n, a in spec.axes.items()
        },
    )


def dtype_name(tensor: Tensor) -> str:
    """`float32` for `torch.float32`."""
    return str(tensor.dtype).removeprefix("torch.")


def check_fits(spec: Spec, tensors: Mapping[str, Tensor]) -> None:
    """That these tensors have the spec's names and dense shapes.

    Raises:
        SpecError: a name is missing or a shape differs; says whether they look thinned already.
    """
    for name in spec.layout:
        if name not in tensors:
            raise SpecError(
                f"the spec has '{name}', which these parameters lack: a spec of another model? "
                f"{nearest(name, tensors)}"
            )
        have, want = tuple(tensors[name].shape), spec.shape(name)
        if have != want:
            smaller = len(have) == len(want) and all(
                h <= w for h, w in zip(have, want, strict=True)
            )
            raise SpecError(
                f"{name} has shape {have}, but its layout '{ax.layout_text(spec.layout[name])}' "
                f"means {want}: "
                + (
                    "these parameters are thinned already; use thin_spec(spec, masks) with them"
                    if smaller
                    else "a spec of another model: infer one from these parameters' own"
                )
            )
    for name in tensors:
        if name not in spec.layout:
            raise SpecError(
                f"'{name}' is not in the spec: a spec of another model? "
                f"{nearest(name, spec.layout)}"
            )


def _by_reason(frozen: Iterable[Frozen]) -> list[tuple[str, str]]:
    groups: dict[str, dict[str, None]] = {}
    for f in frozen:
        groups.setdefault(f.reason, {})[f"{f.parameter}:{f.dim}"] = None
    width = max(map(len, groups))
    return [
        (
            f"{reason:<{width}}",
            ", ".join([*where][:3]) + (f" and {len(where) - 3} more" if len(where) > 3 else ""),
        )
        for reason, where in groups.items()
    ]


def _axis_data(axis: Axis) -> dict[str, Any]:
    data: dict[str, Any] = {"size": axis.size, "producers": [list(p) for p in axis.producers]}
    data |= {} if axis.exact else {"inexact": axis.reason}
    data |= {"spared": [list(p) for p in axis.spared]} if axis.spared else {}
    return data if axis.finite else data | {"finite": False}


def _said(axis: Axis) -> str:
    """What the table says of an axis behind its size."""
    said = "exact" if axis.exact else f"inexact: {axis.reason}"
    said += "" if axis.finite else "; masked, it makes infinities: thin it"
    return f"{said}; masking spares {_few(axis.spared)}" if axis.spared else said


def _few(places: Sequence[tuple[str, int]]) -> str:
    """The first of some places, as `conv1.weight:0`, and how many follow."""
    shown = ", ".join(f"{parameter}:{dim}" for parameter, dim in places[:3])
    return f"{shown} and {len(places) - 3} more" if len(places) > 3 else shown


def _text(value: Axes | tuple[Axes, ...]) -> str | list[str]:
    return [str(e) for e in value] if isinstance(value, tuple) else str(value)


def _expr(value: str | list[str]) -> Axes | tuple[Axes, ...]:
    return tuple(map(parse, value)) if isinstance(value, list) else parse(value)


def itemsize(dtype: str) -> int:
    """Bytes per element."""
    return getattr(torch, dtype).itemsize
