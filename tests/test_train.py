"""The trainer: thinning as it goes, where the recipe says, or at the end is one and the same
network.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adafactor, Adagrad, Adam, AdamW, Optimizer, RMSprop
from trainers import trainer_of, without_thinner

import purethin as pt
from purethin.training.events import Moment, lines
from purethin.training.train import Trainer, When

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


class Lion(Optimizer):
    """A third party's: steps by the sign of an average (Chen et al. 2023, arXiv 2302.06675)."""

    def __init__(self, params: list[Tensor], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    average = self.state[p].setdefault("average", torch.zeros_like(p))
                    p.sub_(torch.sign(0.9 * average + 0.1 * p.grad), alpha=group["lr"])
                    average.lerp_(p.grad, 0.01)


Batch = tuple[Tensor, Tensor]
OPTIMIZERS: dict[str, Callable[[list[Tensor]], Optimizer]] = {
    "SGD": lambda params: SGD(params, lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "Adam": lambda params: Adam(params, lr=3e-3, weight_decay=1e-3),
    "AdamW": lambda params: AdamW(params, lr=3e-3, amsgrad=True),
    "RMSprop": lambda params: RMSprop(params, lr=1e-3, momentum=0.5, centered=True),
    "Adagrad": lambda params: Adagrad(params, lr=1e-2),
    "Adam, foreach": lambda params: Adam(params, lr=3e-3, foreach=True),
    "Adam, fused": lambda params: Adam(params, lr=3e-3, fused=True),
    "Lion": lambda params: Lion(params, lr=1e-3),
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
    loss: Callable[[Any, Any], Tensor] | None = None,
    **options: Any,
) -> Trainer:
    torch.manual_seed(0)
    model = Net().to(dtype)
    example = torch.zeros(1, 3, 6, 6, dtype=dtype)
    options = {"callbacks": (), "thin": thin, **options}
    read = pt.load_recipe(recipe)
    return trainer_of(
        model,
        without_thinner(read) if thin == "end" else read,
        loss or loss_fn,
        make or OPTIMIZERS[optimizer],
        example,
        **options,
    )


def assert_same(one: Trainer, other: Trainer, tolerance: float) -> None:
    assert {n: m.tolist() for n, m in one.masks.items()} == {
        n: m.tolist() for n, m in other.masks.items()
    }
    assert one.config == other.config
    for name, tensor in one.params.items():
        torch.testing.assert_close(
            tensor,
            other.params[name],
            atol=tolerance,
            rtol=tolerance,
            msg=lambda m, name=name: f"{name}: {m}",
        )


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-9), (torch.float32, 1e-4)],
    ids=["float64", "float32"],
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_thinning_as_it_goes_gives_the_network_that_masking_and_thinning_at_the_end_gives(
    optimizer: str, dtype: torch.dtype, tolerance: float
) -> None:
    ways: dict[When, Trainer] = {
        way: trainer(way, optimizer=optimizer, dtype=dtype) for way in ("end", "now", "recipe")
    }
    for t in ways.values():
        t.fit(batches(dtype), 7)
        assert t.params["a.conv1.weight"].shape == (6, 4, 3, 3)
        assert t.params["stem.weight"].shape == (4, 3, 3, 3)
    assert_same(ways["now"], ways["end"], tolerance)
    assert_same(ways["recipe"], ways["end"], tolerance)
    assert ways["end"].history[-1].loss < ways["end"].history[4].loss, (
        "it trains on after the last pruning step"
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_removed_units_are_exactly_zero_after_every_epoch_with_gradients_and_moments(
    optimizer: str,
) -> None:
    seen: list[int] = []

    def look(_: Moment) -> None:
        gone = pt.mask({n: torch.ones_like(p) for n, p in t.params.items()}, t.spec, t.masks)
        for name, p in t.params.items():
            kept = [
                s
                for s in t.optimizer.state.get(p, {}).values()
                if isinstance(s, Tensor) and s.shape == p.shape
            ]
            for tensor in (p, p.grad, *kept):
                if tensor is not None:
                    assert not tensor[gone[name] == 0].any(), name
            seen.append(int((gone[name] == 0).sum()))

    t = trainer(
        optimizer=optimizer,
        callbacks=[{"epoch": look}],
        recipe=RECIPE.replace("epochs: [3, 5]", "epochs: [99]"),
    )
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
        pruners: {p: {class: L1RankedStructureParameterPruner, group_type: Rows,
                       desired_sparsity: 0.5, weights: [lift.weight]}}
        policies: [{pruner: {instance_name: p}, epochs: [0]}]
    """
    torch.manual_seed(0)
    model = Shifted()
    data = [torch.randn(5, 3) for _ in range(4)]
    ends = {}
    for way in ("now", "end"):
        t = trainer_of(
            model,
            pt.load_recipe(recipe),
            lambda y, _: y.square().mean(),
            OPTIMIZERS["SGD"],
            data[0],
            thin=way,
            callbacks=(),
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
    t = trainer_of(
        model,
        pt.load_recipe(RECIPE),
        loss_fn,
        OPTIMIZERS["Adam"],
        torch.zeros(1, 3, 6, 6).double(),
        callbacks=(),
    )
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
        return float(
            torch.stack(
                [(model(x).argmax(1) == y).double().mean() for x, y in batches(torch.float64)]
            ).mean()
        )

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

    def look(_: Moment) -> None:
        left = {
            n: int(t.masks[n].sum()) if n in t.masks else size for n, size in t.spec.sizes.items()
        }
        widths.append((left["a.conv1"], left["stem"]))

    t = trainer(way, callbacks=[{"epoch": look}])
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
    warm = RECIPE.replace(
        "class: ExponentialLR\n    gamma: 0.8",
        "class: LinearLR\n    start_factor: 0.1\n    total_iters: 2",
    )
    rates: list[float] = []
    t = trainer(
        "now", recipe=warm, callbacks=[{"epoch": lambda moment: rates.append(moment.record.lr)}]
    )
    t.fit(batches(torch.float64), 4)
    assert rates == pytest.approx([0.005, 0.0275, 0.05, 0.05])


@pytest.mark.parametrize("way", ["now", "end"])
def test_parameter_groups_keep_their_parameters_and_options(way: When) -> None:
    def grouped(params: list[Tensor]) -> Optimizer:
        norms, rest = [p for p in params if p.dim() == 1], [p for p in params if p.dim() > 1]
        return SGD(
            [{"params": norms, "weight_decay": 0.0}, {"params": rest, "weight_decay": 0.1}],
            lr=0.01,
            momentum=0.9,
        )

    t = trainer(way, make=grouped)
    t.fit(batches(torch.float64), 6)
    norms, rest = t.optimizer.param_groups
    assert (norms["weight_decay"], rest["weight_decay"]) == (0.0, 0.1)
    assert all(p.dim() == 1 for p in norms["params"]) and all(p.dim() > 1 for p in rest["params"])
    assert {id(p) for g in (norms, rest) for p in g["params"]} == {
        id(p) for p in t.params.values() if p.requires_grad
    }


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
    t = trainer_of(
        model,
        pt.load_recipe(RECIPE),
        loss_fn,
        OPTIMIZERS["SGD"],
        torch.zeros(1, 3, 6, 6).double(),
        callbacks=(),
    )
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
        pruners: {p: {class: L1RankedStructureParameterPruner, group_type: Rows,
                       desired_sparsity: 0.5, weights: [one.weight]}}
        extensions: {thinner: {class: FilterRemover}}
        policies:
        - {pruner: {instance_name: p}, epochs: [1]}
        - {extension: {instance_name: thinner}, epochs: [1]}
    """
    example = {"x": torch.zeros(1, 3), "gain": torch.zeros(1, 1)}
    t = trainer_of(
        Named(),
        pt.load_recipe(recipe),
        lambda y, b: F.mse_loss(y, b["y"]),
        OPTIMIZERS["Adam"],
        example,
        inputs_of=lambda b: {k: b[k] for k in ("x", "gain")},
        callbacks=(),
    )
    t.fit(data, 3)
    assert t.params["one.weight"].shape == (4, 3)
    assert t.history[2].loss < t.history[1].loss


def test_each_epoch_prints_as_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    trainer("now", callbacks=[lines]).fit(batches(torch.float64), 2)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    assert (
        printed[1].startswith("epoch   1  loss 1.")
        and "sparsity  15.4%  4,014 parameters  139,360 MACs" in printed[1]
    )


def test_a_recipe_that_does_not_fit_is_refused_before_training() -> None:
    with pytest.raises(
        pt.RecipeError,
        match=r"no parameter is named 'a\.conv9\.weight'; did you mean 'a\.conv1\.weight'\?",
    ):
        trainer(recipe=RECIPE.replace("a.conv1.weight", "a.conv9.weight"))


def test_an_unknown_way_to_thin_is_refused() -> None:
    with pytest.raises(ValueError, match="thin is 'later'; give 'recipe', 'now' or 'end'"):
        trainer("later")  # pyright: ignore


@settings(max_examples=12, deadline=None)
@given(
    optimizer=st.sampled_from(["SGD", "Adam"]),
    begin=st.integers(0, 2),
    length=st.integers(1, 4),
    frequency=st.integers(1, 2),
    final=st.floats(0.2, 0.9),
    thinner=st.sets(st.integers(0, 5), min_size=1, max_size=3),
    options=st.fixed_dictionaries(
        {}, optional={"accumulate": st.just(2), "clip_norm": st.just(0.5), "ema": st.just(0.9)}
    ),
)
def test_for_exact_axes_the_three_ways_to_thin_end_in_one_function(
    optimizer: str,
    begin: int,
    length: int,
    frequency: int,
    final: float,
    thinner: set[int],
    options: dict[str, Any],
) -> None:
    times = f"starting_epoch: {begin}, ending_epoch: {begin + length}, frequency: {frequency}"
    recipe = RECIPE.replace("starting_epoch: 1, ending_epoch: 4, frequency: 1", times).replace(
        "final_sparsity: 0.5", f"final_sparsity: {final}"
    )
    recipe = recipe.replace("epochs: [3, 5]", f"epochs: {sorted(thinner)}")
    x = batches(torch.float64)[0][0]
    ways: list[When] = ["end", "now", "recipe"]
    outputs = []
    for way in ways:
        t = trainer(way, optimizer=optimizer, recipe=recipe, **options)
        t.fit(batches(torch.float64), 6)
        outputs.append(t.model(ema="ema" in options)(x))
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(outputs[2], outputs[0], atol=1e-9, rtol=1e-9)


def test_two_batches_to_a_step_are_one_batch_of_both() -> None:
    plain = "policies: []\n"
    small = batches(torch.float64)
    large = [
        (torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]]))
        for a, b in zip(small[::2], small[1::2], strict=True)
    ]

    class Still(Net):
        def train(self, mode: bool = True) -> Net:
            return super().train(False)  # batch norm would see other batches

    ends = []
    for data, accumulate in ((small, 2), (large, 1)):
        torch.manual_seed(0)
        model, example = Still().double().eval(), small[0][0]
        t = trainer_of(
            model,
            pt.load_recipe(plain),
            loss_fn,
            OPTIMIZERS["AdamW"],
            example,
            accumulate=accumulate,
            callbacks=(),
        )
        t.fit(data, 3)
        assert t.step == 9
        ends.append(t)
    assert [r.loss for r in ends[0].history] == pytest.approx(
        [r.loss for r in ends[1].history], rel=1e-9
    )
    assert_same(ends[0], ends[1], 1e-9)


