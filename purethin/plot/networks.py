"""Pictures of one network: its widths, what its layers cost, what a unit is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from purethin.budgets.worth import Layer
from purethin.budgets.worth import worth as worth_of
from purethin.checks import check_masks
from purethin.costs import for_batch
from purethin.plot.drawing import (
    DENSE,
    KEPT,
    METRIC,
    bars,
    engineering,
    legend_above,
    panels,
    tall,
    ticks,
    titled,
    wide,
)
from purethin.spec import Masks, Spec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Pair = tuple[Layer, Layer]
"""A layer as it was and as it is."""


def widths(spec: Spec, masks: Masks | None = None, *, ax: Axes | None = None) -> Figure:
    """Units by axis, dense and kept.

    Args:
        spec: the dense network's spec.
        masks: `{axis: BoolTensor[size]}`, True = keep.
        ax: the axes to draw into, instead of a new figure.

    Returns:
        The figure, to save or to show.

    Raises:
        MaskError: the masks do not fit the spec.
    """
    given = masks or {}
    check_masks(spec, given)
    names, dense = list(spec.axes), [a.size for a in spec.axes.values()]
    kept = [int(given[n].sum()) if n in given else spec.axes[n].size for n in names]
    figure, (panel,) = panels(ax, 1, (4.5 + wide(names), tall(len(names))))
    bars(panel, names, dense, color=DENSE, label="dense")
    bars(panel, names, kept, color=KEPT, label="kept")
    for row, (before, after) in enumerate(zip(dense, kept, strict=True)):
        label, color = (f"{before} → {after}", "#222") if after < before else (f"{before}", "#888")
        panel.text(before + 0.015 * max(dense), row, label, va="center", fontsize=8, color=color)
    panel.set_xlim(0, 1.22 * max(dense, default=1))
    titled(panel, "Widths by axis", "units")
    legend_above(panel)
    return figure


def layers(
    spec: Spec,
    masks: Masks | None = None,
    *,
    most: int = 30,
    ax: Sequence[Axes] | None = None,
) -> Figure:
    """MACs and parameters by layer, dense and kept.

    Args:
        spec: the dense network's spec.
        masks: `{axis: BoolTensor[size]}`, True = keep.
        most: how many bars there may be; where the network has more layers, a bar is a block: the
            layers whose paths begin alike.
        ax: two axes to draw into, instead of a new figure.

    Returns:
        The figure, to save or to show. Layers whose weights have the same axes are one bar.

    Raises:
        MaskError: the masks do not fit the spec.
    """
    before, after = worth_of(spec), worth_of(spec, masks)
    rows = _rows(list(zip(before.layers, after.layers, strict=True)), most)
    names = [name for name, _ in rows]
    figure, both = panels(ax, 2, (7.5 + wide(names), tall(len(names))), sharey=True)
    for panel, field, title in zip(
        both, ("macs", "parameters"), ("MACs", "Parameters"), strict=True
    ):
        dense, kept = ([sum(getattr(x[i], field) for x in row) for _, row in rows] for i in (0, 1))
        bars(panel, names, dense, color=DENSE, label="dense")
        bars(panel, names, kept, color=KEPT, label="kept")
        ticks(panel, engineering)
        all_before, all_after = getattr(before.total, field), getattr(after.total, field)
        part = f"{all_after / max(all_before, 1):.0%} of " if masks else ""
        whose = for_batch(spec.batch) if field == "macs" else ""
        titled(panel, f"{title}{whose}: {part}{engineering(all_before)}")
    if masks:
        legend_above(both[1])
    return figure


def worth(spec: Spec, masks: Masks | None = None, *, ax: Sequence[Axes] | None = None) -> Figure:
    """What one unit of each axis costs: MACs and parameters, as parts of the network's.

    Args:
        spec: the dense network's spec.
        masks: `{axis: BoolTensor[size]}`, True = keep: the widths now.
        ax: two axes to draw into, instead of a new figure.

    Returns:
        The figure, to save or to show. The number behind an axis is that of its units.

    Raises:
        MaskError: the masks do not fit the spec.
    """
    found = worth_of(spec, masks)
    names = [f"{unit.axis} ({unit.units})" for unit in found.axes]
    kinds = [("MACs", "macs", KEPT), ("parameters", "parameters", METRIC)]
    figure, both = panels(ax, 2, (7.5 + wide(names), tall(len(names))), sharey=True)
    for panel, (title, field, color) in zip(both, kinds, strict=True):
        whole = max(getattr(found.total, field), 1)
        bars(panel, names, [getattr(unit, field) / whole for unit in found.axes], color=color)
        ticks(panel, "{:.2%}".format)
        titled(panel, f"{title.capitalize() if title.islower() else title} of one unit")
    return figure


def _rows(pairs: list[Pair], most: int) -> list[tuple[str, list[Pair]]]:
    """Each layer's name, dense and now, in the network's order, or each block's where there are too
    many; what costs less than a thousandth is one row.
    """
    macs = max(sum(dense.macs for dense, _ in pairs), 1)
    parameters = max(sum(dense.parameters for dense, _ in pairs), 1)

    def small(row: list[Pair]) -> bool:
        of_macs = sum(dense.macs for dense, _ in row) / macs
        return max(of_macs, sum(dense.parameters for dense, _ in row) / parameters) < 0.001

    depth = max((layer.modules[0].count(".") for layer, _ in pairs if layer.modules), default=0)
    rows = _blocks(pairs, None)
    while sum(not small(row) for row in rows.values()) > most and depth > 0:
        rows, depth = _blocks(pairs, depth), depth - 1
    rest = [pair for row in rows.values() if small(row) for pair in row]
    shown = [(name, row) for name, row in rows.items() if not small(row)]
    return shown if small(rest) else [*shown, (f"{len(rest)} small layers", rest)]


def _blocks(pairs: list[Pair], depth: int | None) -> dict[str, list[Pair]]:
    """Layers by the first parts of their path; by all of it, and told in full, without a depth."""
    rows: dict[str, list[Pair]] = {}
    for pair in pairs:
        modules = pair[0].modules or ("(no weight)",)
        name = ".".join(modules[0].split(".")[:depth]) if depth else _name(modules)
        rows.setdefault(name, []).append(pair)
    return rows


def _name(modules: Sequence[str]) -> str:
    """Modules as a label.

    >>> _name(["mlp.0", "mlp.3"]), _name(["token", "proj", "head"])
    ('mlp.0, 3', 'token + 2')
    """
    parent, _, _ = modules[0].rpartition(".")
    if len(modules) == 2 and parent and modules[1].rpartition(".")[0] == parent:
        return f"{modules[0]}, {modules[1].rpartition('.')[2]}"
    return modules[0] + (f" + {len(modules) - 1}" if len(modules) > 1 else "")
