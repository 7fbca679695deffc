"""One operator of an abstract forward: run it, apply its rule, and put the call on the tape.

On meta tensors nothing is computed, but small tensors made of integers alone keep a *shadow value*,
from which `.item()` and branches are answered.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_map

from purethin.inference import hollow
from purethin.inference.nodes import constant, find, freeze
from purethin.inference.places import Because, place
from purethin.inference.rules import RULES, Call
from purethin.inference.rules.call import LawOf, Rule, arguments
from purethin.inference.rules.laws import Law, Moved, Opaque, Pointwise, moved
from purethin.inference.rules.pointwise import pointwise
from purethin.inference.solver import unify
from purethin.inference.trace import Dims, Trace
from purethin.tree import tensors_in

SHADOW = 20_000
"""Elements up to which a tensor made of integers alone keeps its value."""


@dataclass(frozen=True)
class Known:
    """What is asked of every operator, once."""

    op: OpOverload
    name: str
    full_name: str
    pointwise: bool
    takes_out: bool
    composite: bool
    random: bool
    writes: bool

    @property
    def rule(self) -> tuple[Rule | None, LawOf]:
        """The rule and law registered now; torch's own tag makes an operator pointwise."""
        if not self.takes_out:
            if (found := RULES.get(self.name)) is not None:
                return found
            if self.pointwise:
                return pointwise, Pointwise()
        return None, Opaque()

    @staticmethod
    def of(op: OpOverload) -> Known:
        """What is known of an operator, by its id: it hashes in Python, and slowly."""
        found = _KNOWN.get(id(op))
        if found is None:
            found = _KNOWN[id(op)] = Known.asked(op)
        return found

    @staticmethod
    def asked(op: OpOverload) -> Known:
        """What there is to know of an operator."""
        space, name = op._schema.name.split("::")
        writes = op._schema.is_mutable
        base = name.removesuffix("_") if writes and not name.startswith("__") else name
        made = base.startswith(("rand", "empty", "new_empty", "bernoulli"))
        return Known(
            op=op,
            name=base if space == "aten" else f"{space}::{name}",
            full_name=f"{space}::{name}",
            pointwise=torch.Tag.pointwise in op.tags,
            takes_out=any(a.is_out for a in op._schema.arguments),
            composite=torch._C._dispatch_has_kernel_for_dispatch_key(
                op.name(), "CompositeImplicitAutograd"
            ),
            random=made or torch.Tag.nondeterministic_seeded in op.tags,
            writes=writes,
        )


_KNOWN: dict[int, Known] = {}