def test_left_over_batches_make_a_step_of_their_own_mean() -> None:
    t = trainer("now", recipe="policies: []\n", accumulate=4)
    t.fit(batches(torch.float64), 1)
    assert t.step == 2


def test_the_gradients_norm_is_clipped() -> None:
    made: list[SGD] = []
    norms: dict[SGD, list[float]] = defaultdict(list)  # a twin is tried on small tensors, too

    class Watching(SGD):
        def step(self, closure: Any = None) -> None:
            grads = [
                p.grad.flatten()
                for g in self.param_groups
                for p in g["params"]
                if p.grad is not None
            ]
            norms[self].append(float(torch.cat(grads).norm()))
            super().step(closure)

    def make(params: Any) -> SGD:
        made.append(Watching(params, lr=0.01))
        return made[-1]

    trainer("now", make=make, clip_norm=0.25).fit(batches(torch.float64), 1)
    seen = [norm for optimizer in made for norm in norms[optimizer]]
    assert max(seen) <= 0.25 + 1e-9
    assert max(seen) > 0.24


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_forward_runs_in_the_dtype_of_autocast_and_the_network_stays_as_it_is(
    dtype: torch.dtype,
) -> None:
    seen: set[torch.dtype] = set()

    def loss(outputs: Tensor, batch: Batch) -> Tensor:
        seen.add(outputs.dtype)
        return loss_fn(outputs.float(), batch)

    torch.manual_seed(0)
    t = trainer_of(
        Net(),
        pt.load_recipe(RECIPE),
        loss,
        OPTIMIZERS["Adam"],
        torch.zeros(1, 3, 6, 6),
        autocast=dtype,
        thin="now",
        callbacks=(),
    )
    t.fit(batches(torch.float32), 6)
    assert seen == {dtype}
    assert {p.dtype for p in t.params.values() if p.is_floating_point()} == {torch.float32}
    assert t.params["a.conv1.weight"].shape == (6, 4, 3, 3)
    assert t.history[5].loss < t.history[0].loss


