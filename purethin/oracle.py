"""The oracle: the true change of the loss when units go, for many masks at once.

`vmap` runs a chunk of masked networks in one call: what lies before the first reader is computed
once, and each operator is called once for all. Where the axes have gates, the data are multiplied
instead of the weights, so that a chunk is one larger batch and no weight is copied.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import combinations
from math import comb
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from purethin import axes as ax
from purethin.arguments import explained
from purethin.checks import check_fits, check_masks
from purethin.errors import MaskError, SpecError
from purethin.finding import find
from purethin.spec import Masks, Scores, Spec
from purethin.thinning import mask, masked_leaf
from purethin.tree import TensorTree, map_named, named, tensors_in
from purethin.waiting import told

Loss = Callable[..., Tensor]
"""`loss(params, *batch)`: a scalar."""


@explained
def leave_one_out(
    loss: Loss,
    params: TensorTree,
    spec: Spec,
    batches: Iterable[Any],
    *,
    axes: str | Sequence[str] | None = None,
    chunk: int | None = None,
    progress: bool = False,
) -> Scores:
    """How much the loss grows when one unit goes, for every unit: no estimate, each is tried.

    Args:
        loss: `loss(params, *batch)`, a scalar; in eval mode, so that no buffer is written:
            `functional_call(model.eval(), params, (x,))`.
        params: the parameter pytree, dense.
        spec: its spec.
        batches: tuples of the loss's further arguments; read once, one at a time. Each counts
            alike.
        axes: the axes to try, as `find` reads them; all exact ones by default. Of an inexact axis
            it is the masked network that is tried.
        chunk: how many masks run at once; by default as many as fit a fixed budget of memory.
        progress: whether a line tells how far it is, in a terminal where rich is installed.

    Returns:
        `{axis: Tensor[size]}`, float64: the mean over batches of the loss without the unit less
        the dense loss. The higher the more worth keeping, so `select` takes it as it is.

    Raises:
        MaskError: an unknown axis, or no batch.
        SpecError: the parameters do not fit the spec, or the loss is no scalar.

    >>> params = {"w": torch.tensor([[1.], [2.]]), "v": torch.ones(1, 2)}
    >>> spec = Spec.from_layout({"w": "h 1", "v": "1 h"}, params)
    >>> def loss(p, x): return (x @ p["w"].T @ p["v"].T).sum()
    >>> leave_one_out(loss, params, spec, [(torch.ones(1, 1),)])["h"]
    tensor([-1., -2.], dtype=torch.float64)
    """
    names = spec.exact if axes is None else find(spec, axes)
    groups = [{n: ~torch.eye(spec.sizes[n], dtype=torch.bool)} for n in names]
    found = _changes(loss, params, spec, batches, groups, chunk, progress)
    return dict(zip(names, found, strict=True))


@explained
def leave_out(
    loss: Loss,
    params: TensorTree,
    spec: Spec,
    batches: Iterable[Any],
    masks: Masks,
    *,
    chunk: int | None = None,
    progress: bool = False,
) -> Tensor:
    """How much the loss grows under each of many masks, which may remove units of several axes.

    Args:
        loss: `loss(params, *batch)`, a scalar, as for `leave_one_out`.
        params: the parameter pytree, dense.
        spec: its spec.
        batches: tuples of the loss's further arguments; read once.
        masks: stacked, `{axis: BoolTensor[n, size]}`, True = keep, as `subsets` makes them.
        chunk: how many masks run at once.
        progress: as for `leave_one_out`.

    Returns:
        `Tensor[n]`, float64: the mean over batches of each masked loss less the dense one.

    Raises:
        MaskError: masks that do not fit the spec or differ in number, or no batch.
        SpecError: the parameters do not fit the spec, or the loss is no scalar.

    >>> params = {"w": torch.tensor([[1.], [2.], [4.]]), "v": torch.ones(1, 3)}
    >>> spec = Spec.from_layout({"w": "h 1", "v": "1 h"}, params)
    >>> def loss(p, x): return (x @ p["w"].T @ p["v"].T).sum()
    >>> leave_out(loss, params, spec, [(torch.ones(1, 1),)], subsets(spec, 2))
    tensor([-3., -5., -6.], dtype=torch.float64)
    """
    return _changes(loss, params, spec, batches, [masks], chunk, progress)[0]


@explained
def subsets(
    spec: Spec,
    k: int,
    count: int | None = None,
    *,
    axes: str | Sequence[str] | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Masks that remove k units each: all pairs, or so many subsets at random.

    Args:
        spec: the network's spec.
        k: how many units go at once.
        count: how many subsets, drawn with equal chance; None for all there are.
        axes: the axes that units go from, together; all exact ones by default.
        generator: the source of randomness.

    Returns:
        `{axis: BoolTensor[count, size]}`, as `leave_out` takes them.

    Raises:
        MaskError: an unknown axis, k units are not there, or all subsets are too many to list.

    >>> params = {"w": torch.zeros(3, 1)}
    >>> subsets(Spec.from_layout({"w": "h 1"}, params), 2)["h"].int()
    tensor([[0, 0, 1],
            [0, 1, 0],
            [1, 0, 0]], dtype=torch.int32)
    """
    names = spec.exact if axes is None else find(spec, axes)
    sizes = [spec.sizes[n] for n in names]
    units = sum(sizes)
    if not 0 < k <= units:
        raise MaskError(f"{k} units are asked for, and the axes have {units}: give 1 to {units}")
    if count is not None and count < 1:
        raise MaskError(f"{count} subsets are asked for: give how many, or None for all there are")
    if count is None:
        if comb(units, k) > 1_000_000:
            raise MaskError(
                f"there are {comb(units, k):,} subsets of {k} of {units} units: give a count, to "
                "draw so many at random"
            )
        gone = torch.tensor([*combinations(range(units), k)])
    else:
        device = generator.device if generator else None
        chance = torch.rand(count, units, generator=generator, device=device)
        gone = chance.argsort(1)[:, :k].cpu()
    keep = torch.ones(len(gone), units, dtype=torch.bool).scatter(1, gone, value=False)
    return dict(zip(names, keep.split(sizes, 1), strict=True))


