"""LAMP, the geometric median and the scale of batch norms, against loops written from the
papers.
"""

from __future__ import annotations

import math

import by_hand
import pytest
import torch
from measured import CASES
from networks import randomise
from small import Small
from torch import nn

import purethin as pt
from purethin import criteria


def case(name: str) -> tuple[dict[str, torch.Tensor], pt.Spec]:
    model, given, x = CASES[name]
    params = pt.params_of(model) if given is None else given
    return params, pt.infer(model, params, x[:1])


NETWORKS = {name: case(name) for name in ("convolutions", "attention", "bare")}


@pytest.mark.parametrize("name", NETWORKS)
def test_lamp_divides_a_units_square_by_those_that_are_no_smaller(name: str) -> None:
    params, spec = NETWORKS[name]
    squares = {
        axis: [
            sum(x * x for of in by_hand.filters(spec, params, axis) for x in of[unit])
            for unit in range(spec.axes[axis].size)
        ]
        for axis in spec.axes
    }
    want = {n: [s / sum(t for t in row if t >= s) for s in row] for n, row in squares.items()}
    by_hand.assert_close(criteria.lamp(params, spec), want)
    assert all(float(s.max()) == pytest.approx(1) for s in criteria.lamp(params, spec).values())


def test_units_of_equal_norm_have_equal_lamp_and_dead_ones_none() -> None:
    spec = pt.Spec.from_layout({"w": "h 1"}, {"w": torch.zeros(4, 1)})
    scores = criteria.lamp({"w": torch.tensor([[2.0], [-2.0], [0.0], [4.0]])}, spec)["h"]
    assert scores.tolist() == pytest.approx([4 / 24, 4 / 24, 0, 1])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_geometric_median_sums_the_distances_to_all_other_filters(name: str) -> None:
    params, spec = NETWORKS[name]

    def value(axis: str, unit: int) -> float:
        return sum(
            math.dist(of[unit], other) for of in by_hand.filters(spec, params, axis) for other in of
        )

    by_hand.assert_close(
        criteria.geometric_median(params, spec), by_hand.each_unit(spec, value), 1e-6
    )


def test_a_filter_and_its_negative_are_far_apart() -> None:
    spec = pt.Spec.from_layout({"w": "h 2"}, {"w": torch.zeros(3, 2)})
    w = torch.tensor([[3.0, 4.0], [-3.0, -4.0], [3.0, 4.0]])
    assert criteria.geometric_median({"w": w}, spec)["h"].tolist() == [10, 20, 10]


def test_the_scale_of_batch_norms_is_that_of_all_that_scale_an_axis() -> None:
    model = randomise(Small())
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.zeros(1, 3, 4, 4, dtype=torch.float64))
    scores = criteria.batch_norm_scale(params, spec)
    assert [*scores] == ["conv1"]
    torch.testing.assert_close(scores["conv1"], params["bn1.weight"].abs())


class Shared(nn.Module):
    """Two batch norms of one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.bn1, self.bn2, self.head = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.bn1(self.one(x)) + self.bn2(self.two(x)))


@pytest.mark.parametrize("how", ["sum", "mean", "max", "first"])
def test_tensors_that_share_an_axis_are_reduced_as_is_said(how: criteria.Reduce) -> None:
    model = randomise(Shared())
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.zeros(1, 3, 2, 2, dtype=torch.float64))
    scales = torch.stack([params["bn1.weight"].abs(), params["bn2.weight"].abs()])
    norms = torch.stack([params[n].abs().sum((1, 2, 3)) for n in ("one.weight", "two.weight")])
    for got, rows in (
        (criteria.batch_norm_scale(params, spec, reduce=how)["one"], scales),
        (pt.lp_norm(params, spec, reduce=how)["one"], norms),
    ):
        want = {"sum": rows.sum(0), "mean": rows.mean(0), "max": rows.amax(0), "first": rows[0]}
        torch.testing.assert_close(got, want[how])


def test_what_weights_cannot_say_is_refused() -> None:
    params, spec = NETWORKS["bare"]
    with pytest.raises(pt.MaskError, match="no axis of this spec has a batch norm"):
        criteria.batch_norm_scale(params, spec)
    with pytest.raises(pt.MaskError, match="no way to reduce is named 'avg'"):
        shared, other = NETWORKS["convolutions"]
        pt.lp_norm(shared, other, reduce="avg")  # type: ignore[arg-type]
