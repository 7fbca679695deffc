"""The laws of the gradual schedule; its tables are in test_golden."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

import purethin as pt

FRACTION = st.floats(0, 1)


@given(FRACTION, FRACTION, st.integers(0, 50), st.integers(1, 50), st.integers(1, 60))
def test_it_starts_at_initial_ends_at_final_and_holds_between_steps(
    a: float, b: float, begin: int, epochs: int, frequency: int
) -> None:
    initial, final = sorted((a, b))
    end = begin + epochs

    def at(epoch: int) -> float:
        return pt.agp(
            epoch, initial=initial, final=final, begin=begin, end=end, frequency=frequency
        )

    scheduled = [*range(begin, end, frequency)]
    assert at(begin - 1) == 0
    assert at(scheduled[-1]) == at(end) == at(end + 99) == final
    assert len(scheduled) == 1 or at(begin) == initial
    for epoch in range(begin, end):
        assert at(epoch) == at(max(e for e in scheduled if e <= epoch))
    values = [at(epoch) for epoch in scheduled]
    assert all(x <= y + 1e-12 for x, y in itertools.pairwise(values))
    gains = [y - x for x, y in itertools.pairwise(values)]
    # fast at first, then ever slower
    assert all(x >= y - 1e-12 for x, y in itertools.pairwise(gains))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"initial": 10}, "the initial sparsity is 10"),
        ({"final": -0.5}, "the final sparsity is -0.5"),
        ({"end": 0}, "no epoch is scheduled from 0 to 0"),
        ({"begin": 9, "end": 5}, "no epoch is scheduled from 9 to 5"),
        ({"frequency": 0}, "every 0"),
    ],
)
def test_what_schedules_nothing_is_refused(arguments: dict[str, int], words: str) -> None:
    with pytest.raises(pt.MaskError, match=words):
        pt.agp(3, **({"initial": 0.1, "final": 0.5, "begin": 0, "end": 30} | arguments))
