"""The operators of a forward, each told by the parameter that it meets: `linear fc2.weight 0`.

Inference names calls by `Calls` while it traces, a measurement while it runs; so both mean the same
call, whatever modules made it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from purethin.tree import tensors_in


class Calls:
    """The names of the calls of one forward, as they come.

    A tensor that is made of parameters alone (a view, a part, a normed weight) counts as the first
    of these. Invariant: it holds every tensor that it knows, so that no other gets its id.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._made: dict[int, tuple[tuple[str, ...], Tensor]] = {}
        self._counts: Counter[str] = Counter()
        for name, tensor in parameters.items():
            self._made.setdefault(id(tensor), ((name,), tensor))

    def made_of(self, tensor: Tensor) -> tuple[str, ...]:
        """The parameters that a tensor is made of alone; none for data."""
        return self._made[id(tensor)][0] if id(tensor) in self._made else ()

    def name(self, op: Any, tensors: Sequence[Tensor], outs: Sequence[Any]) -> str | None:
        """The name of the call that comes next; None where it reads parameters alone."""
        made = [of for t in tensors if (of := self.made_of(t))]
        if made and len(made) == len(tensors):
            parameters = tuple(dict.fromkeys(name for of in made for name in of))
            for o in outs:
                self._made.setdefault(id(o), (parameters, o))
            return None
        operator = op._schema.name.split("::")[1].removesuffix("_")
        kind = f"{operator} {made[0][0]}" if made else operator
        self._counts[kind] += 1
        return f"{kind} {self._counts[kind] - 1}"


Seen = Callable[[str, list[Tensor], list[Any], Any], None]
"""What is done with a call: its name, its tensors, what it returns, its operator's arguments."""


class _Operators(TorchDispatchMode):
    """Every operator, composite ones whole, as inference mode gives them."""

    def __init__(self, calls: Calls, wanted: set[str], seen: Seen) -> None:
        super().__init__()
        self.calls, self.wanted, self.seen = calls, wanted, seen

    def __torch_dispatch__(self, op: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = op(*args, **kwargs)
        tensors = tensors_in((args, kwargs))
        outs = list(out) if isinstance(out, tuple | list) else [out]
        name = self.calls.name(op, tensors, outs)
        if name in self.wanted:
            self.seen(name, tensors, outs, (op, args, kwargs))
        return out


@contextmanager
def watched(parameters: Mapping[str, Tensor], wanted: set[str], seen: Seen) -> Iterator[Calls]:
    """Show each wanted call of what runs while the block lasts, without gradients."""
    calls = Calls(parameters)
    with torch.inference_mode(), _Operators(calls, wanted, seen):
        yield calls
