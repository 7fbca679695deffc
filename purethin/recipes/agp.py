"""Schedules: how much is removed by when."""

from __future__ import annotations

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
    return initial if done == 0 else final + (initial - final) * (1 - done / span) ** 3
