"""What masks keep of each expression, worked out once for all tensors that carry it; and one tensor
with its removed entries taken out, or zero.

Zeros are made by a bitwise and, several times as fast as a choice, where no gradient or transform
follows the values.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack  # no public name says that none is at work
from torch.autograd import forward_ad

from purethin import axes as ax
from purethin.errors import MaskError
from purethin.spec import Masks, Spec

_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_NONE: frozenset[str] = frozenset()
_BLOCK = 2**18  # bytes of a tensor that stay in the cache between two passes
_LARGE = 2**21  # bytes from which indices of single kernels cost less than a second pass


class Kept:
    """A spec and its masks. Bool masks mean all dims that carry the axis, float masks those that
    are gates.
    """

    def __init__(self, spec: Spec, masks: Masks) -> None:
        self.spec = spec
        self._bools = {n: m for n, m in masks.items() if m.dtype == torch.bool}
        self._gates = {n: m for n, m in masks.items() if n not in self._bools}
        self._keeps: dict[tuple[int, frozenset[str]], Tensor | None] = {}
        self._places: dict[int, Tensor | None] = {}
        self._empty: set[int] = set()
        self._lanes: dict[tuple[int, frozenset[str], torch.dtype], Tensor | None] = {}

    def keep(self, name: str, dim: int, *, spare: bool = False) -> Tensor | None:
        """`BoolTensor[size]` of a parameter's dim; None where no bool mask touches it."""
        return self._keep(name, dim, self._spared(name, dim, spare=spare))

    def touches(self, name: str) -> bool:
        """Whether a bool mask touches a parameter."""
        dims = range(len(self.spec.layout.get(name, ())))
        return any(self.keep(name, dim) is not None for dim in dims)

    def gates(self, name: str, dim: int) -> Tensor | None:
        """`Tensor[size]` of factors; None where no float mask gates it."""
        if not self._gates:
            return None
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
            places = self._places[number] = None if keep is None else keep.nonzero().flatten()
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
        rows = {dim: self.places(name, dim) for dim in range(tensor.dim())}
        found = {
            dim: places.to(tensor.device) for dim, places in rows.items() if places is not None
        }
        if tensor.is_meta and found:
            return tensor.new_empty(
                [len(found.get(d, range(n))) for d, n in enumerate(tensor.shape)]
            )
        large = tensor.dim() > 2 and tensor.numel() * tensor.element_size() >= _LARGE
        if large and [*found] == [0, 1] and tensor.is_contiguous():
            rows, width = tensor.shape[0], tensor.shape[1]
            if tensor.numel() > rows * width:  # both at once, a kernel at a time
                both = (found[0][:, None] * width + found[1]).flatten()
                kernels = tensor.reshape(rows * width, -1).index_select(0, both)
                return kernels.view(len(found[0]), len(found[1]), *tensor.shape[2:])
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
        lanes = {}
        for dim in range(tensor.dim()):
            if (lane := self._lane(name, dim, word, spare=spare)) is not None:
                lanes[dim] = lane if lane.device == tensor.device else lane.to(tensor.device)
        if not lanes:
            return tensor
        return _anded(tensor.view(word), lanes).view(tensor.dtype)

    def _keep(self, name: str, dim: int, spared: frozenset[str]) -> Tensor | None:
        key = self.spec.numbers[name][dim], spared
        if key not in self._keeps:
            own = self._bools
            if spared:
                own = {n: m for n, m in own.items() if n not in spared}
            self._keeps[key] = ax.keep(self.spec.layout[name][dim], own, self.spec.sizes)
        return self._keeps[key]

    def _spared(self, name: str, dim: int, *, spare: bool) -> frozenset[str]:
        return self.spec.spared.get((name, dim), _NONE) if spare else _NONE

    def _lane(self, name: str, dim: int, word: torch.dtype, *, spare: bool) -> Tensor | None:
        """All bits where an entry stays, none where it goes; None where no bool mask touches it."""
        key = self.spec.numbers[name][dim], self._spared(name, dim, spare=spare), word
        if key not in self._lanes:
            keep = self._keep(name, dim, key[1])
            self._lanes[key] = None if keep is None else keep.to(word).neg()
        return self._lanes[key]


def along(values: Tensor, dim: int, dims: int) -> Tensor:
    """Values of one dim, as a tensor that broadcasts along the others."""
    return values.reshape([-1 if d == dim else 1 for d in range(dims)])


def _chosen(tensor: Tensor, keep: Tensor) -> Tensor:
    """Zero where a mask is False, whatever was there: infinity times 0 is nan."""
    keep = keep.to(tensor.device)
    return torch.where(keep, tensor, torch.zeros((), dtype=tensor.dtype, device=tensor.device))


def _plain(tensor: Tensor) -> bool:
    """Whether nothing follows how a tensor's values come to be."""
    followed = tensor.requires_grad and torch.is_grad_enabled()
    transformed = peek_interpreter_stack() is not None or forward_ad._current_level >= 0
    known = type(tensor) in (Tensor, torch.nn.Parameter)
    return known and not (followed or transformed or torch.compiler.is_compiling())


def _anded(words: Tensor, lanes: dict[int, Tensor]) -> Tensor:
    """The words whose bits all lanes have; rows and columns block by block, so that each block is
    read from memory once.
    """
    if words.dim() == 1:
        return words & lanes[0]
    if not words.numel() or not words.is_contiguous():
        for dim, lane in lanes.items():
            words = words & along(lane, dim, words.dim())
        return words
    first, row = lanes.pop(0, None), None
    for dim, lane in lanes.items():
        wide = along(lane, dim, words.dim())[0]
        row = wide if row is None else row & wide
    flat = words.view(words.shape[0], -1)
    row = None if row is None else row.expand(words.shape[1:]).reshape(-1)
    column = None if first is None else first.view(-1, 1)
    if row is None or column is None:
        lane = column if row is None else row
        assert lane is not None
        return (flat & lane).view(words.shape)
    step = max(1, _BLOCK // (flat.element_size() * flat.shape[1]))
    if step >= flat.shape[0]:
        return (flat & row).bitwise_and_(column).view(words.shape)
    out = torch.empty_like(flat)
    for i in range(0, flat.shape[0], step):
        part = torch.bitwise_and(flat[i : i + step], row, out=out[i : i + step])
        part.bitwise_and_(column[i : i + step])
    return out.view(words.shape)
