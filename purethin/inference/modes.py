"""The two modes that watch a forward. A `TorchDispatchMode` sees the operators; a
`TorchFunctionMode` sees Python's calls, where integers still carry their track.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
import torch.functional
import torch.nn.functional as F
from torch._decomp import decomposition_table
from torch._ops import HigherOrderOperator, OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from purethin.inference import higher
from purethin.inference.data import data
from purethin.inference.nodes import constant, find, freeze, product
from purethin.inference.operators import Known, record
from purethin.inference.places import Because, place
from purethin.inference.shapes import Shape, plain, sizes_in, tracked
from purethin.inference.sizes import Size
from purethin.inference.trace import Trace


@contextmanager
def watching(trace: Trace) -> Iterator[None]:
    """Put on the trace's tape what runs while the block lasts; then, put back what it wrote into
    the memory of tensors that it did not make.
    """
    with_device = torch.autocast.__init__

    def on_cpu(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        # torch refuses to cast automatically on meta, where nothing is computed
        with_device(self, "cpu" if device_type == "meta" else device_type, *args, **kwargs)

    try:
        with (
            _eager(),
            patch.object(torch.autocast, "__init__", on_cpu),
            torch.inference_mode(),
            _Functions(trace),
            _Operators(trace),
        ):
            yield
    finally:
        for memory, before in trace.overwritten.values():
            memory.copy_(before)


def _eager() -> AbstractContextManager[Any]:
    """What is compiled runs as it was written, if anything can be."""
    loaded = "torch._dynamo" in sys.modules
    return torch.compiler.set_stance("force_eager") if loaded else nullcontext()


class _Operators(TorchDispatchMode):
    """Every operator, composite ones whole (inference mode)."""

    supports_higher_order_operators = True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace

    def __torch_dispatch__(self, op: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if isinstance(op, HigherOrderOperator):
            if str(op) != "flex_attention":
                return higher.unknown(self.trace, op, args, kwargs)
            with self:
                return higher.attention(self.trace, args, kwargs)
        known = Known.of(op)
        if known.rule[0] is None and (parts := _decomposition(op, known)) is not None:
            with self:
                out = parts(*args, **kwargs)
            if out is not NotImplemented:
                return out
        return record(self.trace, op, args, kwargs)


class _Functions(TorchFunctionMode):
    """Python's calls: shapes become tracked, and integers are noted before C++ strips their
    track.
    """

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace
        self.opening: list[types.FunctionType] = []

    def __torch_function__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (reader := _READERS.get(func)) is not None and self.trace.has_dims(args[0]):
            return reader(self.trace, func, args, kwargs)
        # a function that hands itself over from a helper of its own is called as it is
        if type(func) is types.FunctionType and _is_opened(func) and func not in self.opening:
            self.opening.append(func)
            try:
                with self:
                    return _opened(func)(*args, **kwargs)
            except TypeError:
                # torch takes no tracked integer for a float: below it gets plain ones
                if not sizes_in((args, kwargs)):
                    raise
            finally:
                self.opening.pop()
        if func in _SETTING and self.trace.has_dims(args[0]):
            return _set_data(self.trace, *args)
        if func is torch.Tensor.__getitem__ or func is torch.Tensor.__setitem__:
            args = (args[0], _listless(self.trace, args[1]), *args[2:])
        trace, given = self.trace, sizes_in((args, kwargs))
        outer, before = trace.python, trace.measured
        trace.python, trace.measured = (args, kwargs), set()
        try:
            out = func(*plain(args), **plain(kwargs)) if given else func(*args, **kwargs)
            if func not in _READING:
                return out
            trace.read.append(args[0])
            if func in _INTEGERS:
                trace.data_values.add(int(out))
            return data(out) if func in _GIVERS else out
        finally:
            for size in given:
                whole = isinstance(size, Size) and func is torch.Tensor.__getitem__
                if whole and _cuts_nothing(trace, args, size):
                    continue
                if id(size) not in trace.measured:  # no rule read it as a size: it is a number
                    size.escape(getattr(func, "__name__", "an operator"))
            trace.python, trace.measured = outer, before | trace.measured


def _cuts_nothing(trace: Trace, args: Any, size: Size) -> bool:
    """Whether a slice ends where its dim does, or beyond: torch runs no operator then. That it
    does so with fewer units too is a condition.
    """
    x, index = args
    parts = [p for p in (index if isinstance(index, tuple) else (index,)) if p is not None]
    dims = trace.dims_of(x)
    for i, part in enumerate(parts):
        if part is ...:
            parts[i : i + 1] = [slice(None)] * (len(dims) - len(parts) + 1)
            break
    for part, d in zip(parts, dims, strict=False):
        if isinstance(part, slice) and part.stop is size and d.size <= size.value:
            return size >= tracked(d.size, d, trace.ledger)
    return False


def _set_data(trace: Trace, x: torch.Tensor, value: torch.Tensor) -> None:
    """`x.data = value`: the values are those of the other tensor, as if they were copied."""
    if x.shape == value.shape and x.dtype == value.dtype:
        x.copy_(value)
        return
    why = Because("its data are replaced by others of another shape", place("data"))
    for d in (*trace.dims_of(x), *trace.dims_of(value)):
        freeze(d, why)
    trace.of(x).dims = [constant(s, why) for s in value.shape]
    x.data = value


# ---- Python's view of tensors


def _shape(trace: Trace, func: Any, args: Any, kwargs: Any) -> Any:
    x = args[0]
    got = func(*args, **kwargs)
    dims = trace.dims_of(x)
    if isinstance(got, int):
        at = args[1] if len(args) > 1 else kwargs["dim"]
        return tracked(got, dims[at], trace.ledger)
    if all(find(d).kind == "constant" for d in dims):
        return got
    return Shape(tracked(s, d, trace.ledger) for s, d in zip(got, dims, strict=True))


def _numel(trace: Trace, func: Any, args: Any, kwargs: Any) -> int:
    return tracked(func(*args, **kwargs), product(trace.dims_of(args[0])), trace.ledger)


def _data(trace: Trace, func: Any, args: Any, kwargs: Any) -> Any:
    return args[0].detach()


def _length(trace: Trace, func: Any, args: Any, kwargs: Any) -> Any:
    freeze(trace.dims_of(args[0])[0], Because("its length leaves the trace", place("len")))
    return func(*args, **kwargs)


_READERS: dict[Any, Callable[[Trace, Any, Any, Any], Any]] = {
    torch.Tensor.shape.__get__: _shape,  # type: ignore[attr-defined]
    torch.Tensor.size: _shape,
    torch.Tensor.numel: _numel,
    torch.Tensor.nelement: _numel,
    torch.numel: _numel,
    torch.Tensor.data.__get__: _data,  # type: ignore[attr-defined]
    torch.Tensor.__len__: _length,
}

_GIVERS = {torch.Tensor.item, torch.Tensor.tolist}
_INTEGERS = {torch.Tensor.__int__, torch.Tensor.__index__}
"""Python makes a plain integer of what these return; so their values are remembered."""
_READING = {*_GIVERS, *_INTEGERS, torch.Tensor.__bool__, torch.Tensor.__float__}
"""What takes a number out of a tensor."""
_SETTING = {torch.Tensor.data.__set__}  # type: ignore[attr-defined]
_NO_OVERRIDE = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
_OPENED = {id(F.__dict__), id(torch.functional.__dict__)}


def _is_opened(func: types.FunctionType) -> bool:
    """Whether it is a function of Python's that is looked into."""
    return id(func.__globals__) in _OPENED