def record(trace: Trace, op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Run an operator, apply its rule to the dims, and put it on the tape."""
    known = Known.of(op)
    inputs = tensors_in(args) + (tensors_in(kwargs) if kwargs else [])
    elsewhere = [x for x in inputs if not x.is_meta] if trace.meta else ()
    if elsewhere:
        if len(elsewhere) < len(inputs):
            args, kwargs = tree_map(functools.partial(_twin, trace), (list(args), kwargs))
            inputs = tensors_in((args, kwargs))
        else:
            for x in inputs:
                if (seen := trace.of(x)).value is None:
                    seen.value = x
    if known.writes:
        trace.overwrites(inputs)
    out = _output(trace, known, op, args, kwargs, inputs) if trace.meta else op(*args, **kwargs)
    if not (outs := tensors_in(out)):
        return out
    trace.makes(outs, inputs)
    rule, law = known.rule
    at = place(known.name)
    call = Call(op, known.name, args, kwargs, out, trace, law, at, inputs, trace.python)
    terms = len(trace.macs)
    for o, dims in zip(call.outs, _dims_out(rule, known, call), strict=False):
        if isinstance(o, Tensor):
            written = any(o is x for x in inputs) and not isinstance(call.law, Moved)
            _give(trace, o, dims, call if written else None)
            if len(trace.macs) > terms:
                trace.counted.append((o.element_size(), tuple(dims)))
    trace.tape.append(call)
    return out


# ---- values


def _output(
    trace: Trace,
    known: Known,
    op: OpOverload,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    inputs: Sequence[Tensor],
) -> Any:
    """An operator's output in a trace on meta, with its shadow value if it has one.

    | inputs                    | output                     | shadow value                   |
    | ------------------------- | -------------------------- | ------------------------------ |
    | one without value; random | meta's                     | none; what it writes loses its |
    | all on the CPU            | the operator's             | the output, if not on meta     |
    | all with values           | meta's, else as the value  | the operator's on their values |
    | the same, a large output  | meta's                     | none                           |
    """
    if known.random or not trace.has_values(inputs):
        return _hollow_output(trace, known, op, args, kwargs, inputs)
    on_cpu = bool(inputs) and not any(x.is_meta for x in inputs)
    try:
        out = op(*args, **kwargs)
    except (RuntimeError, NotImplementedError):
        if on_cpu:
            raise
        out = None  # what meta cannot answer (`.item()`, `nonzero`) the shadow can
    if on_cpu and not any(o.is_meta for o in tensors_in(out)):
        value = out
    else:
        if out is not None and sum(o.numel() for o in tensors_in(out)) > SHADOW:
            return out
        values, named = tree_map(functools.partial(_value, trace), (list(args), kwargs))
        value = op(*values, **named)
        out = tree_map(_hollow, value) if out is None else out
    for o, v in zip(tensors_in(out), tensors_in(value), strict=True):
        trace.of(o).value = v
    return out


def _hollow_output(
    trace: Trace,
    known: Known,
    op: OpOverload,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    inputs: Sequence[Tensor],
) -> Any:
    """An output without values."""
    if known.writes and inputs:
        trace.of(inputs[0]).value = None
    elif inputs and inputs[0].is_meta:
        made = None
        if known.rule[0] is pointwise:
            made = hollow.pointwise(op, args, kwargs)
        elif (kernel := hollow.KERNELS.get(known.name)) is not None:
            rows = arguments(op).items()
            given = {n: args[i] if i < len(args) else kwargs.get(n, x) for n, (i, x) in rows}
            made = kernel(given, trace.value_of)
        if made is not None:
            for o in tensors_in(made):
                trace.of(o).value = None if o.is_meta else o
            return made
    moved_to = any(isinstance(x, torch.device) for x in (*args, *kwargs.values()))
    if moved_to and any(x.is_meta for x in inputs):
        # a tensor without values stays where it is
        args, kwargs = tree_map(_on_meta, (list(args), kwargs))
    return op(*args, **kwargs)


def _value(trace: Trace, x: Any) -> Any:
    if isinstance(x, Tensor):
        return trace.value_of(x)
    return torch.device("cpu") if isinstance(x, torch.device) else x


def _on_meta(x: Any) -> Any:
    return torch.device("meta") if isinstance(x, torch.device) else x


def _hollow(x: Any) -> Any:
    return torch.empty_like(x, device="meta") if isinstance(x, Tensor) else x


def _twin(trace: Trace, x: Any) -> Any:
    """The meta twin of a tensor that the forward made elsewhere."""
    if not isinstance(x, Tensor) or x.is_meta:
        return x
    own = trace.of(x)
    if own.twin is None:
        own.twin = torch.empty_like(x, device="meta")
        twin = trace.of(own.twin)
        twin.dims, twin.value, twin.literal = trace.dims_of(x), x, own.literal
        alias = torch.ops.aten.alias.default
        call = Call(alias, "alias", (x,), {}, own.twin, trace, moved, place("alias"), [x])
        trace.tape.append(call)
    return own.twin


# ---- dims


def _dims_out(rule: Rule | None, known: Known, call: Call) -> Sequence[Dims]:
    """What the rule says of the outputs; without a rule, or where it fails, all that it touches is
    frozen and listed.
    """
    what = f"the operator {known.full_name}, which has no rule,"
    if rule is not None:
        try:
            out = rule(call)
            rows = out if isinstance(out, tuple) else (out or [],)
            for o, dims in zip(call.outs, rows, strict=False):
                if isinstance(o, Tensor) and (got := [find(d).size for d in dims]) != list(o.shape):
                    raise ValueError(f"it gives {got} for the shape {list(o.shape)}")
            if not isinstance(call.law, Law):  # made here, so that its errors are the rule's
                raise TypeError(f"its law is {type(call.law).__name__}, not one of pt.laws")
            return rows
        except Exception as error:
            what = (
                f"the operator {known.full_name}, whose rule does not cover this call "
                f"({type(error).__name__}: {error}),"
            )
    why = Because(what, call.place)
    call.trace.unknown.setdefault(what, call.place)
    for x in call.tensors:
        for d in call.dims(x):
            freeze(d, why)
    call.law = Opaque(what)
    shapes = [o.shape if isinstance(o, Tensor) else () for o in call.outs]
    return [[constant(s, why) for s in shape] for shape in shapes]


def _give(trace: Trace, o: Tensor, dims: Dims, written: Call | None) -> None:
    """Give an output its dims; one written in place keeps its own, unified (but a reshaped one has
    new ones).
    """
    seen = trace.of(o)
    if written is None or seen.dims is None or len(seen.dims) != len(dims):
        seen.dims = dims
        return
    for a, b in zip(seen.dims, dims, strict=True):
        unify(a, b, written.place)
