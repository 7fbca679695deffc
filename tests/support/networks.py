"""What many tests need: weights that hide nothing, random masks, and the law that masked equals
thinned.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from patterns import Pattern
from torch import Tensor, nn

import purethin as pt
from purethin.axes import names
from purethin.checks import joined
from purethin.tree import flatten, unflatten


def randomise(model: nn.Module, seed: int = 0, *, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Every parameter and buffer random, scaled so that activations keep their size; eval mode."""
    model = model.to(dtype).eval()
    state = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, t in [*model.named_parameters(), *model.named_buffers()]:
            if not t.is_floating_point():
                continue
            noise = torch.randn(t.shape, generator=state, dtype=dtype)
            if "var" in name:
                t.copy_(noise.abs() + 0.5)
            elif t.dim() > 1:
                t.copy_(noise / t[0].numel() ** 0.5)
            else:
                t.copy_(noise * 0.3 + (0.7 if name.endswith("weight") else 0.0))
    return model


def built(pattern: Pattern) -> tuple[Any, Any]:
    """The network (or function) and its random parameters."""
    if pattern.function is None:
        model = randomise(pattern.make())
        return model, pt.params_of(model)
    _, leaves, structure = flatten(pattern.make())
    state = torch.Generator().manual_seed(0)
    random = [torch.randn(t.shape, generator=state, dtype=torch.float64) * 0.7 for t in leaves]
    return pattern.function, unflatten(structure, random)


def random_masks(
    spec: pt.Spec, names: Iterable[str] | None = None, *, fraction: float = 0.5, seed: int = 0
) -> dict[str, Tensor]:
    """Masks that remove this fraction of each axis at random, at least one unit, never all."""
    state = torch.Generator().manual_seed(seed)
    masks = {}
    for name in spec.exact if names is None else names:
        n = spec.axes[name].size
        removed = min(max(1, int(fraction * n)), n - 1)
        keep = torch.ones(n, dtype=torch.bool)
        keep[torch.randperm(n, generator=state)[:removed]] = False
        masks[name] = keep
    return masks


def emptied_masks(spec: pt.Spec, share: float = 1.0, *, seed: int = 0) -> dict[str, Tensor]:
    """Masks that remove about this share of the branches whole, and half of each other axis; a unit
    of a concatenation stays where one must.
    """
    state = torch.Generator().manual_seed(seed)
    chance = torch.rand(len(spec.branches), generator=state).tolist()
    gone = [name for name, c in zip(spec.branches, chance, strict=True) if c <= share]
    while wrong := [e for e in joined(spec, gone) if str(e) in spec.needed]:
        gone.remove(next(n for n in names(wrong[0]) if n in gone))
    masks = random_masks(spec, [n for n in spec.exact if n not in spec.branches], seed=seed)
    return masks | {n: torch.zeros(spec.sizes[n], dtype=torch.bool) for n in gone}


def assert_thinned_equals_masked(
    model: Any, params: Any, spec: pt.Spec, masks: dict[str, Tensor], *args: Any, **kwargs: Any
) -> pt.Report:
    """The law: on exact axes, to 1e-9 relative in float64."""
    report = pt.check(model, params, spec, masks, *args, **kwargs)
    assert report.outputs, "the network has no output tensor"
    assert report.relative < 1e-9, f"{report}\n{spec}"
    return report
