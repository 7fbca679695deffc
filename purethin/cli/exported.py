"""The thinned model as an ONNX file, run once by onnxruntime where that is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from purethin.cli.imported import explained
from purethin.errors import PurethinError
from purethin.storage import written_whole


def onnx_packages() -> None:
    """See that what torch's exporter needs is installed.

    Raises:
        PurethinError: it is not.
    """
    if missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        raise PurethinError(f"--onnx needs {' and '.join(missing)}: pip install 'purethin[onnx]'")


def written_onnx(
    path: Path, model: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]
) -> str:
    """Export a model to a file.

    Returns:
        A line that says what was written, and how far onnxruntime's outputs are from torch's.

    Raises:
        PurethinError: the model cannot be exported, or the file not be written.
    """
    with explained("exporting to ONNX"):
        program: Any = torch.onnx.export(model, args, kwargs=kwargs, dynamo=True, verbose=False)
    with written_whole(path) as beside:
        program.save(beside)
    said = f"wrote {path}, for inputs of the shapes of --input"
    if find_spec("onnxruntime") is None:
        return f"{said}; onnxruntime is not installed: it was not run"
    with explained("running the ONNX file"), torch.no_grad():
        apart, scale = _difference(path, model, args, kwargs)
    return f"{said}; onnxruntime against torch: largest difference {apart:.2e} of {scale:.2e}"


def _difference(
    path: Path, model: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]
) -> tuple[float, float]:
    """The largest difference of an output, and the largest value of torch's."""
    session = import_module("onnxruntime").InferenceSession(str(path))
    given = [*args, *kwargs.values()]
    feed = {i.name: t.numpy() for i, t in zip(session.get_inputs(), given, strict=True)}
    want = [t for t in tree_leaves(model(*args, **kwargs)) if isinstance(t, Tensor) and t.numel()]
    got = [torch.from_numpy(array) for array in session.run(None, feed) if array.size]
    apart = [float((w - g).abs().max()) for w, g in zip(want, got, strict=True)]
    return max(apart, default=0.0), max((float(t.abs().max()) for t in want), default=0.0)
