"""The tensors of a training as they are now: network, optimizer and average; masked, thinned, taken
out whole and put back.

Invariant: parameters, the optimizer's state and the average always have the shapes that the state
of the pruning says, and zeros where it says so. Where tensors are
spread over processes, no process holds all of them whole at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.utils._pytree import tree_map_only

from purethin.errors import CheckpointError
from purethin.kept import Kept, along
from purethin.modules import params_of, rebuild
from purethin.optimizers.probe import Slot
from purethin.optimizers.slots import check_optimizer, state_after, taken
from purethin.thinning import Config, Thinning, config_of
from purethin.training import moments
from purethin.training.alike import unlike
from purethin.training.core import Change, State
from purethin.training.network import Engine, Forward
from purethin.training.zeros import clear, dead_entries
from purethin.tree import copied

_NAMES = "SGD Adam AdamW Adamax NAdam RAdam RMSprop Adagrad Adadelta ASGD Rprop"
_ELEMENTWISE = {getattr(optim, name) for name in _NAMES.split()}
"""Optimizers under which a zero with zero gradients and moments stays zero."""


class Tensors:
    """What a trainer trains.

    Attributes:
        pruned: how far the pruning has come.
        engine: where the tensors lie.
        network: the module at work.
        asleep: parameters and buffers with the values that gone units had, where units may come
            back; else none.
        average: the exponential moving average of parameters and buffers by name, or None.
        optimizer: over the network's parameters; it stays the same object.
        keep_gradients: `{parameter: factors, 1 where an entry stays, else 0}`, which its gradient
            is multiplied by before a step: one for each dim that loses units, or a whole one.
        keep_values: the same, of what a step may move away from zero: running statistics, and under
            other than elementwise optimizers the parameters. What masking spares stays there.
    """

    def __init__(
        self,
        model: nn.Module,
        pruned: State,
        optimizer: Callable[[list[Tensor]], optim.Optimizer],
        engine: Engine,
        transform: Callable[[Forward], Forward] | None,
        *,
        decay: float | None,
    ) -> None:
        self.pruned, self.engine = pruned, engine
        self.keep_gradients: dict[str, Sequence[Tensor]] = {}
        self.keep_values: dict[str, Sequence[Tensor]] = {}
        self._dense, self._transform, self._decay = model, transform, decay
        self._rebuild(params_of(model))
        self.asleep = copied(dict(self.params)) if pruned.pruning.regrows else {}
        self.average = None if decay is None else copied(self.params)
        trained = [p for p in self.params.values() if p.requires_grad]
        self.optimizer = optimizer(trained)
        stepped = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        if trained and stepped.isdisjoint(map(id, trained)):
            raise ValueError(
                "the optimizer has none of the network's parameters, which are copies of the "
                "model's: make it over the list that it is given, "
                "optimizer=lambda params: torch.optim.SGD(params, lr=0.1)"
            )
        moments.check_steps(self.optimizer)
        check_optimizer(self.optimizer)

    @property
    def notes(self) -> list[str]:
        """What a user should know of the optimizer."""
        known = type(self.optimizer) in _ELEMENTWISE
        note = None if known else unlike(self.optimizer)
        return [] if note is None else [note]

    @property
    def params(self) -> Mapping[str, Tensor]:
        """The network's parameters and buffers by name, those that the optimizer steps."""
        return self.network.params

    def shown(self, *, average: bool = False) -> nn.Module:
        """A new module of the user's own class, of the tensors as they are, whole; of their
        average, where that is asked for and there is one.
        """
        params = self.average if average and self.average is not None else self.params
        whole = {name: self.engine.full(t.detach()) for name, t in params.items()}
        return self.engine.shown(rebuild(self._dense, whole, self.pruned.config))

    def thinned(self, *, average: bool = False) -> tuple[dict[str, Tensor], Config]:
        """The parameters, or their average, whole and without all that is masked; and the config.

        Raises:
            MaskError: that would change the branch that the forward takes.
        """
        params = self.average if average and self.average is not None else self.params
        now = self.pruned
        thinning = Thinning(now.spec, now.pending)
        whole = {n: thinning.leaf(n, self.engine.full(t.detach())) for n, t in params.items()}
        return whole, config_of(now.pruning.spec, now.masks)

    def small(self, *, average: bool = False) -> nn.Module:
        """A new module of the user's own class, of what `thinned` gives."""
        return self.engine.shown(rebuild(self._dense, *self.thinned(average=average)))

    def training(self, module: nn.Module) -> nn.Module:
        """The module in train mode; where the user's model is in it, with those parts in eval mode
        that the user's has so.
        """
        return module if self._dense.training else module.train()

    @property
    def penalised(self) -> Mapping[str, Tensor]:
        """The parameters that a penalty reads: zero wherever units are removed, differentiable."""
        spared = {n for n, _ in self.pruned.pruning.spec.spared} & self.keep_gradients.keys()
        return {
            n: prod(self.keep_gradients[n], start=t) if n in spared else t
            for n, t in self.params.items()
        }

    def read(self, names: Collection[str]) -> dict[str, Tensor]:
        """The parameters as they are, whole; of those not named the shapes alone, on meta."""
        return {
            name: self.engine.full(t.detach())
            if name in names
            else torch.empty(t.shape, dtype=t.dtype, device="meta")
            for name, t in self.params.items()
        }

    @torch.no_grad()
    def move_average(self) -> None:
        """Move the exponential moving average towards the parameters, where there is one; what has
        no value between (a count of batches) is copied.
        """
        for name, tensor in (self.average or {}).items():
            if tensor.is_floating_point() or tensor.is_complex():
                tensor.lerp_(self.params[name].detach(), 1 - (self._decay or 0.0))
            else:
                tensor.copy_(self.params[name])

    @torch.no_grad()
    def move(self, values: Mapping[str, Tensor]) -> None:
        """Give parameters other values, whole; the average moves as far."""
        for name, value in values.items():
            new = self._spread(name, value)
            if self.average is not None:
                self.average[name] += new - self.params[name]
            self.params[name].copy_(new)

    def agree(self) -> None:
        """Give buffers, the average's too, the values that they have in process 0."""
        buffers = [n for n, t in self.params.items() if not isinstance(t, nn.Parameter)]
        held = (self.params, self.average or {})
        self.engine.agree([tensors[n] for tensors in held for n in buffers if n in tensors])

    def follow(self, state: State, change: Change) -> None:
        """What a change of the pruning means for the tensors: zeros in place, or smaller ones."""
        if self.asleep and change.masked:
            self._wake()
        self.pruned = state
        if change.thinned:
            self._shrink(change)
            self.asleep = {}
        if change.masked or change.thinned:
            self._zero()

    def dense(self) -> dict[str, Tensor]:
        """The parameters and buffers with the values that gone units had, where these are kept."""
        dead = self._dead() if self.asleep else {}
        return {
            name: torch.where(dead[name], self.asleep[name], t.detach()) if name in dead else t
            for name, t in self.params.items()
        }

    @torch.no_grad()
    def _wake(self) -> None:
        """Write all values into the tensors, the average's too, and keep them."""
        dense, dead = self.dense(), self._dead()
        for name, where in dead.items():
            for tensors in (self.params, self.average or {}):
                if name in tensors:
                    tensors[name].copy_(torch.where(where, dense[name], tensors[name]))
        self.asleep = copied(dense)

    def _dead(self) -> dict[str, Tensor]:
        """Where masks have written zeros."""
        now = self.pruned
        return dead_entries(self.params, now.spec, now.pending, now.singles, self.engine.spread)

    def _shrink(self, change: Change) -> None:
        """Take the masked units out of parameters, average and the optimizer's state."""
        kept, thinning = Kept(change.spec, change.masks), Thinning(change.spec, change.masks)
        old, state = self.params, moments.by_name(self.optimizer, self.params)
        self.check_state(kept)

        def thinned(name: str, tensor: Tensor) -> Tensor:
            return thinning.leaf(name, self.engine.full(tensor.detach()))

        def cut(name: str, leaf: Tensor, slot: Slot) -> Tensor:
            return self._spread(name, taken(kept, name, self.engine.full(leaf.detach()), slot))

        self._rebuild({name: thinned(name, tensor) for name, tensor in old.items()})
        if self.average is not None:
            self.average = {n: self._spread(n, thinned(n, t)) for n, t in self.average.items()}
        less = {n: values for n, values in state.items() if kept.touches(n)}
        after = state_after(self.optimizer, less, kept, cut)
        moments.swap(self.optimizer, old, self.params, state | after)

    def check_state(self, kept: Kept | None = None) -> None:
        """That the optimizer's state can be thinned, by these masks.

        Raises:
            SpecError: it cannot be.
        """
        state, same = moments.by_name(self.optimizer, self.params), lambda _name, leaf, _slot: leaf
        state_after(self.optimizer, state, kept or Kept(self.pruned.spec, {}), same)

    @property
    def state(self) -> dict[str, Any]:
        """Copies of all tensors, by name, as they lie."""
        return {
            "params": copied(self.params),
            "average": copied(self.average),
            "asleep": copied(self.asleep),
            "optimizer": moments.state_of(self.optimizer, self.params),
            "masks": copied(self.pruned.masks),
            "elements": copied(self.pruned.elements),
            "thinned_masks": copied(self.pruned.thinned_masks),
        }

    def check(self, state: Mapping[str, Any]) -> None:
        """That a state of the same dense network can be put back.

        Raises:
            CheckpointError: one of the two has an average and the other none, the optimizer or its
                groups are others, or a dtype is.
        """
        if (state["average"] is None) != (self.average is None):
            raise CheckpointError(
                "one of the state and this trainer has an average (ema) and the other none: make "
                "them alike"
            )
        moments.check_groups(self.optimizer, self.params, state["optimizer"])
        for name, tensor in state["params"].items():
            if tensor.dtype != (now := self.params[name].dtype):
                raise CheckpointError(
                    f"{name} was {tensor.dtype} and is {now}: give the trainer a model of the "
                    "dtype of that run"
                )

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave, here or in another run, once `check` has passed it; spread or
        whole.
        """
        own = params_of(self._dense)
        device = next(iter(own.values())).device
        held = {
            kind: {name: m.to(device) for name, m in state[kind].items()}
            for kind in ("masks", "elements", "thinned_masks")
        }
        self.pruned = replace(self.pruned, **held)
        old = self.params
        self._rebuild(
            {n: self.engine.full(t).to(own[n].device) for n, t in state["params"].items()}
        )
        if self.average is not None:
            self.average = {n: self._spread(n, tensor) for n, tensor in state["average"].items()}
        self.asleep = {n: self._spread(n, t) for n, t in state.get("asleep", {}).items()}
        kept = {n: self._spread(n, values) for n, values in state["optimizer"]["state"].items()}
        moments.restore(self.optimizer, old, self.params, {**state["optimizer"], "state": kept})
        self._zero()

    def _zero(self) -> None:
        """Zeros in the parameters, running statistics, moments and the average of what is
        masked.
        """
        spec, masks, single = self.pruned.spec, self.pruned.pending, self.pruned.singles
        dead = gone = self._dead()
        if spec.spared:
            gone = dead_entries(self.params, spec, masks, single, self.engine.spread, spare=False)
        clear(self.params, dead)
        clear(self.average or {}, dead)
        self._zero_state(gone)
        trained = {name for name, tensor in self.params.items() if tensor.requires_grad}
        self.keep_gradients = self._factors(gone, trained, spare=False)
        stays = type(self.optimizer) in _ELEMENTWISE
        moved = dead.keys() - self.keep_gradients.keys() if stays else dead.keys()
        self.keep_values = self._factors(dead, moved, spare=True)

    @torch.no_grad()
    def _zero_state(self, gone: Mapping[str, Tensor]) -> None:
        """Zeros in the optimizer's state: in a tensor of rows or columns alone, where those are
        masked whole.
        """

        def zero(name: str, leaf: Tensor, slot: Slot) -> Tensor:
            where = gone[name]
            if lacking := tuple(d for d in range(where.dim()) if d not in slot):
                where = where.all(lacking, keepdim=len(slot) == where.dim())
            return leaf.masked_fill_(where, 0)

        held = moments.by_name(self.optimizer, self.params)
        state, kept = {n: held[n] for n in gone.keys() & held.keys()}, self.pruned.kept
        for name, values in state_after(self.optimizer, state, kept, zero).items():
            held[name].update(values)

    def _factors(
        self, dead: Mapping[str, Tensor], names: Collection[str], *, spare: bool
    ) -> dict[str, Sequence[Tensor]]:
        """1 where entries stay, else 0: by dim, which reads half the memory, where that says all
        and the tensor lies whole here.
        """
        found: dict[str, Sequence[Tensor]] = {}
        for name in (n for n in dead if n in names):
            tensor = self.params[name]
            if name in self.pruned.singles or type(tensor) not in (Tensor, nn.Parameter):
                found[name] = [(~dead[name]).to(tensor.dtype)]
                continue
            keeps = [self.pruned.kept.keep(name, d, spare=spare) for d in range(tensor.dim())]
            found[name] = [
                along(keep, d, tensor.dim()).to(tensor)
                for d, keep in enumerate(keeps)
                if keep is not None and not bool(keep.all())
            ]
        return found

    def _rebuild(self, params: Mapping[str, Tensor]) -> None:
        """The network anew, of these tensors."""
        module = self.training(rebuild(self._dense, params, self.pruned.config))
        self.network = self.engine.network(module, self._transform)

    def _spread(self, name: str, value: Any) -> Any:
        """What belongs to a parameter, nested or not, laid out as that is now."""
        if (like := self.params.get(name)) is None:
            return value
        return tree_map_only(Tensor, lambda leaf: self.engine.spread(leaf, like), value)
