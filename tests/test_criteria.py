"""Criteria against loops over single entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import randomise
from strategies import SIZES, entries, expressions
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

import purethin as pt
from purethin import axes as ax


class Mixed(nn.Module):
    """A residual sum, a concatenation and a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Conv2d(8, 6, 1),
        )
        self.up, self.fc = nn.ConvTranspose2d(14, 5, 2), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = (x := self.conv1(x)) + self.conv2(x)
        return self.fc(self.up(torch.cat([x, self.conv3(x)], 1)).sum((2, 3)))


MODEL = randomise(Mixed())
PARAMS = pt.params_of(MODEL)
SPEC = pt.infer(MODEL, PARAMS, torch.zeros(1, 3, 4, 4, dtype=torch.float64))


def one_by_one(params: dict[str, Tensor], spec: pt.Spec, p: float) -> dict[str, list[float]]:
    """Σ|w|^p over each unit's entries of its producers, an entry at a time."""
    out = {}
    for axis in spec.axes.values():
        total = [0.0] * axis.size
        for name, dim in axis.producers:
            units = entries(spec.layout[name][dim], spec.sizes)
            for place in torch.ones(params[name].shape).nonzero().tolist():
                for unit in [u for a, u in units[place[dim]] if a == axis.name][:1]:
                    total[unit] += abs(params[name][tuple(place)].item()) ** p
        out[axis.name] = total
    return out


def assert_equal(scores: Any, want: dict[str, list[float]]) -> None:
    assert scores.keys() == want.keys()
    for name, values in want.items():
        assert torch.allclose(
            scores[name].double(), torch.tensor(values, dtype=torch.float64), rtol=1e-5
        ), name


@pytest.mark.parametrize("p", [1, 2, 0.5])
def test_the_norm_of_a_networks_units_is_that_of_their_filters(p: float) -> None:
    assert SPEC.axes["up"].producers == (("up.weight", 1),)
    assert len(SPEC.axes["conv1"].producers) == 2  # both convolutions of the residual sum
    assert_equal(pt.lp_norm(PARAMS, SPEC, p=p), one_by_one(PARAMS, SPEC, p))


@given(st.lists(expressions(2), min_size=1, max_size=3), st.sampled_from([1, 2, 3]))
@settings(max_examples=40, deadline=None)
def test_the_norm_on_any_layout_is_that_of_the_entries_of_each_unit(
    dims: list[ax.Axes], p: float
) -> None:
    assume(all(0 < ax.size(e, SIZES) <= 12 for e in dims))
    params = {
        "w": torch.rand([ax.size(e, SIZES) for e in dims], dtype=torch.float64),
        **{n: torch.rand(s) for n, s in SIZES.items()},
    }
    spec = pt.Spec.from_layout({"w": ax.layout_text(dims)} | {n: n for n in SIZES}, params)
    assert_equal(pt.lp_norm(params, spec, p=p), one_by_one(params, spec, p))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_summed_in_float32_and_do_not_overflow(dtype: torch.dtype) -> None:
    params = {"w": torch.full((2, 64), 300.0, dtype=dtype)}
    spec = pt.Spec.from_layout({"w": "h 64"}, params)
    scores = pt.lp_norm(params, spec, p=2)["h"]
    assert scores.dtype == torch.float32
    # float16 ends at 65,504, bfloat16 counts in steps of 32,768 there
    assert scores.tolist() == [64 * 300.0**2] * 2


def test_complex_weights_count_by_their_modulus() -> None:
    params = {"w": torch.tensor([[3 + 4j], [0 + 1j]])}
    spec = pt.Spec.from_layout({"w": "h 1"}, params)
    assert pt.lp_norm(params, spec)["h"].tolist() == [5, 1]


def test_it_maps_over_stacked_parameters() -> None:
    many = [pt.params_of(randomise(Mixed(), seed)) for seed in range(3)]
    got = vmap(lambda params: pt.lp_norm(params, SPEC))(
        {n: torch.stack([m[n] for m in many]) for n in PARAMS}
    )
    for name in SPEC.axes:
        assert torch.allclose(got[name], torch.stack([pt.lp_norm(m, SPEC)[name] for m in many]))


