#!/usr/bin/env bash
# torchvision 0.29.1: a RegNet cannot be built on the meta device; its other classifiers can.
#
# `with torch.device("meta")` is the way to have a network's shapes without its memory. RegNet's
# constructor computes its block widths with tensors and reads them back by `.tolist()`; on the meta
# device these tensors hold no numbers. ResNets, ConvNeXts, EfficientNets, ViTs and Swins compute
# theirs with Python's numbers. Building on the CPU first, then `.to("meta")`, works.
#
# Seen (torchvision 0.29.1, torch 2.14.1, CPython 3.11, Linux x86_64):
#     built on meta: 65 of 80
#     not: regnet_x_16gf ... regnet_y_8gf: all 15 RegNets, NotImplementedError
#     regnet_y_400mf, built first, then to meta: 4344144 parameters
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install torch==2.14.1 torchvision==0.29.1 numpy
"$work/venv/bin/python" - <<'PY'
import sys
import warnings

import torch
from torchvision import models

warnings.simplefilter("ignore")
names = models.list_models(module=models)
failed = {}
for name in names:
    try:
        with torch.device("meta"):
            models.get_model(name, weights=None)
    except Exception as error:
        failed[name] = type(error).__name__
print(f"built on meta: {len(names) - len(failed)} of {len(names)}")
regnets = [name for name in names if name.startswith("regnet")]
kinds = sorted(set(failed.values()))
both = "all" if [*failed] == regnets else "not exactly the"
print(f"not: {[*failed][0]} ... {[*failed][-1]}: {both} {len(regnets)} RegNets, {', '.join(kinds)}")
later = models.regnet_y_400mf(weights=None).to("meta")
count = sum(p.numel() for p in later.parameters())
print(f"regnet_y_400mf, built first, then to meta: {count} parameters")
sys.exit(0 if [*failed] == regnets and kinds == ["NotImplementedError"] and count == 4344144 else 1)
PY
