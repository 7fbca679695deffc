"""A spec changed: its expressions rewritten, axes frozen or labelled inexact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from purethin import axes as ax
from purethin.axes import Axes
from purethin.records import Frozen, placed
from purethin.spec import Masks, Spec


def rewritten(spec: Spec, change: Callable[[Axes], Axes], sizes: Mapping[str, int]) -> Spec:
    """The spec with every expression changed, over the axes of `sizes`, which keep all else."""
    made: dict[int, Axes] = {}  # by identity: to hash a long sum takes as long as to change it

    def new(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(new, value))
        if id(value) not in made:
            made[id(value)] = change(value)
        return made[id(value)]

    layout = {n: new(d) for n, d in spec.layout.items()}
    known = {n: replace(spec.axes[n], size=size) for n, size in sizes.items()}
    return replace(
        spec,
        layout=layout,
        axes=placed(layout, known),
        attributes={m: {k: new(e) for k, e in d.items()} for m, d in spec.attributes.items()},
        activations=tuple(replace(a, channels=new(a.channels)) for a in spec.activations),
        sites=tuple(
            replace(s, channels=new(s.channels), axes=tuple(n for n in s.axes if n in known))
            for s in spec.sites
            if any(n in known for n in s.axes)
        ),
        positions={n: new(e) for n, e in spec.positions.items()},
        conditions=tuple(replace(c, left=new(c.left), right=new(c.right)) for c in spec.conditions),
        macs=tuple((k, new(d)) for k, d in spec.macs),
        activation_bytes=tuple((k, new(d)) for k, d in spec.activation_bytes),
        branches={
            n: tuple(o for o in others if sizes.get(o))
            for n, others in spec.branches.items()
            if sizes.get(n)
        },
        needed={n: why for n, why in spec.needed.items() if n in known or n not in spec.axes},
        empty_layers={m: (name, new(e)) for m, (name, e) in spec.empty_layers.items()},
    )


def thinned_layout(spec: Spec, masks: Masks) -> dict[str, tuple[Axes, ...]]:
    """The layout alone of the thinned network's spec."""
    rows = ((spec.numbers[name], dims) for name, dims in spec.layout.items())
    known = {i: e for numbers, dims in rows for i, e in zip(numbers, dims, strict=True)}
    made = {i: ax.thinned(e, masks, spec.sizes) for i, e in known.items()}
    return {name: tuple(made[i] for i in numbers) for name, numbers in spec.numbers.items()}


def with_frozen(spec: Spec, reasons: Mapping[str, str]) -> Spec:
    """The spec with these axes frozen, each for its reason."""
    sizes = {n: spec.axes[n].size for n in reasons}
    others = {n: size for n, size in spec.sizes.items() if n not in reasons}
    found = [
        Frozen(p, d, sizes[n], why) for n, why in reasons.items() for p, d in spec.axes[n].places
    ]
    return replace(
        rewritten(spec, lambda e: ax.substituted(e, sizes), others),
        frozen=(*spec.frozen, *found),
        ties={n: t for n, t in spec.ties.items() if n not in reasons},
    )


def with_inexact(spec: Spec, reasons: Mapping[str, str]) -> Spec:
    """The spec with these axes labelled inexact, each for its reason."""
    labelled = {n: replace(spec.axes[n], exact=False, reason=why) for n, why in reasons.items()}
    return replace(spec, axes={**spec.axes, **labelled})
