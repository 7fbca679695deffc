"""Rebuilt modules are the user's own class and behave as any module does."""

from __future__ import annotations

import copy
import io
import json
import warnings
from typing import Any

import pytest
import torch
import torchvision
from networks import random_masks, randomise
from patterns.weight_norm import NORMS
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import purethin as pt

X = torch.randn(2, 3, 64, 64, dtype=torch.float64)


@pytest.fixture(scope="module")
def pair() -> tuple[nn.Module, nn.Module]:
    """A dense ResNet-18 and its thinned self."""
    model = randomise(torchvision.models.resnet18(weights=None))
    params = pt.params_of(model)
    spec = pt.infer(model, params, X)
    thinned, config = pt.thin(params, spec, random_masks(spec))
    return model, pt.rebuild(model, thinned, json.loads(json.dumps(config)))


@pytest.mark.parametrize("how", [*NORMS, "spectral", "spectral by the old hook", "pruned"])
def test_a_layer_whose_weight_is_made_of_others_shows_the_new_sizes(how: str) -> None:
    made: dict[str, Any] = {
        **NORMS,
        "spectral": parametrizations.spectral_norm,
        "spectral by the old hook": nn.utils.spectral_norm,
        "pruned": lambda layer: prune.l1_unstructured(layer, "weight", amount=2),
    }
    layers = [nn.Conv1d(3, 8, 3), nn.ConvTranspose1d(8, 6, 3), nn.Conv1d(6, 9, 3, groups=3)]
    net: Any = nn.Sequential(*map(made[how], layers), nn.Flatten(), made[how](nn.Linear(72, 4)))
    randomise(net)
    net = nn.Sequential(*net, nn.Linear(4, 2).double())
    params, x = pt.params_of(net), torch.randn(2, 3, 10, dtype=torch.float64)
    spec = pt.infer(net, params, x)
    masks = random_masks(spec)
    small: Any = pt.rebuild(net, *pt.thin(params, spec, masks))
    shown = [small[i] for i in (0, 1, 2, 4, 5)]
    for layer in shown:
        small(x)
        transposed = isinstance(layer, nn.ConvTranspose1d)
        first, second = layer.weight.shape[:2]
        ins, outs = (
            (layer.in_features, layer.out_features)
            if isinstance(layer, nn.Linear)
            else (layer.in_channels // layer.groups, layer.out_channels)
        )
        assert (ins, outs) == ((first, second) if transposed else (second, first))
    assert shown[0].out_channels < 8
    assert shown[3].out_features < 4


def test_it_is_of_the_same_class_and_its_repr_shows_the_new_sizes(pair: tuple[Any, Any]) -> None:
    dense, small = pair
    assert type(small) is type(dense)
    assert "Conv2d(3, 32, kernel_size=(7, 7)" in repr(small)
    assert "BatchNorm2d(32," in repr(small)
    assert "Linear(in_features=256, out_features=1000" in repr(small)
    assert dense.conv1.out_channels == 64


def test_it_pickles_and_copies(pair: tuple[Any, Any]) -> None:
    _, small = pair
    file = io.BytesIO()
    torch.save(small, file)
    file.seek(0)
    for other in (torch.load(file, weights_only=False), copy.deepcopy(small)):
        assert torch.equal(other(X), small(X))


def test_it_scripts_and_compiles_as_the_dense_one_does(pair: tuple[Any, Any]) -> None:
    _, small = pair
    want = small(X)
    assert torch.allclose(torch.compile(small, backend="eager")(X), want)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer torch calls scripting deprecated
        scripted = torch.jit.script(small)
    assert torch.allclose(scripted(X), want)


def test_mode_and_requires_grad_are_the_models_own() -> None:
    model = torchvision.models.resnet18(weights=None).train()
    model.conv1.weight.requires_grad_(False)
    params = pt.params_of(model)
    spec = pt.infer(model, params, X.float())
    thinned, config = pt.thin(params, spec, random_masks(spec))
    small: Any = pt.rebuild(model, thinned, config)
    assert small.training and not small.conv1.weight.requires_grad and small.fc.weight.requires_grad
    small(X.float()).sum().backward()
    assert small.fc.weight.grad is not None and model.fc.weight.grad is None


def test_it_shares_no_tensor_with_the_dense_one_nor_with_the_thinned_parameters() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.randn(1, 3))
    thinned, config = pt.thin(params, spec, {"0.weight": torch.arange(8) < 4})
    small = pt.rebuild(model, thinned, config)
    with torch.no_grad():
        for p in small.parameters():
            p.zero_()
    assert all(t.abs().sum() > 0 for t in (*thinned.values(), *params.values()))


class Configured(nn.Module):
    """A module that reads its sizes from attributes, a tuple and a dataclass-like object."""

    class Sizes:
        def __init__(self) -> None:
            self.parts = [4, 8]
            self.width = 12

    def __init__(self) -> None:
        super().__init__()
        self.sizes = Configured.Sizes()
        self.first = nn.Linear(3, 12)
        self.a, self.b = nn.Linear(4, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.first(x).view(-1, self.sizes.width).split(self.sizes.parts, dim=1)
        return self.a(left) + self.b(right)


def test_sizes_inside_a_config_object_and_a_list_are_rewritten() -> None:
    model: Any = randomise(Configured())
    params, x = pt.params_of(model), torch.randn(5, 3, dtype=torch.float64)
    spec = pt.infer(model, params, x)
    assert {a.size for a in spec.axes.values()} == {4, 8}
    masks = random_masks(spec)
    thinned, config = pt.thin(params, spec, masks)
    assert config[""] == {"sizes.parts": [2, 4], "sizes.width": 6}
    assert pt.check(model, params, spec, masks, x).relative < 1e-9
    small: Any = pt.rebuild(model, thinned, config)
    assert small.sizes.parts == [2, 4] and model.sizes.parts == [4, 8]


def test_tensors_of_other_sizes_than_the_layers_say_are_one_error_with_names() -> None:
    trained, other = torchvision.models.resnet18(num_classes=7), torchvision.models.resnet18()
    with pytest.raises(pt.SpecError) as caught:
        pt.rebuild(other, pt.params_of(trained), {})
    assert "fc: weight's dim 0 is 7, but out_features is 1000" in str(caught.value)
    assert "built with the same arguments" in str(caught.value)


def test_a_recurrent_layer_is_copied_with_its_own_weights_whatever_a_call_left_in_it() -> None:
    model = nn.LSTM(3, 4)
    made = model.get_parameter("weight_ih_l0") * 2
    model._flat_weights = [made, *model._flat_weights[1:]]  # as a functional call may leave it
    params, x = pt.params_of(model), torch.rand(2, 1, 3)
    small: Any = pt.rebuild(model, params, {})
    assert small._flat_weights[0] is small.weight_ih_l0
    torch.testing.assert_close(small.weight_ih_l0, model.weight_ih_l0)
    assert pt.infer(model, params, x).layout == pt.infer(nn.LSTM(3, 4), params, x).layout
