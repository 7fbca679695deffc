"""Trainings along schedules of axes that no weight names: masked ends as thinned, a resumed run as
the one that went through, and the plan says what goes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from scheduled import Experts, Groups, Heads, Units, loss_fn, scene
from torch import Tensor, nn

import purethin as pt
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
    with pytest.raises(pt.MaskError, match="'wanda' asks for data: give masks_at `scores`"):
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
