"""Masked units at work in a training: where they are in each tensor, and zeros there, in place.

Invariant: on exact axes these zeros stay by themselves under elementwise optimizers; elsewhere
`multiply` keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from purethin.checks import check_masks
from purethin.costs import Cost, cost
from purethin.errors import RecipeError
from purethin.recipes.pruning import Pruning
from purethin.recipes.recipe import Recipe
from purethin.recipes.regularizers import reasons
from purethin.spec import Elements, Masks, Spec
from purethin.thinning import masked_leaf, thin_tree
from purethin.tree import named


def dead_entries(
    params: Mapping[str, Tensor],
    spec: Spec,
    masks: Masks,
    elements: Elements,
    spread: Callable[[Tensor, Tensor], Tensor],
    *,
    spare: bool = True,
) -> dict[str, Tensor]:
    """`{parameter or buffer: BoolTensor of its shape}` of those that masks touch: True where `mask`
    writes zero; without `spare`, wherever units are removed.

    Args:
        params: their shapes count, and how they lie.
        spec: theirs.
        masks: the masks over it.
        elements: those of single elements.
        spread: from one such tensor, whole, and its parameter to the tensor laid out as the
            parameter is.
    """
    check_masks(spec, masks, all_removed_allowed=True)
    device = next((m.device for m in (*masks.values(), *elements.values())), None)
    one = torch.ones((), dtype=torch.bool, device=device)
    out = {}
    for name, tensor in params.items():
        whole = one.expand(tensor.shape)
        kept = masked_leaf(name, whole, spec, masks, elements, spare=spare)
        if kept is not whole and not bool(kept.all()):
            out[name] = spread(~kept, tensor)
    return out


def check_finite(recipe: Recipe, pruning: Pruning) -> None:
    """That a network stays finite while what a recipe removes from it is masked.

    Raises:
        RecipeError: masks of one of its axes make infinities or nan under every choice of zeros.
    """
    spec, penalties = pruning.spec, pruning.penalties
    pruned = [axis for each in pruning.groups.values() for g in each for axis in g.axes]
    removing = [r for r in recipe.regularizers.values() if r.threshold]
    fallen = [axis for r in removing for axis in reasons(r, penalties[r.name], spec)]
    for name in dict.fromkeys(pruned + fallen):
        if not (axis := spec.axes[name]).finite:
            raise RecipeError(
                f"masking '{name}' would make the network infinite or nan: {axis.reason}; give the "
                'trainer thin="now", so that units leave as soon as they are masked, or keep the '
                f"divisor away from zero (+ 1e-6), or take '{name}' out of the recipe"
            )


@torch.no_grad()
def clear(tensors: Mapping[str, Tensor], dead: Mapping[str, Tensor]) -> None:
    """Zeros in place where entries are dead, whatever was there; what is shaped otherwise is left
    alone.
    """
    for name, where in dead.items():
        tensor = tensors.get(name)
        if tensor is not None and tensor.shape == where.shape:
            tensor.masked_fill_(where, 0)


@torch.no_grad()
def multiply(tensors: Mapping[str, Tensor | None], factors: Mapping[str, Sequence[Tensor]]) -> None:
    """Multiply in place, by 1 where entries stay and 0 where they are dead: much faster than
    `clear`, in each step.
    """
    for name, each in factors.items():
        if (tensor := tensors.get(name)) is not None:
            for factor in each:
                tensor.mul_(factor)


def remaining_cost(spec: Spec, masks: Masks, elements: Elements) -> tuple[Cost, float]:
    """The cost of a dense network under all masks, as if thinned; and the fraction of its
    parameters that is gone or zero.
    """
    now, dense = cost(spec, masks), cost(spec)
    zeros = sum(int((~m).sum()) for m in thinned_elements(elements, spec, masks).values())
    return now, 1 - (now.parameters - zeros) / max(dense.parameters, 1)


def thinned_elements(elements: Elements, spec: Spec, masks: Masks) -> dict[str, Tensor]:
    """The masks of single elements, over what other masks leave of the dense network."""
    return dict(named(thin_tree(elements, spec, masks))) if elements else {}