def test_a_step_whose_scaled_gradients_overflow_is_left_out() -> None:
    torch.manual_seed(0)
    t = trainer_of(
        Net(),
        pt.load_recipe("policies: []\n"),
        lambda y, b: loss_fn(y.float(), b) * 1e6,
        OPTIMIZERS["SGD"],
        torch.zeros(1, 3, 6, 6),
        autocast=torch.float16,
        callbacks=(),
    )
    before = t.state
    t.fit(batches(torch.float32)[:1], 1)
    assert t.state["scaler"]["scale"] < before["scaler"]["scale"]
    assert torch.equal(t.params["stem.weight"], before["params"]["stem.weight"])


def test_the_average_follows_the_parameters_and_is_thinned_with_them() -> None:
    kept: list[dict[str, Tensor]] = []

    def look(moment: Moment) -> None:
        kept.append({n: p.detach().clone() for n, p in moment.trainer.params.items()})

    t = trainer("now", recipe="policies: []\n", ema=0.8, callbacks=[{"step": look}])
    average = t.params["head.weight"].detach().clone()
    t.fit(batches(torch.float64), 2)
    for params in kept:
        average = 0.8 * average + 0.2 * params["head.weight"]
    torch.testing.assert_close(
        dict(t.model(ema=True).named_parameters())["head.weight"].detach(), average
    )
    with pytest.raises(ValueError, match=r"`ema=0\.999`"):
        trainer("now").model(ema=True)


