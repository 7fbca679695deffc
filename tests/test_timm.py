"""Survey: the smallest model of every module file of timm. Run by `pytest -m survey`; the table is
docs/survey-timm.md.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from networks import assert_thinned_equals_masked, randomise
from survey import surveyed
from torch import Tensor, nn

import purethin as pt
from purethin.axes import names

timm = pytest.importorskip("timm")

pytestmark = pytest.mark.survey

MODELS = {
    "beit": "beit_base_patch16_224",
    "byoanet": "halonet_h1",
    "byobnet": "test_byobnet",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "test_convnext",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deepseek_vit": "deepseek_vit_412m",
    "deit": "deit_tiny_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46x_c",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "mnasnet_small",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "eva02_tiny_patch14_224",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s",
    "lowformer": "lowformer_b0",
    "mambaout": "test_mambaout",
    "maxxvit": "test_coatnet",
    "metaformer": "poolformerv2_s12",
    "mlp_mixer": "gmlp_ti16_224",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_parfac_gap",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "test_nfnet",
    "pit": "pit_ti_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m1",
    "res2net": "res2next50",
    "resnest": "resnest14d",
    "resnet": "resnet10t",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer": "test_vit",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "test_vit_relpos",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}
SIZES = {
    "csatv2": 128,
    "deepseek_vit": 126,
    "gemma4_vit": 96,
    "hieradet_sam2": 224,
    "inception_resnet_v2": 128,
    "inception_v3": 128,
    "inception_v4": 128,
    "naflexvit": 96,
    "nasnet": 96,
    "pnasnet": 96,
    "qwen3_vit": 96,
    "vision_transformer_sam": 224,
    "xception": 128,
    "xception_aligned": 128,
}
"""Smaller inputs than the model's own, where that is large and not fixed."""
OPTIONS = {"deepseek_vit": {"depth": 4}}  # its only models have 412 M parameters and more
# its linear attention is computed in float32: efficientvit_mit.py:361
TOLERANCES = {"efficientvit_mit": 1e-7}

# One block of ten transformers, half of whose heads go: the attention module, and the shapes that
# follow. In the upper ones only the attention shrinks; in the lower ones the source reshapes the
# heads to the width of the stream, which shrinks too.
HEADS = {
    "test_vit": (
        "blocks.0.attn",
        {"qkv.weight": (96, 64), "qkv.bias": (96,), "proj.weight": (64, 32)},
    ),
    "swin_tiny_patch4_window7_224": (
        "layers.1.blocks.0.attn",
        {
            "qkv.weight": (288, 192),
            "proj.weight": (192, 96),
            "relative_position_bias_table": (169, 3),
        },
    ),
    "levit_128s": (
        "stages.0.blocks.0.attn",
        {
            "qkv.linear.weight": (128, 128),
            "proj.ln.linear.weight": (128, 64),
            "attention_biases": (2, 196),
        },
    ),
    "pit_ti_224": (
        "transformers.0.blocks.0.attn",
        {"qkv.weight": (96, 64), "proj.weight": (64, 32)},
    ),
    "mvitv2_tiny": (
        "stages.1.blocks.0.attn",
        {"qkv.weight": (288, 96), "proj.weight": (192, 96), "rel_pos_h": (55, 96)},
    ),
    "beit_base_patch16_224": (
        "blocks.0.attn",
        {
            "qkv.weight": (1152, 384),
            "q_bias": (384,),
            "proj.weight": (384, 384),
            "relative_position_bias_table": (732, 6),
        },
    ),
    "eva02_tiny_patch14_224": ("blocks.0.attn", {"qkv.weight": (192, 64), "proj.weight": (64, 64)}),
    "cait_xxs24_224": (
        "blocks.0.attn",
        {"qkv.weight": (288, 96), "proj.weight": (96, 96), "proj_l.weight": (4, 2)},
    ),
    "xcit_nano_12_p8_224": (
        "blocks.0.attn",
        {"qkv.weight": (192, 64), "proj.weight": (64, 64), "temperature": (2, 1, 1)},
    ),
    "twins_svt_small": ("blocks.0.0.attn", {"qkv.weight": (96, 32), "proj.weight": (32, 32)}),
}


def built(module: str) -> nn.Module:
    """The model of a module file, with random weights."""
    return randomise(timm.create_model(MODELS[module], pretrained=False, **OPTIONS.get(module, {})))


def example(model: nn.Module, size: int | None = None) -> Tensor:
    """One random image, of the model's own size unless told."""
    config: Any = model.default_cfg
    side = size or config["input_size"][1]
    return torch.randn(
        1, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("module", MODELS)
def test_half_of_all_exact_axes_goes_and_the_function_stays(module: str) -> None:
    model = built(module)
    title = f"{module}/{MODELS[module]}" + "".join(
        f"({k}={v})" for k, v in OPTIONS.get(module, {}).items()
    )
    surveyed(
        "timm",
        title,
        model,
        (example(model, SIZES.get(module)),),
        tolerance=TOLERANCES.get(module, 1e-9),
    )


def test_the_table_has_every_module_file_of_timm() -> None:
    files = {
        timm.models.model_entrypoint(name).__module__.rpartition(".")[2]
        for name in timm.list_models()
    }
    assert files == set(MODELS)


@pytest.mark.parametrize("name", HEADS)
def test_half_of_a_block_s_heads_go_from_all_that_carries_them(name: str) -> None:
    path, shapes = HEADS[name]
    model = randomise(timm.create_model(name, pretrained=False, num_classes=10))
    x, params = example(model), pt.params_of(model)
    spec = pt.infer(model, params, x)
    heads = str(spec.attributes[path]["num_heads"])
    size = spec.axes[heads].size
    qkv, proj = (
        spec.layout[f"{path}.{p}"]
        for p in shapes
        if p.endswith("weight") and p.startswith(("qkv", "proj."))
    )
    assert heads in names(qkv[0])
    assert heads in names(proj[1])
    masks = {heads: torch.arange(size) < size // 2}
    thinned, config = pt.thin(params, spec, masks)
    assert {p: tuple(thinned[f"{path}.{p}"].shape) for p in shapes} == shapes
    assert pt.rebuild(model, thinned, config).get_submodule(path).num_heads == size // 2
    tied = heads in names(proj[0])
    assert spec.axes[heads].exact != tied  # a layer norm goes over the stream's width
    if not tied:
        assert_thinned_equals_masked(model, params, spec, masks, x)
