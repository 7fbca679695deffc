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


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
def test_a_network_with_lora_thins_merges_and_takes_another_adapter() -> None:
    peft = pytest.importorskip("peft")
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
    layers = ["q_proj", "v_proj", "up_proj", "down_proj"]
    lora = {"target_modules": layers, "init_lora_weights": False}
    model = peft.get_peft_model(
        transformers.LlamaForCausalLM(config), peft.LoraConfig(r=4, **lora)
    ).eval()
    ids = torch.randint(100, (1, 7))
    params = pt.params_of(model)
    spec = pt.infer(model, params, ids)
    sizes = {n: s for n, s in spec.sizes.items() if n in spec.exact and "lora" not in n and s > 2}
    assert {2, 8, 96} <= {
        *spec.sizes.values()
    }  # key-value heads, pairs of head widths, feed-forward
    masks = {n: torch.arange(s) % 3 != 1 for n, s in sizes.items()}
    assert pt.check(model, params, spec, masks, ids).ok
    small: Any = pt.rebuild(model, *pt.thin(params, spec, masks)).eval()
    small.add_adapter("second", peft.LoraConfig(r=2, **lora))
    small.set_adapter("second")
    assert small(ids).logits.shape == (1, 7, 100)
    small.set_adapter("default")
    want = small(ids).logits
    merged = small.merge_and_unload()
    assert type(merged) is transformers.LlamaForCausalLM
    torch.testing.assert_close(merged(ids).logits, want, rtol=1e-4, atol=1e-5)
