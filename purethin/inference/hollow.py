"""What operators give on meta where torch's own kernel is slow, or refuses what others take: an
empty tensor of the right shape. Most of torch's kernels are Python there, and take longer than the
trace of a call does.

Invariant: shape, strides and dtype are those that torch gives; a call that is out of the ordinary,
or in error, is left to torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

Given = Mapping[str, Any]
"""The arguments of a call by schema name."""
ValueOf = Callable[[Tensor], Tensor | None]
"""The values of a tensor that is known, None of any other."""
_META = torch.device("meta")


def pointwise(op: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The operands' shape, broadcast, of the dtype that one entry has."""
    tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
    first, shape, plain = tensors[0], tensors[0].shape, True
    for t in tensors:
        if t.layout != torch.strided:
            return None
        if t is not first and t.shape != shape and not (shape := _broadcast(shape, t.shape)):
            return None
        plain = plain and t.is_contiguous()
    strides = None if plain else _strides(first)
    if strides == [] or (strides and [*first.shape] != [*shape]):
        return None
    slots = (*map(_slot, args), *((k, _slot(x)) for k, x in kwargs.items()))
    if (dtype := _dtype_of(op, len(args), slots)) is None:
        return None
    if strides is None:
        return torch.empty(shape, dtype=dtype, device=_META)
    return torch.empty_strided(shape, strides, dtype=dtype, device=_META)


def _strides(x: Tensor) -> list[int]:
    """Those of a dense tensor whose dims lie in the order of x's; empty where x overlaps itself."""
    order = sorted(range(x.dim()), key=lambda d: (x.stride(d), -d))
    steps = [x.stride(d) for d in order if x.shape[d] > 1]
    if 0 in x.stride() or len({*steps}) < len(steps):
        return []
    found, at = [0] * x.dim(), 1
    for d in order:
        found[d], at = at, at * max(x.shape[d], 1)
    return found


def _broadcast(a: Sequence[int], b: Sequence[int]) -> list[int]:
    """The shape in which two meet, from the right; empty where they do not fit."""
    pairs = [*zip_longest(reversed(a), reversed(b), fillvalue=1)]
    fits = all(m == n or 1 in (m, n) for m, n in pairs)
    return [m if n == 1 else n for m, n in pairs][::-1] if fits else []


def _slot(x: Any) -> Any:
    """What of an argument the dtype of the result rests on."""
    return (x.dtype, min(x.dim(), 1)) if isinstance(x, Tensor) else (type(x), x)


def _dtype_of(op: OpOverload, many: int, slots: tuple[Any, ...]) -> torch.dtype | None:
    """The dtype of a pointwise operator's result, given so many arguments and then keywords; None
    where it has several, or gives a view.
    """
    if (known := _DTYPES.get(id(op))) is None:
        asked = functools.lru_cache(maxsize=256)(functools.partial(_dtype_of_one, op))
        known = _DTYPES[id(op)] = op, asked
    try:
        return known[1](many, slots)
    except TypeError:  # an argument that cannot be hashed
        return None


_DTYPES: dict[int, tuple[OpOverload, Callable[..., torch.dtype | None]]] = {}
"""By the operator's id: it hashes in Python, and slowly."""


def _dtype_of_one(op: OpOverload, many: int, slots: tuple[Any, ...]) -> torch.dtype | None:
    def one(slot: tuple[Any, Any]) -> Any:
        kind, x = slot
        is_tensor = isinstance(kind, torch.dtype)
        return torch.empty((1,) * x, dtype=kind, device=_META) if is_tensor else x

    args, kwargs = [*map(one, slots[:many])], {k: one(x) for k, x in slots[many:]}
    try:
        out = op(*args, **kwargs)
    except Exception:  # torch says by itself what is wrong
        return None
    if not isinstance(out, Tensor):
        return None
    memory = {x.untyped_storage()._cdata for x in args if isinstance(x, Tensor)}
    return None if out.untyped_storage()._cdata in memory else out.dtype


