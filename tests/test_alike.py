"""Optimizers in a training: which are thinned along, which are refused, which differ by way."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
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


def trained(make: Make, thin: When = "now", **options: Any) -> tuple[pt.Trainer, list[str]]:
    """A trainer after 5 epochs, and what it warned of."""
    torch.manual_seed(0)
    sizes = (16, 24), (24, 24), (24, 6)
    layers = [layer for a, b in sizes for layer in (nn.Linear(a, b, bias=False), nn.ReLU())]
    model = nn.Sequential(*layers[:-1])
    data = [(torch.randn(16, 16), torch.randint(6, (16,))) for _ in range(3)]
    spec = pt.infer(model, pt.params_of(model), data[0][0])
    update = pt.Update(lambda outputs, batch: F.cross_entropy(outputs, batch[1]))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        recipe = pt.load_recipe(RECIPE)
        t = pt.Trainer(model, spec, recipe, make, update, thin=thin, callbacks=())
        t.fit(data, 5, **options)
    return t, [str(w.message) for w in told if "masking and thinning" in str(w.message)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda params: Plain(params, lambda p: [p.mT @ p]), "Plain keeps 'kept' in a list for 0"),
        (lambda params: Plain(params, lambda _: Preconditioner()), "in a Preconditioner for 0.wei"),
        (lambda params: Plain(params, lambda p: {"m": p.clone()}), "in a dict for 0.weight"),
        (
            lambda params: Plain(params, lambda p: p.as_subclass(Quantized)),
            "'kept' as Quantized, a class of tensors of its own, for 0.weight",
        ),
        (lambda params: Plain(params, lambda p: p.sum(0)), r"of shape \(16,\) for 0.weight"),
        (Wrapping, r"Wrapping wraps Adam \('base'\), whose state cannot be thinned"),
        (torch.optim.LBFGS, "LBFGS steps by a closure"),
    ],
)
def test_an_optimizer_whose_state_cannot_follow_is_refused_by_name_at_its_first_step(
    make: Make, said: str
) -> None:
    steps: list[object] = []
    with pytest.raises(pt.SpecError, match=said):
        trained(make, validate=lambda model: float(steps.append(model) or 0))
    assert not steps


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Plain, None),
        (lambda params: torch.optim.Adafactor(params), "refused"),
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
    if said == "refused":
        with pytest.raises(pt.SpecError, match="row_var"):
            trained(make)
        return
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


REFUSED = {
    "SOAP": ("pytorch_optimizer", "keeps 'GG' in a list"),
    "ScalableShampoo": ("pytorch_optimizer", "keeps 'pre_conditioner' in a PreConditioner"),
    "Shampoo": ("pytorch_optimizer", "'pre_cond_0' of shape"),
    "Lookahead": ("pytorch_optimizer", "wraps AdamW"),
    "AdamW8bit": ("torchao.optim", "as OptimState8bit, a class of tensors"),
    "AdamW4bit": ("torchao.optim", "as OptimState4bit, a class of tensors"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_packages_whose_state_cannot_follow_are_refused_at_the_first_step(name: str) -> None:
    module, said = REFUSED[name]
    pytest.importorskip(module)
    make = of_package(module, name)
    inner = (lambda params: make([torch.optim.AdamW(params)][0])) if name == "Lookahead" else make  # pyright: ignore
    from purethin.training.moments import check_kind, check_state

    weight = nn.Parameter(torch.randn(96, 64))
    weight.grad = torch.randn(96, 64)
    with pytest.raises(pt.SpecError, match=said):
        check_kind(optimizer := inner([weight]))
        optimizer.step()
        check_state(optimizer, {"w": weight})
