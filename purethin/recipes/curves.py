"""Curves: how much is removed by when. Each is a pure function of the epoch with the same six
arguments, and any function with them is a curve.

Between scheduled epochs the last scheduled one counts; before `begin` nothing is removed, after the
last scheduled epoch `final`. Where only one epoch is scheduled, all of `final` goes at that one.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi

from purethin.errors import MaskError


def agp(
    epoch: int, *, initial: float, final: float, begin: int, end: int, frequency: int = 1
) -> float:
    """Automated gradual pruning: the sparsity at an epoch, fast at first, then ever slower.

        s(e) = final + (initial − final) · (1 − (e − begin) / span)³,  span = ⌊(end − begin − 1) /
        frequency⌋ · frequency

    Args:
        epoch: the epoch asked for; between scheduled epochs the last scheduled one counts.
        initial: the fraction removed at the first scheduled epoch, `begin`.
        final: the fraction removed at the last scheduled epoch, and after it; where only one epoch
            is scheduled, at that one.
        begin: the first epoch.
        end: the epoch after the last (exclusive).
        frequency: epochs between steps.

    Returns:
        The fraction of units removed: 0 before `begin`.

    Raises:
        MaskError: a fraction outside [0, 1], or a range in which nothing is scheduled.

    Source: Zhu & Gupta, To prune, or not to prune, arXiv 1710.01878; the span as Distiller counts
    it.

    >>> options = {"initial": 0.1, "final": 0.5, "begin": 0, "end": 30, "frequency": 2}
    >>> [round(agp(e, **options), 4) for e in (0, 2, 3, 28, 40)]
    [0.1, 0.1797, 0.1797, 0.5, 0.5]
    """
    return _along(
        lambda t: final + (initial - final) * (1 - t) ** 3,
        epoch,
        initial,
        final,
        begin,
        end,
        frequency,
    )


def linear(
    epoch: int, *, initial: float, final: float, begin: int, end: int, frequency: int = 1
) -> float:
    """As much at each step: initial + (final − initial) · t, where t goes from 0 at the first
    scheduled epoch to 1 at the last.

    Arguments, result and errors are `agp`'s.

    >>> [linear(e, initial=0.0, final=0.8, begin=0, end=5) for e in range(5)]
    [0.0, 0.2, 0.4, 0.6000000000000001, 0.8]
    """
    return _along(
        lambda t: initial + (final - initial) * t,
        epoch,
        initial,
        final,
        begin,
        end,
        frequency,
    )


def cosine(
    epoch: int, *, initial: float, final: float, begin: int, end: int, frequency: int = 1
) -> float:
    """Slowly at first and at the end: final + (initial − final) · (1 + cos πt) / 2, with the t of
    `linear`.

    Arguments, result and errors are `agp`'s.

    >>> [round(cosine(e, initial=0.0, final=0.8, begin=0, end=5), 4) for e in range(5)]
    [0.0, 0.1172, 0.4, 0.6828, 0.8]
    """
    return _along(
        lambda t: final + (initial - final) * (1 + cos(pi * t)) / 2,
        epoch,
        initial,
        final,
        begin,
        end,
        frequency,
    )


def exponential(
    epoch: int, *, initial: float, final: float, begin: int, end: int, frequency: int = 1
) -> float:
    """The same part of what is left at each step: 1 − (1 − initial)^(1 − t) · (1 − final)^t, with
    the t of `linear`.

    Arguments, result and errors are `agp`'s.

    Source: the iterative pruning of Frankle & Carbin, The Lottery Ticket Hypothesis, arXiv
    1803.03635, sec. 2: each round removes p^(1/n) of what remains.

    >>> [round(exponential(e, initial=0.0, final=0.9375, begin=0, end=5), 4) for e in range(5)]
    [0.0, 0.5, 0.75, 0.875, 0.9375]
    """
    return _along(
        lambda t: 1 - (1 - initial) ** (1 - t) * (1 - final) ** t,
        epoch,
        initial,
        final,
        begin,
        end,
        frequency,
    )


def one_shot(
    epoch: int, *, initial: float, final: float, begin: int, end: int, frequency: int = 1
) -> float:
    """All at `begin`; `initial` is not used.

    Arguments, result and errors are `agp`'s.

    >>> [one_shot(e, initial=0.0, final=0.8, begin=2, end=5) for e in range(5)]
    [0.0, 0.0, 0.8, 0.8, 0.8]
    """
    _along(lambda t: final, epoch, initial, final, begin, end, frequency)
    return final if epoch >= begin else 0.0


def _along(
    value: Callable[[float], float],
    epoch: int,
    initial: float,
    final: float,
    begin: int,
    end: int,
    frequency: int,
) -> float:
    """A value between the two ends by the way gone, t in (0, 1); and the ends themselves."""
    for what, fraction in (("initial", initial), ("final", final)):
        if not 0 <= fraction <= 1:
            why = "give the fraction to remove, from 0 to 1 (0.5 for half)"
            raise MaskError(f"the {what} sparsity is {fraction}: {why}")
    if end <= begin or frequency < 1:
        raise MaskError(
            f"no epoch is scheduled from {begin} to {end} (exclusive), every {frequency}: give "
            "begin < end and frequency > 0"
        )
    if epoch < begin:
        return 0.0
    span = (end - begin - 1) // frequency * frequency
    done = (epoch - begin) // frequency * frequency
    if done >= span:
        return final
    low, high = sorted((initial, final))
    return initial if done == 0 else min(max(value(done / span), low), high)
