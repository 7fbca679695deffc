"""Training along a recipe: mask, thin and fine-tune, as it goes or at the end.

Invariant: the user's module is never changed; masks, sparsities and ranks always speak of the dense network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from purethin.cost import cost
from purethin.infer import infer
from purethin.modules import params_of, rebuild
from purethin.recipe import Recipe, build_schedulers
from purethin.spec import Masks, Spec
from purethin.thin import Config, config_of, expand, mask, thin, thin_spec, thin_tree

When = Literal["recipe", "now", "end"]


@dataclass(frozen=True)
class Record:
    """One epoch.

    Attributes:
        epoch: counted from 0.
        loss: the mean over the epoch's batches.
        metric: what `validate` returned, or None.
        sparsity: fraction of the dense network's parameters that is masked or gone.
        parameters: elements that are left.
        macs: multiply-accumulates that are left, for the example input.
        seconds: wall time of the epoch's training, validation aside.
        lr: the learning rate of the first parameter group.
    """

    epoch: int
    loss: float
    metric: float | None
    sparsity: float
    parameters: int
    macs: int
    seconds: float
    lr: float

    def __str__(self) -> str:
        metric = "" if self.metric is None else f"  metric {self.metric:.4f}"
        return (
            f"epoch {self.epoch:>3}  loss {self.loss:.4f}{metric}  lr {self.lr:.3g}  sparsity {self.sparsity:6.1%}"
            f"  {self.parameters:,} parameters  {self.macs:,} MACs  {self.seconds:.1f} s"
        )


def say(record: Record) -> None:
    """Print one plain line."""
    print(record, flush=True)


def first_of(batch: Any) -> Any:
    """The inputs of a batch: the first entry of a tuple or list, else the batch itself."""
    return batch[0] if isinstance(batch, tuple | list) else batch


class Trainer:
    """Trains a copy of a module along a recipe.

    On *exact* axes a removed unit's parameters, statistics, gradients and moments are zero and stay zero under elementwise
    optimizers (SGD, Adam and their kin), so the three values of `thin` end in the same network. On inexact axes, with
    dropout over a pruned axis (it draws other random numbers), or with an optimizer that mixes units, they do not.

    Attributes:
        spec: the dense network's spec.
        masks: `{axis: BoolTensor[size]}` over the dense axes, True = keep.
        done: the masks that are thinned already; `params` is what they leave.
        params: parameters and buffers by name, as they are now.
        config: what `rebuild` needs beside them.
        optimizer: the optimizer, over the parameters among `params`.
        epoch: the number of epochs trained.
        history: one `Record` an epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        loss_fn: Callable[[Any, Any], Tensor],
        optimizer: Callable[[list[Tensor]], torch.optim.Optimizer],
        example: Any,
        *,
        thin: When = "recipe",
        on_epoch: Callable[[Record], object] | None = say,
        inputs_of: Callable[[Any], Any] = first_of,
    ) -> None:
        """Infer the spec, copy the parameters, and see that the recipe fits.

        Args:
            model: the dense module; it is not changed.
            recipe: what `load_recipe` read.
            loss_fn: `(outputs, batch) -> loss`.
            optimizer: from the list of trainable parameters to an optimizer: `lambda params: torch.optim.SGD(params, lr=0.1)`.
            example: inputs to infer with: a tensor, a tuple of arguments, or a dict of keyword arguments.
            thin: `"now"`: whenever the masks have changed; `"recipe"`: where the recipe's extension acts; `"end"`: once, when
                `fit` ends.
            on_epoch: called with each `Record`; None is silent.
            inputs_of: from a batch to the module's inputs, of the same three kinds as `example`.

        Raises:
            SpecError: the module cannot be inferred.
            RecipeError: the recipe does not fit the network.
            ValueError: `thin` is none of the three.
        """
        if thin not in ("recipe", "now", "end"):
            raise ValueError(f"thin is {thin!r}; give 'recipe', 'now' or 'end'")
        args, kwargs = _arguments(example)
        dense = params_of(model)
        self.spec = infer(model, dense, *args, **kwargs)
        recipe.groups(self.spec)
        self.masks: dict[str, Tensor] = {}
        self.done: dict[str, Tensor] = {}
        self.config: Config = {}
        self.epoch = 0
        self.history: list[Record] = []
        self._dense_model, self._recipe, self._loss_fn, self._thin = model, recipe, loss_fn, thin
        self._on_epoch, self._inputs_of = on_epoch, inputs_of
        self._trainable = [name for name, p in model.named_parameters() if p.requires_grad]
        self._schedulers: dict[str, Any] = {}
        self._dead: dict[str, Tensor] = {}  # of the current tensors: True where a unit is masked, not yet thinned
        self._become({name: tensor.clone() for name, tensor in dense.items()})
        self.optimizer = optimizer([self.params[name] for name in self._trainable])

    def fit(self, loader: Iterable[Any], epochs: int, validate: Callable[[nn.Module], float] | None = None) -> list[Record]:
        """Train for so many epochs more.

        Args:
            loader: yields batches, anew each epoch.
            epochs: how many.
            validate: from the current module, in eval mode, to a metric; called after each epoch.

        Returns:
            The records of these epochs.

        Raises:
            MaskError: thinning would change the branch that the forward takes.
        """
        for _ in range(epochs):
            self._prune()
            start = time.perf_counter()
            loss = self._train(loader)
            seconds = time.perf_counter() - start
            lr = float(self.optimizer.param_groups[0]["lr"])
            self._step_schedulers()
            now, dense = cost(self.spec, self.masks), cost(self.spec)
            record = Record(
                epoch=self.epoch, loss=loss, metric=None if validate is None else float(validate(self.model())),
                sparsity=1 - now.parameters / max(dense.parameters, 1), parameters=now.parameters, macs=now.macs,
                seconds=seconds, lr=lr,
            )  # fmt: skip
            self.history.append(record)
            self.epoch += 1
            if self._on_epoch is not None:
                self._on_epoch(record)
        if self._thin == "end":
            self._thin_now()
        return self.history[len(self.history) - epochs :]

    def model(self) -> nn.Module:
        """The network as it is now: a new module of the user's own class, in eval mode."""
        return rebuild(self._dense_model, self.config, self.params).eval()

    # ---- one epoch

    def _prune(self) -> None:
        """What the recipe does as this epoch begins: first rates, then the masks, then thinning."""
        for policy in self._recipe.at(self.epoch, "lr_scheduler"):
            self._scheduler(policy.instance)
        before = self.masks
        ranked = expand(_detached(self.params), self.spec, self.done)
        self.masks = self._recipe.masks_at(self.epoch, ranked, self.spec, self.masks)
        changed = any(name not in before or not torch.equal(m, before[name]) for name, m in self.masks.items())
        if (self._thin == "now" and changed) or (self._thin == "recipe" and self._recipe.thins_at(self.epoch)):
            self._thin_now()
        elif changed:
            self._dead = _dead(self.params, *self._current())
            self._silence()

    def _train(self, loader: Iterable[Any]) -> float:
        losses: list[float] = []
        for batch in loader:
            args, kwargs = _arguments(self._inputs_of(batch))
            self.optimizer.zero_grad()
            loss = self._loss_fn(functional_call(self._module, self.params, args, kwargs), batch)
            loss.backward()
            self._silence_gradients()
            self.optimizer.step()
            self._silence()
            losses.append(float(loss.detach()))
        return sum(losses) / max(len(losses), 1)

    def _step_schedulers(self) -> None:
        for policy in self._recipe.at(self.epoch, "lr_scheduler"):
            self._scheduler(policy.instance).step()

    def _scheduler(self, name: str) -> Any:
        """A scheduler begins with its policy: made before, it would set its first rate too early."""
        if name not in self._schedulers:
            alone = replace(self._recipe, schedulers={name: self._recipe.schedulers[name]})
            self._schedulers.update(build_schedulers(alone, self.optimizer))
        return self._schedulers[name]

    # ---- masked units are zero

    @torch.no_grad()
    def _silence(self) -> None:
        """Zeros in the parameters, running statistics and moments of masked units."""
        for name, dead in self._dead.items():
            tensor = self.params[name]
            for value in (tensor, *self.optimizer.state.get(tensor, {}).values()):
                if isinstance(value, Tensor) and value.shape == dead.shape:
                    value.masked_fill_(dead, 0)

    def _silence_gradients(self) -> None:
        for name, dead in self._dead.items():
            if (grad := self.params[name].grad) is not None:
                grad.masked_fill_(dead, 0)

    # ---- thinning

    def _current(self) -> tuple[Spec, Masks]:
        """The spec of the current tensors, and the masks over what is left of each axis."""
        left = {name: m[self.done[name]] if name in self.done else m for name, m in self.masks.items()}
        return thin_spec(self.spec, self.done), left

    def _thin_now(self) -> None:
        """Take the masked units out of the parameters and of the optimizer's state.

        The optimizer stays the same object with new tensors in its groups, so its options and schedulers simply go on.
        """
        spec, masks = self._current()
        if all(bool(m.all()) for m in masks.values()):
            self.done = dict(self.masks)
            return
        old = {id(self.params[name]): name for name in self._trainable}
        state = {name: self.optimizer.state.pop(self.params[name], {}) for name in self._trainable}
        params, _ = thin(_detached(self.params), spec, masks)
        self.done, self._dead = dict(self.masks), {}
        self.config = config_of(self.spec, self.done)
        self._become(params)
        for group in self.optimizer.param_groups:
            group["params"] = [self.params[old[id(p)]] for p in group["params"]]
        for name, moments in thin_tree(state, spec, masks).items():
            if moments:
                self.optimizer.state[self.params[name]] = moments

    def _become(self, params: Mapping[str, Tensor]) -> None:
        self.params: dict[str, Tensor] = {n: t.requires_grad_(n in self._trainable) for n, t in params.items()}
        self._module = rebuild(self._dense_model, self.config, params)
        if not self._dense_model.training:
            self._module.train()


def _dead(params: Mapping[str, Tensor], spec: Spec, masks: Masks) -> dict[str, Tensor]:
    """`{parameter or buffer: BoolTensor}` of those that masks touch: True where `mask` writes zero."""
    ones = {name: torch.ones_like(t, dtype=torch.bool, requires_grad=False) for name, t in params.items()}
    kept = mask(ones, spec, masks)
    return {name: ~kept[name] for name in ones if not bool(kept[name].all())}


def _detached(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in params.items()}


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}
