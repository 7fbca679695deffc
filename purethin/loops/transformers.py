"""A callback for transformers' `Trainer`: the model that it was started with is thinned in place,
with its optimizer, along a recipe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from purethin.loops.along import narrow_along, resumed
from purethin.loops.ranked import keep_inputs, started
from purethin.optimizers.slots import check_optimizer
from purethin.recipes.recipe import Recipe
from purethin.spec import Spec

_FILE = "purethin_masks.pt"


class Prune(TrainerCallback):
    """`Trainer(model, args, …, callbacks=[Prune(spec, recipe)])`.

    Attributes:
        state: how far the recipe has come; `state.spec` is that of the model as it is now.
        changes: `[(optimizer steps made, parameters left)]`, one entry a thinning.
    """

    def __init__(self, spec: Spec, recipe: Recipe, every: int | None = None, **how: Any):
        """Check that the recipe fits.

        Args:
            spec: of the dense model.
            recipe: what `load_recipe` or `schedule` gave. Its epochs are the Trainer's, or
            every: so many optimizer steps each.
            **how: `seed`, of the recipe's random pruners; `batches` and `update`, as `narrow_along`
                takes them: by default the last 8 batches, and the model's own loss.

        Raises:
            RecipeError: the recipe does not fit, or asks for what only pt.Trainer does.
        """
        self.state, self.ranked, self.last = started(spec, recipe, how)
        self.every, self.changes = every, list[tuple[int, int]]()

    def on_train_begin(self, args: Any, state: Any, control: Any, **held: Any) -> None:
        check_optimizer(held["optimizer"])
        self.free = keep_inputs(held["model"], self.last)

    def on_train_end(self, args: Any, state: Any, control: Any, **held: Any) -> None:
        self.free()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **held: Any) -> None:
        if self.every is None:
            self._move(state, held, int(state.epoch or 0))

    def on_step_begin(self, args: Any, state: Any, control: Any, **held: Any) -> None:
        if self.every is not None and state.global_step % self.every == 0:
            self._move(state, held, state.global_step // self.every)

    def _move(self, state: Any, held: dict[str, Any], epoch: int) -> None:
        model, optimizer = held["model"], held["optimizer"]
        self.state, changed = narrow_along(self.state, model, optimizer, epoch=epoch, **self.ranked)
        if changed:
            self.changes.append((state.global_step, sum(p.numel() for p in model.parameters())))

    def on_save(self, args: Any, state: Any, control: Any, **held: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        torch.save(dict(self.state.masks), folder / _FILE)

    def resume(self, model: nn.Module, checkpoint: str | Path) -> None:
        """Thin a dense model in place to the sizes of a checkpoint, before the Trainer loads it."""
        masks = torch.load(Path(checkpoint) / _FILE, weights_only=True)
        self.state = resumed(self.state, model, masks)
