"""Saved networks: what is written comes back, and a damaged file is one error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import purethin as pt


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)
    ).eval()


def test_a_saved_network_comes_back_without_pickle(tmp_path: Path) -> None:
    model, x = small_net(), torch.randn(2, 3, 8, 8)
    params = pt.params_of(model)
    spec = pt.infer(model, params, x)
    thinned, config = pt.thin(params, spec, pt.select(pt.lp_norm(params, spec), sparsity=0.5))
    path = tmp_path / "small.safetensors"
    for _ in range(2):  # the second replaces the first
        pt.save(path, thinned, config)
    again, config_again = pt.load(path)
    assert config_again == config
    assert {n: t.dtype for n, t in again.items()} == {n: t.dtype for n, t in thinned.items()}
    assert all(torch.equal(t, again[n]) for n, t in thinned.items())
    want, got = (
        pt.rebuild(model, thinned, config)(x),
        pt.rebuild(small_net(), again, config_again)(x),
    )
    assert torch.equal(want, got)
    assert [p.name for p in tmp_path.iterdir()] == ["small.safetensors"], (
        "nothing is left beside it"
    )


def test_views_and_tensors_that_require_grad_are_saved_by_value(tmp_path: Path) -> None:
    base = torch.arange(12.0, requires_grad=True)
    params = {"a": base.view(3, 4).T, "b": {"c": base[2:5]}}
    pt.save(tmp_path / "views", params, {})
    again, _ = pt.load(tmp_path / "views")
    assert torch.equal(again["a"], params["a"]) and torch.equal(again["b.c"], base[2:5])


@pytest.mark.parametrize("left", [0, 4, 40, -1])
def test_a_truncated_file_is_one_error(tmp_path: Path, left: int) -> None:
    path = tmp_path / "small.safetensors"
    pt.save(path, {"w": torch.arange(100.0)}, {"": {"width": 3}})
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(
        pt.CheckpointError, match=r"small\.safetensors is damaged or not a safetensors file"
    ):
        pt.load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    pt.save(path, {"w": torch.ones(2)}, {})
    with pytest.raises(TypeError):
        pt.save(path, {"w": torch.zeros(2)}, {"": {"width": object()}})
    assert torch.equal(pt.load(path)[0]["w"], torch.ones(2))
    assert [p.name for p in tmp_path.iterdir()] == ["small.safetensors"]


def test_a_path_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        pt.CheckpointError, match=r"absent\.safetensors cannot be read: No such file"
    ):
        pt.load(tmp_path / "absent.safetensors")
    with pytest.raises(pt.CheckpointError, match="cannot be written: No such file"):
        pt.save(tmp_path / "absent" / "x.safetensors", {"w": torch.ones(1)}, {})


def test_tensors_without_a_config_are_refused(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(pt.CheckpointError, match="has tensors but no purethin config"):
        pt.load(tmp_path / "other.safetensors")


def test_saving_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(pt.CheckpointError, match=r"pip install 'purethin\[export\]'"):
        pt.save(tmp_path / "x", {}, {})
