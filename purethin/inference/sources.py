"""What is traced: a module (a copy of it, whose integers are tracked) or a function of a parameter
pytree; and one run of it.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from purethin.errors import SpecError, nearest
from purethin.inference.attributes import Attribute, track_attributes
from purethin.inference.caches import uncached
from purethin.inference.modes import watching
from purethin.inference.rules import Call
from purethin.inference.sizes import Size
from purethin.inference.solver import constant, freeze, variable
from purethin.inference.states import reaching
from purethin.inference.trace import Trace
from purethin.modules import meta_copy, params_of, rebuild, refuse, tensors_of
from purethin.multihead import stand_in
from purethin.outputs import results
from purethin.spec import Masks, Spec
from purethin.thinning import thin
from purethin.tree import TensorTree, flatten, unflatten

Prepared = tuple[dict[str, Tensor], Callable[..., Any], list[Attribute], dict[str, str]]
"""The parameters by name, the forward over them, the module's tracked integers, and the classes
that stand in for its own.
"""


class ModuleSource:
    """An nn.Module: a copy is traced, whose integers are tracked."""

    def __init__(self, model: nn.Module, params: TensorTree) -> None:
        refuse(model)
        self.traced, self.title = model, type(model).__name__
        own = dict(tensors_of(model, duplicates=True))
        if not isinstance(params, Mapping):
            raise SpecError(
                "a module's parameters are a dict by name, as params_of gives, not "
                f"{type(params).__name__}"
            )
        for name, tensor in params.items():
            if name not in own:
                raise SpecError(
                    f"'{name}' is no parameter or buffer of this {self.title}; {nearest(name, own)}"
                )
            if tuple(tensor.shape) != tuple(own[name].shape):
                raise SpecError(
                    f"{name} has shape {tuple(tensor.shape)}, but the model's own is "
                    f"{tuple(own[name].shape)}: if these "
                    "parameters are thinned already, infer on the module that rebuild returned"
                )
        given = {id(own[name]) for name in params}
        if missing := [name for name, tensor in own.items() if id(tensor) not in given]:
            raise SpecError(
                f"these parameters lack {missing[0]}"
                + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
                + f" of this {self.title}: buffers thin along with parameters; give params_of(model)"
            )
        self.call = model.forward
        self.names = list(params)
        self.values = dict(params)
        buffers = dict(model.named_buffers(remove_duplicate=False))
        self.buffers = frozenset(name for name in params if name in buffers)

    def thinned(self, spec: Spec, masks: Masks, *, meta: bool) -> ModuleSource:
        """The same module, thinned; its weights stay on meta if that is all a trial needs."""
        params, config = thin({n: _hollow(t, meta) for n, t in self.values.items()}, spec, masks)
        small = rebuild(self.traced, params, config)
        return ModuleSource(small, params_of(small))

    def prepare(self, trace: Trace) -> Prepared:
        model = meta_copy(self.traced) if trace.meta else copy.deepcopy(self.traced)
        model.eval()
        stand_ins = stand_in(model)
        own = dict(tensors_of(model, duplicates=True))
        named = {name: own[name] for name in self.names}
        _register(trace, named, self.values)
        return named, model, track_attributes(model, trace.ledger, trace.dims_of), stand_ins


class FunctionSource:
    """Any function of a parameter pytree."""

    title = "the function"

    def __init__(self, function: Callable[..., Any], params: TensorTree) -> None:
        if not callable(function):
            raise SpecError(
                "an nn.Module or a function f(params, *args) is expected, not "
                f"{type(function).__name__}"
            )
        self.traced, self.call = function, functools.partial(function, None)
        self.names, self.leaves, self.structure = flatten(params)
        for name, leaf in zip(self.names, self.leaves, strict=True):
            if not isinstance(leaf, Tensor):
                raise SpecError(
                    f"the parameter '{name}' is {type(leaf).__name__}; every leaf must be a tensor"
                )
        self.buffers: frozenset[str] = frozenset()

    def thinned(self, spec: Spec, masks: Masks, *, meta: bool) -> FunctionSource:
        """The same function of thinned parameters."""
        params = unflatten(self.structure, [_hollow(t, meta) for t in self.leaves])
        return FunctionSource(self.traced, thin(params, spec, masks)[0])

    def prepare(self, trace: Trace) -> Prepared:
        fresh: dict[int, Tensor] = {}
        for leaf in self.leaves:
            if id(leaf) not in fresh:
                fresh[id(leaf)] = (
                    torch.empty_like(leaf, device="meta") if trace.meta else leaf.detach().clone()
                )
        tensors = [fresh[id(leaf)] for leaf in self.leaves]
        named = dict(zip(self.names, tensors, strict=True))
        _register(trace, named, dict(zip(self.names, self.leaves, strict=True)))
        tree = unflatten(self.structure, tensors)
        return named, functools.partial(self.traced, tree), [], {}


Source = ModuleSource | FunctionSource


def _hollow(tensor: Tensor, meta: bool) -> Tensor:
    """A tensor on meta; integers keep their values, which a trace may ask for."""
    floats = tensor.is_floating_point() or tensor.is_complex()
    return torch.empty_like(tensor, device="meta") if meta and floats else tensor


def _register(trace: Trace, named: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Fresh dims for each parameter; the values of integer ones."""
    for name, tensor in named.items():
        if id(tensor) in trace.parameters:
            continue
        trace.parameters[id(tensor)] = name
        trace.sources.add(id(tensor))
        trace.set_dims(tensor, [variable(s, f"{name}.{d}") for d, s in enumerate(tensor.shape)])
        real = values[name]
        if not real.is_floating_point() and not real.is_complex() and real.device.type != "meta":
            trace.set_value(tensor, real.detach().cpu().clone())


@dataclasses.dataclass
class Traced:
    """What one run left: the trace, the parameters in it, and what the forward returned."""

    trace: Trace
    named: dict[str, Tensor]
    buffers: frozenset[str]
    attributes: list[Attribute]
    stand_ins: dict[str, str]
    outputs: dict[str, Tensor]

    @functools.cached_property
    def calls(self) -> list[Call]:
        """The calls that an output depends on, in order."""
        return reaching(self.trace.tape, self.outputs.values())


def run(source: Source, args: Any, kwargs: Any, *, meta: bool) -> Traced:
    """Run it once on the example, watched; on meta, or on real tensors."""
    trace = Trace(meta=meta)
    named, forward, attributes, stand_ins = source.prepare(trace)

    def given(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        twin = x.detach().to("meta") if meta else x.detach().clone()
        trace.sources.add(id(twin))
        trace.set_dims(twin, [constant(s, "an input's size") for s in x.shape])
        if meta and not x.is_floating_point() and not x.is_complex() and x.device.type != "meta":
            trace.set_value(twin, x.detach().cpu().clone())
        return twin

    args, kwargs = tree_map(given, (args, kwargs))
    with uncached(source.traced), watching(trace):
        out = forward(*args, **kwargs)
    found = dict(results(source.call, args, kwargs, out))
    for place, size in found.items():
        if isinstance(size, Size):
            freeze(size.node, f"its size is among the outputs ({place})")
    outputs = {place: x for place, x in found.items() if isinstance(x, Tensor)}
    return Traced(trace, named, source.buffers, attributes, stand_ins, outputs)
