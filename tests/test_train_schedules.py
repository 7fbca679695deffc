"""Trainings along schedules of axes that no weight names: masked ends as thinned, a resumed run as
the one that went through, and the plan says what goes.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from scheduled import Experts, Groups, Heads, Units, loss_fn, scene
from torch import Tensor, nn

import purethin as pt
from purethin.recipes.functions import PUBLIC
from purethin.recipes.regrowth import growth
from purethin.training.train import Trainer, When


def trainer(
    net: nn.Module, spec: pt.Spec, recipe: pt.Recipe, thin: When = "now", **options: Any
) -> Trainer:
    torch.manual_seed(1)
    sgd = lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9)  # noqa: E731
    options = {"callbacks": (), **options}
    return Trainer(net, spec, recipe, sgd, pt.Update(loss_fn), thin=thin, **options)


def mine(params: Any, spec: pt.Spec, grads: Any) -> pt.Scores:
    """A criterion of one's own: the largest gradient of the last batch's, by unit of what makes an
    axis.
    """
    *_, last = grads
    return {
        name: last[axis.producers[0][0]].abs().sum().expand(axis.size) + torch.arange(axis.size)
        for name, axis in spec.axes.items()
    }


CASES: dict[str, tuple[type[nn.Module], int, Any, dict[str, Any]]] = {
    "heads by output_taylor": (
        Heads,
        8,
        {"heads": 0.5, "feed_forward": 0.25},
        {"criterion": pt.output_taylor},
    ),
    "head widths and a feed-forward by taylor, one ranking": (
        Heads,
        8,
        {"head_width": 0.5, "fc1": 0.5},
        {"criterion": pt.taylor, "scope": "global", "normalize": "mean", "curve": "linear"},
    ),
    "groups of keys and values by a norm, to a target": (
        Groups,
        6,
        ["heads", "head_width"],
        {"macs": 0.6, "curve": pt.curves.cosine},
    ),
    "recurrent units by wanda": (
        Units,
        6,
        {"gru": 0.5},
        {"criterion": pt.wanda, "round_to": 2, "curve": "exponential"},
    ),
    "an expert by a function of one's own, at once": (
        Experts,
        6,
        {"up.0": 0.25},
        {"criterion": mine, "curve": pt.curves.one_shot, "begin": 2},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_masked_is_thinned_a_resumed_run_is_the_same_and_the_plan_says_what_goes(
    case: str, tmp_path: Path
) -> None:
    make, width, axes, options = CASES[case]
    options = {"end": 3, **options}
    net, spec, data = scene(make, width)
    recipe = pt.schedule(spec, axes, **options)
    now, masked = trainer(net, spec, recipe), trainer(net, spec, recipe, "end")
    now.fit(data, 4)
    masked.fit(data, 4)
    assert any(not bool(m.all()) for m in now.masks.values())
    for name, tensor in now.params.items():
        torch.testing.assert_close(tensor, masked.params[name], atol=1e-9, rtol=1e-9)
    dense = pt.params_of(net)
    plan = pt.plan(recipe, dense, spec)
    assert {n: int(m.sum()) for n, m in now.masks.items()} == {
        n: int(m.sum()) for n, m in plan.masks.items()
    } or "global" in options.values()
    assert sum(p.numel() for p in now.params.values()) < sum(t.numel() for t in dense.values())
    if "macs" in options:
        assert pt.cost(spec, now.masks).macs <= options["macs"] * pt.cost(spec).macs
    first = trainer(net, spec, recipe, folder=tmp_path)
    first.fit(data, 2)
    again = trainer(net, spec, pt.schedule(spec, axes, **options), folder=tmp_path)
    assert again.resume()
    again.fit(data, 2)
    assert all(torch.equal(p, again.params[n]) for n, p in now.params.items())


def test_scores_are_of_the_network_without_what_is_masked() -> None:
    net, spec, data = scene(Heads, 8)
    seen: list[dict[str, int]] = []

    def counting(params: Any, spec: pt.Spec) -> pt.Scores:
        seen.append(dict(spec.sizes))
        return pt.lp_norm(params, spec)

    recipe = pt.schedule(spec, {"heads": 0.5}, criterion=counting, curve="linear", end=3)
    trainer(net, spec, recipe, "end").fit(data, 3)
    assert [sizes["heads"] for sizes in seen] == [4, 4, 3]


def test_a_loop_of_ones_own_gives_scores_of_the_network_as_it_is() -> None:
    net, spec, data = scene(Heads, 8)
    recipe = pt.schedule(spec, {"heads": 0.5}, criterion=pt.wanda, curve="linear", end=3)
    state, params = pt.begin(spec, recipe, thin="now"), pt.params_of(net)
    for epoch in range(3):
        small = pt.rebuild(net, params, state.config)
        stats = pt.measure(small, params, state.spec, [x for x, _ in data])
        scores = {"wanda": pt.wanda(params, state.spec, stats)}
        assert [p.name for p in state.pruning.scored_at(epoch)] == ["wanda"]
        state, change = pt.advance(state, params, epoch=epoch, scores=scores)
        params = change.params(params)
    assert state.spec.sizes["heads"] == 2
    with pytest.raises(
        pt.MaskError, match="'wanda' asks for data, which the Trainer measures: in a loop"
    ):
        state.pruning.masks_at(2, pt.params_of(net), {})


def test_what_is_measured_draws_nothing_and_changes_nothing() -> None:
    net, spec, data = scene(Heads, 8)
    ends: list[Tensor] = []
    for criterion in (pt.output_taylor, pt.taylor, pt.random_scores):
        recipe = pt.schedule(spec, {"heads": 0.0}, criterion=criterion, end=3)
        t = trainer(net, spec, recipe)
        t.fit(data, 3)
        ends.append(torch.cat([p.detach().flatten() for p in t.params.values()]))
    assert torch.equal(ends[0], ends[1]) and torch.equal(ends[1], ends[2])


CONVOLVED = nn.Sequential(
    *(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
    *(nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(16, 3)),
).double()
IMAGES = [(torch.randn(4, 2, 4, 4).double(), torch.arange(4) % 3) for _ in range(2)]
CONVOLVED_SPEC = pt.infer(CONVOLVED, pt.params_of(CONVOLVED), IMAGES[0][0])


@pytest.mark.parametrize("criterion", sorted(PUBLIC["criterion"]))
def test_each_public_criterion_ranks_in_a_training(criterion: str) -> None:
    options: Any = {"criterion": criterion, "curve": "one_shot", "gram": True}
    if criterion == "obd":  # of a diagonal that nobody else knows
        with pytest.raises(pt.RecipeError, match="asks for 'diagonal', which is not known"):
            pt.schedule(CONVOLVED_SPEC, 0.5, **options)
        return
    recipe = pt.schedule(CONVOLVED_SPEC, {"0.weight": 0.5}, **options)
    t = trainer(CONVOLVED, CONVOLVED_SPEC, recipe)
    t.fit(IMAGES, 1)
    assert {name: int(m.sum()) for name, m in t.masks.items()} == {"0.weight": 3}
    assert t.params["0.weight"].shape[0] == 3


# ---- regrowth


def regrowing(spec: pt.Spec, **options: Any) -> pt.Recipe:
    given = {"criterion": "lp_norm", "curve": "linear", "initial": 0.25, "regrow": 0.5, "end": 5}
    return pt.schedule(spec, {"fc1": 0.5}, **{**given, **options})


def test_units_come_back_with_the_weights_that_they_had_and_as_many_are_gone_at_the_end(
    tmp_path: Path,
) -> None:
    net, spec, data = scene(Heads, 8)
    masks: list[Tensor] = []
    weights: list[Tensor] = []

    def see(moment: Any) -> None:
        masks.append(moment.trainer.masks["fc1"])
        weights.append(moment.trainer.params["fc1.weight"].detach().clone())

    recipe = regrowing(spec)
    t = trainer(net, spec, recipe, "recipe", callbacks=[{"epoch": see}])
    t.fit(data, 4)
    returned = [(a, b) for a, b in pairwise(masks) if bool((b & ~a).any())]
    assert returned, "no unit has come back"
    assert [int((~m).sum()) for m in masks] == [3, 3, 4, 5]
    for mask, weight in zip(masks, weights, strict=True):
        assert bool((weight[~mask] == 0).all()) and bool((weight[mask] != 0).any(1).all())
    first = trainer(net, spec, recipe, "recipe", folder=tmp_path)
    first.fit(data, 2)
    again = trainer(net, spec, regrowing(spec), "recipe", folder=tmp_path)
    assert again.resume()
    again.fit(data, 3)
    t.fit(data, 1)
    assert t.params["fc1.weight"].shape[0] == 6
    assert all(torch.equal(p, again.params[n]) for n, p in t.params.items())
    ended = trainer(net, spec, recipe, "end")
    ended.fit(data, 1)
    with pytest.raises(pt.RecipeError, match="have left the tensors as an earlier fit ended"):
        ended.fit(data, 1)


def test_what_comes_back_is_what_the_loss_asks_for() -> None:
    net, spec, data = scene(Heads, 8)
    params, masks = pt.params_of(net), {"fc1": torch.arange(12) >= 6}
    x, y = data[0]

    def loss(outputs: Tensor) -> Tensor:
        return loss_fn(outputs, (x, y))

    found = growth(net, params, spec, masks, ["fc1"], [((x,), loss)])["fc1"]
    gates = {"fc1": masks["fc1"].double()}
    step = 1e-6
    for unit in range(12):
        values = []
        for moved in (step, -step):
            gates = {"fc1": masks["fc1"].double()}
            gates["fc1"][unit] += moved
            gated = pt.mask(params, spec, gates)
            values.append(float(loss(torch.func.functional_call(net.eval(), gated, (x,)))))
        slope = (values[0] - values[1]) / (2 * step)
        assert float(found[unit]) == pytest.approx(slope**2, rel=1e-4, abs=1e-12)


@pytest.mark.parametrize(
    ("options", "thin", "words"),
    [
        ({}, "now", 'may come back until epoch 4, and thin="now" takes units out at each step'),
        ({"scope": "isomorphic"}, "end", "`regrow` exchanges units within an axis, step by step"),
        ({"curve": "one_shot"}, "end", "leave target, scope and one_shot out"),
    ],
)
def test_what_cannot_come_back_is_refused(options: Any, thin: When, words: str) -> None:
    net, spec, _ = scene(Heads, 8)
    with pytest.raises(pt.RecipeError, match=words):
        trainer(net, spec, regrowing(spec, **options), thin)


def test_a_thinner_before_the_last_exchange_and_scores_that_are_missing_are_refused() -> None:
    net, spec, _ = scene(Heads, 8)
    recipe = pt.load_recipe(regrowing(spec).to_yaml().replace("epochs: [4]", "epochs: [2]"))
    with pytest.raises(pt.RecipeError, match="the recipe thins at epoch 2: what has left"):
        pt.begin(spec, recipe)
    with pytest.raises(pt.MaskError, match="'lp_norm' may come back: give `scores`"):
        regrowing(spec).on(spec).masks_at(0, pt.params_of(net), {})
