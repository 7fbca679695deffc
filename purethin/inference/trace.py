"""One abstract forward: two modes watch it, apply each operator's rule, and write the tape that
`silence` reads.

A `TorchFunctionMode` sees Python's calls, where integers still carry their track; a
`TorchDispatchMode` sees the operators. On meta tensors nothing is computed, but small integer
tensors keep a *shadow value*, from which `.item()` and branches are answered.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.functional
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_map

from purethin.inference.places import Because, Place, place
from purethin.inference.rules import RULES, Call
from purethin.inference.rules.call import Dims, Rule, TraceState, tensors_in
from purethin.inference.rules.laws import Law, Moved, Opaque, Pointwise
from purethin.inference.rules.pointwise import pointwise
from purethin.inference.sizes import Ledger
from purethin.inference.solver import Node, constant, find, freeze, unify

SHADOW = 20_000
"""Elements up to which a tensor made of integers alone keeps its value."""

_OUTSIDE = "a tensor that is neither parameter nor buffer"


class Trace(TraceState):
    """The state of one forward: dims of every tensor seen, shadow values, and the tape."""

    def __init__(self, *, meta: bool) -> None:
        self.meta = meta
        self.ledger = Ledger()
        self.ties: list[tuple[Node, Place]] = []
        self.macs: list[tuple[int, tuple[Node, ...]]] = []
        self.tape: list[Call] = []
        self.unknown: dict[str, Place] = {}
        self.measured: set[int] = set()
        self.roles: list[tuple[Node, str]] = []
        self.literals: dict[int, list[int]] = {}
        self.data_values: set[int] = set()
        self.deferred: list[tuple[Call, Callable[[], object]]] = []
        self.given_positions: list[tuple[Tensor, Node, Place]] = []
        self.producers: dict[tuple[str, int], None] = {}
        self.parameters: dict[int, str] = {}
        self.sources: set[int] = set()
        self.position_buffers: dict[str, tuple[Node, list[Call]]] = {}
        self.python: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
        self._dims: dict[int, Dims] = {}
        self._values: dict[int, Tensor] = {}
        self._twins: dict[int, Tensor] = {}
        self._alive: list[Tensor] = []

    # ---- what rules ask

    def dims_of(self, tensor: Tensor) -> Dims:
        known = self._dims.get(id(tensor))
        return (
            known
            if known is not None
            else self.set_dims(tensor, [constant(s, _OUTSIDE) for s in tensor.shape])
        )

    def is_parameter(self, tensor: Tensor) -> bool:
        return id(tensor) in self.parameters

    def produced(self, tensor: Tensor, dim: int) -> None:
        if (name := self.parameters.get(id(tensor))) is not None:
            self.producers[name, dim] = None

    def positions_in(self, index: Tensor) -> list[int] | None:
        if id(index) not in self.parameters or id(index) not in self._values:
            return None
        values = self._values[id(index)]
        return (
            values.tolist()
            if values.dtype in (torch.int64, torch.int32) and bool((values >= 0).all())
            else None
        )

    def position_buffer(self, index: Tensor, node: Node, call: Call) -> None:
        name = self.parameters[id(index)]
        seen = self.position_buffers.setdefault(name, (node, []))
        unify(seen[0], node, Because("one buffer of positions indexes both", call.place))
        seen[1].append(call)

    # ---- what inference sets up

    def keep_alive(self, tensor: Tensor) -> None:
        """Keep a tensor that is known by its id."""
        self._alive.append(tensor)

    def set_dims(self, tensor: Tensor, dims: Dims) -> Dims:
        self._dims[id(tensor)] = dims
        self._alive.append(tensor)
        return dims

    def set_value(self, tensor: Tensor, value: Tensor) -> None:
        self._values[id(tensor)] = value
        self._alive.append(tensor)

    def value_of(self, tensor: Tensor) -> Tensor | None:
        """The shadow value of a tensor, if it has one."""
        return self._values.get(id(tensor))

    def has_dims(self, tensor: Tensor) -> bool:
        return id(tensor) in self._dims

    # ---- one operator

    def record(self, op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Run an operator, apply its rule to the dims, and put it on the tape."""
        known = Known.of(op)
        inputs = tensors_in((args, kwargs))
        if self.meta and any(x.device.type != "meta" for x in inputs):
            if any(x.device.type == "meta" for x in inputs):
                args, kwargs = tree_map(self._twin, (list(args), kwargs))
                inputs = tensors_in((args, kwargs))
            else:
                for x in inputs:
                    self._values.setdefault(id(x), x)
        before = [id(x) for x in inputs]
        out = self._run(known, op, args, kwargs, inputs)
        if not (isinstance(out, Tensor) or (isinstance(out, tuple | list) and tensors_in(out))):
            return out
        at = place(known.name, 3)
        rule, law = known.rule
        call = Call(op, known.name, args, kwargs, out, at, self, *self.python, law)
        for o, dims in zip(
            call.outs, self._dims_out(rule, known.full_name, call, inputs), strict=False
        ):
            if isinstance(o, Tensor):
                self._merge(o, dims, id(o) in before and not isinstance(call.law, Moved), at)
        self.tape.append(call)
        return out

    def _run(
        self,
        known: Known,
        op: OpOverload,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        inputs: list[Tensor],
    ) -> Any:
        """The operator's output; beside it, its shadow value where all inputs have one."""
        if not self.meta:
            return op(*args, **kwargs)
        values = [self._values.get(id(x)) for x in inputs]
        if known.random or any(v is None for v in values):
            for x in inputs[:1] if known.writes else ():
                self._values.pop(id(x), None)
            like = _like_input(known.name, inputs)
            return op(*args, **kwargs) if like is None else like
        if inputs and all(x.device.type != "meta" for x in inputs):
            out = op(*args, **kwargs)
            for o in tensors_in(out):
                self.set_value(o, o)
            return out
        try:
            out = op(*args, **kwargs)
        except (RuntimeError, NotImplementedError):
            out = None  # what meta cannot answer (`.item()`, `nonzero`) the shadow can
        if out is not None and sum(o.numel() for o in tensors_in(out)) > SHADOW:
            return out
        value = op(*tree_map(self._value_of, list(args)), **tree_map(self._value_of, kwargs))
        if out is None:
            out = tree_map(
                lambda v: torch.empty_like(v, device="meta") if isinstance(v, Tensor) else v, value
            )
        for o, v in zip(tensors_in(out), tensors_in(value), strict=True):
            self.set_value(o, v)
        return out

    def _value_of(self, x: Any) -> Any:
        if isinstance(x, Tensor):
            return self._values[id(x)]
        return torch.device("cpu") if isinstance(x, torch.device) else x

    def _twin(self, x: Any) -> Any:
        """The meta twin of a tensor that the forward made elsewhere."""
        if not isinstance(x, Tensor) or x.device.type == "meta":
            return x
        if id(x) not in self._twins:
            twin = self._twins[id(x)] = torch.empty_like(x, device="meta")
            self.set_dims(twin, self.dims_of(x))
            self.set_value(twin, x)
            if id(x) in self.literals:
                self.literals[id(twin)] = self.literals[id(x)]
            alias = torch.ops.aten.alias.default
            self.tape.append(
                Call(alias, "alias", (x,), {}, twin, place("alias"), self, (), {}, Moved((x,)))
            )
        return self._twins[id(x)]

    def _dims_out(
        self, rule: Rule | None, name: str, call: Call, inputs: list[Tensor]
    ) -> Sequence[Dims]:
        """What the rule says of the outputs; without a rule, or where it fails, all that it touches
        is frozen and listed.
        """
        what = f"the operator {name}, which has no rule,"
        if rule is not None:
            try:
                out = rule(call)
                rows = out if isinstance(out, tuple) else (out or [],)
                for o, dims in zip(call.outs, rows, strict=False):
                    if isinstance(o, Tensor) and [find(d).size for d in dims] != list(o.shape):
                        raise ValueError(
                            f"it gives {[find(d).size for d in dims]} for the shape {list(o.shape)}"
                        )
                return rows
            except Exception as error:
                what = (
                    f"the operator {name}, whose rule does not cover this call "
                    f"({type(error).__name__}: {error}),"
                )
        why = Because(what, call.place)
        self.unknown.setdefault(what, call.place)
        for x in inputs:
            for d in self.dims_of(x):
                freeze(d, why)
        call.law = Opaque(what)
        return [
            [constant(s, why) for s in o.shape] if isinstance(o, Tensor) else [] for o in call.outs
        ]

    def _merge(self, o: Tensor, dims: Dims, written: bool, at: Place) -> None:
        """Give an output its dims; one written in place keeps its own, unified (but a reshaped one
        has new ones).
        """
        old = self._dims.get(id(o)) if written else None
        if old is None or len(old) != len(dims):
            self.set_dims(o, dims)
            return
        for a, b in zip(old, dims, strict=True):
            unify(a, b, at)


