"""Criteria of activations and of what reads them, against loops written from the papers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import by_hand
import pytest
import torch
import torch.nn.functional as F
from measured import CASES, NET, PARAMS, SPEC, X, inputs
from networks import random_masks, randomise
from pages import run
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import purethin as pt
from purethin import criteria
from purethin.criteria.reconstruction import gram_units, hessian, reading_rows
from purethin.measuring.stats import Stats

CALLS = {"grouped": NET.grouped, "fc1": NET.fc1, "fc2": NET.fc2}
SEEN = {name: x.detach() for name, x in NET.seen(X).items()}
STATS = pt.measure(NET, PARAMS, SPEC, X.split([1, 4]), gram=True)


def readers_of(axis: str) -> list[str]:
    """The layers of the convolutional network that read an axis."""
    sites = [s for s in SPEC.sites if s.role == "reads" and axis in s.axes]
    return [s.call.split()[1].removesuffix(".weight") for s in sites]


def features(call: str, axis: str, unit: int) -> list[int]:
    """The channels of a layer's input that belong to a unit."""
    site = next(s for s in SPEC.sites if s.role == "reads" and f" {call}." in s.call)
    rows = by_hand.units_of(site.channels, axis, SPEC.sizes)
    return [i for i, row in enumerate(rows) if unit in row]


def column(call: str, feature: int) -> list[float]:
    """The entries of a layer's weight that a channel of its input is multiplied with."""
    w = PARAMS[f"{call}.weight"]
    if call != "grouped":
        return w[:, feature].tolist()
    each = w.shape[1]
    group = feature // each
    return w[4 * group : 4 * (group + 1), feature % each].flatten().tolist()


def over_readers(value: Any, how: Any = sum) -> dict[str, list[float]]:
    """A value of the calls that read a unit, summed."""
    return by_hand.each_unit(
        SPEC,
        lambda axis, unit: how(
            [value(call, features(call, axis, unit)) for call in readers_of(axis)]
        ),
    )


def test_apoz_and_the_mean_are_those_of_all_activations_that_a_reader_takes() -> None:
    def of(call: str, mine: list[int], what: Any) -> float:
        values = SEEN[call].movedim(1, 0)[mine].flatten().tolist()
        return sum(map(what, values)) / len(values)

    by_hand.assert_close(
        pt.apoz(PARAMS, SPEC, STATS), over_readers(lambda c, m: of(c, m, lambda a: a != 0))
    )
    by_hand.assert_close(
        pt.activation_mean(PARAMS, SPEC, STATS), over_readers(lambda c, m: of(c, m, float))
    )


def test_the_activation_norm_takes_l2_over_examples_of_the_mean_over_positions() -> None:
    def value(call: str, mine: list[int]) -> float:
        total = 0.0
        for example in SEEN[call]:
            places = example[mine].reshape(len(mine), -1).T.tolist()
            mean = sum(sum(a * a for a in place) ** 0.5 for place in places) / len(places)
            total += mean**2
        return total**0.5

    by_hand.assert_close(criteria.activation_norm(PARAMS, SPEC, STATS), over_readers(value))


def test_wanda_is_the_mean_weight_times_the_norm_of_what_it_reads() -> None:
    def value(call: str, mine: list[int]) -> float:
        total = 0.0
        for i in mine:
            w = column(call, i)
            norm = sum(a * a for a in SEEN[call].movedim(1, 0)[i].flatten().tolist()) ** 0.5
            total += sum(map(abs, w)) / len(w) * norm
        return total

    by_hand.assert_close(pt.wanda(PARAMS, SPEC, STATS), over_readers(value))


def test_flap_is_the_variance_times_the_squared_norm_of_the_column() -> None:
    def value(call: str, mine: list[int]) -> float:
        total = 0.0
        for i in mine:
            a = SEEN[call].movedim(1, 0)[i].flatten().tolist()
            mean = sum(a) / len(a)
            variance = sum((x - mean) ** 2 for x in a) / len(a)
            total += variance * sum(w * w for w in column(call, i))
        return total

    by_hand.assert_close(criteria.flap(PARAMS, SPEC, STATS), over_readers(value))


