"""One operator call as a rule sees it, and the registry of rules.

A rule is a function of a `Call` that unifies dimensions and returns the output's; the first
docstring line states the law of dimensions, the header the law of values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from purethin.inference.data import Datum
from purethin.inference.nodes import Node, constant, find, freeze, total, variable
from purethin.inference.places import Because, Place
from purethin.inference.rules.integers import as_passed
from purethin.inference.rules.laws import Law, unstated
from purethin.inference.shapes import dimension
from purethin.inference.sizes import Size
from purethin.inference.solver import unify
from purethin.inference.trace import Dims, Python, Trace
from purethin.tree import tensors_in

Rule = Callable[["Call"], "Dims | tuple[Dims, ...] | None"]
LawOf = Law | Callable[["Call"], Law]
"""The law of an operator's values, or a function that gives it for one call."""

RULES: dict[str, tuple[Rule, LawOf]] = {}
"""From an operator's name (`linear`, or `library::name` outside aten) to its rule and law."""


def rule(*names: str, law: LawOf | None = None) -> Callable[[Rule], Rule]:
    """Register a rule for operators: what each implies about its dimensions.

    Args:
        names: aten's names without namespace and overload (`"linear"`), others in full
            (`"mylib::scale"`); one text may hold several, with spaces between them.
        law: how values behave: one of `pt.laws`, or a function of the `Call` that gives one.
            Without it, the axes that pass are inexact.

    Returns:
        A decorator for a function of a `Call` that returns the output's dims (a list; a tuple of
        lists for several outputs).

    >>> @rule("mylib::scale", law=None)
    ... def scale(c):
    ...     "out = x's dims."
    ...     return c.dims(c["x"])
    """

    def register(function: Rule) -> Rule:
        for name in " ".join(names).split():
            RULES[name] = (function, unstated(name) if law is None else law)
        return function

    return register


def arguments(op: OpOverload) -> dict[str, tuple[int, Any]]:
    """The position and default of each argument of an operator."""
    if (found := _ARGUMENTS.get(id(op))) is None:
        rows = {
            a.name: (i, a.default_value if a.has_default_value() else None)
            for i, a in enumerate(op._schema.arguments)
        }
        found = _ARGUMENTS[id(op)] = op, rows
    return found[1]


_ARGUMENTS: dict[int, tuple[OpOverload, dict[str, tuple[int, Any]]]] = {}
"""By the operator's id: it hashes in Python, and slowly."""


