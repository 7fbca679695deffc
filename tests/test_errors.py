"""Bad input: each gets one clear error that says what, where and what to write instead; nothing of
the user's changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from tables import case
from torch import Tensor, nn

import purethin as pt


class Small(nn.Module):
    """Two convolutions and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv2(self.conv1(x).relu()).mean((2, 3)))


MODEL = Small()
PARAMS = pt.params_of(MODEL)
X = torch.randn(1, 3, 9, 9)
SPEC = pt.infer(MODEL, PARAMS, X)
HALF = {"conv1": torch.arange(8) < 4}
THINNED, CONFIG = pt.thin(PARAMS, SPEC, HALF)


def scripted() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(Small())


def quantized() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.quantized.engine = (
            "fbgemm" if "fbgemm" in torch.backends.quantized.supported_engines else "qnnpack"
        )
        return torch.ao.quantization.quantize_dynamic(Small(), {nn.Linear}, dtype=torch.qint8)


class Uncopied(Small):
    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("cannot be copied: it holds a lock")


NORMED = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
other = torchvision.models.resnet18(weights=None)
nan = {"conv1": torch.full((8,), float("nan"))}

CASES = [
    case(
        "an unknown axis", pt.MaskError, lambda: pt.thin(PARAMS, SPEC, {"conv11": HALF["conv1"]})
    ).says("'conv11'", "did you mean 'conv1'?"),
    case("the role of an unknown axis", pt.SpecError, lambda: pt.role(SPEC, "conv3")).says(
        "'conv3'", "Known: conv"
    ),
    case("an unknown axis asked of the spec", pt.SpecError, lambda: SPEC.axis("conv3")).says(
        "'conv3'", "Known: conv"
    ),
    case(
        "an unknown axis in a sparsity",
        pt.MaskError,
        lambda: pt.select(pt.lp_norm(PARAMS, SPEC), {"fc1": 0.5}),
    ).says("'fc1'", "Known: "),
    case(
        "a mask of wrong length",
        pt.MaskError,
        lambda: pt.mask(PARAMS, SPEC, {"conv1": torch.ones(4) > 0}),
    ).says("'conv1'", "(4,)", "8 units"),
    case(
        "a mask of wrong dtype",
        pt.MaskError,
        lambda: pt.thin(PARAMS, SPEC, {"conv1": torch.ones(8, dtype=torch.long)}),
    ).says("'conv1'", "torch.int64", "mask > 0"),
    case(
        "a mask that is no tensor",
        pt.MaskError,
        lambda: pt.thin(PARAMS, SPEC, {"conv1": [True] * 8}),  # type: ignore[dict-item]
    ).says("'conv1'", "list", "bool tensor"),
    case("masks that are no dict", pt.MaskError, lambda: pt.thin(PARAMS, SPEC, [HALF])).says(  # type: ignore[arg-type]
        "dict", "list"
    ),
    case(
        "all units removed",
        pt.MaskError,
        lambda: pt.thin(PARAMS, SPEC, {"conv2": torch.zeros(6) > 0}),
    ).says("'conv2'", "all 6 units", "keep at least one"),
    case("nan scores", pt.MaskError, lambda: pt.select(nan, 0.5)).says(
        "8 scores", "'conv1'", "nan"
    ),
    case(
        "a sparsity in percent", pt.MaskError, lambda: pt.select(pt.lp_norm(PARAMS, SPEC), 50)
    ).says("50", "from 0 to 1"),
    case("scores of no axis", pt.MaskError, lambda: pt.select(torch.rand(8), 0.5)).says(  # type: ignore[arg-type]
        "not a Tensor", "select({'conv1': scores}, sparsity)"
    ),
    case(
        "activations where stats are expected",
        pt.MaskError,
        lambda: pt.apoz(PARAMS, SPEC, torch.rand(2, 8)),  # type: ignore[arg-type]
    ).says("not Tensor", "stats = pt.measure(model, params, spec, batches)"),
    case(
        "a spec of another model", pt.SpecError, lambda: pt.thin(pt.params_of(other), SPEC, HALF)
    ).says("another model"),
    case("parameters already thinned", pt.SpecError, lambda: pt.thin(THINNED, SPEC, HALF)).says(
        "conv1.weight", "(4, 3, 3, 3)", "conv1 3 3 3", "thinned already", "thin_spec"
    ),
    case(
        "inference on parameters already thinned", pt.SpecError, lambda: pt.infer(MODEL, THINNED, X)
    ).says("conv1.weight", "(4, 3, 3, 3)", "rebuild"),
    case("expanding what is not thinned", pt.SpecError, lambda: pt.expand(PARAMS, SPEC, HALF)).says(
        "conv1.weight", "(8, 3, 3, 3)"
    ),
    case(
        "an unknown parameter",
        pt.SpecError,
        lambda: pt.infer(MODEL, {"conv1.wieght": PARAMS["conv1.weight"]}, X),
    ).says("'conv1.wieght'", "did you mean 'conv1.weight'?"),
    case(
        "parameters without the buffers",
        pt.SpecError,
        lambda: pt.infer(NORMED, dict(NORMED.named_parameters()), X),
    ).says("lack 1.running_mean and 2 more", "params_of(model)"),
    case(
        "an unknown parameter in a layout",
        pt.SpecError,
        lambda: pt.Spec.from_layout({"conv1.wieght": "c 3 3 3"}, PARAMS),
    ).says("'conv1.wieght'", "did you mean 'conv1.weight'?"),
    case(
        "a layout that does not fit",
        pt.SpecError,
        lambda: pt.Spec.from_layout({"conv1.weight": "c 3 3"}, PARAMS),
    ).says("'c 3 3'", "3 dimensions", "(8, 3, 3, 3)"),
    case(
        "a layout of wrong size",
        pt.SpecError,
        lambda: pt.Spec.from_layout({"conv1.weight": "c 4 3 3"}, PARAMS),
    ).says("'4'", "does not make 3"),
    case(
        "a layout that does not parse",
        pt.SpecError,
        lambda: pt.Spec.from_layout({"conv1.weight": "c (3 3 3"}, PARAMS),
    ).says("a ')' is missing", "c (3 3 3", "^"),
    case(
        "rebuilding with an unknown parameter",
        pt.SpecError,
        lambda: pt.rebuild(MODEL, {"w": torch.ones(2)}, {}),
    ).says("w, which the model lacks", "Small"),
    case(
        "rebuilding with the config before the parameters",
        pt.SpecError,
        lambda: pt.rebuild(MODEL, {}, PARAMS),  # type: ignore[arg-type]
    ).says("rebuild(model, params, config)"),
    case("gradients before the spec", pt.SpecError, lambda: pt.taylor(PARAMS, [PARAMS], SPEC)).says(  # type: ignore[arg-type]
        "taylor(params, spec, grads)"
    ),
    case(
        "rebuilding without some of the parameters",
        pt.SpecError,
        lambda: pt.rebuild(
            MODEL, {n: t for n, t in PARAMS.items() if not n.startswith("conv1")}, {}
        ),
    ).says("2 differences", "no conv1.weight", "no conv1.bias"),
    case(
        "rebuilding with another model's config",
        pt.SpecError,
        lambda: pt.rebuild(MODEL, PARAMS, {"layer1": {"a": 1}}),
    ).says("'layer1'", "Small"),
    case(
        "an optimizer state of another shape",
        pt.SpecError,
        lambda: pt.thin_tree({"conv1.weight": {"row": torch.ones(8, 1)}}, SPEC, HALF),
    ).says("conv1.weight.row", "(8, 1)", "(8, 3, 3, 3)"),
    case(
        "an optimizer state by numbers",
        pt.SpecError,
        lambda: pt.thin_tree({"state": {0: {"exp_avg": torch.ones(8, 3, 3, 3)}}}, SPEC, HALF),
    ).says("'state.0.exp_avg'", "key it by name"),
    case("a scripted module", pt.SpecError, lambda: pt.params_of(scripted())).says(
        "scripted", "nn.Module that it was made from"
    ),
    case("a quantized module", pt.SpecError, lambda: pt.params_of(quantized())).says(
        "quantized", "float model"
    ),
    case(
        "a compiled module",
        pt.SpecError,
        lambda: pt.params_of(torch.compile(Small(), backend="eager")),  # type: ignore[arg-type]
    ).says("compiled", "_orig_mod"),
    case("a lazy module", pt.SpecError, lambda: pt.params_of(nn.LazyLinear(4))).says(
        "lazy", "no shape yet"
    ),
    case(
        "a module that cannot be copied",
        pt.SpecError,
        lambda: pt.infer(Uncopied(), pt.params_of(Uncopied()), X),
    ).says("cannot be copied", "lock", "deepcopy"),
    case("no module at all", pt.SpecError, lambda: pt.params_of([1])).says("nn.Module", "list"),  # type: ignore[arg-type]
    case("a spec file that is none", pt.SpecError, lambda: pt.Spec.from_yaml("- 1")).says(
        "Spec.to_yaml"
    ),
    case("a recipe that is missing", pt.RecipeError, lambda: pt.load_recipe("nowhere.yaml")).says(
        "nowhere.yaml", "cannot be read"
    ),
]


@pytest.mark.parametrize(("error", "call", "words"), CASES)
def test_bad_input_is_one_error_that_says_what_to_write(
    error: type[Exception], words: list[str], call: Callable[[], Any]
) -> None:
    before = {n: t.clone() for n, t in PARAMS.items()}
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, pt.PurethinError)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert all(torch.equal(t, before[n]) for n, t in PARAMS.items())


def test_a_mask_may_zero_all_units_though_they_cannot_all_be_taken_out() -> None:
    masked = pt.mask(PARAMS, SPEC, {"conv1": torch.zeros(8) > 0})
    assert not masked["conv1.weight"].any() and PARAMS["conv1.weight"].any()