def test_its_gradient_is_the_power_rules() -> None:
    weight = PARAMS["conv3.weight"]
    got = grad(lambda w: pt.lp_norm(PARAMS | {"conv3.weight": w}, SPEC, p=2)["conv3"].sum())(weight)
    assert torch.allclose(got, 2 * weight)
    signs = grad(lambda w: pt.lp_norm(PARAMS | {"conv3.weight": w}, SPEC, p=1)["conv3"].sum())(
        weight
    )
    assert torch.equal(signs, weight.sign())


# torch's own, when forward mode is first used
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_it_has_a_forward_derivative() -> None:
    weight = PARAMS["conv3.weight"]
    _, tangent = jvp(
        lambda w: pt.lp_norm(PARAMS | {"conv3.weight": w}, SPEC, p=2)["conv3"], (weight,), (weight,)
    )[:2]
    assert torch.allclose(tangent, 2 * weight.square().sum((1, 2, 3)))


def test_the_callers_default_device_does_not_matter() -> None:
    plain = pt.lp_norm(PARAMS, SPEC)
    with torch.device("meta"):
        scores = pt.lp_norm(PARAMS, SPEC)
    assert all(torch.equal(scores[n], plain[n]) for n in plain)


# ---- random


def test_random_scores_repeat_with_their_generator_and_differ_without() -> None:
    def draw(seed: int) -> dict[str, Tensor]:
        return dict(pt.random_scores(PARAMS, SPEC, generator=torch.Generator().manual_seed(seed)))

    one, same, other = draw(0), draw(0), draw(1)
    assert {n: len(s) for n, s in one.items()} == SPEC.sizes
    assert all(torch.equal(one[n], same[n]) and not torch.equal(one[n], other[n]) for n in one)
    assert all(float(s.min()) >= 0 and float(s.max()) < 1 for s in one.values())
    left, right = pt.random_scores(PARAMS, SPEC), pt.random_scores(PARAMS, SPEC)
    assert not torch.equal(left["conv1"], right["conv1"])


# ---- both


@pytest.mark.parametrize("criterion", [pt.lp_norm, pt.random_scores])
def test_parameters_of_another_model_are_refused_and_no_input_changes(
    criterion: Callable[..., Any],
) -> None:
    before = {n: t.clone() for n, t in PARAMS.items()}
    criterion(PARAMS, SPEC)
    with pytest.raises(pt.SpecError, match=r"conv3\.weight has shape \(9, 8, 1, 1\)"):
        criterion(PARAMS | {"conv3.weight": torch.ones(9, 8, 1, 1)}, SPEC)
    assert all(torch.equal(PARAMS[n], t) for n, t in before.items())


@pytest.mark.parametrize("p", [0, -1, float("inf"), float("nan")])
def test_a_power_that_is_none_is_refused(p: float) -> None:
    with pytest.raises(
        pt.MaskError, match=f"p is {p}: the power of the norm is positive and finite"
    ):
        pt.lp_norm(PARAMS, SPEC, p=p)


# ---- the first-order Taylor criterion


def leaving(dims: tuple[ax.Axes, ...], axis: str, unit: int, sizes: dict[str, int]) -> Tensor:
    """Which entries of a tensor leave with a unit: those that its mask does not keep."""
    keep = {axis: torch.arange(sizes[axis]) != unit}
    out = torch.ones([ax.size(e, sizes) for e in dims], dtype=torch.bool)
    for dim, expr in enumerate(dims):
        if (kept := ax.keep(expr, keep, sizes)) is not None:
            out &= kept.reshape([-1 if d == dim else 1 for d in range(len(dims))])
    return ~out


def taylor_one_by_one(
    params: dict[str, Tensor], grads: list[dict[str, Tensor]], spec: pt.Spec
) -> dict[str, list[float]]:
    """E_batch[(Σ g·w)²], an entry at a time: the square outside the sum, the mean outside the
    square.
    """
    out = {}
    for axis in spec.axes.values():
        scores = []
        for unit in range(axis.size):
            of_batches = []
            for batch in grads:
                total = 0.0
                for name, g in batch.items():
                    for place in (
                        leaving(spec.layout[name], axis.name, unit, spec.sizes).nonzero().tolist()
                    ):
                        total += g[tuple(place)].item() * params[name][tuple(place)].item()
                of_batches.append(total**2)
            scores.append(sum(of_batches) / len(of_batches))
        out[axis.name] = scores
    return out


