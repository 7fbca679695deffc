"""What a criterion needs from data: sums over one batch, which add up over batches and processes,
and the scores that they give.

Invariant: the module, its buffers and the given parameters are left as they were, and every hook is
gone when `sums` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle

from purethin import axes as ax
from purethin.checks import check_fits
from purethin.errors import SpecError, nearest
from purethin.records import Activation
from purethin.spec import Spec
from purethin.tree import TensorTree, named
from purethin.units import change, onto_units, per_unit, wide


def _means(activation: Tensor, dim: int) -> Tensor:
    """`Tensor[units]`: the mean over all dims but one."""
    others = [d for d in range(activation.dim()) if d != dim]
    return wide(activation).mean(others) if others else wide(activation)


_OF_ACTIVATIONS: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "apoz": lambda activation, dim: _means((activation != 0).to(activation.dtype), dim),
    "activation_mean": _means,
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
    the weight itself reads the axis, its module's input. Which modules these are, the trace has
    seen (`Spec.activations`): a weight's own module is the one that ran with it, also where the
    weight is made of other parameters.

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
    found: dict[Measure, Tensor] = {}
    seen = spec.activations or tuple(_by_name(module, spec))
    watches = [_Watch(measure, spec, seen, found) for measure in measures]
    handles = [handle for watch in watches for handle in watch.hooks(module)]
    try:
        yield found
        for watch in watches:
            watch.close()
    finally:
        for handle in handles:
            handle.remove()
    for measure in measures:
        if measure not in found:
            raise SpecError(
                f"no activation of '{measure.axis}' was seen: the module of {measure.weight} did "
                "not run, or returns what does not carry the axis; list another weight of the "
                "axis, or rank it by its weights (L1Ranked…)"
            )


class _Watch:
    """One measure's activation: what the weight makes waits until another layer reads it."""

    def __init__(
        self,
        measure: Measure,
        spec: Spec,
        seen: Sequence[Activation],
        found: dict[Measure, Tensor],
    ) -> None:
        self.measure, self.spec, self.found = measure, spec, found
        leader = (measure.weight, measure.dim)
        own = [a for a in seen if (a.parameter, a.dim) == leader]
        self.makes = [a for a in own if a.role == "makes"]
        places = spec.axes[measure.axis].places
        readers = [a for a in seen if a.role == "reads" and (a.parameter, a.dim) in places]
        self.reads = readers if self.makes else own
        self.waiting: tuple[Activation, Any] | None = None

    def hooks(self, module: nn.Module) -> Iterator[RemovableHandle]:
        """Watch the modules of a network."""
        for a in {(a.module, a.argument): a for a in self.reads}.values():
            run = partial(self._taken, a)
            yield module.get_submodule(a.module).register_forward_pre_hook(run, with_kwargs=True)
        for a in self.makes:
            yield module.get_submodule(a.module).register_forward_hook(partial(self._made, a))

    def close(self) -> None:
        """Take what no layer has read."""
        if self.waiting is not None:
            self._add(*self.waiting)

    def _made(self, a: Activation, module: nn.Module, args: Any, output: Any) -> None:
        self.waiting = (a, output[0] if isinstance(output, tuple) and output else output)

    def _taken(self, a: Activation, module: nn.Module, args: Any, kwargs: Any) -> None:
        given = {**dict(enumerate(args)), **kwargs}
        if (self.waiting or not self.makes) and self._add(a, given.get(a.argument)):
            self.waiting = None

    def _add(self, a: Activation, tensor: Any) -> bool:
        more = _onto_units(self.measure, a, tensor, self.spec)
        if more is not None:
            before = self.found.get(self.measure)
            self.found[self.measure] = more if before is None else before + more
        return more is not None


def _by_name(module: nn.Module, spec: Spec) -> Iterator[Activation]:
    """The activations of a spec that no trace wrote: the module that owns a matrix or kernel, if it
    has but one, takes and returns the channels followed by as many dims as the kernel has.
    """
    own = dict(module.named_parameters())
    for path, owner in module.named_modules():
        mine = {id(p) for p in owner._parameters.values() if p is not None}
        names = [n for n, p in own.items() if id(p) in mine and len(spec.layout.get(n, ())) > 1]
        for name in names if len(names) == 1 else ():
            dims = spec.layout[name]
            for dim, channels in enumerate(dims[:2]):
                makes = any((name, dim) in spec.axes[a].producers for a in ax.names(channels))
                role, argument = ("makes", None) if makes else ("reads", 0)
                yield Activation(name, dim, role, path, argument, 1 - len(dims), channels)


def _onto_units(measure: Measure, a: Activation, tensor: Any, spec: Spec) -> Tensor | None:
    """`Tensor[size + 1]` of an activation, None where its channels are not those of the trace."""
    unit, size = ax.units(a.channels, measure.axis, spec.sizes), spec.axes[measure.axis].size
    entries = unit[unit >= 0].bincount(minlength=size)
    if not isinstance(tensor, Tensor) or tensor.dim() < -a.at or not bool(entries.all()):
        return None
    if tensor.shape[a.at] != len(unit):
        return None
    if not tensor.numel():
        return torch.zeros(size + 1, device=tensor.device)
    means = _OF_ACTIVATIONS[measure.kind](tensor, a.at % tensor.dim())
    positions = tensor.numel() // len(unit)
    of_units = onto_units(unit, means, size) / entries.to(tensor.device)
    return torch.cat([of_units * positions, means.new_full((1,), positions)])
