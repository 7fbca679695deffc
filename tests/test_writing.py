"""Recipes that are written for a network: they load, and plan to what was meant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_nets import networks
from resnet_cifar import resnet20
from torch import nn
from torchvision import models

import purethin as pt
from purethin import axes as ax
from purethin.recipes.writing import recipe_for
from purethin.selection import count_removed

ROOT = Path(__file__).parents[1]
FRACTIONS = st.sampled_from([0.0, 0.1, 0.29, 0.5, 2 / 3, 1e-5, 1.0])


def inferred(model: nn.Module, *shape: int) -> tuple[dict[str, torch.Tensor], pt.Spec]:
    params = pt.params_of(model.eval())
    return params, pt.infer(model, params, torch.zeros(shape or (1, 3, 64, 64)))


def nameable(spec: pt.Spec, names: Any) -> set[str]:
    """Axes that the first or second dim of some weight carries by itself: worked out anew, without
    the recipes' code.
    """
    found = set()
    for weight, dims in spec.layout.items():
        for expr in dims[:2] if len(dims) > 1 and weight not in spec.buffers else ():
            inside = set(ax.names(expr))
            if len(inside) == 1:
                found |= inside
    return found & set(names)


def by_axis(recipe: pt.Recipe) -> set[str]:
    """The axes that a recipe lists themselves, as no weight names them."""
    return {a for p in recipe.pruners.values() if p.by_axis is not None for a in p.by_axis.axes}


def off(spec: pt.Spec, axis: str, fraction: float) -> int:
    return min(count_removed(fraction, spec.axes[axis].size), spec.axes[axis].size - 1)


@settings(max_examples=60, deadline=None)
@given(networks(), FRACTIONS)
def test_a_random_networks_recipe_plans_to_the_floor_of_each_axis_that_a_weight_carries(
    drawn: Any, fraction: float
) -> None:
    net, (x,) = drawn
    params = pt.params_of(net)
    spec = pt.infer(net, params, x)
    assume(spec.exact)
    text = recipe_for(spec, sparsity=fraction)
    recipe = pt.load_recipe(text)
    masks = pt.plan(recipe, params, spec).masks
    assert nameable(spec, spec.exact).isdisjoint(by_axis(recipe))
    assert set(masks) == set(spec.exact)
    for name in spec.exact:
        assert int((~masks[name]).sum()) == off(spec, name, fraction), f"{name}\n{spec}\n{text}"
    assert pt.load_recipe(recipe.to_yaml()) == recipe


@settings(max_examples=25, deadline=None)
@given(networks(), st.data())
def test_a_table_gives_each_axis_its_own_fraction(drawn: Any, data: st.DataObject) -> None:
    net, (x,) = drawn
    params = pt.params_of(net)
    spec = pt.infer(net, params, x)
    names = sorted(nameable(spec, spec.exact))
    assume(names)
    table = {name: data.draw(FRACTIONS, label=name) for name in names}
    masks = pt.plan(pt.load_recipe(recipe_for(spec, sparsity=table)), params, spec).masks
    assert {name: int((~m).sum()) for name, m in masks.items()} == {
        name: off(spec, name, f) for name, f in table.items()
    }


def _timm(name: str) -> nn.Module:
    return pytest.importorskip("timm").create_model(name)


@pytest.mark.parametrize(
    ("make", "size", "named"),
    [
        (lambda: models.resnet18(), 64, 1.0),
        (lambda: models.shufflenet_v2_x0_5(), 64, 1.0),
        (lambda: models.mobilenet_v3_small(), 64, 1.0),
        (lambda: models.squeezenet1_0(), 64, 1.0),
        (lambda: models.vit_b_16(), 224, 0.2),
        (lambda: _timm("test_byobnet"), 64, 1.0),
        (lambda: _timm("ghostnet_050"), 64, 0.9),
        (lambda: _timm("test_vit"), 160, 0.4),
    ],
    ids=[
        "resnet18",
        "shufflenet",
        "mobilenet_v3",
        "squeezenet",
        "vit",
        "byobnet",
        "ghostnet",
        "timm_vit",
    ],
)
def test_a_models_recipe_plans_to_the_floor_of_its_exact_axes(
    make: Any, size: int, named: float
) -> None:
    params, spec = inferred(make(), 1, 3, size, size)
    recipe = pt.load_recipe(recipe_for(spec, sparsity=0.3, end=4))
    masks = pt.plan(recipe, params, spec).masks
    assert nameable(spec, spec.exact).isdisjoint(by_axis(recipe))
    assert set(masks) == set(spec.exact)
    assert {name: int((~m).sum()) for name, m in masks.items()} == {
        name: off(spec, name, 0.3) for name in masks
    }
    assert len(masks) - len(by_axis(recipe)) >= named * len(spec.exact)


def test_the_recipe_reads_back_as_what_was_asked_for() -> None:
    _, spec = inferred(resnet20(), 1, 3, 32, 32)
    asked = {"layer1.*": 0.25, "layer1.2.conv1": 0.5, "layer3*": 0.6}
    recipe = pt.load_recipe(
        recipe_for(spec, sparsity=asked, initial=0.3, begin=2, end=12, frequency=3)
    )
    meant = {
        "filters_25": (0.25, 0.25, ["layer1.0.conv1.weight", "layer1.1.conv1.weight"]),
        "filters_50": (0.3, 0.5, ["layer1.2.conv1.weight"]),
        "filters_60": (
            0.3,
            0.6,
            [
                "layer3.0.conv1.weight",
                "layer3.0.conv2.weight",
                "layer3.0.downsample.0.weight",
                "layer3.1.conv2.weight",
                "layer3.2.conv2.weight",
                "layer3.1.conv1.weight",
                "layer3.2.conv1.weight",
            ],
        ),
    }
    assert {name: (p.initial, p.final, [*p.weights]) for name, p in recipe.pruners.items()} == meant
    assert [p.group_dependency for p in recipe.pruners.values()] == [None, None, "Auto"]
    assert {p.instance.name: p.epochs for p in recipe.policies} == {
        **dict.fromkeys(meant, (2, 5, 8, 11)),
        "thinner": (12,),
    }
    assert recipe.thins_at(12) and recipe.last_epoch == 12


def test_the_comments_say_the_size_how_many_go_and_which_weights_share_an_axis() -> None:
    _, spec = inferred(resnet20(), 1, 3, 32, 32)
    lines = [line.strip() for line in recipe_for(spec).splitlines()]
    assert (
        "- layer2.1.conv1.weight  # layer2.1.conv1: 32 units, 16 go; shared with layer2.1.conv2"
        in lines
    )
    at = lines.index(
        "# layer3.0.conv2: 64 units, 32 go; shared with layer3.1.conv1, layer3.2.conv1, fc"
    )
    assert lines[at + 1].startswith("#   they meet in add at resnet_cifar.py:")
    assert lines[at + 2 : at + 4] == ["- layer3.0.conv2.weight", "- layer3.0.downsample.0.weight"]


def test_the_costs_at_the_top_are_those_of_the_plan() -> None:
    params, spec = inferred(resnet20(), 1, 3, 32, 32)
    text = recipe_for(spec, axes=["layer1*", "layer3*"], sparsity=0.4)
    after = pt.plan(pt.load_recipe(text), params, spec).after
    assert f"at the end {after.parameters:,}." in text and f"at the end {after.macs:,}." in text


def test_an_axis_that_only_vectors_or_products_carry_is_listed_with_the_reason() -> None:
    shapes = {
        "w": torch.ones(8, 3),
        "qkv": torch.ones(12, 3),
        "out": torch.ones(2, 12),
        "scale": torch.ones(5),
        "v": torch.ones(2, 8),
    }
    layout = {
        "w": "h 3",
        "qkv": "(heads dim) 3",
        "out": "2 (heads dim)",
        "scale": "s",
        "v": "2 h",
        "d": "dim",
    }
    shapes["d"] = torch.ones(4)
    spec = pt.Spec.from_layout(layout, shapes)
    text = recipe_for(spec)
    assert [*pt.plan(pt.load_recipe(text), shapes, spec).masks] == ["h", "heads", "dim", "s"]
    assert "\n      heads: 0.5  # 3 units, 1 go: qkv has it only within '(heads dim)'" in text
    assert '\n      "s": 0.5  # 5 units, 2 go: no matrix or kernel carries it, only scale' in text
    lone = pt.load_recipe(recipe_for(spec, axes="s", parameters=0.95))
    assert by_axis(lone) == {"s"} and "criterion: lp_norm" in lone.to_yaml()


def test_an_axis_that_only_a_concatenation_carries_goes_with_its_neighbours() -> None:
    shapes = {
        "w": torch.ones(10, 3),
        "u": torch.ones(2, 4, 6),
        "a": torch.ones(4),
        "b": torch.ones(6),
    }
    spec = pt.Spec.from_layout({"w": "(a + b) 3", "u": "2 a b", "a": "a", "b": "b"}, shapes)
    text = recipe_for(spec)
    masks = pt.plan(pt.load_recipe(text), shapes, spec).masks
    assert {name: int((~m).sum()) for name, m in masks.items()} == {"a": 2, "b": 3}
    # no pruner can take other fractions from one weight's parts
    apart = recipe_for(spec, sparsity={"a": 0.25, "b": 0.5})
    masks = pt.plan(pt.load_recipe(apart), shapes, spec).masks
    assert {name: int((~m).sum()) for name, m in masks.items()} == {"a": 1, "b": 3}
    assert '\n      "b": 0.5  # 6 units, 3 go: ' in apart


def test_names_that_yaml_would_read_otherwise_are_quoted() -> None:
    names = [
        "yes",
        "1e-4",
        "a: b",
        "0",
        "- x",
        "null",
        "#w",
        "é",
        "'",
        '"',
        "0.weight",
        "12.5",
        "line\nbreak",
        "0x1F",
        "1_000.0",
    ]
    params = {**{name: torch.ones(4, 3) for name in names}, "out": torch.ones(2, 4 * len(names))}
    spec = pt.Spec.from_layout({**{n: f"h{i} 3" for i, n in enumerate(names)}}, params)
    recipe = pt.load_recipe(recipe_for(spec))
    assert [*recipe.pruners["filters_50"].weights] == names
    assert len(pt.plan(recipe, params, spec).masks) == len(names)


def test_an_inexact_axis_is_pruned_only_where_it_is_named_outright() -> None:
    params = {"a.w": torch.ones(8, 3), "b.w": torch.ones(4, 8)}
    spec = pt.Spec.from_layout(
        {"a.w": "a 3", "b.w": "b a"}, params, inexact={"a": "a mean at net.py:3"}
    )
    assert list(pt.plan(pt.load_recipe(recipe_for(spec)), params, spec).masks) == ["b"]
    text = recipe_for(spec, axes="a")
    assert "INEXACT: a mean at net.py:3" in text
    assert list(pt.plan(pt.load_recipe(text), params, spec).masks) == ["a"]
    with pytest.raises(
        pt.SpecError, match=r"'\[a\]' matches no exact axis, only such as 'a' \(inexact: a mean"
    ):
        recipe_for(spec, axes="[a]")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"axes": "layr1.*"}, pt.SpecError, r"'layr1.\*' matches no axis; .*layer1"),
        ({"axes": ["layer1.*", "nothing"]}, pt.SpecError, "'nothing' matches no axis"),
        (
            {"sparsity": {"layer1.0.conv": 0.5}},
            pt.MaskError,
            "'layer1.0.conv' matches no axis; did you mean 'layer1.0.conv1'",
        ),
        (
            {"sparsity": {"layer2*": 0.5}, "axes": "layer1*"},
            pt.MaskError,
            "'layer2\\*', which `axes` leaves out",
        ),
        ({"sparsity": 1.5}, pt.MaskError, "sparsity is 1.5: give the fraction"),
        ({"sparsity": {"layer1*": -0.1}}, pt.MaskError, "sparsity of 'layer1\\*' is -0.1"),
        ({"sparsity": float("nan")}, pt.MaskError, "sparsity is nan"),
        ({"sparsity": True}, pt.MaskError, "sparsity is True"),
        ({"sparsity": "half"}, pt.MaskError, "sparsity is 'half'"),
        ({"initial": 2}, pt.MaskError, "initial is 2"),
        ({"begin": 5, "end": 5}, pt.RecipeError, "no epoch is scheduled from 5 to 5"),
        ({"frequency": 0}, pt.RecipeError, "every 0"),
        ({"begin": -1}, pt.RecipeError, "from -1"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    _, spec = inferred(resnet20(), 1, 3, 32, 32)
    with pytest.raises(error, match=message):
        recipe_for(spec, **options)


def test_every_process_writes_the_same_text() -> None:
    code = (
        "import torch, purethin as pt; from resnet_cifar import resnet20; from "
        "purethin.recipes.writing import recipe_for\n"
        "m = resnet20(); print(recipe_for(pt.infer(m, pt.params_of(m), torch.zeros(1, 3, 32, 32)), "
        "sparsity={'*1': .3, '*': .5}))"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "examples")])
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
