"""Pictures of what was measured: training along a recipe, sensitivity, and accuracy by cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import TYPE_CHECKING, Any

from purethin.plot.drawing import (
    CYCLE,
    DENSE,
    FAINT,
    KEPT,
    LOSS,
    METRIC,
    engineering,
    new_figure,
    panels,
    tall,
    ticks,
    titled,
)
from purethin.plot.networks import widths
from purethin.spec import Masks, Spec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from purethin.budgets.sensitivity import Profile
    from purethin.training.events import Record

_LINE: dict[str, Any] = {"linewidth": 1.6, "marker": "o", "markersize": 3}


def sensitivity(profile: Profile, *, most: int = 8, ax: Axes | None = None) -> Figure:
    """The loss by sparsity, a line an axis: those that lose the most are named.

    Args:
        profile: what `sensitivity` measured.
        most: how many lines are named.
        ax: the axes to draw into, instead of a new figure.

    Returns:
        The figure, to save or to show.
    """
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in profile.rows:
        lines.setdefault(row.axis, [(0.0, profile.dense)]).append((row.sparsity, row.loss))
    worst = sorted(lines, key=lambda axis: -max(loss for _, loss in lines[axis]))[:most]
    figure, (panel,) = panels(ax, 1, (7.5, 4.2))
    colors = dict(zip(worst, _colors(len(worst)), strict=True))
    for axis, points in lines.items():
        style = {"label": axis, "color": colors.get(axis, DENSE), "zorder": 2 + (axis in colors)}
        panel.plot(*zip(*points, strict=True), **style, **_LINE)
    handles = dict(zip(lines, panel.get_lines(), strict=True))
    beside = {"loc": "upper left", "bbox_to_anchor": (1, 1), "frameon": False, "fontsize": 8}
    panel.legend([handles[axis] for axis in worst], worst, **beside)
    titled(panel, "Loss", "fraction of one axis masked")
    ticks(panel, "{:.0%}".format)
    return figure


def tradeoff(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    dense: tuple[float, float] | None = None,
    cost: str = "MACs",
    metric: str = "accuracy",
    ax: Axes | None = None,
) -> Figure:
    """A metric against a cost, a line for each way of pruning.

    Args:
        curves: `{way: [(cost, metric), …]}`; the costs in MACs, parameters, bytes or seconds.
        dense: the dense network's `(cost, metric)`: costs are then shown as parts of its own.
        cost, metric: what they are, for the titles.
        ax: the axes to draw into, instead of a new figure.

    Returns:
        The figure, to save or to show.
    """
    whole = dense[0] if dense else 1.0
    figure, (panel,) = panels(ax, 1, (6.5, 4.2))
    for (way, points), color in zip(curves.items(), _colors(len(curves)), strict=True):
        ordered = sorted((c / whole, value) for c, value in points)
        panel.plot(*zip(*ordered, strict=True), label=way, color=color, **_LINE)
    if dense:
        panel.axhline(dense[1], color=FAINT, linewidth=0.8, linestyle=":")
        star = {"marker": "*", "markersize": 11, "linestyle": "", "color": "#222"}
        panel.plot([1.0], [dense[1]], label="dense", **star)
    panel.legend(frameon=False, fontsize=8)
    unit = f"{cost}, of the dense network's {engineering(whole)}" if dense else cost
    titled(panel, metric.capitalize() if metric.islower() else metric, unit)
    ticks(panel, "{:.0%}".format if dense else engineering)
    return figure


def history(
    records: Sequence[Record],
    *,
    metric: str = "accuracy",
    ax: Axes | Sequence[Axes] | None = None,
) -> Figure:
    """Sparsity, loss and metric by epoch, one above the other.

    Args:
        records: `Trainer.history`.
        metric: what `validate` measured.
        ax: axes to draw into, two, or three where a metric was measured, instead of a new figure.

    Returns:
        The figure, to save or to show.
    """
    curves = [
        ("parameters removed", [r.sparsity for r in records], KEPT, ".1%"),
        ("training loss", [r.loss for r in records], LOSS, ".3f"),
    ]
    measured = [nan if r.metric is None else r.metric for r in records]
    if any(r.metric is not None for r in records):
        curves.append((metric, measured, METRIC, ".3f"))
    stacked = {"nrows": len(curves), "ncols": 1, "sharex": True}
    figure, shown = panels(ax, len(curves), (6, 1.6 + 1.2 * len(curves)), **stacked)
    epochs = [r.epoch for r in records]
    before = [0.0, *(r.sparsity for r in records)]
    pruned = [r.epoch for r, was in zip(records, before, strict=False) if r.sparsity > was]
    for panel, (title, values, color, form) in zip(shown, curves, strict=True):
        for epoch in pruned:
            panel.axvspan(epoch - 0.5, epoch + 0.5, color="#f2f4f7", zorder=0, linewidth=0)
        _curve(panel, epochs, values, color, form)
        titled(panel, title)
    if records:
        shown[-1].set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    shown[-1].locator_params(axis="x", integer=True)
    shown[-1].set_xlabel("epoch (shaded: units are removed as it begins)", fontsize=9, color=FAINT)
    return figure


def summary(
    spec: Spec, masks: Masks, records: Sequence[Record], *, metric: str = "accuracy"
) -> Figure:
    """`widths` and `history` side by side.

    Args:
        spec: the dense network's spec.
        masks: `{axis: BoolTensor[size]}`, True = keep.
        records: `Trainer.history`.
        metric: what `validate` measured.

    Returns:
        The figure, to save or to show.
    """
    figure = new_figure((11, max(4.8, tall(len(spec.axes)))))
    one, other = figure.subfigures(1, 2, wspace=0.04, squeeze=False)[0]
    widths(spec, masks, ax=one.subplots())
    count = 2 + any(r.metric is not None for r in records)
    history(records, metric=metric, ax=other.subplots(count, 1, sharex=True))
    return figure


def _colors(count: int) -> list[str]:
    return [CYCLE[i % len(CYCLE)] for i in range(count)]


def _curve(panel: Axes, epochs: list[int], values: list[float], color: str, form: str) -> None:
    """One value by epoch, the last written beside it; fractions as steps from 0."""
    if form.endswith("%"):
        panel.step(epochs, values, where="mid", color=color, linewidth=1.8)
        panel.set_ylim(0, max(0.05, 1.2 * max(values, default=0)))
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    else:
        panel.plot(epochs, values, color=color, linewidth=1.8, marker="o", markersize=3.5)
        panel.margins(y=0.2)
    if values:
        style: dict[str, Any] = {"va": "center", "fontsize": 8, "color": color}
        at, text = (epochs[-1], values[-1]), format(values[-1], form)
        panel.annotate(text, at, (6, 0), textcoords="offset points", **style)