def test_the_average_is_what_is_validated() -> None:
    seen: list[nn.Module] = []
    t = trainer("now", ema=0.8)
    t.fit(batches(torch.float64), 3, lambda model: float(len(seen)) if seen.append(model) else 0.0)
    x = batches(torch.float64)[0][0]
    assert torch.equal(seen[-1](x), t.model(ema=True)(x))
    assert not torch.equal(seen[-1](x), t.model()(x))


def test_a_compiled_forward_is_compiled_anew_after_each_thinning() -> None:
    wrapped: list[int] = []

    def compile(forward: Callable[..., Any]) -> Callable[..., Any]:
        wrapped.append(1)
        torch._dynamo.reset()
        return torch.compile(forward, backend="aot_eager")

    compiled, plain = trainer("recipe", compile=compile), trainer("recipe")
    for t in (compiled, plain):
        t.fit(batches(torch.float64), 6)
    assert_same(compiled, plain, 1e-8)
    assert len(wrapped) == 3, "dense, and after each of two thinnings"


def test_events_come_in_their_order_with_what_they_tell() -> None:
    told: list[str] = []
    losses: list[Tensor | None] = []
    kinds = ("fit", "prune", "thin", "step", "epoch", "best", "save", "end")

    def tell(moment: Moment) -> None:
        told.append(moment.event)
        if moment.event == "step":
            assert moment.steps == 2
            losses.append(moment.loss)

    t = trainer("recipe", callbacks=[dict.fromkeys(kinds, tell)], best="max")
    t.fit(batches(torch.float64)[:2], 4, lambda _: float(t.epoch))
    epoch = ["step", "step", "epoch", "best"]
    assert told == ["fit", *epoch, "prune", *epoch, "prune", *epoch, "prune", "thin", *epoch, "end"]
    assert losses[-1] is not None and float(losses[-1]) == pytest.approx(t.history[-1].loss)


