"""README's code runs as it stands and prints what README shows; its table of names is what `infer`
finds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pages import blocks, run
from resnet_cifar import resnet20

import purethin as pt

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("readme")
    names: dict[str, Any] = {"__name__": "readme"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return run(README.partition("## Ten lines")[2], folder, names), names


def test_the_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    public = re.findall(r"import \w+ as (\w+)$", (ROOT / "purethin/__init__.py").read_text(), re.M)
    assert len(public) > 30
    assert [name for name in public if not re.search(rf"\b{name}\b", page)] == []


def test_the_readme_shows_what_its_code_prints(ran: tuple[list[Any], dict[str, Any]]) -> None:
    outputs, _ = ran
    assert len(outputs) == 6
    for output in outputs:
        assert output.shown
        assert output.beginning == output.shown


def test_the_ten_lines_thin_resnet18_to_what_the_masked_one_computes(
    ran: tuple[list[Any], dict[str, Any]],
) -> None:
    _, names = ran
    assert names["report"].relative < 1e-5
    want = names["report"].outputs[0].shape
    with torch.no_grad():
        assert names["small"](names["x"]).shape == want
    elements = sum(p.numel() for p in names["small"].parameters())
    assert elements < sum(p.numel() for p in names["model"].parameters()) / 2


def test_the_loop_in_pure_functions_gives_a_network_that_thinned_computes_the_same(
    ran: tuple[list[Any], dict[str, Any]],
) -> None:
    _, names = ran
    net, pruned, inputs = names["net"], names["pruned"], names["inputs"]
    small = pt.rebuild(net, *pt.thin(pruned, names["names"], names["masks"]))
    with torch.no_grad():
        want = torch.func.functional_call(net, pruned, (inputs,))
        torch.testing.assert_close(small(inputs), want)


def test_the_rows_at_the_top_are_what_infer_finds_in_resnet20() -> None:
    model = resnet20()
    spec = pt.infer(model, pt.params_of(model), torch.zeros(1, 3, 32, 32))
    found = {" ".join(line.split()) for line in str(spec).splitlines()}
    shown = [
        " ".join(line.partition("#")[0].split()) for line in blocks(README, "text")[0].splitlines()
    ]
    assert len(shown) >= 5
    assert set(shown) <= found
