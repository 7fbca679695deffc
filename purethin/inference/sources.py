"""What is traced: a module (a copy of it, whose integers are tracked) or a function of a parameter
pytree; and one run of it.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from purethin.copying import hollow, meta_copy, on_meta
from purethin.errors import SpecError, nearest
from purethin.inference.attributes import Attribute, track_attributes
from purethin.inference.caches import Caches, filled, uncached
from purethin.inference.computed import formulas
from purethin.inference.frames import Frame, framed
from purethin.inference.keeping import Undo, noted, unchanged
from purethin.inference.ledger import Ledger
from purethin.inference.modes import watching
from purethin.inference.nodes import constant, freeze, leaves, variable
from purethin.inference.rules import Call
from purethin.inference.sizes import Size
from purethin.inference.states import reaching
from purethin.inference.trace import Dims, Seen, Trace
from purethin.inference.twins import lists_of
from purethin.modules import rebuild, refuse
from purethin.multihead import stand_in
from purethin.outputs import results
from purethin.parts import buffers_of, parts_of, tensors_of
from purethin.spec import Masks, Spec
from purethin.thinning import thin
from purethin.tree import TensorTree, flatten, tensors_in, unflatten


@dataclasses.dataclass
class Prepared:
    """What a trace runs: the forward, the parameters in it by name, the modules by path, their
    tracked integers, and the classes that stand in for their own.
    """

    forward: Callable[..., Any]
    named: dict[str, Tensor]
    modules: dict[str, nn.Module] = dataclasses.field(default_factory=dict)
    attributes: list[Attribute] = dataclasses.field(default_factory=list)
    stand_ins: dict[str, str] = dataclasses.field(default_factory=dict)


class Around:
    """What a function or module, and the thinned ones made of it, share with all else: each is
    noted once, for all traces.
    """

    def __init__(self, traced: Any) -> None:
        self.traced, self.caches = traced, Caches(traced)

    @functools.cached_property
    def undo(self) -> Undo:
        """How to put back what a forward changes."""
        return noted(self.traced)

    @functools.cached_property
    def held(self) -> set[int]:
        """The ids of what the user's own modules hold."""
        modules = parts_of(self.traced).values()
        return {id(value) for module in modules for value in vars(module).values()}


class ModuleSource:
    """An nn.Module: a copy is traced, whose integers are tracked. A model that is itself a copy (of
    what lies `around`) is traced as it is, once.
    """

    def __init__(self, model: nn.Module, params: TensorTree, around: Around | None = None) -> None:
        if around is None:
            refuse(model)
        self.traced, self.title = model, type(model).__name__
        self.around = around or Around(model)
        self.values = dict(params) if around else _checked(model, params)
        self.buffers = frozenset(self.values) & buffers_of(model)

    def thinned(self, spec: Spec, masks: Masks, *, meta: bool) -> ModuleSource:
        """The same module, thinned; its weights stay on meta if that is all a trial needs."""
        params, config = thin({n: _hollow(t, meta) for n, t in self.values.items()}, spec, masks)
        small = rebuild(self.traced, params, config)
        kept = dict(tensors_of(small, duplicates=False))
        return ModuleSource(small, {n: t.detach() for n, t in kept.items()}, self.around)

    def prepare(self, trace: Trace) -> Prepared:
        if self.around.traced is not self.traced:  # it is a copy already
            model = on_meta(self.traced) if trace.meta else self.traced
        else:
            model = meta_copy(self.traced) if trace.meta else copy.deepcopy(self.traced)
        model.eval()
        stand_ins, modules = stand_in(model), parts_of(model)
        own = dict(tensors_of(model, duplicates=True))
        named = {name: own[name] for name in self.values}
        _register(trace, named, self.values)
        held = lambda: self.around.held  # noqa: E731
        attributes = track_attributes(modules, held, trace.ledger, trace.dims_of)
        return Prepared(model, named, modules, attributes, stand_ins)