def test_what_the_optimizer_trains_beside_the_network_is_kept() -> None:
    weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
    t = trainer(
        "now",
        make=lambda params: Adam([{"params": params}, {"params": [weight], "lr": 0.1}]),
        loss=lambda y, b: loss_fn(y, b) * torch.exp(-weight) + weight,
    )
    t.fit(batches(torch.float64), 4)
    assert weight != 0
    assert t.optimizer.param_groups[1]["params"] == [weight]
    assert t.optimizer.state[weight]["step"] == 24
    kept, value = t.state, weight.detach().clone()
    t.fit(batches(torch.float64), 1)
    t.state = kept
    assert torch.equal(weight.detach(), value)


@pytest.mark.filterwarnings("ignore:Adafactor multiplies its step")  # said as it is made
def test_the_rows_and_columns_that_an_optimizer_keeps_are_thinned() -> None:
    t = trainer("now", make=lambda params: Adafactor(params))
    t.fit(batches(torch.float64), 7)
    for name, p in t.params.items():
        state = t.optimizer.state.get(p, {})
        for key, dim in (("row_var", -1), ("col_var", -2)):
            if key in state:
                assert state[key].shape == p.sum(dim, keepdim=True).shape, name
    assert t.params["a.conv1.weight"].shape == (6, 4, 3, 3)


def test_a_parameter_without_a_gradient_is_thinned_and_left() -> None:
    torch.manual_seed(0)
    model = Net().double()
    model.a.bn1.bias.requires_grad_(False)
    example = torch.zeros(1, 3, 6, 6).double()
    t = trainer_of(
        model, pt.load_recipe(RECIPE), loss_fn, OPTIMIZERS["SGD"], example, thin="now", callbacks=()
    )
    t.optimizer.add_param_group({"params": [t.params["a.bn1.bias"]]})
    t.fit(batches(torch.float64), 4)
    assert t.params["a.bn1.bias"].shape == (6,)
    assert t.optimizer.param_groups[1]["params"][0] is t.params["a.bn1.bias"]


def test_a_loader_that_gives_nothing_is_an_error_that_says_so() -> None:
    t = trainer("now")
    once = iter(batches(torch.float64))
    t.fit(once, 1)
    with pytest.raises(
        pt.PurethinError, match=r"no batch in epoch 1: .*a generator is used up after one"
    ):
        t.fit(once, 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"accumulate": 0}, "accumulate is 0"),
        ({"clip_norm": 0.0}, r"clip_norm is 0\.0"),
        ({"ema": 1.0}, r"ema is 1\.0; give a decay from 0 to below 1"),
        ({"calibrate": 0}, "calibrate is 0; give at least 1 batch"),
        ({"best": "most"}, "best is 'most'; give 'max', 'min' or None"),
    ],
)
def test_an_option_out_of_its_range_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        trainer("now", **options)


