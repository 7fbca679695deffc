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
from purethin.training.network import Engine, Forward, Network
from purethin.training.zeros import clear, current, dead_entries, thinned_elements

_ELEMENTWISE = {
    optim.SGD,
    optim.Adam,
    optim.AdamW,
    optim.Adamax,
    optim.NAdam,
    optim.RAdam,
    optim.RMSprop,
    optim.Adagrad,
    optim.Adadelta,
    optim.ASGD,
    optim.Rprop,
}
"""Optimizers under which a zero with zero gradients and moments stays zero."""


class Live:
    """What a trainer trains.

    Attributes:
        spec: the dense network's.
        masks: over the dense axes, True = keep.
        elements: masks of single elements, at the parameters' dense shapes.
        thinned_masks: the masks that have left the tensors.
        network: the module at work.
        average: of parameters and buffers by name, or None.
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
        average: bool,
    ) -> None:
        self.spec = spec
        self.masks: dict[str, Tensor] = {}
        self.elements: dict[str, Tensor] = {}
        self.thinned_masks: dict[str, Tensor] = {}
        self.keep_gradients: dict[str, Tensor] = {}
        self.keep_values: dict[str, Tensor] = {}
        self._dense, self._engine, self._transform = model, engine, transform
        self.network = self._networked(params_of(model))
        self.average = (
            {name: tensor.detach().clone() for name, tensor in self.params.items()}
            if average
            else None
        )
        self.optimizer = optimizer([p for p in self.params.values() if p.requires_grad])

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

    def whole(self, params: Mapping[str, Tensor]) -> nn.Module:
        """A new module of the user's own class, of these tensors as they are now."""
        return rebuild(
            self._dense,
            {name: self._engine.full(t.detach()) for name, t in params.items()},
            self.config,
        )

    def training(self, module: nn.Module) -> nn.Module:
        """The module in train mode; where the user's model is in it, with those parts in eval mode
        that the user's has so.
        """
        return module if self._dense.training else module.train()

    @property
    def penalised(self) -> Mapping[str, Tensor]:
        """The parameters that a penalty reads: zero wherever units are removed, differentiable."""
        spared = {name for name, _ in self.spec.spared}
        return {
            name: tensor * self.keep_gradients[name]
            if name in spared and name in self.keep_gradients
            else tensor
            for name, tensor in self.params.items()
        }

    def dense(self, names: Collection[str]) -> dict[str, Tensor]:
        """The parameters at their dense shapes, zero where units are gone; of those not named the
        shapes alone, on meta.
        """
        now = {
            name: self._engine.full(t.detach())
            if name in names
            else torch.empty(t.shape, dtype=t.dtype, device="meta")
            for name, t in self.params.items()
        }
        return expand(now, self.spec, self.thinned_masks)

    def mask(self, masks: Masks, elements: Elements) -> bool:
        """Go on with these masks; whether they are others than before."""
        changed = _differ(masks, self.masks) or _differ(elements, self.elements)
        self.masks, self.elements = dict(masks), dict(elements)
        if changed:
            self._silence()
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
            return thinning.leaf(name, self._engine.full(value.detach())) if shaped else value

        self.thinned_masks = dict(self.masks)
        self.network = self._networked(
            {name: thinned(name, tensor) for name, tensor in old.items()}
        )
        if self.average is not None:
            self.average = {
                name: self._spread(name, thinned(name, tensor))
                for name, tensor in self.average.items()
            }
        moments.swap(self.optimizer, old, self.params, self._spread_state(state, thinned))
        self._silence()
        return True

    def thinned(self) -> tuple[dict[str, Tensor], Config]:
        """The average, or the parameters where there is none, without all that is masked; and the
        config.
        """
        thinning = Thinning(*current(self.spec, self.masks, self.thinned_masks))
        params = self.params if self.average is None else self.average
        whole = {n: thinning.leaf(n, self._engine.full(t.detach())) for n, t in params.items()}
        return whole, config_of(self.spec, self.masks)

    @property
    def state(self) -> dict[str, Any]:
        """Copies of all tensors, by name, as they lie."""
        return {
            "params": {name: tensor.detach().clone() for name, tensor in self.params.items()},
            "average": None
            if self.average is None
            else {name: tensor.clone() for name, tensor in self.average.items()},
            "optimizer": moments.state_of(self.optimizer, self.params),
            "masks": {name: m.clone() for name, m in self.masks.items()},
            "elements": {name: m.clone() for name, m in self.elements.items()},
            "thinned_masks": {name: m.clone() for name, m in self.thinned_masks.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave, here or in another run of the same dense network, spread or
        whole.

        Raises:
            CheckpointError: one of the two has an average and the other none, or the optimizer's
                groups are others.
        """
        if (state["average"] is None) != (self.average is None):
            raise CheckpointError(
                "one of the state and this trainer has an average (ema) and the other none: make "
                "them alike"
            )
        moments.check_groups(self.optimizer, self.params, state["optimizer"])
        own = params_of(self._dense)
        device = next(iter(own.values())).device
        self.masks = {name: m.to(device) for name, m in state["masks"].items()}
        self.elements = {name: m.to(device) for name, m in state["elements"].items()}
        self.thinned_masks = {name: m.to(device) for name, m in state["thinned_masks"].items()}
        old = self.params
        self.network = self._networked(
            {n: self._engine.full(t).to(own[n].device) for n, t in state["params"].items()}
        )
        if self.average is not None:
            self.average = {
                name: self._spread(name, tensor) for name, tensor in state["average"].items()
            }
        kept = self._spread_state(state["optimizer"]["state"], lambda _, value: value)
        moments.restore(self.optimizer, old, self.params, {**state["optimizer"], "state": kept})
        self._silence()

    def _silence(self) -> None:
        """Zeros in the parameters, running statistics, moments and the average of what is
        masked.
        """
        spec, masks = current(self.spec, self.masks, self.thinned_masks)
        single = thinned_elements(self.elements, self.spec, self.thinned_masks)
        dead = dead_entries(self.params, spec, masks, single, self._engine.spread)
        gone = dead
        if spec.spared:
            gone = dead_entries(self.params, spec, masks, single, self._engine.spread, spare=False)
        clear(self.params, dead)
        clear(self.average or {}, dead)
        for tensors in moments.state_tensors(self.optimizer, self.params):
            clear(tensors, gone)
        self.keep_gradients = {
            name: (~where).to(self.params[name].dtype)
            for name, where in gone.items()
            if self.params[name].requires_grad
        }
        keep = {name: (~where).to(self.params[name].dtype) for name, where in dead.items()}
        moved = (
            keep.keys()
            if type(self.optimizer) not in _ELEMENTWISE
            else keep.keys() - self.keep_gradients.keys()
        )
        self.keep_values = {name: keep[name] for name in keep if name in moved}

    def _networked(self, params: Mapping[str, Tensor]) -> Network:
        return self._engine.network(
            self.training(rebuild(self._dense, params, self.config)), self._transform
        )

    def _spread(self, name: str, value: Any) -> Any:
        """What belongs to a parameter, laid out as that is now."""
        return (
            self._engine.spread(value, self.params[name])
            if isinstance(value, Tensor) and name in self.params
            else value
        )

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
