"""A callback for Lightning: the module that it trains, or a part of it, is thinned in place, with
its optimizer and its average, along a recipe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from purethin.errors import SpecError
from purethin.loops.along import narrow_along, resumed, stepping
from purethin.loops.ranked import started
from purethin.optimizers.slots import check_optimizer
from purethin.recipes.recipe import Recipe
from purethin.spec import Spec


class Prune(Callback):
    """`Trainer(callbacks=[Prune(spec, recipe, of="net")])`.

    Attributes:
        state: how far the recipe has come; `state.spec` is that of the network as it is now.
    """

    def __init__(self, spec: Spec, recipe: Recipe, *, of: str = "", **how: Any):
        """Check that the recipe fits.

        Args:
            spec: of the dense network.
            recipe: what `load_recipe` or `schedule` gave; its epochs are the Trainer's.
            of: where in the LightningModule the network is, `""` for all of it.
            **how: `seed`, of the recipe's random pruners; `batches` and `update`, as `narrow_along`
                takes them: by default the last 8 batches. A criterion of gradients needs `update`.

        Raises:
            RecipeError: the recipe does not fit, or asks for what only pt.Trainer does.
        """
        super().__init__()
        self.state, self.ranked, self.last = started(spec, recipe, how)
        self.of = of

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.world_size > 1:
            raise SpecError("on several processes pt.Trainer with engine=pt.ddp() thins networks")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_optimizer(stepping(trainer.optimizers, self._network(pl_module)))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        network = self._network(pl_module)
        optimizer, epoch = stepping(trainer.optimizers, network), trainer.current_epoch
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        held = (getattr(callback, "_average_model", None) for callback in callbacks)
        averages = [self._network(average.module) for average in held if average is not None]
        self.state, _ = narrow_along(
            self.state, network, optimizer, epoch=epoch, averages=averages, **self.ranked
        )

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int):
        self.last.append(batch)

    def state_dict(self) -> dict[str, Any]:
        return {"masks": dict(self.state.masks)}

    def resume(
        self, pl_module: LightningModule, checkpoint: str | Path, weights_only: bool = True
    ) -> None:
        """Thin a dense module in place to the sizes of a checkpoint, before the Trainer loads
        it: `trainer.fit(pl_module, loader, ckpt_path=checkpoint)`; as `torch.load` takes it.
        """
        saved = torch.load(checkpoint, map_location="cpu", weights_only=weights_only)
        masks = saved["callbacks"][self.state_key]["masks"]
        self.state = resumed(self.state, self._network(pl_module), masks)

    def _network(self, module: nn.Module) -> nn.Module:
        return module.get_submodule(self.of)
