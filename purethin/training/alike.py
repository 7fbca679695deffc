"""Whether an optimizer makes the same step for a masked tensor as for the thinned one: tried on a
small tensor, whatever the optimizer's name.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from purethin.optimizers.probe import aside, twin_of

_SHAPE, _KEPT = (12, 4), (5, 3)  # of other proportions: a factor of the shape shows
_TOLERANCE = 0.01


def unlike(optimizer: Optimizer) -> str | None:
    """What a user should know where the two steps differ; None where they do not, or where the
    optimizer makes no step on a matrix alone.

    Args:
        optimizer: made, and not stepped yet; it is not changed.
    """
    try:
        with aside():
            masked, thinned = _steps(optimizer)
    except Exception:  # whatever a class of others needs beside gradients
        return None
    size = float(thinned.norm())
    if not size or float((masked - thinned).norm()) <= _TOLERANCE * size:
        return None
    name, trial = type(optimizer).__name__, "(a matrix of 12 × 4, 5 × 3 of it kept)"
    factor = float((masked * thinned).sum()) / size**2
    if float((masked - factor * thinned).norm()) <= 5 * _TOLERANCE * size:
        return (
            f"{name} multiplies its step by a factor of the tensor's shape, so a masked tensor "
            f"makes {factor:.2f} times the step of the thinned one {trial}: masking and thinning "
            'as it goes (thin="now") end in different networks. Where they must be the same, give '
            "each parameter a group of its own, and multiply the group's lr, whenever it is "
            "thinned, by the factor of the dense shape over that of the thinned"
        )
    return (
        f"{name} mixes units: its step for a masked tensor is another than for the thinned one "
        f'{trial}, so masking and thinning as it goes (thin="now") end in different networks. '
        "Where they must be the same, use an elementwise one (SGD, Adam, AdamW, RMSprop, …)"
    )


def _steps(optimizer: Optimizer) -> tuple[Tensor, Tensor]:
    """What some steps do to the entries that stay, masked and thinned."""
    rows, columns = _KEPT
    values = torch.arange(48.0).reshape(_SHAPE)
    start, gradients = 0.1 * values.cos(), [(k * values).sin() for k in range(1, 9)]
    keep = torch.zeros(_SHAPE)
    keep[:rows, :columns] = 1
    options = max(optimizer.param_groups, key=lambda group: len(group["params"]))
    moved = []
    for tensor, grads in (
        (start * keep, [g * keep for g in gradients]),
        (start[:rows, :columns], [g[:rows, :columns] for g in gradients]),
    ):
        parameter = torch.nn.Parameter(tensor.clone())
        twin = twin_of(optimizer, [{**options, "params": [parameter]}])
        for grad in grads:
            parameter.grad = grad.clone()
            type(twin).step(twin)
        moved.append((parameter.detach() - tensor)[:rows, :columns])
    return moved[0], moved[1]
