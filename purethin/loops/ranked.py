"""What pruners rank by beside weights, measured on batches that a loop has seen or is given.

Invariant: the module that the loop trains is not run: its copies are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

from torch import Tensor, nn

from purethin.errors import OptionError, RecipeError, nearest
from purethin.measures import KINDS, Measure
from purethin.modules import params_of, rebuild
from purethin.recipes.pruning import Pruning
from purethin.recipes.recipe import Recipe
from purethin.recipes.schedulers import Scheduler
from purethin.recipes.scoring import looks_at_data
from purethin.spec import Scores, Spec
from purethin.training.core import State, begin
from purethin.training.ranking import measured, scored, summed
from purethin.training.update import Update

LAST = 8
"""How many batches are kept."""

_OPTIONS = ("seed", "batches", "update")


class Ranked(TypedDict, total=False):
    """What pruners rank by: what is measured on `batches`, by `update`, or what is given."""

    batches: Iterable[Any]
    update: Update
    statistics: Mapping[Measure, Tensor]
    scores: Mapping[str, Scores]


def started(spec: Spec, recipe: Recipe, how: Mapping[str, Any]) -> tuple[State, Ranked, deque[Any]]:
    """A recipe at its beginning in a loop of others; what it ranks by; and where the loop puts its
    batches, of which the last are kept where they count.

    Args:
        spec: of the dense network.
        recipe: it.
        how: the options of a callback: `seed`, `batches`, `update`.

    Raises:
        RecipeError: the recipe does not fit, or asks for what only pt.Trainer does.
        OptionError: there is no such option.
    """
    if unknown := next((key for key in how if key not in _OPTIONS), None):
        said = nearest(unknown, _OPTIONS)
        say = "say it in the recipe, pt.schedule(spec, 0.5, criterion=pt.taylor)"
        raise OptionError(f"no option '{unknown}'; {say if unknown == 'criterion' else said}")
    state = begin(spec, recipe, thin="now", seed=how.get("seed", 0))
    check_state(state)
    last = deque[Any](maxlen=LAST if ranks_by_data(state.pruning) and "batches" not in how else 0)
    update = how.get("update", Update(own_loss))
    return state, {"batches": how.get("batches", last), "update": update}, last


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


def on_batches(
    state: State, model: nn.Module, epoch: int, ranked: Ranked
) -> tuple[dict[Measure, Tensor], dict[str, Scores]]:
    """The statistics and scores that a recipe asks for as an epoch begins: those given, or measured
    on the batches.

    Raises:
        RecipeError: they are to be measured, and there is no batch.
        OptionError: gradients are asked for, and nothing tells the loss.
    """
    statistics, scores = dict(ranked.get("statistics", {})), dict(ranked.get("scores", {}))
    pruning = state.pruning
    needed = pruning.measures_at(epoch) or pruning.scored_at(epoch)
    if statistics or scores or "batches" not in ranked or not needed:
        return statistics, scores
    if not (batches := list(ranked["batches"])):
        raise RecipeError(
            f"epoch {epoch} ranks by data, and the loop has trained on no batch yet: let the "
            "recipe begin at a later epoch, or give `batches`"
        )
    update, copy = ranked.get("update", Update(own_loss)), rebuild(model, params_of(model), {})
    found = summed(state, copy.train(model.training), epoch, batches, update)
    return measured(state, found), scored(state, copy.eval(), epoch, batches, update)


def own_loss(outputs: Any, batch: Any) -> Tensor:
    """The loss that outputs hold, as those of transformers do.

    Raises:
        OptionError: they hold none.
    """
    named = outputs if isinstance(outputs, Mapping) else getattr(outputs, "__dict__", {})
    if not isinstance(loss := named.get("loss"), Tensor):
        raise OptionError(
            "the recipe ranks by gradients, and the outputs hold no 'loss': give "
            "update=pt.Update(loss_fn), with loss_fn(outputs, batch) -> loss"
        )
    return loss


def ranks_by_data(pruning: Pruning) -> bool:
    """Whether a recipe asks for batches at any epoch."""
    return any(
        p.criterion in KINDS if p.by_axis is None else looks_at_data(p.by_axis)
        for p in pruning.pruners.values()
    )


def keep_inputs(model: nn.Module, last: deque[Any]) -> Callable[[], None]:
    """Keep the keyword inputs of each training forward, until what is returned is called."""

    def keep(module: nn.Module, _: Any, kwargs: dict[str, Any]) -> None:
        if module is model and module.training:  # no copy of it
            last.append(kwargs)

    return model.register_forward_pre_hook(keep, with_kwargs=True).remove