@dataclass(frozen=True)
class Known:
    """What is asked of every operator, once."""

    name: str
    full_name: str
    pointwise: bool
    takes_out: bool
    composite: bool
    random: bool
    writes: bool

    @property
    def rule(self) -> tuple[Rule | None, Law]:
        """The rule and law registered now; torch's own tag makes an operator pointwise."""
        if self.takes_out:
            return None, Opaque()
        return RULES.get(self.name) or (
            (pointwise, Pointwise()) if self.pointwise else (None, Opaque())
        )

    @staticmethod
    @functools.cache
    def of(op: OpOverload) -> Known:
        space, name = op._schema.name.split("::")
        writes = op._schema.is_mutable
        base = name.removesuffix("_") if writes and not name.startswith("__") else name
        return Known(
            name=base if space == "aten" else f"{space}::{name}",
            full_name=f"{space}::{name}",
            pointwise=torch.Tag.pointwise in op.tags,
            takes_out=any(a.is_out for a in op._schema.arguments),
            composite=torch._C._dispatch_has_kernel_for_dispatch_key(
                op.name(), "CompositeImplicitAutograd"
            ),
            random=torch.Tag.nondeterministic_seeded in op.tags
            or base.startswith(("rand", "empty", "new_empty", "bernoulli")),
            writes=writes,
        )


def _like_input(name: str, inputs: list[Tensor]) -> Tensor | None:
    """The output where meta's own kernel is slow (batch norm: half the time of a forward) or
    refuses what others take.
    """
    if name == "_grouped_mm" and len(inputs) > 1 and (inputs[0].dim(), inputs[1].dim()) == (2, 3):
        return inputs[0].new_empty(inputs[0].shape[0], inputs[1].shape[2])
    if name != "batch_norm" or any(t.shape != inputs[0].shape[1:2] for t in inputs[1:]):
        return None
    return torch.empty_like(inputs[0])
