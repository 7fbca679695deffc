"""A profile has the loss of every axis and sparsity, goes on from its file, and adds up in
`solve`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import purethin as pt
from purethin import plot
from purethin.budgets.sensitivity import Loss, Profile

torch.manual_seed(0)
NET = nn.Sequential(nn.Linear(3, 12), nn.Tanh(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 2))
X = torch.rand(16, 3)
PARAMS = pt.params_of(NET)
SPEC = pt.infer(NET, PARAMS, X)
SCORES = pt.lp_norm(PARAMS, SPEC)
WANT = functional_call(NET, PARAMS, (X,))

HEAD = "axis,sparsity,kept,loss,units\n"


def loss(params: dict[str, Tensor]) -> Tensor:
    return (functional_call(NET, params, (X,)) - WANT).square().mean()


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_each_row_is_the_loss_with_one_axis_masked(chunk: int) -> None:
    profile = pt.sensitivity(loss, PARAMS, SPEC, (0.5, 0.25, 0.01), scores=SCORES, chunk=chunk)
    assert profile.dense == 0
    assert [(r.axis, r.sparsity) for r in profile.rows] == [
        (axis, s) for axis in SPEC.axes for s in (0.25, 0.5)
    ]
    for row in profile.rows:
        masks = pt.select({row.axis: SCORES[row.axis]}, row.sparsity)
        assert row.kept == int(masks[row.axis].sum())
        assert row.loss == pytest.approx(float(loss(pt.mask(PARAMS, SPEC, masks))), rel=1e-5)


def test_a_run_goes_on_where_its_file_ends(tmp_path: Path) -> None:
    file, calls = tmp_path / "losses.csv", []

    def counted(params: dict[str, Tensor]) -> Tensor:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return loss(params)

    with pytest.raises(KeyboardInterrupt):
        pt.sensitivity(counted, PARAMS, SPEC, (0.25, 0.5), scores=SCORES, file=file)
    again = pt.sensitivity(counted, PARAMS, SPEC, (0.25, 0.5), scores=SCORES, file=file)
    assert len(calls) == 7  # the dense loss once more, to know the network again
    assert again == pt.sensitivity(loss, PARAMS, SPEC, (0.25, 0.5), scores=SCORES)
    more = pt.sensitivity(counted, PARAMS, SPEC, (0.25, 0.5, 0.75), scores=SCORES, file=file)
    assert len(calls) == 10
    assert len(more.rows) == 6


def test_the_losses_add_up_in_solve_and_what_was_not_seen_stays() -> None:
    profile = pt.sensitivity(loss, PARAMS, SPEC, (0.25, 0.5, 0.75), scores=SCORES)
    found = profile.scores(SCORES)
    for axis, scores in found.items():
        points = [(r.kept, r.loss) for r in profile.rows if r.axis == axis]
        gone = scores[SCORES[axis].argsort(stable=True)]
        assert bool((gone.diff()[gone[1:].isfinite()] >= 0).all())
        for kept, seen in points:
            assert float(gone[: len(gone) - kept].sum()) <= seen + 1e-9
        least, seen = points[-1]
        assert float(gone[: len(gone) - least].sum()) == pytest.approx(seen)
        assert int(gone.isinf().sum()) == least
    masks = pt.solve(found, SPEC, parameters=0.6, normalize=None)
    assert all(int(masks[n].sum()) >= len(s) / 4 for n, s in SCORES.items() if n in masks)
    with pytest.raises(pt.MaskError, match="no ranking of its units"):
        profile.scores({})


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    for text, message in (
        (f"{HEAD}else,0.5,3,1,0\n", "which this network lacks"),
        (f"{HEAD}{next(iter(SPEC.axes))},0.5,3,1,0\n", "of another network"),
        (f"{HEAD}{next(iter(SPEC.axes))},0.5,3,0.1", "is no table of axis"),  # a line cut short
        ("a,b\n1,2\n", "is no table of axis"),
        ("\x00\xff", "is no table of axis"),
    ):
        (tmp_path / "f.csv").write_bytes(text.encode("latin1"))
        with pytest.raises(pt.MaskError, match=message):
            pt.sensitivity(loss, PARAMS, SPEC, scores=SCORES, file=tmp_path / "f.csv")
    for file, message in (
        (tmp_path, "read: Is a dir"),
        (tmp_path / "no" / "f", "written: No such"),
    ):
        with pytest.raises(pt.MaskError, match=f"cannot be {message}"):
            pt.sensitivity(loss, PARAMS, SPEC, scores=SCORES, file=file)


def test_a_file_of_other_scores_is_refused(tmp_path: Path) -> None:
    file, sparsities = tmp_path / "f.csv", (0.25, 0.5)
    first = pt.sensitivity(loss, PARAMS, SPEC, sparsities, scores=SCORES, file=file)
    doubled = {n: 2 * s for n, s in SCORES.items()}  # which rank the same units
    assert pt.sensitivity(loss, PARAMS, SPEC, sparsities, scores=doubled, file=file) == first
    other = {n: -s for n, s in SCORES.items()}
    with pytest.raises(pt.MaskError, match=r"keeps other units of '.*' at 0.25: .* other scores"):
        pt.sensitivity(loss, PARAMS, SPEC, sparsities, scores=other, file=file)


def test_where_a_loss_is_not_finite_units_stay() -> None:
    axis = next(iter(SPEC.axes))
    size = SPEC.sizes[axis]
    for bad in (torch.nan, torch.inf):
        rows = ((0.25, 1.0), (0.5, bad), (0.75, bad), (0.9, 2.0))
        kept = {s: int(pt.select(SCORES, s)[axis].sum()) for s, _ in rows}
        profile = Profile(0.5, tuple(Loss(axis, s, kept[s], v) for s, v in rows))
        scores = profile.scores(SCORES)[axis]
        assert int(scores.isinf().sum()) == kept[0.25]
        assert float(scores[scores.isfinite()].sum()) == pytest.approx(0.5)
        assert not bool(scores.isnan().any()) and len(scores) == size


def test_a_file_of_other_parameters_or_data_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "f.csv"
    pt.sensitivity(lambda p: 1 + loss(p), PARAMS, SPEC, (0.5,), scores=SCORES, file=file)
    with pytest.raises(pt.MaskError, match="has a dense loss of 1, and it is 1"):
        pt.sensitivity(lambda p: 1.1 + loss(p), PARAMS, SPEC, (0.5,), scores=SCORES, file=file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"evaluate": lambda p: functional_call(NET, p, (X,))}, r"the loss is shape \(16, 2\)"),
        ({"evaluate": lambda p: None}, "the loss is NoneType"),
        ({"evaluate": lambda p: loss(p) * torch.nan}, "loss of the dense network is nan"),
        ({"chunk": 0}, "chunk is 0"),
        ({"sparsities": [2]}, f"the sparsity of '{next(iter(SPEC.axes))}' is 2"),
    ],
)
def test_what_cannot_be_evaluated_is_said(change: dict[str, Any], words: str) -> None:
    given = {"evaluate": loss, "params": PARAMS, "spec": SPEC, "scores": SCORES, **change}
    with pytest.raises(pt.MaskError, match=words):
        pt.sensitivity(**given)


def test_what_vmap_cannot_do_is_evaluated_one_by_one() -> None:
    given: Any = {"params": PARAMS, "spec": SPEC, "scores": SCORES, "sparsities": (0.25, 0.5)}
    with pytest.warns(UserWarning, match="masks run one by one"):
        found = pt.sensitivity(lambda p: torch.tensor(loss(p).item()), chunk=2, **given)
    assert found == pt.sensitivity(loss, **given)


def test_the_picture_has_a_line_an_axis() -> None:
    profile = pt.sensitivity(loss, PARAMS, SPEC, (0.25, 0.5), scores=SCORES)
    figure = plot.sensitivity(profile)
    lines = {
        line.get_label(): [*np.asarray(line.get_ydata())] for line in figure.axes[0].get_lines()
    }
    assert [*lines] == [*SPEC.axes]
    assert all(len(y) == 3 for y in lines.values())
    assert str(profile).splitlines()[0].split() == ["axis", "(dense:", "0)", "0.25", "0.5"]
