"""What a measurement gives: plain sums over batches, site by site and parameter by parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from purethin.errors import SpecError
from purethin.records import Site
from purethin.spec import Scores
from purethin.table import Table, folded


@dataclass(frozen=True)
class Gram:
    """Second moments of what a call reads, as the rows of its weight meet it.

    Attributes:
        matrix: `Tensor[groups, features, features]`: Σ w·x·xᵀ over positions; one group but for
            grouped convolutions. A convolution's features are its patches, `(channels of the group)
            × kernel`, as `weight.flatten(1)` has them; those of a transposed one its channels.
        total: `Tensor[groups, features]`: Σ w·x.
        weight: Σ w: the positions counted, where nothing weighs them.
    """

    matrix: Tensor
    total: Tensor
    weight: float


@dataclass(frozen=True)
class Features:
    """The data at one site, summed over positions (all dims but `site.at`), feature by feature.

    Attributes:
        site: the call, the dim, and the axes of its features, `site.channels`.
        positions: the positions seen, such as pixels or tokens of all examples.
        examples: the examples seen: entries of the tensor's dim 0.
        total: `Tensor[features]`, float64: Σ x.
        square: `Tensor[features]`: Σ x².
        absolute: `Tensor[features]`: Σ |x|.
        nonzero: `Tensor[features]`: how often x is not 0.
        peak: `Tensor[features]`: max |x|.
        pooled: `{axis: Tensor[size]}`: Σ over examples of (the mean over positions of ‖x_u‖₂)²,
            where x_u are all features of a unit: a neuron's one, a head's width.
        gram: second moments of pairs, where they were asked for.
        weighted: the same, each position weighted by 1/(variance + 1e-5) of what `site.norm` norms
            there (its mean square, if that is an RMS norm); None where no norm follows.
        computed: `{parameter: Tensor}`: the weights that the call takes where several parameters
            make them, as those of a weight norm, by each parameter of their shape.
    """

    site: Site
    positions: int
    examples: int
    total: Tensor
    square: Tensor
    absolute: Tensor
    nonzero: Tensor
    peak: Tensor
    pooled: Mapping[str, Tensor]
    gram: Gram | None = None
    weighted: Gram | None = None
    computed: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def mean(self) -> Tensor:
        """`Tensor[features]`: the mean over positions."""
        return self.total / self.positions

    @property
    def variance(self) -> Tensor:
        """`Tensor[features]`: the variance over positions; 0 of what is constant to the rounding of
        float32, in which the tensors are summed.
        """
        square = self.square / self.positions
        found = (square - self.mean**2).clamp(min=0)
        even = self.peak - self.mean.abs() <= 1e-5 * self.peak
        return torch.where(even & (found <= 1e-6 * square), torch.zeros_like(found), found)


@dataclass(frozen=True)
class Gradients:
    """Gradients of a loss, averaged over batches, or over examples where the loss gives one number
    for each.

    Attributes:
        count: the batches or examples.
        mean: `{parameter: Tensor}`: E[g].
        square: `{parameter: Tensor}`: E[g²].
        leaving: `{axis: Tensor[size]}`: E[(Σ g·w)²] over all entries that leave with a unit.
        read: `{axis: Tensor[size]}`: the same over the weights that a gate on a unit multiplies,
            as a rule those that read it: E[(Σ a·∂L/∂a)²] over positions of its activation a as they
            see it.
    """

    count: int
    mean: Mapping[str, Tensor]
    square: Mapping[str, Tensor]
    leaving: Scores
    read: Scores


@dataclass(frozen=True)
class Stats:
    """What `measure` gives.

    Attributes:
        features: the data at each site of the spec that ran, norms left out, in the order of
            `Spec.sites`; a call that runs twice with the same weights is two sites.
        gradients: of the loss, where one was given.
    """

    features: tuple[Features, ...] = ()
    gradients: Gradients | None = None

    def __repr__(self) -> str:
        """What was measured; `print(stats)` has a line for each site."""
        grams = sum(f.gram is not None for f in self.features)
        text = f"Stats: {len(self.features)} sites, {grams} with pairs"
        examples = max((f.examples for f in self.features), default=0)
        text += f", {examples:,} examples" if self.features else ""
        if self.gradients is None:
            return text
        return (
            f"{text}; gradients of {len(self.gradients.mean)} tensors, {self.gradients.count} times"
        )

    def __str__(self) -> str:
        """A line for each site."""
        return f"{self!r}\n{self._sites()}"

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        return folded(repr(self), {"sites": self._sites()})

    def _sites(self) -> Table:
        rows = [
            (f.site.call, f.site.role, ", ".join(f.site.axes), f"{f.positions:,}")
            for f in self.features
        ]
        return Table(("call", "role", "axes", "positions"), rows, numbers=(3,))

    def at(self, axis: str) -> tuple[Features, ...]:
        """The data of an axis, at the calls that read it; where none does, at the last that
        carries it.

        Raises:
            SpecError: nothing was measured of it.
        """
        found = tuple(f for f in self.features if axis in f.site.axes)
        if not found:
            raise SpecError(
                f"no data of '{axis}' were seen: no call that reads it ran, or it is not an axis "
                "of the spec that was measured"
            )
        return found
