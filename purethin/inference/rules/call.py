"""One operator call as a rule sees it, and the registry of rules.

A rule is a function of a `Call` that unifies dimensions and returns the output's; the first
docstring line states the law.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor
from torch._ops import OpOverload

from purethin.inference.places import Because, Place
from purethin.inference.rules.laws import Law, Opaque
from purethin.inference.sizes import Datum, Ledger, Size
from purethin.inference.solver import Node, constant, find, freeze, total, unify, variable

Dims = list[Node]
Rule = Callable[["Call"], "Dims | tuple[Dims, ...] | None"]

RULES: dict[str, tuple[Rule, Law]] = {}
"""From an operator's name (`linear`, or `library::name` outside aten) to its rule and default law.
"""


def rule(*names: str, law: Law | None = None) -> Callable[[Rule], Rule]:
    """Register a rule for operators: what each implies about its dimensions.

    Args:
        names: aten's names without namespace and overload (`"linear"`), others in full
            (`"mylib::scale"`).
        law: how values behave (a class of `purethin.inference.rules.laws`); without it, the axes
            that pass are inexact.

    Returns:
        A decorator for a function of a `Call` that returns the output's dims (a list; a tuple of
        lists for several outputs).

    >>> @rule("mylib::scale", law=None)
    ... def scale(c):
    ...     "out = x's dims."
    ...     return c.dims(c["x"])
    """

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = (
                function,
                law or Opaque(f"the operator {name}, whose rule states no law,"),
            )
        return function

    return register


class Call:
    """One call of an operator: its arguments by schema name, outputs, dims, and what may be said of
    them.
    """

    def __init__(
        self,
        op: OpOverload,
        name: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        out: Any,
        at: Place,
        trace: TraceState,
        python_args: tuple[Any, ...],
        python_kwargs: dict[str, Any],
        law: Law,
    ) -> None:
        self.op, self.name, self.out, self.place, self.law = op, name, out, at, law
        self.positional, self.keywords = args, kwargs
        self.python_args, self.python_kwargs = python_args, python_kwargs
        self._trace = trace

    # ---- arguments

    def __getitem__(self, name: str) -> Any:
        """The argument of this schema name, its default where none was given."""
        for i, a in enumerate(self.op._schema.arguments):
            if a.name == name:
                return self._at(i, a)
        raise KeyError(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The argument of this schema name, or `default` where the operator has none of that
        name.
        """
        try:
            return self[name]
        except KeyError:
            return default

    def _at(self, i: int, a: Any) -> Any:
        if i < len(self.positional):
            return self.positional[i]
        return self.keywords.get(a.name, a.default_value if a.has_default_value() else None)

    @cached_property
    def tensors(self) -> list[Tensor]:
        """Every tensor among the arguments, lists opened, in order."""
        return list(tensors_in((self.positional, self.keywords)))

    @property
    def outs(self) -> list[Any]:
        """The outputs as a list."""
        return list(self.out) if isinstance(self.out, tuple | list) else [self.out]

    @property
    def shape(self) -> list[int]:
        """The first output's shape."""
        return list(self.outs[0].shape)

    # ---- dimensions

    def dims(self, tensor: Tensor) -> Dims:
        """A tensor's dimensions, a list of its own."""
        return list(self._trace.dims_of(tensor))

    def unify(self, a: Node, b: Node) -> None:
        """State that two dimensions are the same."""
        unify(a, b, self.place)

    def tie(self, a: Node, b: Node) -> None:
        """As `unify`, and keep the line for messages: this is where two tensors meet."""
        if find(a) is not find(b):
            self._trace.ties.append((a, self.place))
            unify(a, b, self.place)

    def freeze(self, n: Node, what: str) -> None:
        """State that a dimension cannot be pruned, and why."""
        if find(n).kind != "constant":
            freeze(n, Because(what, self.place))

    def from_data(self, *values: int | None) -> bool:
        """Whether one of these integers (as `integer` gives them) came out of a tensor, so that
        other data give another.
        """
        if any(isinstance(t, Tensor) and t.dim() == 0 for t in tensors_in(self.python_args[1:])):
            return True
        return any(
            isinstance(v, Datum) or (type(v) is int and v in self._trace.data_values)
            for v in values
        )

    def picked(self, node: Node, positions: Sequence[int]) -> Node:
        """The dimension of units picked at literal positions: what stands before them (or after
        negative ones) must stay.
        """
        n, what = find(node).size, f"the index {', '.join(map(str, positions))}"
        behind = all(p < 0 for p in positions)
        fixed = max(-p if behind else p + 1 for p in positions)
        if (
            fixed >= n
            or self.from_data(*positions)
            or not (behind or all(p >= 0 for p in positions))
        ):
            self.freeze(node, what)
        else:
            parts = [self.fixed(fixed, what), variable(n - fixed)]
            self.unify(node, total(parts[::-1] if behind else parts))
        return self.fixed(len(positions), what)

    def if_needed(self, state: Callable[[], object]) -> None:
        """State something at the end, if an output depends on this call's values (and not on its
        shape alone).
        """
        self._trace.deferred.append((self, state))

    def fixed(self, size: int, what: str) -> Node:
        """A dimension of constant size, with its reason."""
        return constant(size, Because(what, self.place))

    def produces(self, tensor: Tensor, dim: int) -> None:
        """State that this tensor, if a parameter, makes the values along its dim."""
        self._trace.produced(tensor, dim)

    def called(self, node: Node, role: str) -> None:
        """Give a dimension the name of its part in the operator, for an axis that nothing else
        names.
        """
        self._trace.roles.append((node, role))

    def is_parameter(self, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter or a buffer itself."""
        return self._trace.is_parameter(tensor)

    def literal(self, index: Tensor) -> list[int] | None:
        """The integers of an index that stands in the source as a list; None for any other
        tensor.
        """
        return self._trace.literals.get(id(index))

    def costs(self, coefficient: int, dims: Sequence[Node]) -> None:
        """Count multiply-accumulates: the coefficient times the sizes of dims."""
        self._trace.macs.append((coefficient, tuple(dims)))

    def equal_sizes(self, a: Node, b: Node) -> None:
        """State that two dimensions must keep one size, without tying their units unless nothing
        else makes it so.
        """
        self._trace.ledger.equations.append((a, b, self.place))

    def compares(self, a: Node, relation: str, b: Node) -> None:
        """State that the operator's outcome rests on this comparison of sizes, which holds now."""
        self._trace.ledger.comparisons.append((a, relation, b, True, self.place))

    def positions(self, index: Tensor) -> list[int] | None:
        """The values of an integer buffer that holds positions; None for any other tensor."""
        return self._trace.positions_in(index)

    def measures_positions(self, index: Tensor, node: Node) -> None:
        """State that a buffer's values are positions along a dimension, so that they thin
        with it.
        """
        self._trace.position_buffer(index, node, self)

    def gives_positions(self, tensor: Tensor, dims: Sequence[Node]) -> None:
        """State that an output's values are positions along dims: whoever reads them counts on
        every unit's place.
        """
        self._trace.given_positions.extend((tensor, d, self.place) for d in dims)

    # ---- integers

    def sized(self, value: int, what: str) -> Node:
        """The dimension whose size an integer argument states: fresh if tracked, constant if a
        literal.
        """
        return self._trace.ledger.dimension(
            value, Because(f"the literal or fixed {what} {int(value)}", self.place)
        )

    def integer(self, name: str) -> int:
        """An integer argument with its track, if it has one."""
        return self.integers(name)[0]

    def integers(self, name: str) -> list[int]:
        """A list of integers, each with its track; a lone integer counts as a list of one."""
        value = self[name]
        found = self._tracked(name, [value] if isinstance(value, int) else list(value or ()))
        self._trace.measured.update(id(x) for x in found if isinstance(x, Size))
        return found

    def _tracked(self, name: str, plain: list[int]) -> list[int]:
        """What the caller passed in Python for this argument, found by name, by position, else by
        value.
        """
        i = next(
            (i for i, a in enumerate(self.op._schema.arguments) if a.name == name),
            len(self.python_args),
        )
        tail = _flat(self.python_args[i:])
        for given in (_flat([self.python_kwargs.get(name, ())]), tail[: len(plain)]):
            if given and _same(given, plain):
                return given
        everything = _flat([self.python_args, self.python_kwargs])
        n = len(plain)
        if n > 1:
            for start in range(len(everything) - n, -1, -1):
                if _same(everything[start : start + n], plain):
                    return everything[start : start + n]
        return [self._by_value(v, everything) for v in plain]

    def _by_value(self, value: int, everything: list[int]) -> int:
        """The only tracked integer of this value that the caller passed, else the value."""
        if datum := next((x for x in everything if isinstance(x, Datum) and x == value), None):
            return datum
        found = {find(x.node): x for x in everything if isinstance(x, Size) and int(x) == value}
        literal = any(not isinstance(x, Size) and x == value for x in everything)
        return next(iter(found.values())) if len(found) == 1 and not literal else value


class TraceState:
    """What a trace offers to rules. (The trace itself is in `purethin.inference.trace`.)"""

    ledger: Ledger
    ties: list[tuple[Node, Place]]
    macs: list[tuple[int, tuple[Node, ...]]]
    measured: set[int]
    roles: list[tuple[Node, str]]
    literals: dict[int, list[int]]
    data_values: set[int]
    given_positions: list[tuple[Tensor, Node, Place]]
    deferred: list[tuple[Call, Callable[[], object]]]

    def is_parameter(self, tensor: Tensor) -> bool:
        raise NotImplementedError

    def dims_of(self, tensor: Tensor) -> Sequence[Node]:
        raise NotImplementedError

    def produced(self, tensor: Tensor, dim: int) -> None:
        raise NotImplementedError

    def positions_in(self, index: Tensor) -> list[int] | None:
        raise NotImplementedError

    def position_buffer(self, index: Tensor, node: Node, call: Call) -> None:
        raise NotImplementedError


def tensors_in(tree: Any) -> list[Tensor]:
    """The tensors among (nested lists, tuples and dicts of) arguments."""
    out: list[Tensor] = []
    stack = [tree]
    while stack:
        x = stack.pop()
        if isinstance(x, Tensor):
            out.append(x)
        elif isinstance(x, tuple | list):
            stack.extend(reversed(x))
        elif isinstance(x, dict):
            stack.extend(reversed(list(x.values())))
    return out


def broadcast(c: Call, rows: Sequence[Dims], shape: Sequence[int]) -> Dims:
    """The dims of tensors aligned at the right and broadcast to a shape; those that meet are
    tied.
    """
    out: Dims = []
    for i in range(1, len(shape) + 1):
        met: Node | None = None
        for row in rows:
            if len(row) >= i and find(row[-i]).size == shape[-i]:
                if met is None:
                    met = row[-i]
                else:
                    c.tie(met, row[-i])
        out.append(met if met is not None else constant(shape[-i]))
    return out[::-1]


def dim_list(dims: Any, rank: int) -> list[int]:
    """Dims as positives; None or empty means all."""
    if dims is None or (isinstance(dims, tuple | list) and not dims):
        return list(range(rank))
    return [d % max(rank, 1) for d in ([dims] if isinstance(dims, int) else dims)]


def _flat(tree: Sequence[Any]) -> list[int]:
    out: list[int] = []
    for x in tree:
        if isinstance(x, int) and not isinstance(x, bool):
            out.append(x)
        elif isinstance(x, tuple | list):
            out.extend(_flat(x))
        elif isinstance(x, dict):
            out.extend(_flat(list(x.values())))
        elif isinstance(x, slice):
            out.extend(_flat([x.start, x.stop, x.step]))
    return out


def _same(given: Sequence[int], plain: Sequence[int]) -> bool:
    return [int(g) for g in given] == [int(p) for p in plain]
