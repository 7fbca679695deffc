"""Integers of modules that no traced forward reads, and what wrappers hand on."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import purethin as pt

X = torch.randn(2, 6)


class Adapted(nn.Module):
    """A layer around a layer, as peft's: its own sizes are read only as adapters are added."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.down = base, nn.Linear(base.in_features, 2, bias=False)
        self.up = nn.Linear(2, base.out_features, bias=False)
        self.in_features, self.out_features = base.in_features, base.out_features

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Adapted(nn.Linear(6, 9)), nn.Linear(9, 3)
        self.width = 9

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


def test_a_wrapper_says_the_sizes_of_the_layer_right_below_it() -> None:
    model = Two()
    params = pt.params_of(model)
    spec = pt.infer(model, params, X)
    (axis,) = (n for n, size in spec.sizes.items() if size == 9)
    masks = {axis: torch.arange(9) < 5}
    small = pt.rebuild(model, *pt.thin(params, spec, masks))
    first = small.get_submodule("first")
    assert (first.in_features, first.out_features) == (6, 5)
    report = pt.check(model, params, spec, masks, X)
    assert report.unsaid == ("width stays 9, but second.weight had 9 units and has 5",)
    assert "not read by this forward: width stays 9" in str(report)


class Heads(nn.Module):
    """Its forward reads the width of a head; the number of heads, all of them, and where it stands
    are kept as well.
    """

    def __init__(self, at: int, width: int = 6, heads: int = 2) -> None:
        super().__init__()
        self.at, self.heads, self.each, self.inner = at, heads, width // heads, width
        self.query, self.back = nn.Linear(6, width), nn.Linear(width, 6)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.query(x).view(len(x), -1, self.each)
        return x + self.back((heads * heads.sum(2, keepdim=True)).flatten(1))


@pytest.mark.parametrize(("width", "another"), [(6, ", another width of as many stays"), (8, "")])
def test_factors_of_a_width_are_listed_and_the_index_of_a_layer_is_not(
    width: int, another: str
) -> None:
    model = nn.Sequential(Heads(1, width), Heads(2, width))
    params = pt.params_of(model)
    spec = pt.infer(model, params, X)
    (heads,) = (n for n in pt.find(spec, "1.*") if spec.sizes[n] == 2)
    masks = {heads: torch.tensor([True, False])}
    lines = pt.check(model, params, spec, masks, X).unsaid
    assert lines == (
        f"1.heads stays 2, but '{heads}' of query.weight had 2 units and has 1",
        f"1.inner stays {width}, but query.weight had {width} units and has {width // 2}{another}",
    )


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.key, self.out = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, past: Tensor | None = None) -> dict[str, Tensor]:
        key = self.key(x)
        return {"out": self.out(key.relu()), "past": key}


class Wrapper(nn.Module):
    """Takes any keyword, and hands it on."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        return self.base(*args, **kwargs)


class Closed(Wrapper):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.base(x)


def test_a_state_that_a_wrapped_module_hands_back_is_not_an_output() -> None:
    for model, free in ((Wrapper(Wrapper(Base())), True), (Closed(Base()), False)):
        spec = pt.infer(model, pt.params_of(model), X)
        assert (8 in spec.sizes.values()) == free


LORA = {
    "target_modules": ["q_proj", "v_proj", "up_proj", "down_proj"],
    "init_lora_weights": False,
}
IDS = torch.arange(7)[None]


def llama() -> Any:
    transformers = importlib.import_module("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=96,
        vocab_size=100,
    )
    return transformers.LlamaForCausalLM(config).eval()


def two_thirds(model: nn.Module) -> tuple[pt.Spec, dict[str, Tensor]]:
    """A model's spec, and masks of all its exact axes but adapters' ranks."""
    spec = pt.infer(model, pt.params_of(model), IDS)
    sizes = {n: s for n, s in spec.sizes.items() if n in spec.exact and "lora" not in n and s > 2}
    assert {8, 96} <= {*sizes.values()}  # pairs of head widths, feed-forward
    return spec, {n: torch.arange(s) % 3 != 1 for n, s in sizes.items()}


def assert_merges(model: Any, **options: Any) -> None:
    """That merging gives a Llama with the outputs that the adapters gave."""
    want = model(IDS).logits
    merged = model.merge_and_unload(**options)
    assert type(merged).__name__ == "LlamaForCausalLM"
    torch.testing.assert_close(merged(IDS).logits, want, rtol=1e-4, atol=1e-5)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("merged", ["default", "second"])
def test_a_network_with_lora_thins_merges_and_takes_another_adapter(merged: str) -> None:
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(llama(), peft.LoraConfig(r=4, **LORA)).eval()
    params, (spec, masks) = pt.params_of(model), two_thirds(model)
    assert pt.check(model, params, spec, masks, IDS).ok
    small: Any = pt.rebuild(model, *pt.thin(params, spec, masks)).eval()
    small.add_adapter("second", peft.LoraConfig(r=2, **LORA))
    for name in ("second", "default"):
        small.set_adapter(name)
        assert small(IDS).logits.shape == (1, 7, 100)
    small.set_adapter(merged)
    assert_merges(small, adapter_names=[merged])


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
def test_adapters_on_a_thinned_network_have_its_widths_and_merge() -> None:
    peft = pytest.importorskip("peft")
    base = llama()
    spec, masks = two_thirds(base)
    small: Any = pt.rebuild(base, *pt.thin(pt.params_of(base), spec, masks)).eval()
    model = peft.get_peft_model(small, peft.LoraConfig(r=4, **LORA)).eval()
    up = model.base_model.model.model.layers[0].mlp.up_proj
    assert up.lora_B["default"].weight.shape == (64, 4) == (up.base_layer.out_features, 4)
    assert_merges(model)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
def test_a_training_of_adapters_alone_is_narrowed_on_its_way_and_merges() -> None:
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(llama(), peft.LoraConfig(r=4, **LORA))
    adapters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(adapters, lr=0.01)
    spec, masks = two_thirds(model.eval())
    for step in range(4):
        if step == 2:
            pt.narrow(model, spec, masks, optimizer)
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(optimizer.state[p]["exp_avg"].shape == p.shape for p in adapters)
    up = model.base_model.model.model.layers[0].mlp.up_proj
    assert up.lora_B["default"].weight.shape == (64, 4)
    assert up.base_layer.weight.grad is None
    assert_merges(model)
