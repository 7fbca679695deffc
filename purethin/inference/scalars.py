"""Pointwise operators, tried on scalars: what they make of zeros, of infinities and of the rest."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from purethin.inference.rules.call import Call
from purethin.tree import tensors_in

_SLOT = "tensor"


def with_slots(call: Call) -> tuple[Any, ...]:
    """The call's arguments with tensors replaced by their dtypes, hashable."""

    def slot(x: Any) -> Any:
        if isinstance(x, Tensor):
            return (_SLOT, x.dtype)
        if isinstance(x, list | tuple):
            return tuple(slot(y) for y in x)
        return torch.device("cpu") if isinstance(x, torch.device) else x

    return tuple(slot(x) for x in call.positional), tuple(
        (k, slot(v)) for k, v in call.keywords.items()
    )


def tried(op: OpOverload, arguments: tuple[Any, ...], pattern: tuple[str, ...]) -> str:
    """Run the operator on eight scalars per operand: is the result zero, infinite, or neither?"""
    try:
        return _tried(op, arguments, pattern)
    except TypeError:  # an argument that cannot be hashed
        return _tried.__wrapped__(op, arguments, pattern)


def culprits(op: OpOverload, arguments: tuple[Any, ...], pattern: tuple[str, ...]) -> list[int]:
    """The operands whose zeros make the result infinite: one that does so alone, else all of them.

    >>> culprits(torch.ops.aten.div.Tensor, (((_SLOT, torch.float32),) * 2, ()), ("zero", "zero"))
    [1]
    """
    zeros = [i for i, state in enumerate(pattern) if state == "zero"]
    for i in zeros:
        without = (*pattern[:i], "finite", *pattern[i + 1 :])
        if tried(op, arguments, without) != "infinite":
            return [i]
    return zeros


def homogeneous(op: OpOverload, arguments: tuple[Any, ...], operands: tuple[int, ...]) -> bool:
    """Whether a factor (not negative) on these operands is a factor on the result.

    >>> of_one = (((_SLOT, torch.float32),), ())
    >>> homogeneous(torch.ops.aten.relu.default, of_one, (0,))
    True
    >>> homogeneous(torch.ops.aten.gelu.default, of_one, (0,))
    False
    """
    try:
        return _homogeneous(op, arguments, operands)
    except TypeError:  # an argument that cannot be hashed
        return _homogeneous.__wrapped__(op, arguments, operands)


@functools.lru_cache(maxsize=4096)
def _homogeneous(op: OpOverload, arguments: tuple[Any, ...], operands: tuple[int, ...]) -> bool:
    slots = tensors_count(arguments)
    pattern, half = ("finite",) * slots, tuple(0.5 if i in operands else 1.0 for i in range(slots))
    whole = _result(op, arguments, pattern, signed=True)
    halved = _result(op, arguments, pattern, signed=True, factors=half)
    if whole is None or halved is None or not bool(torch.isfinite(whole).all()):
        return False
    return bool(whole.any()) and torch.allclose(halved, whole / 2, rtol=1e-9, atol=1e-12)


def tensors_count(arguments: Any) -> int:
    """How many tensors the arguments that `with_slots` gave have."""
    if isinstance(arguments, tuple) and len(arguments) == 2 and arguments[0] is _SLOT:
        return 1
    return sum(map(tensors_count, arguments)) if isinstance(arguments, tuple) else 0


@functools.lru_cache(maxsize=4096)
def _tried(op: OpOverload, arguments: tuple[Any, ...], pattern: tuple[str, ...]) -> str:
    positive, mixed = (_result(op, arguments, pattern, signed=s) for s in (False, True))
    if positive is None or mixed is None:
        return "infinite"
    if not torch.isfinite(
        positive
    ).all():  # unless it is so without any removed unit, as where a mask is filled with -inf
        usual = _result(op, arguments, ("finite",) * len(pattern), signed=False)
        if (
            usual is None
            or "infinite" in pattern
            or (torch.isfinite(usual) & ~torch.isfinite(positive)).any()
        ):
            return "infinite"
    if "zero" not in pattern:
        return "finite"
    finite = mixed[torch.isfinite(mixed)]
    return "zero" if not positive.any() and not finite.any() else "finite"


def _result(
    op: OpOverload,
    arguments: tuple[Any, ...],
    pattern: tuple[str, ...],
    *,
    signed: bool,
    factors: tuple[float, ...] = (),
) -> Tensor | None:
    states, times = iter(pattern), iter(factors)
    seed = torch.Generator().manual_seed(len(pattern))

    def scalar(x: Any) -> Any:
        if not (isinstance(x, tuple) and len(x) == 2 and x[0] is _SLOT):
            return [scalar(y) for y in x] if isinstance(x, tuple) else x
        dtype = x[1]
        values = _values(next(states), dtype, seed, signed=signed) * next(times, 1.0)
        return (
            values.to(dtype if dtype.is_complex else torch.float64)
            if dtype.is_floating_point or dtype.is_complex
            else (values * (3 if signed else 1)).ceil().nan_to_num(7, 7, -7).to(dtype)
        )

    args, kwargs = [scalar(x) for x in arguments[0]], {k: scalar(v) for k, v in arguments[1]}
    try:
        with torch.no_grad(), torch.inference_mode(False):
            out = op(*args, **kwargs)
    except Exception:  # whatever the operator has against scalars, nothing is known of it then
        return None
    first = tensors_in(out)
    if not first:
        return None
    return first[0].abs().to(torch.float64) if first[0].is_complex() else first[0].to(torch.float64)


def _values(state: str, dtype: torch.dtype, seed: torch.Generator, *, signed: bool) -> Tensor:
    """Eight numbers for an operand in this state."""
    values = torch.rand(8, generator=seed, dtype=torch.float64, device="cpu") * 1.4 + 0.3
    if signed:
        values = values * torch.tensor(
            [1.0, -1.0, 1.0, -1.0, 0.0, 5.0, -5.0, 1.0], dtype=torch.float64, device="cpu"
        )
    if state == "zero":
        return torch.zeros(8, dtype=torch.float64, device="cpu")
    if state == "infinite":
        values[0], values[1], values[2] = torch.inf, -torch.inf, torch.nan
    elif dtype == torch.bool:
        values = torch.tensor([0, 1] * 4, dtype=torch.float64, device="cpu")
    return values
