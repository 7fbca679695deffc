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


def outputs(name: str, given: Given, value_of: ValueOf) -> Any:
    """The outputs, or None where meta's own kernel gives them as well."""
    made = _KERNELS.get(name)
    return None if made is None else made(given, value_of)


def _batch_norm(given: Given, value_of: ValueOf) -> Any:
    x = given["input"]
    rows = (given[n] for n in ("weight", "bias", "running_mean", "running_var"))
    same = all(t is None or t.shape == x.shape[1:2] for t in rows)
    return torch.empty_like(x) if same else None


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
    if lengths is None or not x.is_meta:
        return None
    steps = torch.zeros(x.shape[:2], device="cpu").unsqueeze(-1)
    data, sizes = torch._VF._pack_padded_sequence(steps, lengths, given["batch_first"])
    return x.new_empty(data.shape[0], *x.shape[2:]), sizes


def _unpacked(given: Given, value_of: ValueOf) -> Any:
    x, sizes = given["data"], value_of(given["batch_sizes"])
    if sizes is None or not x.is_meta:
        return None
    out, lengths = torch._VF._pad_packed_sequence(
        torch.zeros(x.shape[0], 1, device="cpu"),
        sizes,
        given["batch_first"],
        given["padding_value"],
        given["total_length"],
    )
    return x.new_empty(*out.shape[:2], *x.shape[1:]), lengths


_KERNELS: dict[str, Callable[[Given, ValueOf], Any]] = {
    "batch_norm": _batch_norm,
    "_grouped_mm": _grouped,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    "_pack_padded_sequence": _packed,
    "_pad_packed_sequence": _unpacked,
}
