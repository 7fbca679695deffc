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
def framed(model: object, tape: Sequence[Call]) -> Iterator[list[Frame]]:
    """Note each call of the model's modules while the block runs, outer ones first."""
    paths = {m: path for path, m in model.named_modules()} if isinstance(model, nn.Module) else {}
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


AxesIn = Callable[[Node], frozenset[Node]]
"""The variables of a node."""


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
    axes_in: AxesIn = functools.cache(lambda node: frozenset(leaves(node)))  # all is settled

    @functools.cache
    def channels(node: Node) -> Axes | None:
        return expression(node, names.__getitem__) if axes_in(node) <= names.keys() else None

    for met in _meetings(trace, frames, parameters):
        for name in sorted(met.parameters):
            for dim, node in enumerate(trace.dims_of(parameters[name])):
                for axis in dict.fromkeys(leaves(node)):
                    role = _role(trace, met, (name, dim), axis, parameters[name].dim(), axes_in)
                    key, tensor, d = _where(trace, met, role, axis, axes_in) or (None, None, 0)
                    if tensor is not None and (said := channels(trace.dims_of(tensor)[d])):
                        where = met.frame.path, key, d - tensor.dim()
                        found.setdefault(Activation(name, dim, role, *where, said))
    return tuple(found)


def _where(
    trace: Trace, met: _Meeting, role: Role, axis: Node, axes_in: AxesIn
) -> tuple[int | str | None, Tensor, int] | None:
    """The module's output, or that of its inputs, which carries an axis, and the dim that does;
    None where several do.
    """
    frame = met.frame
    outputs = {} if frame.output is None else {None: frame.output}
    found = [
        (key, t, d)
        for key, t in (outputs if role == "makes" else frame.inputs).items()
        for d, node in enumerate(trace.dims_of(t))
        if axis in axes_in(node)
    ]
    same = [row for row in found if any(row[1] is t for t in met.data)] or found
    return same[0] if len({(id(t), d) for _, t, d in same}) == 1 else None


def _role(
    trace: Trace, met: _Meeting, place: tuple[str, int], axis: Node, rank: int, axes_in: AxesIn
) -> Role:
    """What a parameter's dim does at a meeting."""
    law = met.call.law
    if isinstance(law, laws.Contracted):
        labels = [
            label
            for t, row in law.operands
            for label in row
            if t is met.weight
            and axis in axes_in(law.nodes[label])
            and (t.dim() != rank or laws.dim_of(label, row) == place[1])
        ]
        return "makes" if not labels or any(label in law.out for label in labels) else "reads"
    if isinstance(law, laws.Recurrent):
        return "reads" if axis in axes_in(trace.dims_of(law.source)[-1]) else "makes"
    carried = any(axis in axes_in(d) for t in met.data for d in trace.dims_of(t))
    return "scales" if carried and place not in trace.producers else "makes"
