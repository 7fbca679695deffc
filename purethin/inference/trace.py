"""What one abstract forward leaves: the dims of every tensor, the tape of calls, and what their
rules stated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, UntypedStorage

from purethin.inference.ledger import Ledger
from purethin.inference.nodes import Node, constant
from purethin.inference.places import Place

if TYPE_CHECKING:
    from purethin.inference.rules.call import Call

Dims = list[Node]
"""A tensor's dimensions, one node each."""

Python = tuple[tuple[Any, ...], dict[str, Any]]
"""The arguments of a call of Python's, where integers still carry their track."""


@dataclass(eq=False, slots=True)
class Seen:
    """What is known of one tensor. It holds the tensor, so that no other gets its id.

    `value`: its shadow value. `parameter`: its name, if it is a parameter or buffer. `literal`: the
    list that it was in the source. `twin`: its stand-in on meta.
    """

    tensor: Tensor
    dims: Dims | None = None
    value: Tensor | None = None
    parameter: str | None = None
    literal: list[int] | None = None
    twin: Tensor | None = None


@dataclass(eq=False, repr=False)
class Trace:
    """One forward. `python`, `measured`: the call of Python's that runs now, and the sizes that
    rules read in it. `counted`: the outputs of operators with MACs, each entry's bytes before its
    dims. `read`: the tensors out of which Python took a number. `own`, `overwritten`:
    real memory that the trace made, and other memory that the forward wrote to, as it was.
    """

    meta: bool
    ledger: Ledger = field(default_factory=Ledger)
    tape: list[Call] = field(default_factory=list)
    ties: list[tuple[Node, Place]] = field(default_factory=list)
    macs: list[tuple[int, tuple[Node, ...]]] = field(default_factory=list)
    counted: list[tuple[int, tuple[Node, ...]]] = field(default_factory=list)
    roles: list[tuple[Node, str]] = field(default_factory=list)
    deferred: list[tuple[Call, Callable[[], object]]] = field(default_factory=list)
    read: list[Tensor] = field(default_factory=list)
    given_positions: list[tuple[Tensor, Node, Place]] = field(default_factory=list)
    position_buffers: dict[str, tuple[Node, list[Call]]] = field(default_factory=dict)
    producers: dict[tuple[str, int], None] = field(default_factory=dict)
    unknown: dict[str, Place] = field(default_factory=dict)
    sources: set[int] = field(default_factory=set)
    data_values: set[int] = field(default_factory=set)
    measured: set[int] = field(default_factory=set)
    python: Python = ((), {})
    seen: dict[int, Seen] = field(default_factory=dict)
    own: set[int] = field(default_factory=set)
    overwritten: dict[int, tuple[UntypedStorage, UntypedStorage]] = field(default_factory=dict)

    def of(self, tensor: Tensor) -> Seen:
        """What is known of a tensor."""
        found = self.seen.get(id(tensor))
        if found is None:
            found = self.seen[id(tensor)] = Seen(tensor)
        return found

    def has_dims(self, tensor: Tensor) -> bool:
        return (found := self.seen.get(id(tensor))) is not None and found.dims is not None

    def dims_of(self, tensor: Tensor) -> Dims:
        """A tensor's dims; those of one that the trace did not see being made are fixed."""
        found = self.seen.get(id(tensor)) or self.of(tensor)
        if found.dims is None:
            why = "a tensor that is neither parameter nor buffer"
            found.dims = [constant(s, why) for s in tensor.shape]
        return found.dims

    def value_of(self, tensor: Tensor) -> Tensor | None:
        """The shadow value of a tensor, if it has one."""
        found = self.seen.get(id(tensor))
        return None if found is None else found.value

    def has_values(self, tensors: Sequence[Tensor]) -> bool:
        """Whether all of these have shadow values."""
        for t in tensors:
            if (found := self.seen.get(id(t))) is None or found.value is None:
                return False
        return True

    def makes(self, tensors: Iterable[Tensor], out_of: Iterable[Tensor] = ()) -> None:
        """Note the real memory of new tensors, unless it is that of what they are made out of."""
        if made := {memory_of(t) for t in tensors if _is_real(t)}:
            self.own |= made - set(map(memory_of, out_of))

    def overwrites(self, tensors: Iterable[Tensor]) -> None:
        """Keep real memory that is not the trace's own as it is, before it is written to."""
        for t in tensors:
            if not _is_real(t) or (key := memory_of(t)) in self.own or key in self.overwritten:
                continue
            memory = t.untyped_storage()
            self.overwritten[key] = memory, memory.clone()

    def is_parameter(self, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter or a buffer itself."""
        return self.of(tensor).parameter is not None


def memory_of(t: Tensor) -> int:
    """What tensors that share memory have in common, and is no id; a sparse one shares none."""
    return -(t.untyped_storage()._cdata if t.layout == torch.strided else id(t))


def _is_real(t: Tensor) -> bool:
    """Whether a tensor has memory that others may share."""
    return not t.is_meta and t.layout == torch.strided
