"""Where the data carry axes: which call reads each, by which weights, off the laws of the calls."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from torch import Tensor

from purethin.axes import Axes
from purethin.inference.divisors import Norms, Told
from purethin.inference.nodes import Node, expression, find, leaves
from purethin.inference.rules import laws
from purethin.inference.rules.call import Call
from purethin.inference.states import Rows
from purethin.inference.trace import Trace
from purethin.measuring.calls import Calls
from purethin.records import Role, Site

Found = tuple[Role, Tensor | None, Node, int, tuple[tuple[str, int], ...]]
"""The role, the tensor of data, the dimension that counts, its dim in the tensor, the weights."""


def sites_of(
    rows: Rows, needed: Sequence[Call], named: Mapping[str, Tensor], names: Mapping[Node, str]
) -> tuple[Site, ...]:
    """The sites of the calls that an output depends on, in their order; last those of axes that no
    call reads.
    """
    trace, calls, wanted = rows.trace, Calls(named), set(map(id, needed))
    told = [
        (call, name)
        for call in trace.tape
        if (name := calls.name(call.op, call.tensors, call.outs)) is not None and id(call) in wanted
    ]
    norms = Norms(told, calls.made_of)

    @functools.cache
    def said(node: Node) -> Axes | None:
        known = names.keys() >= {*rows.leaves_of(node)}
        return expression(node, names.__getitem__) if known else None

    axes_in = functools.cache(lambda n: tuple(names[v] for v in rows.leaves_of(n) if v in names))

    def site(at: int, found: Found) -> Site | None:
        call, name = told[at]
        role, tensor, node, dim, weights = found
        axes = axes_in(node)
        if tensor is None:
            inner = said(node)
            return Site(role, name, None, dim, inner, axes, weights) if inner and axes else None
        channels = said(trace.dims_of(tensor)[dim])
        if not axes or channels is None:
            return None
        operand = next((i for i, t in enumerate(call.tensors) if t is tensor), -1)
        norm = norms.after(at) if role == "reads" and weights else None
        return Site(role, name, operand, dim - tensor.dim(), channels, axes, weights, norm)

    seen = (
        site(at, found)
        for at, (call, _) in enumerate(told)
        for found in _found(trace, calls, named, call)
    )
    sites = dict.fromkeys(s for s in seen if s is not None)
    return (*sites, *_last(rows, told, site, axes_in, sites))


def _last(
    rows: Rows,
    told: Told,
    site: Callable[[int, Found], Site | None],
    axes_in: Callable[[Node], tuple[str, ...]],
    sites: Iterable[Site],
) -> Iterator[Site]:
    """Of the axes whose data no call reads: the last calls whose output carries them."""
    done = {a for s in sites if s.role == "reads" and s.operand is not None for a in s.axes}
    for at in reversed(range(len(told))):
        for found in _carried(rows, told[at][0]):
            if not done.issuperset(axes_in(found[2])) and (one := site(at, found)) is not None:
                done.update(one.axes)
                yield one


def _found(trace: Trace, calls: Calls, named: Mapping[str, Tensor], call: Call) -> Iterator[Found]:
    """What a call reads or scales."""
    law = call.law
    if isinstance(law, laws.Contracted):
        for tensor, row in law.operands:
            if calls.made_of(tensor):
                continue
            others = [o for o in law.operands if o[0] is not tensor]
            for label in (label for label in row if label not in law.out):
                weights = _weights(trace, calls, named, law, others, label)
                yield "reads", tensor, law.nodes[label], laws.dim_of(label, row), weights
    elif isinstance(law, laws.Attended):
        for tensor in (law.query, law.key):
            last = tensor.dim() - 1
            yield "reads", tensor, trace.dims_of(tensor)[last], last, ()
    elif isinstance(law, laws.Recurrent):
        yield from _recurrent(trace, calls, call, law)
    elif isinstance(law, laws.Normalised) and law.weight is not None and law.weight.dim() == 1:
        tensor, of = call.tensors[0], calls.made_of(law.weight)
        if of and not calls.made_of(tensor):
            yield "scales", tensor, trace.dims_of(tensor)[law.at], law.at, ((of[0], 0),)


def _weights(
    trace: Trace,
    calls: Calls,
    named: Mapping[str, Tensor],
    law: laws.Contracted,
    others: Sequence[tuple[Tensor, tuple[laws.Label, ...]]],
    label: laws.Label,
) -> tuple[tuple[str, int], ...]:
    """The dims of parameters that a label is summed with."""
    out: dict[tuple[str, int], None] = {}
    axes = {*leaves(law.nodes[label])}
    for tensor, row in others:
        if label not in row:
            continue
        for name in calls.made_of(tensor):
            if named[name] is tensor:
                out[name, laws.dim_of(label, row)] = None
                continue
            dims = enumerate(trace.dims_of(named[name]))
            found = [(name, d) for d, node in dims if axes & {*leaves(node)}]
            unmade = [place for place in found if place not in trace.producers]
            out.update(dict.fromkeys(unmade or found))
    return tuple(out)


def _recurrent(trace: Trace, calls: Calls, call: Call, law: laws.Recurrent) -> Iterator[Found]:
    """The source by the first weights; hidden units by the other matrices, inside."""
    feature, last = trace.dims_of(law.source)[-1], law.source.dim() - 1
    matrices = [(calls.made_of(w), w) for w in law.weights if w.dim() == 2]
    first = {*leaves(feature)}
    for of, w in matrices:
        inner = trace.dims_of(w)[1]
        if of and (find(inner) is find(feature) or {*leaves(inner)} == first != set()):
            yield "reads", law.source, feature, last, ((of[0], 1),)
        elif of:
            yield "reads", None, inner, -1, ((of[0], 1),)


def _carried(rows: Rows, call: Call) -> Iterator[Found]:
    """The dims of a call's first output, each axis that just one of them carries."""
    out = call.outs[0]
    if isinstance(out, Tensor) and rows.trace.has_dims(out):
        row = rows.row(out)
        for dim, own in enumerate(row):
            others = (r for d, r in enumerate(row) if d != dim and r)
            if own and not any(map({*own}.intersection, others)):
                yield "makes", out, rows.trace.dims_of(out)[dim], dim, ()
