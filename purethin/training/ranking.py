"""The next masks of a training: its weights, and what pruners rank by beside them, measured on
batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from purethin.errors import RecipeError
from purethin.measures import Measure, scores, sums
from purethin.modules import params_of
from purethin.recipes.regrowth import growth
from purethin.recipes.scoring import Data, scores_by, spread
from purethin.spec import Scores
from purethin.thinning import thin_spec
from purethin.training.batches import arguments
from purethin.training.core import Change, State, advance
from purethin.training.repaired import check_repair, repaired
from purethin.training.tensors import Tensors
from purethin.training.update import Update


@dataclass(frozen=True)
class Ranking:
    """A recipe's pruners over the tensors of a training.

    Attributes:
        tensors: of the training.
        update: tells a batch's inputs and its loss.
        batches: how many are measured.
        repairs: whether what reads units that go is fitted to what it gave before.
    """

    tensors: Tensors
    update: Update
    batches: int
    repairs: bool = False

    def __post_init__(self) -> None:
        if self.repairs:
            check_repair(self.tensors.pruned.pruning)

    def advance(self, loader: Iterable[Any], epoch: int, step: int) -> tuple[State, Change]:
        """What the recipe does as an epoch begins, or before a step within it: `core.advance` on
        what is measured and gathered; then repair, where it is asked for.

        Raises:
            PurethinError: the processes' masks differ, or there is too little to repair by.
        """
        tensors, before = self.tensors, self.tensors.pruned
        if not before.acts(epoch, step):
            return advance(before, {}, epoch=epoch, step=step)
        found = {} if step else self._measured(loader, epoch)
        given: dict[str, Any] = {} if step else {"scores": self._scored(loader, epoch)}
        params = tensors.read(before.pruning.reads)
        state, change = advance(before, params, epoch=epoch, step=step, statistics=found, **given)
        tensors.engine.same(
            "the masks",
            _fingerprint({**state.masks, **{f"{n}[…]": m for n, m in state.elements.items()}}),
            "give each the same recipe and seed, and weights without nan",
        )
        if self.repairs and change.masked:
            inputs = [inputs_of(self.update, b) for b in islice(loader, self.batches)]
            tensors.move(repaired(tensors, state, inputs))
        return state, change

    def _measured(self, loader: Iterable[Any], epoch: int) -> dict[Measure, Tensor]:
        """`{measure: Tensor[dense size of its axis]}` over batches and processes; 0 for units that
        are thinned already.
        """
        tensors, pruned = self.tensors, self.tensors.pruned
        if not pruned.pruning.measures_at(epoch):
            return {}
        module = tensors.training(tensors.shown())
        found = summed(pruned, module, epoch, islice(loader, self.batches), self.update)
        return measured(pruned, {m: tensors.engine.total(tensor) for m, tensor in found.items()})

    def _scored(self, loader: Iterable[Any], epoch: int) -> dict[str, Scores]:
        """`{pruner: {axis: Tensor[dense size]}}` of the pruners whose criteria look at data, on the
        network without what is masked; summed over processes.
        """
        tensors, pruned = self.tensors, self.tensors.pruned
        if not (pruners := pruned.pruning.scored_at(epoch)):
            return {}
        batches = list(islice(loader, self.batches))
        out = scored(pruned, tensors.small().eval(), epoch, batches, self.update)
        for pruner in pruners:
            whole = {axis: tensors.engine.total(s) for axis, s in out[pruner.name].items()}
            if pruner.by_axis is not None and pruner.by_axis.regrow:
                whole |= self._grown(whole, batches)
            out[pruner.name] = whole
        return out

    def _grown(self, scores: Scores, batches: Sequence[Any]) -> dict[str, Tensor]:
        """Scores with what bringing back is worth in place of the scores of gone units."""
        tensors, masks = self.tensors, self.tensors.pruned.masks
        if not (axes := [axis for axis in scores if axis in masks]):
            return {}
        if not tensors.asleep:
            raise RecipeError(
                f"units of '{axes[0]}' may come back, and have left the tensors as an earlier fit "
                'ended: train all epochs in one fit, or give the trainer thin="recipe"'
            )
        dense = {name: tensors.engine.full(t.detach()) for name, t in tensors.dense().items()}
        losses = [(inputs_of(self.update, b), partial(self._loss, b)) for b in batches]
        spec = tensors.pruned.pruning.spec
        found = growth(tensors.shown(), dense, spec, masks, axes, losses)
        total = {axis: tensors.engine.total(worth) for axis, worth in found.items()}
        return {a: torch.where(masks[a].to(w.device), scores[a].to(w), w) for a, w in total.items()}

    def _loss(self, batch: Any, outputs: Any) -> Tensor:
        return self.update.loss_fn(outputs, batch)


def inputs_of(update: Update, batch: Any) -> Any:
    """What a forward takes of a batch: a tuple of arguments, or a dict of keyword arguments."""
    args, kwargs = arguments(update.inputs_of(batch))
    return kwargs or args


def summed(
    state: State, module: nn.Module, epoch: int, batches: Iterable[Any], update: Update
) -> dict[Measure, Tensor]:
    """The sums over batches that a recipe's measures need as an epoch begins.

    Args:
        state: how far the recipe has come.
        module: the network at its sizes, in the mode in which it is measured; buffers may move.
        epoch: which.
        batches: read once.
        update: tells a batch's inputs and its loss.
    """
    wanted, total = state.pruning.measures_at(epoch), dict[Measure, Tensor]()
    params = params_of(module)
    for batch in batches if wanted else ():
        args, kwargs = arguments(update.inputs_of(batch))
        loss = lambda outputs, batch=batch: update.loss_fn(outputs, batch)  # noqa: E731
        more = sums(module, params, state.spec, wanted, args, kwargs, loss)
        total = {m: more[m] + total[m] if m in total else more[m] for m in more}
    return total


def measured(state: State, total: Mapping[Measure, Tensor]) -> dict[Measure, Tensor]:
    """`{measure: Tensor[dense size of its axis]}` from the sums over all batches."""
    gone = state.thinned_masks
    return {m: spread({m.axis: t}, gone)[m.axis] for m, t in scores(total).items()}


def scored(
    state: State, small: nn.Module, epoch: int, batches: Sequence[Any], update: Update
) -> dict[str, Scores]:
    """`{pruner: {axis: Tensor[dense size]}}` of the pruners whose criteria look at data.

    Args:
        state: how far the recipe has come.
        small: the network without what is masked, in eval mode.
        epoch: which.
        batches: in memory.
        update: tells a batch's inputs and its loss.
    """
    pruning, params, spec = state.pruning, params_of(small), thin_spec(state.spec, state.pending)
    inputs = [inputs_of(update, batch) for batch in batches]

    def loss(outputs: Any, given: Any) -> Tensor:
        batch = next(b for b, seen in zip(batches, inputs, strict=True) if seen is given)
        return update.loss_fn(outputs, batch)

    out: dict[str, Scores] = {}
    for pruner in pruning.scored_at(epoch):
        assert pruner.by_axis is not None
        data = Data(small, inputs, loss, pruner.by_axis.gram)
        axes, seed = pruning.axes_of(pruner.name), (state.seed, epoch, pruner.name)
        out[pruner.name] = spread(
            scores_by(pruner.by_axis, axes, params, spec, seed, data), state.masks
        )
    return out


def _fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A word that tells tensors from others: names, shapes and values count."""
    out = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(tensors.items()):
        out.update(f"{name} {tuple(tensor.shape)} ".encode())
        out.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return out.hexdigest()
