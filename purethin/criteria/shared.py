"""What the families share: parameters checked, tensors that share an axis made one score, features
summed by unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.checks import check_fits
from purethin.errors import MaskError, SpecError, nearest
from purethin.measuring.stats import Features, Gradients, Stats
from purethin.spec import Scores, Spec
from purethin.tree import TensorTree, named
from purethin.units import by_unit

Reduce = Literal["sum", "mean", "max", "first"]
"""How the scores of several tensors that share an axis become one."""

_REDUCE: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda rows: rows.sum(0),
    "mean": lambda rows: rows.mean(0),
    "max": lambda rows: rows.amax(0),
    "first": lambda rows: rows[0],
}


def fitting(params: TensorTree, spec: Spec, example: str) -> dict[str, Tensor]:
    """The parameters by name, which fit the spec; `example` is how the call is written."""
    if not isinstance(spec, Spec):
        raise SpecError(f"a Spec is expected, not {type(spec).__name__}: write {example}")
    tensors = named(params)
    check_fits(spec, tensors)
    return tensors


def reduced(found: Sequence[Tensor], how: Reduce) -> Tensor:
    """One score from those of each tensor."""
    if how not in _REDUCE:
        raise MaskError(f"no way to reduce is named '{how}'; {nearest(how, _REDUCE)}")
    return _REDUCE[how](torch.stack([*found])) if len(found) > 1 else found[0]


def mean_by_unit(values: Tensor, features: ax.Axes, axis: str, spec: Spec) -> Tensor:
    """`Tensor[size]`: values of features, averaged over those of each unit."""
    counts = by_unit(torch.ones_like(values), features, axis, spec)
    return by_unit(values, features, axis, spec) / counts


def of_data(
    spec: Spec, stats: Stats, value: Callable[[Features, str], Tensor], reduce: Reduce
) -> Scores:
    """The scores of every axis from the data that its calls read, each a value; 0 for an axis that
    no output depends on, as of a head that is not used.
    """
    if not isinstance(stats, Stats):
        raise MaskError(
            f"stats are what measure gives, not {type(stats).__name__}: "
            "stats = pt.measure(model, params, spec, batches)"
        )
    check_measured(stats, spec)
    return {
        name: reduced([value(found, name) for found in stats.at(name)], reduce)
        if shown(spec, name)
        else torch.zeros(axis.size, dtype=torch.float64)
        for name, axis in spec.axes.items()
    }


def check_measured(stats: Stats, spec: Spec) -> None:
    """That the sums are of the network that the spec describes.

    Raises:
        SpecError: an axis had other units when they were taken.
    """
    units = {} if stats.gradients is None else {n: len(s) for n, s in stats.gradients.read.items()}
    missing = [n for n in spec.axes if units and n not in units]
    other = [n for n, size in units.items() if spec.sizes.get(n, size) != size]
    for f in (f for f in stats.features if {*f.site.axes} <= {*spec.axes}):
        if len(f.total) != ax.size(f.site.channels, spec.sizes):
            other += f.site.axes
    if wrong := missing or other:
        raise SpecError(
            f"these stats are not of this network: '{wrong[0]}' has {spec.sizes[wrong[0]]} units, "
            "and was measured with others or not at all; measure again with its spec (of a thinned "
            "network, thin_spec)"
        )


def shown(spec: Spec, axis: str) -> bool:
    """Whether the trace saw data of an axis on the way to an output."""
    return any(axis in s.axes for s in spec.sites if s.role != "scales")


def gradients_of(stats: Stats, spec: Spec) -> Gradients:
    """The gradients that were measured.

    Raises:
        MaskError: none were.
        SpecError: they are of another network.
    """
    check_measured(stats, spec)
    if stats.gradients is None:
        raise MaskError(
            "these stats have no gradients: give measure a loss, "
            "pt.measure(model, params, spec, batches, loss=lambda outputs, batch: …)"
        )
    return stats.gradients


def mean_of(
    grads: Iterable[TensorTree],
    spec: Spec,
    tensors: dict[str, Tensor],
    of: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """The mean over batches of a function of each gradient, by name; raises as `batches_of`."""
    total: dict[str, Tensor] = {}
    count = 0
    for given in batches_of(grads, spec, tensors):
        count += 1
        for name, g in given.items():
            total[name] = total[name] + of(g) if name in total else of(g)
    return {name: t / count for name, t in total.items()}


def batches_of(
    grads: Iterable[TensorTree], spec: Spec, tensors: dict[str, Tensor]
) -> Iterator[dict[str, Tensor]]:
    """Each batch's gradients by name, those that are None left out.

    Raises:
        SpecError: they do not fit the spec.
        MaskError: a batch has no gradient, or there is no batch.
    """
    count = 0
    if isinstance(grads, Mapping):
        raise MaskError("the gradients are one dict: give those of each batch in a list, [grads]")
    for tree in grads:
        count += 1
        given = {name: g for name, g in named(tree).items() if g is not None}
        check_fits(spec, tensors | given)
        if not given and spec.axes:
            first = next(iter(spec.axes.values()))
            raise MaskError(
                f"no gradient is given of any parameter that carries '{first.name}': "
                f"{first.places[0][0]} is one"
            )
        yield given
    if not count:
        raise MaskError("no batch of gradients is given: give one at least, [grads]")
