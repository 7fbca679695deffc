"""How many examples the example input holds: its leading size, where that is a batch.

It is one where all inputs and outputs lead with it, no parameter carries it, and no call mixes its
entries, as attention over a sequence does.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from purethin.inference.nodes import Node, find
from purethin.inference.rules import Call
from purethin.inference.rules.laws import (
    Attended,
    Contracted,
    Mixed,
    Normalised,
    Recurrent,
    Summed,
    dim_of,
)
from purethin.inference.trace import Trace


def batch_of(
    trace: Trace,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    named: Sequence[Tensor],
    calls: Sequence[Call],
) -> int:
    """The number of examples in a batch, 0 where it is not evident.

    Args:
        trace: what the forward left.
        inputs: the example's tensors, as the trace knows them.
        outputs: what the forward made of them.
        named: the parameters.
        calls: those that an output depends on.
    """
    leading = [t for t in inputs if t.dim() and t.shape[0] != 1]
    sizes = {t.shape[0] for t in leading}
    if not sizes:
        return 1
    made = [t for t in outputs if t.dim()]
    if len(sizes) > 1 or not made or {t.shape[0] for t in made} != sizes:
        return 0
    own = {find(d) for t in named for d in trace.dims_of(t)}
    if any(find(trace.dims_of(t)[0]) in own for t in made):
        return 0
    lead = {find(trace.dims_of(t)[0]) for t in leading}
    return 0 if any(_mixes(call, lead) for call in calls) else sizes.pop()


def _mixes(call: Call, lead: set[Node]) -> bool:
    """Whether an entry of the output depends on several entries along a leading dim."""

    def along(tensor: Tensor, dim: int) -> bool:
        dims = call.dims(tensor)
        return -len(dims) <= dim < len(dims) and find(dims[dim]) in lead

    match law := call.law:
        case Contracted():
            rows = ((t, row, label) for t, row in law.operands for label in row)
            held = {x for t, row, x in rows if x != "groups" and along(t, dim_of(x, row))}
            return len(held) > 1 or not held <= {*law.out} - {*law.slid}
        case Attended():
            return along(law.query, -2) and along(law.key, -2)
        case Recurrent():
            return along(law.source, 0) and call.get("batch_first") is False
        case Mixed() | Summed() | Normalised():
            return any(along(call.tensors[0], dim) for dim in law.dims)
    return False
