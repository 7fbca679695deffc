"""Steps whose length depends on the shape of a weight, as Muon's: what the learning rate must be
multiplied by, so that a thinned network goes on as the masked one would.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping

from torch import Tensor
from torch.optim import Optimizer

from purethin.arguments import explained
from purethin.checks import check_masks, kept_sizes
from purethin.optimizers.probe import unwrapped
from purethin.spec import Masks, Spec
from purethin.training.moments import named_groups

_LENGTHS: Mapping[str, Callable[[int, int], float]] = {
    "original": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
    "spectral_unclamped": lambda rows, columns: math.sqrt(rows / columns),
}
"""What Muon multiplies its learning rate by, by its option `adjust_lr_fn`."""


@explained
def lr_factors(
    optimizer: Optimizer, params: Mapping[str, Tensor], spec: Spec, masks: Masks
) -> dict[str, float]:
    """What the learning rate of each weight must be multiplied by as the network is thinned, so
    that its steps stay those of the masked network.

    Muon multiplies its learning rate by a function of the weight's shape, as √(rows / columns).
    Every other optimizer whose state can be thinned has none: 1 throughout.

    Args:
        optimizer: which steps the parameters.
        params: the live parameters by name: `dict(model.named_parameters())`.
        spec: theirs, dense.
        masks: `{axis: BoolTensor[size]}`, True = keep.

    Returns:
        `{parameter: factor}`, of those whose factor is not 1.

    Raises:
        MaskError: the masks do not fit the spec.

    >>> import torch
    >>> params = {"w": torch.nn.Parameter(torch.ones(8, 2))}
    >>> spec = Spec.from_layout({"w": "h 2"}, params)
    >>> keep = {"h": torch.tensor([True, False] * 4)}
    >>> factors = lr_factors(torch.optim.Muon(params.values()), params, spec, keep)
    >>> {name: round(factor, 3) for name, factor in factors.items()}
    {'w': 1.414}
    """
    check_masks(spec, masks)
    size, factors = kept_sizes(spec, masks), {}
    optimizer = unwrapped(optimizer)
    groups = named_groups(optimizer, params)
    for options, group in zip(optimizer.param_groups, groups, strict=True):
        length = _LENGTHS.get(options.get("adjust_lr_fn", "") or "original")
        if length is None or "adjust_lr_fn" not in options:
            continue
        for name in group.keys() & spec.layout.keys():
            if len(dims := spec.layout[name]) == 2:
                factor = length(*spec.shapes[name]) / length(*(size(d) for d in dims))
                factors |= {name: factor} if factor != 1 else {}
    return dict(sorted(factors.items()))


def warn_of(factors: Mapping[str, float]) -> None:
    """Say that steps change their length, and what makes them equal."""
    if not factors:
        return
    name, factor = max(factors.items(), key=lambda item: abs(math.log(item[1])))
    same = len({round(f, 6) for f in factors.values()}) == 1
    what = f"multiply its group's lr by {factor:.4g}" if same else "see lr_factors(...)"
    warnings.warn(
        f"this optimizer scales each step by the weight's shape, so that thinning changes the "
        f"steps of {len(factors)} weights: those of {name} become {1 / factor:.4g} of the masked "
        f"network's; to go on as that would, {what}",
        stacklevel=3,
    )