@functools.cache
def _opened(func: types.FunctionType) -> types.FunctionType:
    """A Python function of torch that does not hand itself to the mode again, so that the mode sees
    what it calls.
    """
    scope = dict(func.__globals__) | {name: lambda *args: False for name in _NO_OVERRIDE}
    twin = types.FunctionType(
        func.__code__, scope, func.__name__, func.__defaults__, func.__closure__
    )
    twin.__kwdefaults__ = func.__kwdefaults__
    return twin


def _listless(trace: Trace, index: Any) -> Any:
    """An index whose lists are tensors, as torch makes them, but seen by the modes and known as
    literals.
    """

    def listless(part: Any) -> Any:
        if not (isinstance(part, list) and all(isinstance(i, int) for i in part)):
            return part
        for i in part:
            if isinstance(i, Size):
                i.escape("an index in a list")
        tensor = torch.tensor([int(i) for i in part], device="cpu")
        if not any(isinstance(i, Size | bool) for i in part):
            trace.of(tensor).literal = part
        return tensor

    return tuple(map(listless, index if isinstance(index, tuple) else (index,)))


def _kron(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Every entry of a times b: the dims of both in turn, each pair flattened into one."""
    rank = max(a.dim(), b.dim())
    for _ in range(rank - a.dim()):
        a = a.unsqueeze(0)
    for _ in range(rank - b.dim()):
        b = b.unsqueeze(0)
    for d in range(rank):
        a, b = a.unsqueeze(2 * d + 1), b.unsqueeze(2 * d)
    out = a * b
    for d in range(rank):
        out = out.flatten(d, d + 1)
    return out


_IN_PARTS: dict[Any, Callable[..., Any]] = {torch.ops.aten.kron.default: _kron}
"""How to write operators that torch decomposes with plain numbers for sizes."""


def _decomposition(op: OpOverload, known: Known) -> Callable[..., Any] | None:
    """How torch itself writes an operator in terms of others, if it does."""
    if op in _IN_PARTS:
        return _IN_PARTS[op]
    if known.composite:
        return op.decompose
    return None if known.writes or known.takes_out else decomposition_table.get(op)
