"""YOLO of ultralytics: a trainer class that keeps the module that it is given, where its own builds
the dense network from its yaml anew; and pruning along a recipe while it trains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from purethin.errors import SpecError
from purethin.loops.along import narrow_along
from purethin.loops.ranked import started
from purethin.recipes.recipe import Recipe
from purethin.spec import Spec
from purethin.training.core import State
from purethin.training.update import Update


def trainer_of(yolo: Any) -> type[Any]:
    """The trainer class of a model's task, which trains the module that the model holds.

    Args:
        yolo: a `YOLO`, its `.model` thinned or not.

    Returns:
        A class for `yolo.train(trainer=trainer_of(yolo), data=…)`; `resume=True` needs it too.

    Raises:
        SpecError: as training begins: the data has other classes than the module, or several
            devices are asked for, whose processes are started from text.
    """
    base, held = yolo._smart_load("trainer"), yolo.model

    def get_model(self: Any, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        module = held if weights is None else weights
        if self.world_size > 1:
            raise SpecError("a thinned YOLO trains on one device: give device=0")
        if (have := getattr(module, "nc", None)) not in (None, want := self.data["nc"]):
            raise SpecError(
                f"the module has {have} classes, the data {want}: train the dense network on this "
                "data first, then thin it"
            )
        return module.float().requires_grad_(True)

    return type(f"Kept{base.__name__}", (base,), {"get_model": get_model, "__module__": __name__})


def prune_along(yolo: Any, spec: Spec, recipe: Recipe, **how: Any) -> Callable[[], State]:
    """Thin a model along a recipe while `yolo.train(trainer=trainer_of(yolo), …)` trains it, with
    its optimizer and its average.

    Args:
        yolo: a `YOLO`; its epochs are the recipe's.
        spec: of its dense module.
        recipe: what `load_recipe` or `schedule` gave.
        **how: `seed`, of the recipe's random pruners; `batches` and `update`, as `narrow_along`
            takes them: by default the last 8 batches, and the model's own loss.

    Returns:
        A function without arguments that gives the recipe's state.

    Raises:
        RecipeError: the recipe does not fit, or asks for what only pt.Trainer does.
    """
    own = Update(lambda outputs, batch: outputs[0].sum(), inputs_of=lambda batch: (batch,))
    state, ranked, last = started(spec, recipe, {"update": own, **how})
    states = [state]

    def on_train_epoch_start(trainer: Any) -> None:
        average = trainer.ema
        states[0], changed = narrow_along(
            states[0],
            trainer.model,
            trainer.optimizer,
            epoch=trainer.epoch,
            averages=[average.ema] if average else (),
            **ranked,
        )
        if changed and average:
            average._pairs = None  # it remembers the tensors of both

    def on_train_start(trainer: Any) -> None:
        plain = trainer.preprocess_batch
        trainer.preprocess_batch = lambda batch: (last.append(found := plain(batch)), found)[1]

    yolo.add_callback("on_train_start", on_train_start)
    yolo.add_callback("on_train_epoch_start", on_train_epoch_start)
    return lambda: states[0]
