"""A module and its optimizer thinned in the middle of a training, as a new module and in place."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pages import run
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import prune

import purethin as pt
from purethin.loops.narrow import narrow, thin_module
from purethin.loops.steps import lr_factors

torch.manual_seed(0)
X, Y = torch.randn(16, 6), torch.randint(0, 3, (16,))
KEEP = {
    "0.weight": torch.tensor([True, False, True, True, False, True, True, True]),
    "2.weight": torch.tensor([False, True, True, False, True, True, True, True]),
}


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)
    )


def spec_of(model: nn.Module, x: Tensor = X) -> pt.Spec:
    return pt.infer(model, pt.params_of(model), x)


SPEC = spec_of(network())


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    loss = cross_entropy(model(X), Y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def masked(model: nn.Module) -> nn.Module:
    """The model, its removed units zero."""
    params = pt.mask(pt.params_of(model), SPEC, KEEP)
    return pt.rebuild(model, dict(params), {})


Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
ELEMENTWISE: dict[str, Make] = {
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam, amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "Adadelta": lambda p: torch.optim.Adadelta(p),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.01),
}


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_training_that_is_thinned_on_its_way_goes_on_as_the_masked_one(
    name: str, inplace: bool
) -> None:
    beside, model = masked(network()).double(), masked(network()).double()
    optimizers = [ELEMENTWISE[name](list(m.parameters())) for m in (beside, model)]
    x = X.double()
    for i in range(5):
        if i == 2 and inplace:
            narrow(model, SPEC, KEEP, optimizers[1])
        elif i == 2:
            model, optimizers[1] = thin_module(model, SPEC, KEEP, optimizers[1])
        for m, optimizer in zip((beside, model), optimizers, strict=True):
            optimizer.zero_grad()
            cross_entropy(m(x), Y).backward()
            optimizer.step()
    want = pt.thin(pt.params_of(beside), SPEC, KEEP)[0]
    for key, tensor in pt.params_of(model).items():
        # a bias before a batch norm has no gradient but rounding, which these divide by itself
        if key != "2.bias":
            torch.testing.assert_close(tensor, want[key], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("inplace", [False, True])
def test_groups_options_schedulers_hooks_and_gradients_go_on(inplace: bool) -> None:
    model, loss_weight = network(), nn.Parameter(torch.ones(()))
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() == 1] + [loss_weight], "lr": 0.5},
    ]
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    stepped = []
    optimizer.register_step_post_hook(lambda *_: stepped.append(1))
    step(model, optimizer)
    cross_entropy(model(X), Y).backward()
    gradient = model.get_parameter("0.weight").grad
    assert gradient is not None
    before = copy.deepcopy(model.state_dict())
    small, same = model, optimizer
    if inplace:
        held = list(model.parameters())
        narrow(model, SPEC, KEEP, optimizer)
        assert all(a is b for a, b in zip(held, model.parameters(), strict=True))
    else:
        small, same = thin_module(model, SPEC, KEEP, optimizer)
        assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert same is optimizer
    assert isinstance(first := small.get_submodule("0"), nn.Linear)
    assert first.weight.shape == (6, 6)
    assert first.weight.grad is not None
    assert torch.equal(first.weight.grad, gradient[KEEP["0.weight"]])
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.1, 0]
    assert optimizer.param_groups[1]["params"][-1] is loss_weight
    stepping = {p for group in optimizer.param_groups for p in group["params"]}
    assert stepping == {*small.parameters(), loss_weight}
    assert all(optimizer.state[p]["momentum_buffer"].shape == p.shape for p in small.parameters())
    step(small, optimizer)
    scheduler.step()
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.25]
    assert len(stepped) == 2


class Mixing(torch.optim.SGD):
    """Keeps a square matrix for each parameter, as Shampoo does."""

    def step(self, closure: None = None) -> None:
        super().step()
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["pre"] = torch.eye(p.shape[0])


def test_what_cannot_be_thinned_is_an_error_before_anything_has_changed() -> None:
    model = network()
    other = torch.optim.SGD(network().parameters(), lr=0.1)
    mixing = Mixing(model.parameters(), lr=0.1, momentum=0.9)
    step(model, mixing)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    by_hand = pt.Spec.from_layout(
        {
            n: "b 6" if n == "0.weight" else "b" if n == "0.bias" else "8 b"
            for n in ("0.weight", "0.bias", "2.weight")
        },
        pt.params_of(model),
    )
    cases = [
        (SPEC, KEEP, other, "steps none of the parameters"),
        (SPEC, KEEP, mixing, "Mixing keeps 'pre' .* mixes units"),
        (SPEC, {"9": KEEP["0.weight"]}, None, "no axis is named '9'"),
        (by_hand, {"b": KEEP["0.weight"]}, None, "out_features stays 8"),
    ]
    for spec, masks, optimizer, message in cases:
        for call in (narrow, thin_module):
            with pytest.raises(pt.PurethinError, match=message if call is narrow else None):
                call(model, spec, masks, optimizer)
            assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
            assert [m.out_features for m in model if isinstance(m, nn.Linear)] == [8, 8, 3]


class Settings:
    def __init__(self) -> None:
        self.heads = 4


class Attention(nn.Module):
    """Reads its heads from settings that several networks may share."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.value, self.out = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.value(x).reshape(len(x), self.settings.heads, -1)
        return self.out(heads.relu().flatten(1))


def test_settings_that_another_network_holds_too_stay_as_they_are() -> None:
    settings = Settings()
    teacher, student = Attention(settings).eval(), Attention(settings).eval()
    want, spec = teacher(X), spec_of(student)
    heads = next(n for n, axis in spec.axes.items() if axis.size == 4)
    masks = {heads: torch.tensor([True, False, True, True])}
    small, _ = thin_module(student, spec, masks)
    narrow(student, spec, masks)
    assert (settings.heads, student.settings.heads) == (4, 3)
    assert torch.equal(teacher(X), want)
    torch.testing.assert_close(student(X), small(X))