@pytest.mark.parametrize(
    ("callbacks", "said"),
    [
        ([{"epochs": print}], "no event is named 'epochs'; did you mean 'epoch'"),
        ([{"epoch": 3}], "the callback of 'epoch' is int: give a function of one Moment"),
        ({"epoch": print}, "callbacks are a list of mappings"),
        ([print], "callbacks are a list of mappings"),
    ],
)
def test_a_callback_that_would_never_be_called_is_refused(callbacks: Any, said: str) -> None:
    with pytest.raises(pt.PurethinError, match=said):
        trainer("now", callbacks=callbacks)


def test_a_spec_from_a_file_trains_and_one_of_another_network_is_refused() -> None:
    torch.manual_seed(0)
    model, recipe = Net().double(), pt.load_recipe(RECIPE)
    spec = pt.infer(model, pt.params_of(model), torch.zeros(1, 3, 6, 6).double())
    update = pt.Update(loss_fn)
    again = pt.Spec.from_yaml(spec.to_yaml())
    t = Trainer(model, again, recipe, OPTIMIZERS["SGD"], update, thin="now", callbacks=())
    t.fit(batches(torch.float64), 6)
    assert_same(t, _trained_by_inference(), 0)
    model.head = nn.Linear(10, 5).double()
    with pytest.raises(pt.SpecError, match=r"head.weight has shape \(5, 10\)"):
        Trainer(model, spec, recipe, OPTIMIZERS["SGD"], update)


def _trained_by_inference() -> Trainer:
    t = trainer("now")
    t.fit(batches(torch.float64), 6)
    return t


def test_an_update_that_is_a_bare_function_is_refused_with_what_to_write() -> None:
    model, update = Net(), cast(Any, loss_fn)
    spec = pt.infer(model, pt.params_of(model), torch.zeros(1, 3, 6, 6))
    with pytest.raises(ValueError, match=r"give pt\.Update\(loss_fn\)"):
        Trainer(model, spec, pt.load_recipe(RECIPE), OPTIMIZERS["SGD"], update)


def test_a_run_that_ends_before_the_recipes_thinner_is_thinned_at_its_end() -> None:
    recipe = RECIPE.replace("epochs: [3, 5]", "epochs: [9]")
    t = trainer_of(
        Net().double(),
        pt.load_recipe(recipe),
        loss_fn,
        OPTIMIZERS["SGD"],
        torch.zeros(1, 3, 6, 6).double(),
        callbacks=(),
    )
    t.fit(batches(torch.float64), 3)
    assert [r.masked_parameters > 0 for r in t.history] == [False, True, True]
    assert "masked to 2,633 of 4,742 parameters  90,432 of 165,280 MACs" in str(t.history[-1])
    assert sum(p.numel() for p in t.model().parameters()) == t.history[-1].parameters
    assert t.params["a.conv1.weight"].shape == (7, 9, 3, 3)
    t.fit(batches(torch.float64), 3)
    assert t.params["a.conv1.weight"].shape == (6, 4, 3, 3)


def test_the_model_of_a_masked_network_is_thinned_and_the_trainer_goes_on_as_it_was() -> None:
    recipe = RECIPE.replace("epochs: [3, 5]", "epochs: [99]")
    t = trainer("recipe", recipe=recipe)
    t.fit(batches(torch.float64), 6)
    assert t.params["a.conv1.weight"].shape == (12, 10, 3, 3)
    small, x = t.model(), batches(torch.float64)[0][0]
    assert dict(small.named_parameters())["a.conv1.weight"].shape == (6, 4, 3, 3)
    torch.testing.assert_close(small(x), t._tensors.shown().eval()(x))


