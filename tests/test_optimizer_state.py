"""What optimizers keep, thinned by shapes: whatever the optimizer."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import purethin as pt
from purethin.optimizers.probe import probed, slots
from purethin.optimizers.slots import check_optimizer, thin_state

SPEC = pt.Spec.from_layout(
    {"w": "h d", "square": "h h", "kernel": "h d 3 3", "b": "h"},
    {
        "w": torch.ones(6, 4),
        "square": torch.ones(6, 6),
        "kernel": torch.ones(6, 4, 3, 3),
        "b": torch.ones(6),
    },
)
KEEP = {"h": torch.tensor([1, 0, 1, 1, 0, 1]).bool(), "d": torch.tensor([1, 1, 0, 1]).bool()}
SGD = torch.optim.SGD([torch.ones(2)])


@given(st.lists(st.integers(2, 5), min_size=1, max_size=4), st.data())
def test_a_tensor_of_some_dims_of_its_parameter_is_told_by_its_shape(
    of: list[int], data: st.DataObject
) -> None:
    dims = tuple(sorted(data.draw(st.sets(st.sampled_from(range(len(of))), min_size=1))))
    shape = [of[d] for d in dims]
    ways = slots(shape, of)
    assert dims in ways
    assert all([of[d] for d in way if d is not None] == shape for way in ways)


ROWS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]] = {
    "of the parameter's shape": ("w", (6, 4), (4, 3)),
    "rows, kept as a column": ("w", (6, 1), (4, 1)),
    "columns, kept as a row": ("w", (1, 4), (1, 3)),
    "rows alone": ("w", (6,), (4,)),
    "columns alone": ("w", (4,), (3,)),
    "rows and columns of a square matrix, whose axis is one": ("square", (6,), (4,)),
    "a kernel without its last dim": ("kernel", (6, 4, 3), (4, 3, 3)),
    "one number": ("w", (), ()),
    "one number in a vector": ("w", (1,), (1,)),
}


@pytest.mark.parametrize("case", ROWS)
def test_state_loses_the_units_of_the_dims_that_it_has(case: str) -> None:
    name, before, after = ROWS[case]
    state = {name: {"key": torch.rand(before), "list": [torch.rand(before)], "step": 3}}
    out = thin_state(SGD, state, SPEC, KEEP)[name]
    assert (out["key"].shape, out["list"][0].shape, out["step"]) == (after, after, 3)


def test_state_that_mixes_units_is_refused_by_name() -> None:
    for value in (torch.eye(4), [torch.eye(6)], torch.ones(24), object()):
        with pytest.raises(pt.SpecError, match=r"SGD keeps 'pre.* for w"):
            thin_state(SGD, {"w": {"pre": value}}, SPEC, KEEP)


def test_which_dims_a_vector_of_a_square_matrix_has_is_not_guessed() -> None:
    spec = pt.Spec.from_layout({"w": "a b"}, {"w": torch.ones(6, 6)})
    with pytest.raises(pt.SpecError, match="not certain"):
        thin_state(SGD, {"w": {"row": torch.ones(6)}}, spec, {"a": KEEP["h"]})


class Factored(torch.optim.Optimizer):
    """Keeps the means of its rows and of its columns, and what `pre` makes of the gradient."""

    def __init__(self, params: Any, pre: bool = False) -> None:
        super().__init__(params, {"lr": 0.1})
        self.pre = pre

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                assert p.grad is not None
                state, square = self.state[p], p.grad**2
                state["row"], state["column"] = square.mean(-1), square.mean(-2)
                if self.pre:
                    state["pre"] = p.grad @ p.grad.T
                p -= group["lr"] * p.grad / (state["row"][:, None] * state["column"]).sqrt()


def test_a_probe_tells_rows_from_columns_where_the_matrix_is_square() -> None:
    weight = nn.Parameter(torch.ones(6, 6))
    spec = pt.Spec.from_layout({"w": "a b"}, {"w": weight})
    optimizer = Factored([weight])
    state = {"w": {"row": torch.arange(6.0), "column": torch.arange(6.0)}}
    out = thin_state(optimizer, state, spec, {"a": KEEP["h"]})["w"]
    assert out["row"].tolist() == [0, 2, 3, 5]
    assert out["column"].tolist() == [0, 1, 2, 3, 4, 5]


def test_square_preconditioners_of_square_weights_are_refused_before_a_step() -> None:
    weight = nn.Parameter(torch.ones(6, 6))
    for optimizer, fine in ((Factored([weight]), True), (Factored([weight], pre=True), False)):
        torch.optim.lr_scheduler.ConstantLR(optimizer)  # its wrapper of `step` is not the twin's
        if fine:
            check_optimizer(optimizer)
            continue
        with pytest.raises(pt.SpecError, match=r"Factored keeps 'pre' .* mixes units"):
            check_optimizer(optimizer)
    assert torch.equal(weight, torch.ones(6, 6))
    assert not optimizer.state


def test_what_makes_no_step_by_itself_tells_nothing() -> None:
    assert probed(torch.optim.LBFGS([torch.ones(2, 3)])) == {}


def stepped(make: Any, x: Tensor) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2))
    optimizer = make(model.parameters())
    if callable(train := getattr(optimizer, "train", None)):
        train()
    for _ in range(2):
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


PACKAGES = {
    "transformers Adafactor": ("transformers", "Adafactor", {}, None),
    "torch Adafactor": ("torch.optim", "Adafactor", {}, None),
    "schedule-free": ("schedulefree", "AdamWScheduleFree", {}, None),
    "Lion": ("pytorch_optimizer", "Lion", {}, None),
    "SM3": ("pytorch_optimizer", "SM3", {}, None),
    "CAME": ("pytorch_optimizer", "CAME", {}, None),
    "SOAP": ("pytorch_optimizer", "SOAP", {}, "SOAP keeps 'GG"),
    "Shampoo": ("pytorch_optimizer", "Shampoo", {}, "Shampoo keeps 'pre_cond_0"),
    "ScalableShampoo": (
        "pytorch_optimizer",
        "ScalableShampoo",
        {},
        "ScalableShampoo keeps 'pre_conditioner",
    ),
    "Kron": ("pytorch_optimizer", "Kron", {}, "Kron keeps 'Q"),
    "bitsandbytes, 8 bits": ("bitsandbytes.optim", "AdamW8bit", {"min_8bit_size": 1}, None),
}


SLOW = {"transformers Adafactor"}  # its import takes seconds


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.survey if n in SLOW else ()) for n in PACKAGES]
)
def test_optimizers_of_packages_go_on_or_are_refused_by_name(name: str) -> None:
    package, kind, options, refused = PACKAGES[name]
    pytest.importorskip(package.partition(".")[0])
    make = lambda params: getattr(importlib.import_module(package), kind)(params, **options)  # noqa: E731
    x = torch.randn(4, 6)
    model, optimizer = stepped(make, x)
    spec = pt.infer(model, pt.params_of(model), x)
    keep = {n: torch.arange(s) % 4 != 1 for n, s in spec.sizes.items() if s == 8}
    from purethin.loops.narrow import narrow

    if refused is not None:
        for call in (
            lambda: check_optimizer(optimizer),
            lambda: narrow(model, spec, keep, optimizer),
        ):
            with pytest.raises(pt.SpecError, match=refused):
                call()
        return
    check_optimizer(optimizer)
    narrow(model, spec, keep, optimizer)
    model(x).square().mean().backward()
    optimizer.step()
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_state_of_torchao_is_rounded_again() -> None:
    torchao = pytest.importorskip("torchao.optim")
    weight = nn.Parameter(torch.randn(64, 96))
    spec = pt.Spec.from_layout({"w": "h 96"}, {"w": weight})
    optimizer = torchao.AdamW8bit([weight])
    buffer = optimizer._new_buffer(weight, True).copy_(weight.detach())
    for kept, rounded in ((48, True), (33, False)):  # torchao rounds whole blocks of 256 only
        keep = {"h": torch.arange(64) < kept}
        out = thin_state(optimizer, {"w": {"exp_avg": buffer}}, spec, keep)["w"]["exp_avg"]
        assert (type(out) is type(buffer), out.shape) == (rounded, (kept, 96))
        plain = out.dequantize() if rounded else out
        torch.testing.assert_close(plain, weight.detach()[:kept], rtol=0, atol=0.1)
