#!/usr/bin/env bash
# torchao 0.18.0: int4 weight-only leaves a linear layer in float32, without a word, where in_features is
# not a multiple of the group.
#
# `quantize_(model, Int4WeightOnlyConfig(group_size=128))` returns such a weight as it is, and only
# `logger.info` says so, which Python does not show by default. The other configs of the same library
# raise for it (`IntxWeightOnlyConfig` by groups) or quantize it (int8).
#
# Seen (torchao 0.18.0, torch 2.14.1, CPython 3.11, Linux x86_64):
#     int4, group 128, of 140 inputs: Parameter torch.float32, 0 warnings
#     intx int4, group 128, of 140 inputs: AssertionError
#     int8, of 140 inputs: Int8Tensor
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install torch==2.14.1 torchao==0.18.0 numpy
"$work/venv/bin/python" - <<'PY' 2>/dev/null
import sys
import warnings

import torch
from torch import nn
from torchao.quantization import (
    Int4WeightOnlyConfig,
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    quantize_,
)
from torchao.quantization.granularity import PerGroup


def after(config):
    net = nn.Sequential(nn.Linear(140, 64))
    try:
        quantize_(net, config)
    except Exception as error:
        return type(error).__name__
    return type(net[0].weight).__name__, net[0].weight.dtype


with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    four = after(Int4WeightOnlyConfig(group_size=128))
print("int4, group 128, of 140 inputs:", *four, f"{len(caught)} warnings", sep=" ")
intx = after(IntxWeightOnlyConfig(torch.int4, PerGroup(128)))
print("intx int4, group 128, of 140 inputs:", intx)
eight = after(Int8WeightOnlyConfig())
print("int8, of 140 inputs:", eight[0])
same = four == ("Parameter", torch.float32) and not caught and intx == "AssertionError"
sys.exit(0 if same and eight[0] == "Int8Tensor" else 1)
PY
