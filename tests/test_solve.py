"""Masks within budgets: never above one, full up to the last unit that fits, near the bound, and
the best of all where costs add up.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import exp, log, prod
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import assert_thinned_equals_masked, randomise
from torch import Tensor, nn

import purethin as pt
from purethin import axes as ax
from purethin.budgets.ladder import Ladder
from purethin.budgets.search import Search
from purethin.notation import parse_layout

SIZES = {"a": 6, "b": 4, "c": 5}
LAYOUTS = {
    "a chain": ("a 3 3", "b a", "c b", "c"),
    "a sum beside a chain": ("a 3", "(a + b) c", "b 2", "c 7"),
    "axes that no term multiplies": ("a 3", "b 5", "c 2"),
    "two groups": ("a b", "a 3", "c 4"),
}
APART = ("axes that no term multiplies", "two groups")


def spec_of(name: str) -> pt.Spec:
    layout = {f"w{i}": text for i, text in enumerate((*LAYOUTS[name], *SIZES))}
    shapes = {n: [ax.size(e, SIZES) for e in parse_layout(d)] for n, d in layout.items()}
    return pt.Spec.from_layout(layout, {n: torch.zeros(s) for n, s in shapes.items()})


def narrower(scores: dict[str, Tensor], widths: dict[str, int]) -> dict[str, Tensor]:
    """The masks that keep so many units of each axis, those of largest score."""
    rank = {n: s.argsort(stable=True).argsort(stable=True) for n, s in scores.items()}
    return {n: rank[n] >= len(scores[n]) - k for n, k in widths.items()}


def dimensions(spec: pt.Spec, name: str) -> float:
    """How many dimensions of matrices carry an axis, of a concatenation its part."""
    found = [e for dims in spec.layout.values() if len(dims) > 1 for e in dims]
    return sum(float((ax.units(e, name, spec.sizes) >= 0).double().mean()) for e in found)


def kept_of(
    scores: dict[str, Tensor], masks: dict[str, Tensor], spec: pt.Spec, how: str | None
) -> float:
    """What `Solution.kept` promises."""
    left = {n: float(s[masks[n]].sum() if n in masks else s.sum()) for n, s in scores.items()}
    if how is None:
        return sum(left.values()) / sum(float(s.sum()) for s in scores.values())
    times = {n: 1.0 if how == "share" else dimensions(spec, n) or 1.0 for n in scores}
    logs = (times[n] * log(left[n] / float(s.sum())) for n, s in scores.items())
    return exp(sum(logs) / sum(times.values()))


def all_widths(steps: dict[str, int]) -> list[dict[str, int]]:
    each = [[*(k for k in range(1, size) if k % steps[n] == 0), size] for n, size in SIZES.items()]
    return [dict(zip(SIZES, widths, strict=True)) for widths in product(*each)]


scores_of = st.fixed_dictionaries(
    {n: st.lists(st.integers(1, 99), min_size=k, max_size=k) for n, k in SIZES.items()}
)


@given(
    st.sampled_from([*LAYOUTS]),
    scores_of,
    st.sampled_from([0.2, 0.5, 0.8]),
    st.sampled_from(["layers", "share", None]),
    st.sampled_from([1, 1, 2]),
)
@settings(deadline=None, max_examples=90)
def test_a_solution_is_within_the_budget_full_and_below_the_bound(
    name: str, drawn: dict[str, list[int]], part: float, how: Any, step: int
) -> None:
    spec = spec_of(name)
    scores = {n: torch.tensor(s, dtype=torch.float64) for n, s in drawn.items()}
    options = pt.Options(normalize=how, round_to={"a": step})
    limit = int(part * pt.cost(spec).parameters)
    steps = {"a": step, "b": 1, "c": 1}
    each = all_widths(steps)
    costs = pt.cost_function(spec)(torch.tensor([[*w.values()] for w in each])).parameters
    within = [w for w, cost in zip(each, costs.tolist(), strict=True) if cost <= limit]
    if not within:
        with pytest.raises(pt.MaskError, match="cannot be reached: the least is "):
            pt.solution(scores, spec, options, {"parameters": part})
        return
    found = pt.solution(scores, spec, options, {"parameters": part})
    full = {n: found.masks.get(n, torch.ones(k, dtype=torch.bool)) for n, k in SIZES.items()}
    assert found.cost == pt.cost(spec, found.masks)
    assert found.cost.parameters <= limit
    assert found.kept == pytest.approx(kept_of(scores, full, spec, how))
    best = max(kept_of(scores, narrower(scores, w), spec, how) for w in within)
    assert found.kept <= best + 1e-9
    assert found.bound is None or found.bound >= best - 1e-9
    assert found.greedy <= found.kept + 1e-12
    assert found.exact or name not in APART
    assert not found.exact or found.kept == pytest.approx(best)
    for n, mask in full.items():
        wider = [k for k in range(int(mask.sum()) + 1, SIZES[n]) if k % steps[n] == 0]
        for k in [*wider, SIZES[n]][: int(mask.sum()) < SIZES[n]]:
            more = {**full, **narrower({n: scores[n]}, {n: k})}
            assert pt.cost(spec, more).parameters > limit


@given(
    st.lists(st.lists(st.integers(0, 3), max_size=90), min_size=1, max_size=4),
    st.integers(0, 400),
    st.randoms(),
)
@settings(deadline=None, max_examples=60)
def test_steps_go_in_the_order_of_their_key_and_of_equal_ones_those_of_the_first_axis(
    drawn: list[list[int]], budget: int, random: Any
) -> None:
    keys = [sorted(row) for row in drawn]
    longest, top = max(map(len, keys)), torch.tensor([*map(len, keys)])
    widths = torch.arange(longest + 1).minimum(top[:, None])
    ladder = Ladder((), (), widths, widths.double(), top, top, torch.arange(len(keys)), ())
    search = Search(ladder, lambda counts: (counts.sum(-1, keepdim=True) - budget).double())
    key = torch.full((len(keys), longest), torch.inf, dtype=torch.float64)
    for i, row in enumerate(keys):
        key[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    since = torch.tensor([random.randint(0, len(row)) for row in keys])
    done = [row[: len(row) - int(k)] for row, k in zip(keys, since, strict=True)]
    left = [(v, i) for i, row in enumerate(keys) for v in row[len(done[i]) :]]
    more = max(0, int(since.sum()) - budget)
    want = since - torch.bincount(
        torch.tensor([i for _, i in sorted(left)[:more]], dtype=torch.int64), minlength=len(keys)
    )
    assert search.first_within(key, since).tolist() == want.tolist()


@given(scores_of, st.sampled_from([0.3, 0.5, 0.8]))
@settings(deadline=None, max_examples=30)
def test_what_an_uneven_take_costs_is_exact_and_never_nothing(
    drawn: dict[str, list[int]], part: float
) -> None:
    sizes = {"w": (3, 6), "v": (4, 6)}
    spec = pt.Spec.from_layout(
        {"w": "a[::2] a", "v": "b a"}, {n: torch.zeros(s) for n, s in sizes.items()}
    )
    scores = {n: torch.tensor(drawn[n], dtype=torch.float64) for n in spec.axes}
    found = pt.solution(scores, spec, pt.Options(), {"parameters": part})
    assert found.cost == pt.cost(spec, found.masks)
    assert found.cost.parameters <= part * (18 + 24)
    pt.thin({n: torch.zeros(s) for n, s in sizes.items()}, spec, found.masks)


def network() -> tuple[nn.Module, dict[str, Tensor], pt.Spec, Tensor]:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * 16, 10),
    )
    randomise(net)
    params, x = pt.params_of(net), torch.rand(2, 3, 4, 4, dtype=torch.float64)
    return net, params, pt.infer(net, params, x), x


def test_several_budgets_hold_at_once_and_the_network_runs() -> None:
    net, params, spec, x = network()
    dense, scores = pt.cost(spec), pt.lp_norm(params, spec)
    masks = pt.solve(scores, spec, macs=0.4, parameters=3000, bytes=0.9, activation_bytes=0.45)
    after = pt.cost(spec, masks)
    assert after.activation_bytes <= 0.45 * dense.activation_bytes
    assert after.macs <= 0.4 * dense.macs
    assert after.parameters <= 3000
    assert after.bytes <= 0.9 * dense.bytes
    assert_thinned_equals_masked(net, params, spec, masks, x)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_by_rank_each_axis_loses_the_same_part(part: float) -> None:
    _, params, spec, _ = network()
    dense, found = (
        pt.cost(spec).macs,
        pt.solution(
            {n: v * 100.0**i for i, (n, v) in enumerate(pt.lp_norm(params, spec).items())},
            spec,
            pt.Options(normalize="rank"),
            {"macs": part},
        ),
    )
    assert 0.9 * part * dense < found.cost.macs <= part * dense
    kept = [float(mask.double().mean()) for mask in found.masks.values()]
    assert len(kept) == len(spec.exact)
    assert max(kept) - min(kept) <= 2 / 16  # a unit of the narrower axis, and one put back


def test_units_go_by_score_and_options_by_axis_or_pattern_hold() -> None:
    _, params, spec, _ = network()
    scores = pt.lp_norm(params, spec)
    first, second = spec.exact
    masks = pt.solve(
        scores,
        spec,
        macs=0.3,
        round_to={first: 4, "*": 6},
        min_keep={first: 8},
        max_sparsity={second: 0.5},
    )
    for name, mask in masks.items():
        assert scores[name][mask].min() >= scores[name][~mask].max()
    assert int(masks[first].sum()) in (8, 12)
    assert int(masks[second].sum()) in (12, 18)
    assert [*pt.solve(scores, spec, macs=0.7, axes=first)] == [first]
    held = torch.where(torch.arange(16) < 3, torch.inf, scores[first])
    assert pt.solve({first: held}, spec, macs=0.3)[first][:3].all()


def test_a_comparison_of_the_forward_comes_out_as_before() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 32), nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.up(x)
            if hidden.shape[-1] % 8 == 0 and hidden.shape[-1] > 12:
                hidden = hidden.relu()
            return self.down(hidden)

    net = Net()
    params = pt.params_of(net)
    spec = pt.infer(net, params, torch.rand(2, 4))
    masks = pt.solve(pt.lp_norm(params, spec), spec, macs=0.6)
    assert [int(m.sum()) for m in masks.values()] == [16]
    pt.thin(params, spec, masks)
    with pytest.raises(pt.MaskError, match="the least is"):
        pt.solve(pt.lp_norm(params, spec), spec, macs=0.3)


def test_what_cannot_be_reached_says_the_least_and_what_stands_in_the_way() -> None:
    net = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 8))
    params = pt.params_of(net)
    spec = pt.infer(net, params, torch.rand(1, 8))
    with pytest.raises(pt.MaskError) as error:
        pt.solve(pt.lp_norm(params, spec), spec, parameters=0.1, min_keep=4)
    said = str(error.value)
    assert "(0.100 of the dense 984) cannot be reached: the least is 284 (0.289)" in said
    assert "'0.weight' keeps 16 of 16 units (inexact: a layer norm over it" in said
    assert "'2.weight' keeps 4 of 32 units (it keeps at least so many)" in said


SPEC = spec_of("a chain")
ONES = {n: torch.ones(k) for n, k in SIZES.items()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no budget is given"),
        ({"flops": 0.5}, "no budget is of 'flops'"),
        ({"macs": 0.5}, "there is nothing to save"),
        ({"bytes": 0}, "give a fraction of the dense cost"),
        ({"bytes": True}, "give a fraction of the dense cost"),
        ({"bytes": float("inf")}, "give a fraction of the dense cost"),
        ({"bytes": 0.5, "normalize": "layer"}, "normalize is 'layer': give 'layers', 'share'"),
        ({"bytes": 1e-9}, "of the [0-9]+ bytes is less than one: give more"),
        ({"bytes": 0.5, "min_keep": 1.5}, "min_keep is 1.5, a float: give a whole number"),
        ({"bytes": 0.5, "scores": {"q": torch.ones(6)}}, "scores are given of 'q', which is no"),
        ({"bytes": 0.5, "axes": "q*"}, "'q\\*'"),
        ({"bytes": 0.5, "axes": []}, "no axis may lose units: give scores of exact axes"),
        ({"bytes": 0.5, "scores": {}}, "no axis may lose units: give scores of exact axes"),
        ({"bytes": 0.5, "round_to": 0}, "round_to is 0: give a whole number of units"),
        ({"bytes": 0.5, "round_to": True}, "round_to is True, a bool: give a whole number"),
        ({"bytes": 0.5, "round_to": "onnxruntime"}, r"give a number, or pt.round_for\("),
        ({"bytes": 0.5, "round_to": "auto"}, "'auto', by a table"),
        ({"bytes": 0.5, "min_keep": {"a": 0}}, r"min_keep is 0, .* pt.infer\(…, branches=True\)"),
        ({"bytes": 0.5, "max_sparsity": 1.5}, "max_sparsity is 1.5: give a fraction from 0 to 1"),
        ({"bytes": 0.5, "scores": {"a": torch.ones(3)}}, "are 3, and the axis has 6 units"),
        ({"bytes": 0.5, "scores": {"a": torch.ones(6) * torch.nan}}, "6 scores of 'a' are nan"),
        ({"bytes": 0.5, "scores": {"a": torch.ones(6) * 1j}}, "are complex: give numbers that"),
        ({"bytes": 0.5, "scores": {"a": torch.ones(6, device="meta")}}, "on the meta device"),
        ({"bytes": 0.5, "scores": {"a": torch.ones(6)}, "axes": ["b"]}, "'b' has no scores"),
    ],
)
def test_what_is_asked_wrongly_is_said(options: dict[str, Any], message: str) -> None:
    scores = options.pop("scores", ONES)
    with pytest.raises(pt.MaskError, match=message):
        pt.solve(scores, SPEC, **options)


@pytest.mark.parametrize("normalize", ["layers", "share"])
def test_negative_scores_count_as_nothing_where_parts_are_compared(normalize: Any) -> None:
    torch.manual_seed(0)
    scores = {n: torch.randn(k) for n, k in SIZES.items()}
    options = pt.Options(normalize=normalize)
    found = pt.solution(scores, SPEC, options, {"bytes": 0.4})
    zero = {n: s.clamp(min=0) for n, s in scores.items()}
    want = pt.solution(zero, SPEC, options, {"bytes": 0.4})
    assert found.cost == want.cost and found.kept == pytest.approx(want.kept)
    for name, mask in found.masks.items():
        assert scores[name][mask].min() >= scores[name][~mask].max()
    none = {n: torch.zeros(k) for n, k in SIZES.items()}
    assert pt.solution(none, SPEC, options, {"bytes": 0.4}).kept == 1


def test_a_unit_of_minus_infinity_goes_and_the_last_stays() -> None:
    scores = {**ONES, "a": torch.full((6,), -torch.inf), "b": torch.tensor([1, -torch.inf, 1, 1])}
    masks = pt.solve(scores, SPEC, bytes=1.0)
    assert {n: m.tolist() for n, m in masks.items()} == {
        "a": [False] * 5 + [True],
        "b": [True, False, True, True],
    }


def test_beyond_float64_budgets_and_units_are_exact() -> None:
    prime, sizes = 1_000_003, {"a": 301, "b": 307}
    weight = torch.empty(301, 307, prime, prime, device="meta")
    spec = pt.Spec.from_layout({"w": f"a b {prime} {prime}"}, {"w": weight})
    scores = {n: torch.ones(k) for n, k in sizes.items()}
    for width in (100, 201):
        limit = 4 * width * 307 * prime**2
        for more, kept in ((0, width), (-1, width - 1)):
            found = pt.solve(scores, spec, bytes=limit + more, axes="a")
            assert int(found["a"].sum()) == kept
    assert [u.parameters for u in pt.worth(spec).axes] == [307 * prime**2, 301 * prime**2]
    assert (
        pt.worth(spec, pt.solve(scores, spec, bytes=0.3)).total.bytes <= 0.3 * pt.cost(spec).bytes
    )


def test_a_fraction_of_the_dense_cost_is_what_floats_make_of_it() -> None:
    spec = pt.Spec.from_layout({"w": "a 8192"}, {"w": torch.zeros(10, 8192)})
    for part in (0.1, 0.2, 0.3, 0.6, 0.7):
        masks = pt.solve({"a": torch.arange(10.0)}, spec, parameters=part)
        assert int(masks["a"].sum()) == round(10 * part)


def test_a_step_spares_small_axes_as_in_select() -> None:
    sizes = {"wide": 64, "heads": 8}
    spec = pt.Spec.from_layout({"w": "wide heads"}, {"w": torch.zeros(64, 8)})
    scores = {n: torch.rand(k) for n, k in sizes.items()}
    for round_to in (8, {"wide": 8, "heads": 1}):
        solved = pt.solve(scores, spec, parameters=0.3, round_to=round_to)
        masks = pt.select(scores, 0.5, spec=spec, round_to=round_to)
        for kept in ({n: int(m.sum()) for n, m in each.items()} for each in (solved, masks)):
            assert kept["wide"] % 8 == 0
            assert kept["heads"] < 8
    with pytest.raises(pt.MaskError, match="cannot be reached"):
        pt.solve(scores, spec, parameters=0.1, round_to={"wide": 8, "heads": 8})


@pytest.mark.parametrize("normalize", ["layers", "rank", None])
@pytest.mark.parametrize("name", [*LAYOUTS])
def test_where_torch_makes_tensors_does_not_matter(name: str, normalize: Any) -> None:
    spec = spec_of(name)
    want = pt.solve(ONES, spec, bytes=0.5, normalize=normalize)
    with torch.device("meta"):
        found = pt.solve(ONES, spec, bytes=0.5, normalize=normalize)
        assert pt.worth(spec, found).total.bytes <= 0.5 * pt.cost(spec).bytes
    assert {n: m.tolist() for n, m in found.items()} == {n: m.tolist() for n, m in want.items()}


def test_a_budget_is_any_number() -> None:
    want = pt.solve(ONES, SPEC, bytes=0.5)
    for half in (np.float32(0.5), Fraction(1, 2), torch.tensor(0.5)):
        assert pt.solve(ONES, SPEC, bytes=half).keys() == want.keys()  # pyright: ignore


def test_equal_scores_give_the_geometric_optimum() -> None:
    """Of a·b within a limit, the product of the shares is largest where the limit is met."""
    sizes = {"a": 60, "b": 90}
    spec = pt.Spec.from_layout({"w": "a b"}, {"w": torch.zeros(60, 90)})
    found = pt.solution(
        {n: torch.ones(k) for n, k in sizes.items()}, spec, pt.Options(), {"parameters": 0.25}
    )
    kept = [int(found.masks[n].sum()) if n in found.masks else k for n, k in sizes.items()]
    assert prod(kept) <= 0.25 * 60 * 90
    assert found.kept == pytest.approx(0.5, abs=2e-3)
