"""Survey: a thinned network of odd widths in each runtime of docs/deploy.md, beside itself in
torch. `pytest -m survey` runs those whose packages are there, `-m nightly` what compiles C++.
"""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import purethin as pt

TORCH: Any = torch
INT4 = TORCH.int4  # of which torch's stubs do not know
X = torch.linspace(0, 1, 3 * 16 * 16).view(1, 3, 16, 16)


def network() -> nn.Sequential:
    """Two convolutions, a norm and two linear layers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 256),
        nn.ReLU(),
        nn.Linear(256, 4),
    ).eval()


NET = network()
PARAMS = pt.params_of(NET)
SPEC = pt.infer(NET, PARAMS, X)
ODD = {"0.weight": 9, "3.weight": 13, "7.weight": 141}
MASKS = {name: torch.arange(SPEC.sizes[name]) < kept for name, kept in ODD.items()}
SMALL: Any = pt.rebuild(NET, *pt.thin(PARAMS, SPEC, MASKS)).eval()


def package(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(name.partition(".")[0])
        return importlib.import_module(name)


def exported(_: Path) -> Tensor:
    return torch.export.export(SMALL, (X,)).module()(X)


def aot_inductor(folder: Path) -> Tensor:
    program = torch.export.export(SMALL, (X,))
    inductor: Any = importlib.import_module("torch._inductor")
    file = inductor.aoti_compile_and_package(program, package_path=str(folder / "net.pt2"))
    return inductor.aoti_load_package(file)(X)


def compiled(_: Path) -> Tensor:
    return torch.compile(SMALL)(X)


def onnx_file(folder: Path) -> str:
    package("onnxscript")
    file = str(folder / "net.onnx")
    program: Any = torch.onnx.export(SMALL, (X,), dynamo=True, verbose=False)
    program.save(file)
    return file


def session_call(file: str) -> Tensor:
    ort = package("onnxruntime")
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: X.numpy()})[0])


def onnxruntime(folder: Path) -> Tensor:
    package("onnxruntime")
    return session_call(onnx_file(folder))


def onnxruntime_int8(folder: Path) -> Tensor:
    quantization, file = package("onnxruntime.quantization"), onnx_file(folder)

    class Images(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            name = package("onnxruntime").InferenceSession(file).get_inputs()[0].name
            chance = torch.Generator().manual_seed(0)
            images = [torch.rand(X.shape, generator=chance).numpy() for _ in range(8)]
            self.feeds = iter([{name: image} for image in [*images, X.numpy()]])

        def get_next(self) -> Any:
            return next(self.feeds, None)

    made = str(folder / "int8.onnx")
    quantization.quantize_static(file, made, Images(), per_channel=True)
    return session_call(made)


def openvino(folder: Path) -> Tensor:
    runtime = package("openvino")
    model = runtime.compile_model(runtime.convert_model(onnx_file(folder)), "CPU")
    return torch.from_numpy(model(X.numpy())[0])


def executorch(folder: Path) -> Tensor:
    exir = package("executorch.exir")
    partitioner = package("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    runtime = package("executorch.runtime")
    edge = exir.to_edge_transform_and_lower(
        torch.export.export(SMALL, (X,)), partitioner=[partitioner.XnnpackPartitioner()]
    )
    file = folder / "net.pte"
    file.write_bytes(edge.to_executorch().buffer)
    return runtime.Runtime.get().load_program(file).load_method("forward").execute([X])[0]


def torchao(config: Callable[[Any], Any]) -> Callable[[Path], Tensor]:
    def run(_: Path) -> Tensor:
        quantization, net = package("torchao.quantization"), copy.deepcopy(SMALL)
        quantization.quantize_(net, config(quantization))
        assert all(type(net[i].weight) is not nn.Parameter for i in (7, 9))
        return net(X)

    return run


def by_channel(quantization: Any) -> Any:
    return quantization.IntxWeightOnlyConfig(INT4, quantization.granularity.PerAxis(0))


ROWS: dict[str, tuple[Callable[[Path], Tensor], float]] = {
    "torch.export": (exported, 0.0),
    "onnxruntime": (onnxruntime, 1e-6),
    "onnxruntime int8": (onnxruntime_int8, 2e-2),
    "openvino": (openvino, 1e-6),
    "executorch": (executorch, 1e-6),
    "torchao int8": (torchao(lambda q: q.Int8WeightOnlyConfig()), 1e-2),
    "torchao int8 dynamic": (
        torchao(lambda q: q.Int8DynamicActivationInt8WeightConfig()),
        2e-2,
    ),
    "torchao int4 by channel": (torchao(by_channel), 0.3),
}
SLOW = {"torch.compile": (compiled, 1e-6), "aotinductor": (aot_inductor, 1e-6)}


def difference(found: Tensor) -> float:
    want = SMALL(X).detach()
    return float((found.detach() - want).abs().max() / want.abs().max())


def test_a_thinned_network_is_exported() -> None:
    assert difference(exported(Path())) == 0.0


@pytest.mark.survey
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("runtime", ROWS)
def test_a_runtime_computes_what_torch_does(runtime: str, tmp_path: Path) -> None:
    run, most = ROWS[runtime]
    far = difference(run(tmp_path))
    print(f"{runtime}: {far:.1e}")
    assert far <= most


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("runtime", SLOW)
def test_a_compiled_network_computes_what_eager_does(runtime: str, tmp_path: Path) -> None:
    run, most = SLOW[runtime]
    assert difference(run(tmp_path)) <= most


@pytest.mark.survey
@pytest.mark.filterwarnings("ignore")
def test_torchao_takes_widths_rounded_to_its_group_and_leaves_or_refuses_others() -> None:
    quantization = package("torchao.quantization")
    needs = pt.Needs(inputs=32)
    config = quantization.IntxWeightOnlyConfig(INT4, quantization.granularity.PerGroup(32))
    scores = pt.lp_norm(PARAMS, SPEC)
    masks = pt.select(scores, 0.4, round_to=pt.round_for(needs, SPEC), spec=SPEC)
    small: Any = pt.rebuild(NET, *pt.thin(PARAMS, SPEC, masks)).eval()
    assert small[9].weight.shape[1] % 32 == 0
    alone = nn.Sequential(copy.deepcopy(small[9]))
    quantization.quantize_(alone, config)
    assert type(alone[0].weight) is not nn.Parameter
    with pytest.raises(AssertionError, match="divisible by block_size"):
        quantization.quantize_(nn.Sequential(copy.deepcopy(SMALL[9])), config)
    skipped = nn.Sequential(copy.deepcopy(SMALL[9]))
    quantization.quantize_(skipped, quantization.Int4WeightOnlyConfig(group_size=128))
    assert type(skipped[0].weight) is nn.Parameter


@pytest.mark.survey
def test_gguf_takes_rows_of_whole_blocks() -> None:
    quants, constants = package("gguf.quants"), package("gguf.constants")
    kinds = constants.GGMLQuantizationType
    for kind, width, fits in (
        (kinds.Q4_0, 1504, True),
        (kinds.Q4_0, 1503, False),
        (kinds.Q8_0, 1504, True),
        (kinds.Q4_K, 1504, False),
    ):
        rows = torch.rand(2, width).numpy()
        if fits:
            quants.quantize(rows, kind)
        else:
            with pytest.raises(quants.QuantError, match="Can't quantize"):
                quants.quantize(rows, kind)