def test_torchs_attention_is_narrowed_in_place() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 4, 16, batch_first=True, dropout=0.0).eval()
    x = torch.randn(2, 5, 8)
    spec = spec_of(layer, x)
    masks = {n: torch.arange(s) > 0 for n, s in spec.sizes.items() if spec.axes[n].exact}
    small, _ = thin_module(layer, spec, masks)
    narrow(layer, spec, masks)
    assert layer.self_attn.num_heads == 3
    torch.testing.assert_close(layer(x), small(x))


def test_a_graph_that_is_still_alive_does_not_stop_the_next_step() -> None:
    model = network()
    loss = cross_entropy(model(X), Y)
    loss.backward()
    narrow(model, SPEC, KEEP)
    cross_entropy(model(X), Y).backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())
    assert loss.grad_fn is not None


class Branched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.last(self.first(x).relu())


def test_a_branch_that_loses_all_its_units_is_narrowed_in_place() -> None:
    model, x = Branched().eval(), torch.randn(1, 3, 6, 6)
    spec = pt.infer(model, pt.params_of(model), x, branches=True)
    masks = {"first": torch.zeros(4, dtype=torch.bool)}
    small, _ = thin_module(model, spec, masks)
    narrow(model, spec, masks)
    assert model.first.out_channels == 0
    torch.testing.assert_close(model(x), small(x))


def test_an_average_thins_with_its_model_and_goes_on_averaging() -> None:
    model = network()
    average = torch.optim.swa_utils.AveragedModel(model, avg_fn=lambda a, b, _: 0.5 * a + 0.5 * b)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step(model, optimizer)
    average.update_parameters(model)
    was = average.module.get_parameter("0.weight")[KEEP["0.weight"]]
    narrow(model, SPEC, KEEP, optimizer)
    narrow(average.module, SPEC, KEEP)
    average.update_parameters(model)
    now = [m.get_parameter("0.weight") for m in (average.module, model)]
    torch.testing.assert_close(now[0], 0.5 * was + 0.5 * now[1])


def test_a_network_thins_twice_by_the_spec_of_the_thinned_one() -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    step(model, optimizer)
    narrow(model, SPEC, KEEP, optimizer)
    second = {"0.weight": torch.tensor([True, True, False, True, True, False])}
    narrow(model, pt.thin_spec(SPEC, KEEP), second, optimizer)
    step(model, optimizer)
    assert [tuple(p.shape) for p in model.parameters() if p.dim() > 1] == [(4, 6), (6, 4), (3, 6)]


@pytest.mark.survey
def test_a_compiled_network_runs_on_after_its_module_was_narrowed() -> None:
    model = network().eval()
    compiled = torch.compile(model, backend="eager")
    compiled(X)
    want = thin_module(model, SPEC, KEEP)[0](X)
    narrow(model, SPEC, KEEP)
    torch.testing.assert_close(compiled(X), want)


def test_weights_that_hooks_compute_are_not_stale() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        old_norm = nn.utils.weight_norm(nn.Linear(6, 8))
    for layer in (prune.ln_structured(nn.Linear(6, 8), "weight", 0.25, 2, 0), old_norm):
        model = nn.Sequential(layer, nn.ReLU(), nn.Linear(8, 3))
        spec = spec_of(model)
        name = next(n for n, size in spec.sizes.items() if size == 8)
        small, _ = thin_module(model, spec, {name: KEEP["0.weight"]})
        first = small.get_submodule("0")
        shown = first.weight
        assert isinstance(shown, Tensor) and shown.shape == (6, 6)
        small(X)
        assert isinstance(first.weight, Tensor)
        torch.testing.assert_close(shown, first.weight.detach())


def test_muons_factor_makes_a_thinned_weight_step_as_the_masked_one() -> None:
    torch.manual_seed(0)
    layout, weight = {"w": "h 8", "v": "4 h"}, torch.randn(32, 8)
    keep = {"h": torch.arange(32) % 2 == 0}
    dense = nn.ParameterDict({"w": weight * keep["h"][:, None], "v": torch.randn(4, 32)})
    spec = pt.Spec.from_layout(layout, dict(dense.items()))
    muon = torch.optim.Muon([dense["w"]], lr=0.1, weight_decay=0.0)
    with pytest.warns(UserWarning, match="multiply its group's lr by 1.414"):
        small, _ = thin_module(dense, spec, keep, torch.optim.Muon([dense["w"]], lr=0.1))
    assert lr_factors(muon, dict(dense.items()), spec, keep) == {"w": pytest.approx(math.sqrt(2))}
    weight = small.get_parameter("w")
    beside = torch.optim.Muon([weight], lr=0.1 * math.sqrt(2), weight_decay=0.0)
    gradient = torch.randn(32, 8) * keep["h"][:, None]
    dense["w"].grad, weight.grad = gradient, gradient[keep["h"]]
    muon.step()
    beside.step()
    torch.testing.assert_close(weight, dense["w"][keep["h"]], rtol=2e-2, atol=2e-3)


def test_the_page_prints_what_it_shows(tmp_path: Path) -> None:
    page = Path(__file__).parents[1] / "docs" / "own-loop.md"
    text = page.read_text(encoding="utf-8")
    outputs = run(text.partition("\n## Along a recipe")[0], tmp_path, {"__name__": "page"})
    assert len(outputs) == 2
    for output in outputs:
        assert output.printed == output.shown
