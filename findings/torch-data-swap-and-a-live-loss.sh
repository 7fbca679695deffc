#!/usr/bin/env bash
# torch 2.14.1: after `p.data = smaller`, the next backward fails if the last loss is still alive.
#
# A parameter may be given data of another shape (`p.grad = None; p.data = smaller`), and training goes
# on. But a tensor's gradient accumulator knows the shape that the tensor had, and lives as long as any
# graph does that uses it. So whether the next backward works depends on a variable of the *last*
# step: with `loss` still bound it fails, after `del loss` the same code works. The assignment looks at
# the dtype and the device and lets go of the accumulator where those change, not where the shape
# does: data that goes by way of another dtype (`p.data = p.data.double(); p.data = smaller`) works
# with the loss alive.
#
# Seen (torch 2.14.1, CPython 3.11, Linux x86_64):
#     loss deleted:             works
#     loss alive:               RuntimeError: Function TBackward0 returned an invalid gradient at index 0 - got [2, 3] but expected shape compatible with [4, 3]
#     by way of another dtype:  works
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install torch==2.14.1 numpy
"$work/venv/bin/python" - <<'PY'
import sys

import torch
from torch import nn


def narrowed(alive, by_dtype=False):
    layer, x = nn.Linear(3, 4, bias=False), torch.ones(2, 3)
    loss = layer(x).sum()
    loss.backward()
    if not alive:
        del loss
    smaller = layer.weight.data[:2].clone()
    layer.weight.grad = None
    if by_dtype:
        layer.weight.data = layer.weight.data.double()
    layer.weight.data = smaller
    try:
        layer(x).sum().backward()
    except RuntimeError as error:
        return f"RuntimeError: {error}"
    return "works" if layer.weight.grad.shape == (2, 3) else "another shape"


seen = [narrowed(alive=False), narrowed(alive=True), narrowed(alive=True, by_dtype=True)]
for name, what in zip(("loss deleted", "loss alive", "by way of another dtype"), seen):
    print(f"{name + ':':26}{what}")
sys.exit(0 if seen[0] == seen[2] == "works" and "invalid gradient" in seen[1] else 1)
PY
