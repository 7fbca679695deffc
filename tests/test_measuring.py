"""What a measurement sums, against forwards whose layers are written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from measured import CASES, NET, PARAMS, SPEC, Stream, X, inputs
from networks import random_masks, randomise
from torch import Tensor, nn
from torch.func import functional_call

import purethin as pt
from purethin import axes as ax
from purethin.measuring.stats import Stats


def reading(stats: Stats, call: str) -> Any:
    return next(f for f in stats.features if f.site.call.split()[1].startswith(call))


def test_each_reader_of_convolutions_is_seen_with_the_data_that_it_takes() -> None:
    stats = pt.measure(NET, PARAMS, SPEC, X.split([2, 3]))
    for call, x in list(NET.seen(X).items())[:3]:
        found = reading(stats, call)
        rows = x.detach().movedim(1, 0).flatten(1)
        want = {
            "total": rows.sum(1),
            "square": rows.square().sum(1),
            "absolute": rows.abs().sum(1),
            "nonzero": (rows != 0).sum(1).double(),
            "peak": rows.abs().amax(1),
        }
        assert found.positions == rows.shape[1]
        assert found.examples == 5
        for name, values in want.items():
            torch.testing.assert_close(getattr(found, name), values)
        torch.testing.assert_close(found.variance, rows.var(1, correction=0))


def test_what_is_pooled_is_the_norm_of_a_unit_meant_over_the_places_of_each_example() -> None:
    stats = pt.measure(NET, PARAMS, SPEC, X.split([2, 3]))
    seen = {name: x.detach() for name, x in NET.seen(X).items()}
    for call in ("grouped", "fc1"):
        found = reading(stats, call)
        for axis in found.site.axes:
            unit = ax.units(found.site.channels, axis, SPEC.sizes)
            for u in range(SPEC.axes[axis].size):
                norms = seen[call][:, unit == u].norm(dim=1).reshape(5, -1)
                want = norms.mean(1).square().sum()
                torch.testing.assert_close(found.pooled[axis][u], want)
    assert len(reading(stats, "fc1").site.axes) == 2  # the groups, and the channels in each


def test_second_moments_are_those_of_what_the_rows_of_a_weight_are_multiplied_with() -> None:
    stats = pt.measure(NET, PARAMS, SPEC, X.split([2, 3]), gram=True)
    for call, layer in (("grouped", NET.grouped), ("fc1", NET.fc1)):
        gram = reading(stats, call).gram
        x = NET.seen(X)[call].detach()
        out = (layer(x) - layer.bias.reshape([1, -1] + [1] * (x.dim() - 2))).detach()
        groups = getattr(layer, "groups", 1)
        rows = layer.weight.detach().flatten(1).unflatten(0, (groups, -1))
        # Σ out² = w·G·wᵀ, Σ out = w·total
        square = torch.einsum("gof,gfe,goe->go", rows, gram.matrix, rows).flatten()
        out = out.movedim(1, 0).flatten(1)
        torch.testing.assert_close(square, out.square().sum(1))
        torch.testing.assert_close(
            torch.einsum("gof,gf->go", rows, gram.total).flatten(), out.sum(1)
        )
        assert gram.weight == out.shape[1]


def test_only_the_axes_asked_for_have_second_moments() -> None:
    stats = pt.measure(NET, PARAMS, SPEC, [X], gram="fc*")
    assert [f.site.call.split()[1] for f in stats.features if f.gram] == ["fc2.weight"]
    with pytest.raises(pt.SpecError, match="'fc9' matches no axis; did you mean 'fc1'"):
        pt.measure(NET, PARAMS, SPEC, [X], gram=["fc9"])


@pytest.mark.parametrize("rms", [False, True])
def test_each_position_is_weighted_by_what_the_norm_of_the_sum_divides_by(rms: bool) -> None:
    net: Any = randomise(Stream(rms=rms))
    params, x = pt.params_of(net), inputs(3, 4, 3)
    spec = pt.infer(net, params, x[:1])
    down = reading(pt.measure(net, params, spec, x.split([1, 2]), gram=["up"]), "down")
    assert down.site.norm.centred is not rms
    stream = net.embed(x)
    hidden = torch.relu(net.up(stream)).detach().flatten(0, 1)
    total = (stream + net.down(torch.relu(net.up(stream)))).detach().flatten(0, 1)
    spread = total.square().mean(-1) if rms else total.var(-1, correction=0)
    weights = 1 / (spread + 1e-5)
    torch.testing.assert_close(down.gram.matrix[0], hidden.T @ hidden)
    torch.testing.assert_close(down.weighted.matrix[0], hidden.T @ (hidden * weights[:, None]))
    torch.testing.assert_close(down.weighted.total[0], weights @ hidden)
    assert down.weighted.weight == pytest.approx(float(weights.sum()))
    up = [s for s in spec.sites if s.call.startswith("linear up")]
    assert [s.norm for s in up] == [None]  # a nonlinearity follows


def by_gate(
    model: Any,
    params: Any,
    spec: pt.Spec,
    readers: Any,
    of: tuple[str, int],
    x: Tensor,
    loss: Any,
) -> Tensor:
    """`Tensor[examples]`: the derivative by a factor on the weights that read a unit."""

    def changed(factor: float) -> Tensor:
        moved = dict(params)
        for p, dim in readers:
            mine = ax.units(spec.layout[p][dim], of[0], spec.sizes) == of[1]
            shape = [-1 if d == dim else 1 for d in range(moved[p].dim())]
            moved[p] = moved[p] * (1 + (factor - 1) * mine.double()).reshape(shape)
        if isinstance(model, nn.Module):
            return loss(functional_call(model, moved, (x,)), x)
        return loss(model(moved, x), x)

    return (changed(1 + 1e-5) - changed(1 - 1e-5)) / 2e-5


@pytest.mark.parametrize("case", CASES)
def test_every_axis_has_data_and_the_first_order_sums_are_those_of_its_gate(case: str) -> None:
    """Where weights read it: by finite differences."""
    model, given, x = CASES[case]
    params = pt.params_of(model) if given is None else given
    spec = pt.infer(model, params, x[:1])

    def loss(outputs: Tensor, batch: Any) -> Tensor:
        return outputs.square().flatten(1).sum(1)

    stats = pt.measure(model, params, spec, x.split([2, len(x) - 2]), loss=loss)
    assert all(stats.at(name) for name in spec.axes)
    assert stats.gradients is not None
    assert stats.gradients.count == len(x)
    for name in spec.axes:
        reading = [s for s in spec.sites if s.role == "reads" and name in s.axes]
        readers = spec.axes[name].gates or {p for s in reading for p in s.weights}
        for unit in range(0, spec.axes[name].size if readers else 0, 2):
            slope = by_gate(model, params, spec, readers, (name, unit), x, loss)
            torch.testing.assert_close(
                stats.gradients.read[name][unit], slope.square().mean(), rtol=1e-6, atol=1e-8
            )


def test_a_scalar_loss_gives_one_gradient_a_batch() -> None:
    def loss(outputs: Tensor, batch: Any) -> Tensor:
        return outputs.square().sum()

    stats = pt.measure(NET, PARAMS, SPEC, X.split([2, 3]), loss=loss)
    assert stats.gradients is not None
    weight = NET.fc1.weight
    each = [torch.autograd.grad(NET(x).square().sum(), weight)[0] for x in X.split([2, 3])]
    assert stats.gradients.count == 2
    torch.testing.assert_close(stats.gradients.mean["fc1.weight"], sum(each) / 2)
    want = sum(g.square() for g in each) / 2
    torch.testing.assert_close(stats.gradients.square["fc1.weight"], want)
    weights = dict(NET.named_parameters())
    losses = [NET(x).square().sum() for x in X.split([2, 3])]
    found = [torch.autograd.grad(of, [*weights.values()]) for of in losses]
    taylor = pt.taylor(PARAMS, SPEC, [dict(zip(weights, g, strict=True)) for g in found])
    for name, scores in taylor.items():
        torch.testing.assert_close(stats.gradients.leaving[name], scores)


def test_thinned_networks_are_measured_by_their_own_spec() -> None:
    model = CASES["attention"][0]
    params, x = pt.params_of(model), CASES["attention"][2]
    spec = pt.infer(model, params, x[:1])
    masks = random_masks(spec)
    thinned, config = pt.thin(params, spec, masks)
    small = pt.rebuild(model, thinned, config)
    dense = pt.measure(model, pt.mask(params, spec, masks), spec, [x])
    thin = pt.measure(small, thinned, pt.thin_spec(spec, masks), [x])
    for one, other in zip(dense.features, thin.features, strict=True):
        assert one.site.call == other.site.call
        torch.testing.assert_close(one.total[one.total != 0], other.total[other.total != 0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_summed_wide(dtype: torch.dtype) -> None:
    params = {"w": torch.full((1, 2), 300.0, dtype=dtype), "v": torch.ones(2, 1, dtype=dtype)}
    x = torch.ones(70_000, 1, dtype=dtype)

    def net(p: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.relu(x @ p["w"]) @ p["v"]

    stats = pt.measure(net, params, pt.infer(net, params, x[:2]), [x], gram=True)
    assert stats.at("w")[0].total.tolist() == [300.0 * 70_000] * 2
    assert stats.at("w")[0].square.tolist() == pytest.approx([300.0**2 * 70_000] * 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_constant_has_no_variance_and_what_differs_at_one_place_has(dtype: torch.dtype) -> None:
    net = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1)).to(dtype)
    with torch.no_grad():
        net.get_parameter("0.weight")[:2] = 0
        net.get_parameter("0.weight")[1, 0] = 1
    x = torch.rand(501, 2).to(dtype)
    x[:, 0] = torch.arange(501) == 7
    params = pt.params_of(net)
    variance = pt.measure(net, params, pt.infer(net, params, x), [x]).at("0.weight")[0].variance
    assert variance[0] == 0 and bool((variance[1:] > 0).all())


def test_nothing_of_the_users_changes() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)
            self.register_buffer("runs", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.runs += 1
            return self.two(self.one(x).relu())

    model = Counting().train()
    params = pt.params_of(model)
    before = {n: t.clone() for n, t in params.items()}
    spec = pt.infer(model, params, torch.ones(1, 3))
    pt.measure(model, params, spec, [torch.ones(2, 3)], loss=lambda out, batch: out.sum())
    assert model.training
    assert all(torch.equal(params[n], t) for n, t in before.items())


def test_labels_in_a_batch_are_for_the_loss() -> None:
    labels = torch.arange(len(X)) % 2
    given = NET(X)
    grads = [
        torch.autograd.grad(nn.functional.cross_entropy(row, y), NET.fc2.weight, retain_graph=True)
        for row, y in zip(given, labels, strict=True)
    ]

    def loss(outputs: Tensor, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(outputs, batch[1], reduction="none")

    stats = pt.measure(NET, PARAMS, SPEC, [(X, labels)], loss=loss)
    assert stats.gradients is not None
    want = torch.stack([g for (g,) in grads])
    torch.testing.assert_close(stats.gradients.mean["fc2.weight"], want.mean(0))
    torch.testing.assert_close(stats.gradients.square["fc2.weight"], want.square().mean(0))


def test_examples_of_what_tokenizers_give_are_told_apart() -> None:
    from transformers import BatchEncoding

    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    params, x, y = pt.params_of(net), torch.rand(5, 3), torch.arange(5) % 2
    spec = pt.infer(net, params, x)

    def loss(outputs: Tensor, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(outputs, batch["y"], reduction="none")

    def net_of(p: Any, input: Tensor, y: Tensor) -> Tensor:
        return functional_call(net, p, (input,))

    given = {"input": x, "y": y}
    want, got = (
        pt.measure(net_of, params, spec, [batch], loss=loss).gradients
        for batch in (given, BatchEncoding(given))
    )
    assert want is not None and got is not None and got.count == want.count == 5
    torch.testing.assert_close(got.square, want.square)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda out, batch: out.detach().sum(), "depends on no parameter"),
        (lambda out, batch: 1.0, "the loss is float: give a floating tensor"),
        (lambda out, batch: out.argmax(), "the loss is torch.int64"),
        (nn.CrossEntropyLoss(), r"lambda outputs, batch: loss\(outputs, batch\[1\]\)"),
        (nn.functional.cross_entropy, r"lambda outputs, batch: loss\(outputs, batch\[1\]\)"),
        (
            lambda out, batch: out.flatten(),
            "10 numbers for a batch, and not one where it is cut",
        ),
    ],
)
def test_a_loss_that_has_no_gradient_of_examples_is_refused(loss: Any, message: str) -> None:
    with pytest.raises(pt.SpecError, match=message):
        pt.measure(NET, PARAMS, SPEC, [(X, torch.zeros(len(X), dtype=torch.long))], loss=loss)


def test_examples_stand_along_dim_0_or_are_refused() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    params = pt.params_of(net)
    for x in (torch.rand(7, 3, 3), torch.rand(3, 3, 3)):  # steps, examples, features
        spec = pt.infer(net, params, x)
        with pytest.raises(pt.SpecError, match="not one where it is cut"):
            pt.measure(net, params, spec, [x], loss=lambda out, _: out.square().sum((0, 2)))
        with pytest.raises(pt.SpecError, match="examples along its dim 0"):
            pt.output_taylor(net, params, spec, [x], output=lambda out: out.sum())


@pytest.mark.parametrize(
    ("batches", "spec", "message"),
    [
        ([], SPEC, "no batch is given"),
        ([X], pt.Spec.from_layout({}, PARAMS), "knows no call of a forward"),
    ],
)
def test_what_cannot_be_measured_is_refused(batches: Any, spec: pt.Spec, message: str) -> None:
    with pytest.raises(pt.SpecError, match=message):
        pt.measure(NET, PARAMS, spec, batches)
