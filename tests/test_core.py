"""The pure core of training: begin, advance and finish in loops of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pages import blocks, run
from torch import Tensor, nn
from torch.nn import functional as F

import purethin as pt
from purethin.training.core import When
from purethin.tree import copied

PAGE = Path(__file__).parents[1] / "docs" / "training.md"


def page() -> tuple[str, str]:
    text = PAGE.read_text()
    return blocks(text, "python")[0], text.partition("## The Trainer")[0]


def test_the_loop_of_the_page_prints_what_it_shows_and_has_the_trainers_losses(
    tmp_path: Path,
) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    (shown,) = run(page()[1], tmp_path, names)
    assert shown.printed == shown.shown
    losses: list[float] = []

    def loss_fn(outputs: Tensor, batch: Any) -> Tensor:
        loss = F.cross_entropy(outputs, batch[1])
        losses.append(float(loss.detach()))
        return loss

    sgd = lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9)  # noqa: E731
    model, spec, recipe = names["model"], names["spec"], names["recipe"]
    t = pt.Trainer(model, spec, recipe, sgd, pt.Update(loss_fn), callbacks=())
    t.fit(names["data"], 6)
    assert names["losses"] == pytest.approx(losses, rel=1e-6)
    for name, p in pt.params_of(names["small"]).items():
        torch.testing.assert_close(p, t.params[name].detach(), atol=1e-6, rtol=1e-6)


RECIPE = """
pruners:
  p: {class: L1RankedStructureParameterPruner_AGP, initial_sparsity: 0.2, final_sparsity: 0.6,
    group_type: Rows, weights: [0.weight, 2.weight]}
  single: {class: AutomatedGradualPruner, initial_sparsity: 0.1, final_sparsity: 0.4,
    weights: [4.weight]}
extensions: {thinner: {class: FilterRemover}}
policies:
  - {pruner: {instance_name: p, args: {mini_batch_pruning_frequency: 2}}, starting_epoch: 1,
    ending_epoch: 4, frequency: 1}
  - {pruner: {instance_name: single}, starting_epoch: 1, ending_epoch: 4, frequency: 1}
  - {extension: {instance_name: thinner}, epochs: [2]}
"""
Tree = dict[str, Any]


def network() -> nn.Module:
    torch.manual_seed(0)
    sizes = (6, 12), (12, 10), (10, 3)
    linears = [layer for a, b in sizes for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*linears[:-1]).double()


def trained(thin: When, epochs: range, began: tuple[pt.State, Tree, Tree] | None = None) -> Any:
    """A loop of Adam by hand; the state, parameters and moments that it ends with."""
    model = network()
    x, y = torch.randn(40, 6).double(), torch.arange(40) % 3
    dense = pt.params_of(model)
    spec = pt.infer(model, dense, x)
    start = pt.begin(spec, pt.load_recipe(RECIPE), thin=thin)
    zeros: Tree = {
        n: {"m": torch.zeros_like(p), "v": torch.zeros_like(p)} for n, p in dense.items()
    }
    state, params, moments = began or (start, dense, zeros)

    def loss(params: Tree) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(model, params, (x,)), y)

    for epoch in epochs:
        for step in range(4):
            state, change = pt.advance(state, params, epoch=epoch, step=step)
            params, moments = change.params(params), change.moments(moments)
            grads = state.zeroed(torch.func.grad(loss)(params))
            for n, s in moments.items():
                moments[n] = {
                    "m": 0.9 * s["m"] + 0.1 * grads[n],
                    "v": 0.99 * s["v"] + 0.01 * grads[n].square(),
                }
            params = {
                n: p - 0.01 * moments[n]["m"] / (moments[n]["v"].sqrt() + 1e-8)
                for n, p in params.items()
            }
    return state, params, moments


def test_thinning_as_it_goes_where_the_recipe_says_or_at_the_end_is_one_network() -> None:
    ends = []
    for thin in ("now", "recipe", "end"):
        state, params, moments = trained(thin, range(6))
        assert state.thinned_masks
        state, change = pt.finish(state)
        if thin == "recipe":
            assert not change.thinned and not all(m.all() for m in state.pending.values())
            continue
        params, moments = change.params(params), change.moments(moments)
        assert params["0.weight"].shape == (5, 6) and params["4.weight"].shape == (3, 4)
        assert pt.rebuild(network(), params, state.config)(torch.ones(2, 6).double()).shape == (
            2,
            3,
        )
        ends.append({**params, **{f"{n} {k}": m for n, s in moments.items() for k, m in s.items()}})
    for name, tensor in ends[0].items():
        torch.testing.assert_close(tensor, ends[1][name], atol=1e-9, rtol=1e-9)


def test_a_loop_goes_on_from_masks_that_were_kept() -> None:
    whole = trained("now", range(5))
    state, params, moments = trained("now", range(3))
    kept = {"masks": state.masks, "elements": state.elements, "thinned_masks": state.thinned_masks}
    again = pt.begin(state.pruning.spec, pt.load_recipe(RECIPE), thin="now", **copied(kept))
    _, params, _ = trained("now", range(3, 5), (again, params, moments))
    assert all(torch.equal(p, whole[1][n]) for n, p in params.items())


def test_nothing_that_is_given_is_changed_and_what_no_mask_touches_is_the_same_tensor() -> None:
    model = network()
    params = {n: p.requires_grad_() for n, p in pt.params_of(model).items()}
    spec = pt.infer(model, params, torch.ones(1, 6).double())
    first = pt.begin(spec, pt.load_recipe(RECIPE))
    before = copied(params)
    state, change = pt.advance(first, params, epoch=0)
    assert state is first and not (change.masked or change.thinned)
    assert change.params(params) is params and change.moments(params) is params
    state, change = pt.advance(first, params, epoch=1)
    masked = change.params(params)
    assert first.masks == {} and change.masked and not change.thinned
    assert all(torch.equal(p, before[n]) for n, p in params.items())
    assert masked["4.bias"] is params["4.bias"]
    assert masked["0.weight"].requires_grad and masked["0.weight"].is_leaf
    assert int((masked["0.weight"] == 0).all(1).sum()) == 2


@pytest.mark.parametrize(
    ("spec", "recipe", "options", "said"),
    [
        ("spec", "recipe.yaml", {}, r"recipe is str; give what pt\.load_recipe"),
        ("recipe", "spec", {}, r"spec is Recipe; give what pt\.infer"),
        ("spec", "recipe", {"thin": "later"}, "thin is 'later'; give"),
    ],
)
def test_what_is_no_recipe_is_refused_with_what_to_give(
    spec: str, recipe: str, options: dict[str, Any], said: str
) -> None:
    model = network()
    real = pt.infer(model, pt.params_of(model), torch.ones(1, 6).double())
    known: dict[str, Any] = {"spec": real, "recipe": pt.load_recipe(RECIPE)}
    with pytest.raises(pt.PurethinError, match=said):
        pt.begin(known[spec], known.get(recipe, recipe), **options)
