"""Cost without running: multiply-accumulates, parameters, their bytes and those of activations as
exact integers, polynomials in the axes' sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import prod

import torch

from purethin.arguments import explained
from purethin.checks import check_masks, kept_sizes
from purethin.spec import Masks, Spec


@dataclass(frozen=True)
class Cost:
    """`macs`: multiply-accumulates of convolutions, matrix products and attention for the example
    input, its whole batch: four images have four times the MACs of one.

    `parameters`: elements of all parameters, buffers aside. `bytes`: of parameters and buffers.

    `activation_bytes`: of the outputs of the operators whose MACs are counted, for the same input.
    So activations are counted by Radosavovic et al., Designing Network Design Spaces
    (arXiv 2003.13678, section 3.1) and by fvcore's `ActivationCountAnalysis`, there in entries:
    what networks on accelerators take time and memory for, MACs aside. The outputs of norms and
    nonlinearities, which training keeps as well, have the same widths.

    `batch`: how many examples MACs and activations are of, as `spec.batch`; 0 where that is not
    evident.
    """

    macs: int
    parameters: int
    bytes: int
    activation_bytes: int
    batch: int = 1

    def __repr__(self) -> str:
        """The counts; the batch where it is not one example."""
        shown = [f.name for f in fields(self) if f.name != "batch" or self.batch != 1]
        return f"Cost({', '.join(f'{name}={getattr(self, name)}' for name in shown)})"


def for_batch(batch: int) -> str:
    """What stands behind MACs that are not of one example.

    >>> for_batch(4), for_batch(1), for_batch(0)
    (' for a batch of 4', '', ' for the example input')
    """
    return "" if batch == 1 else f" for a batch of {batch}" if batch else " for the example input"


@explained
def cost(spec: Spec, masks: Masks | None = None) -> Cost:
    """What a forward and the tensors cost, dense or under masks; nothing is run.

    Args:
        spec: the spec of a network.
        masks: `{axis: BoolTensor[size]}`, True = keep.

    Raises:
        MaskError: the masks do not fit the spec.

    >>> spec = Spec.from_layout({"w": "h 3"}, {"w": torch.zeros(4, 3)})
    >>> cost(spec, {"h": torch.arange(4) < 1}).parameters
    3
    """
    if masks:
        check_masks(spec, masks)
    kept = kept_sizes(spec, masks)
    elements = {name: prod(map(kept, dims)) for name, dims in spec.layout.items()}
    macs, activation_bytes = (
        sum(k * prod(map(kept, dims)) for k, dims in terms)
        for terms in (spec.macs, spec.activation_bytes)
    )
    return Cost(
        macs=macs,
        parameters=sum(n for name, n in elements.items() if name not in spec.buffers),
        bytes=sum(n * getattr(torch, spec.dtypes[name]).itemsize for name, n in elements.items()),
        activation_bytes=activation_bytes,
        batch=spec.batch,
    )
