"""From a trace to the spec: solve the sizes, freeze what cannot move, name the axes, write the
layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from purethin.axes import Axes, Fixed
from purethin.inference.attributes import Attribute, bind_derived
from purethin.inference.equations import is_size_only, resolve
from purethin.inference.frames import activations_of
from purethin.inference.naming import axis_names
from purethin.inference.places import Because
from purethin.inference.solver import Node, expression, find, freeze, leaves
from purethin.inference.sources import Traced
from purethin.inference.sparing import Verdict, judged
from purethin.inference.trace import Trace
from purethin.spec import Condition, Frozen, Spec, axes_of, dtype_name


def spec_of(
    traced: Traced, notes: tuple[str, ...] = (), *, trial: bool, exactness: bool = True
) -> Spec:
    """The spec that a trace proves. A size that was only spelled out (in a message) is frozen
    unless a trial follows.
    """
    trace, named = traced.trace, traced.named
    dims = {name: trace.dims_of(t) for name, t in named.items()}
    needed = set(map(id, traced.calls))
    for call, state in trace.deferred:
        if id(call) in needed:
            state()
    bind_derived(trace, traced.frames, traced.attributes)
    resolve(trace.ledger.equations)
    for node, why in () if trial else trace.ledger.spelled:
        freeze(node, why)
    _freeze_fixed(traced, dims)
    _freeze_uncarried(traced, dims)
    names = axis_names(traced, dims)
    verdict = judged(trace, named, traced.calls) if exactness else Verdict()

    def text(n: Node) -> Axes:
        return expression(n, names.__getitem__)

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
            layout,
            sizes,
            {names[v]: str(why) for v, why in verdict.inexact.items() if v in names},
            {n: tuple(p) for n, p in producers.items()},
            {names[v]: places for v, places in verdict.spared.items() if v in names},
            {names[v] for v in verdict.nonfinite if v in names},
        ),
        frozen=tuple(_frozen(dims)),
        dtypes={n: dtype_name(t) for n, t in named.items()},
        buffers=traced.buffers,
        attributes=_attributes(traced.attributes, text),
        stand_ins=traced.stand_ins,
        activations=activations_of(trace, traced.frames, traced.prunable, names)
        if exactness
        else (),
        positions={
            n: text(node) for n, (node, _) in trace.position_buffers.items() if leaves(node)
        },
        conditions=tuple(_conditions(trace, text)),
        macs=_merged((k, tuple(text(d) for d in ds)) for k, ds in trace.macs),
        ties={n: tuple(places) for n, places in ties.items()},
        notes=notes + tuple(f"frozen: {what} {place}" for what, place in trace.unknown.items()),
    )


def _freeze_fixed(traced: Traced, dims: Mapping[str, list[Node]]) -> None:
    """Freeze outputs, what no operator read, what only buffers carry, and buffers of positions that
    are read otherwise.
    """
    trace, named = traced.trace, traced.named
    for place, t in traced.outputs.items():
        for d in trace.dims_of(t):
            freeze(d, "an output's size" + ("" if place == "output" else f" ({place})"))
    readers: Counter[int] = Counter(id(t) for call in trace.tape for t in call.tensors)
    for name, t in named.items():
        if not readers[id(t)]:
            for d in dims[name]:
                freeze(d, "a parameter that the forward does not read")
    for t, node, place in trace.given_positions:
        if readers[id(t)] or any(t is o for o in traced.outputs.values()):
            freeze(node, Because("positions along it are read, given", place))
    for name, (node, calls) in trace.position_buffers.items():
        if readers[id(named[name])] != len(calls):
            freeze(node, f"indexed by {name}, whose values are also read otherwise")
    carried = {
        v for n, ds in dims.items() if n not in traced.buffers for d in ds for v in leaves(d)
    }
    for name in traced.buffers:
        for d in dims[name]:
            for v in leaves(d):
                if v not in carried:
                    freeze(v, "an axis that only buffers carry")


def _freeze_uncarried(traced: Traced, dims: Mapping[str, list[Node]]) -> None:
    """Freeze every size that the spec would speak of and that no parameter carries: it has no name."""
    trace = traced.trace
    for attribute in traced.attributes:
        if is_size_only(node := find(attribute.node)):
            freeze(node, "an attribute that measures nothing")
    carried = {v for ds in dims.values() for d in ds for v in leaves(d)}
    spoken = [a.node for a in traced.attributes]
    spoken += [side for left, _, right, *_ in trace.ledger.comparisons for side in (left, right)]
    spoken += [d for _, ds in trace.macs for d in ds]
    spoken += [node for node, _ in trace.position_buffers.values()]
    for v in [v for node in spoken for v in leaves(node) if v not in carried]:
        freeze(v, "a size that no parameter carries")


def _frozen(dims: Mapping[str, list[Node]]) -> Iterator[Frozen]:
    for name, ds in dims.items():
        for d, node in enumerate(ds):
            for part in _constants(node):
                if part.why and (part.size > 1 or find(node).kind == "sum"):
                    yield Frozen(name, d, part.size, str(part.why))


def _constants(n: Node) -> Iterator[Node]:
    n = find(n)
    if n.kind == "constant":
        yield n
    for part in n.parts:
        yield from _constants(part)


def _attributes(
    found: list[Attribute], text: Callable[[Node], Axes]
) -> dict[str, dict[str, Axes | tuple[Axes, ...]]]:
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


def _merged(
    terms: Iterator[tuple[int, tuple[Axes, ...]]],
) -> tuple[tuple[int, tuple[Axes, ...]], ...]:
    """Terms with equal expressions added up; fixed factors multiplied into the coefficient."""
    out: Counter[tuple[Axes, ...]] = Counter()
    for k, dims in terms:
        for d in dims:
            if isinstance(d, Fixed):
                k *= d.size
        out[tuple(d for d in dims if not isinstance(d, Fixed))] += k
    return tuple((k, dims) for dims, k in out.items())
