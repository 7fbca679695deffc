"""One row of a survey: a model inferred, half of its exact axes gone, half of all axes gone; what
was seen, written down.

The tests of a survey call `surveyed`; `python tests/support/survey_table.py` joins the rows that
they leave in build/ into a page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from keeping import state
from networks import random_masks
from torch import Tensor, nn

import purethin as pt
from purethin.axes import names
from purethin.checks import broken_condition

BUILD = Path(__file__).parents[2] / "build"
HARMLESS = (
    "a kernel's size",
    "an input's size",
    "an output's size",
    "a vocabulary",
    "a parameter that the forward does not read",
)
"""Reasons that every network has; the others stand in the table."""


def surveyed(
    table: str,
    name: str,
    model: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    tolerance: float = 1e-9,
    cells: Callable[[pt.Spec], Mapping[str, str]] | None = None,
) -> pt.Spec:
    """Infer, thin and compare one model, assert the law, and write its row; the spec, for what a
    survey asks beyond.

    Args:
        table: the survey's name; the row lies in build/survey-TABLE/NAME.
        name: the model's name.
        model: in eval mode, with random weights and statistics (`networks.randomise`).
        args, kwargs: the example inputs.
        tolerance: the largest relative difference between masked and thinned.
        cells: further cells of the spec, by column.
    """
    kwargs = dict(kwargs or {})
    params, before = pt.params_of(model), state(model)
    start = time.process_time()  # on one thread; what else the machine does is not counted
    spec = pt.infer(model, params, *args, **kwargs)
    seconds = time.process_time() - start
    changed = {k for k, v in state(model).items() ^ before.items()}
    assert not changed, f"infer left a change in {sorted(changed)[:3]}"
    masks = allowed(spec, random_masks(spec))
    report = pt.check(model, params, spec, masks, *args, **kwargs)
    assert report.outputs and max(o.scale for o in report.outputs) > 0
    assert report.relative < tolerance, report
    every = allowed(spec, random_masks(spec, list(spec.axes)))
    runs(model, params, spec, every, args, kwargs)
    dense = pt.cost(spec).parameters
    row = {
        "model": name,
        "axes": str(len(spec.axes)),
        "exact": str(len(spec.exact)),
        "gone, half of exact": f"{1 - pt.cost(spec, masks).parameters / dense:.2f}",
        "gone, half of all": f"{1 - pt.cost(spec, every).parameters / dense:.2f}",
        **(cells(spec) if cells else {}),
        "difference": f"{report.relative:.0e}",
        "seconds": f"{seconds:.2f}",
        "frozen, and why": "; ".join(reasons(spec)) or "–",
    }
    write(table, row)
    return spec


def write(table: str, row: Mapping[str, str]) -> None:
    """Write a row for the page of its survey."""
    folder = BUILD / f"survey-{table}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / row["model"].replace("/", "-")
    path.write_text("\n".join(f"{k}\t{v}" for k, v in row.items()))


def allowed(spec: pt.Spec, masks: dict[str, Tensor]) -> dict[str, Tensor]:
    """The masks without those whose sizes would take another branch of the forward."""
    masks = dict(masks)
    while (broken := broken_condition(spec, masks)) is not None:
        for axis in (*names(broken[0].left), *names(broken[0].right)):
            masks.pop(axis, None)
    return masks


def runs(
    model: nn.Module,
    params: Mapping[str, Tensor],
    spec: pt.Spec,
    masks: Mapping[str, Tensor],
    args: Any,
    kwargs: Any,
) -> None:
    """That the thinned model, exact or not, runs."""
    thinned, config = pt.thin(params, spec, masks)
    with torch.no_grad():
        pt.rebuild(model, thinned, config).eval()(*args, **kwargs)


def reasons(spec: pt.Spec) -> list[str]:
    """Why dimensions are frozen, most frequent first, without the reasons that every network has;
    and the notes.
    """
    counts: dict[str, int] = {}
    for f in spec.frozen:
        if not f.reason.startswith(HARMLESS):
            counts[f.reason] = counts.get(f.reason, 0) + 1
    ranked = sorted(counts, key=lambda r: -counts[r])
    shown = [f"{r.replace('|', '/')} ({counts[r]})" for r in ranked[:3]]
    return (
        shown
        + ([f"{len(ranked) - 3} more reasons"] if len(ranked) > 3 else [])
        + [n.split(":")[0] for n in spec.notes]
    )
