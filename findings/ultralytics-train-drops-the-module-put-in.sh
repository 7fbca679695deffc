#!/usr/bin/env bash
# ultralytics 8.4.190: `yolo.model = mine; yolo.train(...)` trains another network, with random weights,
# without a word.
#
# `yolo.val()`, `yolo.predict()` and `yolo.save()` use the module that is put in. `yolo.train()` builds
# the network of the yaml anew; its weights come from the file that was loaded, and where none was (a
# YOLO made from a yaml), it starts from random ones. `yolo.model` is the new network afterwards.
#
# Seen (ultralytics 8.4.190, torch 2.14.1, CPython 3.11, Linux x86_64):
#     after train: the module that was put in: False
#     its first bias is still near 7: False
#     'Transferred' in the log: False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install torch==2.14.1 ultralytics==8.4.190 numpy
cd "$work"
YOLO_CONFIG_DIR="$work" YOLO_OFFLINE=1 CUDA_VISIBLE_DEVICES="" "$work/venv/bin/python" - <<'PY' 2>/dev/null | tail -n 3
import io
import logging
import pathlib
import sys

import numpy as np
from PIL import Image
from ultralytics import YOLO
from ultralytics.utils import LOGGER

here = pathlib.Path("data").resolve()
for part in ("images", "labels"):
    (here / part).mkdir(parents=True)
for i in range(4):
    noise = np.random.default_rng(i).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(here / "images" / f"{i}.png")
    (here / "labels" / f"{i}.txt").write_text("0 0.5 0.5 0.4 0.4")
(here / "data.yaml").write_text(f"path: {here}\ntrain: images\nval: images\nnames: [a, b, c]\n")
log = io.StringIO()
LOGGER.addHandler(logging.StreamHandler(log))
mine, yolo = YOLO("yolov8n.yaml").model, YOLO("yolov8n.yaml")
mine.model[0].bn.bias.data.fill_(7.0)
yolo.model = mine
options = dict(data=str(here / "data.yaml"), imgsz=64, workers=0, plots=False, verbose=False)
yolo.train(epochs=1, batch=4, lr0=0.0, warmup_epochs=0, optimizer="SGD", project=str(here), **options)
bias = yolo.model.model[0].bn.bias.detach().float()
moved = bool(((bias - 7.0).abs() > 1).all())
transferred = "Transferred" in log.getvalue()
print("after train: the module that was put in:", yolo.model is mine)
print("its first bias is still near 7:", not moved)
print("'Transferred' in the log:", transferred)
sys.exit(0 if moved and not transferred and yolo.model is not mine else 1)
PY