def test_hrank_is_the_mean_rank_of_a_units_maps() -> None:
    flat = SEEN["grouped"].clone()
    scores = criteria.hrank(NET, PARAMS, SPEC, X.split([2, 3]))
    (axis,) = [a for a in SPEC.axes if readers_of(a) == ["grouped"] and SPEC.axes[a].size == 3]
    for unit in range(3):
        ranks = [
            int(torch.linalg.matrix_rank(flat[e, i]))
            for e in range(5)
            for i in features("grouped", axis, unit)
        ]
        assert float(scores[axis][unit]) == pytest.approx(sum(ranks) / 5)
    assert scores["fc1"].max() <= 1  # a neuron's map is one number


# ---- what the readers lose


def contributions(call: str, mine: list[int]) -> Tensor:
    """What some channels add to the outputs of a layer."""
    x = torch.zeros_like(SEEN[call])
    x[:, mine] = SEEN[call][:, mine]
    zero = torch.zeros_like(x)
    return (CALLS[call](x) - CALLS[call](zero)).detach().flatten()


def test_thinet_lets_the_unit_go_that_changes_the_readers_least_each_time() -> None:
    want = {}
    for name, axis in SPEC.axes.items():
        gone: list[int] = []
        while len(gone) < axis.size:

            def error(unit: int, name: str = name, gone: list[int] = gone) -> float:
                total = 0.0
                for call in readers_of(name):
                    mine = [i for u in {*gone, unit} for i in features(call, name, u)]
                    total += float(contributions(call, mine).square().sum())
                return total

            gone.append(min((u for u in range(axis.size) if u not in gone), key=error))
        want[name] = [gone.index(u) / axis.size for u in range(axis.size)]
    by_hand.assert_close(criteria.thinet(PARAMS, SPEC, STATS), want)


def error_without(gone: list[int], axis: str) -> float:
    """What the best update of the readers' other weights leaves of the error, all at once."""
    total = 0.0
    for f in STATS.at(axis):
        gram = f.gram
        assert gram is not None
        units = gram_units(f, axis, SPEC)
        rows = reading_rows(f, gram, PARAMS)
        for w, h, unit in zip(rows, hessian(gram, 0.01), units, strict=True):
            s = [i for i, u in enumerate(unit.tolist()) if u in gone]
            inverse = torch.linalg.inv(h)[s][:, s]
            total += float((w[:, s] @ torch.linalg.inv(inverse) * w[:, s]).sum())
    return total


def test_ziplm_lets_the_unit_go_that_adds_least_to_the_error_and_scores_it_by_that() -> None:
    want = {}
    for name, axis in SPEC.axes.items():
        gone: list[int] = []
        scores, most = [0.0] * axis.size, 0.0
        while len(gone) < axis.size:
            left = [u for u in range(axis.size) if u not in gone]
            errors = {u: error_without([*gone, u], name) for u in left}
            unit = min(left, key=errors.__getitem__)
            most = max(most, errors[unit] - (error_without(gone, name) if gone else 0.0))
            scores[unit] = most
            gone.append(unit)
        want[name] = scores
    by_hand.assert_close(criteria.ziplm(PARAMS, SPEC, STATS), want)


def test_obs_is_what_the_best_update_of_the_other_weights_leaves() -> None:
    """Of fc2: the squared error that remains, by least squares with the same ridge to the old."""
    x = SEEN["fc2"]
    h = 2 * x.T @ x
    h = h + 0.01 * h.diagonal().mean() * torch.eye(5, dtype=torch.float64)
    scores = criteria.obs(PARAMS, SPEC, STATS)
    for unit in range(5):
        kept = [i for i in range(5) if i != unit]
        loss = 0.0
        for row in PARAMS["fc2.weight"]:
            moved = torch.linalg.solve(h[kept][:, kept], h[kept, unit] * row[unit])
            change = torch.zeros(5, dtype=torch.float64)
            change[kept], change[unit] = moved, -row[unit]
            loss += float(change @ h @ change)
        assert float(scores["fc1"][unit]) == pytest.approx(loss)


def test_obs_of_units_of_many_features_is_the_error_that_its_update_leaves() -> None:
    scores = criteria.obs(PARAMS, SPEC, STATS, damp=1e-3)
    for name in SPEC.axes:
        if not readers_of(name):
            continue
        for unit in range(SPEC.axes[name].size):
            masks = {name: torch.arange(SPEC.axes[name].size) != unit}
            new = criteria.obs_update(PARAMS, SPEC, masks, STATS, damp=1e-3)
            loss = 0.0
            for f in STATS.at(name):
                call = f.site.call.split()[1]
                gram = f.gram
                assert gram is not None
                groups, size = gram.total.shape
                h = 2 * gram.matrix
                level = 1e-3 * h.diagonal(dim1=1, dim2=2).mean(1)
                h = h + level[:, None, None] * torch.eye(size, dtype=torch.float64)
                change = (new[call] - PARAMS[call]).reshape(groups, -1, size)
                loss += float(torch.einsum("gof,gfe,goe->", change, h, change))
            assert float(scores[name][unit]) == pytest.approx(loss, rel=1e-6)


