"""Factories: tensors made from sizes. What they hold decides: zeros are silent, a range depends on
the position.
"""

from __future__ import annotations

from purethin.inference.nodes import constant
from purethin.inference.rules.call import Call, Dims, rule
from purethin.inference.rules.laws import Made


def _sized(c: Call) -> Dims:
    return [c.sized(s, "size") for s in c.integers("size")]


@rule(
    "zeros new_zeros ones new_ones full new_full empty new_empty empty_strided new_empty_strided",
    "scalar_tensor tensor _efficientzerotensor",
    law=lambda c: Made(zero="zero" in c.name or "empty" in c.name),
)
def uniform(c: Call) -> Dims:
    """One dim per size; every entry is the same. What is empty will be written before it is read:
    it counts as zero.
    """
    return _sized(c) if c.shape else []


@rule("zeros_like empty_like", law=Made(zero=True))
def zeros_like(c: Call) -> Dims:
    """out = x's dims."""
    return c.dims()


@rule(
    "rand randn randint rand_like randn_like randint_like bernoulli normal uniform exponential",
    law=lambda c: Made(positional=tuple(range(len(c.shape))), what="random numbers"),
)
def random(c: Call) -> Dims:
    """One dim per size; every entry differs."""
    return _sized(c) if c.get("size") is not None else c.dims()


@rule(
    "arange range linspace logspace randperm",
    "hann_window hamming_window blackman_window bartlett_window",
    law=lambda c: Made(positional=(0,), what=f"the positions of an {c.name}"),
)
def positions(c: Call) -> Dims:
    """One dim, whose values depend on the position: inexact where it is an axis."""
    ranged = c.name in ("arange", "range") and isinstance(c.get("end"), int)
    if ranged and (count := _counted(c)) is not None:
        return [c.sized(count, "size")]
    sizes = ("steps", "n", "window_length", "end")
    name = next((n for n in sizes if isinstance(c.get(n), int)), None)
    from_zero = name != "end" or (c.get("start") in (None, 0) and c.get("step") in (None, 1))
    if name is None or int(c[name]) != c.shape[0] or not from_zero:
        return [c.fixed(c.shape[0], f"an {c.name}")]
    return [c.sized(c.integer(name), "size")]


def _counted(c: Call) -> int | None:
    """The number of a range's entries, with its track, where the step divides them."""
    end = c.integer("end")
    start = c.integer("start") if isinstance(c.get("start"), int) else 0
    step = int(c["step"]) if isinstance(c.get("step"), int) else 1
    span = end - start if int(start) else end
    return (span // step if step > 1 else span) if step > 0 and int(span) % step == 0 else None


@rule("eye", law=Made(zero=False))
def eye(c: Call) -> Dims:
    """Two dims of the sizes; the same unit meets itself, whichever are left."""
    m, rows = c.get("m"), c.sized(c.integer("n"), "size")
    if m is not None and int(m) != int(c["n"]):
        c.freeze("an identity that is not square", rows)
        return [rows, c.fixed(int(m), "an identity that is not square")]
    return [rows, rows] if c.shape[0] > 1 else [constant(1), constant(1)]
