"""Constants of removed units move into biases without a change of the function, or it is said why
they cannot.
"""

from __future__ import annotations

import pytest
import torch
from networks import randomise
from torch import Tensor, nn

import purethin as pt

SEED = torch.Generator().manual_seed(0)


def data(*shape: int) -> Tensor:
    return torch.randn(shape, generator=SEED, dtype=torch.float64)


def silenced(net: nn.Sequential, unit: int) -> nn.Sequential:
    """A unit of the first layer whose filter is zero; its bias and batch norm live on."""
    randomise(net)
    with torch.no_grad():
        net.get_parameter("0.weight")[unit] = 0
    return net


NETS = {
    "a live bias through sigmoid": (
        nn.Sequential(nn.Linear(3, 5), nn.Sigmoid(), nn.Linear(5, 2)),
        (7, 3),
    ),
    "a live batch norm": (
        nn.Sequential(nn.Conv2d(2, 5, 1), nn.BatchNorm2d(5), nn.GELU(), nn.Conv2d(5, 3, 3)),
        (4, 2, 6, 6),
    ),
    "softplus between convolutions, grouped": (
        nn.Sequential(nn.Conv2d(2, 6, 3), nn.Softplus(), nn.Conv2d(6, 4, 1, groups=2)),
        (4, 2, 6, 6),
    ),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NETS)
def test_what_is_constant_moves_into_a_bias_and_thinning_changes_nothing(
    name: str, dtype: torch.dtype
) -> None:
    net, shape = NETS[name]
    net = silenced(net, 1).to(dtype)
    if "grouped" in name:
        with torch.no_grad():
            net.get_parameter("0.weight")[4] = 0
    params, x, unseen = pt.params_of(net), data(*shape).to(dtype), data(*shape).to(dtype)
    spec = pt.infer(net, params, x)
    axis = max(spec.axes.values(), key=lambda a: (a.size, "0.weight" in str(a.producers)))
    masks = {axis.name: torch.arange(axis.size) != 1}
    new = pt.fold(params, spec, masks, pt.measure(net, params, spec, [x], gram=True))
    with torch.no_grad():
        want = net(unseen)
        torch.testing.assert_close(pt.rebuild(net, new, {})(unseen), want)
        torch.testing.assert_close(pt.rebuild(net, *pt.thin(new, spec, masks))(unseen), want)
        plain = pt.rebuild(net, *pt.thin(params, spec, masks))(unseen)
    assert not torch.allclose(plain, want)


@pytest.mark.parametrize(
    ("net", "unit", "words"),
    [
        (nn.Sequential(nn.Linear(3, 5), nn.Sigmoid(), nn.Linear(5, 2)), 2, "is not constant"),
        (
            nn.Sequential(nn.Linear(3, 5), nn.Sigmoid(), nn.Linear(5, 2, bias=False)),
            1,
            "has no bias to take",
        ),
    ],
)
def test_what_cannot_move_is_refused(net: nn.Sequential, unit: int, words: str) -> None:
    net = silenced(net, 1)
    params, x = pt.params_of(net), data(7, 3)
    spec = pt.infer(net, params, x)
    masks = {next(iter(spec.axes)): torch.arange(5) != unit}
    with pytest.raises(pt.MaskError, match=words):
        pt.fold(params, spec, masks, pt.measure(net, params, spec, [x]))


def test_a_padded_convolution_is_refused() -> None:
    net = silenced(
        nn.Sequential(nn.Conv2d(2, 5, 1), nn.Sigmoid(), nn.Conv2d(5, 3, 3, padding=1)), 1
    )
    params, x = pt.params_of(net), data(4, 2, 6, 6)
    spec = pt.infer(net, params, x)
    masks = {next(iter(spec.axes)): torch.arange(5) != 1}
    with pytest.raises(pt.MaskError, match="to see its padding"):
        pt.fold(params, spec, masks, pt.measure(net, params, spec, [x]))
    with pytest.raises(pt.MaskError, match="pads with zeros: at the border"):
        pt.fold(params, spec, masks, pt.measure(net, params, spec, [x], gram=True))


def test_means_are_flaps_bias() -> None:
    net = nn.Sequential(nn.Linear(3, 5), nn.Sigmoid(), nn.Linear(5, 2))
    randomise(net)
    params, x = pt.params_of(net), data(7, 3)
    spec = pt.infer(net, params, x)
    masks = {next(iter(spec.axes)): torch.arange(5) > 1}
    new = pt.fold(params, spec, masks, pt.measure(net, params, spec, [x]), means=True)
    with torch.no_grad():
        mean = net[:2](x).mean(0)[:2]
    want = params["2.bias"] + params["2.weight"][:, :2] @ mean
    torch.testing.assert_close(new["2.bias"], want)


class Read(nn.Module):
    """A unit that gives a constant, read by a layer twice, or by a sum."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.up, self.down = how, nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.up(x).sigmoid()
        if self.how == "a sum":
            return self.down(h) + h.sum(-1, keepdim=True)
        return self.down(h) + self.down(h * (2 if self.how == "twice" else 1))


@pytest.mark.parametrize(
    ("how", "words"), [("a sum", "a sum over it"), ("twice", "other constants"), ("same", "")]
)
def test_all_that_reads_a_constant_must_take_it(how: str, words: str) -> None:
    net, x = Read(how), data(7, 3)
    randomise(net)
    with torch.no_grad():
        net.up.weight[1] = 0
    params = pt.params_of(net)
    spec = pt.infer(net, params, x)
    masks, stats = {"up": torch.arange(5) != 1}, pt.measure(net, params, spec, [x])
    if words:
        with pytest.raises(pt.MaskError, match=words):
            pt.fold(params, spec, masks, stats)
    else:
        small = pt.rebuild(net, *pt.thin(pt.fold(params, spec, masks, stats), spec, masks))
        with torch.no_grad():
            torch.testing.assert_close(small(x), net(x))


def test_stats_that_lack_a_reader_are_refused() -> None:
    net, x = Read("same"), data(7, 3)
    randomise(net)
    params = pt.params_of(net)
    spec = pt.infer(net, params, x)
    with pytest.raises(pt.MaskError, match="was not measured"):
        pt.fold(
            params, spec, {"up": torch.arange(5) != 1}, type(pt.measure(net, params, spec, [x]))()
        )
