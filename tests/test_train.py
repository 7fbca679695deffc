"""The trainer: thinning as it goes, where the recipe says, or at the end is one and the same network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

import purethin as pt
from purethin.train import Record, Trainer, When

RECIPE = """
version: 1
pruners:
  inner:
    class: L1RankedStructureParameterPruner_AGP
    initial_sparsity: 0.2
    final_sparsity: 0.5
    group_type: Filters
    weights: [a.conv1.weight, b.conv1.weight]
  residual:
    class: L2RankedStructureParameterPruner_AGP
    initial_sparsity: 0.1
    final_sparsity: 0.6
    group_type: Filters
    group_dependency: Auto
    weights: [stem.weight, a.conv2.weight, b.conv2.weight]
extensions:
  thinner:
    class: FilterRemover
lr_schedulers:
  decay:
    class: ExponentialLR
    gamma: 0.8
policies:
  - {pruner: {instance_name: inner}, starting_epoch: 1, ending_epoch: 4, frequency: 1}
  - {pruner: {instance_name: residual}, starting_epoch: 2, ending_epoch: 5, frequency: 2}
  - {extension: {instance_name: thinner}, epochs: [3, 5]}
  - {lr_scheduler: {instance_name: decay}, starting_epoch: 0, ending_epoch: 9, frequency: 1}
"""


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, 12, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))


class Net(nn.Module):
    """A stem and two residual blocks: the stem's axis is shared by both sums."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(10)
        self.a, self.b = Block(10), Block(10)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(F.relu(self.norm(self.stem(x))))).amax((2, 3)))


