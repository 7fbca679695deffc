"""Sums over batches against what a forward with its layers written out sees, unit by unit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import random_masks, randomise
from patterns.weight_norm import NORMS
from strategies import entries
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, prune

import purethin as pt
from purethin import axes as ax
from purethin.measures import Measure, scores, sums


class Branches(nn.Module):
    """Batch norm and ReLU, a depthwise convolution, a concatenation, and a linear layer behind a
    flatten.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.deep = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.both, self.grouped = nn.Conv2d(10, 8, 1), nn.Conv2d(8, 6, 3, padding=1, groups=2)
        self.fc1, self.fc2 = nn.Linear(6 * 4 * 4, 5), nn.Linear(5, 2)

    def seen(self, x: Tensor) -> dict[str, Tensor]:
        """The activation of each layer as the next one sees it."""
        one = torch.relu(self.bn1(self.conv1(x)))
        two = torch.relu(self.deep(torch.relu(self.conv2(x))))
        three = torch.relu(self.both(torch.cat([one, two], 1)))
        four = torch.relu(self.grouped(three))
        five = torch.relu(self.fc1(four.flatten(1)))
        return {
            "conv1": one,
            "conv2": two,
            "both": three,
            "grouped": four,
            "fc1": five,
            "out": self.fc2(five),
        }

    def forward(self, x: Tensor) -> Tensor:
        return self.seen(x)["out"]


NET: Any = randomise(Branches())
PARAMS = pt.params_of(NET)
X = torch.randn(5, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
SPEC = pt.infer(NET, PARAMS, X)
LAYERS = ("conv1", "conv2", "both", "grouped", "fc1")
CASES = [
    (layer, axis)
    for layer in LAYERS
    for axis in dict.fromkeys(ax.names(SPEC.layout[f"{layer}.weight"][0]))
]
"""Each layer and each axis of its outputs."""


def loss(outputs: Any) -> Tensor:
    return outputs.square().mean()


def one_by_one(
    kind: str, activation: Tensor, channels: ax.Axes, axis: str, spec: pt.Spec
) -> list[float]:
    """The mean over the activations of each unit, or the fraction that is not zero, an activation
    at a time.
    """
    out: list[list[float]] = [[] for _ in range(spec.axes[axis].size)]
    for channel, units in enumerate(entries(channels, spec.sizes)):
        for of, unit in units:
            if of == axis:
                out[unit] += activation[:, channel].flatten().tolist()
    return [
        sum(float(a != 0) if kind == "apoz" else a for a in values) / len(values) for values in out
    ]


@pytest.mark.parametrize("kind", ["apoz", "activation_mean"])
@pytest.mark.parametrize(("layer", "axis"), CASES)
def test_an_activation_is_what_the_next_layer_reads_unit_by_unit(
    kind: str, layer: str, axis: str
) -> None:
    measure = Measure(kind, f"{layer}.weight", 0, axis)
    got = scores(sums(NET, PARAMS, SPEC, [measure], [X]))[measure]
    # The groups of the grouped convolution are one axis from "both" on: what reads it next is the
    # linear layer.
    seen = "grouped" if axis == "both.0" else layer
    want = one_by_one(kind, NET.seen(X)[seen], SPEC.layout[f"{seen}.weight"][0], axis, SPEC)
    assert torch.allclose(got, torch.tensor(want, dtype=got.dtype))
    assert len(set(want)) > 1


def test_where_nothing_reads_the_axis_it_is_the_layers_own_output() -> None:
    spec = pt.Spec.from_layout({"conv1.weight": "c 3 3 3", "fc1.weight": "h (6 16)"}, PARAMS)
    measures = [
        Measure("activation_mean", "conv1.weight", 0, "c"),
        Measure("activation_mean", "fc1.weight", 0, "h"),
    ]
    got = scores(sums(NET, PARAMS, spec, measures, [X]))
    assert torch.allclose(got[measures[0]], NET.conv1(X).mean((0, 2, 3)))
    assert torch.allclose(got[measures[1]], NET.fc1(NET.seen(X)["grouped"].flatten(1)).mean(0))


def test_where_the_weight_itself_reads_the_axis_it_is_its_layers_input() -> None:
    got = scores(
        sums(
            NET,
            PARAMS,
            SPEC,
            [measure := Measure("activation_mean", "both.weight", 1, "conv2")],
            [X],
        )
    )[measure]
    assert torch.allclose(got, NET.seen(X)["conv2"].mean((0, 2, 3)))


def test_the_neurons_of_a_transformers_mlp_are_the_last_dim() -> None:
    # in eval mode torch has a fused path for it
    layer: Any = randomise(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True))
    params, x = pt.params_of(layer), torch.randn(3, 5, 8, dtype=torch.float64)
    spec = pt.infer(layer, params, x)
    (axis,) = ax.names(spec.layout["linear1.weight"][0])
    got = scores(
        sums(layer, params, spec, [measure := Measure("apoz", "linear1.weight", 0, axis)], [x])
    )[measure]
    hidden = layer.linear1(layer.norm1(x + layer.self_attn(x, x, x)[0]))
    assert torch.allclose(got, (hidden > 0).double().mean((0, 1)))