def gradients(seed: int = 0) -> dict[str, Tensor]:
    weights = {n: t.clone().requires_grad_() for n, t in PARAMS.items()}
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    loss = functional_call(MODEL, weights, (x,)).square().sum()
    return dict(zip(weights, torch.autograd.grad(loss, [*weights.values()]), strict=True))


def test_taylor_on_a_network_is_that_of_all_entries_that_leave_with_a_unit() -> None:
    batches = [gradients(seed) for seed in range(3)]
    assert_equal(pt.taylor(PARAMS, SPEC, batches), taylor_one_by_one(PARAMS, batches, SPEC))


@given(st.lists(expressions(2), min_size=1, max_size=3), st.integers(1, 2))
@settings(max_examples=60, deadline=None)
def test_taylor_on_any_layout_counts_each_entry_once(dims: list[ax.Axes], count: int) -> None:
    assume(all(0 < ax.size(e, SIZES) <= 12 for e in dims))
    assume(not any(repeats(e) for e in dims))
    shapes = {"w": [ax.size(e, SIZES) for e in dims], **{n: [s] for n, s in SIZES.items()}}
    params, *batches = (
        {n: torch.randn(s, dtype=torch.float64) for n, s in shapes.items()}
        for _ in range(count + 1)
    )
    spec = pt.Spec.from_layout({"w": ax.layout_text(dims)} | {n: n for n in SIZES}, params)
    assert_equal(pt.taylor(params, spec, batches), taylor_one_by_one(params, batches, spec))


def repeats(expr: ax.Axes) -> bool:
    """Whether a product within a sum or a take multiplies an axis with itself, as no network's
    parameter does.
    """
    return any(
        (isinstance(p, ax.Product) and len([*ax.names(p)]) > len({*ax.names(p)})) or repeats(p)
        for p in ax.parts(expr)
    )


def test_taylor_adds_up_over_batches() -> None:
    one, two = [gradients(0)], [gradients(1), gradients(2)]
    first, second, both = (pt.taylor(PARAMS, SPEC, batches) for batches in (one, two, [*one, *two]))
    for name in both:
        assert torch.allclose(first[name] + 2 * second[name], 3 * both[name])


def test_taylor_tells_opposite_changes_within_a_unit_from_equal_ones() -> None:
    params = {"w": torch.tensor([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])}
    spec = pt.Spec.from_layout({"w": "h 2"}, params)
    scores = pt.taylor(params, spec, [{"w": torch.ones(3, 2)}, {"w": -torch.ones(3, 2)}])["h"]
    # the square inside the sum would say 2, 2, 2; the mean inside it 0, 0, 0
    assert scores.tolist() == [
        0,
        4,
        4,
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_taylor_of_half_types_does_not_overflow(dtype: torch.dtype) -> None:
    params = {"w": torch.full((2, 64), 300.0, dtype=dtype)}
    spec = pt.Spec.from_layout({"w": "h 64"}, params)
    scores = pt.taylor(params, spec, [params])["h"]
    assert scores.dtype == torch.float32
    assert scores.tolist() == pytest.approx([(64 * 300.0**2) ** 2] * 2)


def test_taylor_reads_a_generator_and_skips_buffers_and_parameters_without_a_gradient() -> None:
    params = {"w": torch.ones(3, 2), "v": torch.ones(1, 3), "mean": torch.ones(3)}
    spec = pt.Spec.from_layout({"w": "h 2", "v": "1 h", "mean": "h"}, params)
    grads = ({"w": torch.full((3, 2), float(i)), "v": None} for i in (1, 2))
    assert pt.taylor(params, spec, grads)["h"].tolist() == [(2**2 + 4**2) / 2] * 3


@pytest.mark.parametrize(
    ("grads", "error", "message"),
    [
        ([], pt.MaskError, "no batch of gradients is given"),
        ([{"w": torch.ones(3, 3)}], pt.SpecError, r"w has shape \(3, 3\)"),
        ([{"v": torch.ones(3)}], pt.SpecError, "'v' is not in the spec"),
        (
            [{"w": None}],
            pt.MaskError,
            "no gradient is given of any parameter that carries 'h': w is one",
        ),
    ],
)
def test_gradients_that_do_not_fit_are_refused(
    grads: list[Any], error: type[Exception], message: str
) -> None:
    params = {"w": torch.ones(3, 2)}
    with pytest.raises(error, match=message):
        pt.taylor(params, pt.Spec.from_layout({"w": "h 2"}, params), grads)
