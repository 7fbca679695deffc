"""What operators give on meta where torch's own kernel is slow, or refuses what others take: an
empty tensor of the right shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Given = Mapping[str, Any]
"""The arguments of a call by schema name."""
ValueOf = Callable[[Tensor], Tensor | None]
"""The values of a tensor that is known, None of any other."""


def _batch_norm(given: Given, value_of: ValueOf) -> Any:
    x = given["input"]
    rows = (given[n] for n in ("weight", "bias", "running_mean", "running_var"))
    same = all(t is None or t.shape == x.shape[1:2] for t in rows)
    return torch.empty_like(x) if same else None


def _layer_norm(given: Given, value_of: ValueOf) -> Any:
    x, shape = given["input"], tuple(given["normalized_shape"])
    rows = (given["weight"], given["bias"])
    fits = x.shape[x.dim() - len(shape) :] == shape and all(
        t is None or tuple(t.shape) == shape for t in rows
    )
    return x.new_empty(x.shape) if fits else None


def _linear(given: Given, value_of: ValueOf) -> Any:
    x, w, b = given["input"], given["weight"], given["bias"]
    fits = w.dim() == 2 and x.dim() and x.shape[-1] == w.shape[1] and x.dtype == w.dtype
    fits = fits and (b is None or b.shape == w.shape[:1])
    return x.new_empty(*x.shape[:-1], w.shape[0]) if fits else None


def _unary(given: Given, value_of: ValueOf) -> Any:
    x = given["self"] if "self" in given else given["input"]
    return torch.empty_like(x) if x.is_floating_point() else None


def _binary(given: Given, value_of: ValueOf) -> Any:
    x, y = given["self"], given["other"]
    if not (isinstance(x, Tensor) and isinstance(y, Tensor) and x.is_floating_point()):
        return None
    alike = x.is_meta and y.is_meta and (x.shape, x.dtype) == (y.shape, y.dtype)
    return torch.empty_like(x) if alike and x.stride() == y.stride() else None


def _grouped(given: Given, value_of: ValueOf) -> Any:
    x, y = given["self"], given["mat2"]
    return x.new_empty(x.shape[0], y.shape[2]) if (x.dim(), y.dim()) == (2, 3) else None


def _recurrent(given: Given, value_of: ValueOf) -> Any:
    """The output and the states: torch would unroll the layers step by step."""
    x = given["input"] if "input" in given else given["data"]
    states = given["hx"] if isinstance(given["hx"], tuple | list) else [given["hx"]]
    width = states[0].shape[-1] * (2 if given["bidirectional"] else 1)
    return x.new_empty(*x.shape[:-1], width), *map(torch.empty_like, states)


def _packed(given: Given, value_of: ValueOf) -> Any:
    """The steps of all sequences in one; how many sequences run at each stays on the CPU."""
    x, lengths = given["input"], value_of(given["lengths"])
    if lengths is None:
        return None
    steps = torch.zeros(x.shape[:2], device="cpu").unsqueeze(-1)
    data, sizes = torch._VF._pack_padded_sequence(steps, lengths, given["batch_first"])
    return x.new_empty(data.shape[0], *x.shape[2:]), sizes


def _unpacked(given: Given, value_of: ValueOf) -> Any:
    x, sizes = given["data"], value_of(given["batch_sizes"])
    if sizes is None:
        return None
    out, lengths = torch._VF._pad_packed_sequence(
        torch.zeros(x.shape[0], 1, device="cpu"),
        sizes,
        given["batch_first"],
        given["padding_value"],
        given["total_length"],
    )
    return x.new_empty(*out.shape[:2], *x.shape[1:]), lengths


KERNELS: dict[str, Callable[[Given, ValueOf], Any]] = {
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "linear": _linear,
    **dict.fromkeys(("gelu", "silu", "relu", "sigmoid", "tanh", "roll"), _unary),
    **dict.fromkeys(("add", "sub", "mul", "div"), _binary),
    "_grouped_mm": _grouped,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    "_pack_padded_sequence": _packed,
    "_pad_packed_sequence": _unpacked,
}
"""By operator; a kernel gives None where meta's own does as well."""
