"""Inference: what it leaves as it was, what it says of shared, unknown and data-dependent parts,
and on what it falls back.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
import torchvision
from networks import assert_thinned_equals_masked, random_masks, randomise
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import purethin as pt
from purethin import axes as ax


class Chain(nn.Module):
    """conv → (anything) → conv."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 4, 3, padding=1)

    def between(self, x: Tensor) -> Tensor:
        return x.relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.between(self.bn(self.conv1(x))))


X = torch.randn(2, 3, 8, 8, dtype=torch.float64)


def spec_of(model: nn.Module, *args: Any) -> pt.Spec:
    return pt.infer(model, pt.params_of(model), *args)


def test_the_model_its_mode_its_hooks_and_its_inputs_stay_as_they_were() -> None:
    model = Chain().train()
    calls: list[int] = []
    model.conv1.register_forward_hook(lambda *_: calls.append(1))
    before = {n: t.clone() for n, t in model.state_dict().items()}
    x, given = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    given.copy_(x)
    spec_of(model, x)
    assert model.training and model.bn.training
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert torch.equal(x, given)
    assert type(model.conv1.out_channels) is int
    calls.clear()
    model(x)
    assert calls == [1]


def test_names_and_layout_are_the_same_in_every_process() -> None:
    code = (
        "import torch, torchvision, purethin as pt; m = "
        "torchvision.models.mobilenet_v2(weights=None);"
        "print(pt.infer(m, pt.params_of(m), torch.randn(1, 3, 64, 64)).to_yaml())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert "features.0.0" in runs[0].stdout


def test_a_function_of_a_nested_pytree_and_a_module_give_one_layout() -> None:
    def forward(p: Any, x: Tensor) -> Tensor:
        hidden = torch.nn.functional.conv2d(x, p["conv1"]["weight"], p["conv1"]["bias"], padding=1)
        return torch.nn.functional.conv2d(
            hidden.relu(), p["conv2"]["weight"], p["conv2"]["bias"], padding=1
        )

    model = Chain()
    tree = {
        m: {k: t.detach() for k, t in model.get_submodule(m).named_parameters()}
        for m in ("conv1", "conv2")
    }
    spec = pt.infer(forward, tree, X.float())
    whole = spec_of(model, X.float())
    assert all(spec.layout[n] == whole.layout[n] for n in spec.layout)
    masks = random_masks(spec)
    thinned, config = pt.thin(tree, spec, masks)
    assert config == {}
    assert thinned["conv2"]["weight"].shape == (4, 4, 3, 3)


def test_a_tied_weight_stands_once_and_stays_tied_when_thinned() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(11, 8), nn.Linear(8, 11, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.embed(tokens))

    model, tokens = randomise(Tied()), torch.arange(6).reshape(2, 3)
    params = pt.params_of(model)
    assert list(params) == ["embed.weight"]
    spec = pt.infer(model, params, tokens)
    assert str(ax.layout_text(spec.layout["embed.weight"])) == "11 embed"
    masks = random_masks(spec)
    thinned, config = pt.thin(params, spec, masks)
    small: Any = pt.rebuild(model, thinned, config)
    assert small.head.weight is small.embed.weight
    assert_thinned_equals_masked(model, params, spec, masks, tokens)


@torch.library.custom_op("purethin_test::scale", mutates_args=())
def scale(x: Tensor) -> Tensor:
    """An operator that no rule knows."""
    return x * 2


@scale.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Scaled(Chain):
    def between(self, x: Tensor) -> Tensor:
        return scale(x)


def test_an_unknown_operator_freezes_what_it_touches_and_is_listed_with_its_line() -> None:
    spec = spec_of(Scaled(), X.float())
    assert not spec.axes
    (reason,) = {f.reason for f in spec.frozen if (f.parameter, f.dim) == ("conv1.weight", 0)}
    assert "purethin_test::scale" in reason and "test_infer.py:" in reason
    assert any("purethin_test::scale" in note and "test_infer.py:" in note for note in spec.notes)


@pytest.mark.parametrize(
    "law", [pt.laws.Pointwise(), pt.laws.moved, lambda c: pt.laws.Moved((c["x"],))]
)
def test_a_rule_from_outside_makes_it_known(law: Any) -> None:
    from purethin.inference.rules import RULES

    @pt.rule("purethin_test::scale", law=law)
    def _(c: Any) -> Any:
        """Out = x's dims."""
        return c.dims(c["x"])

    try:
        model = randomise(Scaled())
        params = pt.params_of(model)
        spec = pt.infer(model, params, X)
        assert spec.exact == ("conv1",)
        assert_thinned_equals_masked(model, params, spec, random_masks(spec), X)
    finally:
        del RULES["purethin_test::scale"]


class Branching(Chain):
    def between(self, x: Tensor) -> Tensor:
        return x.relu() if x.sum() > -1e9 else x * 0


def test_a_data_dependent_forward_is_inferred_on_real_tensors_and_says_so() -> None:
    model = randomise(Branching())
    params = pt.params_of(model)
    spec = pt.infer(model, params, X)
    plain = pt.infer(randomise(Chain()), params, X)
    assert "real tensors" in spec.notes[0]
    assert spec.layout == plain.layout and spec.exact == plain.exact
    assert_thinned_equals_masked(model, params, spec, random_masks(spec), X)


def test_what_the_forward_rejects_is_its_own_error_with_a_line_of_context() -> None:
    with pytest.raises(RuntimeError, match="channels") as caught:
        spec_of(Chain(), torch.randn(2, 5, 8, 8))
    notes = getattr(
        caught.value,
        "__notes__",
        ["purethin.infer: Chain rejected the example inputs ((2, 5, 8, 8))"],
    )
    assert "Chain rejected the example inputs ((2, 5, 8, 8))" in notes[0]


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, lambda: torch.device("meta")]
)
def test_the_callers_context_does_not_matter(context: Any) -> None:
    model = Chain()
    plain = spec_of(model, X.float())
    with context():
        assert spec_of(model, X.float()) == plain


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "mobilenet_v3_small",
        "densenet121",
        "shufflenet_v2_x0_5",
        "convnext_tiny",
        "googlenet",
    ],
)
def test_the_thinned_spec_is_the_spec_of_the_thinned_network(name: str) -> None:
    model = randomise(
        torchvision.models.get_model(
            name, weights=None, **({"init_weights": False} if name == "googlenet" else {})
        )
    )
    params, x = pt.params_of(model), torch.randn(1, 3, 64, 64, dtype=torch.float64)
    spec = pt.infer(model, params, x)
    masks = {
        a.name: torch.arange(a.size) >= 1 + i % 3
        for i, a in enumerate(spec.axes.values())
        if a.size > 4
    }
    thinned, config = pt.thin(params, spec, masks)
    small = pt.rebuild(model, thinned, config)
    again = pt.infer(small, pt.params_of(small), x)
    expected = pt.thin_spec(spec, masks)
    assert {n: ax.layout_text(d) for n, d in again.layout.items()} == {
        n: ax.layout_text(d) for n, d in expected.layout.items()
    }
    assert again.sizes == expected.sizes
    assert pt.cost(again) == pt.cost(spec, masks)