def test_the_widths_of_mobilenets_residual_stream_are_measured_where_it_is_first_read() -> None:
    net: Any = torchvision.models.mobilenet_v2(weights=None).double().eval()
    params, x = pt.params_of(net), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    spec = pt.infer(net, params, x)
    measure = Measure("activation_mean", "features.2.conv.2.weight", 0, "features.2.conv.2")
    got = scores(sums(net, params, spec, [measure], [x]))[measure]
    assert torch.allclose(got, net.features[:3](x).mean((0, 2, 3)))


@pytest.mark.parametrize("how", [*NORMS, "spectral", "spectral by the old hook", "pruned"])
def test_a_weight_that_is_made_of_others_is_measured_at_the_layer_that_ran_with_it(
    how: str,
) -> None:
    made: dict[str, Any] = {
        **NORMS,
        "spectral": parametrizations.spectral_norm,
        "spectral by the old hook": nn.utils.spectral_norm,
        "pruned": lambda layer: prune.l1_unstructured(layer, "weight", amount=2),
    }
    parts = [
        nn.Conv2d(3, 4, 1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 1),
    ]
    net: Any = nn.Sequential(*(made[how](p) if isinstance(p, nn.Conv2d) else p for p in parts))
    randomise(net)
    net = nn.Sequential(*net, nn.Flatten(), nn.Linear(64, 2).double())
    params = pt.params_of(net)
    spec = pt.infer(net, params, X)
    for module, seen in ((0, 3), (3, 4), (4, 6)):  # a filter is measured where it is read next
        weights = [n for n, d in spec.layout.items() if n.startswith(f"{module}.") and len(d) == 4]
        weight = max((n for n in weights if n not in spec.buffers), key=lambda n: params[n].numel())
        (axis,) = ax.names(spec.layout[weight][0])
        measure = Measure("activation_mean", weight, 0, axis)
        got = scores(sums(net, params, spec, [measure], [X]))[measure]
        want = net[:seen](X).unflatten(1, (4, -1)) if seen == 6 else net[:seen](X)
        assert torch.allclose(got, want.flatten(2).mean((0, 2)))


def test_a_layer_that_runs_twice_is_measured_at_both() -> None:
    one, two = nn.Linear(3, 4).double(), nn.Linear(4, 3).double()

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = one, two

        def forward(self, x: Tensor) -> Tensor:
            return self.two(torch.relu(self.one(self.two(torch.relu(self.one(x))))))

    x = torch.randn(7, 3, dtype=torch.float64)
    params = pt.params_of(net := Twice())
    spec = pt.infer(net, params, x)
    found = sums(
        net, params, spec, [measure := Measure("activation_mean", "one.weight", 0, "one")], [x]
    )[measure]
    first = torch.relu(one(x))
    assert torch.allclose(
        found,
        torch.cat(
            [first.sum(0) + torch.relu(one(two(first))).sum(0), torch.tensor([14.0])]
        ).double(),
    )


# ---- gradients


def test_the_gradient_is_the_square_of_the_listed_weights_change_along_its_dim() -> None:
    measures = [
        Measure("gradient", "both.weight", 0, "both.1"),
        Measure("gradient", "both.weight", 1, "conv2"),
    ]
    found = sums(NET, PARAMS, SPEC, measures, [X], None, loss)
    weight = PARAMS["both.weight"].clone().requires_grad_()
    loss(functional_call(NET, PARAMS | {"both.weight": weight}, (X,))).backward()
    assert weight.grad is not None
    change = (weight.grad * weight).detach()
    assert torch.allclose(
        found[measures[0]],
        torch.tensor([*(change.sum((1, 2, 3)).reshape(2, 4).sum(0) ** 2), 1]).double(),
    )
    assert torch.allclose(
        found[measures[1]], torch.tensor([*(change.sum((0, 2, 3))[6:] ** 2), 1]).double()
    )


def test_a_weight_that_does_not_reach_the_loss_has_a_gradient_of_zero() -> None:
    def half(outputs: Tensor) -> Tensor:
        return outputs.sum() * 0 + NET.seen(X)["conv1"].sum() * 0

    measure = Measure("gradient", "conv1.weight", 0, "conv1")
    assert not sums(NET, PARAMS, SPEC, [measure], [X], loss=half)[measure][:-1].any()


# ---- laws

