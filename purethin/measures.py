"""What a criterion needs from data: sums over one batch, which add up over batches and processes,
and the scores that they give.

Invariant: the module, its buffers and the given parameters are left as they were, and every hook is
gone when `sums` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from purethin import axes as ax
from purethin.axes import Axes
from purethin.criteria import activation_mean, apoz, change, onto_units, per_unit
from purethin.errors import SpecError, nearest
from purethin.spec import Spec, check_fits
from purethin.tree import TensorTree, named

_OF_ACTIVATIONS: Mapping[str, Callable[..., Tensor]] = {
    "apoz": apoz,
    "activation_mean": activation_mean,
}
KINDS = (*_OF_ACTIVATIONS, "gradient")
"""What can be measured."""


@dataclass(frozen=True)
class Measure:
    """One number per unit of an axis, from data.

    Attributes:
        kind: "apoz" or "activation_mean", of the activations; "gradient", of the weight alone (see
            `taylor`).
        weight: the parameter that leads: its layer's activation is measured, or its own gradient.
        dim: the dim of it that carries the axis.
        axis: the axis's name.
    """

    kind: str
    weight: str
    dim: int
    axis: str


def sums(
    module: nn.Module,
    params: TensorTree,
    spec: Spec,
    measures: Iterable[Measure],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    loss: Callable[[Any], Tensor] | None = None,
) -> dict[Measure, Tensor]:
    """What one batch adds to each measure. Sums of batches, and of processes, add up entry by
    entry.

    An activation is taken as the next layer sees it, after norm and nonlinearity: where, once the
    weight's own module ran, the first module reads the axis by a weight of its own (a flattened or
    concatenated one too). Where none does, it is the output of the weight's own module; and where
    the weight itself reads the axis, its module's input.

    Args:
        module: the network, in the mode in which it is to be measured; hooks see its modules for
            the time of the call.
        params: its parameters and buffers as they are now, thinned or not.
        spec: theirs.
        measures: what to measure.
        args: the batch's positional inputs.
        kwargs: its keyword inputs.
        loss: from the outputs to a scalar; "gradient" alone needs it.

    Returns:
        `{measure: Tensor[size + 1]}`: per unit, and last the number of positions (for "gradient":
        of batches) summed.

    Raises:
        SpecError: the parameters do not fit the spec, a measure does not fit it, or no activation
            carries the axis.

    >>> net, params = nn.Linear(2, 2, bias=False), {"weight": torch.tensor([[1., 0.], [0., 0.]])}
    >>> spec = Spec.from_layout({"weight": "h 2"}, params)
    >>> sums(net, params, spec, [Measure("apoz", "weight", 0, "h")], [torch.ones(3, 2)])
    {Measure(kind='apoz', weight='weight', dim=0, axis='h'): tensor([3., 0., 3.])}
    """
    tensors, measures = named(params), tuple(dict.fromkeys(measures))
    check_fits(spec, tensors)
    for measure in measures:
        _check(measure, spec, loss)
    # A forward in train mode writes its running statistics: into copies.
    given = {name: buffer.clone() for name, buffer in module.named_buffers()}
    given |= {
        name: t.detach().clone() if name in given else t.detach() for name, t in tensors.items()
    }
    leaves = {m.weight: given[m.weight].requires_grad_() for m in measures if m.kind == "gradient"}
    with (
        torch.set_grad_enabled(bool(leaves)),
        _watched(module, spec, [m for m in measures if m.kind != "gradient"]) as found,
    ):
        outputs = functional_call(module, given, tuple(args), dict(kwargs or {}))
        if leaves and loss is not None:
            gradients = torch.autograd.grad(loss(outputs), [*leaves.values()], allow_unused=True)
            of = {
                n: torch.zeros_like(t) if g is None else g
                for (n, t), g in zip(leaves.items(), gradients, strict=True)
            }
            for m in (m for m in measures if m.kind == "gradient"):
                squares = per_unit(
                    change(of[m.weight], leaves[m.weight].detach()), spec, m.weight, m.dim, m.axis
                ).square()
                found[m] = torch.cat([squares, squares.new_ones(1)])
    return {m: found[m] for m in measures}


def scores(sums: Mapping[Measure, Tensor]) -> dict[Measure, Tensor]:
    """The scores that sums give: `{measure: Tensor[size]}`, the higher the more worth keeping.

    Raises:
        SpecError: nothing was summed.

    >>> scores({Measure("apoz", "weight", 0, "h"): torch.tensor([3., 0., 3.])})
    {Measure(kind='apoz', weight='weight', dim=0, axis='h'): tensor([1., 0.])}
    """
    for measure, found in sums.items():
        if not float(found[-1]) > 0:
            raise SpecError(
                f"nothing was summed for {measure.kind} of '{measure.axis}': give sums of one "
                "batch at least"
            )
    return {measure: found[:-1] / found[-1] for measure, found in sums.items()}


def _check(measure: Measure, spec: Spec, loss: object) -> None:
    if measure.kind not in KINDS:
        raise SpecError(f"no measure is named '{measure.kind}'; {nearest(measure.kind, KINDS)}")
    if (measure.weight, measure.dim) not in spec.axis(measure.axis).places:
        places = ", ".join(f"dim {dim} of {name}" for name, dim in spec.axes[measure.axis].places)
        raise SpecError(
            f"dim {measure.dim} of {measure.weight} does not carry '{measure.axis}'; these do: "
            f"{places}"
        )
    if measure.kind == "gradient" and loss is None:
        raise SpecError(
            f"the gradient of {measure.weight} needs a loss: give a function from the outputs to a "
            "scalar"
        )


@contextmanager
def _watched(
    module: nn.Module, spec: Spec, measures: Sequence[Measure]
) -> Iterator[dict[Measure, Tensor]]:
    """What modules read and return while the block runs, summed by measure; the hooks go when it
    ends.
    """
    owners: dict[str, list[nn.Module]] = {}
    own = dict(module.named_parameters())
    for name, parameter in own.items():  # a tied parameter has several owners
        owners[name] = [
            m for m in module.modules() if any(p is parameter for p in m._parameters.values())
        ]
    found: dict[Measure, Tensor] = {}
    waiting: dict[Measure, Any] = {}  # the leader's output, until the next layer reads it

    def add(
        measure: Measure, tensor: Tensor, place: tuple[str, int], attributes: tuple[str, str]
    ) -> bool:
        more = _onto_units(measure, tensor, place, attributes, spec)
        if more is not None:
            found[measure] = found[measure] + more if measure in found else more
        return more is not None

    def watch(measure: Measure) -> Iterator[Any]:
        leader, axis = (measure.weight, measure.dim), spec.axes[measure.axis]
        makes = leader in axis.producers

        def ran(_: nn.Module, __: Any, output: Any) -> None:
            waiting[measure] = output

        def reading(place: tuple[str, int]) -> Callable[..., None]:
            def reads(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                inputs = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
                if (
                    len(inputs) == 1
                    and (measure in waiting or not makes)
                    and add(measure, inputs[0], place, _INPUTS)
                ):
                    waiting.pop(measure, None)

            return reads

        readers = (
            [p for p in axis.places if p not in axis.producers and _alone(p[0], spec)]
            if makes
            else [leader]
        )
        for place in readers:
            for owner in owners.get(place[0], ()):
                yield owner.register_forward_pre_hook(reading(place), with_kwargs=True)
        for owner in owners.get(leader[0], ()) if makes else ():
            yield owner.register_forward_hook(ran)

    handles = [handle for measure in measures for handle in watch(measure)]
    try:
        yield found
        for measure, output in waiting.items():
            output = output[0] if isinstance(output, tuple) else output
            if isinstance(output, Tensor):
                add(measure, output, (measure.weight, measure.dim), _OUTPUTS)
    finally:
        for handle in handles:
            handle.remove()
    for measure in measures:
        if measure not in found:
            raise SpecError(
                f"no activation of '{measure.axis}' was seen: the module of {measure.weight} did "
                "not run, or returns what "
                "does not carry the axis; list another weight of the axis, or rank it by its "
                "weights (L1Ranked…)"
            )


_INPUTS, _OUTPUTS = ("in_channels", "in_features"), ("out_channels", "out_features")


def _alone(parameter: str, spec: Spec) -> bool:
    """Whether this is its module's only matrix or kernel: what a module of several reads by which
    is not known.
    """
    at = parameter.rpartition(".")[0]
    return [
        n for n, dims in spec.layout.items() if n.rpartition(".")[0] == at and len(dims) > 1
    ] == [parameter]


def _onto_units(
    measure: Measure,
    tensor: Tensor,
    place: tuple[str, int],
    attributes: tuple[str, str],
    spec: Spec,
) -> Tensor | None:
    """`Tensor[size + 1]` of an activation, None where its channels are not those of the weight at
    this place.
    """
    weight, dim = place
    channels: Axes | tuple[Axes, ...] = spec.layout[weight][dim]
    for attribute, measured in spec.attributes.get(weight.rpartition(".")[0], {}).items():
        channels = (
            measured if attribute in attributes else channels
        )  # of a grouped convolution, all groups' channels
    if isinstance(channels, tuple):
        return None
    unit, size = ax.units(channels, measure.axis, spec.sizes), spec.axes[measure.axis].size
    at = (
        tensor.dim() - 1 - (len(spec.layout[weight]) - 2)
    )  # as many dims of positions follow as the kernel has
    entries = unit[unit >= 0].bincount(minlength=size)
    if at < 0 or tensor.shape[at] != len(unit) or not bool(entries.all()):
        return None
    if not tensor.numel():
        return torch.zeros(size + 1, device=tensor.device)
    means = _OF_ACTIVATIONS[measure.kind](tensor, dim=at)
    of_units, positions = (
        onto_units(unit, means, size) / entries.to(tensor.device),
        tensor.numel() // len(unit),
    )
    return torch.cat([of_units * positions, means.new_full((1,), positions)])
