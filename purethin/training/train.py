"""Training along a recipe: mask, thin and fine-tune, as it goes or at the end.

Invariant: the user's module is never changed; masks, sparsities and ranks always speak of the dense
network.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from purethin.arguments import explained
from purethin.checks import check_fits
from purethin.errors import OptionError
from purethin.modules import params_of
from purethin.optimizers.probe import set_mode
from purethin.recipes.foresight import too_late, unfired
from purethin.recipes.recipe import Recipe
from purethin.spec import Elements, Masks, Spec
from purethin.thinning import Config
from purethin.training.batches import grouped, length, no_batch, set_epoch
from purethin.training.begun import Begun
from purethin.training.core import Change, State, When, begin, finish
from purethin.training.events import Callbacks, Event, Moment, Record, checked, lines, tell
from purethin.training.network import Engine, Forward
from purethin.training.options import check_fit, check_metric, check_options, check_processes
from purethin.training.ranking import Ranking
from purethin.training.rates import Rates
from purethin.training.state import Run
from purethin.training.tensors import Tensors
from purethin.training.update import Update
from purethin.tree import copied


class Trainer:
    """Trains a copy of a module along a recipe.

    On *exact* axes a removed unit's parameters, statistics, gradients and moments are zero and stay
    zero under elementwise optimizers (SGD, Adam and their kin), so the three values of `thin` end
    in the same network. On inexact axes, with dropout over a pruned axis (it draws other random
    numbers), or with an optimizer that mixes units, they do not.
    """

    @explained
    def __init__(
        self,
        model: nn.Module,
        spec: Spec,
        recipe: Recipe,
        optimizer: Callable[[list[Tensor]], torch.optim.Optimizer],
        update: Update,
        *,
        thin: When = "end",
        epochs: int | None = None,
        ema: float | None = None,
        compile: Callable[[Forward], Forward] | None = None,
        calibrate: int = 8,
        repair: bool = False,
        seed: int = 0,
        callbacks: Sequence[Callbacks] = (lines,),
        best: Literal["max", "min"] | None = None,
        folder: str | Path | None = None,
        engine: Engine | None = None,
    ) -> None:
        """Copy the parameters, and check that spec and recipe fit.

        Args:
            model: the dense module; it is not changed.
            spec: its spec, as `infer` gave it, from a file, or written by hand.
            recipe: what `load_recipe` read.
            optimizer: from the list of trainable parameters, in the order of
                `model.named_parameters()`, to an optimizer:
                `lambda params: torch.optim.SGD(params, lr=0.1)`.
            update: how one step is made: `Update(loss_fn)`.
            thin: `"end"`: where the recipe's extension acts, and what is masked then when `fit`
                ends; `"recipe"`: where the extension acts alone; `"now"`: whenever the masks have
                changed.
            epochs: how many in all, where that is known: a policy that would not fire until then is
                a warning, and `fit(loader)` trains up to it.
            ema: the decay of an exponential moving average of parameters and buffers, as 0.999; it
                is validated instead of the parameters.
            compile: wraps the forward, anew after each thinning: `torch.compile`.
            calibrate: the loader's first batches on which activations or gradients are measured
                before an epoch whose pruners rank by them, and on which repair is fitted.
            repair: whether what read the units that go is fitted to what it gave (`pt.repair`).
            seed: of the recipe's random pruners.
            callbacks: mappings from an event to a function of one `Moment`; else a line an epoch.
            best: whether the largest or the smallest metric is best: its network is written to
                `folder/best.safetensors`.
            folder: where the state is written after each epoch, for `resume`.
            engine: `ddp()` or `fully_sharded()` on several processes; by default one process.

        Raises:
            SpecError: the spec is of another network, or the optimizer's state cannot be thinned.
            RecipeError: the recipe does not fit the network, or would mask an axis whose masks make
                infinities.
            PurethinError: a callback is under a name that is not an event's, or is not callable.
            OptionError: an option has a value that is not allowed.
        """
        check_options(optimizer, update, best, calibrate, ema, epochs)
        callbacks, pruned = checked(callbacks), begin(spec, recipe, thin=thin, seed=seed)
        check_fits(spec, params_of(model))
        self._recipe, self._update, self._better, self._epochs = recipe, update, best, epochs
        self._callbacks, self._end = callbacks, 0
        self._folder = None if folder is None else Path(folder)
        self._engine = engine or Engine()
        self._tensors = Tensors(model, pruned, optimizer, self._engine, compile, decay=ema)
        self._ranking = Ranking(self._tensors, update, calibrate, repair)
        self._rates = Rates(recipe, self.optimizer)
        self._scaler = update.scaler(next(iter(self.params.values())).device)
        self._run = Run(recipe, self._tensors, self._rates, self._scaler)
        late = () if epochs is None else too_late(recipe, epochs, thins=thin == "recipe")
        self._warn([*late, *self._tensors.notes])

    @property
    def epoch(self) -> int:
        """The number of epochs trained."""
        return self._run.epoch

    @property
    def step(self) -> int:
        """The number of optimizer steps."""
        return self._run.step

    @property
    def history(self) -> list[Record]:
        """One `Record` an epoch."""
        return self._run.history

    @property
    def best(self) -> Record | None:
        """The record of the best metric since the masks last changed, where `best` asks for one."""
        return self._run.best

    @property
    def spec(self) -> Spec:
        """The dense network's spec."""
        return self._tensors.pruned.pruning.spec

    @property
    def masks(self) -> Masks:
        """`{axis: BoolTensor[size]}` over the dense axes, True = keep."""
        return self._tensors.pruned.masks

    @property
    def elements(self) -> Elements:
        """`{parameter: BoolTensor of its dense shape}` of single-weight pruners, True = keep."""
        return self._tensors.pruned.elements

    @property
    def thinned_masks(self) -> Mapping[str, Tensor]:
        """The axis masks that are thinned already; `params` is what they leave."""
        return self._tensors.pruned.thinned_masks

    @property
    def params(self) -> Mapping[str, Tensor]:
        """Parameters and buffers by name, as they are now: those that the optimizer steps."""
        return self._tensors.params

    @property
    def config(self) -> Config:
        """What `rebuild` needs beside the parameters."""
        return self._tensors.pruned.config

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer, over the parameters among `params`; the same object all along."""
        return self._tensors.optimizer

    def model(self, *, ema: bool = False) -> nn.Module:
        """The network, or the average's, without what is masked: a new module of the user's own
        class, in eval mode.

        Masked units leave this module, not the trainer: `params` and `config` hold them until they
        are thinned.

        Raises:
            OptionError: the trainer has no average.
            MaskError: thinning would change the branch that the forward takes.
        """
        if ema and self._tensors.average is None:
            raise OptionError("there is no average: give the trainer `ema=0.999`")
        return self._tensors.small(average=ema).eval()

    @explained
    def fit(
        self,
        loader: Iterable[Any],
        epochs: int | None = None,
        validate: Callable[[nn.Module], float] | None = None,
    ) -> list[Record]:
        """Train for so many epochs more.

        A `fit` that an error or Ctrl-C ended may be called again: it goes on with the rest of that
        epoch, which counts as one.

        Args:
            loader: yields batches, anew each epoch.
            epochs: how many; by default up to the trainer's `epochs`.
            validate: from the current module (the average's, where `ema` is given), masked or
                thinned, in eval mode, to a metric; called after each epoch.

        Returns:
            The records of these epochs.

        Raises:
            MaskError: thinning would change the branch that the forward takes.
            SpecError: the optimizer's state cannot be thinned; after the first step at the latest.
            PurethinError: the loader yields no batch, or `validate` gives no number.
        """
        epochs = check_fit(epochs, self._epochs, self.epoch)
        if self._better is not None and validate is None:
            raise OptionError("`best` needs a metric: give fit a `validate`")
        self._end, already = self.epoch + epochs, len(self.history)
        check_processes(self._engine, self.epoch, self._end, loader)
        self._run.take_order(loader)
        try:
            self._tell("fit")
            for _ in range(epochs):
                self._fit_epoch(loader, validate)
            if self._follow(*finish(self._tensors.pruned)):
                self._save()
        except BaseException:
            self._tell("fail")
            raise
        self._tell("end")
        if self.epoch >= (self._epochs or 0):
            self._warn(
                unfired(self._recipe, self.epoch, thins=self._tensors.pruned.thin == "recipe")
            )
        return self.history[already:]

    # ---- one epoch

    def _fit_epoch(
        self, loader: Iterable[Any], validate: Callable[[nn.Module], float] | None
    ) -> None:
        if self._run.begun is None:
            set_epoch(loader, self.epoch)
            self._rates.begin(self.epoch)
            self._prune(loader)
            self._run.begun = Begun.now(loader)
        begun = self._run.begun
        if not begun.over:
            self._train(loader, begun)
        loss, metric = self._engine.mean(float(begun.loss)), None
        if validate is not None:
            found = validate(self._tensors.shown(average=True).eval())
            metric = self._engine.mean(check_metric(found))
        self._tell("epoch", record=self._run.end_epoch(loss, metric))
        self._save()

    def _train(self, loader: Iterable[Any], begun: Begun) -> None:
        """Train on the batches that are left of an epoch, once each."""
        accumulate, start = self._update.accumulate, time.perf_counter()
        steps, groups = length(loader, accumulate), grouped(begun.rest(loader), accumulate)
        together = groups if steps is not None else self._engine.together(groups)
        set_mode(self.optimizer, training=True)
        try:
            for i, batches in enumerate(together, begun.count // accumulate):
                for j in range(begun.count, begun.count + len(batches)):
                    if self._recipe.acts_within(self.epoch, j):
                        self._prune(loader, step=j)
                begun.add(self._step(batches), len(batches))
                self._tell("step", step=i, steps=steps, loss=begun.loss)
        finally:
            set_mode(self.optimizer, training=False)
            begun.seconds += time.perf_counter() - start
        if not begun.count:
            self._run.begun = None
            raise no_batch(self.epoch)
        self._tensors.agree()
        begun.lr, begun.over = self._rates.first, True
        self._rates.end(self.epoch)

    def _step(self, batches: list[Any]) -> Tensor:
        """One optimizer step; the sum of the batches' losses."""
        loss = self._update.step(self._tensors, batches, self._penalty, self._scaler)
        if self.step == 0:
            self._tensors.check_state()
        self._run.step += 1
        return loss

    def _penalty(self) -> Tensor | None:
        found = self._tensors.pruned.pruning.penalty_at(self.epoch, self._tensors.penalised)
        return None if found is None else self._engine.full(found)

    # ---- masks and thinning

    def _prune(self, loader: Iterable[Any], step: int = 0) -> None:
        """What the recipe does as this epoch begins, or before a step within it."""
        self._follow(*self._ranking.advance(loader, self.epoch, step))

    def _follow(self, state: State, change: Change) -> bool:
        """Masks at work, then thinning; whether the tensors shrank."""
        self._tensors.follow(state, change)
        if change.masked:
            self._run.best = None  # metrics of networks of different size are not compared
            self._tell("prune")
        if change.thinned:
            self._tell("thin")
        return change.thinned

    # ---- the state, whole

    @property
    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, one pytree of copies: set it on a trainer that was made
        alike to go on from there.
        """
        return self._run.state

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        self._run.restore(copied(state))

    def resume(self) -> bool:
        """Go on from the last state that was written to `folder`, if there is one; whether there
        was.

        Raises:
            CheckpointError: what is there is damaged, or of another network, optimizer or recipe.
        """
        if self._folder is None:
            raise OptionError("there is nowhere to resume from: give the trainer a `folder`")
        return self._run.resume(self._folder)

    def _save(self) -> None:
        """The best network, thinned; then the whole state."""
        if self._better is not None and self._run.improves(self._better):
            self._run.best = self.history[-1]
            self._tell("best", record=self.best)
            if self._folder is not None:
                self._run.save_network(self._folder / "best.safetensors")
        if self._folder is not None:
            self._tell("save", path=str(self._run.save(self._folder)))

    def _tell(self, event: Event, **more: Any) -> None:
        if self._engine.rank == 0:
            tell(self._callbacks, Moment(event, self, self.epoch, self._end, **more))

    def _warn(self, notes: Iterable[str]) -> None:
        for note in notes if self._engine.rank == 0 else ():
            warnings.warn(note, stacklevel=4)
