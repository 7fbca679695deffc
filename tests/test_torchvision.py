"""Survey: every classification model of torchvision. Run by `pytest -m survey`; the table is docs/survey-torchvision.md."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
import torchvision
from networks import random_masks, randomise

import purethin as pt

pytestmark = pytest.mark.survey

MODELS = torchvision.models.list_models(module=torchvision.models)
ATTENTION = ("vit_", "swin", "maxvit")
ROWS = Path(__file__).parent.parent / "build" / "survey-torchvision"
"""A row per model; `python tests/survey_table.py` joins them in docs/survey-torchvision.md."""
SIZES = {"inception_v3": 299, "alexnet": 224}

# Fraction of parameters gone when Torch-Pruning 1.6.1 removes 30 % of each of its groups by L1.
PEER = {
    "alexnet": 0.50, "convnext_base": 0.51, "convnext_large": 0.51, "convnext_small": 0.50, "convnext_tiny": 0.50,
    "densenet121": 0.49, "densenet161": 0.50, "densenet169": 0.49, "densenet201": 0.50, "efficientnet_b0": 0.45,
    "efficientnet_b1": 0.47, "efficientnet_b2": 0.47, "efficientnet_b3": 0.48, "efficientnet_b4": 0.48, "efficientnet_b5": 0.49,
    "efficientnet_b6": 0.49, "efficientnet_b7": 0.50, "efficientnet_v2_l": 0.51, "efficientnet_v2_m": 0.50,
    "efficientnet_v2_s": 0.49, "googlenet": 0.24, "inception_v3": 0.43, "mnasnet0_5": 0.38, "mnasnet0_75": 0.42,
    "mnasnet1_0": 0.44, "mnasnet1_3": 0.46, "mobilenet_v2": 0.43, "mobilenet_v3_large": 0.46, "mobilenet_v3_small": 0.42,
    "regnet_x_16gf": 0.51, "regnet_x_1_6gf": 0.51, "regnet_x_32gf": 0.51, "regnet_x_3_2gf": 0.51, "regnet_x_400mf": 0.50,
    "regnet_x_800mf": 0.50, "regnet_x_8gf": 0.50, "regnet_y_128gf": 0.51, "regnet_y_16gf": 0.51, "regnet_y_1_6gf": 0.52,
    "regnet_y_32gf": 0.51, "regnet_y_3_2gf": 0.52, "regnet_y_400mf": 0.54, "regnet_y_800mf": 0.49, "regnet_y_8gf": 0.50,
    "resnet101": 0.50, "resnet152": 0.50, "resnet18": 0.50, "resnet34": 0.51, "resnet50": 0.49, "resnext101_32x8d": 0.51,
    "resnext101_64x4d": 0.52, "resnext50_32x4d": 0.50, "squeezenet1_0": 0.43, "squeezenet1_1": 0.43, "vgg11": 0.50,
    "vgg11_bn": 0.50, "vgg13": 0.50, "vgg13_bn": 0.50, "vgg16": 0.50, "vgg16_bn": 0.50, "vgg19": 0.50, "vgg19_bn": 0.50,
    "wide_resnet101_2": 0.51, "wide_resnet50_2": 0.50,
}  # fmt: skip


def build(name: str) -> torch.nn.Module:
    return torchvision.models.get_model(
        name, weights=None, **({"init_weights": False} if name in ("googlenet", "inception_v3") else {})
    )


@pytest.mark.parametrize("name", MODELS)
def test_half_of_all_exact_axes_goes_and_the_function_stays(name: str) -> None:
    torch.set_num_threads(1)
    large = name in ("regnet_y_128gf", "vit_h_14")  # 5 GB and more in float64: float32, to 1e-4
    model = build(name)
    model = randomise(model, dtype=torch.float32 if large else torch.float64)
    size = SIZES.get(name, 224 if name.startswith(ATTENTION) else 96)
    x = torch.randn(1, 3, size, size, dtype=torch.float32 if large else torch.float64)
    params = pt.params_of(model)
    start = time.perf_counter()
    spec = pt.infer(model, params, x)
    seconds = time.perf_counter() - start
    assert not spec.notes
    masks = random_masks(spec)
    report = pt.check(model, params, spec, masks, x)
    assert min(o.scale for o in report.outputs) > 0
    assert report.relative < (1e-4 if large else 1e-9), report
    assert spec.layout == {n: spec.layout[n] for n in params}
    dense, half = pt.cost(spec), pt.cost(spec, masks)
    frozen = sum("kernel" not in f.reason for f in spec.frozen)
    fractions = 1 - half.parameters / dense.parameters, gone(spec, floor=True), gone(spec, floor=False), PEER.get(name)
    cells = [name, len(spec.axes), len(spec.exact), frozen, *(f"{f:.2f}" if f else "–" for f in fractions)]
    ROWS.mkdir(parents=True, exist_ok=True)
    (ROWS / name).write_text(" | ".join(["", *map(str, cells), f"{report.relative:.0e}", f"{seconds:.2f}", ""]).strip() + "\n")
    if name in PEER:
        assert round(gone(spec, floor=False), 2) >= PEER[name]


def gone(spec: pt.Spec, *, floor: bool) -> float:
    """The fraction of parameters gone with 30 % of each axis: floor(0.3 n) units, or as the peer counts, who keeps int(0.7 n)."""
    sizes = {a.name: a.size for a in spec.axes.values()}
    kept = {name: n - int(0.3 * n + 1e-9) if floor else max(1, int(0.7 * n)) for name, n in sizes.items()}
    masks = {name: torch.arange(n) < kept[name] for name, n in sizes.items()}
    return 1 - pt.cost(spec, masks).parameters / pt.cost(spec).parameters
