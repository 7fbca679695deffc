"""How much a network loses, axis by axis and sparsity by sparsity; and these losses as scores that
add up, for `solve`.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from math import isclose, isfinite
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import torch
from torch import Tensor

from purethin.arguments import explained
from purethin.errors import MaskError
from purethin.finding import find
from purethin.selection import select
from purethin.spec import Masks, Scores, Spec
from purethin.table import Table
from purethin.thinning import mask
from purethin.tree import TensorTree

_HEAD = ("axis", "sparsity", "kept", "loss", "units")


class Loss(NamedTuple):
    """One measurement: this fraction of one axis is masked, so many units are left."""

    axis: str
    sparsity: float
    kept: int
    loss: float


@dataclass(frozen=True)
class Profile:
    """The dense network's loss, and one by axis and sparsity. Prints as a table."""

    dense: float
    rows: tuple[Loss, ...]

    def __repr__(self) -> str:
        """How much was measured; `print(profile)` shows the losses."""
        axes = {row.axis for row in self.rows}
        return f"Profile: {len(self.rows)} losses of {len(axes)} axes; dense {self.dense:.4g}"

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        return self._table()._repr_html_()

    def __str__(self) -> str:
        """A row an axis, a column a sparsity."""
        return str(self._table())

    def _table(self) -> Table:
        found = {(r.axis, r.sparsity): r.loss for r in self.rows}
        columns = sorted({r.sparsity for r in self.rows})
        rows = [
            (axis, *(f"{found[axis, s]:.4g}" if (axis, s) in found else "" for s in columns))
            for axis in dict.fromkeys(r.axis for r in self.rows)
        ]
        head = (f"axis (dense: {self.dense:.4g})", *map("{:g}".format, columns))
        return Table(head, rows, numbers=range(1, len(head)))

    def scores(self, ranking: Scores) -> dict[str, Tensor]:
        """Scores that add up to the losses seen, for `solve(…, normalize=None)`.

        Args:
            ranking: the scores that the measurement ranked by: which units go first.

        Returns:
            `{axis: DoubleTensor[size]}`: what the loss grows by as each unit goes in its turn, by
            the largest convex curve below what was seen. Beyond the largest sparsity nothing was
            seen, nor where a loss was infinite or nan, and the units stay: their scores are
            infinite.

        Raises:
            MaskError: an axis has no ranking.
        """
        seen: dict[str, dict[int, float]] = {}
        for row in self.rows:
            if row.axis not in ranking:
                raise MaskError(f"'{row.axis}' was measured, but no ranking of its units is given")
            gone = ranking[row.axis].numel() - row.kept
            if gone < 0:
                raise MaskError(
                    f"'{row.axis}' kept {row.kept} units, and is ranked by {row.kept + gone} "
                    "scores: give the scores that it was measured with"
                )
            seen.setdefault(row.axis, {})[gone] = row.loss - self.dense
        return {axis: _marginal(points, ranking[axis]) for axis, points in seen.items()}


@explained
def sensitivity(
    evaluate: Callable[[TensorTree], Tensor],
    params: TensorTree,
    spec: Spec,
    sparsities: Sequence[float] = (0.1, 0.25, 0.5, 0.75, 0.9),
    *,
    scores: Scores,
    chunk: int = 1,
    file: str | Path | None = None,
) -> Profile:
    """The loss when one axis alone is masked, for each axis that has scores and each sparsity.

    Args:
        evaluate: a pure function from parameters to a loss: a scalar, the lower the better. For an
            accuracy, 1 minus it.
        params: the dense parameters.
        spec: their spec.
        sparsities: the fractions removed, in [0, 1]; one that removes no unit more than the one
            before it is left out.
        scores: `{axis: Tensor[size]}`: which units go; the axes that are measured.
        chunk: so many masked networks are evaluated at once, by `vmap`: as many as memory takes;
            one by one where it cannot, with a warning.
        file: a CSV file, written axis by axis. What it holds is not measured again, so that a run
            goes on where it was stopped. The dense loss is, to know the network and its data again;
            by which scores units went, a checksum of those that stay says.

    Raises:
        MaskError: the file is of another network, other data or other scores, or cannot be read or
            written; scores do not fit, or the dense loss is no number.

    >>> params = {"w": torch.tensor([[1.0], [2.0], [4.0]]), "v": torch.ones(1, 3)}
    >>> spec = Spec.from_layout({"w": "h 1", "v": "1 h"}, params)
    >>> loss = lambda p: (7 - p["v"] @ p["w"]).square().sum()
    >>> ranked = {"h": torch.tensor([1.0, 2.0, 4.0])}
    >>> print(sensitivity(loss, params, spec, (0.4, 0.7), scores=ranked))
    axis (dense: 0)  0.4  0.7
    h                  1    9
    """
    names = find(spec, scores.keys(), error=MaskError)
    rows = _read(file, spec, {n: scores[n] for n in names}) if file else []
    done = {(row.axis, row.sparsity): row.loss for row in rows}
    if chunk < 1:
        raise MaskError(f"chunk is {chunk}: give how many networks are evaluated at once, from 1")
    with torch.no_grad():
        dense = _of_dense(evaluate(params), done.get(("", 0.0)), file)
        if ("", 0.0) not in done:
            rows.append(Loss("", 0.0, 0, dense))
            _append(file, [(*rows[-1], "")])
        for name in names:
            todo = [
                (s, m) for s, m in _masks(name, scores[name], sparsities) if (name, s) not in done
            ]
            if not todo:
                continue
            losses = _losses(evaluate, params, spec, name, [m for _, m in todo], chunk)
            new = [
                Loss(name, s, int(m.sum()), loss) for (s, m), loss in zip(todo, losses, strict=True)
            ]
            rows += new
            _append(file, [(*row, _checksum(m)) for row, (_, m) in zip(new, todo, strict=True)])
    order = {name: i for i, name in enumerate(("", *names))}
    rows = sorted((r for r in rows if r.axis in order), key=lambda r: (order[r.axis], r.sparsity))
    return Profile(rows[0].loss, tuple(rows[1:]))