def _made(x: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=x.dtype, device=_META)


def _like(x: Tensor) -> Tensor:
    """An empty tensor laid out as another."""
    return _made(x, *x.shape) if x.is_contiguous() else torch.empty_like(x)


def _plain(*tensors: Tensor | None) -> bool:
    """Whether tensors are contiguous, not empty, and of one floating dtype."""
    given = [t for t in tensors if t is not None]
    dtype = given[0].dtype
    for t in given:
        if t.dtype is not dtype or not t.is_contiguous() or not t.numel():
            return False
    return dtype.is_floating_point


def _convolution(given: Given, value_of: ValueOf) -> Any:
    x, w, b, groups = (given[name] for name in ("input", "weight", "bias", "groups"))
    rank, how = x.dim() - 2, [given[name] for name in ("stride", "padding", "dilation")]
    if not _plain(x, w, b) or rank < 1 or w.dim() != x.dim() or isinstance(how[1], str):
        return None
    each = [v * (rank if len(v) == 1 else 1) for v in how]
    rows = zip(x.shape[2:], w.shape[2:], *each, strict=True)
    space = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in rows]
    fits = x.shape[1] == w.shape[1] * groups and w.shape[0] % groups == 0 and min(space) > 0
    fits = fits and (b is None or b.shape == w.shape[:1])
    return _made(x, x.shape[0], w.shape[0], *space) if fits else None


def _cat(given: Given, value_of: ValueOf) -> Any:
    every, dim = given["tensors"], given["dim"]
    tensors = [t for t in every if t.shape != (0,)] or every  # torch passes over the others
    first, rank, length = tensors[0], tensors[0].dim(), 0
    dtypes, layouts = {t.dtype for t in every}, {t.layout for t in tensors}
    if len(dtypes) > 1 or len(layouts) > 1 or not isinstance(dim, int) or not -rank <= dim < rank:
        return None
    shape = [*first.shape]
    for t in tensors:
        own = [*t.shape]
        by_rows = rank == 1 or t.is_contiguous() or (len(own) > 1 and t.stride(1) > t.stride(-1))
        if len(own) != rank or not by_rows or not t.numel():
            return None
        length, own[dim] = length + own[dim], shape[dim]
        if own != shape:
            return None
    shape[dim] = length
    return _made(first, *shape)


def _mean(given: Given, value_of: ValueOf) -> Any:
    x, dims = given["self"], given.get("dim")
    rank, keeps = x.dim(), given["keepdim"] if dims else False
    over = {d % rank for d in dims or () if -rank <= d < rank}
    if not dims or len(over) < len(dims) or given["dtype"] is not None or not _plain(x):
        return None
    return _made(
        x, *(1 if d in over else n for d, n in enumerate(x.shape) if keeps or d not in over)
    )


def _pooled(given: Given, value_of: ValueOf) -> Any:
    x, size = given["self"], given["output_size"]
    return _made(x, *x.shape[:2], *size) if _plain(x) and x.dim() == 2 + len(size) else None


def _matmul(given: Given, value_of: ValueOf) -> Any:
    x, y = given["self"], given["other"]
    alike = x.shape[:-2] == y.shape[:-2] or y.dim() == 2
    fits = min(x.dim(), y.dim()) > 1 and alike and x.shape[-1] == y.shape[-2]
    fits = fits and x.dtype == y.dtype and x.is_floating_point() and x.numel() * y.numel()
    return _made(x, *x.shape[:-1], y.shape[-1]) if fits else None


