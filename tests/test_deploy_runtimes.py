"""Survey: a thinned network of odd widths in each runtime of docs/deploy.md, beside itself in
torch. `pytest -m survey` runs those whose packages are there, `-m nightly` what compiles C++.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from runtimes import INT4, RUNTIMES, package, quantized, quiet
from torch import nn

import purethin as pt

BY_CHANNEL = "torchao int4 by channel"
X = torch.linspace(0, 1, 3 * 16 * 16).view(1, 3, 16, 16)


def network() -> nn.Sequential:
    """Two convolutions, a norm and two linear layers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 256),
        nn.ReLU(),
        nn.Linear(256, 4),
    ).eval()


NET = network()
PARAMS = pt.params_of(NET)
SPEC = pt.infer(NET, PARAMS, X)
ODD = {"0.weight": 9, "3.weight": 13, "7.weight": 141}
MASKS = {name: torch.arange(SPEC.sizes[name]) < kept for name, kept in ODD.items()}
SMALL: Any = pt.rebuild(NET, *pt.thin(PARAMS, SPEC, MASKS)).eval()


def imported(name: str) -> Any:
    pytest.importorskip(name.partition(".")[0])
    return package(name)


def far(name: str, folder: Path, net: nn.Module = SMALL, x: torch.Tensor = X) -> float:
    """How far a thinned network in a runtime is from itself in torch, relative to the largest
    output.
    """
    for needed in RUNTIMES[name].packages:
        pytest.importorskip(needed)
    with torch.no_grad(), quiet():
        want, found = net(x), RUNTIMES[name].ready(net, x, folder)()
    return float((found - want).abs().max() / want.abs().max())


def test_a_thinned_network_is_exported(tmp_path: Path) -> None:
    assert far("torch.export", tmp_path) == 0.0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "runtime",
    [
        pytest.param(name, marks=pytest.mark.nightly if row.compiles else pytest.mark.survey)
        for name, row in RUNTIMES.items()
        if name not in ("eager", "torch.export")
    ],
)
def test_a_runtime_computes_what_torch_does(runtime: str, tmp_path: Path) -> None:
    found = far(runtime, tmp_path)
    print(f"{runtime}: {found:.1e}")
    assert found <= RUNTIMES[runtime].differs


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "runtime", [name for name in RUNTIMES if name not in ("eager", BY_CHANNEL)]
)
def test_half_a_mobilenet_computes_there_what_it_does_in_torch(
    runtime: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model, x = torchvision.models.mobilenet_v2(weights=None).eval(), torch.rand(1, 3, 64, 64)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):  # else the last features are all but zero
            nn.init.normal_(norm.bias, std=0.1)
    params = pt.params_of(model)
    spec = pt.infer(model, params, x)
    masks = pt.solve(pt.lp_norm(params, spec), spec, macs=0.5)
    half = pt.rebuild(model, *pt.thin(params, spec, masks)).eval()
    assert any(mask.sum() % 8 for mask in masks.values())
    assert far(runtime, tmp_path, half, x) <= 10 * RUNTIMES[runtime].differs


@pytest.mark.survey
@pytest.mark.filterwarnings("ignore")
def test_torchao_takes_widths_rounded_to_its_group_and_leaves_or_refuses_others() -> None:
    quantization = imported("torchao.quantization")
    needs = pt.Needs(inputs=32)
    config = quantization.IntxWeightOnlyConfig(INT4, quantization.granularity.PerGroup(32))
    scores = pt.lp_norm(PARAMS, SPEC)
    masks = pt.select(scores, 0.4, round_to=pt.round_for(needs, SPEC), spec=SPEC)
    small: Any = pt.rebuild(NET, *pt.thin(PARAMS, SPEC, masks)).eval()
    assert small[9].weight.shape[1] % 32 == 0
    alone = nn.Sequential(copy.deepcopy(small[9]))
    quantization.quantize_(alone, config)
    assert type(alone[0].weight) is not nn.Parameter
    with pytest.raises(AssertionError, match="divisible by block_size"):
        quantization.quantize_(nn.Sequential(copy.deepcopy(SMALL[9])), config)
    skipped = nn.Sequential(copy.deepcopy(SMALL[9]))
    quantization.quantize_(skipped, quantization.Int4WeightOnlyConfig(group_size=128))
    assert type(skipped[0].weight) is nn.Parameter


@pytest.mark.survey
@pytest.mark.filterwarnings("ignore")
def test_multiples_for_int4_let_torchao_take_every_layer_of_a_llama() -> None:
    transformers, quantization = imported("transformers"), imported("torchao.quantization")
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 256, "intermediate_size": 512, "head_dim": 64}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 4}
    config = transformers.LlamaConfig(**sizes, **heads, use_cache=False)
    model, ids = transformers.LlamaForCausalLM(config).eval(), torch.arange(3, 12)[None]
    params = pt.params_of(model)
    spec = pt.infer(model, params, ids)
    int4 = quantization.IntxWeightOnlyConfig(INT4, quantization.granularity.PerGroup(128))

    def taken(round_to: dict[str, int]) -> tuple[list[str], list[str]]:
        """The layers that take groups of 128, and those that do not."""
        masks = pt.solve(pt.lp_norm(params, spec), spec, macs=0.6, round_to=round_to)
        net: Any = pt.rebuild(model, *pt.thin(params, spec, masks)).eval()
        linear = {n: m for n, m in net.named_modules() if type(m) is nn.Linear}
        left = [name for name, layer in linear.items() if layer.in_features % 128]
        for name in left:  # int4 leaves these as they are, and says nothing
            quantization.quantize_(linear[name], quantization.Int4WeightOnlyConfig(group_size=128))
        assert not quantized(net)
        quantization.quantize_(net, int4, lambda _, name: name in linear and name not in left)
        assert net(ids).logits.isfinite().all()
        return quantized(net), left

    odd, left = taken({})
    every, none = taken(pt.round_for("torchao int4", spec))
    assert (len(odd), len(left), len(every), len(none)) == (11, 4, 15, 0)
    assert {name.rpartition(".")[2] for name in left} == {"o_proj", "down_proj"}
