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

CASES: list[tuple[str, type[Exception], list[str], Callable[[], Any]]] = [
    ("an unknown axis", pt.MaskError, ["'conv11'", "did you mean 'conv1'?"],
     lambda: pt.thin(PARAMS, SPEC, {"conv11": HALF["conv1"]})),
    ("an unknown axis asked of the spec", pt.SpecError, ["'conv3'", "Known: conv"], lambda: SPEC.axis("conv3")),
    ("an unknown axis in a sparsity", pt.MaskError, ["'fc1'", "Known: "],
     lambda: pt.select(pt.lp_norm(PARAMS, SPEC), {"fc1": 0.5})),
    ("a mask of wrong length", pt.MaskError, ["'conv1'", "(4,)", "8 units"],
     lambda: pt.mask(PARAMS, SPEC, {"conv1": torch.ones(4) > 0})),
    ("a mask of wrong dtype", pt.MaskError, ["'conv1'", "torch.int64", "mask > 0"],
     lambda: pt.thin(PARAMS, SPEC, {"conv1": torch.ones(8, dtype=torch.long)})),
    ("a mask that is no tensor", pt.MaskError, ["'conv1'", "list", "bool tensor"],
     lambda: pt.thin(PARAMS, SPEC, {"conv1": [True] * 8})),  # type: ignore[dict-item]
    ("masks that are no dict", pt.MaskError, ["dict", "list"], lambda: pt.thin(PARAMS, SPEC, [HALF])),  # type: ignore[arg-type]
    ("all units removed", pt.MaskError, ["'conv2'", "all 6 units", "keep at least one"],
     lambda: pt.thin(PARAMS, SPEC, {"conv2": torch.zeros(6) > 0})),
    ("nan scores", pt.MaskError, ["8 scores", "'conv1'", "nan"], lambda: pt.select(nan, 0.5)),
    ("a sparsity in percent", pt.MaskError, ["50", "from 0 to 1"], lambda: pt.select(pt.lp_norm(PARAMS, SPEC), 50)),
    ("scores of no axis", pt.MaskError, ["not a Tensor", "select({'conv1': scores}, sparsity)"],
     lambda: pt.select(pt.apoz(torch.rand(2, 8)), 0.5)),  # type: ignore[arg-type]
    ("activations without a dim of units", pt.MaskError, ["(8,)", "no dim 1", "-1 for tokens"],
     lambda: pt.apoz(torch.rand(8))),
    ("a spec of another model", pt.SpecError, ["another model"], lambda: pt.thin(pt.params_of(other), SPEC, HALF)),
    ("parameters already thinned", pt.SpecError, ["conv1.weight", "(4, 3, 3, 3)", "conv1 3 3 3", "thinned already", "thin_spec"],
     lambda: pt.thin(THINNED, SPEC, HALF)),
    ("inference on parameters already thinned", pt.SpecError, ["conv1.weight", "(4, 3, 3, 3)", "rebuild"],
     lambda: pt.infer(MODEL, THINNED, X)),
    ("expanding what is not thinned", pt.SpecError, ["conv1.weight", "(8, 3, 3, 3)"], lambda: pt.expand(PARAMS, SPEC, HALF)),
    ("an unknown parameter", pt.SpecError, ["'conv1.wieght'", "did you mean 'conv1.weight'?"],
     lambda: pt.infer(MODEL, {"conv1.wieght": PARAMS["conv1.weight"]}, X)),
    ("parameters without the buffers", pt.SpecError, ["lack 1.running_mean and 2 more", "params_of(model)"],
     lambda: pt.infer(NORMED, dict(NORMED.named_parameters()), X)),
    ("an unknown parameter in a layout", pt.SpecError, ["'conv1.wieght'", "did you mean 'conv1.weight'?"],
     lambda: pt.Spec.from_layout({"conv1.wieght": "c 3 3 3"}, PARAMS)),
    ("a layout that does not fit", pt.SpecError, ["'c 3 3'", "3 dimensions", "(8, 3, 3, 3)"],
     lambda: pt.Spec.from_layout({"conv1.weight": "c 3 3"}, PARAMS)),
    ("a layout of wrong size", pt.SpecError, ["'4'", "does not make 3"],
     lambda: pt.Spec.from_layout({"conv1.weight": "c 4 3 3"}, PARAMS)),
    ("a layout that does not parse", pt.SpecError, ["a ')' is missing", "c (3 3 3", "^"],
     lambda: pt.Spec.from_layout({"conv1.weight": "c (3 3 3"}, PARAMS)),
    ("rebuilding with an unknown parameter", pt.SpecError, ["w, which the model lacks", "Small"], lambda: pt.rebuild(MODEL, {"w": torch.ones(2)}, {})),
    ("rebuilding with the config before the parameters", pt.SpecError, ["rebuild(model, params, config)"],
     lambda: pt.rebuild(MODEL, {}, PARAMS)),  # type: ignore[arg-type]
    ("gradients before the spec", pt.SpecError, ["taylor(params, spec, grads)"],
     lambda: pt.taylor(PARAMS, [PARAMS], SPEC)),  # type: ignore[arg-type]
    ("rebuilding without some of the parameters", pt.SpecError, ["2 differences", "no conv1.weight", "no conv1.bias"],
     lambda: pt.rebuild(MODEL, {n: t for n, t in PARAMS.items() if not n.startswith("conv1")}, {})),
    ("rebuilding with another model's config", pt.SpecError, ["'layer1'", "Small"],
     lambda: pt.rebuild(MODEL, PARAMS, {"layer1": {"a": 1}})),
    ("an optimizer state of another shape", pt.SpecError, ["conv1.weight.row", "(8, 1)", "(8, 3, 3, 3)"],
     lambda: pt.thin_tree({"conv1.weight": {"row": torch.ones(8, 1)}}, SPEC, HALF)),
    ("an optimizer state by numbers", pt.SpecError, ["'state.0.exp_avg'", "key it by name"],
     lambda: pt.thin_tree({"state": {0: {"exp_avg": torch.ones(8, 3, 3, 3)}}}, SPEC, HALF)),
    ("a scripted module", pt.SpecError, ["scripted", "nn.Module that it was made from"], lambda: pt.params_of(scripted())),
    ("a quantized module", pt.SpecError, ["quantized", "float model"], lambda: pt.params_of(quantized())),
    ("a compiled module", pt.SpecError, ["compiled", "_orig_mod"],
     lambda: pt.params_of(torch.compile(Small(), backend="eager"))),  # type: ignore[arg-type]
    ("a lazy module", pt.SpecError, ["lazy", "no shape yet"], lambda: pt.params_of(nn.LazyLinear(4))),
    ("a module that cannot be copied", pt.SpecError, ["cannot be copied", "lock", "deepcopy"],
     lambda: pt.infer(Uncopied(), pt.params_of(Uncopied()), X)),
    ("no module at all", pt.SpecError, ["nn.Module", "list"], lambda: pt.params_of([1])),  # type: ignore[arg-type]
    ("a spec file that is none", pt.SpecError, ["Spec.to_yaml"], lambda: pt.Spec.from_yaml("- 1")),
    ("a recipe that is missing", pt.RecipeError, ["nowhere.yaml", "cannot be read"], lambda: pt.load_recipe("nowhere.yaml")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "words", "call"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
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