def _checked(model: nn.Module, params: TensorTree) -> dict[str, Tensor]:
    """The parameters by name, which must be all of the model's."""
    title, own = type(model).__name__, dict(tensors_of(model, duplicates=True))
    if not isinstance(params, Mapping):
        raise SpecError(
            "a module's parameters are a dict by name, as params_of gives, not "
            f"{type(params).__name__}"
        )
    for name, tensor in params.items():
        if name not in own:
            raise SpecError(
                f"'{name}' is not a parameter or buffer of this {title}; {nearest(name, own)}"
            )
        if tuple(tensor.shape) != tuple(own[name].shape):
            raise SpecError(
                f"{name} has shape {tuple(tensor.shape)}, but the model's own is "
                f"{tuple(own[name].shape)}: if these parameters are thinned already, infer on the "
                "module that rebuild returned"
            )
    given = {id(own[name]) for name in params}
    if missing := [name for name, tensor in own.items() if id(tensor) not in given]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise SpecError(
            f"these parameters lack {missing[0]}{more} of this {title}: buffers thin along with "
            "parameters; give params_of(model)"
        )
    return dict(params)


class FunctionSource:
    """Any function of a parameter pytree."""

    title = "the function"
    buffers: frozenset[str] = frozenset()

    def __init__(
        self, function: Callable[..., Any], params: TensorTree, around: Around | None = None
    ) -> None:
        if not callable(function):
            raise SpecError(
                "an nn.Module or a function f(params, *args) is expected, not "
                f"{type(function).__name__}"
            )
        self.traced, self.around = function, around or Around(function)
        self.names, self.leaves, self.structure = flatten(params)
        for name, leaf in zip(self.names, self.leaves, strict=True):
            if not isinstance(leaf, Tensor):
                raise SpecError(
                    f"the parameter '{name}' is {type(leaf).__name__}; every leaf must be a tensor"
                )

    def thinned(self, spec: Spec, masks: Masks, *, meta: bool) -> FunctionSource:
        """The same function of thinned parameters."""
        params = unflatten(self.structure, [_hollow(t, meta) for t in self.leaves])
        return FunctionSource(self.traced, thin(params, spec, masks)[0], self.around)

    def prepare(self, trace: Trace) -> Prepared:
        fresh = {id(leaf): _copy(leaf, trace.meta) for leaf in self.leaves}
        tensors = [fresh[id(leaf)] for leaf in self.leaves]
        named = dict(zip(self.names, tensors, strict=True))
        _register(trace, named, dict(zip(self.names, self.leaves, strict=True)))
        tree = unflatten(self.structure, tensors)
        return Prepared(functools.partial(self.traced, tree), named)


Source = ModuleSource | FunctionSource


def _whole(tensor: Tensor) -> bool:
    """Whether a tensor is of integers or truth values, which a trace may ask for."""
    return not (tensor.is_floating_point() or tensor.is_complex())


def _hollow(tensor: Tensor, meta: bool) -> Tensor:
    """A tensor on meta, if asked for; integers keep their values."""
    return tensor if _whole(tensor) or not meta else hollow(tensor)


def _copy(tensor: Tensor, meta: bool) -> Tensor:
    return hollow(tensor) if meta else tensor.detach().clone()


def _adopt(trace: Trace, tensor: Tensor, dims: Dims, real: Tensor) -> Seen:
    """Make a tensor known to the trace, with its dims, and the values of an integer one."""
    seen = trace.of(tensor)
    trace.sources.add(id(tensor))
    trace.makes([tensor])
    seen.dims = dims
    if _whole(real) and real.device.type != "meta":
        seen.value = real.detach().cpu().clone()
    return seen


