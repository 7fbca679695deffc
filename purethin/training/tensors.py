"""The tensors of a training as they are now: network, optimizer and average; masked, thinned, taken
out whole and put back.

Invariant: parameters, the optimizer's state and the average always have the shapes that
`thinned_masks` leave of the dense network, and zeros where `masks` says so. Where tensors are
spread over processes, no process holds all of them whole at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn, optim

from purethin.errors import CheckpointError
from purethin.modules import params_of, rebuild
from purethin.spec import Elements, Masks, Spec
from purethin.thinning import Config, Thinning, config_of, expand, thin_spec
from purethin.training import moments
from purethin.training.network import Engine, Forward
from purethin.training.zeros import clear, current, dead_entries, thinned_elements
from purethin.tree import copied

_NAMES = "SGD Adam AdamW Adamax NAdam RAdam RMSprop Adagrad Adadelta ASGD Rprop"
_ELEMENTWISE = {getattr(optim, name) for name in _NAMES.split()}
"""Optimizers under which a zero with zero gradients and moments stays zero."""


class Tensors:
    """What a trainer trains.

    Attributes:
        spec: the dense network's.
        engine: where the tensors lie.
        masks: over the dense axes, True = keep.
        elements: masks of single elements, at the parameters' dense shapes.
        thinned_masks: the masks that have left the tensors.
        network: the module at work.
        average: the exponential moving average of parameters and buffers by name, or None.
        optimizer: over the network's parameters; it stays the same object.
        keep_gradients: `{parameter: 1 where an entry stays, else 0}`, which its gradient is
            multiplied by before a step.
        keep_values: the same, of what a step may move away from zero: running statistics, and under
            other than elementwise optimizers the parameters. What masking spares stays there.
    """

    def __init__(
        self,
        model: nn.Module,
        spec: Spec,
        optimizer: Callable[[list[Tensor]], optim.Optimizer],
        engine: Engine,
        transform: Callable[[Forward], Forward] | None,
        *,
        decay: float | None,
    ) -> None:
        self.spec, self.engine = spec, engine
        self.masks: dict[str, Tensor] = {}
        self.elements: dict[str, Tensor] = {}
        self.thinned_masks: dict[str, Tensor] = {}
        self.keep_gradients: dict[str, Tensor] = {}
        self.keep_values: dict[str, Tensor] = {}
        self._dense, self._transform, self._decay = model, transform, decay
        self._rebuild(params_of(model))
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

    @property
    def params(self) -> Mapping[str, Tensor]:
        """The network's parameters and buffers by name, those that the optimizer steps."""
        return self.network.params

    @property
    def now(self) -> Spec:
        """The spec of the current tensors."""
        return thin_spec(self.spec, self.thinned_masks)

    @property
    def config(self) -> Config:
        """What `rebuild` needs beside the parameters."""
        return config_of(self.spec, self.thinned_masks)

    def shown(self, params: Mapping[str, Tensor]) -> nn.Module:
        """A new module of the user's own class, of these tensors, whole."""
        whole = {name: self.engine.full(t.detach()) for name, t in params.items()}
        return self.engine.shown(rebuild(self._dense, whole, self.config))

    def training(self, module: nn.Module) -> nn.Module:
        """The module in train mode; where the user's model is in it, with those parts in eval mode
        that the user's has so.
        """
        return module if self._dense.training else module.train()

    @property
    def penalised(self) -> Mapping[str, Tensor]:
        """The parameters that a penalty reads: zero wherever units are removed, differentiable."""
        spared = {name for name, _ in self.spec.spared} & self.keep_gradients.keys()
        factors = self.keep_gradients
        return {n: t * factors[n] if n in spared else t for n, t in self.params.items()}

    def dense(self, names: Collection[str]) -> dict[str, Tensor]:
        """The parameters at their dense shapes, zero where units are gone; of those not named the
        shapes alone, on meta.
        """
        now = {
            name: self.engine.full(t.detach())
            if name in names
            else torch.empty(t.shape, dtype=t.dtype, device="meta")
            for name, t in self.params.items()
        }
        return expand(now, self.spec, self.thinned_masks)

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

    def agree(self) -> None:
        """Give buffers, the average's too, the values that they have in process 0."""
        buffers = [n for n, t in self.params.items() if not isinstance(t, nn.Parameter)]
        held = (self.params, self.average or {})
        self.engine.agree([tensors[n] for tensors in held for n in buffers if n in tensors])

    def mask(self, masks: Masks, elements: Elements) -> bool:
        """Go on with these masks; whether they are others than before."""
        changed = _differ(masks, self.masks) or _differ(elements, self.elements)
        self.masks, self.elements = dict(masks), dict(elements)
        if changed:
            self._zero()
        return changed

    def shrink(self) -> bool:
        """Take the masked units out of parameters, average and the optimizer's state; whether there
        were any.

        Raises:
            MaskError: it would change the branch that the forward takes.
        """
        spec, masks = current(self.spec, self.masks, self.thinned_masks)
        if all(bool(m.all()) for m in masks.values()):
            self.thinned_masks = dict(self.masks)
            return False
        thinning = Thinning(spec, masks)
        old, state = self.params, moments.by_name(self.optimizer, self.params)

        def thinned(name: str, value: Any) -> Any:
            shaped = isinstance(value, Tensor) and name in old and value.shape == old[name].shape
            return thinning.leaf(name, self.engine.full(value.detach())) if shaped else value

        self.thinned_masks = dict(self.masks)
        self._rebuild({name: thinned(name, tensor) for name, tensor in old.items()})
        if self.average is not None:
            self.average = {n: self._spread(n, thinned(n, t)) for n, t in self.average.items()}
        moments.swap(self.optimizer, old, self.params, self._spread_state(state, thinned))
        self._zero()
        return True

    def thinned(self) -> tuple[dict[str, Tensor], Config]:
        """The average, or the parameters where there is none, without all that is masked; and the
        config.
        """
        thinning = Thinning(*current(self.spec, self.masks, self.thinned_masks))
        params = self.params if self.average is None else self.average
        whole = {n: thinning.leaf(n, self.engine.full(t.detach())) for n, t in params.items()}
        return whole, config_of(self.spec, self.masks)

    @property
    def state(self) -> dict[str, Any]:
        """Copies of all tensors, by name, as they lie."""
        return {
            "params": copied(self.params),
            "average": copied(self.average),
            "optimizer": moments.state_of(self.optimizer, self.params),
            "masks": copied(self.masks),
            "elements": copied(self.elements),
            "thinned_masks": copied(self.thinned_masks),
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
        self.masks, self.elements, self.thinned_masks = (
            {name: m.to(device) for name, m in state[kind].items()}
            for kind in ("masks", "elements", "thinned_masks")
        )
        old = self.params
        self._rebuild(
            {n: self.engine.full(t).to(own[n].device) for n, t in state["params"].items()}
        )
        if self.average is not None:
            self.average = {n: self._spread(n, tensor) for n, tensor in state["average"].items()}
        kept = self._spread_state(state["optimizer"]["state"], lambda _, value: value)
        moments.restore(self.optimizer, old, self.params, {**state["optimizer"], "state": kept})
        self._zero()

    def _zero(self) -> None:
        """Zeros in the parameters, running statistics, moments and the average of what is
        masked.
        """
        spec, masks = current(self.spec, self.masks, self.thinned_masks)
        single = thinned_elements(self.elements, self.spec, self.thinned_masks)
        dead = dead_entries(self.params, spec, masks, single, self.engine.spread)
        gone = dead
        if spec.spared:
            gone = dead_entries(self.params, spec, masks, single, self.engine.spread, spare=False)
        clear(self.params, dead)
        clear(self.average or {}, dead)
        for tensors in moments.state_tensors(self.optimizer, self.params):
            clear(tensors, gone)
        trained = {name for name, tensor in self.params.items() if tensor.requires_grad}
        self.keep_gradients = self._factors(gone, trained)
        stays = type(self.optimizer) in _ELEMENTWISE
        moved = dead.keys() - self.keep_gradients.keys() if stays else dead.keys()
        self.keep_values = self._factors(dead, moved)

    def _factors(self, dead: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
        """1 where entries stay, else 0."""
        return {n: (~d).to(self.params[n].dtype) for n, d in dead.items() if n in names}

    def _rebuild(self, params: Mapping[str, Tensor]) -> None:
        """The network anew, of these tensors."""
        module = self.training(rebuild(self._dense, params, self.config))
        self.network = self.engine.network(module, self._transform)

    def _spread(self, name: str, value: Any) -> Any:
        """What belongs to a parameter, laid out as that is now."""
        if isinstance(value, Tensor) and name in self.params:
            return self.engine.spread(value, self.params[name])
        return value

    def _spread_state(
        self, state: Mapping[str, Any], change: Callable[[str, Any], Any]
    ) -> dict[str, dict[str, Any]]:
        return {
            n: {key: self._spread(n, change(n, value)) for key, value in values.items()}
            for n, values in state.items()
        }


def _differ(masks: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> bool:
    """Whether any mask is new, or another than before."""
    return any(
        name not in before or not torch.equal(m, before[name].to(m.device))
        for name, m in masks.items()
    )
