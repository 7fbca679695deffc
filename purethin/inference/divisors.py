"""Which norm divides a call's output: the one that reads the sum into which it goes, along a
residual stream or at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from torch import Tensor

from purethin.inference.rules import laws
from purethin.inference.rules.call import Call
from purethin.records import Norm

Told = Sequence[tuple[Call, str]]
"""The calls of a trace, in order, each with its name."""


class Norms:
    """The norms of a trace, asked for call by call."""

    def __init__(self, told: Told, made_of: Callable[[Tensor], object]) -> None:
        self.told, self.made_of = told, made_of
        self.readers: dict[int, dict[int, int]] = {}
        for i, (call, _) in enumerate(told):
            for k, t in enumerate(call.tensors):
                self.readers.setdefault(id(t), {}).setdefault(i, k)

    def after(self, index: int) -> Norm | None:
        """The first norm over the last dim that reads the output of a call, or a sum that it goes
        into.
        """
        out = self.told[index][0].outs[0]
        ways = [(i, id(out)) for i in self.readers.get(id(out), ()) if i > index]
        heapq.heapify(ways)
        seen = {i for i, _ in ways}
        while ways:
            i, source = heapq.heappop(ways)
            call, name = self.told[i]
            operand = self.readers[source][i]
            if (centred := self._divides(call, operand)) is not None:
                return Norm(name, operand, centred)
            if self._goes_on(call, operand):
                for later in self.readers.get(id(call.outs[0]), ()):
                    if later > i and later not in seen:
                        seen.add(later)
                        heapq.heappush(ways, (later, id(call.outs[0])))
        return None

    def _divides(self, call: Call, operand: int) -> bool | None:
        """Whether the mean is taken off before, of a norm that divides each position; None of any
        other call.
        """
        law, last = call.law, call.tensors[operand].dim() - 1
        if isinstance(law, laws.Normalised):
            whole = operand == 0 and law.dims == (last,) and law.within is None
            return "RMS" not in law.what if whole else None
        if isinstance(law, laws.Mixed) and call.name in ("var", "std", "var_mean", "std_mean"):
            return True if law.dims == (last,) else None
        if call.name in ("pow", "square", "mul") and self._is_square(call):
            over = (self.told[i][0] for i in self.readers.get(id(call.outs[0]), {}))
            means = (c.law for c in over if c.name == "mean")
            return (
                False
                if any(isinstance(m, laws.Mixed) and m.dims == (last,) for m in means)
                else None
            )
        return None

    @staticmethod
    def _is_square(call: Call) -> bool:
        if call.name == "mul":
            return len(call.tensors) == 2 and call.tensors[0] is call.tensors[1]
        return call.name == "square" or call.get("exponent") == 2

    def _goes_on(self, call: Call, operand: int) -> bool:
        """Whether the output is the tensor plus another, or the tensor as it is or scaled by
        parameters, position for position.
        """
        out, source = call.outs[0], call.tensors[operand]
        if not isinstance(out, Tensor) or source.shape != out.shape:
            return False
        if isinstance(call.law, laws.Moved):
            return call.name not in _SHUFFLES
        if call.name == "mul":
            others = [t for t in call.tensors if t is not source]
            return bool(others) and all(map(self.made_of, others))
        return call.name in ("add", "sub")


_SHUFFLES = frozenset(
    ["roll", "flip", "permute", "transpose", "index_select", "gather", "take_along_dim"]
)
"""What moves positions about though the shape may stay."""
