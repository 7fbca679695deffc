"""Weights that torch's own hooks compute before each forward: pruning masks and the older norms
keep the last one as a plain attribute, which is stale once what it is made of has changed.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from purethin.parts import parts_of


@torch.no_grad()
def refresh(model: nn.Module) -> None:
    """Compute these weights of a module anew, in place.

    >>> from torch.nn.utils import prune
    >>> layer = prune.l1_unstructured(nn.Linear(2, 2), "weight", amount=2)
    >>> layer.weight_orig.data = torch.ones(2, 2)
    >>> refresh(layer)
    >>> float(layer.weight.sum())
    2.0
    """
    for module in parts_of(model).values():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, BasePruningMethod):
                setattr(module, hook._tensor_name, hook.apply_mask(module))
            elif isinstance(hook, WeightNorm):
                setattr(module, hook.name, hook.compute_weight(module))
            elif isinstance(hook, SpectralNorm):
                weight = hook.compute_weight(module, do_power_iteration=False)
                setattr(module, hook.name, weight)
