"""A small network with what recipes meet, and a small recipe in Distiller's YAML to edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

import purethin as pt


class Small(nn.Module):
    """A residual sum, a depthwise convolution, a concatenation, a transposed convolution, two
    linear layers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.conv3 = nn.Conv2d(16, 6, 1)
        self.depthwise = nn.Conv2d(22, 22, 3, padding=1, groups=22)
        self.up = nn.ConvTranspose2d(22, 10, 2, stride=2)
        self.fc1, self.fc2 = nn.Linear(10, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = (x + self.conv2(x)).relu()
        x = self.depthwise(torch.cat([x, self.conv3(x).relu()], 1)).relu()
        return self.fc2(self.fc1(self.up(x).relu().sum((2, 3))).relu())


torch.manual_seed(0)
MODEL = Small()
PARAMS = pt.params_of(MODEL)
SPEC = pt.infer(MODEL, PARAMS, torch.zeros(1, 3, 4, 4))

BASE = """\
version: 1
pruners:
  low:
    class: L1RankedStructureParameterPruner
    group_type: Filters
    desired_sparsity: 0.5
    weights: [module.conv3.weight]
extensions:
  thinner:
    class: FilterRemover
    thinning_func_str: remove_filters
    arch: small
    dataset: cifar10
lr_schedulers:
  decay:
    class: ExponentialLR
    gamma: 0.95
policies:
  - pruner:
      instance_name: low
    epochs: [0]
  - lr_scheduler:
      instance_name: decay
    starting_epoch: 0
    ending_epoch: 9
    frequency: 1
  - extension:
      instance_name: thinner
    epochs: [2]
"""


def refused(text: str, words: Sequence[str]) -> None:
    """That loading is one RecipeError with these words, which names the place that § marks where
    the text has one.
    """
    with pytest.raises(pt.RecipeError) as caught:
        pt.load_recipe(text.replace("§", ""))
    said = str(caught.value)
    if "§" in text:
        before = text[: text.index("§")]
        assert said.startswith(
            f"recipe:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}: "
        ), said
    for word in words:
        assert word in said, said


AGP = [
    ("Pruner\n    group_type", "Pruner_AGP\n    group_type"),
    ("desired_sparsity: 0.5", "initial_sparsity: 0.1\n    final_sparsity: 0.5"),
    ("epochs: [0]", "starting_epoch: 1\n    ending_epoch: 8\n    frequency: 3"),
]


def edited(*edits: tuple[str, str]) -> str:
    """BASE with each `(old, new)` put in."""
    text = BASE
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    return text


def pruning(weights: str, group_type: str = "Filters", **more: object) -> str:
    """BASE with other weights and arguments of its pruner."""
    lines = "".join(
        f"    {key}: {value}\n" for key, value in more.items() if key != "desired_sparsity"
    )
    return edited(
        ("    weights: [module.conv3.weight]\n", f"    weights: {weights}\n{lines}"),
        ("group_type: Filters", f"group_type: {group_type}"),
        ("desired_sparsity: 0.5", f"desired_sparsity: {more.get('desired_sparsity', 0.5)}"),
    )


def kept(masks: Mapping[str, Tensor]) -> dict[str, int]:
    return {axis: int(m.sum()) for axis, m in masks.items()}


def planned(text: str) -> pt.Plan:
    return pt.plan(pt.load_recipe(text), PARAMS, SPEC)
