"""What is called and timed: a module as it is, compiled, or exported and run by onnxruntime.

Each is made ready at its first call, for the inputs of that call.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from purethin.errors import SpecError, nearest

Backend = Literal["eager", "compiled", "onnxruntime"]
Ready = Callable[[nn.Module], Callable[..., object]]
"""From a module to what is called and timed."""


def ready_of(backend: str) -> Ready:
    """What makes a module ready for a backend.

    Raises:
        SpecError: no such backend.
    """
    if backend not in BACKENDS:
        raise SpecError(
            f"no backend is called '{backend}'; {nearest(backend, BACKENDS)}. For another give a "
            "function from a module to what is called"
        )
    return BACKENDS[backend]


def clock() -> Callable[[], float]:
    """Processor time where one thread of the processor works, so that other jobs of the machine do
    not count; the time on the wall elsewhere.
    """
    alone = torch.get_num_threads() == 1 and not torch.cuda.is_available()
    return time.process_time if alone else time.perf_counter


def settle() -> None:
    """Let the allocator keep what calls free.

    glibc hands blocks above a threshold back to the system, and a call that gets them anew pays
    for each page (a third of mobilenet_v2's time). The threshold rises to the largest block that
    was freed, up to 32 MiB: a process that once held large tensors is past that.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8, device="cpu")


def _eager(module: nn.Module) -> Callable[..., object]:
    return module


def _compiled(module: nn.Module) -> Callable[..., object]:
    torch.compiler.reset()  # one code object compiled for many widths would be called dynamic
    return torch.compile(module, dynamic=False)


def _onnxruntime(module: nn.Module) -> Callable[..., object]:
    runs: list[Callable[[], object]] = []

    def run(*args: Any, **kwargs: Any) -> object:
        if not runs:
            runs.append(_session(module, args, kwargs))
        return runs[0]()

    return run


BACKENDS: Mapping[str, Ready] = {
    "eager": _eager,
    "compiled": _compiled,
    "onnxruntime": _onnxruntime,
}


def _session(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
    """A session's call on these inputs, on as many threads as torch has.

    Raises:
        SpecError: onnxruntime is missing, or the module cannot be exported.
    """
    try:
        ort: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise SpecError("the backend needs onnxruntime: pip install 'purethin[onnx]'") from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    exported = _exported(module, args, kwargs)
    session = ort.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    names = [i.name for i in session.get_inputs()]
    if len(names) != len(given):
        raise SpecError(
            f"{type(module).__name__} takes {len(given)} tensors, its file {len(names)}"
        )
    feeds = {name: t.detach().cpu().numpy() for name, t in zip(names, given, strict=True)}
    return partial(session.run, None, feeds)


def _exported(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """A module as ONNX: a single layer by tracing, at a hundredth of the time, else by
    torch.export.
    """
    small = not any(True for _ in module.children())
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if small:
            file: Any = io.BytesIO()
            with contextlib.suppress(Exception):
                torch.onnx.export(module, args, file, kwargs=kwargs, dynamo=False)
                return file.getvalue()
        try:
            program = torch.onnx.export(module, args, kwargs=kwargs, dynamo=True, verbose=False)
        except Exception as error:
            raise SpecError(f"{type(module).__name__} cannot be exported: {error}") from error
        if program is None:
            raise SpecError(f"{type(module).__name__} cannot be exported")
        return program.model_proto.SerializeToString()
