"""What all pictures share: a figure, its panels, the colours, and bars by name.

Invariant: no global state of matplotlib is read or changed, pyplot's neither.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from purethin.errors import PurethinError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DENSE, KEPT, LOSS, METRIC, FAINT = "#d9dee5", "#2b6cb0", "#b7472a", "#2f855a", "#5f6b7a"
CYCLE = (KEPT, LOSS, METRIC, "#b7791f", "#6b46c1", "#0e7490", "#97266d", "#4a5568")


def panels(
    ax: Axes | Sequence[Axes] | None, count: int, size: tuple[float, float], **layout: Any
) -> tuple[Figure, list[Axes]]:
    """The axes to draw into, and their figure: those that are given, or a figure of its own.

    Args:
        ax: what the caller gave: None, one Axes, or one for each panel.
        count: how many panels the picture has.
        size: width and height of a new figure, inches.
        **layout: of `Figure.subplots`; side by side without it.

    Raises:
        PurethinError: not as many axes are given as there are panels.
    """
    if ax is not None:
        flat = getattr(ax, "flat", ax)  # an array, as figure.subplots gives it
        given: list[Any] = list(flat) if isinstance(flat, Iterable) else [flat]
        if len(given) != count:
            raise PurethinError(
                f"this picture has {count} panels and {len(given)} axes are given: "
                f"ax=figure.subplots({count})"
            )
        figure = given[0].figure
        return getattr(
            figure, "figure", figure
        ), given  # the whole, where they are in a part of one
    figure = new_figure(size)
    made = figure.subplots(**{"nrows": 1, "ncols": count, "squeeze": False, **layout})
    return figure, list(made.flat)


def new_figure(size: tuple[float, float]) -> Figure:
    """A figure that a notebook shows whether or not pyplot was imported.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'purethin[plot]'") from error

    class Picture(Figure):
        """A Figure that is its own picture in a notebook."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png")
            return file.getvalue()

    return Picture(figsize=size, dpi=120, layout="constrained")


def tall(rows: int) -> float:
    """Inches for so many bars, with a title and a scale."""
    return 1.3 + 0.24 * rows


def wide(names: Sequence[str]) -> float:
    """Inches that the names beside the bars take."""
    return 0.075 * max(map(len, names), default=0)


def bars(panel: Axes, names: Sequence[str], values: Sequence[float], **style: Any) -> None:
    """A bar for each name, the first on top; equal names stay apart."""
    panel.barh(range(len(names)), values, height=0.72, **style)
    panel.set_yticks(range(len(names)), labels=names)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)


def titled(panel: Axes, title: str, unit: str = "") -> None:
    """A title on the left, two spines, small figures."""
    panel.set_title(title, loc="left", fontsize=11)
    panel.set_xlabel(unit, fontsize=9, color=FAINT)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8)


def legend_above(panel: Axes) -> None:
    """What the colours mean, beside the title."""
    corner = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.2}
    panel.legend(ncols=2, frameon=False, fontsize=8, **corner)


def engineering(number: float) -> str:
    """A count with three figures.

    >>> engineering(4089184256), engineering(25557032), engineering(640)
    ('4.09 G', '25.6 M', '640')
    """
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"


def ticks(panel: Axes, write: Callable[[float], str]) -> None:
    """The figures of the scale below, a few of them."""
    panel.xaxis.set_major_formatter(lambda value, _: write(value))
    panel.locator_params(axis="x", nbins=5)