@pytest.mark.parametrize(
    ("way", "epochs", "said"),
    [
        ("end", 2, r"the policy of 'residual' at recipe:26:5 begins at epoch 2.*has not fired"),
        ("recipe", 3, r"the policy of 'thinner' at .* begins at epoch 3.*has not fired"),
        ("end", 3, None),
        ("now", 3, None),
    ],
)
def test_a_policy_that_has_not_fired_is_a_warning_when_fit_ends(
    way: When, epochs: int, said: str | None
) -> None:
    t = trainer_of(
        Net().double(),
        pt.load_recipe(RECIPE),
        loss_fn,
        OPTIMIZERS["SGD"],
        torch.zeros(1, 3, 6, 6).double(),
        thin=way,
        callbacks=(),
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        t.fit(batches(torch.float64)[:1], epochs)
    assert bool(told) == (said is not None)
    assert said is None or re.search(said, str(told[0].message))


def test_where_the_epochs_are_known_what_will_not_fire_is_a_warning_before_training() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        t = trainer("now", epochs=2)
    assert re.search("'inner' .*it reaches 0.2, not 0.5", str(told[0].message))
    assert re.search("'residual' .*begins at epoch 2, but .*it never fires", str(told[1].message))
    assert len(t.fit(batches(torch.float64)[:1])) == 2
    assert t.fit(batches(torch.float64)[:1]) == []


class Stopped(Exception):
    pass


@pytest.mark.parametrize("stop", ["step", "epoch", "prune", "validate"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_fit_that_was_interrupted_goes_on_where_it_was(stop: str, shuffled: bool) -> None:
    error = KeyboardInterrupt if shuffled else Stopped
    data: Any = batches(torch.float64)
    if shuffled:
        rows = [(x, y) for xs, ys in data for x, y in zip(xs, ys, strict=True)]
        data = torch.utils.data.DataLoader(cast(Any, rows), batch_size=8, shuffle=True)
    left = [2 if stop in ("prune", "validate", "epoch") else 9]
    seen: list[int] = []

    def fail(_: object) -> float:
        left[0] -= 1
        if not left[0]:
            raise error
        return 0.5

    torch.manual_seed(1)
    whole = trainer("recipe", optimizer="Adam")
    torch.manual_seed(1)
    whole.fit(data, 5, lambda _: 0.5)
    count = {"step": lambda moment: seen.append(moment.epoch)}
    told = {stop: fail} if stop != "validate" else {}
    t = trainer("recipe", optimizer="Adam", callbacks=[count, told])
    torch.manual_seed(1)
    validate = fail if stop == "validate" else lambda _: 0.5
    with pytest.raises(error):
        t.fit(data, 5, validate)
    kept = t.state
    while t.epoch < 5:
        t.fit(data, 5 - t.epoch, lambda _: 0.5)
    assert [seen.count(epoch) for epoch in range(5)] == [6] * 5
    assert [r.loss for r in t.history] == [r.loss for r in whole.history]
    assert_same(whole, t, 0)
    again = trainer("recipe", optimizer="Adam")
    again.state = kept
    again.fit(data, 5 - again.epoch, lambda _: 0.5)
    assert_same(whole, again, 0)


def test_a_metric_that_is_no_number_is_refused_and_its_epoch_is_kept() -> None:
    t = trainer("now")
    with pytest.raises(pt.PurethinError, match="validate gave dict, and a metric is one number"):
        t.fit(batches(torch.float64), 1, lambda _: cast(Any, {"accuracy": 1.0}))
    steps = t.step
    (record,) = t.fit(batches(torch.float64), 1, lambda _: 1.0)
    assert t.step == steps and record.metric == 1.0


class Counting(nn.Module):
    """A forward that puts a new tensor in its buffer's place."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 8), nn.Linear(8, 2)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.count = self.count + 1
        return self.two(F.relu(self.one(x)))


def test_a_buffer_that_the_forward_replaces_is_the_trainers() -> None:
    recipe = "policies: []\n"
    t = trainer_of(
        Counting(),
        pt.load_recipe(recipe),
        lambda y, _: y.square().mean(),
        OPTIMIZERS["SGD"],
        torch.ones(1, 3),
        callbacks=(),
    )
    t.fit([torch.ones(4, 3)] * 5, 2)
    assert float(t.params["count"]) == 10
    assert float(dict(t.model().named_buffers())["count"]) == 10
