"""The calls of modules during a trace: which part of the tape each made, what it took and returned.

From them a spec knows where a parameter's values meet the data: in which module, along which dim of
what it takes or returns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as hooks

from purethin.axes import Axes
from purethin.inference.nodes import Node, expression, leaves
from purethin.inference.rules import laws
from purethin.inference.rules.call import Call
from purethin.inference.states import data_of
from purethin.inference.trace import Trace
from purethin.records import Activation, Role


@dataclass
class Frame:
    """One call of a module: the calls `begin` to `end` of the tape are its own or its parts'."""

    module: nn.Module
    path: str
    begin: int
    end: int = 0
    inputs: dict[int | str, Tensor] = field(default_factory=dict)
    output: Tensor | None = None


@contextmanager
def framed(modules: Mapping[str, nn.Module], tape: Sequence[Call]) -> Iterator[list[Frame]]:
    """Note each call of a model's modules while the block runs, outer ones first."""
    paths = {module: path for path, module in modules.items()}
    frames: list[Frame] = []
    running: list[Frame] = []

    def begins(module: nn.Module, args: Any) -> None:
        if module in paths:
            running.append(Frame(module, paths[module], len(tape)))
            frames.append(running[-1])

    def ends(module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        while running and module in paths:
            frame = running.pop()
            frame.end = len(tape)
            if frame.module is module:  # the others raised, and the error was caught
                given = [*enumerate(args), *kwargs.items()]
                frame.inputs = {key: x for key, x in given if isinstance(x, Tensor)}
                first = output[0] if isinstance(output, tuple) and output else output
                frame.output = first if isinstance(first, Tensor) else None
                return

    handles = [
        hooks.register_module_forward_pre_hook(begins),
        hooks.register_module_forward_hook(ends, with_kwargs=True),
    ]
    try:
        yield frames
    finally:
        for handle in handles:
            handle.remove()
            # torch's handle leaves its entry here, and compiling would warn of a global hook
            hooks._global_forward_hooks_with_kwargs.pop(handle.id, None)


def innermost(frames: Sequence[Frame], tape: Sequence[Call]) -> Iterator[tuple[Call, Frame]]:
    """Each call on the tape with the module's call that it was made by."""
    inner: dict[int, Frame] = {}
    for frame in frames:
        inner |= dict.fromkeys(range(frame.begin, frame.end), frame)
    return ((call, inner[i]) for i, call in enumerate(tape) if i in inner)


AxesIn = Callable[[Node], Mapping[Node, None]]
"""The variables of a node, in their order."""


@dataclass(frozen=True)
class _Meeting:
    """A call at which a weight, made of parameters alone, meets the data."""

    call: Call
    frame: Frame
    weight: Tensor
    data: list[Tensor]
    parameters: set[str]


def _meetings(
    trace: Trace, frames: Sequence[Frame], parameters: Mapping[str, Tensor]
) -> Iterator[_Meeting]:
    data = data_of(trace, trace.tape)
    made_of: dict[int, set[str]] = {id(t): {name} for name, t in parameters.items()}
    frame_of = {id(call): frame for call, frame in innermost(frames, trace.tape)}
    for call in trace.tape:
        weights = [t for t in call.tensors if id(t) in made_of]
        given = [t for t in call.tensors if id(t) in data]
        if not given:
            names = {name for t in weights for name in made_of[id(t)]}
            made_of.update({id(o): names for o in call.outs if weights and isinstance(o, Tensor)})
        elif id(call) in frame_of:
            for w in weights:
                yield _Meeting(call, frame_of[id(call)], w, given, made_of[id(w)])


def activations_of(
    trace: Trace,
    frames: Sequence[Frame],
    parameters: Mapping[str, Tensor],
    names: Mapping[Node, str],
) -> tuple[Activation, ...]:
    """Where each parameter's dims meet the data, through weights that are made of it too."""
    found: dict[Activation, None] = {}
    axes_in: AxesIn = functools.cache(lambda node: dict.fromkeys(leaves(node)))  # all is settled

    @functools.cache
    def channels(node: Node) -> Axes | None:
        return expression(node, names.__getitem__) if axes_in(node).keys() <= names.keys() else None

    seen: set[tuple[object, ...]] = set()
    for met in _meetings(trace, frames, parameters):
        where, role_of = _where(trace, met, axes_in), _role(trace, met, axes_in)
        for name in sorted(met.parameters):
            for dim, node in enumerate(trace.dims_of(parameters[name])):
                for axis in axes_in(node):
                    role = role_of(name, dim, axis, parameters[name])
                    key, tensor, d = where(role, axis) or (None, None, 0)
                    mark = name, dim, role, met.frame.path, key, id(tensor), d
                    if tensor is None or mark in seen:
                        continue
                    seen.add(mark)
                    if said := channels(trace.dims_of(tensor)[d]):
                        at = met.frame.path, key, d - tensor.dim()
                        found.setdefault(Activation(name, dim, role, *at, said))
    return tuple(found)


Spot = tuple[int | str | None, Tensor, int]
"""The key of a module's input, None for its output; the tensor; a dim of it."""


def _where(trace: Trace, met: _Meeting, axes_in: AxesIn) -> Callable[[Role, Node], Spot | None]:
    """By role and axis: the module's output, or that of its inputs, which carries the axis, and the
    dim that does; None where several do.
    """
    frame = met.frame
    data, outputs = set(map(id, met.data)), {} if frame.output is None else {None: frame.output}

    @functools.cache
    def carrying(made: bool) -> dict[Node, list[Spot]]:
        spots: dict[Node, list[Spot]] = {}
        for key, t in (outputs if made else frame.inputs).items():
            for d, node in enumerate(trace.dims_of(t)):
                for axis in axes_in(node):
                    spots.setdefault(axis, []).append((key, t, d))
        return spots

    def where(role: Role, axis: Node) -> Spot | None:
        found = carrying(role == "makes").get(axis, [])
        if len(found) == 1:
            return found[0]
        same = [spot for spot in found if id(spot[1]) in data] or found
        return same[0] if len({(id(t), d) for _, t, d in same}) == 1 else None

    return where


def _role(trace: Trace, met: _Meeting, axes_in: AxesIn) -> Callable[[str, int, Node, Tensor], Role]:
    """By a parameter, a dim of it, an axis there, and the tensor: what that does at a meeting. In a
    weight that is made of it, as by a transpose, the axis may stand in another dim.
    """
    law = met.call.law
    if isinstance(law, laws.Contracted):
        labelled = [
            (label in law.out, axes_in(law.nodes[label]), laws.dim_of(label, row))
            for t, row in law.operands
            for label in row
            if t is met.weight
        ]

        def contracted(name: str, dim: int, axis: Node, own: Tensor) -> Role:
            alike = own.dim() == met.weight.dim()
            mine = [(out, alike and d == dim) for out, axes, d in labelled if axis in axes]
            kept = [out for out, same in mine if same]
            kept = kept or [out for out, _ in mine if own is not met.weight]
            return "makes" if not kept or any(kept) else "reads"

        return contracted
    if isinstance(law, laws.Recurrent):
        source = axes_in(trace.dims_of(law.source)[-1])
        return lambda name, dim, axis, own: "reads" if axis in source else "makes"
    carried = {axis for t in met.data for d in trace.dims_of(t) for axis in axes_in(d)}
    made = trace.producers
    return lambda name, dim, axis, own: (
        "scales" if axis in carried and (name, dim) not in made else "makes"
    )
