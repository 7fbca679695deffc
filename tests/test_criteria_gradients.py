"""Criteria of the first and second order, against loops written from the papers."""

from __future__ import annotations

from typing import Any

import by_hand
import pytest
import torch
from measured import CASES, NET, PARAMS, SPEC, X, inputs
from networks import randomise
from torch import Tensor, nn
from torch.func import functional_call

import purethin as pt
from purethin import criteria


def loss(outputs: Tensor, batch: Any) -> Tensor:
    """One number for each example."""
    return outputs.sin().flatten(1).sum(1)


def case(name: str) -> tuple[Any, Any, pt.Spec, Tensor, list[dict[str, Tensor]]]:
    """A network with the gradient of each example's loss."""
    model, given, x = CASES[name]
    params = pt.params_of(model) if given is None else given
    spec = pt.infer(model, params, x[:1])
    grads = []
    for row in x:
        weights = {
            n: t.clone().requires_grad_() for n, t in params.items() if n not in spec.buffers
        }
        out = (
            functional_call(model, {**params, **weights}, (row[None],))
            if isinstance(model, nn.Module)
            else model({**params, **weights}, row[None])
        )
        found = torch.autograd.grad(loss(out, row).sum(), [*weights.values()])
        grads.append(dict(zip(weights, found, strict=True)))
    return model, params, spec, x, grads


NETWORKS = {name: case(name) for name in ("convolutions", "attention", "bare")}


@pytest.mark.parametrize("name", NETWORKS)
def test_taylor_of_examples_squares_each_sum_and_means_the_squares(name: str) -> None:
    model, params, spec, x, grads = NETWORKS[name]

    def value(axis: str, unit: int) -> float:
        going = by_hand.leaving(spec, axis, unit, grads[0])
        sums = [sum(float(g[n][i] * params[n][i]) for n, i in going) for g in grads]
        return sum(s * s for s in sums) / len(sums)

    want = by_hand.each_unit(spec, value)
    stats = pt.measure(model, params, spec, x.split([1, len(x) - 1]), loss=loss)
    by_hand.assert_close(pt.taylor(params, spec, stats), want)
    by_hand.assert_close(pt.taylor(params, spec, grads), want)


@pytest.mark.parametrize("name", NETWORKS)
def test_fisher_keeps_every_example_and_squares_before_it_means(name: str) -> None:
    model, params, spec, x, grads = NETWORKS[name]

    def value(axis: str, unit: int) -> float:
        going = by_hand.leaving(spec, axis, unit, grads[0])
        return sum(
            0.5 * sum(float(g[n][i]) ** 2 for g in grads) / len(grads) * float(params[n][i]) ** 2
            for n, i in going
        )

    want = by_hand.each_unit(spec, value)
    stats = pt.measure(model, params, spec, [x], loss=loss)
    by_hand.assert_close(pt.fisher(params, spec, stats), want)
    by_hand.assert_close(pt.fisher(params, spec, grads), want)


@pytest.mark.parametrize("name", NETWORKS)
def test_snip_is_a_units_share_of_all_sensitivity(name: str) -> None:
    _, params, spec, _, grads = NETWORKS[name]
    mean = {n: torch.stack([g[n] for g in grads]).mean(0) for n in grads[0]}
    total = sum(float((mean[n] * params[n]).abs().sum()) for n in mean)

    def value(axis: str, unit: int) -> float:
        going = by_hand.leaving(spec, axis, unit, mean)
        return sum(abs(float(mean[n][i] * params[n][i])) for n, i in going) / total

    want = by_hand.each_unit(spec, value)
    by_hand.assert_close(criteria.snip(params, spec, grads), want)


def test_snips_stats_are_its_gradients() -> None:
    model, params, spec, x, grads = NETWORKS["bare"]
    stats = pt.measure(model, params, spec, [x], loss=loss)
    by_hand.assert_close(criteria.snip(params, spec, stats), criteria.snip(params, spec, grads))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_gates_gradient_sums_over_the_weights_that_read_the_unit(name: str) -> None:
    model, params, spec, x, grads = NETWORKS[name]
    stats = pt.measure(model, params, spec, [x], loss=loss)
    sites = [s for s in spec.sites if s.role == "reads"]
    reading = {
        n: axis.gates or {p for s in sites if n in s.axes for p in s.weights}
        for n, axis in spec.axes.items()
    }

    def value(axis: str, unit: int) -> float:
        sums = []
        for g in grads:
            if reading[axis]:
                total = 0.0
                for n, dim in reading[axis]:
                    rows = by_hand.units_of(spec.layout[n][dim], axis, spec.sizes)
                    mine = [i for i, row in enumerate(rows) if unit in row]
                    total += float((g[n] * params[n]).movedim(dim, 0)[mine].sum())
            else:
                going = by_hand.leaving(spec, axis, unit, g)
                total = sum(float(g[n][i] * params[n][i]) for n, i in going)
            sums.append(total**2)
        return sum(sums) / len(sums)

    want = by_hand.each_unit(spec, value)
    assert any(reading.values())
    by_hand.assert_close(criteria.gate(params, spec, stats), want)
    by_hand.assert_close(criteria.gate(params, spec, grads), want)