EVERY = [
    Measure(k, f"{layer}.weight", 0, axis)
    for layer, axis in CASES
    for k in ("apoz", "activation_mean", "gradient")
]


@given(st.lists(st.integers(0, 3), min_size=2, max_size=4).filter(any))
@settings(max_examples=10, deadline=None)
def test_activations_of_batches_add_up_to_those_of_one_large_batch(sizes: list[int]) -> None:
    x = torch.randn(sum(sizes), 3, 4, 4, dtype=torch.float64)
    of_activations = [m for m in EVERY if m.kind != "gradient"]
    whole = sums(NET, PARAMS, SPEC, of_activations, [x])
    parts = [sums(NET, PARAMS, SPEC, of_activations, [part]) for part in x.split(sizes)]
    for measure in of_activations:
        assert torch.allclose(sum(p[measure] for p in parts), whole[measure])  # pyright: ignore[reportArgumentType]


def test_gradients_of_batches_add_up_to_the_mean_of_squares() -> None:
    measure = EVERY[2]
    one, two = (sums(NET, PARAMS, SPEC, [measure], [x], loss=loss)[measure] for x in (X, -X))
    assert torch.equal(scores({measure: one + two})[measure], (one[:-1] + two[:-1]) / 2)


@pytest.mark.parametrize("train", [False, True])
def test_nothing_is_changed_and_no_hook_stays(train: bool) -> None:
    net = randomise(Branches()).train(train)
    net.requires_grad_(True)
    params = pt.params_of(net)
    before = {n: t.clone() for n, t in params.items()}

    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())

    first = sums(net, params, SPEC, EVERY, [X], {}, loss)
    with torch.no_grad():  # the gradient is taken all the same
        again = sums(net, params, SPEC, EVERY, [X], {}, loss)
    assert all(torch.equal(first[m], again[m]) for m in EVERY)
    assert all(
        torch.equal(t, before[n]) and t.grad is None and not t.requires_grad
        for n, t in params.items()
    )
    assert all(
        torch.equal(t, before[n]) and t.grad is None
        for n, t in [*net.named_parameters(), *net.named_buffers()]
    )
    assert hooks() == 0
    with pytest.raises(RuntimeError):
        sums(net, params, SPEC, EVERY, [X[:, :2]], {}, loss)
    assert hooks() == 0
    assert net.training == train


def test_what_is_measured_after_thinning_is_what_is_left_of_the_masked_network() -> None:
    masks = random_masks(SPEC, ["conv1", "conv2", "fc1"])
    small, config = pt.thin(PARAMS, SPEC, masks)
    thinned, masked = pt.rebuild(NET, small, config), pt.mask(PARAMS, SPEC, masks)
    now = sums(thinned, small, pt.thin_spec(SPEC, masks), EVERY, [X], {}, loss)
    dense = sums(NET, masked, SPEC, EVERY, [X], {}, loss)
    for measure in EVERY:
        kept = masks.get(measure.axis, torch.ones(SPEC.sizes[measure.axis], dtype=torch.bool))
        assert torch.allclose(now[measure][:-1], dense[measure][:-1][kept])


# ---- refusals


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (
            Measure("apos", "conv1.weight", 0, "conv1"),
            "no measure is named 'apos'; did you mean 'apoz'",
        ),
        (Measure("apoz", "conv1.weight", 0, "conv3"), "no axis is named 'conv3'; did you mean"),
        (
            Measure("apoz", "conv1.weight", 1, "conv1"),
            "dim 1 of conv1.weight does not carry 'conv1'; these do: dim 0 of conv1.w",
        ),
        (
            Measure("gradient", "conv1.weight", 0, "conv1"),
            "the gradient of conv1.weight needs a loss: give a function",
        ),
    ],
)
def test_a_measure_that_does_not_fit_is_refused(measure: Measure, message: str) -> None:
    with pytest.raises(pt.SpecError) as refused:
        sums(NET, PARAMS, SPEC, [measure], [X])
    assert message in str(refused.value)


def test_an_axis_whose_activation_no_module_shows_is_refused() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Parameter(torch.ones(4, 3)), nn.Parameter(torch.ones(2, 4))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x @ self.one.T) @ self.two.T

    params = pt.params_of(net := Hidden())
    spec = pt.infer(net, params, torch.ones(1, 3))
    with pytest.raises(
        pt.SpecError,
        match="no activation of 'one' was seen: the module of one did not run, or returns what",
    ):
        sums(net, params, spec, [Measure("apoz", "one", 0, "one")], [torch.ones(1, 3)])


def test_sums_of_no_batch_have_no_scores() -> None:
    with pytest.raises(pt.SpecError, match="nothing was summed for apoz of 'h'"):
        scores({Measure("apoz", "w", 0, "h"): torch.zeros(3)})
