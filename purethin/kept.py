"""What masks keep of each expression, worked out once for all tensors that carry it; and one tensor
with its removed entries taken out, or zero.

Zeros are made by a bitwise and, several times as fast as a choice, where no gradient or transform
follows the values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property, reduce

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack  # no public name says that none is at work
from torch.autograd import forward_ad

from purethin import axes as ax
from purethin.errors import MaskError
from purethin.spec import Masks, Spec

_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_NONE: frozenset[str] = frozenset()
_BLOCK = 2**21  # bytes of a tensor that stay in the cache between two passes
_SHORT = 64  # numbers in a row below which the time is that of its beginning
_LARGE = 2**21  # bytes from which indices of single kernels cost less than a second pass


class Kept:
    """A spec and its masks. Bool masks mean all dims that carry the axis, float masks those that
    are gates.
    """

    def __init__(self, spec: Spec, masks: Masks) -> None:
        self.spec = spec
        self._bools = {n: m for n, m in masks.items() if m.dtype == torch.bool}
        self._gates = {n: m for n, m in masks.items() if n not in self._bools}
        self._keepers: dict[tuple[object, ...], ax.Keeper] = {}
        self._places: dict[int, Tensor | None] = {}
        self._empty: set[int] = set()
        self._taken: dict[tuple[tuple[int, ...], torch.device], dict[int, Tensor]] = {}
        self._lanes: dict[tuple[object, ...], list[Tensor]] = {}

    def keep(self, name: str, dim: int, *, spare: bool = False) -> Tensor | None:
        """`BoolTensor[size]` of a parameter's dim; None where no bool mask touches it."""
        return self._keep(name, dim, self._spared(name, dim, spare=spare))

    def touches(self, name: str) -> bool:
        """Whether a bool mask touches a parameter."""
        dims = range(len(self.spec.layout.get(name, ())))
        return any(self.keep(name, dim) is not None for dim in dims)

    @property
    def gated(self) -> bool:
        """Whether any mask is a gate."""
        return bool(self._gates)

    def gates(self, name: str, dim: int) -> Tensor | None:
        """`Tensor[size]` of factors; None where no float mask gates it."""
        axes, expr = self.spec.axes, self.spec.layout[name][dim]
        own = {n: m for n, m in self._gates.items() if (name, dim) in axes[n].gates}
        return ax.keep(expr, own, self.spec.sizes)

    def places(self, name: str, dim: int) -> Tensor | None:
        """`LongTensor`: the entries of a parameter's dim that stay; None where all do.

        Raises:
            MaskError: none stays.
        """
        number = self.spec.numbers[name][dim]
        if number not in self._places:
            keep = self.keep(name, dim)
            places = self._places[number] = None if keep is None else keep.nonzero().view(-1)
            if places is not None and not places.shape[0]:
                self._empty.add(number)
        if number in self._empty and not self._vanishes(name, dim):
            raise MaskError(
                f"dim {dim} of {name}, '{self.spec.layout[name][dim]}', would have no unit left: "
                "keep one"
            )
        return self._places[number]

    @cached_property
    def _emptied(self) -> set[str]:
        """The branches that lose all their units."""
        sizes = self.spec.sizes
        gone = {n for n in self._bools if n in self.spec.branches or not sizes[n]}
        return {n for n in gone if not bool(self._bools[n].any())}

    def _vanishes(self, name: str, dim: int) -> bool:
        """Whether they empty a parameter's dim."""
        return ax.vanishes(self.spec.layout[name][dim], self._emptied)

    def taken(self, name: str, tensor: Tensor) -> Tensor:
        """A tensor of a parameter's shape without the entries that go."""
        key = self.spec.numbers[name], tensor.device
        if (found := self._taken.get(key)) is None:
            places = {d: p for d in range(len(key[0])) if (p := self.places(name, d)) is not None}
            found = self._taken[key] = {d: p.to(tensor.device) for d, p in places.items()}
        if tensor.is_meta and found:
            left = [len(found.get(d, range(n))) for d, n in enumerate(tensor.shape)]
            return torch.empty(left, dtype=tensor.dtype, device="meta")
        if tensor.dim() > 2 and [*found] == [0, 1] and _large_kernels(tensor):
            rows, columns = found.values()  # both at once, a kernel at a time
            both = (rows[:, None] * tensor.shape[1] + columns).flatten()
            kernels = tensor.view(-1, *tensor.shape[2:]).index_select(0, both)
            return kernels.view(len(rows), len(columns), *tensor.shape[2:])
        for dim, places in found.items():
            tensor = tensor.index_select(dim, places)
        return tensor

    def zeroed(self, name: str, tensor: Tensor, *, spare: bool = True) -> Tensor:
        """A tensor of a parameter's shape with zeros for the entries that go."""
        word = _WORDS.get(tensor.element_size())
        if word is None or not _plain(tensor):
            for dim in range(tensor.dim()):
                if (keep := self.keep(name, dim, spare=spare)) is not None:
                    tensor = _chosen(tensor, along(keep, dim, tensor.dim()))
            return tensor
        same = name if spare and name in self._sparing else self.spec.numbers[name]
        key = same, word, tensor.device
        if (lanes := self._lanes.get(key)) is None:
            lanes = self._lanes[key] = [*self._lanes_of(name, tensor, word, spare=spare)]
        return _anded(tensor.view(word), lanes).view(tensor.dtype) if lanes else tensor

    @cached_property
    def _sparing(self) -> set[str]:
        """The parameters of which some masks spare a dim."""
        return {name for name, _ in self.spec.spared}

    def _keep(self, name: str, dim: int, spared: frozenset[str]) -> Tensor | None:
        if (keeper := self._keepers.get((spared,))) is None:
            own = {n: m for n, m in self._bools.items() if n not in spared}
            keeper = self._keepers[spared,] = ax.keeper(own, self.spec.sizes)
        return keeper(self.spec.layout[name][dim])

    def _lanes_of(
        self, name: str, tensor: Tensor, word: torch.dtype, *, spare: bool
    ) -> Iterator[Tensor]:
        """For each dim that loses entries, the first one last: all bits where an entry stays, none
        where it goes. Short rows inside a dim are written out, as an operator begins slowly.
        """
        for dim in reversed(range(tensor.dim())):
            key = self._spared(name, dim, spare=spare), word, tensor.device
            if (keeper := self._keepers.get(key)) is None:
                own = {n: m for n, m in self._bools.items() if n not in key[0]}
                keeper = self._keepers[key] = ax.keeper(_lanes(own, *key[1:]), self.spec.sizes)
            if (lane := keeper(self.spec.layout[name][dim])) is None:
                continue
            if inside := tensor.shape[dim + 1 :]:
                lane = lane.view(-1, *[1] * len(inside))
                if dim and 1 < inside.numel() < _SHORT:
                    lane = lane.expand(-1, *inside).contiguous()
            yield lane

    def _spared(self, name: str, dim: int, *, spare: bool) -> frozenset[str]:
        return self.spec.spared.get((name, dim), _NONE) if spare else _NONE


