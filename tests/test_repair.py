"""Repair against least squares written out, in float64; on held-out data never worse than none."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import random_masks, randomise
from pages import run
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

import purethin as pt

SEED = torch.Generator().manual_seed(0)


def data(*shape: int) -> Tensor:
    return torch.randn(shape, generator=SEED, dtype=torch.float64)


class Block(nn.Module):
    """A feed-forward block in a stream that a layer norm reads."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(5, 7), nn.Linear(7, 5)
        self.norm, self.head = nn.LayerNorm(5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x + self.fc2(F.gelu(self.fc1(x)))))


def ridge_fit(x: Tensor, lacking: Tensor, weights: Tensor, ridge: float) -> Tensor:
    """The change, written out: a last feature of 1 for the bias; the ridge on each feature is the
    geometric mean of its energy and the mean one's.
    """
    x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    energy = (weights[:, None] * x**2).sum(0)
    level = energy.mean()
    p = ridge * (energy * level).sqrt() + 1e-9 * level
    rows = torch.cat([weights.sqrt()[:, None] * x, torch.diag(p.sqrt())])
    aims = torch.cat([weights.sqrt()[:, None] * lacking, torch.zeros(len(p), lacking.shape[1])])
    return torch.linalg.lstsq(rows, aims).solution


@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_a_reader_before_a_norm_is_fitted_to_what_the_norm_reads_each_position_by_its_variance(
    ridge: float,
) -> None:
    net = randomise(Block())
    params, x, held = pt.params_of(net), data(400, 5), data(400, 5)
    spec = pt.infer(net, params, x)
    masks = {"fc1": torch.arange(7) % 3 != 0}
    new = pt.repair(net, params, spec, masks, [x], held_out=[held], ridges=[ridge])
    assert not torch.equal(new["fc2.weight"], pt.mask(params, spec, masks)["fc2.weight"])
    x = torch.cat([x, held])  # the ridge is chosen by what is held out, then fitted to all
    hidden = F.gelu(F.linear(x, params["fc1.weight"], params["fc1.bias"]))
    stream = x + F.linear(hidden, params["fc2.weight"], params["fc2.bias"])
    kept = hidden * masks["fc1"]
    lacking = F.linear(hidden - kept, params["fc2.weight"])
    weights = 1 / (stream.var(1, correction=0) + 1e-5)
    full = ridge_fit(kept[:, masks["fc1"]], lacking, weights, ridge)
    got = new["fc2.weight"][:, masks["fc1"]] - params["fc2.weight"][:, masks["fc1"]]
    torch.testing.assert_close(got, full[:-1].T, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(new["fc2.bias"] - params["fc2.bias"], full[-1])


TWINS: dict[str, tuple[nn.Module, nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(4, 6), nn.Linear(6, 3), (12, 4)),
    "convolution": (nn.Conv2d(2, 6, 1), nn.Conv2d(6, 4, 3, padding=1), (6, 2, 5, 5)),
    "grouped": (nn.Conv2d(2, 8, 1), nn.Conv2d(8, 6, 3, stride=2, groups=2), (20, 2, 5, 5)),
    "transposed": (
        nn.Conv2d(2, 6, 1),
        nn.ConvTranspose2d(6, 4, (3, 2), stride=2, padding=1, output_padding=1, dilation=(1, 2)),
        (6, 2, 4, 4),
    ),
    "transposed, grouped": (
        nn.Conv1d(2, 8, 1),
        nn.ConvTranspose1d(8, 6, 3, stride=2, groups=2),
        (9, 2, 5),
    ),
    "dilated": (nn.Conv1d(2, 5, 1), nn.Conv1d(5, 4, 3, dilation=2, bias=False), (8, 2, 9)),
}


@pytest.mark.parametrize("name", TWINS)
def test_a_unit_with_a_twin_goes_without_a_trace(name: str) -> None:
    first, second, shape = TWINS[name]
    with torch.no_grad():
        for p in randomise(first).parameters():
            p[1] = p[0]
            if "grouped" in name:
                p[5] = p[4]
    net = nn.Sequential(first, nn.Tanh(), randomise(second))
    params, x, held = pt.params_of(net), data(*shape), data(*shape)
    spec = pt.infer(net, params, x)
    axis = max(spec.axes.values(), key=lambda a: a.size)
    masks = {axis.name: torch.arange(axis.size) != 1}
    new = pt.repair(net, params, spec, masks, [x], held_out=[held], ridges=[1e-10])
    with torch.no_grad():
        want, plain = net(held), pt.rebuild(net, pt.mask(params, spec, masks), {})(held)
        got = pt.rebuild(net, *pt.thin(new, spec, masks))(held)
    assert (want - plain).abs().max() > 1e-2
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


class Recurrent(nn.Module):
    """A layer, and a recurrent one that reads it."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        self.first = nn.Linear(3, 6)
        self.second = getattr(nn, kind)(6, 4, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))[0]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"bias": False}])
def test_a_recurrent_layer_reads_on_as_if_the_twin_were_there(
    kind: str, options: dict[str, bool]
) -> None:
    net: Any = randomise(Recurrent(kind, **options))
    with torch.no_grad():
        for p in net.first.parameters():
            p[1] = p[0]
    params, x, held = pt.params_of(net), data(9, 5, 3), data(4, 5, 3)
    spec = pt.infer(net, params, x)
    masks = {"first": torch.arange(6) != 1}
    new = pt.repair(net, params, spec, masks, [x], held_out=[held], ridges=[1e-10])
    with torch.no_grad():
        want, plain = net(held), pt.rebuild(net, pt.mask(params, spec, masks), {})(held)
        got = pt.rebuild(net, *pt.thin(new, spec, masks))(held)
    assert (want - plain).abs().max() > 1e-2
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_on_held_out_data_no_repair_is_worse_than_none(seed: int) -> None:
    net = randomise(
        nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.GELU(),
            nn.Flatten(), nn.Linear(32, 5), nn.LayerNorm(5), nn.Linear(5, 3),
        ),
        seed,
    )  # fmt: skip
    params, x, held = pt.params_of(net), data(3, 2, 6, 6), data(9, 2, 6, 6)
    spec = pt.infer(net, params, x)
    masks = random_masks(spec, [*spec.axes], seed=seed)
    new = pt.repair(net, params, spec, masks, [x], held_out=[held], ridges=[1e-3, 1.0])

    def far(given: dict[str, Tensor]) -> float:
        with torch.no_grad():
            return float((pt.rebuild(net, given, {})(held) - net(held)).square().sum())

    masked = pt.mask(params, spec, masks)
    assert far(new) <= far(masked)
    again = pt.mask(new, spec, masks)
    assert all(torch.equal(again[name], t) for name, t in new.items())
    assert all(torch.equal(params[n], t) for n, t in pt.params_of(net).items())


def test_one_batch_alone_is_refused() -> None:
    net = randomise(Block())
    params, x = pt.params_of(net), data(4, 5)
    spec = pt.infer(net, params, x)
    with pytest.raises(pt.MaskError, match="give several, or held_out="):
        pt.repair(net, params, spec, {"fc1": torch.arange(7) > 0}, [x])


def test_fresh_statistics_are_those_that_torch_gives_a_module() -> None:
    net = randomise(nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)))
    params, batches = pt.params_of(net), [data(4, 2, 3, 3), data(4, 2, 3, 3)]
    before = {n: t.clone() for n, t in params.items()}
    new = pt.fresh_statistics(net, params, batches)
    other = copy.deepcopy(net)
    update_bn(batches, other)
    for name in ("1.running_mean", "1.running_var"):
        torch.testing.assert_close(new[name], other.state_dict()[name])
        assert not torch.equal(new[name], before[name])
    assert all(torch.equal(params[n], t) for n, t in before.items())
    assert {*new} == {*params}
    with pytest.raises(pt.MaskError, match="no batch"):
        pt.fresh_statistics(net, params, [])


def test_a_whole_branch_leaves_its_reader_alone_and_ridges_are_numbers() -> None:
    net = nn.Sequential(nn.Linear(3, 6), Branch(), nn.Linear(6, 2))
    batches = [torch.rand(8, 3) for _ in range(3)]
    params = pt.params_of(net)
    spec = pt.infer(net, params, batches[0], branches=True)
    masks = pt.drop(spec, "1.up")
    new = pt.repair(net, params, spec, masks, batches)
    assert pt.check(net, new, spec, masks, batches[0]).equal
    for ridges in ([], [-1.0]):
        with pytest.raises(pt.MaskError, match="ridges are"):
            pt.repair(net, params, spec, masks, batches, ridges=ridges)


class Branch(nn.Module):
    """A residual branch."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up(x).relu())


def test_the_page_shows_what_its_code_prints(tmp_path: Path) -> None:
    page = Path(__file__).parents[1] / "docs" / "repair.md"
    outputs = run(page.read_text(), tmp_path, {"__name__": "page"})
    assert len(outputs) == 3
    assert [o.printed for o in outputs] == [o.shown for o in outputs]