def _attention(given: Given, value_of: ValueOf) -> Any:
    q, k, v, mask = (given[name] for name in ("query", "key", "value", "attn_mask"))
    dtypes = {t.dtype for t in (q, k, v)}
    if q.dim() < 3 or len(dtypes) > 1 or not q.is_floating_point() or k.shape[:-2] != v.shape[:-2]:
        return None
    if q.shape[:-2] != k.shape[:-2]:
        grouped = given["enable_gqa"] and q.dim() == k.dim() == 4 and q.shape[0] == k.shape[0]
        if not grouped or not k.shape[1] or q.shape[1] % k.shape[1]:
            return None
    met = [*q.shape[:-1], k.shape[-2]]
    masked = mask is None or (
        mask.dtype in (torch.bool, q.dtype)
        and not given["is_causal"]
        and _broadcast(mask.shape, met) == met
    )
    fits = q.shape[-1] == k.shape[-1] and k.shape[-2] == v.shape[-2] and masked
    fits = fits and q.numel() * k.numel() * v.numel()
    return _made(q, *q.shape[:-1], v.shape[-1]) if fits else None


def _batch_norm(given: Given, value_of: ValueOf) -> Any:
    x = given["input"]
    rows = (given[n] for n in ("weight", "bias", "running_mean", "running_var"))
    same = all(t is None or t.shape == x.shape[1:2] for t in rows)
    return _like(x) if same else None


def _layer_norm(given: Given, value_of: ValueOf) -> Any:
    x, shape = given["input"], tuple(given["normalized_shape"])
    rows = (given["weight"], given["bias"])
    fits = x.shape[x.dim() - len(shape) :] == shape and all(
        t is None or tuple(t.shape) == shape for t in rows
    )
    return _made(x, *x.shape) if fits else None


def _linear(given: Given, value_of: ValueOf) -> Any:
    x, w, b = given["input"], given["weight"], given["bias"]
    fits = w.dim() == 2 and x.dim() and x.shape[-1] == w.shape[1] and x.dtype == w.dtype
    fits = fits and (b is None or b.shape == w.shape[:1])
    return _made(x, *x.shape[:-1], w.shape[0]) if fits else None


def _grouped(given: Given, value_of: ValueOf) -> Any:
    x, y = given["self"], given["mat2"]
    return x.new_empty(x.shape[0], y.shape[2]) if (x.dim(), y.dim()) == (2, 3) else None


def _recurrent(given: Given, value_of: ValueOf) -> Any:
    """The output and the states: torch would unroll the layers step by step."""
    x = given["input"] if "input" in given else given["data"]
    states = given["hx"] if isinstance(given["hx"], tuple | list) else [given["hx"]]
    width = states[0].shape[-1] * (2 if given["bidirectional"] else 1)
    return x.new_empty(*x.shape[:-1], width), *map(torch.empty_like, states)


def _packed(given: Given, value_of: ValueOf) -> Any:
    """The steps of all sequences in one; how many sequences run at each stays on the CPU."""
    x, lengths = given["input"], value_of(given["lengths"])
    if lengths is None:
        return None
    steps = torch.zeros(x.shape[:2], device="cpu").unsqueeze(-1)
    data, sizes = torch._VF._pack_padded_sequence(steps, lengths, given["batch_first"])
    return x.new_empty(data.shape[0], *x.shape[2:]), sizes


def _unpacked(given: Given, value_of: ValueOf) -> Any:
    x, sizes = given["data"], value_of(given["batch_sizes"])
    if sizes is None:
        return None
    out, lengths = torch._VF._pad_packed_sequence(
        torch.zeros(x.shape[0], 1, device="cpu"),
        sizes,
        given["batch_first"],
        given["padding_value"],
        given["total_length"],
    )
    return x.new_empty(*out.shape[:2], *x.shape[1:]), lengths


KERNELS: dict[str, Callable[[Given, ValueOf], Any]] = {
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "linear": _linear,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    "cat": _cat,
    "mean": _mean,
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d"), _pooled),
    "matmul": _matmul,
    "scaled_dot_product_attention": _attention,
    "roll": lambda given, _: _like(given["self"]),
    "_grouped_mm": _grouped,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    "_pack_padded_sequence": _packed,
    "_pad_packed_sequence": _unpacked,
}
"""By operator; a kernel gives None where meta's own does as well."""
