"""The operators that torch has not for tensors of no channels, and the layers that make them, for
which another class stands in.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from purethin import axes as ax
from purethin.axes import Axes
from purethin.empty import SAME, class_for
from purethin.inference.frames import Frame, innermost
from purethin.inference.nodes import Node, expression, find, leaves
from purethin.inference.rules import laws
from purethin.inference.rules.call import Call
from purethin.inference.sources import Traced
from purethin.spec import Spec

_NOT_EMPTY = ("conv", "batch_norm", "upsample", "bilinear", "grouped_mm")
"""Parts of the names of operators that fail without channels, some of them silently."""


def layers_of(traced: Traced, names: Mapping[Node, str], spec: Spec) -> Mapping[str, Layer]:
    """The modules for which a class stands in, by path, and what they take and return."""
    fixed = {n: v.size for v, n in names.items() if n not in spec.axes}
    making = {
        id(frame) for call, frame in innermost(traced.frames, traced.trace.tape) if _fails(call)
    }
    found: dict[str, tuple[str, dict[Axes, None]]] = {}
    for frame in traced.frames:
        if (name := _stand_in(traced, frame, makes=id(frame) in making)) is None:
            continue
        for t in (*frame.inputs.values(), frame.output):
            for node in traced.trace.dims_of(t) if isinstance(t, Tensor) else ():
                if names.keys() >= {*leaves(node)}:
                    expr = ax.substituted(expression(node, names.__getitem__), fixed)
                    if any(ax.names(expr)):
                        found.setdefault(frame.path, (name, {}))[1][expr] = None
    return {path: (name, tuple(sizes)) for path, (name, sizes) in found.items()}


Layer = tuple[str, tuple[Axes, ...]]
"""The class that stands in for a module, and the expressions of which one must be empty."""


def unable(traced: Traced) -> list[Call]:
    """The calls that fail for tensors of no channels, and no layer that has a stand-in makes."""
    frames = innermost(traced.frames, traced.trace.tape)
    done = {id(call) for call, frame in frames if _stand_in(traced, frame, makes=True)}
    return [
        call
        for call in traced.trace.tape
        if isinstance(call.law, laws.Recurrent | laws.WeightNormed)
        or (_fails(call) and id(call) not in done)
    ]


def _fails(call: Call) -> bool:
    return any(part in call.name for part in _NOT_EMPTY)


def _stand_in(traced: Traced, frame: Frame, *, makes: bool) -> str | None:
    """The class for a module: that of torch's own layer; for any other that makes such a call, and
    returns what has the dims of what it takes, one that gives that.
    """
    if (name := class_for(frame.module)) is not None or not makes:
        return name
    inputs = [*frame.inputs.values()]
    if frame.output is None or len(inputs) != 1:
        return None
    taken, given = ([*map(find, traced.trace.dims_of(t))] for t in (inputs[0], frame.output))
    once = sum(f.path == frame.path for f in traced.frames) == 1
    return SAME if taken == given and once else None