def test_the_update_of_obs_leaves_no_weight_of_what_is_gone_and_beats_plain_zeros() -> None:
    masks = random_masks(SPEC, ["fc1"])
    new = criteria.obs_update(PARAMS, SPEC, masks, STATS, damp=1e-6)
    gone = ~masks["fc1"]
    assert float(new["fc2.weight"][:, gone].abs().max()) == 0
    x, w = SEEN["fc2"], PARAMS["fc2.weight"]
    plain = w * masks["fc1"]
    errors = [float(((v - w) @ x.T).square().sum()) for v in (new["fc2.weight"], plain)]
    assert errors[0] < errors[1]
    untouched = [n for n in PARAMS if n != "fc2.weight"]
    assert all(torch.equal(new[n], PARAMS[n]) for n in untouched)


# ---- all of them, over every axis


def stats_of(case: str) -> tuple[Any, Any, pt.Spec, Stats]:
    model, given, x = CASES[case]
    params = pt.params_of(model) if given is None else given
    spec = pt.infer(model, params, x[:1])

    def loss(outputs: Tensor, batch: Any) -> Tensor:
        return outputs.square().flatten(1).sum(1)

    return model, params, spec, pt.measure(model, params, spec, [x], gram=True, loss=loss)


@pytest.mark.parametrize("case", CASES)
def test_every_criterion_scores_every_axis_and_select_takes_it(case: str) -> None:
    model, params, spec, stats = stats_of(case)
    x = CASES[case][2]
    found = {
        "lp_norm": pt.lp_norm(params, spec),
        "lamp": criteria.lamp(params, spec),
        "geometric_median": criteria.geometric_median(params, spec),
        "random": pt.random_scores(params, spec),
        "output_taylor": pt.output_taylor(model, params, spec, [x]),
        "hrank": criteria.hrank(model, params, spec, [x]),
        "thinet": criteria.thinet(params, spec, stats),
        "obs": criteria.obs(params, spec, stats),
        "weighted": criteria.obs(params, spec, stats, weighted=True),
        "ziplm": criteria.ziplm(params, spec, stats, weighted=True),
        **{
            of.__name__: of(params, spec, stats)
            for of in (
                pt.taylor,
                pt.fisher,
                criteria.gate,
                criteria.snip,
                pt.apoz,
                pt.activation_mean,
                criteria.activation_norm,
                pt.wanda,
                criteria.flap,
            )
        },
    }
    for name, scores in found.items():
        assert {n: tuple(s.shape) for n, s in scores.items()} == {
            n: (size,) for n, size in spec.sizes.items()
        }, name
        assert all(bool(s.isfinite().all()) for s in scores.values()), name
        masks = pt.select(scores, 0.5)
        assert all(int(m.sum()) == -(-len(m) // 2) for m in masks.values()), name


class Pooled(nn.Module):
    """A layer whose output nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.pooler = nn.Linear(3, 4), nn.Linear(4, 5)
        self.late, self.head = nn.Linear(5, 6), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.body(x))
        self.late(torch.tanh(self.pooler(x)))
        return self.head(x)


def test_an_axis_that_no_output_depends_on_scores_0() -> None:
    model: Any = randomise(Pooled())
    params, x = pt.params_of(model), inputs(5, 3)
    spec = pt.infer(model, params, x)
    stats = pt.measure(model, params, spec, [x], gram=True, loss=lambda out, batch: out.sum(1))
    of = (pt.taylor, pt.fisher, pt.apoz, pt.wanda, criteria.flap, criteria.obs, criteria.thinet)
    of = (*of, criteria.ziplm)
    found = [criterion(params, spec, stats) for criterion in of]
    found += [pt.output_taylor(model, params, spec, [x]), criteria.hrank(model, params, spec, [x])]
    for scores in found:
        assert {*scores} == {"body", "pooler", "late"}
        assert not scores["pooler"].any() and not scores["late"].any()
        assert float(scores["body"].max()) > 0


def test_heads_are_scored_by_all_their_widths() -> None:
    model, params, spec, stats = stats_of("attention")
    heads = next(n for n in spec.axes if n.endswith("num_heads"))
    x = CASES["attention"][2]
    packed = F.linear(model.embed(x), model.attn.in_proj_weight, model.attn.in_proj_bias)
    q, k, v = (p.unflatten(-1, (2, 4)).transpose(1, 2) for p in packed.chunk(3, -1))
    read = F.scaled_dot_product_attention(q, k, v).detach()  # examples, heads, positions, width
    norms = read.norm(dim=-1).mean(-1).square().sum(0).sqrt()
    torch.testing.assert_close(criteria.activation_norm(params, spec, stats)[heads], norms)
    w = params["attn.out_proj.weight"].abs().mean(0).reshape(2, 4)
    want = (w * read.square().sum((0, 2)).sqrt()).sum(1)
    torch.testing.assert_close(pt.wanda(params, spec, stats)[heads], want)


def test_stats_that_do_not_do_are_refused() -> None:
    plain = pt.measure(NET, PARAMS, SPEC, [X], gram="fc1")
    assert [*criteria.obs(PARAMS, SPEC, plain)] == ["fc1"]
    assert [*criteria.thinet(PARAMS, SPEC, plain)] == ["fc1"]
    with pytest.raises(pt.MaskError, match="no Gram matrices: give measure gram=True"):
        criteria.obs(PARAMS, SPEC, pt.measure(NET, PARAMS, SPEC, [X]))
    for damp in (0.0, -1.0):
        with pytest.raises(pt.MaskError, match="give a number above 0"):
            criteria.obs(PARAMS, SPEC, plain, damp=damp)
    with pytest.raises(pt.MaskError, match="stats are what measure gives, not dict"):
        pt.wanda(PARAMS, SPEC, {})  # type: ignore[arg-type]


def test_a_reader_with_a_weight_norm_is_scored_by_the_weight_that_it_takes() -> None:
    net: Any = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4)).double()
    x = torch.rand(9, 3, dtype=torch.float64)
    with torch.no_grad():
        normed: Any = weight_norm(copy.deepcopy(net[2]))
        normed.parametrizations.weight.original0.mul_(torch.tensor([[4.0], [0.1], [1.0], [2.0]]))
        net[2].weight.copy_(normed.weight)
    models = net, nn.Sequential(net[0], net[1], normed)
    for criterion in (pt.wanda, criteria.flap, criteria.obs, criteria.thinet, criteria.ziplm):
        want, got = (
            criterion(
                p := pt.params_of(m), s := pt.infer(m, p, x), pt.measure(m, p, s, [x], gram=True)
            )
            for m in models
        )
        torch.testing.assert_close([*got.values()], [*want.values()])
    params = pt.params_of(models[1])
    spec = pt.infer(models[1], params, x)
    masks = {next(iter(spec.axes)): torch.arange(5) > 0}
    with pytest.raises(pt.MaskError, match="remove_parametrizations"):
        criteria.obs_update(
            params, spec, masks, pt.measure(models[1], params, spec, [x], gram=True)
        )


def test_stats_of_another_network_are_refused() -> None:
    stats = pt.measure(NET, PARAMS, SPEC, [X], gram=True, loss=lambda out, _: out.square().mean())
    masks = {"fc1": torch.arange(SPEC.sizes["fc1"]) > 0}
    params, spec = pt.thin(PARAMS, SPEC, masks)[0], pt.thin_spec(SPEC, masks)
    for criterion in (
        pt.wanda,
        pt.taylor,
        pt.fisher,
        criteria.gate,
        criteria.snip,
        criteria.obs,
        criteria.thinet,
        criteria.ziplm,
    ):
        with pytest.raises(pt.SpecError, match="stats are not of this network: 'fc1'"):
            criterion(params, spec, stats)


def test_the_page_of_criteria_shows_what_its_code_prints(tmp_path: Path) -> None:
    page = Path(__file__).parents[1] / "docs" / "criteria.md"
    outputs = run(page.read_text(), tmp_path, {"__name__": "criteria"})
    assert len(outputs) >= 2
    assert all(output.beginning == output.shown for output in outputs)


def test_the_page_lists_every_criterion() -> None:
    page = (Path(__file__).parents[1] / "docs" / "criteria.md").read_text()
    public = [n for n in vars(criteria) if not n.startswith("_") and callable(getattr(criteria, n))]
    others = {"Reduce", "obs_update", "sampled_labels", "hessian_diagonal"}
    assert [n for n in public if n not in others and f"| `{n}`" not in page.replace("*", "")] == []
