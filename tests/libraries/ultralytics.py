"""ultralytics: YOLO and RT-DETR. Each has run a forward before it is inferred: its head keeps the
shape of its input.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from libraries import Call, Lazy, Models, Row, row, x

tasks = Lazy("ultralytics.nn.tasks")


def first(y: Any) -> Any:
    return y[0] if isinstance(y, (tuple, list)) else y


def yolo(name: str, kind: str = "DetectionModel", size: int = 64) -> Row:
    """A YOLO of its smallest scale, that has seen an image."""
    model = getattr(tasks, kind)(f"{name}.yaml", nc=3, verbose=False).eval().double()
    image = x(1, 3, size, size, low=0.0)
    with torch.no_grad():
        model(image.double())
    return row(Call(model, "forward", first), image)


MODELS: Models = {
    "yolov8n": partial(yolo, "yolov8n"),
    "yolov8n-seg": partial(yolo, "yolov8n-seg", "SegmentationModel"),
    "yolov8n-pose": partial(yolo, "yolov8n-pose", "PoseModel"),
    "yolov8n-obb": partial(yolo, "yolov8n-obb", "OBBModel"),
    "yolov8n-cls": partial(yolo, "yolov8n-cls", "ClassificationModel"),
    "yolov8n-ghost": partial(yolo, "yolov8n-ghost"),
    "yolov5n": partial(yolo, "yolov5n"),
    "yolov10n": partial(yolo, "yolov10n"),
    "yolo11n": partial(yolo, "yolo11n"),
}
