"""A recipe in a loop of others: as an epoch begins, the module that the loop holds is thinned in
place as far as the recipe says.

Invariant: the network is always as small as its masks: nothing has to be kept at zero in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn
from torch.optim import Optimizer

from purethin.arguments import explained
from purethin.checks import check_fits
from purethin.errors import RecipeError, SpecError
from purethin.loops.narrow import narrow
from purethin.measures import Measure
from purethin.modules import params_of
from purethin.optimizers.probe import unwrapped
from purethin.recipes.schedulers import Scheduler
from purethin.spec import Masks, Scores
from purethin.training.core import State, advance


@explained
def narrow_along(
    state: State,
    model: nn.Module,
    optimizer: Optimizer | None = None,
    *,
    epoch: int,
    averages: Sequence[nn.Module] = (),
    statistics: Mapping[Measure, Tensor] | None = None,
    scores: Mapping[str, Scores] | None = None,
) -> tuple[State, bool]:
    """What a recipe does as an epoch begins, done in place to a module and its optimizer.

    Args:
        state: what `begin(spec, recipe, thin="now")` or the last call gave.
        model: the module that the loop trains, at the sizes that the state leaves.
        optimizer: which steps it.
        epoch: counted from 0. A loop that counts steps alone calls so many of them an epoch.
        averages: modules of the same sizes that are thinned with it: an `AveragedModel.module`.
        statistics: as `advance` takes them, where pruners rank by data.
        scores: alike.

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
    next_state, change = advance(
        state, params_of(model), epoch=epoch, statistics=statistics, scores=scores
    )
    if change.thinned:
        for average in averages:
            check_fits(change.spec, params_of(average))
        narrow(model, change.spec, change.masks, optimizer)
        for average in averages:
            narrow(average, change.spec, change.masks)
    return next_state, change.thinned


def check_state(state: State) -> None:
    """That a loop of others can follow the recipe.

    Raises:
        RecipeError: not; what to do instead is said.
    """
    if state.thin != "now":
        raise RecipeError(
            f'begin was told thin="{state.thin}", but nothing keeps masked units at zero here: '
            'write pt.begin(spec, recipe, thin="now")'
        )
    pruning = state.pruning
    single = next((n for n, names in pruning.singles.items() if names), None)
    pulled = next((n for n, each in pruning.penalties.items() if each), None)
    rates = next((p.instance.name for p in pruning.timetable.of(Scheduler)), None)
    for name, what, instead in (
        (single, "zeroes single weights", "prune whole units"),
        (pulled, "adds a penalty to the loss", "add pruning.penalty_at(epoch, params) to it"),
        (rates, "moves the learning rate", "give the loop a scheduler of its own"),
    ):
        if name is not None:
            raise RecipeError(
                f"'{name}' {what}, which a loop of others does not do for a recipe: take it out of "
                f"the recipe ({instead}), or train with pt.Trainer"
            )


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
