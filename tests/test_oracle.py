"""The oracle against a loop that removes each unit in turn."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from networks import randomise
from resnet_cifar import ResNet
from test_gates import Gated, bert
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

import purethin as pt
from purethin.oracle import Loss

Net = tuple[Loss, dict[str, Tensor], pt.Spec, list[tuple[Tensor, ...]]]


def classifier(model: nn.Module, x: Tensor, y: Tensor) -> Net:
    params = pt.params_of(model)

    def loss(params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, params, (x,)), y)

    halves = [*zip(x.chunk(2), y.chunk(2), strict=True)]
    return loss, params, pt.infer(model, params, x[:1]), halves


def gated() -> Net:
    x = torch.randn(4, 2, 5, 5, dtype=torch.float64)
    return classifier(randomise(Gated()), x, torch.arange(4) % 3)


def resnet() -> Net:
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    return classifier(randomise(ResNet(1, 4, 3)), x, torch.arange(4))


def heads() -> Net:
    model = randomise(bert())
    params = pt.params_of(model)
    aim = torch.randn(12, dtype=torch.float64)

    def loss(params: dict[str, Tensor], tokens: Tensor) -> Tensor:
        return (functional_call(model, params, (tokens,))[0] @ aim).square().mean()

    tokens = torch.arange(10).reshape(2, 5)
    return loss, params, pt.infer(model, params, tokens), [(tokens,), (tokens.flip(1),)]


def crepe_like() -> Net:
    model = nn.Sequential(
        nn.Conv1d(1, 5, 4, stride=2),
        nn.ReLU(),
        nn.BatchNorm1d(5),
        nn.MaxPool1d(2),
        nn.Conv1d(5, 4, 3, padding=1, groups=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
    x = torch.randn(4, 1, 18, dtype=torch.float64)
    return classifier(randomise(model), x, torch.arange(4) % 3)


def grouped() -> Net:
    model = nn.Sequential(
        nn.Conv2d(2, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, padding=1, groups=2),
        nn.Sigmoid(),
        nn.Conv2d(6, 6, 1, groups=6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )
    x = torch.randn(4, 2, 4, 4, dtype=torch.float64)
    return classifier(randomise(model), x, torch.arange(4) % 3)


NETS: list[Callable[[], Net]] = [gated, resnet, heads, crepe_like, grouped]


def by_loop(net: Net, masks: dict[str, Tensor]) -> Tensor:
    loss, params, spec, batches = net
    masked = pt.mask(params, spec, masks)
    changes = [loss(masked, *batch) - loss(params, *batch) for batch in batches]
    return torch.stack(changes).mean()


@pytest.mark.parametrize("make", NETS)
def test_each_unit_scores_what_the_loss_gains_without_it(make: Callable[[], Net]) -> None:
    net = make()
    spec = net[2]
    got = pt.leave_one_out(*net, chunk=16)
    assert tuple(got) == spec.exact
    for axis, scores in got.items():
        masks = ~torch.eye(spec.sizes[axis], dtype=torch.bool)
        some = slice(None, None, 1 + len(masks) // 8)
        want = torch.stack([by_loop(net, {axis: m}) for m in masks[some]])
        torch.testing.assert_close(scores[some], want)
        assert scores.abs().max() > 0


def test_an_inexact_axis_is_tried_where_it_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 3))
    net = classifier(randomise(model), torch.randn(4, 3, dtype=torch.float64), torch.arange(4) % 3)
    axis = next(a.name for a in net[2].axes.values() if not a.exact)
    got = pt.leave_one_out(*net, axes=axis)[axis]
    keep = torch.arange(len(got)) != 2
    torch.testing.assert_close(got[2], by_loop(net, {axis: keep}))


def test_the_size_of_a_chunk_changes_nothing() -> None:
    net = gated()
    first, *others = [pt.leave_one_out(*net, chunk=chunk) for chunk in (None, 1, 2, 64)]
    for other in others:
        for axis, scores in first.items():
            torch.testing.assert_close(other[axis], scores)


def test_pairs_and_subsets_are_tried_together() -> None:
    net = gated()
    spec = net[2]
    pairs = pt.subsets(spec, 2, axes="up")
    assert [(~m).nonzero()[:, 0].tolist() for m in pairs["up"]] == [
        [*pair] for pair in combinations(range(5), 2)
    ]
    got = pt.leave_out(*net, pairs)
    want = torch.stack([by_loop(net, {"up": m}) for m in pairs["up"]])
    torch.testing.assert_close(got, want)
    some = pt.subsets(spec, 3, 7, generator=torch.Generator().manual_seed(0))
    assert torch.cat([~m for m in some.values()], 1).sum(1).tolist() == [3] * 7
    torch.testing.assert_close(
        pt.leave_out(*net, some)[4], by_loop(net, {n: m[4] for n, m in some.items()})
    )


def test_what_vmap_cannot_do_runs_one_by_one_and_says_so() -> None:
    loss, params, spec, batches = gated()

    def looks(params: dict[str, Tensor], *batch: Tensor) -> Tensor:
        value = loss(params, *batch)
        return value if value.item() > 0 else -value

    with pytest.warns(UserWarning, match="vmap cannot batch this loss, so masks run one by one"):
        got = pt.leave_one_out(looks, params, spec, batches[:1], axes="up")
    want = pt.leave_one_out(loss, params, spec, batches[:1], axes="up")
    torch.testing.assert_close(got["up"], want["up"])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"axes": "u"}, pt.SpecError, "'u' matches no axis"),
        ({"batches": []}, pt.MaskError, "there is no batch"),
        ({"loss": lambda p, x, y: x}, pt.SpecError, "give a scalar"),
        ({"chunk": -2}, pt.MaskError, "chunk is -2"),
    ],
)
def test_what_cannot_be_tried_is_an_error(
    change: dict[str, object], error: type[Exception], words: str
) -> None:
    given = dict(zip(("loss", "params", "spec", "batches"), gated(), strict=True))
    with pytest.raises(error, match=words):
        pt.leave_one_out(**{**given, **change})


def test_more_subsets_than_can_be_listed_are_refused() -> None:
    spec = gated()[2]
    with pytest.raises(pt.MaskError, match="0 units are asked for"):
        pt.subsets(spec, 0)
    with pytest.raises(pt.MaskError, match="-1 subsets are asked for"):
        pt.subsets(spec, 1, -1)
    loss, held, _, batches = gated()
    soft = {"up": torch.rand(3, spec.sizes["up"])}
    with pytest.raises(
        pt.MaskError, match=r"the masks of 'up' are torch.float\d+: give torch.bool"
    ):
        pt.leave_out(loss, held, spec, batches, soft)
    params = {"w": torch.zeros(4000, 1)}
    with pytest.raises(pt.MaskError, match="give a count"):
        pt.subsets(pt.Spec.from_layout({"w": "h 1"}, params), 3)
