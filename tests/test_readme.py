"""README's numbers are those of the tables that it links; its code is run by test_guides.py."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from pages import blocks
from resnet_cifar import resnet20

import purethin as pt

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def claim(pattern: str) -> list[float]:
    """The numbers of one of the three claims at the top."""
    found = re.search(pattern, README.partition("## Two commands")[0])
    assert found
    return [float(number) for number in found.groups()]


def test_the_families_that_run_are_those_of_the_page_on_the_peer() -> None:
    runs, models, peer = claim(r"\*\*(\d+) of (\d+)\*\* model families of timm .* (\d+) do")
    row = re.search(r"^\| timm \| (\d+) \| \d+ \| \d+ \| (\d+) \| (\d+) \|", page("peer"), re.M)
    assert row and [float(n) for n in row.groups()] == [models, peer, runs]


def test_the_seconds_are_those_of_the_page_on_the_peer() -> None:
    ours, peer = claim(r"\*\*([\d.]+) s\*\* prunes densenet201\. Torch-Pruning takes (\d+) s")
    row = re.search(r"^\| densenet201 \| \d+ \|(.+)\|$", page("peer"), re.MULTILINE)
    assert row
    infer, thinned, built, pruned = (float(n.replace(",", "")) for n in row[1].split("|"))
    assert round((infer + thinned) / 1000, 1) == ours
    assert round((built + pruned) / 1000) == peer


def test_the_networks_that_compute_the_same_are_the_rows_of_the_surveys() -> None:
    equal, networks = claim(r"\*\*(\d+) of (\d+)\*\* networks compute, thinned")
    surveys = ("torchvision", "timm", "transformers", "libraries")
    texts = [page(f"survey-{name}").splitlines() for name in surveys]
    rows = [re.search(r" \| (\de[-+]\d+) \| ", line) for text in texts for line in text]
    differences = [float(row[1]) for row in rows if row]
    assert len(differences) == networks
    assert sum(difference < 1e-5 for difference in differences) == equal


def test_the_rows_of_names_are_what_infer_finds_in_resnet20() -> None:
    model = resnet20()
    spec = pt.infer(model, pt.params_of(model), torch.zeros(1, 3, 32, 32))
    found = {" ".join(line.split()) for line in str(spec).splitlines()}
    text = next(body for body in blocks(README, "text") if "layer2.0.conv2.weight" in body)
    shown = [" ".join(line.partition("#")[0].split()) for line in text.splitlines()]
    assert len(shown) >= 5
    assert set(shown) <= found
