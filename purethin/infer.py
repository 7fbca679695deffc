"""Inference: run a function once, abstractly, and read off the name of every dimension of its parameters.

Invariant: the function, its parameters and its inputs are left as they were, bit for bit.
"""

from __future__ import annotations

import copy
import dataclasses
import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from purethin.axes import Axes, Fixed
from purethin.errors import PurethinError, SpecError, nearest
from purethin.modules import Attribute, meta_copy, refuse, tensors_of, track_attributes
from purethin.silence import inexact_axes
from purethin.sizes import ATTRIBUTE, Size
from purethin.solver import Node, constant, expression, find, freeze, leaves, variable
from purethin.spec import Condition, Frozen, Spec, axes_of, dtype_name
from purethin.trace import Trace
from purethin.tree import TensorTree, flatten, output_leaves, unflatten


def infer(model: nn.Module | Callable[..., Any], params: TensorTree, *args: Any, **kwargs: Any) -> Spec:
    """The dependency spec of a network, from one forward pass on the meta device.

    Args:
        model: an `nn.Module`, traced in eval mode; or any function `f(params, *args, **kwargs)`.
        params: `params_of(model)`; for a function, any pytree of tensors.
        *args, **kwargs: example inputs, as the forward takes them. Only shapes and integer values matter.

    Returns:
        The spec: the layout of every parameter, which axes are exact, what is frozen and why.

    Raises:
        SpecError: the parameters are not the model's, or the model is scripted, quantized or cannot be copied. What the
            forward itself raises on the example comes as it is, with a note of where purethin was.

    >>> params = {"w": torch.ones(3, 8), "v": torch.ones(8, 2)}
    >>> spec = infer(lambda p, x: torch.relu(x @ p["w"]) @ p["v"], params, torch.ones(1, 3))
    >>> print(", ".join(spec.axes))
    w
    """
    source = _Module(model, params) if isinstance(model, nn.Module) else _Function(model, params)
    with _without_collector():
        return _inferred(source, args, kwargs)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pause the garbage collector: a trace is one burst of small objects, all alive, which it would walk again and again."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _inferred(source: _Module | _Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Spec:
    """Trace on meta; where that fails, on real tensors, and say so."""
    notes: tuple[str, ...] = ()
    try:
        traced = _trace(source, args, kwargs, meta=True)
    except PurethinError:
        raise
    except Exception as on_meta:
        try:
            traced = _trace(source, args, kwargs, meta=False)
        except PurethinError:
            raise
        except Exception as error:
            if add_note := getattr(error, "add_note", None):  # from Python 3.11 on
                add_note(_context(source, args))
            raise
        first = (str(on_meta).splitlines() or [type(on_meta).__name__])[0]
        notes = (f"inferred on real tensors: on meta the forward raised {type(on_meta).__name__}: {first}",)
    return _spec(traced, notes)


def _context(source: _Module | _Function, args: tuple[Any, ...]) -> str:
    shapes = ", ".join(str(tuple(t.shape)) if isinstance(t, Tensor) else type(t).__name__ for t in args) or "none"
    return f"purethin.infer: {source.title} rejected the example inputs ({shapes}); this is its own error, unchanged"


# ---- what is traced


class _Module:
    """An nn.Module: a copy is traced, whose integers are tracked."""

    def __init__(self, model: nn.Module, params: TensorTree) -> None:
        refuse(model)
        self.model, self.title = model, type(model).__name__
        own = dict(tensors_of(model, duplicates=True))
        if not isinstance(params, Mapping):
            raise SpecError(f"a module's parameters are a dict by name, as params_of gives, not {type(params).__name__}")
        for name, tensor in params.items():
            if name not in own:
                raise SpecError(f"'{name}' is no parameter or buffer of this {self.title}; {nearest(name, own)}")
            if tuple(tensor.shape) != tuple(own[name].shape):
                raise SpecError(
                    f"{name} has shape {tuple(tensor.shape)}, but the model's own is {tuple(own[name].shape)}: if these "
                    "parameters are thinned already, infer on the module that rebuild returned"
                )
        given = {id(own[name]) for name in params}
        if missing := [name for name, tensor in own.items() if id(tensor) not in given]:
            raise SpecError(
                f"these parameters lack {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
                + f" of this {self.title}: buffers thin along with parameters; give params_of(model)"
            )  # fmt: skip
        self.names = list(params)
        self.values = dict(params)
        buffers = dict(model.named_buffers(remove_duplicate=False))
        self.buffers = frozenset(name for name in params if name in buffers)

    def prepare(self, trace: Trace) -> tuple[dict[str, Tensor], Callable[..., Any], list[Attribute]]:
        model = meta_copy(self.model) if trace.meta else copy.deepcopy(self.model)
        model.eval()
        own = dict(tensors_of(model, duplicates=True))
        named = {name: own[name] for name in self.names}
        _register(trace, named, self.values)
        return named, model, track_attributes(model, trace.ledger, trace.dims_of)


