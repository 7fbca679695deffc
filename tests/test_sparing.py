"""What divides by what a unit holds: masking spares the divisor, and a training stays finite and
thins to the same network at any time.
"""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from networks import random_masks, randomise
from patterns.weight_norm import NORMS, Generator, Snake, Spline
from torch import Tensor, nn
from trainers import trainer_of

import purethin as pt
from purethin.training.train import Trainer

GENERATOR = """
version: 1
pruners:
  filters:
    class: L1RankedStructureParameterPruner_AGP
    initial_sparsity: 0.2
    final_sparsity: 0.5
    group_type: Filters
    weights: [{inner}]
  residual:
    class: L2RankedStructureParameterPruner_AGP
    initial_sparsity: 0.1
    final_sparsity: 0.5
    group_type: Filters
    group_dependency: Auto
    weights: [{residual}]
regularizers:
  lasso:
    class: GroupLassoRegularizer
    reg_regims: {{"{lasso}": [0.01, Channels]}}
extensions: {{thinner: {{class: FilterRemover}}}}
policies:
  - {{pruner: {{instance_name: filters}}, starting_epoch: 1, ending_epoch: 3, frequency: 1}}
  - {{pruner: {{instance_name: residual}}, starting_epoch: 1, ending_epoch: 4, frequency: 2}}
  - {{regularizer: {{instance_name: lasso}}, starting_epoch: 0, ending_epoch: 5, frequency: 1}}
  - {{extension: {{instance_name: thinner}}, epochs: [2]}}
"""


def generator(how: str) -> tuple[nn.Module, pt.Recipe]:
    net = randomise(Generator(NORMS[how])).train()
    v = "weight_v" if "hook" in how else "parametrizations.weight.original1"
    text = GENERATOR.format(
        inner=f"pre.{v}, blocks.0.0.one.0.{v}, blocks.1.1.one.1.{v}",
        residual=f"blocks.0.0.two.0.{v}, blocks.0.1.two.1.{v}",
        lasso=f"blocks.0.0.two.0.{v}",
    )
    return net, pt.load_recipe(text)


def trained(
    net: nn.Module, recipe: pt.Recipe, thin: Literal["recipe", "now", "end"], example: Tensor
) -> Trainer:
    state = torch.Generator().manual_seed(3)
    loader = [
        torch.randn(3, *example.shape[1:], generator=state, dtype=torch.float64) for _ in range(3)
    ]
    trainer = trainer_of(
        net,
        recipe,
        lambda out, batch: (out - 0.3).square().mean(),
        lambda params: torch.optim.Adam(params, lr=1e-2, weight_decay=1e-3),
        example,
        thin=thin,
        clip_norm=0.5,
        ema=0.9,
        callbacks=(),
    )
    trainer.fit(loader, 6)
    return trainer


@pytest.mark.parametrize("how", NORMS)
def test_a_generator_under_weight_norm_trains_to_one_network_whenever_it_is_thinned(
    how: str,
) -> None:
    net, recipe = generator(how)
    example = torch.randn(1, 5, 6, dtype=torch.float64)
    now, later, end = (trained(net, recipe, t, example) for t in ("now", "recipe", "end"))
    assert any(not bool(m.all()) for m in now.masks.values())
    for other in (later, end):
        assert all(torch.equal(now.masks[n], m) for n, m in other.masks.items())
        want, got = now.model()(example), other.model()(example)
        assert bool(want.isfinite().all())
        assert torch.allclose(want, got, rtol=1e-9, atol=1e-12)
        assert torch.allclose(now.model(ema=True)(example), other.model(ema=True)(example))
    assert all(
        torch.allclose(now.params[n], p, rtol=1e-8, atol=1e-10) for n, p in end.params.items()
    )


class Divides(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(3, 6), nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.one(x) / self.two(x))


def test_an_axis_that_is_infinite_under_every_choice_is_masked_by_no_trainer() -> None:
    net, example = randomise(Divides()).train(), torch.randn(4, 3, dtype=torch.float64)
    spec = pt.infer(net, pt.params_of(net), example)
    assert not spec.axes["one"].finite
    assert "masked, it makes infinities: thin it" in str(spec)
    recipe = pt.load_recipe(
        GENERATOR.format(inner="one.weight", residual="one.weight", lasso="one.weight")
        .replace("starting_epoch: 1, ending_epoch: 4", "starting_epoch: 4, ending_epoch: 5")
        .replace("Channels", "Filters")
    )
    for thin in ("recipe", "end"):
        with pytest.raises(pt.RecipeError, match=r'infinite or nan: div of a .* thin="now"'):
            trained(net, recipe, thin, example)
    assert all(
        bool(p.isfinite().all()) for p in trained(net, recipe, "now", example).params.values()
    )


# ---- the spec


def snakes() -> tuple[nn.Module, Tensor]:
    net = nn.Sequential(
        nn.Conv1d(2, 6, 3), Snake(6), nn.Conv1d(6, 4, 3), Snake(4), nn.Conv1d(4, 1, 1)
    )
    return randomise(net), torch.randn(2, 2, 9, dtype=torch.float64)


def splines() -> tuple[nn.Module, Tensor]:
    net = nn.Sequential(Spline(3, 6), Spline(6, 4), Spline(4, 2)).double()
    return net, torch.rand(5, 3, dtype=torch.float64)


@pytest.mark.parametrize("make", [snakes, splines])
def test_a_spec_keeps_what_masking_spares(make: Any) -> None:
    net, x = make()
    params = pt.params_of(net)
    spec = pt.infer(net, params, x)
    assert spec.exact == tuple(spec.axes)
    assert all(a.spared for a in spec.axes.values())
    assert pt.Spec.from_yaml(spec.to_yaml()) == spec
    assert f"masking spares {':'.join(map(str, spec.axes[spec.exact[0]].spared[0]))}" in str(spec)
    masks = random_masks(spec)
    left = pt.thin_spec(spec, masks)
    assert [a.spared for a in left.axes.values()] == [a.spared for a in spec.axes.values()]


@pytest.mark.parametrize("make", [snakes, splines])
def test_masking_leaves_what_is_spared_and_what_thins_is_all_of_the_unit(make: Any) -> None:
    net, x = make()
    params = pt.params_of(net)
    spec = pt.infer(net, params, x)
    masks = random_masks(spec)
    masked = pt.mask(params, spec, masks)
    thinned, _ = pt.thin(params, spec, masks)
    for axis in spec.axes.values():
        gone = (~masks[axis.name]).nonzero()[:, 0]
        for name, dim in axis.places:
            cut = masked[name].index_select(dim, gone)
            whole = params[name].index_select(dim, gone)
            others = [a for a in spec.axes.values() if a is not axis and name in dict(a.places)]
            if (name, dim) in axis.spared and not others:
                assert torch.equal(cut, whole)
            elif (name, dim) not in axis.spared:
                assert not cut.any()
            assert thinned[name].shape[dim] == int(masks[axis.name].sum())
    assert all(torch.equal(t, pt.thin(masked, spec, masks)[0][n]) for n, t in thinned.items())
    again = pt.thin(pt.expand(thinned, spec, masks), spec, masks)[0]
    assert all(torch.equal(t, again[n]) for n, t in thinned.items())
