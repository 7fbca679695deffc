"""Masked units at work in a training: where they are in each tensor, and zeros there, in place.

Invariant: on exact axes these zeros stay by themselves under elementwise optimizers; elsewhere `silence` keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from purethin.spec import Masks, Spec
from purethin.thin import mask, thin_spec, thin_tree


def dead_entries(params: Mapping[str, Tensor], spec: Spec, masks: Masks) -> dict[str, Tensor]:
    """`{parameter or buffer: BoolTensor of its shape}` of those that masks touch: True where `mask` writes zero."""
    ones = {name: torch.ones_like(t, dtype=torch.bool, requires_grad=False) for name, t in params.items()}
    kept = mask(ones, spec, masks)
    return {name: ~kept[name] for name in ones if not bool(kept[name].all())}


@torch.no_grad()
def silence(tensors: Mapping[str, Tensor | None], dead: Mapping[str, Tensor]) -> None:
    """Zeros in place where entries are dead; what is None or shaped otherwise is left alone."""
    for name, where in dead.items():
        tensor = tensors.get(name)
        if tensor is not None and tensor.shape == where.shape:
            tensor.masked_fill_(where, 0)


def axis_masks(masks: Masks, spec: Spec) -> dict[str, Tensor]:
    """The masks of axes: those that thinning takes out. The others are of single elements and only ever zero."""
    return {name: m for name, m in masks.items() if name in spec.axes}


def current(spec: Spec, masks: Masks, done: Masks) -> tuple[Spec, dict[str, Tensor]]:
    """The spec of a network that is thinned by `done`, and the masks over what is left of it.

    Args:
        spec: the dense spec.
        masks: all that is removed, over the dense network.
        done: the axis masks that have left the tensors already.
    """
    axes = {name: m[done[name]] if name in done else m for name, m in axis_masks(masks, spec).items()}
    elements = {name: m for name, m in masks.items() if name not in spec.axes}
    return thin_spec(spec, done), {**axes, **(thin_tree(elements, spec, done) if elements else {})}
