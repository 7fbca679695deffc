"""State of 8 bits or fewer, that torchao and bitsandbytes keep: read as numbers, and rounded again
block by block, as their own step does.

Their blocks run over the flattened tensor, so no block keeps its bounds when units leave.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

_BLOCK = 256  # of bitsandbytes' optimizers


def read(values: Mapping[str, Any]) -> dict[str, Any]:
    """The state of one parameter, what is rounded in it as plain numbers."""
    out = {k: v.dequantize() if _packed(v) else v for k, v in values.items()}
    for key, code, bounds in _blocks(values):
        functional = importlib.import_module("bitsandbytes.functional")
        out[key] = functional.dequantize_blockwise(
            values[key], absmax=values[bounds], code=values[code], blocksize=_BLOCK
        )
        del out[code], out[bounds]
    return out


def rounded(
    optimizer: Optimizer, values: Mapping[str, Any], thinned: dict[str, Any]
) -> dict[str, Any]:
    """The thinned state in the form that `values` had.

    torchao rounds no tensor of few elements, or of a number that is not whole blocks: that stays a
    plain one.
    """
    out = dict(values) | thinned
    for key, value in values.items():
        if _packed(value):
            signed = getattr(value, "signed", False)
            buffer = optimizer._new_buffer(thinned[key], signed)  # type: ignore[attr-defined]
            out[key] = buffer.copy_(thinned[key])
    for key, code, bounds in _blocks(values):
        functional = importlib.import_module("bitsandbytes.functional")
        out[key], state = functional.quantize_blockwise(
            thinned[key].contiguous(), code=values[code], blocksize=_BLOCK
        )
        out[bounds] = state.absmax
    return out


def _packed(value: Any) -> bool:
    """Whether a value is torchao's: a subclass that can be read as a plain tensor."""
    return type(value).__module__.startswith("torchao.") and hasattr(value, "dequantize")


def _blocks(values: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The keys of what bitsandbytes rounds: bytes, the table of values, the blocks' bounds."""
    return [
        (key, f"qmap{i}", f"absmax{i}")
        for i in (1, 2)
        if isinstance(value := values.get(key := f"state{i}"), Tensor)
        and value.dtype == torch.uint8
        and {f"qmap{i}", f"absmax{i}"} <= values.keys()
    ]
