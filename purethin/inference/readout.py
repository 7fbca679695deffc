"""From a trace to the spec. `settle` solves the sizes and freezes what cannot move, once; `spec_of`
then names the axes and writes the layout, and may be asked twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import TypeVar

from purethin.axes import Axes, Fixed
from purethin.inference.attributes import Attribute, bind_derived, bind_wrapped
from purethin.inference.batch import batch_of
from purethin.inference.equations import is_size_only, resolve
from purethin.inference.frames import activations_of
from purethin.inference.gates import gates_of
from purethin.inference.naming import axis_names
from purethin.inference.nodes import Node, expression, find, freeze, leaves
from purethin.inference.places import Because
from purethin.inference.sites import sites_of
from purethin.inference.sources import Traced
from purethin.inference.sparing import judged
from purethin.inference.states import Rows
from purethin.inference.trace import Trace
from purethin.inference.twins import twins_of
from purethin.records import Axis, Condition, Frozen, placed
from purethin.spec import Spec, dtype_name


def settle(traced: Traced) -> None:
    """Solve what the trace put off, and freeze what cannot move: once, before it is read."""
    trace, needed = traced.trace, set(map(id, traced.calls))
    for call, state in trace.deferred:
        if id(call) in needed:
            state()
    bind_derived(trace, traced.frames, traced.attributes)
    resolve(trace.ledger.equations)
    bind_wrapped(traced.attributes)
    dims = _dims(traced)
    _freeze_fixed(traced, dims)
    _freeze_uncarried(traced, dims)


def freeze_spelled(traced: Traced) -> None:
    """Freeze sizes that were only spelled out (in a message), where no trial tells if they
    matter.
    """
    for node, why in traced.trace.ledger.spelled:
        freeze(node, why)


def layout_of(traced: Traced) -> dict[str, tuple[Axes, ...]]:
    """The layout of every parameter that a settled trace proves."""
    dims = _dims(traced)
    text = _text(axis_names(traced, dims))
    return {n: tuple(map(text, ds)) for n, ds in dims.items()}


def spec_of(traced: Traced, notes: tuple[str, ...] = ()) -> Spec:
    """The spec that a settled trace proves; reading it changes nothing."""
    trace, dims, calls = traced.trace, _dims(traced), traced.calls
    rows = Rows(trace)
    names = axis_names(traced, dims)
    text = _text(names)
    layout = {n: tuple(map(text, ds)) for n, ds in dims.items()}
    return Spec(
        layout=layout,
        axes=placed(layout, _axes(traced, rows, dims, names)),
        frozen=tuple(_frozen(dims)),
        dtypes={n: dtype_name(t) for n, t in traced.named.items()},
        buffers=traced.buffers,
        attributes=_attributes(traced.attributes, text),
        stand_ins=traced.stand_ins,
        caches=traced.caches,
        activations=activations_of(trace, traced.frames, traced.prunable, names),
        sites=sites_of(rows, calls, traced.named, names),
        positions={
            n: text(node) for n, (node, _) in trace.position_buffers.items() if leaves(node)
        },
        conditions=tuple(_conditions(trace, text)),
        macs=_merged((k, tuple(map(text, ds))) for k, ds in trace.macs),
        activation_bytes=_merged((k, tuple(map(text, ds))) for k, ds in trace.counted),
        batch=batch_of(trace, traced.inputs, traced.first_outputs, [*traced.named.values()], calls),
        ties=by_axis(((node, str(place)) for node, place in trace.ties), names),
        notes=notes + tuple(f"frozen: {what} {place}" for what, place in trace.unknown.items()),
    )


def _text(names: Mapping[Node, str]) -> Callable[[Node], Axes]:
    """From a node to its expression, which is made once."""
    made = cache(lambda n: expression(n, names.__getitem__))
    return lambda n: made(find(n))


def _axes(
    traced: Traced, rows: Rows, dims: Mapping[str, list[Node]], names: Mapping[Node, str]
) -> dict[str, Axis]:
    """What is known of each axis, but for its places."""
    verdict = judged(rows, traced.named, traced.calls)
    gates = gates_of(rows, traced.named, traced.calls)
    producers = by_axis(((dims[p][d], (p, d)) for p, d in rows.trace.producers), names)
    return {
        name: Axis(
            name,
            v.size,
            exact=v not in verdict.inexact,
            reason=str(verdict.inexact[v]) if v in verdict.inexact else None,
            producers=producers.get(name, ()),
            spared=verdict.spared.get(v, ()),
            finite=v not in verdict.nonfinite,
            gates=gates.get(v, ()),
        )
        for v, name in names.items()
    }


def names_of(traced: Traced) -> dict[Node, str]:
    """The axes of a settled trace, by name."""
    return axis_names(traced, _dims(traced))


def axes_in(traced: Traced, nodes: Iterable[Node]) -> set[str]:
    """The names of the axes in some nodes."""
    names = names_of(traced)
    return {names[v] for node in nodes for v in leaves(node) if v in names}


T = TypeVar("T")


def by_axis(pairs: Iterable[tuple[Node, T]], names: Mapping[Node, str]) -> dict[str, tuple[T, ...]]:
    """What was said of nodes, by the axes in them, each thing once."""
    out: dict[str, dict[T, None]] = {}
    for node, said in pairs:
        for v in leaves(node):
            if v in names:
                out.setdefault(names[v], {})[said] = None
    return {name: tuple(found) for name, found in out.items()}


def _dims(traced: Traced) -> dict[str, list[Node]]:
    return {name: traced.trace.dims_of(t) for name, t in traced.named.items()}


def _freeze_fixed(traced: Traced, dims: Mapping[str, list[Node]]) -> None:
    """Freeze outputs, what no operator read, what only buffers carry, and buffers of positions that
    are read otherwise.
    """
    trace, named = traced.trace, traced.named
    for place, t in traced.outputs.items():
        for d in trace.dims_of(t):
            freeze(d, "an output's size" + ("" if place == "output" else f" ({place})"))
    readers: Counter[int] = Counter(id(t) for call in trace.tape for t in call.tensors)
    unread = {name for name, t in named.items() if t.numel() and not readers[id(t)]}
    for name in unread:
        for d in dims[name]:
            freeze(d, "a parameter that the forward does not read")
    shapes = {n: tuple(t.shape) for n, t in named.items() if n not in traced.buffers}
    for part, other in twins_of(unread & shapes.keys(), shapes, traced.lists).items():
        _freeze_around(dims, part, other)
    taken = {id(t) for t in (*trace.read, *traced.outputs.values())}
    for t, node, place in trace.given_positions:
        if readers[id(t)] or id(t) in taken:
            freeze(node, Because("positions along it are read, given", place))
    for name, (node, calls) in trace.position_buffers.items():
        if readers[id(named[name])] != len(calls):
            freeze(node, f"indexed by {name}, whose values are also read otherwise")
    empty = {name for name, t in named.items() if not t.numel()}
    aside = traced.buffers | empty
    carried = {v for n, ds in dims.items() if n not in aside for d in ds for v in leaves(d)}
    for name in aside:
        what = "parameters without entries" if name in empty else "buffers"
        for v in (v for d in dims[name] for v in leaves(d) if v not in carried):
            freeze(v, f"an axis that only {what} carry")


def _freeze_around(dims: Mapping[str, list[Node]], part: str, other: str) -> None:
    """Freeze what a part of the network shares with the rest, as a twin of it that did not run
    (another expert) keeps its sizes.
    """
    inside, outside = set[Node](), set[Node]()
    for name, ds in dims.items():
        side = inside if f"{name}.".startswith(f"{part}.") else outside
        side.update(v for d in ds for v in leaves(d))
    for v in inside & outside:
        freeze(
            v,
            f"it goes through {part}, and {other}, which is like it, did not run on this example: "
            "give one that reaches it too, infer(…, examples=[…])",
        )


def _freeze_uncarried(traced: Traced, dims: Mapping[str, list[Node]]) -> None:
    """Freeze every size in the spec that no parameter carries: it has no name."""
    trace = traced.trace
    for attribute in traced.attributes:
        if is_size_only(node := find(attribute.node)):
            freeze(node, "an attribute that measures nothing")
    carried = {v for ds in dims.values() for d in ds for v in leaves(d)}
    spoken = [a.node for a in traced.attributes]
    spoken += [side for left, _, right, *_ in trace.ledger.comparisons for side in (left, right)]
    spoken += [d for _, ds in (*trace.macs, *trace.counted) for d in ds]
    spoken += [node for node, _ in trace.position_buffers.values()]
    for v in [v for node in {*map(find, spoken)} for v in leaves(node) if v not in carried]:
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
            entries, old = {a.position: text(a.node) for a in rows}, rows[0].whole
            whole = () if isinstance(old, int) else tuple(map(Fixed, old))
            out.setdefault(module, {})[name] = entries.get(
                None, tuple(entries.get(i, entry) for i, entry in enumerate(whole))
            )
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
