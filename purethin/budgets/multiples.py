"""What runtimes need of widths, and the multiples by axis that give it.

A runtime looks at the dims of a weight, an axis is only a part of one: `heads 64` is a multiple of
128 where the heads are even. So the need of a dim is shared out among the axes it is made of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from math import gcd, lcm, prod

from purethin import axes as ax
from purethin.arguments import explained
from purethin.axes import Axes, Fixed, Name, Product, Sum
from purethin.budgets.latency import LatencyTable
from purethin.errors import SpecError, nearest
from purethin.notation import parse
from purethin.spec import Spec


@dataclass(frozen=True)
class Needs:
    """What a runtime needs of widths; 1 where it takes any.

    Attributes:
        channels: filters and channels of a convolution are multiples of this.
        inputs: the width that a matrix sums over (a linear layer's `in_features`) is one.
        otherwise: what happens to a layer of another width.
    """

    channels: int = 1
    inputs: int = 1
    otherwise: str = ""


_PLAIN = "the convolution leaves the blocked layout and can take longer than the dense one"
_STEPS = "time falls in steps of 8 channels: below a step nothing is won"
_FLOAT = "the layer stays in floating point, without a word"
_WIDER = "the row takes a type of more bits, or float16: the file can be larger than the dense one"

RUNTIMES: Mapping[str, Needs] = {
    "eager": Needs(channels=8, otherwise=_STEPS),
    "torch.compile": Needs(channels=8, otherwise=_STEPS),
    "aotinductor": Needs(channels=8, otherwise=_STEPS),
    "onnxruntime": Needs(channels=8, otherwise=_PLAIN),
    "onnxruntime int8": Needs(channels=8, otherwise=_STEPS),
    "openvino": Needs(channels=8, otherwise=_STEPS),
    "executorch": Needs(),
    "torchao int8": Needs(channels=8, otherwise=_STEPS),
    "torchao int4": Needs(inputs=128, otherwise=_FLOAT),
    "gguf": Needs(inputs=32, otherwise=_WIDER),
    "gguf k": Needs(inputs=256, otherwise=_WIDER),
}
"""By runtime; `gguf k` are llama.cpp's K quants. Measured in docs/deploy.md."""


@explained
def round_for(runtime: str | Needs | LatencyTable, spec: Spec) -> dict[str, int]:
    """The multiples by axis that suit a runtime: what `select` and `solve` take as `round_to`.

    Args:
        runtime: one of `purethin.budgets.multiples.RUNTIMES`, or what it needs, as `Needs`; or a
            table of latencies, which knows the multiples that were fast.
        spec: the dense network's spec. Inexact axes are taken to keep their size where an exact
            one can give what is needed.

    Returns:
        `{axis: multiple}`; an axis that may keep any number is left out. Where each of these axes
        keeps a multiple, or all, each dim that the runtime looks at is a multiple of what it needs,
        if the dense one is; but for dims that are reindexed.

    Raises:
        SpecError: no such runtime, or a table of another network.

    >>> import torch
    >>> params = {"up": torch.zeros(512, 128), "down": torch.zeros(128, 512)}
    >>> spec = Spec.from_layout({"up": "(heads 64) width", "down": "width (heads 64)"}, params)
    >>> round_for("torchao int4", spec)
    {'heads': 2, 'width': 128}
    """
    steps, dims = dict.fromkeys(spec.axes, 1), [*_looked_at(runtime, spec)]
    for expr, multiple in dims:
        _share_out(expr, multiple, spec, steps)
    for expr, multiple in dims:
        for name in ax.names(expr) if ax.size(expr, spec.sizes) % multiple == 0 else ():
            if spec.sizes[name] % steps[name]:  # all of it is no multiple: it keeps just that
                steps[name] = spec.sizes[name]
    return {name: step for name, step in steps.items() if step > 1}


def _looked_at(runtime: str | Needs | LatencyTable, spec: Spec) -> Iterator[tuple[Axes, int]]:
    """The dims that a runtime looks at, each with the multiple that it must be of."""
    if isinstance(runtime, LatencyTable):
        runtime.check_fits(spec)
        for layer in runtime.layers:
            yield from ((parse(dim), layer.multiple) for group in layer.widths for dim in group)
        return
    needs = runtime if isinstance(runtime, Needs) else RUNTIMES.get(str(runtime).lower())
    if needs is None:
        raise SpecError(f"no runtime is known as '{runtime}'; {nearest(str(runtime), RUNTIMES)}")
    yield from _dims(spec, needs)


def _dims(spec: Spec, needs: Needs) -> Iterator[tuple[Axes, int]]:
    """The dims of convolutions, and those that matrices sum over."""
    made = {place for axis in spec.axes.values() for place in axis.producers}
    called = {place[0] for site in spec.sites if "conv" in site.call for place in site.weights}
    for name, dims in spec.layout.items():
        if name in spec.buffers or len(dims) < 2:
            continue
        if len(dims) > 3 or name in called:
            yield from ((dim, needs.channels) for dim in dims[:2])
        elif len(dims) == 2:
            yield from ((d, needs.inputs) for i, d in enumerate(dims) if (name, i) not in made)


def _share_out(expr: Axes, multiple: int, spec: Spec, steps: dict[str, int]) -> None:
    """Raise the steps of an expression's axes until it is a multiple."""
    match expr:
        case Name(name):
            steps[name] = lcm(steps[name], multiple)
        case Sum(terms):
            for term, count in Counter(terms).items():
                alike = count if len({*terms}) == 1 else 1
                _share_out(term, multiple // gcd(multiple, alike), spec, steps)
        case Product(factors):
            free = [f for f in factors if any(spec.axes[n].exact for n in ax.names(f))]
            free = free or [f for f in factors if any(ax.names(f))]
            fixed = prod(ax.size(f, spec.sizes) for f in factors if f not in free)
            short = multiple // gcd(multiple, fixed)
            while free and (lacks := short // gcd(short, _sure(free, spec, steps))) > 1:
                part = next(p for p in range(2, lacks + 1) if lacks % p == 0)
                first = max(free, key=lambda f: _room(f, part, spec, steps))
                before = _divisor(first, spec, steps)
                _share_out(first, before * part, spec, steps)
                if _divisor(first, spec, steps) == before:  # a sum with a fixed term, a take
                    free.remove(first)


def _room(expr: Axes, part: int, spec: Spec, steps: Mapping[str, int]) -> tuple[bool, float]:
    """How little it costs to ask more of a factor: whether its size allows it, and how many steps
    it has.
    """
    size, sure = ax.size(expr, spec.sizes), _divisor(expr, spec, steps)
    return size % (sure * part) == 0, size / sure


def _sure(factors: list[Axes], spec: Spec, steps: Mapping[str, int]) -> int:
    return prod(_divisor(f, spec, steps) for f in factors)


def _divisor(expr: Axes, spec: Spec, steps: Mapping[str, int]) -> int:
    """What divides an expression's size at every width that the steps allow."""
    match expr:
        case Fixed(number):
            return number
        case Name(name):
            return gcd(steps[name], spec.sizes[name])
        case Product(factors):
            return prod(_divisor(f, spec, steps) for f in factors)
        case Sum(terms):
            alike = len(terms) if len({*terms}) == 1 else 1
            return alike * reduce(gcd, (_divisor(t, spec, steps) for t in terms))
    return 1