@dataclass(eq=False, repr=False)
class Call:
    """One call of an operator: its arguments by schema name, its outputs, their dims, and what may
    be stated of them. `tensors`: every tensor among the arguments, lists opened, in order; `outs`:
    the outputs as a list.
    """

    op: OpOverload
    name: str
    positional: Sequence[Any]
    keywords: dict[str, Any]
    out: Any
    trace: Trace
    law_of: LawOf
    place: Place
    tensors: list[Tensor]
    python: Python = ((), {})

    def __post_init__(self) -> None:
        self.outs: list[Any] = list(self.out) if self.several else [self.out]
        self._arguments = arguments(self.op)
        if isinstance(self.law_of, Law):
            self.law = self.law_of

    @functools.cached_property
    def law(self) -> Law:
        """How the values of this call behave."""
        return self.law_of(self) if callable(self.law_of) else self.law_of

    # ---- arguments

    def __getitem__(self, name: str) -> Any:
        """The argument of this schema name, its default where none was given."""
        i, default = self._arguments[name]
        given = self.positional
        return given[i] if i < len(given) else self.keywords.get(name, default)

    def get(self, name: str, default: Any = None) -> Any:
        """The argument of this schema name, or `default` where the operator has none of that
        name.
        """
        return self[name] if name in self._arguments else default

    def dim(self, name: str = "dim") -> int:
        """An argument that is a dim of the first tensor, counted from the front."""
        return self[name] % self.tensors[0].dim()

    @property
    def several(self) -> bool:
        """Whether the operator returns several tensors."""
        return isinstance(self.out, tuple | list)

    @property
    def shape(self) -> list[int]:
        """The first output's shape."""
        return list(self.outs[0].shape)

    # ---- dimensions

    def dims(self, tensor: Tensor | None = None) -> Dims:
        """A tensor's dimensions (the first tensor's, if none is given), a list of its own."""
        return list(self.trace.dims_of(self.tensors[0] if tensor is None else tensor))

    def unify(self, a: Node, b: Node) -> None:
        """State that two dimensions are the same."""
        unify(a, b, self.place)

    def tie(self, a: Node, b: Node) -> None:
        """As `unify`, and keep the line for messages: this is where two tensors meet."""
        if find(a) is not find(b):
            self.trace.ties.append((a, self.place))
            unify(a, b, self.place)

    def freeze(self, what: str, *dims: Node) -> None:
        """State that dimensions cannot be pruned, and why."""
        for n in dims:
            if find(n).kind != "constant":
                freeze(n, Because(what, self.place))

    def fixed(self, size: int, what: str) -> Node:
        """A dimension of constant size, with its reason."""
        return constant(size, Because(what, self.place))

    def all_fixed(self, what: str, given: str) -> Dims | tuple[Dims, ...]:
        """Freeze all dims of all tensors, and give outputs of constant sizes, each with its
        reason.
        """
        self.freeze(what, *(d for t in self.tensors for d in self.dims(t)))
        rows = [[self.fixed(s, given) for s in o.shape] for o in self.outs]
        return tuple(rows) if self.several else rows[0]

    def picked(self, node: Node, positions: Sequence[int]) -> Node:
        """The dimension of units picked at literal positions: what stands before them (or after
        negative ones) must stay.
        """
        n, what = find(node).size, f"the index {', '.join(map(str, positions))}"
        for p in positions:
            if isinstance(p, Size):
                p.freeze(what, self.place)
                self.freeze(what, node)
        positions = [p if isinstance(p, Datum) else int(p) for p in positions]
        behind = all(p < 0 for p in positions)
        ahead = all(p >= 0 for p in positions)
        fixed = max(-p if behind else p + 1 for p in positions)
        if fixed >= n or self.from_data(*positions) or not (behind or ahead):
            self.freeze(what, node)
        else:
            parts = [self.fixed(fixed, what), variable(n - fixed)]
            self.unify(node, total(parts[::-1] if behind else parts))
        return self.fixed(len(positions), what)

    # ---- what else may be stated

    def if_needed(self, state: Callable[[], object]) -> None:
        """State something at the end, if an output depends on this call's values (and not on its
        shape alone).
        """
        self.trace.deferred.append((self, state))

    def produces(self, tensor: Tensor, dim: int) -> None:
        """State that this tensor, if a parameter, makes the values along its dim."""
        if (name := self.trace.of(tensor).parameter) is not None:
            self.trace.producers[name, dim] = None

    def called(self, role: str, *dims: Node) -> None:
        """Give dimensions the name of their part in the operator, for an axis that nothing else
        names.
        """
        self.trace.roles.extend((d, role) for d in dims)

    def costs(self, coefficient: int, dims: Sequence[Node]) -> None:
        """Count multiply-accumulates: the coefficient times the sizes of dims."""
        self.trace.macs.append((coefficient, tuple(dims)))

    def equal_sizes(self, a: Node, b: Node) -> None:
        """State that two dimensions must keep one size, without tying their units unless nothing
        else makes it so.
        """
        self.trace.ledger.equations.append((a, b, self.place))

    def compares(self, a: Node, relation: str, b: Node) -> None:
        """State that the operator's outcome rests on this comparison of sizes, which holds now."""
        self.trace.ledger.comparisons.append((a, relation, b, True, self.place))

    # ---- indices

    def is_parameter(self, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter or a buffer itself."""
        return self.trace.is_parameter(tensor)

    def literal(self, index: Tensor) -> list[int] | None:
        """The integers of an index that stands in the source as a list; None for any other
        tensor.
        """
        return self.trace.of(index).literal

    def positions(self, index: Tensor) -> list[int] | None:
        """The values of an integer buffer that holds positions; None for any other tensor."""
        values = self.trace.value_of(index)
        if values is None or not self.is_parameter(index):
            return None
        whole = values.dtype in (torch.int64, torch.int32) and bool((values >= 0).all())
        return values.tolist() if whole else None

    def measures_positions(self, index: Tensor, node: Node) -> None:
        """State that a buffer's values are positions along a dimension, so that they thin
        with it.
        """
        name = self.trace.of(index).parameter or ""
        first, calls = self.trace.position_buffers.setdefault(name, (node, []))
        unify(first, node, Because("one buffer of positions indexes both", self.place))
        calls.append(self)

    def gives_positions(self, tensor: Tensor, dims: Sequence[Node]) -> None:
        """State that an output's values are positions along dims: whoever reads them counts on
        every unit's place.
        """
        self.trace.given_positions.extend((tensor, d, self.place) for d in dims)

    # ---- integers

    def sized(self, value: int, what: str) -> Node:
        """The dimension whose size an integer argument states: fresh if tracked, constant if a
        literal.
        """
        instead = "where it measures a dimension, read it off a shape or an attribute"
        why = Because(f"the literal or fixed {what} {int(value)}", self.place, instead)
        return dimension(value, self.trace.ledger, why)

    def integer(self, name: str) -> int:
        """An integer argument with its track, if it has one."""
        return self.integers(name)[0]

    def integers(self, name: str) -> list[int]:
        """A list of integers, each with its track; a lone integer counts as a list of one."""
        value = self[name]
        plain: list[int] = [value] if isinstance(value, int) else list(value or ())
        found = as_passed(plain, name, self._arguments[name][0], self.python)
        found = [self.trace.ledger.found(x) for x in found]
        for x in found:
            if isinstance(x, Size):
                self.trace.measured.add(id(x))
                _ = x.measured  # states what a difference that is not positive means
        return found

    def from_data(self, *values: int | None) -> bool:
        """Whether one of these integers (as `integer` gives them) came out of a tensor, so that
        other data give another.
        """
        if any(t.dim() == 0 for t in tensors_in(self.python[0][1:])):
            return True
        known = self.trace.data_values
        return any(isinstance(v, Datum) or (type(v) is int and v in known) for v in values)


# ---- what rules share


def broadcast(c: Call, rows: Sequence[Dims], shape: Sequence[int]) -> Dims:
    """The dims of tensors aligned at the right and broadcast to a shape; those that meet are
    tied.
    """
    out: Dims = []
    for i, size in enumerate(reversed(shape), 1):
        met: Node | None = None
        for row in rows:
            if len(row) >= i and find(row[-i]).size == size:
                if met is None:
                    met = row[-i]
                elif met is not row[-i]:
                    c.tie(met, row[-i])
        out.append(met if met is not None else constant(size))
    return out[::-1]


def dim_list(dims: Any, rank: int) -> list[int]:
    """Dims as positives; None or empty means all."""
    if dims is None or (isinstance(dims, tuple | list) and not dims):
        return list(range(rank))
    return [d % max(rank, 1) for d in ([dims] if isinstance(dims, int) else dims)]
