"""The laws of the curves; the tables of automated gradual pruning are in test_golden."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import purethin as pt

FRACTION = st.floats(0, 1)
Curve = Callable[..., float]
GRADUAL = [pt.curves.agp, pt.curves.linear, pt.curves.cosine, pt.curves.exponential]
CURVES = [*GRADUAL, pt.curves.one_shot]
RANGES = st.tuples(st.integers(0, 50), st.integers(1, 50), st.integers(1, 60))


def name(curve: Curve) -> str:
    return curve.__name__


@pytest.mark.parametrize("curve", CURVES, ids=name)
@given(FRACTION, FRACTION, RANGES)
def test_a_curve_starts_at_initial_ends_at_final_never_falls_and_holds_between_steps(
    curve: Curve, a: float, b: float, times: tuple[int, int, int]
) -> None:
    initial, final = sorted((a, b))
    begin, epochs, frequency = times
    end = begin + epochs

    def at(epoch: int) -> float:
        return curve(epoch, initial=initial, final=final, begin=begin, end=end, frequency=frequency)

    scheduled = [*range(begin, end, frequency)]
    assert at(begin - 1) == 0
    assert at(scheduled[-1]) == at(end) == at(end + 99) == final
    first = final if curve is pt.curves.one_shot or len(scheduled) == 1 else initial
    assert at(begin) == first
    for epoch in range(begin, end):
        assert at(epoch) == at(max(e for e in scheduled if e <= epoch))
    values = [at(epoch) for epoch in scheduled]
    assert all(initial <= v <= final for v in values)
    assert all(x <= y + 1e-12 for x, y in itertools.pairwise(values))


def along(curve: Curve, initial: float, final: float, steps: int) -> list[float]:
    """The values at each step."""
    return [
        curve(epoch, initial=initial, final=final, begin=0, end=steps) for epoch in range(steps)
    ]


STEPS = st.integers(2, 40)


@given(FRACTION, FRACTION, STEPS)
def test_automated_gradual_pruning_is_fast_at_first_then_ever_slower(
    a: float, b: float, steps: int
) -> None:
    initial, final = sorted((a, b))
    gains = [y - x for x, y in itertools.pairwise(along(pt.agp, initial, final, steps))]
    assert all(x >= y - 1e-12 for x, y in itertools.pairwise(gains))


@given(FRACTION, FRACTION, STEPS)
def test_linear_takes_as_much_at_each_step(a: float, b: float, steps: int) -> None:
    initial, final = sorted((a, b))
    values = along(pt.curves.linear, initial, final, steps)
    gains = [y - x for x, y in itertools.pairwise(values)]
    assert gains == pytest.approx([(final - initial) / (steps - 1)] * len(gains), abs=1e-12)


@given(FRACTION, FRACTION, STEPS)
def test_cosine_ends_as_it_begins(a: float, b: float, steps: int) -> None:
    initial, final = sorted((a, b))
    values = along(pt.curves.cosine, initial, final, steps)
    mirrored = [initial + final - v for v in reversed(values)]
    assert values == pytest.approx(mirrored, abs=1e-12)


@given(st.floats(0, 0.9), st.floats(0, 0.99), STEPS)
def test_exponential_takes_the_same_part_of_what_is_left_at_each_step(
    a: float, b: float, steps: int
) -> None:
    initial, final = sorted((a, b))
    left = [1 - v for v in along(pt.curves.exponential, initial, final, steps)]
    parts = [y / x for x, y in itertools.pairwise(left)]
    assert parts == pytest.approx([parts[0]] * len(parts), rel=1e-9)


@pytest.mark.parametrize("curve", CURVES, ids=name)
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
def test_what_schedules_nothing_is_refused(
    curve: Curve, arguments: dict[str, int], words: str
) -> None:
    with pytest.raises(pt.MaskError, match=words):
        curve(3, **({"initial": 0.1, "final": 0.5, "begin": 0, "end": 30} | arguments))