def _register(trace: Trace, named: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Make each parameter known, by its first name, with fresh dims."""
    for name, tensor in named.items():
        if trace.of(tensor).parameter is None:
            dims = [variable(s, f"{name}.{d}") for d, s in enumerate(tensor.shape)]
            _adopt(trace, tensor, dims, values[name]).parameter = name


@dataclasses.dataclass
class Traced:
    """What one run left: the trace, the parameters in it, and what the forward returned."""

    trace: Trace
    named: dict[str, Tensor]
    buffers: frozenset[str]
    attributes: list[Attribute]
    stand_ins: dict[str, str]
    outputs: dict[str, Tensor]
    frames: list[Frame]
    caches: dict[str, tuple[str, ...]]
    lists: frozenset[str]
    inputs: tuple[Tensor, ...]

    @property
    def prunable(self) -> dict[str, Tensor]:
        """The parameters, without buffers, that carry any axis."""
        carries = {n: any(map(leaves, self.trace.dims_of(t))) for n, t in self.named.items()}
        return {n: t for n, t in self.named.items() if carries[n] and n not in self.buffers}

    @property
    def first_outputs(self) -> list[Tensor]:
        """What the forward returned for the first example, whose cost it is."""
        return [x for where, x in self.outputs.items() if " of example " not in where]

    @functools.cached_property
    def calls(self) -> list[Call]:
        """The calls that an output, or a number that Python read, depends on, in order."""
        return reaching(self.trace.tape, [*self.outputs.values(), *self.trace.read])


class Example(NamedTuple):
    """Positional and keyword inputs; `method`: what takes the place of the forward, in modules that
    have a method of this name.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    method: str | None = None


def run(source: Source, examples: Sequence[Example], *, meta: bool, ledger: Ledger) -> Traced:
    """Run it once on each example, watched: one trace. On meta or on real tensors, sizes noted in
    a fresh ledger.
    """
    trace = Trace(meta, ledger)
    ready = source.prepare(trace)
    given = [_given(trace, example) for example in examples]
    with (
        unchanged(source.around.undo),
        uncached(source.around.caches),
        formulas(),
        filled(ready.modules) as caches,
        framed(ready.modules, trace.tape) as frames,
        watching(trace),
    ):
        found = _returned(trace, ready.forward, given)
    for where, size in found.items():
        if isinstance(size, Size):
            for node in leaves(size.plus) + leaves(size.minus or size.plus):
                freeze(node, f"its size is among the outputs ({where})")
    return Traced(
        trace,
        ready.named,
        source.buffers,
        ready.attributes,
        ready.stand_ins,
        {where: x for where, x in found.items() if isinstance(x, Tensor)},
        frames,
        caches,
        lists_of(ready.modules),
        tuple(tensors_in(given[0])),
    )


def _given(trace: Trace, example: Example) -> Example:
    """An example whose tensors are twins, known to the trace as inputs."""

    def twin(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        made = x.detach().to("meta") if trace.meta else x.detach().clone()
        _adopt(trace, made, [constant(s, "an input's size") for s in x.shape], x)
        return made

    args, kwargs = tree_map(twin, (example.args, example.kwargs))
    return Example(args, kwargs, example.method)


@contextmanager
def _calling(model: object, method: str | None) -> Iterator[None]:
    """Let modules that have this method run it as their forward."""
    modules = model.modules() if isinstance(model, nn.Module) and method is not None else ()
    having = [m for m in modules if hasattr(type(m), method or "")]
    for module in having:
        vars(module)["forward"] = getattr(module, method or "")
    try:
        yield
    finally:
        for module in having:
            vars(module).pop("forward", None)


def _returned(
    trace: Trace, function: Callable[..., Any], examples: Sequence[Example]
) -> dict[str, Any]:
    """What the forward returns for each example, by place; the cost is that of the first."""
    forward = function.forward if isinstance(function, nn.Module) else function
    found: dict[str, Any] = {}
    for number, (args, kwargs, method) in enumerate(examples):
        first = len(trace.macs), len(trace.counted)
        of = f" of example {number}" if number else ""
        with _calling(function, method):
            out = function(*args, **kwargs)
        found |= {where + of: x for where, x in results(forward, args, kwargs, out)}
        if number:
            del trace.macs[first[0] :], trace.counted[first[1] :]
    return found
