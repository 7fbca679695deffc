"""Scores by chance, the baseline of all others."""

from __future__ import annotations

import torch
from torch import Tensor

from purethin.arguments import explained
from purethin.checks import check_fits
from purethin.records import Axis
from purethin.spec import Scores, Spec
from purethin.tree import TensorTree, named


@explained
def random_scores(
    params: TensorTree, spec: Spec, *, generator: torch.Generator | None = None
) -> Scores:
    """Uniform scores in [0, 1), the baseline that every criterion must beat.

    Args:
        params: the parameter pytree; only its devices are read.
        spec: the spec whose axes are scored.
        generator: the source of randomness, for a repeatable answer; torch's own where there is
            none.

    Returns:
        `{axis: Tensor[size]}` for every axis, on the device of the axis's first producer.

    Raises:
        SpecError: the parameters do not fit the spec.

    >>> spec = Spec.from_layout({"w": "h 2"}, {"w": torch.zeros(3, 2)})
    >>> chance = torch.Generator().manual_seed(0)
    >>> random_scores({"w": torch.zeros(3, 2)}, spec, generator=chance)["h"]
    tensor([0.4963, 0.7682, 0.0885])
    """
    tensors = named(params)
    check_fits(spec, tensors)
    source = generator.device if generator else torch.device("cpu")

    def score(axis: Axis) -> Tensor:
        return torch.rand(axis.size, generator=generator, device=source).to(
            tensors[axis.producers[0][0]].device
        )

    return {axis.name: score(axis) for axis in spec.axes.values()}