def along(values: Tensor, dim: int, dims: int) -> Tensor:
    """Values of one dim, as a tensor that broadcasts along the others."""
    return values.reshape([-1 if d == dim else 1 for d in range(dims)])


def _large_kernels(tensor: Tensor) -> bool:
    """Whether a weight is made of many kernels of more than one number, each in one piece."""
    large = tensor.numel() * tensor.element_size() >= _LARGE
    return large and tensor.is_contiguous() and tensor.shape[2:].numel() > 1


def _chosen(tensor: Tensor, keep: Tensor) -> Tensor:
    """Zero where a mask is False, whatever was there: infinity times 0 is nan."""
    keep = keep.to(tensor.device)
    return torch.where(keep, tensor, torch.zeros((), dtype=tensor.dtype, device=tensor.device))


def _plain(tensor: Tensor) -> bool:
    """Whether nothing follows how a tensor's values come to be, and they are its memory's."""
    followed = tensor.requires_grad and torch.is_grad_enabled()
    transformed = peek_interpreter_stack() is not None or forward_ad._current_level >= 0
    known = type(tensor) in (Tensor, torch.nn.Parameter)
    known = known and not (tensor.is_conj() or tensor.is_neg())
    return known and not (followed or transformed or torch.compiler.is_compiling())


def _lanes(
    masks: Mapping[str, Tensor], word: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    """All bits where a unit stays, none where it goes."""
    if not masks:
        return {}
    sizes = [len(m) for m in masks.values()]
    lanes = torch.cat([m.to(device) for m in masks.values()]).to(word).neg().split(sizes)
    return dict(zip(masks, lanes, strict=True))


def _anded(words: Tensor, lanes: list[Tensor]) -> Tensor:
    """The words whose bits all lanes have; block by block, so that each block is read from memory
    once.
    """
    if len(lanes) == 1:
        return words & lanes[0]
    rows, size = len(words), words.numel() * words.element_size()
    if size <= _BLOCK:
        return reduce(Tensor.bitwise_and_, lanes[1:], words & lanes[0])
    out, step = torch.empty_like(words), max(1, _BLOCK * rows // size)
    for i in range(0, rows, step):
        first, *others = (x[i : i + step] if x.dim() == words.dim() else x for x in lanes)
        part = torch.bitwise_and(words[i : i + step], first, out=out[i : i + step])
        reduce(Tensor.bitwise_and_, others, part)
    return out
