"""Scores of the second order: ½ Σ h·w² over what leaves with a unit; h is a curvature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad

from purethin.arguments import explained
from purethin.criteria.first_order import Grads
from purethin.criteria.shared import batches_of, fitting, gradients_of, mean_of
from purethin.measuring.stats import Stats
from purethin.spec import Scores, Spec
from purethin.tree import TensorTree, map_named
from purethin.units import leaving, wide


@explained
def obd(params: TensorTree, spec: Spec, diagonal: TensorTree) -> Scores:
    """Optimal brain damage of each unit, ½ Σ h·w² over all entries that leave with it, h the
    diagonal of the loss's Hessian: what the loss gains at a minimum, curvature between entries left
    out.

    Args:
        params: the parameter pytree.
        spec: its spec.
        diagonal: h, a pytree like `params`, as `hessian_diagonal` gives it; parameters without one
            may be left out, or be None, and count 0.

    Returns:
        `{axis: Tensor[size]}` for every axis, in units of the loss.

    Raises:
        SpecError: parameters or the diagonal do not fit the spec.
        MaskError: no diagonal is given of any parameter.

    Source: LeCun et al., Optimal Brain Damage, NIPS 1989, sec. 2.1.

    >>> spec = Spec.from_layout({"w": "h 2"}, {"w": torch.zeros(2, 2)})
    >>> obd({"w": torch.tensor([[1., 2.], [1., 1.]])}, spec, {"w": torch.ones(2, 2)})["h"]
    tensor([2.5000, 1.0000])
    """
    tensors = fitting(params, spec, "obd(params, spec, diagonal)")
    (given,) = batches_of([diagonal], spec, tensors)
    return _halved({n: wide(h) * wide(tensors[n]).abs().square() for n, h in given.items()}, spec)


@explained
def fisher(params: TensorTree, spec: Spec, grads: Grads) -> Scores:
    """½ Σ F·w² over all entries that leave with a unit, F = E[g²] the diagonal of the Fisher
    information, each g the gradient of one example.

    With the data's labels it is the empirical Fisher; with labels drawn from the network's own
    outputs (`sampled_labels`) the true one, which is the Gauss-Newton curvature of a log
    likelihood.

    Args:
        params: the parameter pytree.
        spec: its spec.
        grads: what `measure` gave with a loss that gives one number for each example; or the
            gradients, example by example, as `taylor` takes batches.

    Returns:
        `{axis: Tensor[size]}` for every axis, in units of the loss.

    Raises:
        SpecError: parameters or gradients do not fit the spec.
        MaskError: there is no gradient.

    Source: Theis et al., Faster gaze prediction with dense networks and Fisher pruning, arXiv
    1801.05787, eq. 5 to 8, entry by entry.

    >>> spec = Spec.from_layout({"w": "h 1"}, {"w": torch.zeros(2, 1)})
    >>> each = [{"w": torch.tensor([[1.], [0.]])}, {"w": torch.tensor([[-1.], [2.]])}]
    >>> fisher({"w": torch.tensor([[2.], [1.]])}, spec, each)["h"]
    tensor([2., 1.])
    """
    tensors = fitting(params, spec, "fisher(params, spec, grads)")
    if isinstance(grads, Stats):
        squares = dict(gradients_of(grads, spec).square)
    else:
        squares = mean_of(grads, spec, tensors, lambda g: wide(g).abs().square())
    return _halved({n: f * wide(tensors[n]).abs().square() for n, f in squares.items()}, spec)


def _halved(terms: dict[str, Tensor], spec: Spec) -> Scores:
    return {axis.name: leaving(terms, spec, axis) / 2 for axis in spec.axes.values()}


@explained
def sampled_labels(outputs: Tensor, batch: Any) -> Tensor:
    """The loss of the true Fisher, for `measure(…, loss=sampled_labels)`: the negative log
    likelihood of labels that are drawn from the outputs.

    Args:
        outputs: `Tensor[examples, …, classes]`, logits.
        batch: not read.

    Returns:
        `Tensor[examples]`, nats, summed over what stands between examples and classes. The draws
        are torch's own: `torch.manual_seed` repeats them.

    Source: Kunstner et al., Limitations of the Empirical Fisher Approximation, arXiv 1905.12558,
    sec. 3.

    >>> sampled_labels(torch.tensor([[0., 100.]]), None)
    tensor([-0.])
    """
    likely = outputs.log_softmax(-1)
    noise = -torch.log(-torch.log(torch.rand_like(likely).clamp(1e-20, 1 - 1e-7)))
    labels = (likely.detach() + noise).argmax(-1, keepdim=True)
    lost = -likely.gather(-1, labels)[..., 0]
    return lost.flatten(1).sum(1) if lost.dim() > 1 else lost


@explained
def hessian_diagonal(
    loss: Callable[[TensorTree], Tensor],
    params: TensorTree,
    spec: Spec,
    *,
    samples: int = 16,
    generator: torch.Generator | None = None,
) -> TensorTree:
    """The diagonal of a loss's Hessian, by Hutchinson: the mean of v ⊙ Hv over random signs v. It
    is exact where the Hessian is diagonal, and noisy as its other entries are large.

    Args:
        loss: from the parameters to a scalar, twice differentiable.
        params: the parameter pytree.
        spec: its spec: buffers have no curvature.
        samples: the number of v.
        generator: the source of v, for a repeatable answer; torch's own where there is none.

    Returns:
        A pytree like `params`; zeros for what has no gradient.

    Raises:
        SpecError: the parameters do not fit the spec.

    Source: Bekas et al., An estimator for the diagonal of a matrix, Applied Numerical Mathematics
    57, 2007, eq. 1.1.

    >>> params = {"w": torch.tensor([1., 2.])}
    >>> spec = Spec.from_layout({"w": "h"}, params)
    >>> hessian_diagonal(lambda p: (p["w"] ** 3).sum(), params, spec)
    {'w': tensor([ 6., 12.])}
    """
    tensors = fitting(params, spec, "hessian_diagonal(loss, params, spec)")
    weights = {
        n: t.detach() for n, t in tensors.items() if t.is_floating_point() and n not in spec.buffers
    }
    source = generator.device if generator else torch.device("cpu")
    found = {n: torch.zeros_like(t) for n, t in tensors.items()}

    def at(some: dict[str, Tensor]) -> Tensor:
        return loss(map_named(lambda n, t: some.get(n, t), params))

    for _ in range(samples):
        signs = {
            n: torch.randint(2, t.shape, generator=generator, device=source).to(t) * 2 - 1
            for n, t in weights.items()
        }

        def along(some: dict[str, Tensor], signs: dict[str, Tensor] = signs) -> Tensor:
            slopes = grad(at)(some)
            return torch.stack([(slopes[n] * v).sum() for n, v in signs.items()]).sum()

        for n, product in grad(along)(weights).items():
            found[n] = found[n] + product * signs[n] / samples
    return map_named(lambda n, t: found[n], params)
