"""Numbers of papers and of Distiller's published schedules, reproduced from the YAML without
training.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path

import pytest
import torch
import torchvision
from resnet_cifar import resnet20, resnet56
from torch import Tensor, nn

import purethin as pt
from purethin.checks import kept_sizes
from purethin.recipes.rows import Row

RECIPES = Path(__file__).parent / "recipes"
CIFAR = torch.zeros(1, 3, 32, 32)

Inferred = dict[Callable[[], nn.Module], tuple[dict[str, Tensor], pt.Spec]]


def weights(spec: pt.Spec, masks: dict[str, Tensor]) -> int:
    """Parameters as the papers count them: convolution and linear weights, no bias, no norm."""
    kept = kept_sizes(spec, masks)
    return sum(
        prod(map(kept, dims))
        for name, dims in spec.layout.items()
        if len(dims) >= 2 and name not in spec.buffers
    )


# ---- AGP

# epoch, sparsity, and filters removed of 16, 32 and 64; initial .1, final .5, epochs 0-30,
# frequency 2
EVERY_SECOND = [
    (0, 0.1, (1, 3, 6)),
    (2, 0.179738, (2, 5, 11)),
    (4, 0.248105, (3, 7, 15)),
    (6, 0.305977, (4, 9, 19)),
    (8, 0.354227, (5, 11, 22)),
    (10, 0.393732, (6, 12, 25)),
    (12, 0.425364, (6, 13, 27)),
    (14, 0.45, (7, 14, 28)),
    (16, 0.468513, (7, 14, 29)),
    (18, 0.481778, (7, 15, 30)),
    (20, 0.490671, (7, 15, 31)),
    (22, 0.496064, (7, 15, 31)),
    (24, 0.498834, (7, 15, 31)),
    (26, 0.499854, (7, 15, 31)),
    (28, 0.5, (8, 16, 32)),
]
EVERY_THIRD = [0.1, 0.2191, 0.3118, 0.3815, 0.4314, 0.4649, 0.4852, 0.4956, 0.4995, 0.5]
ZHU_GUPTA = [0.0, 0.2168, 0.3904, 0.5256, 0.6272, 0.7, 0.7488, 0.7784, 0.7936, 0.7992, 0.8]


WIDTHS = {"narrow": 16, "middle": 32, "wide": 64, "third": 10_000, "tenth": 10_000}
COUNTS = {"ten": 10, "gradual": 10, "hundred": 100, "equal": 8, "sixteen": 16, "last": 4}


def rows_of(recipe: str, widths: dict[str, int]) -> dict[str, list[Row]]:
    """The plan's rows by weight, on matrices of these widths, all of ones: only order tells their
    units apart.
    """
    params = {f"{name}.weight": torch.ones(n, 1) for name, n in widths.items()}
    spec = pt.Spec.from_layout({f"{name}.weight": f"{name} 1" for name in widths}, params)
    rows = pt.plan(pt.load_recipe(RECIPES / recipe), params, spec).rows
    return {name: [r for r in rows if r.axis == name] for name in widths}


def test_agp_every_second_epoch_is_as_distiller_counts_it() -> None:
    rows = rows_of("agp.yaml", WIDTHS)
    for i, name in enumerate(("narrow", "middle", "wide")):
        assert [(r.epoch, r.removed) for r in rows[name]] == [
            (epoch, removed[i]) for epoch, _, removed in EVERY_SECOND
        ]
        assert [r.sparsity for r in rows[name]] == pytest.approx(
            [sparsity for _, sparsity, _ in EVERY_SECOND], abs=5e-7
        )


def test_agp_every_third_epoch_is_as_distiller_counts_it() -> None:
    rows = rows_of("agp.yaml", WIDTHS)["third"]
    assert [r.epoch for r in rows] == [*range(0, 30, 3)]
    assert [r.sparsity for r in rows] == pytest.approx(EVERY_THIRD, abs=5e-5)


def test_agp_in_ten_steps_is_the_papers_own_table() -> None:
    rows = rows_of("agp.yaml", WIDTHS)["tenth"]
    assert [r.epoch for r in rows] == [*range(11)]
    assert [r.sparsity for r in rows] == pytest.approx(ZHU_GUPTA, abs=5e-7)
    assert [r.removed / r.size for r in rows] == ZHU_GUPTA


def test_units_are_counted_as_a_person_would_of_the_dense_size_and_ties_by_index() -> None:
    rows = rows_of("counts.yaml", COUNTS)
    removed = {name: [r.removed for r in rows[name]] for name in COUNTS}
    assert removed.pop("gradual")[0] == 1
    assert removed == {"ten": [1], "hundred": [29], "equal": [2], "sixteen": [8, 8], "last": [3]}


# ---- ResNets

SCHEDULES: list[tuple[Callable[[], nn.Module], str | None, int, int]] = [
    (resnet20, None, 270_896, 40_813_184),
    (resnet20, "resnet20_filters.yaml", 223_536, 30_655_104),
    (resnet20, "resnet20_filters_conv1.yaml", 246_704, 30_638_720),
    (resnet56, None, 851_504, 125_747_840),
    (resnet56, "resnet56_filters.yaml", 634_640, 78_856_832),
    (resnet56, "resnet56_channels.yaml", 566_887, 66_592_384),
]


@pytest.fixture(scope="module")
def inferred() -> Inferred:
    """The parameters and the spec of each ResNet."""
    made: Inferred = {}
    for build in (resnet20, resnet56):
        torch.manual_seed(0)
        params = pt.params_of(model := build())
        made[build] = params, pt.infer(model, params, CIFAR)
    return made


@pytest.mark.parametrize(
    ("build", "recipe", "parameters", "macs"), SCHEDULES, ids=[s[1] or "dense" for s in SCHEDULES]
)
def test_distillers_schedules_leave_the_published_parameters_and_macs(
    build: Callable[[], nn.Module],
    recipe: str | None,
    parameters: int,
    macs: int,
    inferred: Inferred,
) -> None:
    params, spec = inferred[build]
    masks = dict(pt.plan(pt.load_recipe(RECIPES / recipe), params, spec).masks) if recipe else {}
    assert weights(spec, masks) == parameters
    assert pt.cost(spec, masks).macs == macs


def test_a_plan_counts_the_filters_of_the_table_epoch_by_epoch(inferred: Inferred) -> None:
    plan = pt.plan(pt.load_recipe(RECIPES / "resnet20_filters.yaml"), *inferred[resnet20])
    assert {r.size for r in plan.rows} == {32}
    assert len({r.axis for r in plan.rows}) == 4  # three conv1s and the residual sum
    by_epoch = {
        epoch: {r.removed for r in plan.rows if r.epoch == epoch}
        for epoch in sorted({r.epoch for r in plan.rows})
    }
    assert by_epoch == {epoch: {removed[1]} for epoch, _, removed in EVERY_SECOND}


def test_a_residual_group_without_leader_is_refused_with_its_axis_weights_line_and_remedy(
    inferred: Inferred,
) -> None:
    with pytest.raises(pt.RecipeError) as refused:
        pt.plan(pt.load_recipe(RECIPES / "resnet20_filters_ungrouped.yaml"), *inferred[resnet20])
    text = str(refused.value)
    source = (Path(__file__).parents[1] / "examples" / "resnet_cifar.py").read_text().splitlines()
    add = 1 + next(i for i, line in enumerate(source) if "self.downsample(x))" in line)
    for part in (
        "resnet20_filters_ungrouped.yaml:12:7: ",  # the second of the weights that share the axis
        "layer2.0.conv2.weight, layer2.0.downsample.0.weight, layer2.1.conv2.weight, "
        "layer2.2.conv2.weight",
        "'layer2.0.conv2' (32 units)",
        f"add at resnet_cifar.py:{add}",
        "\n    group_dependency: Leader",
        "\n    group_dependency: Auto",
    ):
        assert part in text, text


def test_torchvisions_resnet50_has_the_published_parameters_and_macs() -> None:
    model = torchvision.models.resnet50(weights=None)
    spec = pt.infer(model, pt.params_of(model), torch.zeros(1, 3, 224, 224))
    assert weights(spec, {}) == 25_502_912
    assert pt.cost(spec).macs == 4_089_184_256


# ---- VGG-16 on CIFAR-10


class VGG16(nn.Module):
    """Li et al.'s: thirteen convolutions with batch norm, two linear layers of 512."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def test_half_of_convolutions_1_and_8_to_13_of_vgg16_are_the_published_flop_and_parameters() -> (
    None
):
    params = pt.params_of(model := VGG16())
    spec = pt.infer(model, params, CIFAR)
    masks = dict(pt.plan(pt.load_recipe(RECIPES / "vgg16_cifar.yaml"), params, spec).masks)
    assert 1 - pt.cost(spec, masks).macs / pt.cost(spec).macs == pytest.approx(0.342, abs=5e-4)
    assert 1 - weights(spec, masks) / weights(spec, {}) == pytest.approx(0.640, abs=5e-4)