# ---- many masks on one batch


@torch.no_grad()
def _changes(
    loss: Loss,
    params: TensorTree,
    spec: Spec,
    batches: Iterable[Any],
    groups: Sequence[Masks],
    chunk: int | None,
    progress: bool,
) -> list[Tensor]:
    """For each group of stacked masks, the mean change of the loss under each mask."""
    check_fits(spec, named(params))
    counts = [_count(spec, stacked) for stacked in groups]
    if chunk is not None and chunk < 1:
        raise MaskError(f"chunk is {chunk}: give how many masks run at once, from 1, or None")
    sums = [torch.zeros(n, dtype=torch.float64) for n in counts]
    seen, total = 0, sum(counts) * len(batches) if isinstance(batches, Sized) else None
    with told("masks", total, show=progress) as done:
        for batch in batches:
            changes = _on_batch(loss, params, spec, batch, groups, chunk, done)
            sums = [s + c for s, c in zip(sums, changes, strict=True)]
            seen += 1
    if not seen:
        raise MaskError("there is no batch: give one at least, as [(x, y)]")
    return [s / seen for s in sums]


def _on_batch(
    loss: Loss,
    params: TensorTree,
    spec: Spec,
    batch: Any,
    groups: Sequence[Masks],
    chunk: int | None,
    done: Callable[[int], None],
) -> list[Tensor]:
    """The change of the loss on one batch, under each mask of each group."""
    given = batch if isinstance(batch, tuple | list) else (batch,)
    with _Largest() as largest:
        dense = loss(params, *given)
    if not isinstance(dense, Tensor) or dense.dim():
        what = tuple(dense.shape) if isinstance(dense, Tensor) else type(dense).__name__
        raise SpecError(f"the loss is {what}: give a scalar, as loss.mean()")
    # bytes of the largest tensors of a chunk: on a CPU what its caches hold
    budget = 2**25 if dense.device.type == "cpu" else 2**30
    fits, changes = chunk or max(1, budget // max(largest.bytes, 1)), []
    for stacked in groups:
        found = []
        for part in _losses(loss, params, spec, given, stacked, fits):
            found.append(part)
            done(len(part))
        changes.append(torch.cat(found).double().cpu() - dense.double().cpu())
    return changes


def _count(spec: Spec, stacked: Masks) -> int:
    """How many masks there are, all of them checked."""
    counts = {len(m) for m in stacked.values() if isinstance(m, Tensor) and m.dim() == 2}
    if len(counts) != 1:
        raise MaskError(
            "stacked masks are {axis: BoolTensor[n, size]} with one n for all axes, as pt.subsets "
            "gives them"
        )
    check_masks(spec, {n: m[0] for n, m in stacked.items()}, all_removed_allowed=True)
    if soft := next((n for n, m in stacked.items() if m.dtype != torch.bool), None):
        raise MaskError(f"the masks of '{soft}' are {stacked[soft].dtype}: give torch.bool")
    return counts.pop()


def _losses(
    loss: Loss, params: TensorTree, spec: Spec, batch: Sequence[Any], stacked: Masks, chunk: int
) -> Iterator[Tensor]:
    """The losses under stacked masks, chunk by chunk."""

    def one(masks: Masks) -> Tensor:
        gates = {n: m for n, m in masks.items() if spec.axes[n].gates and spec.axes[n].exact}
        rest = {n: m for n, m in masks.items() if n not in gates}
        given = mask(params, spec, rest) if rest else params
        with _Gated(named(given), spec, gates):
            return loss(given, *batch)

    count, start = len(next(iter(stacked.values()))), 0
    while start < count:
        part = {n: m[start : start + chunk] for n, m in stacked.items()}
        if chunk == 1:
            yield one({n: m[0] for n, m in part.items()})[None]
        else:
            try:  # the fused kernels of attention have no rule for vmap
                with sdpa_kernel(SDPBackend.MATH):
                    yield vmap(one, randomness="same")(part)
            except (RuntimeError, ValueError, NotImplementedError) as error:
                why = str(error).partition("\n")[0]
                said = f"vmap cannot batch this loss, so masks run one by one: {why}"
                warnings.warn(said, stacklevel=4)
                chunk = 1
                continue
        start += chunk


class _Gated(TorchFunctionMode):
    """While it lasts, the units of these masks are multiplied where they are read: the data that
    meet a weight in a linear layer or a convolution; elsewhere the weight.
    """

    def __init__(self, tensors: Mapping[str, Tensor], spec: Spec, masks: Masks) -> None:
        super().__init__()
        self.spec, self.masks = spec, masks
        places = {p for n in masks for p in spec.axes[n].gates}
        self.names = {id(tensors[name]): name for name, _ in places}
        self.dims = {name: [d for n, d in places if n == name] for name in tensors}
        self.masked: dict[str, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = [t for t in tensors_in((args, kwargs)) if id(t) in self.names]
        if not found:
            return func(*args, **kwargs)
        by_weight = func in _READERS and len(args) > 1 and len(found) == 1 and found[0] is args[1]
        x = self._multiplied(args[0], args[1], _READERS[func]) if by_weight else None
        if x is not None:
            return func(x, *args[1:], **kwargs)
        args, kwargs = map_named(self._weight, (args, kwargs))
        return func(*args, **kwargs)

    def _multiplied(self, x: Tensor, weight: Tensor, rank: int) -> Tensor | None:
        """The data, multiplied along the dim that this weight reads."""
        name = self.names[id(weight)]
        if self.dims[name] != [1]:
            return None
        masks = {n: m for n, m in self.masks.items() if (name, 1) in self.spec.axes[n].gates}
        factor = ax.keep(self.spec.layout[name][1], masks, self.spec.sizes)
        at = x.dim() - 1 - rank
        if factor is None or at < 0 or x.shape[at] % len(factor):
            return None
        factor = factor.repeat(x.shape[at] // len(factor)).to(x.device)
        return torch.where(factor.reshape(-1, *[1] * rank), x, x.new_zeros(()))

    def _weight(self, _: str, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or id(leaf) not in self.names:
            return leaf
        name = self.names[id(leaf)]
        if name not in self.masked:
            floats = {n: m.to(leaf.dtype) for n, m in self.masks.items()}
            self.masked[name] = masked_leaf(name, leaf, self.spec, floats)
        return self.masked[name]


_READERS: Mapping[Any, int] = {F.linear: 0, F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}
"""Functions of (data, weight), and how many dims of the data stand behind that which is read."""


class _Largest(TorchDispatchMode):
    """The bytes of the largest tensors that are made while it lasts, of an operator's input and
    output together.
    """

    bytes = 0

    def __torch_dispatch__(self, op: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = op(*args, **(kwargs or {}))
        made = tensors_in(out) if isinstance(out, tuple | list) else [out]
        size = sum(t.numel() * t.element_size() for t in made if isinstance(t, Tensor))
        self.bytes = max(self.bytes, 3 * size)
        return out
