"""The clock of the benchmarks beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def fastest(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The least processor seconds of each, run in turn."""
    least = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            start = time.process_time()
            work()
            least[name] = min(least[name], time.process_time() - start)
    return least
