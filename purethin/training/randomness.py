"""The states of the random generators that a training draws from: taken and put back."""

from __future__ import annotations

import hashlib
import random
import sys
from typing import Any

import torch
from torch import Tensor


def generators() -> dict[str, Any]:
    """torch's on the CPU and on each CUDA device, Python's, and NumPy's where NumPy is loaded."""
    out: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "python": random.getstate(),
    }
    if (numpy := sys.modules.get("numpy")) is not None:
        state = numpy.random.get_state(legacy=True)
        if isinstance(state, tuple):  # a dict of another generator that NumPy was given stays out
            kind, words, *rest = state
            out["numpy"] = (kind, words.tolist(), *rest)
    return out


def set_generators(state: dict[str, Any]) -> None:
    """Put back what `generators` took; devices that are not here are left out."""
    torch.set_rng_state(_bytes(state["torch"]))
    for device, one in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(_bytes(one), device)
    random.setstate(state["python"])
    if "numpy" in state:
        import numpy

        numpy.random.set_state(state["numpy"])


def fork_generators(number: int) -> None:
    """Seed all generators anew, from the state of torch's and a number: other draws for another
    number, always the same.
    """
    digest = hashlib.blake2b(
        torch.get_rng_state().numpy().tobytes() + number.to_bytes(8, "big"), digest_size=8
    ).digest()
    seed = int.from_bytes(digest, "big") >> 1
    torch.manual_seed(seed)
    random.seed(seed)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(seed % 2**32)


def _bytes(state: Tensor) -> Tensor:
    return state.detach().to("cpu", torch.uint8)