def _number(loss: Any) -> float:
    """A loss as a number.

    Raises:
        MaskError: it is none.
    """
    try:
        return float(loss)
    except (TypeError, ValueError, RuntimeError) as error:
        what = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise MaskError(f"the loss is {what}: give a scalar, as loss.mean()") from error


def _of_dense(loss: Any, before: float | None, file: str | Path | None) -> float:
    """The dense network's loss, beside which others are seen.

    Raises:
        MaskError: it is not finite, or another than a file has.
    """
    if not isfinite(dense := _number(loss)):
        raise MaskError(f"the loss of the dense network is {dense}: there is nothing to compare")
    if before is not None and not isclose(dense, before, rel_tol=1e-3, abs_tol=1e-9):
        raise MaskError(
            f"{file} has a dense loss of {before:.6g}, and it is {dense:.6g}: it is of other "
            "parameters or other data; give another file name"
        )
    return dense


def _masks(
    name: str, scores: Tensor, sparsities: Iterable[float]
) -> Iterator[tuple[float, Tensor]]:
    last = scores.numel()
    for sparsity in sorted(sparsities):
        keep = select({name: scores}, sparsity)[name]
        if int(keep.sum()) < last:
            last = int(keep.sum())
            yield sparsity, keep


def _losses(
    evaluate: Callable[[TensorTree], Tensor],
    params: TensorTree,
    spec: Spec,
    name: str,
    masks: Sequence[Tensor],
    chunk: int,
) -> list[float]:
    def one(keep: Tensor) -> Tensor:
        masks: Masks = {name: keep}
        return evaluate(mask(params, spec, masks))

    if chunk > 1:
        try:
            return torch.func.vmap(one, chunk_size=chunk)(torch.stack([*masks])).tolist()
        except (RuntimeError, ValueError, NotImplementedError) as error:
            why = str(error).partition("\n")[0]
            warnings.warn(
                f"vmap cannot batch this loss, so masks run one by one: {why}", stacklevel=4
            )
    return [_number(one(keep)) for keep in masks]


def _marginal(points: Mapping[int, float], ranking: Tensor) -> Tensor:
    """The slopes of the lower convex hull, from (0, 0), by unit as it goes, up to the first point
    that is not finite.
    """
    hull: list[tuple[int, float]] = [(0, 0.0)]
    for x, y in takewhile(lambda point: isfinite(point[1]), sorted(points.items())):
        y = max(y, 0.0)
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], (x, y)):
            hull.pop()
        hull.append((x, y))
    slopes = torch.full((ranking.numel(),), torch.inf, dtype=torch.float64, device="cpu")
    for a, b in pairwise(hull):
        slopes[a[0] : b[0]] = max(_slope(a, b), 0.0)
    out = torch.empty_like(slopes)
    out[ranking.detach().cpu().argsort(stable=True)] = slopes
    return out


def _slope(a: tuple[int, float], b: tuple[int, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0]) if b[0] > a[0] else torch.inf


# ---- the file


def _read(file: str | Path, spec: Spec, scores: Scores) -> list[Loss]:
    """What a file holds; nothing where there is none.

    Raises:
        MaskError: it is no such file, or of another network or other scores.
    """
    try:
        with Path(file).open(newline="", encoding="utf-8") as lines:
            head, *body = [*csv.reader(lines)] or [[]]
        rows = [
            (Loss(axis, float(s), int(k), float(loss)), units) for axis, s, k, loss, units in body
        ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MaskError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, csv.Error):
        head, rows = [], []
    if tuple(head) != _HEAD:
        raise MaskError(f"{file} is no table of {', '.join(_HEAD)}: give another file name")
    for row, units in rows:
        if row.axis and row.axis not in spec.axes:
            raise MaskError(f"{file} has the axis '{row.axis}', which this network lacks")
        if row.axis not in scores:
            continue
        [keep] = [m for _, m in _masks(row.axis, scores[row.axis], [row.sparsity])] or [None]
        if keep is None or (int(keep.sum()), _checksum(keep)) != (row.kept, units):
            raise MaskError(
                f"{file} keeps other units of '{row.axis}' at {row.sparsity}: it is of other "
                "scores or of another network; give another file name"
            )
    return [row for row, _ in rows]


def _checksum(keep: Tensor) -> str:
    """What tells masks of an axis from each other."""
    return f"{crc32(bytes(keep.tolist())):08x}"


def _append(file: str | Path | None, rows: Sequence[tuple[object, ...]]) -> None:
    if file is None:
        return
    try:
        with Path(file).open("a", newline="", encoding="utf-8") as lines:
            csv.writer(lines).writerows(([] if lines.tell() else [_HEAD]) + [*rows])
    except OSError as error:
        raise MaskError(f"{file} cannot be written: {error.strerror or error}") from error
