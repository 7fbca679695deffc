"""Optimizers in a training: which are thinned along, which are refused, which differ by way."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

import purethin as pt
from purethin.training.core import When

RECIPE = """
pruners:
  p: {class: L1RankedStructureParameterPruner_AGP, initial_sparsity: 0.2, final_sparsity: 0.5,
    group_type: Rows, weights: [0.weight, 2.weight]}
policies: [{pruner: {instance_name: p}, starting_epoch: 1, ending_epoch: 3, frequency: 1}]
"""
Make = Callable[[list[Tensor]], Optimizer]


class Plain(Optimizer):
    """Gradient descent that keeps something of each parameter."""

    def __init__(self, params: Any, keep: Callable[[Tensor], object] = lambda _: None) -> None:
        super().__init__(params, {"lr": 0.05})
        self.keep = keep

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["kept"] = self.keep(p)
                p.sub_(self.direction(p.grad), alpha=group["lr"])

    def direction(self, grad: Tensor) -> Tensor:
        return grad


class Centred(Plain):
    """Takes the mean of each row from its gradient (Yong et al., arXiv 2004.01461)."""

    def direction(self, grad: Tensor) -> Tensor:
        return grad - grad.mean(-1, keepdim=True)


class ByShape(Plain):
    """A step whose size depends on the tensor's shape, as Muon's does."""

    def direction(self, grad: Tensor) -> Tensor:
        return grad * (grad.shape[0] / grad.shape[-1])


class Wrapping(Plain):
    """Steps by another optimizer."""

    def __init__(self, params: list[Tensor]) -> None:
        super().__init__(params)
        self.base = torch.optim.Adam(params)


class Averaging(Plain):
    """Shows an average of its steps in eval mode, and in train mode where gradients are taken."""

    def step(self, closure: Any = None) -> None:
        assert self.param_groups[0]["training"]
        super().step()
        for p in self.param_groups[0]["params"]:
            average = self.state[p].setdefault("average", p.detach().clone())
            average.lerp_(p.detach(), 0.25)

    def train(self) -> None:
        self._swap(True)

    def eval(self) -> None:
        self._swap(False)

    def _swap(self, training: bool) -> None:
        (group,) = self.param_groups
        if group.get("training", False) != training:
            for p in group["params"]:
                if (state := self.state[p]).get("average") is not None:
                    now = p.detach().clone()
                    p.data.copy_(state["average"])
                    state["average"].copy_(now)
        group["training"] = training


class Quantized(Tensor):
    pass


class Preconditioner:
    pass


def trained(
    make: Make, thin: When = "now", callbacks: Any = (), wide: int = 16, **options: Any
) -> tuple[pt.Trainer, list[str]]:
    """A trainer after 5 epochs, and what it warned of."""
    torch.manual_seed(0)
    sizes = (wide, 24), (24, 24), (24, 6)
    layers = [layer for a, b in sizes for layer in (nn.Linear(a, b, bias=False), nn.ReLU())]
    model = nn.Sequential(*layers[:-1])
    data = [(torch.randn(16, wide), torch.randint(6, (16,))) for _ in range(3)]
    spec = pt.infer(model, pt.params_of(model), data[0][0])
    update = pt.Update(lambda outputs, batch: F.cross_entropy(outputs, batch[1]))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        recipe = pt.load_recipe(RECIPE)
        t = pt.Trainer(model, spec, recipe, make, update, thin=thin, callbacks=callbacks)
        t.fit(data, 5, **options)
    return t, [str(w.message) for w in told if "masking and thinning" in str(w.message)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda params: Plain(params, lambda p: [p.mT @ p]),
            r"Plain keeps 'kept\[0\]' for a param",
        ),
        (lambda params: Plain(params, lambda _: Preconditioner()), "'kept' for a parameter of 2 d"),
        (lambda params: Plain(params, lambda p: p.flatten()), "keeps 'kept' .*: it mixes units"),
        (Wrapping, r"Wrapping wraps Adam \('base'\), whose state cannot be thinned"),
        (torch.optim.LBFGS, "LBFGS steps by a closure"),
    ],
)
def test_an_optimizer_whose_state_cannot_follow_is_refused_by_name_before_training(
    make: Make, said: str
) -> None:
    steps: list[object] = []
    with pytest.raises(pt.SpecError, match=said):
        trained(make, validate=lambda model: float(steps.append(model) or 0))
    assert not steps


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (lambda p: p.as_subclass(Quantized), "keeps 'kept' for 0.weight in a Quantized"),
        (lambda p: [p.mT @ p], r"keeps 'kept\[0\]' of shape \(16, 16\) for 0.weight"),
        (lambda _: Preconditioner(), "keeps 'kept' for 0.weight in a Preconditioner"),
    ],
)
def test_state_that_shows_only_in_training_is_refused_by_name_at_the_first_step(
    keep: Callable[[Tensor], object], said: str
) -> None:
    late = lambda p: keep(p) if len(p) > 8 else None  # noqa: E731
    steps: list[object] = []
    with pytest.raises(pt.SpecError, match=said):
        trained(lambda params: Plain(params, late), validate=lambda m: float(steps.append(m) or 0))
    assert not steps


@pytest.mark.parametrize("way", ["now", "end"])
def test_state_in_lists_and_dicts_and_that_of_rows_or_columns_follows_its_parameter(
    way: When,
) -> None:
    def keep(p: Tensor) -> object:
        return {"whole": [p.clone()], "row": p.sum(1), "column": p.sum(0, keepdim=True), "at": 3}

    t, _ = trained(lambda params: Plain(params, keep), way)
    for p in t.optimizer.param_groups[0]["params"]:
        kept = t.optimizer.state[p]["kept"]
        assert kept["whole"][0].shape == p.shape
        assert (len(kept["row"]), kept["column"].shape[1], kept["at"]) == (*p.shape, 3)
    assert t.params["2.weight"].shape == (12, 12)


def test_rows_and_columns_are_zero_where_they_are_masked_whole() -> None:
    seen: list[int] = []

    def look(moment: pt.Moment) -> None:
        t = moment.trainer
        state, keep = t.optimizer.state[t.params["2.weight"]], t.masks
        for key, axis in (("row_var", "2.weight"), ("col_var", "0.weight")):
            dead = state[key].flatten()[~keep[axis]]
            assert not dead.any() and state[key].any()
            seen.append(len(dead))

    trained(lambda params: torch.optim.Adafactor(params), "end", callbacks=({"prune": look},))
    assert seen[-1] == 12


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Plain, None),
        (
            lambda params: torch.optim.Adafactor(params),
            "Adafactor multiplies its step by a factor of the tensor's shape",
        ),
        (Centred, "Centred mixes units: its step for a masked tensor is another"),
        (ByShape, r"ByShape multiplies its step .* 1\.80 times the step of the thinned one"),
        (
            torch.optim.Muon,
            r"Muon multiplies its step .* 1\.34 times .*give each parameter a group",
        ),
    ],
)
def test_an_optimizer_whose_masked_step_is_not_its_thinned_one_is_told_apart_before_training(
    make: Make, said: str | None
) -> None:
    (now, told), (end, _) = trained(make), trained(make, "end")
    apart = max(float((p - end.params[n]).detach().abs().max()) for n, p in now.params.items())
    assert (apart > 1e-4) == (said is not None)
    assert len(told) == (said is not None)
    if said is not None:
        with pytest.raises(AssertionError, match=said):
            raise AssertionError(told[0])


def test_a_probe_leaves_an_optimizer_and_the_random_numbers_as_they_were() -> None:
    from purethin.training.alike import unlike

    weight = nn.Parameter(torch.ones(3, 2))
    optimizer = torch.optim.Muon([weight])
    called: list[object] = []
    optimizer.register_step_pre_hook(lambda *args: called.append(args))
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    before, state = torch.get_rng_state(), optimizer.state_dict()
    assert unlike(optimizer)
    assert not called and not optimizer.state and optimizer.param_groups[0]["params"] == [weight]
    assert torch.equal(before, torch.get_rng_state()) and optimizer.state_dict() == state


def of_package(module: str, name: str, **options: Any) -> Make:
    return lambda params: getattr(importlib.import_module(module), name)(params, **options)


AVERAGING = {
    "stand-in": (None, Averaging),
    "AdamW": ("schedulefree", of_package("schedulefree", "AdamWScheduleFree", lr=0.01)),
    "SGD": ("schedulefree", of_package("schedulefree", "SGDScheduleFree", lr=0.1)),
}


@pytest.mark.parametrize("which", AVERAGING)
def test_a_schedule_free_optimizer_shows_its_average_to_all_but_the_step(which: str) -> None:
    package, make = AVERAGING[which]
    if package is not None:
        pytest.importorskip(package)
    seen: list[Tensor] = []

    def look(model: nn.Module) -> float:
        seen.append(next(model.parameters()).detach().clone())
        return 0.0

    (now, _), (end, _) = trained(make, validate=look), trained(make, "end")
    for name, p in now.params.items():
        torch.testing.assert_close(p, end.params[name], atol=1e-6, rtol=1e-5)
    assert torch.equal(next(now.model().parameters()), seen[-1])
    shown = seen[-1]
    now.optimizer.train()  # pyright: ignore[reportAttributeAccessIssue]
    assert not torch.allclose(now.params["0.weight"], shown)


def test_a_schedule_free_optimizer_that_is_interrupted_shows_its_average() -> None:
    held: list[pt.Trainer] = []

    def stop(moment: pt.Moment) -> None:
        if moment.epoch == 2:
            held.append(moment.trainer)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(Averaging, callbacks=({"step": stop},))
    (t,) = held
    shown = next(t.model().parameters()).detach().clone()
    t.optimizer.train()  # pyright: ignore[reportAttributeAccessIssue]
    assert not torch.allclose(next(t.model().parameters()), shown)


REFUSED = {
    "SOAP": r"SOAP keeps 'GG\[0\]' for a parameter of 2 dims",
    "ScalableShampoo": "ScalableShampoo keeps 'pre_conditioner' for a parameter of 2 dims",
    "Shampoo": "Shampoo keeps 'pre_cond_0' for a parameter of 2 dims",
    "Lookahead": "Lookahead wraps AdamW",
}


@pytest.mark.parametrize("name", REFUSED)
def test_packages_whose_state_cannot_follow_are_refused_before_training(name: str) -> None:
    pytest.importorskip("pytorch_optimizer")
    make = of_package("pytorch_optimizer", name)
    inner = (lambda params: make([torch.optim.AdamW(params)][0])) if name == "Lookahead" else make  # pyright: ignore
    with pytest.raises(pt.SpecError, match=REFUSED[name]):
        trained(inner)


ROUNDED = {
    "torchao, 8 bits": of_package("torchao.optim", "AdamW8bit", lr=1e-3, block_size=32),
    "torchao, 4 bits": of_package("torchao.optim", "AdamW4bit", lr=1e-3, block_size=32),
    "bitsandbytes, 8 bits": of_package("bitsandbytes.optim", "AdamW8bit", lr=1e-3, min_8bit_size=1),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_state_is_thinned_in_a_training_that_goes_on_from_a_file(
    name: str, tmp_path: Path
) -> None:
    pytest.importorskip(name.partition(",")[0])
    from purethin.training import checkpoint

    with torch.compiler.set_stance("force_eager"):  # torchao compiles its step, for minutes
        now, again, end = (trained(ROUNDED[name], w, wide=512)[0] for w in ("now", "now", "end"))
        apart = [(p - end.params[n]).detach().norm() / p.norm() for n, p in now.params.items()]
        assert max(apart) < 0.05
        held = now.optimizer.state[now.params["0.weight"]].values()
        tensors = [t for t in held if isinstance(t, Tensor)]
        small = [t for t in tensors if t.dtype == torch.uint8 or type(t) is not Tensor]
        assert [tuple(t.shape) for t in small] == [(12, 512)] * 2
        checkpoint.write(tmp_path, now.state)
        again.state = checkpoint.read(tmp_path) or {}
        data = [(torch.randn(8, 512), torch.randint(6, (8,)))]
        for t in (now, again):
            t.fit(data, 1)
    for key, p in now.params.items():
        assert torch.equal(p, again.params[key])