class Separate(nn.Module):
    """Attention whose one head width is that of queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.width = 2, 4
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.embed, self.head = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q, k, v = (
            m(x).view(*x.shape[:2], self.heads, self.width).transpose(1, 2)
            for m in (self.q, self.k, self.v)
        )
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=0.5)
        return self.head(x + self.out(mixed.transpose(1, 2).flatten(2))).mean(1)


@pytest.mark.parametrize("name", [*CASES, "separate"])
def test_the_gate_is_that_of_float_masks(name: str) -> None:
    made = (randomise(Separate()), None, inputs(3, 5, 3)) if name == "separate" else CASES[name]
    model, given, x = made
    params = pt.params_of(model) if given is None else given
    spec = pt.infer(model, params, x[:1])

    def total(z: dict[str, Tensor]) -> Tensor:
        masked = pt.mask(params, spec, z)
        module = isinstance(model, nn.Module)
        out = functional_call(model, masked, (x,)) if module else model(masked, x)
        return loss(out, x).sum()

    ones = {n: torch.ones(spec.sizes[n], dtype=torch.float64) for n in spec.gated}
    assert ones
    slopes = torch.func.grad(total)(ones)
    stats = pt.measure(model, params, spec, [x], loss=lambda out, batch: loss(out, batch).sum())
    scores = criteria.gate(params, spec, stats)
    for axis, slope in slopes.items():
        torch.testing.assert_close(scores[axis], slope.square())


def test_the_output_itself_is_judged_by_activation_times_gradient_at_its_readers() -> None:
    """The same directions v, and a·∂(v·out)/∂a where fc2 and fc1 read."""
    scores = pt.output_taylor(
        NET, PARAMS, SPEC, [X], directions=3, generator=torch.Generator().manual_seed(5)
    )
    state = torch.Generator().manual_seed(5)
    want: dict[str, Tensor] = {}
    for _ in range(3):
        v = torch.randn(2, generator=state).double()
        for row in X:
            seen = NET.seen(row[None])
            of = {"fc1": seen["fc2"], seen_axis(): seen["fc1"]}
            slopes = torch.autograd.grad((seen["out"] * v).sum(), [*of.values()])
            for (name, a), g in zip(of.items(), slopes, strict=True):
                each = (a * g).flatten(1).sum(0)
                each = each.reshape(2, 4, 16).sum((0, 2)) if name != "fc1" else each
                want[name] = want.get(name, torch.zeros_like(each)) + each.square() / 15
    for name, values in want.items():
        torch.testing.assert_close(scores[name], values)


def seen_axis() -> str:
    """The channels in each group of the grouped convolution."""
    return next(n for n in SPEC.axes if SPEC.axes[n].size == 4)


def test_the_output_may_be_chosen_and_draws_repeat() -> None:
    def drawn(**more: Any) -> Any:
        state = torch.Generator().manual_seed(0)
        return pt.output_taylor(NET, PARAMS, SPEC, X.split(3), generator=state, **more)

    one, same, half = drawn(), drawn(), drawn(output=lambda out: out[:, :1])
    assert all(torch.equal(one[n], same[n]) and not torch.equal(one[n], half[n]) for n in one)
    with pytest.raises(pt.MaskError, match="no batch is given"):
        pt.output_taylor(NET, PARAMS, SPEC, [])


# ---- curvature


@pytest.mark.parametrize("chunk", [None, 1])
def test_gradients_are_taken_also_where_the_caller_has_turned_them_off(
    chunk: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chunk:  # the examples one by one
        monkeypatch.setattr("purethin.measuring.gradients.BUDGET", chunk)

    def scores() -> pt.Scores:
        chance = torch.Generator().manual_seed(0)
        return pt.output_taylor(NET, PARAMS, SPEC, [X], generator=chance)

    want = scores()
    with torch.no_grad():
        found = scores()
    assert all(float(s.max()) > 0 for s in want.values())
    torch.testing.assert_close(found, want)


def test_optimal_brain_damage_is_exact_on_a_diagonal_quadratic() -> None:
    h = {"w": inputs(3, 2).abs(), "v": inputs(2, 3, seed=2).abs()}
    params = {"w": inputs(3, 2, seed=3), "v": inputs(2, 3, seed=4)}
    spec = pt.Spec.from_layout({"w": "h 2", "v": "2 h"}, params)

    def at(p: Any) -> Tensor:
        return sum((0.5 * h[n] * (p[n] - params[n]) ** 2).sum() for n in h)  # type: ignore[return-value]

    diagonal = criteria.hessian_diagonal(at, params, spec, samples=1)
    for name, values in h.items():
        torch.testing.assert_close(diagonal[name], values)
    scores = criteria.obd(params, spec, diagonal)["h"]
    for unit in range(3):
        gone = {"w": params["w"].clone(), "v": params["v"].clone()}
        gone["w"][unit], gone["v"][:, unit] = 0, 0
        torch.testing.assert_close(scores[unit], at(gone))


def test_the_hessians_diagonal_is_that_of_the_whole_matrix_on_average() -> None:
    params = {"w": inputs(3, 2), "mean": torch.zeros(3, dtype=torch.float64)}
    spec = pt.Spec.from_layout({"w": "h 2", "mean": "h"}, params)

    def at(p: Any) -> Tensor:
        return (p["w"].sum(1) ** 2 * p["w"][:, 0].sin()).sum()

    whole = torch.autograd.functional.hessian(lambda w: at({"w": w}), params["w"])
    exact = whole.reshape(6, 6).diagonal().reshape(3, 2)
    state = torch.Generator().manual_seed(0)
    found = criteria.hessian_diagonal(at, params, spec, samples=2000, generator=state)
    assert (found["w"] - exact).abs().max() < 0.1 * exact.abs().max()
    assert found["mean"].tolist() == [0, 0, 0]


def test_labels_are_drawn_as_often_as_the_network_believes_in_them() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(4000, 3)
    lost = criteria.sampled_labels(logits, None)
    for chance in (0.5, 0.3, 0.2):
        share = ((lost + torch.tensor(chance).log()).abs() < 1e-5).float().mean()
        assert abs(float(share) - chance) < 0.03
    assert criteria.sampled_labels(torch.randn(2, 5, 3), None).shape == (2,)


def test_the_true_fisher_is_the_curvature_of_a_softmax() -> None:
    """Of a linear classifier its diagonal is x²·p·(1−p)."""
    params = {"w": inputs(3, 4), "v": inputs(4, 3, seed=2)}
    x = inputs(1, 3, seed=3)

    def net(p: dict[str, Tensor], x: Tensor) -> Tensor:
        return (x @ p["w"]) @ p["v"]

    torch.manual_seed(0)
    spec = pt.infer(net, params, x)
    stats = pt.measure(net, params, spec, [x.expand(4000, 3)], loss=criteria.sampled_labels)
    assert stats.gradients is not None
    p = net(params, x).softmax(-1)[0]
    want = (x @ params["w"])[0][:, None] ** 2 * (p * (1 - p))[None]
    got = stats.gradients.square["v"]
    assert (got - want).abs().max() < 0.1 * want.max()


# ---- what a loss does not reach, and what does not fit


def test_an_axis_that_the_loss_does_not_reach_scores_0() -> None:
    params = {"w": torch.ones(3, 2), "v": torch.ones(2, 2)}
    spec = pt.Spec.from_layout({"w": "h 2", "v": "k 2"}, params)
    grads = [{"w": torch.ones(3, 2), "v": None}]
    for scores in (
        pt.taylor(params, spec, grads),
        criteria.gate(params, spec, grads),
        criteria.snip(params, spec, grads),
        pt.fisher(params, spec, grads),
    ):
        assert scores["k"].tolist() == [0, 0]
        assert all(s > 0 for s in scores["h"].tolist())


def test_stats_without_gradients_are_refused() -> None:
    stats = pt.measure(NET, PARAMS, SPEC, [X])
    for criterion in (pt.taylor, criteria.gate, criteria.snip, pt.fisher):
        with pytest.raises(
            pt.MaskError, match="these stats have no gradients: give measure a loss"
        ):
            criterion(PARAMS, SPEC, stats)
    with pytest.raises(pt.SpecError, match=r"the loss has shape \(5, 2\)"):
        pt.measure(NET, PARAMS, SPEC, [X], loss=lambda outputs, batch: outputs)
