"""Arguments of another type: each public function answers with an error of ours that says what to
write.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import purethin as pt
from purethin.arguments import explained, fits, hints_of

MODEL = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
X, Y = torch.rand(5, 4), torch.arange(5) % 3
PARAMS = pt.params_of(MODEL)
SPEC = pt.infer(MODEL, PARAMS, X)
SCORES = pt.lp_norm(PARAMS, SPEC)
MASKS = pt.select(SCORES, 0.5)
THINNED, CONFIG = pt.thin(PARAMS, SPEC, MASKS)
RECIPE = pt.load_recipe(pt.recipe_for(SPEC, begin=0, end=2, frequency=1))


def loss(outputs: Tensor, batch: Any) -> Tensor:
    return F.cross_entropy(outputs, batch[1])


STATS = pt.measure(MODEL, PARAMS, SPEC, [X], loss=lambda outputs, _: F.cross_entropy(outputs, Y))
GRADS = [{name: torch.ones_like(p) for name, p in PARAMS.items()}]
UPDATE = pt.Update(loss)
STATE = pt.begin(SPEC, RECIPE)
sgd = lambda params: torch.optim.SGD(params, lr=0.1)  # noqa: E731
TRAINER = pt.Trainer(MODEL, SPEC, RECIPE, sgd, UPDATE, callbacks=())
USUAL: dict[str, Any] = {
    "model": MODEL,
    "params": PARAMS,
    "spec": SPEC,
    "scores": SCORES,
    "masks": MASKS,
    "recipe": RECIPE,
    "batches": [(X, Y)],
    "config": CONFIG,
    "grads": GRADS,
    "stats": STATS,
    "loss": loss,
    "state": STATE,
    "update": UPDATE,
    "optimizer": sgd,
    "loader": [(X, Y)],
    "epochs": 1,
    "epoch": 0,
}
FOLDER = Path(tempfile.mkdtemp())
OWN: dict[str, dict[str, Any]] = {
    "select": {"sparsity": 0.5},
    "infer": {"args": X},
    "check": {"args": X},
    "check_dense": {"args": X},
    "expand": {"thinned": THINNED},
    "thin_tree": {"tree": PARAMS},
    "find": {"wanted": "0"},
    "role": {"name": "0"},
    "load_recipe": {"source": "recipe.yaml"},
    "load": {"path": FOLDER / "none.safetensors"},
    "save": {"path": FOLDER / "one.safetensors", "config": CONFIG},
    "json_lines": {"path": FOLDER / "log.jsonl"},
    "round_for": {"runtime": "onnxruntime"},
    "subsets": {"k": 1},
    "sensitivity": {"evaluate": lambda p: p["0.weight"].sum(), "sparsities": (0.5,)},
    "criteria.obd": {"diagonal": PARAMS},
}
WRONG: list[Any] = [object(), "half", 2.5, [object()], nn.Linear, {nn.Linear: 0.5}, (1, 4)]
"""What people give by mistake: objects, texts for numbers, classes as keys, shapes for inputs."""


def functions() -> dict[str, Callable[..., Any]]:
    """The public functions that explain their arguments."""
    found = {n: getattr(pt, n) for n in dir(pt)} | {
        f"criteria.{n}": getattr(pt.criteria, n) for n in dir(pt.criteria)
    }
    own = {n: f for n, f in found.items() if inspect.isfunction(f) and hasattr(f, "__wrapped__")}
    return own | {"Trainer": pt.Trainer.__init__, "fit": pt.Trainer.fit}


def usual(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    """Arguments with which a call works; nothing where more than the usual is needed."""
    known = USUAL | OWN.get(name, {})
    parameters = inspect.signature(function).parameters.values()
    left = [p for p in parameters if p.kind is not p.VAR_KEYWORD and p.name != "self"]
    need = [p.name for p in left if p.default is p.empty]
    return {n: known[n] for n in need} if all(n in known for n in need) else {}


def called(name: str, function: Callable[..., Any], given: dict[str, Any]) -> Any:
    """The call; positional ones first."""
    order = [p for p in inspect.signature(function).parameters.values() if p.name in given]
    before = [given[p.name] for p in order if p.kind is not p.KEYWORD_ONLY]
    after = {p.name: given[p.name] for p in order if p.kind is p.KEYWORD_ONLY}
    if name == "Trainer":
        return pt.Trainer(*before, **after)
    return function(TRAINER, *before, **after) if name == "fit" else function(*before, **after)


NAMES = [name for name, function in functions().items() if usual(name, function)]


def test_nearly_all_public_functions_are_in_the_table() -> None:
    missing = functions().keys() - {*NAMES}
    assert len(NAMES) >= 60
    assert missing <= {
        *("latency_table", "solution", "sync_config", "criteria.sampled_labels"),
        *("progress", "tensorboard", "ddp", "fully_sharded"),
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_an_argument_of_another_type_is_an_error_of_ours(name: str) -> None:
    function = functions()[name]
    given = usual(name, function)
    tried = 0
    for argument, hint in hints_of(function).items():
        for wrong in WRONG:
            if argument == "self" or fits(wrong, hint):
                continue
            tried += 1
            with pytest.raises(pt.PurethinError) as raised:
                called(name, function, {**given, argument: wrong})
            assert len(str(raised.value)) > 20, argument
    assert tried


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x).relu())


def fitted(data: list[Any], loss_fn: Any, **options: Any) -> Any:
    model = Named()
    spec = pt.infer(model, pt.params_of(model), X)
    recipe = pt.load_recipe("policies: []\n")
    return pt.Trainer(model, spec, recipe, sgd, pt.Update(loss_fn, **options), callbacks=()).fit(
        data, 1
    )


ANY: Any = pt  # type checkers see these slips
made = torch.optim.SGD(MODEL.parameters())
SLIPS: dict[str, tuple[Callable[[], Any], str]] = {
    "a path for a recipe": (
        lambda: ANY.Trainer(MODEL, SPEC, "recipe.yaml", sgd, UPDATE),
        r"recipe is str; give what pt\.load_recipe",
    ),
    "no recipe": (
        lambda: ANY.Trainer(MODEL, SPEC, None, sgd, UPDATE),
        r"recipe is NoneType; give what pt\.load_recipe",
    ),
    "an optimizer for a factory": (
        lambda: ANY.Trainer(MODEL, SPEC, RECIPE, made, UPDATE),
        "optimizer is SGD; give a function of the parameters, lambda params:",
    ),
    "a loss module for loss_fn": (
        lambda: fitted([(X, Y)], nn.CrossEntropyLoss()),
        r"loss_fn is CrossEntropyLoss, .*lambda outputs, batch: loss\(outputs, batch\[1\]\)",
    ),
    "batches as dicts with labels": (
        lambda: fitted([{"x": X, "y": Y}], lambda out, b: F.cross_entropy(out, b["y"])),
        r"takes x, and a batch has x, y: give pt\.Update\(loss_fn, inputs_of=lambda batch:",
    ),
    "batches as dicts with names of their own": (
        lambda: fitted([{"image": X, "y": Y}], lambda out, b: F.cross_entropy(out, b["y"])),
        r"a batch has image, y: give pt\.Update\(.*inputs_of=lambda batch: batch\['image'\]\)",
    ),
    "a text for a number": (
        lambda: ANY.select(SCORES, "0.5"),
        r"sparsity is '0\.5', a str: give a number",
    ),
    "a fraction for a count": (
        lambda: ANY.select(SCORES, 0.5, min_keep=0.1),
        r"min_keep is 0\.1, a float: give a whole number",
    ),
    "classes as keys": (
        lambda: ANY.select(SCORES, {nn.Conv2d: 0.5}),
        "sparsity is a dict of <class .*Conv2d'> to float: give a number or a dict {str: float}",
    ),
    "swapped arguments": (
        lambda: ANY.rebuild(MODEL, CONFIG, THINNED),
        r"write rebuild\(model, params, config\)",
    ),
    "one gradient for a list": (lambda: ANY.taylor(PARAMS, SPEC, GRADS[0]), r"\[grads\]"),
    "a shape for an input": (
        lambda: ANY.infer(MODEL, PARAMS, (5, 4)),
        r"is \(5, 4\), a shape it seems: .*give torch\.rand\(5, 4\)",
    ),
    "a module for its parameters": (lambda: ANY.infer(MODEL, MODEL, X), "as params_of gives"),
    "a tensor for batches": (
        lambda: ANY.measure(MODEL, PARAMS, SPEC, torch.rand(5, 3)),
        "batches is a Tensor: give a list or a DataLoader",
    ),
    "a text for a spec": (
        lambda: ANY.recipe_for("spec"),
        r"spec is 'spec', a str: give what pt\.infer",
    ),
    "parameters and spec swapped": (
        lambda: ANY.lp_norm(SPEC, PARAMS),
        r"a Spec is expected, not dict: write lp_norm\(params, spec",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_common_slip_is_answered_with_what_to_write(slip: str) -> None:
    call, said = SLIPS[slip]
    with pytest.raises(pt.PurethinError, match=said):
        call()


def test_what_works_and_what_the_users_own_code_raises_goes_through() -> None:
    @explained
    def ratio(rate: float, by: Callable[[float], float]) -> float:
        return by(rate)

    def own(rate: float) -> float:
        raise KeyError(rate)

    assert ratio(torch.tensor(0.5), lambda rate: float(rate) + 1) == 1.5  # pyright: ignore
    with pytest.raises(KeyError):
        ratio(0.5, own)
    with pytest.raises(
        pt.OptionError, match=r"by is 3, a int: give a function, as in .*ratio\(rate"
    ):
        ratio(0.5, 3)  # pyright: ignore