class _Function:
    """Any function of a parameter pytree."""

    title = "the function"

    def __init__(self, function: Callable[..., Any], params: TensorTree) -> None:
        if not callable(function):
            raise SpecError(f"an nn.Module or a function f(params, *args) is expected, not {type(function).__name__}")
        self.function = function
        self.names, self.leaves, self.structure = flatten(params)
        for name, leaf in zip(self.names, self.leaves, strict=True):
            if not isinstance(leaf, Tensor):
                raise SpecError(f"the parameter '{name}' is {type(leaf).__name__}; every leaf must be a tensor")
        self.buffers: frozenset[str] = frozenset()

    def prepare(self, trace: Trace) -> tuple[dict[str, Tensor], Callable[..., Any], list[Attribute]]:
        fresh: dict[int, Tensor] = {}
        for leaf in self.leaves:
            if id(leaf) not in fresh:
                fresh[id(leaf)] = torch.empty_like(leaf, device="meta") if trace.meta else leaf.detach().clone()
        tensors = [fresh[id(leaf)] for leaf in self.leaves]
        named = dict(zip(self.names, tensors, strict=True))
        _register(trace, named, dict(zip(self.names, self.leaves, strict=True)))
        tree = unflatten(self.structure, tensors)
        return named, lambda *args, **kwargs: self.function(tree, *args, **kwargs), []


