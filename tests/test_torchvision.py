"""Survey: every float model of torchvision. Run by `pytest -m survey`; the table is
docs/survey-torchvision.md.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from networks import assert_thinned_equals_masked, random_masks, randomise
from survey import surveyed
from torch import Tensor, nn
from torchvision import models

import purethin as pt
from purethin.axes import Name

pytestmark = pytest.mark.survey

CLASSIFICATION = models.list_models(module=models)
SEGMENTATION = models.list_models(module=models.segmentation)
DETECTION = models.list_models(module=models.detection)
VIDEO = models.list_models(module=models.video)
FLOW = models.list_models(module=models.optical_flow)
ATTENTION = ("vit_", "swin", "maxvit")
LARGE = ("regnet_y_128gf", "vit_h_14")
"""5 GB and more in float64: in float32, to 1e-4."""

# Fraction of parameters gone when Torch-Pruning 1.6.1 removes 30 % of each of its groups by L1;
# with hints for those in HINTED.
PEER = {
    "alexnet": 0.50,
    "convnext_base": 0.51,
    "convnext_large": 0.51,
    "convnext_small": 0.50,
    "convnext_tiny": 0.50,
    "densenet121": 0.49,
    "densenet161": 0.50,
    "densenet169": 0.49,
    "densenet201": 0.50,
    "efficientnet_b0": 0.45,
    "efficientnet_b1": 0.47,
    "efficientnet_b2": 0.47,
    "efficientnet_b3": 0.48,
    "efficientnet_b4": 0.48,
    "efficientnet_b5": 0.49,
    "efficientnet_b6": 0.49,
    "efficientnet_b7": 0.50,
    "efficientnet_v2_l": 0.51,
    "efficientnet_v2_m": 0.50,
    "efficientnet_v2_s": 0.49,
    "googlenet": 0.24,
    "inception_v3": 0.43,
    "mnasnet0_5": 0.38,
    "mnasnet0_75": 0.42,
    "mnasnet1_0": 0.44,
    "mnasnet1_3": 0.46,
    "mobilenet_v2": 0.43,
    "mobilenet_v3_large": 0.46,
    "mobilenet_v3_small": 0.42,
    "regnet_x_16gf": 0.51,
    "regnet_x_1_6gf": 0.51,
    "regnet_x_32gf": 0.51,
    "regnet_x_3_2gf": 0.51,
    "regnet_x_400mf": 0.50,
    "regnet_x_800mf": 0.50,
    "regnet_x_8gf": 0.50,
    "regnet_y_128gf": 0.51,
    "regnet_y_16gf": 0.51,
    "regnet_y_1_6gf": 0.52,
    "regnet_y_32gf": 0.51,
    "regnet_y_3_2gf": 0.52,
    "regnet_y_400mf": 0.54,
    "regnet_y_800mf": 0.49,
    "regnet_y_8gf": 0.50,
    "resnet101": 0.50,
    "resnet152": 0.50,
    "resnet18": 0.50,
    "resnet34": 0.51,
    "resnet50": 0.49,
    "resnext101_32x8d": 0.51,
    "resnext101_64x4d": 0.52,
    "resnext50_32x4d": 0.50,
    "squeezenet1_0": 0.43,
    "squeezenet1_1": 0.43,
    "vgg11": 0.50,
    "vgg11_bn": 0.50,
    "vgg13": 0.50,
    "vgg13_bn": 0.50,
    "vgg16": 0.50,
    "vgg16_bn": 0.50,
    "vgg19": 0.50,
    "vgg19_bn": 0.50,
    "wide_resnet101_2": 0.51,
    "wide_resnet50_2": 0.50,
    "vit_b_16": 0.52,
    "vit_b_32": 0.51,
    "vit_h_14": 0.51,
    "vit_l_16": 0.52,
    "vit_l_32": 0.52,
    "deeplabv3_mobilenet_v3_large": 0.51,
    "deeplabv3_resnet101": 0.51,
    "deeplabv3_resnet50": 0.51,
    "fcn_resnet101": 0.51,
    "fcn_resnet50": 0.51,
    "lraspp_mobilenet_v3_large": 0.50,
    "mc3_18": 0.51,
    "mvit_v1_b": 0.44,
    "mvit_v2_s": 0.44,
    "r2plus1d_18": 0.51,
    "r3d_18": 0.51,
    "s3d": 0.50,
    "fasterrcnn_mobilenet_v3_large_320_fpn": 0.08,
    "fasterrcnn_mobilenet_v3_large_fpn": 0.08,
    "fasterrcnn_resnet50_fpn": 0.29,
    "fasterrcnn_resnet50_fpn_v2": 0.28,
    "fcos_resnet50_fpn": 0.52,
    "keypointrcnn_resnet50_fpn": 0.22,
    "maskrcnn_resnet50_fpn": 0.43,
    "maskrcnn_resnet50_fpn_v2": 0.48,
    "retinanet_resnet50_fpn": 0.50,
    "retinanet_resnet50_fpn_v2": 0.51,
    "ssd300_vgg16": 0.44,
    "ssdlite320_mobilenet_v3_large": 0.42,
}
HINTED = ("vit_", "mvit_", "fasterrcnn_", "keypointrcnn_")
RELATIVE = {
    "swin_t": "features.1.0.attn.relative_position_bias_table",
    "maxvit_t": "blocks.0.layers.0.layers.window_attention.attn_layer.1."
    "relative_position_bias_table",
}


def built(name: str) -> nn.Module:
    """The model with random weights; a detector small and fast, and so that no score is too low for
    it.
    """
    options: dict[str, Any] = (
        {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    )
    if name in SEGMENTATION + DETECTION:
        options["weights_backbone"] = None
    if name in DETECTION:
        options |= {} if name.startswith("ssd") else {"min_size": 96, "max_size": 128}
        if "rcnn" in name:
            options |= {
                "box_score_thresh": 0.0,
                "box_detections_per_img": 10,
                "rpn_post_nms_top_n_test": 40,
            }
        else:
            options |= {"score_thresh": 0.0, "detections_per_img": 10, "topk_candidates": 40}
    return randomise(models.get_model(name, weights=None, **options), dtype=dtype(name))


def dtype(name: str) -> torch.dtype:
    """RAFT makes its coordinates in float32: _utils.py:30 of optical_flow."""
    return torch.float32 if name in LARGE or name in FLOW else torch.float64


def inputs(name: str) -> tuple[Any, ...]:
    """Small example inputs."""
    side = (
        299
        if name == "inception_v3"
        else 224
        if name.startswith(ATTENTION) or name == "alexnet"
        else 96
    )
    shape = {
        "s3d": (1, 3, 16, 224, 224),
        "mvit_v1_b": (1, 3, 16, 224, 224),
        "mvit_v2_s": (1, 3, 16, 224, 224),
        **dict.fromkeys(DETECTION, (3, 96, 112)),
        **dict.fromkeys(FLOW, (1, 3, 128, 128)),
    }.get(name, (1, 3, 8, 64, 64) if name in VIDEO else (1, 3, side, side))
    x = torch.rand(shape, dtype=dtype(name), generator=torch.Generator().manual_seed(0))
    return ([x],) if name in DETECTION else (x, x.flip(-1)) if name in FLOW else (x,)


def gone(spec: pt.Spec) -> float:
    """The fraction of parameters gone with 30 % of each axis, counted as the peer does, who keeps
    int(0.7 n) of n units.
    """
    masks = {a.name: torch.arange(a.size) < max(1, int(0.7 * a.size)) for a in spec.axes.values()}
    return 1 - pt.cost(spec, masks).parameters / pt.cost(spec).parameters


@pytest.mark.parametrize("name", CLASSIFICATION + SEGMENTATION + DETECTION + VIDEO + FLOW)
def test_half_of_all_exact_axes_goes_and_the_function_stays(name: str) -> None:
    model, args = built(name), inputs(name)
    kwargs = {"num_flow_updates": 2} if name in FLOW else {}

    def cells(spec: pt.Spec) -> dict[str, str]:
        peer = f"{PEER[name]:.2f}{'*' if name.startswith(HINTED) else ''}" if name in PEER else "–"
        return {"gone at 30 %": f"{gone(spec):.2f}", "peer at 30 %": peer}

    tolerance = 1e-4 if dtype(name) == torch.float32 else 1e-9
    spec = surveyed("torchvision", name, model, args, kwargs, tolerance=tolerance, cells=cells)
    assert set(spec.layout) == set(pt.params_of(model))
    assert name in DETECTION or not spec.notes
    assert round(gone(spec), 2) >= PEER.get(name, 0)
    if name in DETECTION:  # what was compared are several boxes with several scores
        masked = pt.rebuild(model, pt.mask(pt.params_of(model), spec, random_masks(spec)), {})
        (found,) = masked(*args)
        assert min(len(found[key].unique(dim=0)) for key in ("boxes", "scores")) > 1


def spec_of(name: str) -> tuple[nn.Module, dict[str, Tensor], pt.Spec]:
    model = built(name)
    return model, pt.params_of(model), pt.infer(model, pt.params_of(model), *inputs(name))


def test_half_of_the_heads_of_vit_b_16_go_from_in_proj_and_out_proj() -> None:
    model, params, spec = spec_of("vit_b_16")
    layers = [f"encoder.layers.encoder_layer_{i}.self_attention" for i in range(12)]
    masks = {}
    for layer in layers:
        heads = spec.attributes[layer]["num_heads"]
        assert isinstance(heads, Name)
        assert spec.axes[heads.name].size == 12
        masks[heads.name] = torch.arange(12) % 2 == 0
    assert len(masks) == 12
    assert_thinned_equals_masked(model, params, spec, masks, *inputs("vit_b_16"))
    thinned, _ = pt.thin(params, spec, masks)
    for layer in layers:
        assert thinned[f"{layer}.in_proj_weight"].shape == (3 * 6 * 64, 768)
        assert thinned[f"{layer}.in_proj_bias"].shape == (3 * 6 * 64,)
        assert thinned[f"{layer}.out_proj.weight"].shape == (768, 6 * 64)


@pytest.mark.parametrize(("name", "table"), RELATIVE.items())
def test_a_relative_position_table_loses_the_heads_that_go(name: str, table: str) -> None:
    model, params, spec = spec_of(name)
    heads = spec.layout[table][1]
    assert isinstance(heads, Name)
    size = spec.axes[heads.name].size
    masks = {heads.name: torch.arange(size) % 2 == 0}
    thinned, config = pt.thin(params, spec, masks)
    assert thinned[table].shape == (params[table].shape[0], (size + 1) // 2)
    assert torch.equal(thinned[table], params[table][:, ::2])
    pt.rebuild(model, thinned, config)(*inputs(name))
