"""Trainings that repair: what reads units that go gives what it gave, masked as thinned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from scheduled import Experts, Heads, Units, loss_fn, scene
from torch import Tensor, nn

import purethin as pt
from purethin.training.train import Trainer, When


class Images(nn.Module):
    """Convolutions with batch norms, around one of which a sum goes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8, momentum=0.0)
        self.inner, self.back = nn.Conv2d(8, 10, 3, padding=1), nn.Conv2d(10, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x[:, None])).relu()
        return self.head((x + self.back(self.inner(x).relu())).mean((2, 3)))


CASES: dict[str, tuple[type[nn.Module], int, Any, dict[str, Any]]] = {
    "convolutions by a norm": (Images, 6, {"inner": 0.4, "stem": 0.25}, {}),
    "heads and a feed-forward, step by step": (Heads, 8, {"heads": 0.5, "fc1": 0.5}, {}),
    "by a criterion of data": (Heads, 8, {"fc1": 0.5}, {"criterion": pt.output_taylor}),
    "to a target": (Heads, 8, ["fc1"], {"macs": 0.8}),
    "recurrent units": (Units, 6, {"gru": 0.25}, {}),
}


def trainer(
    net: nn.Module, spec: pt.Spec, recipe: pt.Recipe, thin: When = "now", **options: Any
) -> Trainer:
    options = {"callbacks": (), "repair": True, "rate": 0.05, **options}
    rate = options.pop("rate")
    sgd = lambda params: torch.optim.SGD(params, lr=rate, momentum=0.9)  # noqa: E731
    return Trainer(net, spec, recipe, sgd, pt.Update(loss_fn), thin=thin, **options)


@pytest.mark.parametrize("case", CASES)
def test_masked_is_thinned_and_a_resumed_run_is_the_same(case: str, tmp_path: Path) -> None:
    make, width, axes, options = CASES[case]
    net, spec, data = scene(make, width)
    net.eval()
    recipe = pt.schedule(spec, axes, end=3, curve="linear", **options)
    now, masked = trainer(net, spec, recipe), trainer(net, spec, recipe, "end")
    now.fit(data, 4)
    masked.fit(data, 4)
    for name, tensor in now.params.items():
        torch.testing.assert_close(tensor, masked.params[name], atol=1e-8, rtol=1e-8)
    first = trainer(net, spec, recipe, folder=tmp_path)
    first.fit(data, 2)
    again = trainer(net, spec, recipe, folder=tmp_path)
    assert again.resume()
    again.fit(data, 2)
    assert all(torch.equal(p, again.params[n]) for n, p in now.params.items())


@pytest.mark.parametrize("case", CASES)
def test_the_network_is_the_one_that_repair_gives(case: str) -> None:
    make, width, axes, options = CASES[case]
    net, spec, data = scene(make, width)
    net.eval()
    recipe = pt.schedule(spec, axes, end=1, **options)
    t = trainer(net, spec, recipe, rate=0.0, ema=0.5)
    t.fit(data, 1)
    dense, inputs = pt.params_of(net), [(x,) for x, _ in data]
    by_hand = pt.thin(pt.repair(net, dense, spec, t.masks, inputs), spec, t.masks)[0]
    assert any(not bool(m.all()) for m in t.masks.values())
    for name, tensor in ((n, t) for n, t in by_hand.items() if t.is_floating_point()):
        torch.testing.assert_close(t.params[name].detach(), tensor, atol=1e-9, rtol=1e-9)
        average = pt.params_of(t.model(ema=True))[name]
        torch.testing.assert_close(average, tensor, atol=1e-9, rtol=1e-9)
    plain = pt.rebuild(net, *pt.thin(dense, spec, t.masks)).eval()
    with torch.no_grad():
        lost = [sum((f(x) - net(x)).norm() for x, _ in data) for f in (t.model(), plain)]
    assert lost[0] < lost[1]


def test_where_no_unit_goes_nothing_is_repaired() -> None:
    net, spec, data = scene(Heads, 8)
    t = trainer(net, spec, pt.schedule(spec, {"fc1": 0.0}, end=1), rate=0.0)
    t.fit(data, 1)
    assert all(torch.equal(p, t.params[n]) for n, p in pt.params_of(net).items())


def within() -> pt.Recipe:
    return pt.load_recipe("""
pruners:
  rows: {class: L1RankedStructureParameterPruner, group_type: Rows, desired_sparsity: 0.5,
    weights: [fc1.weight]}
policies:
  - {pruner: {instance_name: rows, args: {mini_batch_pruning_frequency: 1}}, epochs: [0]}
""")


@pytest.mark.parametrize(
    ("recipe", "error", "said"),
    [
        (None, pt.SpecError, "repair=True fits what the trace saw read an axis, and this spec"),
        ({"regrow": 0.3}, pt.RecipeError, "whose units come back, .* leave regrow out, or repair"),
        (within, pt.RecipeError, "which prunes within an epoch, .*mini_batch_pruning_frequency"),
    ],
)
def test_what_cannot_be_repaired_is_refused_before_training(
    recipe: Any, error: type[Exception], said: str
) -> None:
    net, spec, _ = scene(Heads, 8)
    options: dict[str, Any] = recipe if isinstance(recipe, dict) else {}
    made = pt.schedule(spec, {"fc1": 0.5}, end=4, **options)
    if recipe is None:
        layout = {n: " ".join(map(str, dims)) for n, dims in spec.shapes.items()}
        layout |= {"fc1.weight": "fc1 8", "fc1.bias": "fc1", "fc2.weight": "8 fc1"}
        spec = pt.Spec.from_layout(layout, pt.params_of(net))
    with pytest.raises(error, match=said):
        trainer(net, spec, within() if recipe is within else made, "end")


@pytest.mark.parametrize(("batches", "options"), [(1, {}), (2, {"calibrate": 1})])
def test_one_batch_is_too_few(batches: int, options: dict[str, Any]) -> None:
    net, spec, data = scene(Experts, 6)
    t = trainer(net, spec, pt.schedule(spec, {"up.1": 0.4}, end=1), **options)
    with pytest.raises(pt.OptionError, match="chooses by others, and has 1: give a loader of two"):
        t.fit(data[:batches], 1)
