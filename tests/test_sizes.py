"""Size arithmetic: random programs over sizes thin exactly where the spec says exact, or it says
why not.
"""

from __future__ import annotations

from collections import Counter

import pytest
from random_sizes import outcome, size_net

SHARD = 850
SUITE = 300
WHOLE = 2_000


def outcomes(seeds: range) -> Counter[str]:
    """How often each outcome came; a wrong one fails with its program."""
    found: Counter[str] = Counter()
    for seed in seeds:
        net = size_net(seed)
        kind = outcome(net)
        assert not kind.startswith("wrong"), f"seed {seed}: {kind}\n{net.text}"
        found[kind] += 1
    return found


def assert_most_are_compared(found: Counter[str]) -> None:
    """That most programs have an exact axis on which masked and thinned were compared."""
    ran = sum(found.values()) - found["raises"]
    assert found["exact"] >= 0.85 * ran, found


def test_programs_over_sizes_thin_exactly_or_say_why() -> None:
    assert_most_are_compared(outcomes(range(SUITE)))


@pytest.mark.survey
@pytest.mark.parametrize("start", range(SUITE, WHOLE, SHARD))
def test_many_programs_over_sizes_thin_exactly_or_say_why(start: int) -> None:
    assert_most_are_compared(outcomes(range(start, min(start + SHARD, WHOLE))))