Batch = tuple[Tensor, Tensor]
OPTIMIZERS: dict[str, Callable[[list[Tensor]], Optimizer]] = {
    "SGD": lambda params: SGD(params, lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "Adam": lambda params: Adam(params, lr=3e-3, weight_decay=1e-3),
    "AdamW": lambda params: AdamW(params, lr=3e-3, amsgrad=True),
    "RMSprop": lambda params: RMSprop(params, lr=1e-3, momentum=0.5, centered=True),
}


def batches(dtype: torch.dtype) -> list[Batch]:
    state = torch.Generator().manual_seed(1)
    images = torch.randn(6, 8, 3, 6, 6, generator=state, dtype=torch.float64).to(dtype)
    return list(zip(images, images.mean((3, 4)).argmax(2), strict=True))


def loss_fn(outputs: Tensor, batch: Batch) -> Tensor:
    return F.cross_entropy(outputs, batch[1])


def trainer(
    thin: When = "recipe",
    *,
    optimizer: str = "SGD",
    make: Callable[[list[Tensor]], Optimizer] | None = None,
    dtype: torch.dtype = torch.float64,
    recipe: str = RECIPE,
    **options: Any,
) -> Trainer:
    torch.manual_seed(0)
    model = Net().to(dtype)
    example = torch.zeros(1, 3, 6, 6, dtype=dtype)
    options = {"on_epoch": None, "thin": thin, **options}
    return Trainer(model, pt.load_recipe(recipe), loss_fn, make or OPTIMIZERS[optimizer], example, **options)


def assert_same(one: Trainer, other: Trainer, tolerance: float) -> None:
    assert {n: m.tolist() for n, m in one.masks.items()} == {n: m.tolist() for n, m in other.masks.items()}
    assert one.config == other.config
    for name, tensor in one.params.items():
        torch.testing.assert_close(tensor, other.params[name], atol=tolerance, rtol=tolerance, msg=lambda m: f"{name}: {m}")  # noqa: B023


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=["float64", "float32"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_thinning_as_it_goes_gives_the_network_that_masking_and_thinning_at_the_end_gives(
    optimizer: str, dtype: torch.dtype, tolerance: float
) -> None:
    ways: dict[When, Trainer] = {way: trainer(way, optimizer=optimizer, dtype=dtype) for way in ("end", "now", "recipe")}
    for t in ways.values():
        t.fit(batches(dtype), 7)
        assert t.params["a.conv1.weight"].shape == (6, 4, 3, 3)
        assert t.params["stem.weight"].shape == (4, 3, 3, 3)
    assert_same(ways["now"], ways["end"], tolerance)
    assert_same(ways["recipe"], ways["end"], tolerance)
    assert ways["end"].history[-1].loss < ways["end"].history[4].loss, "it trains on after the last pruning step"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_removed_units_are_exactly_zero_after_every_epoch_with_gradients_and_moments(optimizer: str) -> None:
    seen: list[int] = []

    def look(_: Record) -> None:
        gone = pt.mask({n: torch.ones_like(p) for n, p in t.params.items()}, t.spec, t.masks)
        for name, p in t.params.items():
            kept = [s for s in t.optimizer.state.get(p, {}).values() if isinstance(s, Tensor) and s.shape == p.shape]
            for tensor in (p, p.grad, *kept):
                if tensor is not None:
                    assert not tensor[gone[name] == 0].any(), name
            seen.append(int((gone[name] == 0).sum()))

    t = trainer(optimizer=optimizer, on_epoch=look, recipe=RECIPE.replace("epochs: [3, 5]", "epochs: [99]"))
    t.fit(batches(torch.float64), 6)
    assert sum(seen) > 0


def test_gradients_that_exactness_does_not_stop_are_stopped_by_the_trainer() -> None:
    # shift is summed as it is: its gradient is one even where its unit is removed
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lift = nn.Linear(3, 8, bias=False)
            self.shift = nn.Parameter(torch.zeros(8))

        def forward(self, x: Tensor) -> Tensor:
            return (self.lift(x) + self.shift).sum(1, keepdim=True)

    recipe = """
        pruners: {p: {class: L1RankedStructureParameterPruner, group_type: Rows, desired_sparsity: 0.5, weights: [lift.weight]}}
        policies: [{pruner: {instance_name: p}, epochs: [0]}]
    """
    torch.manual_seed(0)
    model = Shifted()
    data = [torch.randn(5, 3) for _ in range(4)]
    ends = {}
    for way in ("now", "end"):
        t = Trainer(
            model, pt.load_recipe(recipe), lambda y, _: y.square().mean(), OPTIMIZERS["SGD"], data[0], thin=way, on_epoch=None
        )
        assert t.spec.axes["lift"].exact
        t.fit(data, 3)
        ends[way] = t
    assert ends["now"].params["shift"].shape == (4,)
    assert_same(ends["now"], ends["end"], 1e-6)


def test_the_users_model_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    model = Net().double()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    model.eval()
    t = Trainer(model, pt.load_recipe(RECIPE), loss_fn, OPTIMIZERS["Adam"], torch.zeros(1, 3, 6, 6).double(), on_epoch=None)
    t.fit(batches(torch.float64), 6)
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_the_model_it_returns_is_the_users_class_and_is_what_is_validated() -> None:
    seen: list[nn.Module] = []

    def accuracy(model: nn.Module) -> float:
        seen.append(model)
        assert not model.training
        return float(torch.stack([(model(x).argmax(1) == y).double().mean() for x, y in batches(torch.float64)]).mean())

    t = trainer("recipe")
    t.fit(batches(torch.float64), 6, accuracy)
    small = t.model()
    assert isinstance(small, Net)
    assert "Conv2d(4, 6" in repr(small)
    assert [m.stem.out_channels for m in seen if isinstance(m, Net)] == [10, 10, 10, 9, 9, 4]
    assert t.history[-1].metric == accuracy(small)
    assert t.history[-1].parameters == sum(p.numel() for p in small.parameters())


@pytest.mark.parametrize("way", ["now", "recipe", "end"])
def test_masks_and_sparsities_speak_of_the_dense_network(way: When) -> None:
    widths: list[tuple[int, int]] = []

    def look(_: Record) -> None:
        left = {n: int(t.masks[n].sum()) if n in t.masks else size for n, size in t.spec.sizes.items()}
        widths.append((left["a.conv1"], left["stem"]))

    t = trainer(way, on_epoch=look)
    t.fit(batches(torch.float64), 6)
    assert widths == [(12, 10), (10, 10), (7, 9), (6, 9), (6, 4), (6, 4)]
    assert {n: m.numel() for n, m in t.masks.items()} == {"a.conv1": 12, "b.conv1": 12, "stem": 10}
    assert t.spec.axes["stem"].size == 10
    dense, thinned = t.history[0].parameters, t.history[-1].parameters
    assert t.history[-1].sparsity == pytest.approx(1 - thinned / dense)
    assert thinned == pt.cost(t.spec, t.masks).parameters


def test_the_learning_rate_schedule_runs_through_the_thinning() -> None:
    t = trainer("now")
    t.fit(batches(torch.float64), 6)
    assert t.optimizer.param_groups[0]["lr"] == pytest.approx(0.05 * 0.8**6)


def test_a_warm_up_holds_from_the_first_epoch_of_its_policy_on() -> None:
    warm = RECIPE.replace("class: ExponentialLR\n    gamma: 0.8", "class: LinearLR\n    start_factor: 0.1\n    total_iters: 2")
    rates: list[float] = []
    t = trainer("now", recipe=warm, on_epoch=lambda record: rates.append(record.lr))
    t.fit(batches(torch.float64), 4)
    assert rates == pytest.approx([0.005, 0.0275, 0.05, 0.05])


@pytest.mark.parametrize("way", ["now", "end"])
def test_parameter_groups_keep_their_parameters_and_options(way: When) -> None:
    def grouped(params: list[Tensor]) -> Optimizer:
        norms, rest = [p for p in params if p.dim() == 1], [p for p in params if p.dim() > 1]
        return SGD([{"params": norms, "weight_decay": 0.0}, {"params": rest, "weight_decay": 0.1}], lr=0.01, momentum=0.9)

    t = trainer(way, make=grouped)
    t.fit(batches(torch.float64), 6)
    norms, rest = t.optimizer.param_groups
    assert (norms["weight_decay"], rest["weight_decay"]) == (0.0, 0.1)
    assert all(p.dim() == 1 for p in norms["params"]) and all(p.dim() > 1 for p in rest["params"])
    assert {id(p) for g in (norms, rest) for p in g["params"]} == {id(p) for p in t.params.values() if p.requires_grad}


def test_a_second_fit_goes_on_where_the_first_stopped() -> None:
    whole, halves = trainer("now"), trainer("now")
    whole.fit(batches(torch.float64), 6)
    assert len(halves.fit(batches(torch.float64), 4)) == 4
    assert len(halves.fit(batches(torch.float64), 2)) == 2
    assert [e.epoch for e in halves.history] == [0, 1, 2, 3, 4, 5]
    assert_same(whole, halves, 0)


def test_frozen_parameters_are_thinned_and_not_trained() -> None:
    torch.manual_seed(0)
    model = Net().double()
    model.stem.requires_grad_(False)
    t = Trainer(model, pt.load_recipe(RECIPE), loss_fn, OPTIMIZERS["SGD"], torch.zeros(1, 3, 6, 6).double(), on_epoch=None)
    t.fit(batches(torch.float64), 6)
    assert torch.equal(t.params["stem.weight"], model.stem.weight[t.masks["stem"]])
    assert not t.params["stem.weight"].requires_grad


def test_batches_by_name_reach_the_forward_by_name() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor, *, gain: Tensor) -> Tensor:
            return self.two(F.relu(self.one(x))) * gain

    data = [{"x": torch.ones(4, 3), "gain": torch.ones(4, 1), "y": torch.zeros(4, 2)}]
    recipe = """
        pruners: {p: {class: L1RankedStructureParameterPruner, group_type: Rows, desired_sparsity: 0.5, weights: [one.weight]}}
        extensions: {thinner: {class: FilterRemover}}
        policies: [{pruner: {instance_name: p}, epochs: [1]}, {extension: {instance_name: thinner}, epochs: [1]}]
    """
    example = {"x": torch.zeros(1, 3), "gain": torch.zeros(1, 1)}
    t = Trainer(
        Named(),
        pt.load_recipe(recipe),
        lambda y, b: F.mse_loss(y, b["y"]),
        OPTIMIZERS["Adam"],
        example,
        inputs_of=lambda b: {k: b[k] for k in ("x", "gain")},
        on_epoch=None,
    )
    t.fit(data, 3)
    assert t.params["one.weight"].shape == (4, 3)
    assert t.history[2].loss < t.history[1].loss


def test_each_epoch_prints_as_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    trainer("now", on_epoch=print).fit(batches(torch.float64), 2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch   1  loss 1.") and "sparsity  15.4%  4,014 parameters  139,360 MACs" in lines[1]


def test_a_recipe_that_does_not_fit_is_refused_before_training() -> None:
    with pytest.raises(pt.RecipeError, match=r"no parameter is named 'a\.conv9\.weight'; did you mean 'a\.conv1\.weight'\?"):
        trainer(recipe=RECIPE.replace("a.conv1.weight", "a.conv9.weight"))


def test_an_unknown_way_to_thin_is_refused() -> None:
    with pytest.raises(ValueError, match="thin is 'later'; give 'recipe', 'now' or 'end'"):
        trainer("later")  # pyright: ignore
