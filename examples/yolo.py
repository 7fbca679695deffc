"""A YOLO of ultralytics the whole way: train → thin → validate → save → load → train → export, with
the number of parameters at each step.

    python examples/yolo.py --model yolov8n

ultralytics rebuilds the dense network from its yaml in `train()`; `trainer_of` keeps the thinned
one. The data are a few drawn squares, discs and bars: what is detected means nothing here.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

import purethin as pt
from purethin.loops.ultralytics import prune_along, trainer_of

NAMES = ("square", "disc", "bar")


def drawn(folder: Path, images: int, size: int) -> Path:
    """A data set of three shapes on noise; the path of its yaml."""
    draw = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for i in range(images):
        noise = draw.integers(0, 80, (size, size, 3), dtype=np.uint8)
        image, rows = Image.fromarray(noise), []
        for kind in range(len(NAMES)):
            w, h = draw.uniform(0.2, 0.4, 2) * (1, 0.3 if kind == 2 else 1)
            x, y = draw.uniform(w / 2, 1 - w / 2), draw.uniform(h / 2, 1 - h / 2)
            box = [float(size * v) for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)]
            shape = ImageDraw.Draw(image)
            fill = (shape.rectangle, shape.ellipse, shape.rectangle)[kind]
            fill(box, fill=("red", "lime", "blue")[kind])
            rows.append(f"{kind} {x:.4f} {y:.4f} {w:.4f} {h:.4f}")
        image.save(folder / "images" / f"{i}.png")
        (folder / "labels" / f"{i}.txt").write_text("\n".join(rows))
    names = "\n".join(f"  {i}: {name}" for i, name in enumerate(NAMES))
    text = f"path: {folder}\ntrain: images\nval: images\nnames:\n{names}\n"
    (folder / "data.yaml").write_text(text)
    return folder / "data.yaml"


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def way(name: str, size: int, sparsity: float, folder: Path) -> list[tuple[str, int]]:
    """Each step and the number of parameters after it."""
    YOLO = importlib.import_module("ultralytics").YOLO
    data = drawn(folder, images=8, size=size)
    running: dict[str, Any] = {"data": data, "imgsz": size, "workers": 0, "plots": False}
    options = {**running, "epochs": 1, "batch": 4, "project": folder, "verbose": False}
    rows = []

    def done(step: str, count: int) -> None:
        rows.append((step, count))
        print(f"{step:<34}{count:>12,}", flush=True)

    yolo = YOLO(f"{name}.yaml")
    yolo.train(**options)
    done("trained dense", parameters(yolo.model))

    model = yolo.model.float()
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.rand(1, 3, size, size), methods=["forward_split"])
    scores = pt.lp_norm(params, spec)
    masks = pt.select({name: scores[name] for name in spec.exact}, sparsity=sparsity)
    report = pt.check(model, params, spec, masks, torch.rand(1, 3, size, size))
    print(report.verdict)
    yolo.model = pt.rebuild(model, *pt.thin(params, spec, masks))
    done("thinned", parameters(yolo.model))

    yolo.val(**running)
    done("validated", parameters(yolo.model))
    yolo.save(folder / "thin.pt")
    yolo = YOLO(folder / "thin.pt")
    done("saved and loaded", parameters(yolo.model))
    yolo.train(trainer=trainer_of(yolo), **options)
    done("trained again", parameters(yolo.model))

    model = yolo.model.float()
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.rand(1, 3, size, size), methods=["forward_split"])
    recipe = pt.load_recipe(pt.recipe_for(spec, sparsity=0.2, begin=0, end=2, frequency=1))
    prune_along(yolo, spec, recipe)
    yolo.train(trainer=trainer_of(yolo), **{**options, "epochs": 3})
    done("pruned by a recipe while training", parameters(yolo.model))

    exported = Path(yolo.export(format="onnx", imgsz=size))
    numbers = importlib.import_module("onnx").load(exported).graph.initializer
    done("ONNX, its initialisers", sum(int(np.prod(n.dims)) for n in numbers))
    YOLO(exported, task="detect").val(**running, batch=1)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="yolov8n")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--sparsity", type=float, default=0.37)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        way(asked.model, asked.size, asked.sparsity, Path(folder))


if __name__ == "__main__":
    main()
