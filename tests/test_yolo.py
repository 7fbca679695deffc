"""ultralytics keeps the module that it is given: widths stay at every step."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import purethin as pt
from purethin.loops.ultralytics import trainer_of


class Base:
    """Stands for ultralytics's trainer of a task."""

    world_size = 0
    data = SimpleNamespace()


def yolo(classes: int = 3) -> Any:
    model = nn.Linear(2, 2).half().requires_grad_(False)
    model.nc = classes  # type: ignore[assignment]
    return SimpleNamespace(model=model, _smart_load=lambda _: Base)


def test_the_module_that_is_held_is_trained_or_the_one_that_was_loaded() -> None:
    held, loaded = yolo(), yolo().model
    trainer: Any = trainer_of(held)()
    trainer.data = {"nc": 3}
    for given, want in ((None, held.model), (loaded, loaded)):
        got = trainer.get_model(cfg="yolov8n.yaml", weights=given)
        assert got is want
        assert got.weight.dtype == torch.float32 and got.weight.requires_grad


@pytest.mark.parametrize(("classes", "devices"), [(80, 0), (3, 2)])
def test_other_classes_and_several_devices_are_refused(classes: int, devices: int) -> None:
    trainer: Any = trainer_of(yolo(classes))()
    trainer.data, trainer.world_size = {"nc": 3}, devices
    with pytest.raises(pt.SpecError, match=r"80 classes, the data 3|on one device"):
        trainer.get_model()


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["yolov8n", "yolo11n"])
def test_widths_stay_at_every_step_of_the_way(name: str, tmp_path: Path) -> None:
    for package in ("ultralytics", "onnx", "onnxruntime"):
        pytest.importorskip(package)
    way = importlib.import_module("yolo").way(name, 64, 0.37, tmp_path)
    counts = dict(way)
    thinned = counts["thinned"]
    assert thinned < 0.5 * counts["trained dense"]
    assert {counts[step] for step in ("validated", "saved and loaded", "trained again")} == {
        thinned
    }
    assert counts["pruned by a recipe while training"] < 0.75 * thinned
    assert counts["ONNX, its initialisers"] <= counts["pruned by a recipe while training"]
