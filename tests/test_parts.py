"""The modules and tensors of a model by name are those that torch's own walks give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from purethin.parts import buffers_of, parts_of, tensors_of


def shared() -> nn.Module:
    """One norm twice, a child that is None, a tied weight, a buffer twice."""
    norm = nn.BatchNorm1d(2)
    model: Any = nn.Sequential(norm, nn.Sequential(nn.Linear(2, 2), norm), nn.Linear(2, 2))
    model.register_module("none", None)
    model[2].weight = model[1][0].weight
    model.register_buffer("again", norm.running_mean)
    return model


class Renaming(nn.Linear):
    """Its parameters have names of its own."""

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        return ((f"my_{name}", p) for name, p in super().named_parameters(*args, **kwargs))


MODELS = {
    "shared": shared,
    "renaming": lambda: Renaming(2, 2),
    "swin": lambda: torchvision.models.swin_t(weights=None),
    "lstm": lambda: nn.LSTM(2, 3),
    "leaf": nn.ReLU,
}


@pytest.mark.parametrize("name", MODELS)
def test_modules_and_tensors_have_the_names_and_the_order_that_torch_gives(name: str) -> None:
    with torch.device("meta"):
        model = MODELS[name]()
    assert [*parts_of(model).items()] == [*model.named_modules()]
    buffers = [*model.named_buffers(remove_duplicate=False)]
    every = [*model.named_parameters(remove_duplicate=False), *buffers]
    found = [*tensors_of(model, duplicates=True)]
    assert [(n, id(t)) for n, t in found] == [(n, id(t)) for n, t in every]
    once = {id(t): n for n, t in reversed(every)}
    assert {n for n, _ in tensors_of(model, duplicates=False)} == {*once.values()}
    assert buffers_of(model) == {n for n, _ in buffers}
