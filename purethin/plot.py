"""Pictures of a pruned network: how wide each axis is now, and how training went. Needs matplotlib
(extra `plot`).

Each function draws into a figure (or a part of one) that is given, or writes a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from purethin.spec import Masks, Spec
from purethin.training.events import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

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
    ax = figure.subplots()
    ax.barh(names, dense, color=_DENSE, height=0.72, label="dense")
    ax.barh(names, kept, color=_KEPT, height=0.72, label="kept")
    for row, (before, after) in enumerate(zip(dense, kept, strict=True)):
        label = f"{before} → {after}" if after < before else f"{before}"
        ax.text(
            before + 0.015 * max(dense),
            row,
            label,
            va="center",
            fontsize=8,
            color="#222" if after < before else "#888",
        )
    ax.invert_yaxis()
    ax.set_xlim(0, 1.2 * max(dense, default=1))
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlabel("units")
    ax.set_title("Widths by axis", loc="left", fontsize=11)
    ax.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=2,
        frameon=False,
        fontsize=8,
        borderaxespad=0.2,
    )
    _plain(ax)
    ax.tick_params(axis="y", length=0)
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
    epochs = [r.epoch for r in records]
    rows: list[tuple[str, list[float], str]] = [
        ("parameters removed", [r.sparsity for r in records], _KEPT),
        ("training loss", [r.loss for r in records], _LOSS),
    ]
    if any(r.metric is not None for r in records):
        rows.append(
            (metric, [float("nan") if r.metric is None else r.metric for r in records], _METRIC)
        )
    figure = _figure(to, (6, 5))
    axes: list[Axes] = list(figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0])
    pruned = [
        b.epoch
        for a, b in zip([None, *records], records, strict=False)
        if b.sparsity > (a.sparsity if a else 0)
    ]
    for ax, (title, values, color) in zip(axes, rows, strict=True):
        for epoch in pruned:
            ax.axvspan(epoch - 0.5, epoch + 0.5, color="#f2f4f7", zorder=0, linewidth=0)
        if title == "parameters removed":
            ax.step(epochs, values, where="mid", color=color, linewidth=1.8)
            ax.set_ylim(0, max(0.05, 1.2 * max(values, default=0)))
            ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        else:
            ax.plot(epochs, values, color=color, linewidth=1.8, marker="o", markersize=3.5)
            ax.margins(y=0.2)
        if values:
            text = f"{values[-1]:.1%}" if title != "training loss" else f"{values[-1]:.3f}"
            text = f"{values[-1]:.3f}" if title == metric else text
            ax.annotate(
                text,
                (epochs[-1], values[-1]),
                (6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=color,
            )
        ax.set_title(title, loc="left", fontsize=10)
        _plain(ax)
    if records:
        axes[-1].set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes[-1].xaxis.get_major_locator().set_params(integer=True)  # pyright: ignore[reportCallIssue]
    axes[-1].set_xlabel("epoch (shaded: units are removed as it begins)")
    _written(figure, to)


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
    left, right = figure.subfigures(1, 2, wspace=0.04)
    widths(spec, masks, left)
    history(records, right, metric=metric)
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


def _plain(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