def _register(trace: Trace, named: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Fresh dims for each parameter; the values of integer ones."""
    for name, tensor in named.items():
        if id(tensor) in trace.parameters:
            continue
        trace.parameters[id(tensor)] = name
        trace.set_dims(tensor, [variable(s, f"{name}.{d}") for d, s in enumerate(tensor.shape)])
        real = values[name]
        if not real.is_floating_point() and not real.is_complex() and real.device.type != "meta":
            trace.set_value(tensor, real.detach().cpu().clone())


@dataclasses.dataclass
class _Traced:
    trace: Trace
    named: dict[str, Tensor]
    buffers: frozenset[str]
    attributes: list[Attribute]
    outputs: list[Tensor]


def _trace(source: _Module | _Function, args: Any, kwargs: Any, *, meta: bool) -> _Traced:
    trace = Trace(meta=meta)
    named, forward, attributes = source.prepare(trace)

    def given(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        twin = x.detach().to("meta") if meta else x.detach().clone()
        trace.set_dims(twin, [constant(s, "an input's size") for s in x.shape])
        if meta and not x.is_floating_point() and not x.is_complex() and x.device.type != "meta":
            trace.set_value(twin, x.detach().cpu().clone())
        return twin

    args, kwargs = tree_map(given, (args, kwargs))
    with trace.watching():
        out = forward(*args, **kwargs)
    found = [x for _, x in output_leaves(out)]
    outputs = [x for x in found if isinstance(x, Tensor)]
    for size in (x for x in found if isinstance(x, Size)):
        freeze(size.node, "its size is among the outputs")
    return _Traced(trace, named, source.buffers, attributes, outputs)


# ---- from the trace to the spec


def _spec(traced: _Traced, notes: tuple[str, ...]) -> Spec:
    trace, named = traced.trace, traced.named
    dims = {name: trace.dims_of(t) for name, t in named.items()}
    trace.ledger.resolve()
    _freeze_fixed(traced, dims)
    for attribute in traced.attributes:
        if (node := find(attribute.node)).label.startswith(ATTRIBUTE):
            freeze(node, "an attribute that measures nothing")
    names = _names(traced, dims)
    inexact = inexact_axes(trace, [named[n] for n in dims], traced.outputs)

    def name(v: Node) -> str:
        return names[v]

    def text(n: Node) -> Axes:
        return expression(n, name) if all(v in names for v in leaves(n)) else Fixed(find(n).size)

    layout = {n: tuple(text(d) for d in ds) for n, ds in dims.items()}
    producers: dict[str, list[tuple[str, int]]] = {}
    for parameter, dim in trace.producers:
        for v in leaves(dims[parameter][dim]):
            producers.setdefault(names[v], []).append((parameter, dim))
    ties: dict[str, list[str]] = {}
    for node, place in trace.ties:
        for v in leaves(node):
            if v in names and str(place) not in ties.setdefault(names[v], []):
                ties[names[v]].append(str(place))
    sizes = {names[v]: v.size for v in names}
    return Spec(
        layout=layout,
        axes=axes_of(
            layout, sizes, {names[v]: str(why) for v, why in inexact.items() if v in names},
            {n: tuple(p) for n, p in producers.items()},
        ),
        frozen=tuple(_frozen(dims)),
        dtypes={n: dtype_name(t) for n, t in named.items()},
        buffers=traced.buffers,
        attributes=_attributes(traced.attributes, text),
        positions={n: text(node) for n, (node, _) in trace.position_buffers.items() if leaves(node)},
        conditions=tuple(_conditions(trace, text)),
        macs=_merged((k, tuple(text(d) for d in ds)) for k, ds in trace.macs),
        ties={n: tuple(places) for n, places in ties.items()},
        notes=notes + tuple(f"frozen: {what} {place}" for what, place in trace.unknown.items()),
    )  # fmt: skip


def _freeze_fixed(traced: _Traced, dims: Mapping[str, list[Node]]) -> None:
    """Freeze outputs, what no operator read, what only buffers carry, and buffers of positions that are read otherwise."""
    trace, named = traced.trace, traced.named
    for t in traced.outputs:
        for d in trace.dims_of(t):
            freeze(d, "an output's size")
    readers: Counter[int] = Counter(id(t) for call in trace.tape for t in call.tensors)
    for name, t in named.items():
        if not readers[id(t)]:
            for d in dims[name]:
                freeze(d, "a parameter that the forward does not read")
    for name, (node, calls) in trace.position_buffers.items():
        if readers[id(named[name])] != len(calls):
            freeze(node, f"indexed by {name}, whose values are also read otherwise")
    carried = {v for n, ds in dims.items() if n not in traced.buffers for d in ds for v in leaves(d)}
    for name in traced.buffers:
        for d in dims[name]:
            for v in leaves(d):
                if v not in carried:
                    freeze(v, "an axis that only buffers carry")


def _names(traced: _Traced, dims: Mapping[str, list[Node]]) -> dict[Node, str]:
    """A name for each variable: the module path of the first parameter that produces it, in registration order."""
    produced = traced.trace.producers
    order = [(n, d) for n, ds in dims.items() for d in range(len(ds))]
    owned: dict[str, list[tuple[str, int, Node]]] = {}
    seen: set[Node] = set()
    for first in (True, False):
        for parameter, dim in order:
            if ((parameter, dim) in produced) == first:
                for v in leaves(dims[parameter][dim]):
                    if v not in seen:
                        seen.add(v)
                        owned.setdefault(_module_path(parameter), []).append((parameter, dim, v))
    measured = {find(a.node): a for a in traced.attributes if a.position is None and find(a.node).kind == "variable"}
    names: dict[Node, str] = {}
    taken: set[str] = set()
    for path, entries in owned.items():
        per_parameter = Counter(parameter for parameter, _, _ in entries)
        for i, (parameter, _, v) in enumerate(entries):
            attribute = measured.get(v)
            if len(entries) == 1 and path:
                name = path
            elif attribute is not None and attribute.module == path:
                name = f"{path}.{attribute.name}".strip(".")
            elif per_parameter[parameter] == 1:
                name = parameter
            else:
                name = f"{path or parameter}.{i}"
            name = parameter if name.isdecimal() else name
            name = f"p{name}" if name.isdecimal() else name
            unique, n = name, 2
            while unique in taken:
                unique, n = f"{name}#{n}", n + 1
            taken.add(unique)
            names[v] = unique
    return names


def _module_path(parameter: str) -> str:
    """The module that owns a parameter; torch keeps a parametrized one in a container of its own, inside that module."""
    return parameter.partition(".parametrizations.")[0] if ".parametrizations." in parameter else parameter.rpartition(".")[0]


def _frozen(dims: Mapping[str, list[Node]]) -> Iterator[Frozen]:
    for name, ds in dims.items():
        for d, node in enumerate(ds):
            for part in _constants(node):
                if part.size > 1 and part.why:
                    yield Frozen(name, d, part.size, str(part.why))


def _constants(n: Node) -> Iterator[Node]:
    n = find(n)
    if n.kind == "constant":
        yield n
    for part in n.parts:
        yield from _constants(part)


def _attributes(found: list[Attribute], text: Callable[[Node], Axes]) -> dict[str, dict[str, Axes | tuple[Axes, ...]]]:
    """The attributes that measure axes; a tuple of them whole, its other entries as they are."""
    groups: dict[tuple[str, str], list[Attribute]] = {}
    for a in found:
        groups.setdefault((a.module, a.name), []).append(a)
    out: dict[str, dict[str, Axes | tuple[Axes, ...]]] = {}
    for (module, name), rows in groups.items():
        if any(leaves(a.node) for a in rows):
            entries = {a.position: text(a.node) for a in rows}
            whole = tuple(entries.get(i, Fixed(1)) for i in range(rows[0].length))
            out.setdefault(module, {})[name] = entries.get(None, whole)
    return out


def _conditions(trace: Trace, text: Callable[[Node], Axes]) -> Iterator[Condition]:
    seen = set()
    for left, relation, right, held, place in trace.ledger.comparisons:
        if leaves(left) or leaves(right):
            c = Condition(text(left), relation, text(right), held, str(place))
            if c not in seen:
                seen.add(c)
                yield c


def _merged(terms: Iterator[tuple[int, tuple[Axes, ...]]]) -> tuple[tuple[int, tuple[Axes, ...]], ...]:
    """Terms with equal expressions added up; fixed factors multiplied into the coefficient."""
    out: Counter[tuple[Axes, ...]] = Counter()
    for k, dims in terms:
        for d in dims:
            if isinstance(d, Fixed):
                k *= d.size
        out[tuple(d for d in dims if not isinstance(d, Fixed))] += k
    return tuple((k, dims) for dims, k in out.items())
