"""Element masks: the single weights of least magnitude, zeroed. They thin nothing, and a thinning
carries them along.

What belongs to a removed unit counts as gone, so that unit and element sparsity of one weight
compose.
"""

from __future__ import annotations

import torch
from torch import Tensor

from purethin.criteria import wide
from purethin.errors import MaskError
from purethin.spec import Elements, Masks, Spec
from purethin.thinning import masked_leaf


def element_mask(
    tensor: Tensor, spec: Spec, name: str, masks: Masks, elements: Elements, removed: int
) -> Tensor:
    """The mask of a parameter's elements when so many of them are to be gone.

    Args:
        tensor: the parameter, at its dense shape.
        spec: the dense spec.
        name: the parameter's name.
        masks: the masks so far; what they remove stays removed and is counted.
        elements: those of single elements, alike.
        removed: how many elements of the dense tensor are gone, those of removed units among them;
            never the last one.

    Returns:
        `BoolTensor` of the dense shape, True = keep; among equal magnitudes the first go. What
        masking spares stays.

    Raises:
        MaskError: the parameter holds nan.

    Source: Zhu & Gupta, To prune, or not to prune, arXiv 1710.01878.
    """
    one = torch.ones_like(tensor, dtype=torch.bool)
    kept = masked_leaf(name, one, spec, masks, elements, spare=False).flatten()
    spared = masked_leaf(name, one, spec, masks, elements).flatten() & ~kept
    sizes = wide(tensor.detach().abs().flatten())
    if bool(sizes.sum().isnan()):
        raise MaskError(f"{int(sizes.isnan().sum())} elements of {name} are nan: they have no rank")
    gone = kept.numel() - int(
        kept.count_nonzero()
    )  # several times as fast as the sum of a bool tensor
    count = min(max(removed, gone), kept.numel() - 1)
    if count == gone:
        return (kept | spared).view_as(tensor)
    sizes = torch.where(kept, sizes, -1)
    limit = sizes.kthvalue(count).values
    low = sizes <= limit
    if (over := int(low.count_nonzero()) - count) > 0:  # several are as large as the last that goes
        low[(sizes == limit).nonzero()[-over:, 0]] = False
    return (~low | spared).view_as(tensor)
