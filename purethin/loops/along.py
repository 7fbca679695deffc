"""A recipe in a loop of others: as an epoch begins, the module that the loop holds is thinned in
place as far as the recipe says.

Invariant: the network is always as small as its masks: nothing has to be kept at zero in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import Optimizer

from purethin.arguments import explained
from purethin.checks import check_fits
from purethin.errors import SpecError
from purethin.loops.narrow import narrow
from purethin.loops.ranked import Ranked, check_state, on_batches
from purethin.modules import params_of
from purethin.optimizers.probe import unwrapped
from purethin.spec import Masks
from purethin.training.core import State, advance

if TYPE_CHECKING:
    from typing_extensions import Unpack


@explained
def narrow_along(
    state: State,
    model: nn.Module,
    optimizer: Optimizer | None = None,
    *,
    epoch: int,
    averages: Sequence[nn.Module] = (),
    **ranked: Unpack[Ranked],
) -> tuple[State, bool]:
    """What a recipe does as an epoch begins, done in place to a module and its optimizer.

    Args:
        state: what `begin(spec, recipe, thin="now")` or the last call gave.
        model: the module that the loop trains, at the sizes that the state leaves.
        optimizer: which steps it.
        epoch: counted from 0. A loop that counts steps alone calls so many of them an epoch.
        averages: modules of the same sizes that are thinned with it: an `AveragedModel.module`.
        **ranked: where pruners rank by data: `batches`, which are measured on a copy of the model,
            and `update=pt.Update(loss_fn)`, which tells a batch's inputs and loss (by default its
            first entry, and `outputs["loss"]`); or `statistics` and `scores`, as `advance` takes
            them.

    Returns:
        `(state, changed)`: the next state, and whether the network has become smaller.

    Raises:
        RecipeError: the recipe asks for what only a loop of purethin's own does (single weights,
            penalties, learning rates), or `begin` was not told "now".
        SpecError, MaskError: as `narrow` and `advance`.

    >>> import torch
    >>> import purethin as pt
    >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    >>> spec = pt.infer(model, params_of(model), torch.rand(1, 2))
    >>> recipe = pt.load_recipe(pt.recipe_for(spec, begin=0, end=2, frequency=1))
    >>> state = pt.begin(spec, recipe, thin="now")
    >>> for epoch in range(3):
    ...     state, changed = narrow_along(state, model, epoch=epoch)
    ...     print(changed, model[0].out_features)
    False 4
    True 2
    False 2
    """
    check_state(state)
    statistics, scores = on_batches(state, model, epoch, ranked)
    params = params_of(model)
    next_state, change = advance(state, params, epoch=epoch, statistics=statistics, scores=scores)
    if change.thinned:
        for average in averages:
            check_fits(change.spec, params_of(average))
        narrow(model, change.spec, change.masks, optimizer)
        for average in averages:
            narrow(average, change.spec, change.masks)
    return next_state, change.thinned


def resumed(state: State, model: nn.Module, masks: Masks) -> State:
    """A dense model thinned in place to the masks of an earlier run, and the state there.

    Args:
        state: that of the beginning.
        model: it changes.
        masks: `{axis: BoolTensor[size]}` over the dense axes: the earlier `state.masks`.
    """
    narrow(model, state.pruning.spec, masks)
    return replace(state, masks=dict(masks), thinned_masks=dict(masks))


def stepping(optimizers: Sequence[Optimizer], model: nn.Module) -> Optimizer:
    """The one optimizer of a loop that steps a module's parameters.

    Raises:
        SpecError: there is none, or several.
    """
    own = {id(p) for p in model.parameters()}
    found = [
        optimizer
        for optimizer in map(unwrapped, optimizers)
        if any(id(p) in own for group in optimizer.param_groups for p in group["params"])
    ]
    if len(found) != 1:
        raise SpecError(
            f"{len(found)} optimizers step the parameters of this {type(model).__name__}: a "
            "network that is thinned on its way needs one, with several groups where they differ"
        )
    return found[0]
