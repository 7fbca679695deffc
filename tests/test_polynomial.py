"""The cost function is the cost: of any masks, of many candidates at once, and as a polynomial."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import random_masks
from survey import allowed
from test_costs import given_bytes, measured
from test_torchvision import CLASSIFICATION

import purethin as pt
from purethin import axes as ax
from purethin.notation import parse_layout

SIZES = {"a": 6, "b": 4}
EXPRESSIONS = [
    "a",
    "(a b)",
    "((a b) + a + 3)",
    "((a + b) 2)",
    "((a + b) (b + 2))",
    "a[::-1]",
    "a[0:6, 0:6]",
    "a[::2]",
    "a[0, 0, 1:4]",
    "(a + b + a)[::3]",
    "(a + 2)[::-1]",
    "(a b)[::-1]",
    "(a b)[1:5]",
    "((a + 2) (a + 1))[::2]",
    "(2 a)[::2]",
]
MASK = {n: st.lists(st.booleans(), min_size=k, max_size=k).filter(any) for n, k in SIZES.items()}


def spec_of(*texts: str) -> pt.Spec:
    """A spec of tensors with these dimensions, and one for each axis by itself."""
    layout = {"a.w": "a", "b.w": "b"} | {f"w{i}": text for i, text in enumerate(texts)}
    shapes = {n: [ax.size(e, SIZES) for e in parse_layout(d)] for n, d in layout.items()}
    return pt.Spec.from_layout(layout, {n: torch.zeros(s) for n, s in shapes.items()})


def costs(amounts: pt.Amounts) -> tuple[int, ...]:
    return tuple(map(int, amounts))


def same(spec: pt.Spec, masks: dict[str, torch.Tensor]) -> bool:
    function, cost = pt.cost_function(spec), pt.cost(spec, masks)
    counts = (cost.macs, cost.parameters, cost.bytes, cost.activation_bytes)
    return costs(function(function.counts(masks))) == counts


@given(
    st.tuples(st.sampled_from(EXPRESSIONS), st.sampled_from(EXPRESSIONS)),
    st.fixed_dictionaries(MASK),
)
@settings(deadline=None)
def test_the_function_at_what_masks_keep_is_the_cost_of_the_masks(
    dims: tuple[str, str], kept: dict[str, list[bool]]
) -> None:
    assert same(spec_of(" ".join(dims), dims[0]), {n: torch.tensor(m) for n, m in kept.items()})


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.nightly if i % 6 else pytest.mark.survey)
        for i, name in enumerate(CLASSIFICATION)
    ],
)
def test_the_cost_of_a_network_equals_the_flop_counter_at_twenty_masks(name: str) -> None:
    model = torchvision.models.get_model(name, weights=None).eval().to("meta")
    side = 299 if name == "inception_v3" else 224
    x = torch.empty(1, 3, side, side, device="meta")
    params = pt.params_of(model)
    spec = pt.infer(model, params, x)
    function = pt.cost_function(spec)
    for seed in range(20):
        masks = allowed(spec, random_masks(spec, fraction=(seed + 1) / 22, seed=seed))
        small = pt.rebuild(model, *pt.thin(params, spec, masks))
        macs, parameters, *_, activation_bytes = costs(function(function.counts(masks)))
        assert macs == measured(small, x)
        assert seed % 5 or activation_bytes == given_bytes(small, x)
        assert parameters == sum(p.numel() for p in small.parameters())
        assert same(spec, masks)


def test_many_candidates_at_once_are_each_by_itself() -> None:
    function = pt.cost_function(spec_of("(a + b + 2) (b + a)", "a b 3", "(a b) 7"))
    widths = torch.tensor(list(product(range(7), range(5))) * 9)
    batch = function(widths)
    assert [costs(function(row)) for row in widths[:35]] == [
        costs(pt.Amounts(*(f[i] for f in batch))) for i in range(35)
    ]
    assert batch.macs.dtype == torch.int64
    assert torch.equal(function(widths.view(3, 105, 2)).bytes, batch.bytes.view(3, 105))
    assert torch.equal(torch.func.vmap(function)(widths).bytes, batch.bytes)
    of_dict = function({"a": widths[:, 0], "b": widths[:, 1]})
    assert torch.equal(of_dict.parameters, batch.parameters)
    assert torch.equal(
        torch.func.vmap(lambda a: function({"a": a, "b": 2}).bytes)(widths[:, 0]),
        function({"b": 2, "a": widths[:, 0]}).bytes,
    )
    assert costs(function({"b": 1})) == costs(function({"a": 6, "b": torch.tensor(1)}))


def test_the_gradient_by_a_width_is_the_price_of_a_unit() -> None:
    function = pt.cost_function(spec_of("(a + b + 2) 5", "a b 3"))
    now = torch.tensor([6.0, 4.0], dtype=torch.float64)
    prices = torch.func.grad(lambda n: function(n).parameters)
    less = function(now - torch.eye(2)).parameters
    assert torch.equal(prices(now), function(now).parameters - less)
    assert torch.func.jacrev(prices)(now).tolist() == [[0, 3], [3, 0]]
    of_b = torch.func.grad(lambda b: function({"b": b}).parameters)(now[1])
    assert float(of_b) == float(prices(now)[1])


def test_an_uneven_take_counts_as_its_mean_where_only_widths_are_given() -> None:
    function = pt.cost_function(spec_of("a[::2] 10"))
    assert [str(take.expression) for take in function.uneven] == ["a[::2]"]
    picks = [torch.tensor(m) for m in product([False, True], repeat=6) if sum(m) == 2]
    exact = [function(function.counts({"a": m})).parameters for m in picks]
    mean = function(torch.tensor([2.0, 4.0])).parameters
    assert float(mean) == pytest.approx(float(torch.stack(exact).double().mean()))


def test_beyond_float64_the_function_counts_in_int64() -> None:
    shapes = {"w": (2**27 + 1, 1), "v": (3 * (2**26 + 1), 2**27 + 1)}
    params = {n: torch.empty(shape, device="meta") for n, shape in shapes.items()}
    spec = pt.Spec.from_layout(
        {"w": "h 1", "v": "(3 k) h", "k": "k"},
        params | {"k": torch.empty(2**26 + 1, device="meta")},
    )
    function = pt.cost_function(spec)
    k = 2**26 + 1
    for h in (2**27 + 1, 2**27 - 3):
        assert int(function({"h": h}).bytes) == 4 * (h + 3 * k * h + k)
        assert int(function({"h": h}).parameters) > 2**53


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, lambda: torch.device("meta")]
)
def test_a_function_outlives_where_it_was_made_and_what_was_asked_first(context: Any) -> None:
    with context():
        function = pt.cost_function(spec_of("a b"))
    widths = torch.tensor([6.0, 4.0], dtype=torch.float64)
    with context():
        amounts = function({"a": 6, "b": 4})

    def parameters(widths: torch.Tensor) -> torch.Tensor:
        return function(widths).parameters

    hessian = torch.func.jacrev(torch.func.jacrev(parameters))(widths)
    assert hessian[0, 1] == hessian[1, 0] == 1
    assert torch.func.grad(parameters)(widths).tolist() == [4 + 1, 6 + 1]
    assert float(parameters(widths)) == float(amounts.parameters) == 6 * 4 + 6 + 4
    parameters(leaf := widths.clone().requires_grad_()).backward()
    assert leaf.grad is not None and leaf.grad.tolist() == [5, 7]


def test_what_a_function_of_widths_cannot_take_is_an_error() -> None:
    function = pt.cost_function(spec_of("a b"))
    with pytest.raises(pt.MaskError, match="no axis is named 'c'; "):
        function({"c": 3})
    with pytest.raises(pt.MaskError, match="3 entries, but the network has 2 axes"):
        function(torch.ones(3))
    wrong: Any = [6, 4]
    with pytest.raises(pt.MaskError, match="widths are a Tensor"):
        function(wrong)
    with pytest.raises(pt.MaskError, match="widths have no entries, but the network has 2 axes"):
        function(torch.tensor(6))
    for wrong in ({"a": "all"}, {"a": torch.ones(3), "b": torch.ones(4)}):
        with pytest.raises(pt.MaskError, match=r"widths are numbers of units, .*: "):
            function(wrong)
    for wrong in (torch.ones(2, device="meta"), torch.ones(2) * 1j):
        with pytest.raises(pt.MaskError, match=r"widths are torch.* on (meta|cpu): give real"):
            function(wrong)
    wrong = {"a": [True] * 6}
    with pytest.raises(pt.OptionError, match="masks is a dict of 'a' to list: give "):
        function.counts(wrong)
    for masks in ({"c": torch.ones(6) > 0}, {"a": torch.ones(6)}, {"a": torch.ones(5) > 0}):
        with pytest.raises(pt.MaskError, match=r"no axis is named 'c'|the mask of 'a' is"):
            function.counts(masks)
    assert int(pt.cost_function(pt.Spec.from_layout({}, {}))({}).macs) == 0
    huge = torch.empty(2**30, 2**30, device="meta")
    many = dict.fromkeys("wxyz", huge)
    spec = pt.Spec.from_layout(dict.fromkeys(many, "a b"), many)
    with pytest.raises(pt.SpecError, match="beyond int64"):
        pt.cost_function(spec)
