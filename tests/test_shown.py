"""How results show themselves: a few lines as `repr`, all of it by `print`, tables that unfold in a
notebook.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
import torch

import purethin as pt
from purethin.training.progress import closing_table

LAYOUT = {f"layers.{i}.weight": f"a_rather_long_name_of_axis_{i} 3" for i in range(40)}
PARAMS = {name: torch.ones(4, 3) * torch.arange(1, 5).unsqueeze(1) for name in LAYOUT}
SPEC = pt.Spec.from_layout(
    {**LAYOUT, "out.weight": "2 a_rather_long_name_of_axis_0"},
    {**PARAMS, "out.weight": torch.ones(2, 4), "<b>": torch.ones(3)},
    inexact={"a_rather_long_name_of_axis_1": "a mean of <units> & more"},
)
PARAMS = {**PARAMS, "out.weight": torch.ones(2, 4), "<b>": torch.ones(3)}
SCORES = pt.lp_norm(PARAMS, SPEC)
MASKS = pt.select(SCORES, 0.5)


def function(params: Any, x: torch.Tensor) -> torch.Tensor:
    hidden = x @ params["layers.0.weight"].T
    return hidden.relu() @ params["out.weight"].T


def small() -> tuple[dict[str, torch.Tensor], pt.Spec]:
    params = {"layers.0.weight": torch.randn(4, 3), "out.weight": torch.randn(2, 4)}
    return params, pt.infer(function, params, torch.randn(5, 3))


def shown() -> dict[str, Any]:
    recipe = pt.load_recipe(pt.recipe_for(SPEC, sparsity=0.5, begin=0, end=6))
    params, inferred = small()
    masks = {next(iter(inferred.axes)): torch.tensor([True, True, False, True])}
    return {
        "spec": SPEC,
        "recipe": recipe,
        "plan": pt.plan(recipe, PARAMS, SPEC),
        "report": pt.check(function, params, inferred, masks, torch.randn(5, 3)),
        "stats": pt.measure(function, params, inferred, [torch.randn(5, 3)]),
        "worth": pt.worth(SPEC, MASKS),
        "solution": pt.solution(SCORES, SPEC, pt.Options(), {"parameters": 0.5}),
        "profile": pt.sensitivity(lambda p: p["out.weight"].sum(), PARAMS, SPEC, scores=SCORES),
        "cost": pt.cost(SPEC),
    }


RESULTS = shown()


@pytest.mark.parametrize("name", RESULTS)
def test_a_bare_result_is_a_few_short_lines(name: str) -> None:
    lines = repr(RESULTS[name]).splitlines()
    assert len(lines) <= 6
    assert max(map(len, lines)) <= 100
    assert lines[0].lower().startswith(name)


@pytest.mark.parametrize("name", [name for name in RESULTS if name != "cost"])
def test_print_shows_more_than_the_bare_result(name: str) -> None:
    assert len(str(RESULTS[name])) > len(repr(RESULTS[name]))


def test_what_print_shows_of_a_recipe_reads_back_as_an_equal_one() -> None:
    assert pt.Recipe.from_yaml(str(RESULTS["recipe"])) == RESULTS["recipe"]


@pytest.mark.parametrize("name", [n for n in RESULTS if hasattr(RESULTS[n], "_repr_html_")])
def test_a_notebook_gets_well_formed_tables(name: str) -> None:
    page = ElementTree.fromstring(f"<p>{RESULTS[name]._repr_html_().replace(' open>', '>')}</p>")
    assert page.findall(".//tr") or name == "recipe"
    folds = page.findall("details")
    assert all(fold.find("summary") is not None for fold in folds)
    assert folds or name == "profile"


def test_the_tables_of_a_spec_have_every_axis_tensor_and_reason() -> None:
    page = ElementTree.fromstring(f"<p>{SPEC._repr_html_()}</p>")
    cells = {cell.text for cell in page.iter("td")}
    assert {*SPEC.axes, *SPEC.layout} <= cells
    assert "inexact: a mean of <units> & more" in cells
    assert {f.reason for f in SPEC.frozen} <= cells


def of_batch(examples: int) -> dict[str, str]:
    """What is printed of a network whose example is a batch, where it says MACs."""
    params, _ = small()
    spec = pt.infer(function, params, torch.randn(examples, 3))
    recipe = pt.load_recipe(pt.recipe_for(spec, begin=0, end=2))
    cost = pt.cost(spec)
    record = pt.Record(0, 1.0, None, 0.0, cost.parameters, cost.macs, 0.1, 0.1, batch=cost.batch)
    solved = pt.solution(pt.lp_norm(params, spec), spec, pt.Options(), {"macs": 0.5})
    return {
        "plan": str(pt.plan(recipe, params, spec)),
        "worth": str(pt.worth(spec)),
        "solution": str(solved),
        "record": str(record),
        "closing table": closing_table(spec, {}, {}),
        "recipe": pt.recipe_for(spec),
        "recipe with a target": pt.recipe_for(spec, macs=0.5),
        "picture": pt.plot.layers(spec).axes[0].get_title(loc="left"),
    }


def test_macs_of_a_batch_say_so_once_wherever_they_are_printed() -> None:
    texts = of_batch(5)
    assert {name: text.count("for a batch of 5") for name, text in texts.items()} == (
        dict.fromkeys(texts, 1)
    )
    assert not [name for name, text in of_batch(1).items() if "batch" in text]


def test_a_cost_shows_the_batch_that_it_is_of() -> None:
    one, four = pt.Cost(8, 2, 8, 16), pt.Cost(8, 2, 8, 16, batch=4)
    assert repr(one) == "Cost(macs=8, parameters=2, bytes=8, activation_bytes=16)"
    assert repr(four) == "Cost(macs=8, parameters=2, bytes=8, activation_bytes=16, batch=4)"
