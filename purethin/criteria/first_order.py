"""Scores of the first order: what a loss, or the output itself, loses with a unit by its
gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from purethin.arguments import explained
from purethin.criteria.shared import batches_of, fitting, gradients_of, mean_of
from purethin.errors import MaskError, SpecError
from purethin.measuring.gradients import GradientSums
from purethin.measuring.running import running
from purethin.measuring.stats import Stats
from purethin.outputs import output_leaves
from purethin.spec import Scores, Spec
from purethin.tree import TensorTree
from purethin.units import change, leaving, read

Grads = Iterable[TensorTree] | Stats
"""What `measure` gave with a loss, or for each batch the gradients, a pytree like the parameters;
those without one (buffers) may be left out, or be None.
"""


@explained
def taylor(params: TensorTree, spec: Spec, grads: Grads) -> Scores:
    """The first-order Taylor criterion, E_batch[(Σ g·w)²]: how much the loss changes when a unit
    goes.

    The sum runs over all entries that leave with the unit, in every parameter; the square is
    outside it, the mean outside that. An axis that the loss does not reach has score 0: to first
    order nothing is lost with it.

    Args:
        params: the parameter pytree.
        spec: its spec.
        grads: what `measure` gave with a loss, or for each batch the loss's gradients, a pytree
            like `params`; parameters without one (buffers) may be left out, or be None. A generator
            is read once, a batch at a time.

    Returns:
        `{axis: Tensor[size]}` for every axis; half types are summed in float32.

    Raises:
        SpecError: parameters or gradients do not fit the spec.
        MaskError: there is no batch, or one without any gradient.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning, arXiv 1906.10771,
    eq. 8.

    >>> spec = Spec.from_layout({"w": "h 2"}, {"w": torch.zeros(2, 2)})
    >>> params = {"w": torch.tensor([[1., 2.], [1., 1.]])}
    >>> taylor(params, spec, [{"w": torch.tensor([[1., 1.], [2., -2.]])}])["h"]
    tensor([9., 0.])
    """
    tensors = fitting(params, spec, "taylor(params, spec, grads)")
    if isinstance(grads, Stats):
        return dict(gradients_of(grads, spec).leaving)
    return _squared(tensors, spec, grads, leaving)


@explained
def gate(params: TensorTree, spec: Spec, grads: Grads) -> Scores:
    """The gradient of a gate z = 1 on each unit, E_batch[(∂L/∂z)²]: activation times gradient, as
    those see it that read the unit.

    At a call that reads the activation a, ∂L/∂z is Σ a·∂L/∂a over positions, which is Σ w·∂L/∂w
    over the weights that read it. The gate is that of float masks, `mask(params, spec, {axis: z})`:
    where no weight reads a unit (queries by keys), it is on what makes one of the two. An axis that
    the loss does not reach has score 0.

    Args:
        params: the parameter pytree.
        spec: its spec.
        grads: as `taylor`'s.

    Returns:
        `{axis: Tensor[size]}` for every axis.

    Raises:
        SpecError: parameters or gradients do not fit the spec.
        MaskError: there is no batch, or one without any gradient.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning, arXiv 1906.10771,
    sec. 3.2, eq. 11 (gates after the unit).

    >>> spec = Spec.from_layout({"w": "h 2", "v": "1 h"}, {"w": torch.ones(2, 2),
    ...                                                    "v": torch.ones(1, 2)})
    >>> params = {"w": torch.ones(2, 2), "v": torch.tensor([[2., 1.]])}
    >>> gate(params, spec, [{"w": torch.ones(2, 2), "v": torch.tensor([[1., 3.]])}])["h"]
    tensor([4., 9.])
    """
    tensors = fitting(params, spec, "gate(params, spec, grads)")
    if isinstance(grads, Stats):
        return dict(gradients_of(grads, spec).read)
    return _squared(tensors, spec, grads, read)


@explained
def snip(params: TensorTree, spec: Spec, grads: Grads) -> Scores:
    """SNIP of each unit, Σ|g·w| / Σ|g·w| of all: the share of the connections' sensitivity that
    leaves with it. g is the mean gradient of all batches.

    Args:
        params: the parameter pytree, as initialised in the paper.
        spec: its spec.
        grads: as `taylor`'s; the paper takes one batch.

    Returns:
        `{axis: Tensor[size]}` for every axis, fractions; comparable between axes.

    Raises:
        SpecError: parameters or gradients do not fit the spec.
        MaskError: there is no batch, or one without any gradient.

    Source: Lee et al., SNIP: Single-shot Network Pruning based on Connection Sensitivity, arXiv
    1810.02340, eq. 4 to 6.

    >>> spec = Spec.from_layout({"w": "h 2"}, {"w": torch.zeros(2, 2)})
    >>> params = {"w": torch.tensor([[1., 1.], [1., 1.]])}
    >>> snip(params, spec, [{"w": torch.tensor([[1., -1.], [2., 0.]])}])["h"]
    tensor([0.5000, 0.5000])
    """
    tensors = fitting(params, spec, "snip(params, spec, grads)")
    if isinstance(grads, Stats):
        mean = dict(gradients_of(grads, spec).mean)
    else:
        mean = mean_of(grads, spec, tensors, lambda g: g)
    changes = {name: change(g, tensors[name]).abs() for name, g in mean.items()}
    total = sum(float(c.sum()) for c in changes.values()) or 1.0
    return {axis.name: leaving(changes, spec, axis) / total for axis in spec.axes.values()}


def _squared(
    tensors: dict[str, Tensor],
    spec: Spec,
    grads: Iterable[TensorTree],
    of: Callable[..., Tensor],
) -> Scores:
    """The mean over batches of the squared sums of g·w."""
    rows: dict[str, list[Tensor]] = {name: [] for name in spec.axes}
    for given in batches_of(grads, spec, tensors):
        changes = {name: change(g, tensors[name]) for name, g in given.items()}
        for axis in spec.axes.values():
            rows[axis.name].append(of(changes, spec, axis).square())
    return {name: torch.stack(row).mean(0) for name, row in rows.items()}


@explained
def output_taylor(
    model: nn.Module | Callable[..., Any],
    params: TensorTree,
    spec: Spec,
    batches: Iterable[Any],
    *,
    directions: int = 4,
    generator: torch.Generator | None = None,
    output: Callable[[Any], Tensor] | None = None,
) -> Scores:
    """How much the output itself changes with a unit, to first order: E[(∂(v·output)/∂z)²] over
    examples and random directions v, with a gate z = 1 on what reads the unit. No labels, no loss.

    For standard normal v this is E over examples of ‖∂output/∂z‖². On trained transformers it came
    nearer to the true effect of a unit than any criterion of weights, activations or losses.

    Args:
        model: the module, or any function `f(params, *args)`, as `measure` takes it.
        params: its parameters.
        spec: their spec.
        batches: as `measure` takes them; each example must have an output of its own.
        directions: random v for each batch.
        generator: the source of v, for a repeatable answer; torch's own where there is none.
        output: from what the model returns to the tensor, the examples along its dim 0; without it
            the first floating tensor that it returns.

    Returns:
        `{axis: Tensor[size]}` for every axis, in squared units of the output.

    Raises:
        SpecError: model, parameters and spec do not fit, or the model returns no such tensor.
        MaskError: there is no batch.

    Source: the gate of Molchanov et al., arXiv 1906.10771, on v·output instead of a loss.

    >>> params = {"w": torch.tensor([[1., 2.]]), "v": torch.tensor([[1.], [1.]])}
    >>> spec = Spec.from_layout({"w": "1 h", "v": "h 1"}, params)
    >>> def net(p, x): return (x @ p["w"]) @ p["v"]
    >>> chance = torch.Generator().manual_seed(0)
    >>> scores = output_taylor(net, params, spec, [torch.ones(1, 1)], generator=chance)["h"]
    >>> round(float(scores[1] / scores[0]), 4)
    4.0
    """
    take = output or _first
    drawn: list[Tensor] = []

    def loss(outputs: Any, batch: Any) -> Tensor:
        out = take(outputs)
        if not isinstance(out, Tensor) or not out.is_floating_point() or not out.dim():
            raise SpecError("output= gives no floating tensor with the examples along its dim 0")
        if not drawn:  # one direction for all examples of a batch
            source = generator.device if generator else torch.device("cpu")
            v = torch.randn(out.shape[1:], generator=generator, device=source)
            drawn.append(v.to(out))
        return (out * drawn[0]).flatten(1).sum(1) if out.dim() > 1 else out * drawn[0]

    sums = GradientSums(running(model, params, spec), spec, loss, only=("read",))
    for batch in batches:
        for _ in range(directions):
            drawn.clear()
            sums.add(batch)
    if not sums.count:
        raise MaskError("no batch is given: give one at least, [inputs]")
    return sums.gradients().read


def _first(outputs: Any) -> Tensor:
    for _, leaf in output_leaves(outputs):
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.dim() > 0:
            return leaf
    raise SpecError("the model returns no floating tensor with examples: give output=, a function")
