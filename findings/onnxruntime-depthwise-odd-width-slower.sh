#!/usr/bin/env bash
# onnxruntime 1.32.0, CPU: a depthwise convolution of 95 channels takes much longer than one of 96.
#
# With its default optimizations onnxruntime keeps float32 convolutions in a blocked layout (NCHWc) where
# the channels fill the blocks. A depthwise convolution whose channels do not stays in the plain layout,
# without a word, and its kernel there is many times slower: removing one channel of 96 makes the network
# slower than it was; 92 channels fit again. A pruned MobileNet loses its speed so.
#
# Seen (onnxruntime 1.32.0, CPython 3.11, Linux x86_64 with AVX2, one thread; least of 15 rounds):
#     96 channels: 1.00 of the time of 96
#     95 channels: 1.89 of the time of 96
#     92 channels: 1.09 of the time of 96
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import sys
import time

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)


def session(channels):
    """Four depthwise convolutions of 3 × 3 with a pointwise one after each, at 28 × 28."""
    nodes, weights, last = [], [], "x"
    for i in range(4):
        for kind, shape, groups in (("d", (channels, 1, 3, 3), channels), ("p", (channels, channels, 1, 1), 1)):
            name, pad = f"{kind}{i}", 1 if kind == "d" else 0
            weight = rng.standard_normal(shape).astype(np.float32) / 10
            weights.append(numpy_helper.from_array(weight, f"w{name}"))
            nodes.append(helper.make_node("Conv", [last, f"w{name}"], [name], group=groups, pads=[pad] * 4))
            last = name
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 28, 28])
    graph = helper.make_graph(nodes, "net", [value("x")], [value(last)], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    made = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x = rng.standard_normal((1, channels, 28, 28)).astype(np.float32)
    return lambda: made.run(None, {"x": x})


runs = {n: session(n) for n in (96, 95, 92)}
least = dict.fromkeys(runs, float("inf"))
for _ in range(15):
    for n, run in runs.items():
        start = time.process_time()
        for _ in range(10):
            run()
        least[n] = min(least[n], time.process_time() - start)
for n, seconds in least.items():
    print(f"{n} channels: {seconds / least[96]:.2f} of the time of 96")
sys.exit(0 if least[95] > 1.25 * least[96] and least[92] < 0.8 * least[95] else 1)
PY
