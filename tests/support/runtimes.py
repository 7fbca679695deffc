"""The runtimes of docs/deploy.md: each from a network and an input to what is called there.

On one thread, with torch's own settings. The tests ask whether what comes out is what torch gives,
`docs/benchmarks/deploy.py` how long it takes.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

TORCH: Any = torch
INT4 = TORCH.int4  # of which torch's stubs do not know
Call = Callable[[], Tensor]


@dataclass(frozen=True)
class Runtime:
    """How a network goes there.

    Attributes:
        ready: from a network, an input and the network's own folder to what is called.
        packages: what is needed beside torch.
        differs: the most by which a small network may differ from itself in torch.
        compiles: whether C++ is compiled, which takes long.
    """

    ready: Callable[[nn.Module, Tensor, Path], Call]
    packages: tuple[str, ...]
    differs: float
    compiles: bool = False


def package(name: str) -> Any:
    """A package that purethin does not need, imported in silence."""
    with quiet():
        return importlib.import_module(name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings, no log, nothing printed by Python."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def eager(net: nn.Module, x: Tensor, _: Path) -> Call:
    return lambda: net(x)


def exported(net: nn.Module, x: Tensor, _: Path) -> Call:
    program = torch.export.export(net, (x,)).module()
    return lambda: program(x)


def compiled(net: nn.Module, x: Tensor, _: Path) -> Call:
    torch.compiler.reset()  # one code object compiled for many widths would be called dynamic
    call: Any = torch.compile(net, dynamic=False)
    call(x)
    return lambda: call(x)


def aot_inductor(net: nn.Module, x: Tensor, folder: Path) -> Call:
    inductor = package("torch._inductor")
    file = str(folder / "net.pt2")
    inductor.aoti_compile_and_package(torch.export.export(net, (x,)), package_path=file)
    call = inductor.aoti_load_package(file)
    return lambda: call(x)


def onnx_file(net: nn.Module, x: Tensor, folder: Path) -> str:
    """The network's file in its folder, written once."""
    file = folder / "net.onnx"
    if not file.exists():
        program: Any = torch.onnx.export(net, (x,), dynamo=True, verbose=False)
        program.save(str(file))
    return str(file)


def session(file: str, x: Tensor) -> Call:
    ort = package("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    run = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feeds = {run.get_inputs()[0].name: x.numpy()}
    return lambda: torch.from_numpy(run.run(None, feeds)[0])


def onnxruntime(net: nn.Module, x: Tensor, folder: Path) -> Call:
    return session(onnx_file(net, x, folder), x)


def onnxruntime_int8(net: nn.Module, x: Tensor, folder: Path) -> Call:
    """Calibrated by the input itself and some like it."""
    quantization, file = package("onnxruntime.quantization"), onnx_file(net, x, folder)
    name = package("onnxruntime").InferenceSession(file).get_inputs()[0].name
    chance = torch.Generator().manual_seed(0)
    others = [x.view(-1)[torch.randperm(x.numel(), generator=chance)].view_as(x) for _ in range(3)]

    class Calibration(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.feeds = iter([{name: y.numpy()} for y in (*others, x)])

        def get_next(self) -> Any:
            return next(self.feeds, None)

    made = str(folder / "int8.onnx")
    quantization.quantize_static(file, made, Calibration(), per_channel=True)
    return session(made, x)


def openvino(net: nn.Module, x: Tensor, folder: Path) -> Call:
    runtime = package("openvino")
    model = runtime.convert_model(onnx_file(net, x, folder))
    run = runtime.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1})
    return lambda: torch.from_numpy(run(x.numpy())[0])


def executorch(net: nn.Module, x: Tensor, folder: Path) -> Call:
    exir = package("executorch.exir")
    partitioner = package("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    package("executorch.extension.pybindings.portable_lib")._unsafe_reset_threadpool(1)
    edge = exir.to_edge_transform_and_lower(
        torch.export.export(net, (x,)), partitioner=[partitioner.XnnpackPartitioner()]
    )
    file = folder / "net.pte"
    file.write_bytes(edge.to_executorch().buffer)
    program = package("executorch.runtime").Runtime.get().load_program(file)
    method = program.load_method("forward")
    return lambda: method.execute([x])[0]


def torchao(config: Callable[[Any], Any]) -> Callable[[nn.Module, Tensor, Path], Call]:
    """By this config: `quantize_` changes each linear layer of a copy."""

    def ready(net: nn.Module, x: Tensor, _: Path) -> Call:
        quantization, small = package("torchao.quantization"), copy.deepcopy(net)
        quantization.quantize_(small, config(quantization))
        assert quantized(small) == [n for n, m in net.named_modules() if type(m) is nn.Linear]
        return lambda: small(x)

    return ready


def quantized(net: nn.Module) -> list[str]:
    """The linear layers whose weights torchao has quantized."""
    return [
        name
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Linear) and type(layer.weight) is not nn.Parameter
    ]


ONNX = ("onnxscript", "onnxruntime")
RUNTIMES: dict[str, Runtime] = {
    "eager": Runtime(eager, (), 0.0),
    "torch.export": Runtime(exported, (), 0.0),
    "torch.compile": Runtime(compiled, (), 1e-6, compiles=True),
    "AOTInductor": Runtime(aot_inductor, (), 1e-6, compiles=True),
    "onnxruntime": Runtime(onnxruntime, ONNX, 1e-6),
    "onnxruntime int8": Runtime(onnxruntime_int8, ONNX, 2e-2),
    "OpenVINO": Runtime(openvino, ("onnxscript", "openvino"), 1e-6),
    "ExecuTorch": Runtime(executorch, ("executorch",), 1e-6),
    "torchao int8": Runtime(torchao(lambda q: q.Int8WeightOnlyConfig()), ("torchao",), 1e-2),
    "torchao int8 dynamic": Runtime(
        torchao(lambda q: q.Int8DynamicActivationInt8WeightConfig()), ("torchao",), 2e-2
    ),
    "torchao int4 by channel": Runtime(
        torchao(lambda q: q.IntxWeightOnlyConfig(INT4, q.granularity.PerAxis(0))),
        ("torchao",),
        0.3,
    ),
}