def test_the_spec_prints_as_a_table_and_survives_yaml() -> None:
    model = torchvision.models.densenet121(weights=None)
    spec = spec_of(model, torch.randn(1, 3, 64, 64))
    assert pt.Spec.from_yaml(spec.to_yaml()) == spec
    text = str(spec)
    assert "features.conv0.weight" in text and "exact" in text


@pytest.mark.parametrize(
    ("argument", "law", "message"),
    [
        ("y", None, "KeyError: 'y'"),
        ("x", lambda c: "pointwise", "its law is str, not one of pt.laws"),
        ("x", lambda c: pt.laws.Moved(c["y"]), "KeyError: 'y'"),
    ],
)
def test_a_rule_that_fails_freezes_and_says_so_instead_of_failing(
    argument: str, law: Any, message: str
) -> None:
    from purethin.inference.rules import RULES

    @pt.rule("purethin_test::scale", law=law)
    def _(c: Any) -> Any:
        """Out = the argument's dims."""
        return c.dims(c[argument])

    try:
        spec = spec_of(Scaled(), X.float())
        assert not spec.axes and "does not cover this call" in spec.notes[0]
        assert message in spec.notes[0]
    finally:
        del RULES["purethin_test::scale"]


class Experts(nn.Module):
    """One of two experts, chosen by value."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.gate, self.out = nn.Linear(3, 16), nn.Linear(16, 2), nn.Linear(16, 7)
        self.experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))
        with torch.no_grad():
            self.gate.weight.copy_(torch.stack([torch.ones(16), torch.zeros(16)]))
            self.gate.bias.copy_(torch.tensor([-1.0, 4.0]))

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        chosen = int(self.gate(h).mean((0, 1)).argmax())
        return self.out(h + self.experts[chosen](h).relu())


FEW, MANY = torch.ones(2, 5, 3) / 10, torch.ones(2, 5, 3) * 20
"""Inputs for which the second expert and the first are chosen."""


def test_a_part_that_the_example_did_not_reach_keeps_what_it_shares_from_being_pruned() -> None:
    model = Experts().eval()
    spec = pt.infer(model, pt.params_of(model), FEW)
    assert not spec.axes
    reasons = {(f.parameter, f.dim): f.reason for f in spec.frozen}
    assert "experts.0, which is like it, did not run" in reasons["a.weight", 0]
    assert "examples=[…]" in reasons["a.weight", 0]


@pytest.mark.parametrize("more", [(MANY,), {"x": MANY}, MANY], ids=["args", "kwargs", "tensor"])
def test_several_examples_give_one_spec_that_holds_for_each(more: Any) -> None:
    torch.manual_seed(0)  # other weights may choose one expert for both
    model = Experts().double().eval()
    with torch.no_grad():
        model.a.weight.abs_()
    params = pt.params_of(model)
    few = FEW.double()
    spec = pt.infer(model, params, few, examples=[tree_map(lambda x: x.double(), more)])
    assert spec.exact == ("a",)
    for x in (few, MANY.double()):
        assert_thinned_equals_masked(model, params, spec, random_masks(spec), x)
    assert pt.cost(spec) == pt.cost(pt.infer(model, params, few))  # of one forward


def test_an_example_that_is_no_input_is_refused() -> None:
    model = Experts().eval()
    with pytest.raises(pt.SpecError, match=r"examples=\[\(x,\), \{'x': x\}\]"):
        pt.infer(model, pt.params_of(model), FEW, examples=[3])


@pytest.mark.parametrize("kept", ["state", "cache"])
def test_dicts_that_the_forward_fills_are_emptied_and_no_others(kept: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 16), nn.Linear(16, 7)
            self.bias = nn.Parameter(torch.randn(16))
            self.state = {"order": torch.arange(2).flip(0), "scale": torch.ones(2, 1, 1)}
            self.cache: dict[str, Tensor] = {}

        def forward(self, x: Tensor) -> Tensor:
            key = str(x.device)
            if key not in self.cache:
                self.cache[key] = self.bias * 2
            h = (self.a(x) + self.cache[key]).relu()
            return (self.b(h) * self.state["scale"])[self.state["order"]]

    net, x = Net().eval(), torch.rand(2, 5, 3)
    net(x)
    params = pt.params_of(net)
    spec = pt.infer(net, params, x)
    small: Any = pt.rebuild(net, *pt.thin(params, spec, {"a": torch.arange(16) < 8}))
    assert spec.exact == ("a",) and spec.caches == {"": ("cache",)}
    assert not small.cache if kept == "cache" else small.state.keys() == net.state.keys()
    small(x)


def test_a_model_prepared_for_quantization_is_refused() -> None:
    import torch.ao.quantization as quantization

    model = nn.Sequential(nn.Linear(3, 8), quantization.FakeQuantize())
    with pytest.raises(pt.SpecError, match="Thin the float model, then prepare it"):
        pt.params_of(model)


class Halves(nn.Module):
    """As YOLO's blocks: two ways to cut the same features, by half and by a width."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.a, self.b = 8, nn.Conv2d(3, 16, 1), nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        u, v = self.a(x).chunk(2, 1)
        return self.b(torch.cat([u, v.relu()], 1))

    def forward_split(self, x: Tensor) -> Tensor:
        u, v = self.a(x).split((self.c, self.c), 1)
        return self.b(torch.cat([u, v.relu()], 1))


def test_a_method_that_takes_the_place_of_the_forward_is_seen_too() -> None:
    model: Any = randomise(nn.Sequential(Halves())).eval()
    params, x = pt.params_of(model), torch.rand(1, 3, 4, 4, dtype=torch.float64)
    assert "0" not in pt.infer(model, params, x).attributes
    spec = pt.infer(model, params, x, methods=["forward_split"])
    assert "c" in spec.attributes["0"] and "forward" not in vars(model[0])
    masks = {a: torch.arange(n) < 5 for a, n in spec.sizes.items()}
    small: Any = pt.rebuild(model, *pt.thin(params, spec, masks))
    assert small[0].c == 5
    torch.testing.assert_close(small[0].forward_split(x), small[0](x))
    with pytest.raises(
        pt.SpecError, match=r"no module has a method 'forward_spilt'.*forward_split"
    ):
        pt.infer(model, params, x, methods=["forward_spilt"])
