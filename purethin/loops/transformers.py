"""A callback for transformers' `Trainer`: the model that it was started with is thinned in place,
with its optimizer, along a recipe.

A checkpoint's weights have the sizes of their step: give `resume` the dense model first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from purethin.loops.along import check_state, narrow_along, resumed
from purethin.optimizers.slots import check_optimizer
from purethin.recipes.recipe import Recipe
from purethin.spec import Spec
from purethin.training.core import begin

_FILE = "purethin_masks.pt"


class Prune(TrainerCallback):
    """`Trainer(model, args, …, callbacks=[Prune(spec, recipe)])`.

    Attributes:
        state: how far the recipe has come; `state.spec` is that of the model as it is now.
        changes: `[(optimizer steps made, parameters left)]`, one entry a thinning.
    """

    def __init__(self, spec: Spec, recipe: Recipe, *, every: int | None = None, seed: int = 0):
        """Check that the recipe fits.

        Args:
            spec: of the dense model.
            recipe: what `load_recipe` read. Its epochs are the Trainer's, or
            every: so many optimizer steps each.
            seed: of the recipe's random pruners.

        Raises:
            RecipeError: the recipe does not fit, or asks for what only pt.Trainer does.
        """
        self.state = begin(spec, recipe, thin="now", seed=seed)
        check_state(self.state)
        self.every, self.changes = every, list[tuple[int, int]]()

    def on_train_begin(self, args: Any, state: Any, control: Any, **held: Any) -> None:
        check_optimizer(held["optimizer"])

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **held: Any) -> None:
        if self.every is None:
            self._move(state, held, int(state.epoch or 0))

    def on_step_begin(self, args: Any, state: Any, control: Any, **held: Any) -> None:
        if self.every is not None and state.global_step % self.every == 0:
            self._move(state, held, state.global_step // self.every)

    def _move(self, state: Any, held: dict[str, Any], epoch: int) -> None:
        model = held["model"]
        self.state, changed = narrow_along(self.state, model, held["optimizer"], epoch=epoch)
        if changed:
            self.changes.append((state.global_step, sum(p.numel() for p in model.parameters())))

    def on_save(self, args: Any, state: Any, control: Any, **held: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        torch.save(dict(self.state.masks), folder / _FILE)

    def resume(self, model: nn.Module, checkpoint: str | Path) -> None:
        """Thin a dense model in place to the sizes of a checkpoint, whose weights the Trainer then
        loads: `trainer.train(resume_from_checkpoint=checkpoint)`.
        """
        masks = torch.load(Path(checkpoint) / _FILE, weights_only=True)
        self.state = resumed(self.state, model, masks)
