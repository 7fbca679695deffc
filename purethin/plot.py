"""Pictures of a pruned network: how wide each axis is now, what its units cost, and how training
went. Needs matplotlib (extra `plot`).

Each function draws into a figure (or a part of one) that is given, or writes a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from purethin.budgets.worth import worth as worth_of
from purethin.spec import Masks, Spec

if TYPE_CHECKING:
    import matplotlib.axes
    from matplotlib.figure import Figure, SubFigure

    from purethin.budgets.sensitivity import Profile
    from purethin.training.events import Record

_DENSE, _KEPT, _LOSS, _METRIC = "#d9dee5", "#2b6cb0", "#b7472a", "#2f855a"


def widths(spec: Spec, masks: Masks, to: str | Path | Figure | SubFigure) -> None:
    """Units by axis, dense and kept.

    Args:
        spec: the dense network's spec.
        masks: `{axis: BoolTensor[size]}`, True = keep.
        to: a file to write, or a figure to draw into.
    """
    names = list(spec.axes)
    dense = [spec.axes[n].size for n in names]
    kept = [int(masks[n].sum()) if n in masks else spec.axes[n].size for n in names]
    figure = _figure(to, (6, 1.2 + 0.28 * len(names)))
    panel = figure.subplots()
    panel.barh(names, dense, color=_DENSE, height=0.72, label="dense")
    panel.barh(names, kept, color=_KEPT, height=0.72, label="kept")
    for row, (before, after) in enumerate(zip(dense, kept, strict=True)):
        label, color = (f"{before} → {after}", "#222") if after < before else (f"{before}", "#888")
        panel.text(before + 0.015 * max(dense), row, label, va="center", fontsize=8, color=color)
    panel.invert_yaxis()
    panel.set_xlim(0, 1.2 * max(dense, default=1))
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.set_xlabel("units")
    panel.set_title("Widths by axis", loc="left", fontsize=11)
    corner = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.2}
    panel.legend(ncols=2, frameon=False, fontsize=8, **corner)
    _plain(panel)
    panel.tick_params(axis="y", length=0)
    _written(figure, to)


def worth(spec: Spec, masks: Masks, to: str | Path | Figure | SubFigure) -> None:
    """What one unit of each axis costs: MACs and parameters, as parts of the network's.

    Args:
        spec: the dense network's spec.
        masks: `{axis: BoolTensor[size]}`, True = keep: the widths now.
        to: a file to write, or a figure to draw into.
    """
    found = worth_of(spec, masks)
    names = [f"{unit.axis} ({unit.units})" for unit in found.axes]
    kinds = [("MACs", "macs", _KEPT), ("parameters", "parameters", _METRIC)]
    figure = _figure(to, (9, 1.2 + 0.28 * len(names)))
    panels = figure.subplots(1, 2, sharey=True)
    for panel, (title, field, color) in zip(panels, kinds, strict=True):
        whole = max(getattr(found.total, field), 1)
        parts = [getattr(unit, field) / whole for unit in found.axes]
        panel.barh(names, parts, color=color, height=0.72)
        panel.set_title(f"{title} of one unit", loc="left", fontsize=11)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:.2%}")
        _plain(panel)
        panel.tick_params(axis="y", length=0)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    _written(figure, to)


def sensitivity(profile: Profile, to: str | Path | Figure | SubFigure) -> None:
    """The loss by sparsity, a line an axis: those that lose the most are named.

    Args:
        profile: what `sensitivity` measured.
        to: a file to write, or a figure to draw into.
    """
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in profile.rows:
        lines.setdefault(row.axis, [(0.0, profile.dense)]).append((row.sparsity, row.loss))
    worst = sorted(lines, key=lambda axis: -max(loss for _, loss in lines[axis]))[:8]
    figure = _figure(to, (8, 5))
    panel = figure.subplots()
    for axis, points in lines.items():
        style: dict[str, Any] = {"linewidth": 1.6} if axis in worst else {"color": _DENSE}
        panel.plot(*zip(*points, strict=True), label=axis, marker="o", markersize=3, **style)
    handles, labels = panel.get_legend_handles_labels()
    named = [(h, axis) for h, axis in zip(handles, labels, strict=True) if axis in worst]
    if named:
        panel.legend(*zip(*named, strict=True), frameon=False, fontsize=7)
    panel.set_xlabel("fraction of one axis masked")
    panel.set_title("Loss", loc="left", fontsize=11)
    _plain(panel)
    _written(figure, to)


def history(
    records: Sequence[Record], to: str | Path | Figure | SubFigure, *, metric: str = "accuracy"
) -> None:
    """Sparsity, loss and metric by epoch, one above the other.

    Args:
        records: `Trainer.history`.
        to: a file to write, or a figure to draw into.
        metric: what `validate` measured.
    """
    curves = [
        ("parameters removed", [r.sparsity for r in records], _KEPT, ".1%"),
        ("training loss", [r.loss for r in records], _LOSS, ".3f"),
    ]
    measured = [nan if r.metric is None else r.metric for r in records]
    if any(r.metric is not None for r in records):
        curves.append((metric, measured, _METRIC, ".3f"))
    figure = _figure(to, (6, 5))
    panels = list(figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0])
    epochs = [r.epoch for r in records]
    before = [0.0, *(r.sparsity for r in records)]
    pruned = [r.epoch for r, was in zip(records, before, strict=False) if r.sparsity > was]
    for panel, (title, values, color, form) in zip(panels, curves, strict=True):
        for epoch in pruned:
            panel.axvspan(epoch - 0.5, epoch + 0.5, color="#f2f4f7", zorder=0, linewidth=0)
        _curve(panel, epochs, values, color, form)
        panel.set_title(title, loc="left", fontsize=10)
        _plain(panel)
    if records:
        panels[-1].set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    panels[-1].set_xlabel("epoch (shaded: units are removed as it begins)")
    _written(figure, to)


def _curve(
    panel: matplotlib.axes.Axes, epochs: list[int], values: list[float], color: str, form: str
) -> None:
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


def summary(
    spec: Spec,
    masks: Masks,
    records: Sequence[Record],
    path: str | Path,
    *,
    metric: str = "accuracy",
) -> None:
    """`widths` and `history` side by side, into a file."""
    figure = _figure(path, (11, max(5.0, 1.2 + 0.28 * len(spec.axes))))
    one, other = figure.subfigures(1, 2, wspace=0.04)
    widths(spec, masks, one)
    history(records, other, metric=metric)
    figure.savefig(path)


def _figure(to: Any, size: tuple[float, float]) -> Any:
    if not isinstance(to, str | Path):
        return to
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'purethin[plot]'") from error
    return Figure(figsize=size, dpi=150, layout="constrained")


def _written(figure: Any, to: Any) -> None:
    if isinstance(to, str | Path):
        figure.savefig(to)


def _plain(panel: matplotlib.axes.Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8)
