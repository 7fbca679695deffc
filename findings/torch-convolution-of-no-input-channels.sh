#!/usr/bin/env bash
# torch 2.14.1: a convolution of no input channels gives no output channels, whatever its weight and
# bias say.
#
# A sum over nothing is zero, so each output channel should be its bias. `linear` and `bmm` do that:
# an input of no features and a weight of 4 rows give 4 outputs, the bias. `conv1d`, `conv2d` and
# `conv3d` take a weight of 4 filters with no channels, and return a tensor of 0 channels: no error,
# no bias. A sum with a tensor of one channel then broadcasts to nothing.
#
# Seen (torch 2.14.1, CPython 3.11, Linux x86_64):
#     linear of no features:  (2, 4), all equal to the bias: True
#     conv1d of no channels:  (2, 0, 6)
#     conv2d of no channels:  (2, 0, 6, 6)
#     conv2d + one channel:   (2, 0, 6, 6)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install torch==2.14.1 numpy
"$work/venv/bin/python" - <<'PY'
import sys

import torch
import torch.nn.functional as F

bias = torch.arange(4.0)
flat = F.linear(torch.zeros(2, 0), torch.zeros(4, 0), bias)
right = bool((flat == bias).all())
print(f"linear of no features:  {tuple(flat.shape)}, all equal to the bias: {right}")
line = F.conv1d(torch.zeros(2, 0, 8), torch.zeros(4, 0, 3), bias)
print("conv1d of no channels: ", tuple(line.shape))
image = F.conv2d(torch.zeros(2, 0, 8, 8), torch.zeros(4, 0, 3, 3), bias)
print("conv2d of no channels: ", tuple(image.shape))
mixed = image + torch.ones(2, 1, 6, 6)
print("conv2d + one channel:  ", tuple(mixed.shape))
seen = (tuple(flat.shape), right, tuple(line.shape), tuple(image.shape), tuple(mixed.shape))
sys.exit(0 if seen == ((2, 4), True, (2, 0, 6), (2, 0, 6, 6), (2, 0, 6, 6)) else 1)
PY
