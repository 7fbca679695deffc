"""Gradients of a loss over batches: of each batch, or of each example."""

from __future__ import annotations

import warnings
from collections import UserDict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, tree_unflatten

from purethin.errors import SpecError
from purethin.measuring.running import Running
from purethin.measuring.stats import Gradients
from purethin.spec import Spec
from purethin.units import change, leaving, read, readers, wide

Tensors = Mapping[str, Tensor]

BUDGET = 2**28
"""Bytes that the gradients of a chunk of examples may take."""


class GradientSums:
    """What has been summed so far."""

    def __init__(
        self,
        run: Running,
        spec: Spec,
        loss: Callable[[Any, Any], Tensor],
        *,
        only: Collection[str] = ("mean", "square", "leaving", "read"),
    ) -> None:
        self.run, self.spec, self.loss, self.only = run, spec, loss, only
        carrying = {name for axis in spec.axes.values() for name, _ in axis.places}
        if {*only} == {"read"}:  # the weights that no call reads a unit by need no gradient
            axes = spec.axes.values()
            carrying = {name for a in axes for name, _ in readers(spec, a) or a.places}
        self.weights = {
            name: t
            for name, t in run.tensors.items()
            if name in carrying and name not in spec.buffers and t.is_floating_point()
        }
        self.count = 0
        self._sums: dict[tuple[str, str], Tensor] = {}

    def add(self, batch: Any) -> None:
        """Add the gradient of one batch, or those of its examples."""
        weights = {name: t.detach().requires_grad_() for name, t in self.weights.items()}
        value = self._value(weights, batch)
        if not weights:
            self.count += 1
            return
        if not value.requires_grad:
            raise SpecError(
                "the loss depends on no parameter that carries an axis: is it detached, of labels "
                "alone, or measured in torch.inference_mode()?"
            )
        if value.dim() == 0:
            self._add({name: g[None] for name, g in _gradients(value, weights).items()})
        elif value.dim() == 1:
            for stacked in self._examples(weights, batch, len(value)):
                self._add(stacked)
        else:
            raise SpecError(
                f"the loss has shape {tuple(value.shape)}: give a scalar for each batch, or one "
                "number for each example"
            )

    def gradients(self) -> Gradients:
        """The means as they stand."""

        def mean(what: str) -> dict[str, Tensor]:
            return {name: s / self.count for (kind, name), s in self._sums.items() if kind == what}

        means = (mean(what) for what in ("mean", "square", "leaving", "read"))
        return Gradients(self.count, *means)

    def _value(self, weights: Tensors, batch: Any) -> Tensor:
        with torch.enable_grad():
            outputs = self.run.call({**self.run.tensors, **weights}, batch)
            try:
                value = self.loss(outputs, batch)
            except TypeError as error:
                if isinstance(self.loss, nn.Module) or self.loss.__module__ == F.__name__:
                    raise SpecError(
                        "the loss takes the target, and is given the whole batch: write "
                        "loss=lambda outputs, batch: loss(outputs, batch[1])"
                    ) from error
                raise
        if not isinstance(value, Tensor) or not value.is_floating_point():
            what = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise SpecError(
                f"the loss is {what}: give a floating tensor, a scalar for each batch, or one "
                "number for each example"
            )
        return value

    def _add(self, stacked: Tensors) -> None:
        """Add gradients `Tensor[examples, …]`."""
        for name, g in stacked.items():
            if "mean" in self.only:
                self._more("mean", name, wide(g).sum(0))
            if "square" in self.only:
                self._more("square", name, wide(g).abs().square().sum(0))
        changes = {name: change(g, self.weights[name].expand_as(g)) for name, g in stacked.items()}
        for of in (f for f in (leaving, read) if f.__name__ in self.only):
            for axis in self.spec.axes.values():
                each = vmap(lambda c, of=of, axis=axis: of(c, self.spec, axis))(changes)
                self._more(of.__name__, axis.name, each.square().sum(0))
        self.count += len(next(iter(stacked.values())))

    def _more(self, what: str, name: str, x: Tensor) -> None:
        before = self._sums.get((what, name))
        self._sums[what, name] = x if before is None else before + x

    def _examples(self, weights: Tensors, batch: Any, count: int) -> Iterator[Tensors]:
        """The gradients of each example, so many at a time as fit."""
        plain = dict(batch) if isinstance(batch, Mapping) else batch
        again = type(batch) if isinstance(batch, UserDict) else lambda parts: parts
        leaves, structure = tree_flatten(plain)
        split = [isinstance(x, Tensor) and x.dim() > 0 and len(x) == count for x in leaves]

        def one(weights: Tensors, *parts: Any) -> Tensor:
            rows = [x[None] if s else x for x, s in zip(parts, split, strict=True)]
            with torch.enable_grad():  # the caller may have turned it off
                value = self._value(weights, again(tree_unflatten(rows, structure)))
                if value.shape != (1,):
                    raise SpecError(
                        f"the loss gives {count} numbers for a batch, and not one where it is cut "
                        "to one example along dim 0: for gradients of each example, examples stand "
                        "along dim 0 of inputs, outputs and labels"
                    )
                return value.sum()

        size = sum(t.numel() * t.element_size() for t in weights.values())
        chunk = max(1, min(count, BUDGET // max(size, 1)))
        dims = (None, *(0 if s else None for s in split))
        together = vmap(grad(one), dims, randomness="different") if chunk > 1 else None
        for start in range(0, count, chunk):
            stop = min(start + chunk, count)
            parts = [x[start:stop] if s else x for x, s in zip(leaves, split, strict=True)]
            if together is not None:
                try:
                    with warnings.catch_warnings():  # torch loops by itself in places, and says so
                        warnings.filterwarnings("ignore", "There is a performance drop")
                        found = together(self.weights, *parts)
                    yield found
                    continue
                except (RuntimeError, ValueError, NotImplementedError):
                    together = None  # what vmap cannot do: the examples one by one
            for row in range(stop - start):
                example = [x[row] if s else x for x, s in zip(parts, split, strict=True)]
                found = _gradients(one(weights, *example), weights)
                yield {name: g[None] for name, g in found.items()}


def _gradients(value: Tensor, weights: Tensors) -> dict[str, Tensor]:
    """The gradients by name; zeros where the loss does not depend on a parameter."""
    found = torch.autograd.grad(value, [*weights.values()], allow_unused=True)
    return {
        name: torch.zeros_like(t) if g is None else g
        for (name, t), g in zip(weights.items(), found, strict=True)
    }
