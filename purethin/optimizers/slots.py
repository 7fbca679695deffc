"""An optimizer's state, thinned with its parameters: by shapes alone, whatever the optimizer.

A tensor that has its parameter's shape loses the same units. One that has some of the parameter's
dims (Adafactor's rows and columns) loses the units of those. What has another shape mixes units
(the square matrices of Shampoo and SOAP), so none can be taken out: it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_unflatten

from purethin.arguments import explained
from purethin.checks import check_masks
from purethin.errors import OptionError, SpecError
from purethin.kept import Kept
from purethin.optimizers.eight_bit import read, rounded
from purethin.optimizers.probe import Slot, probed, slots, unwrapped
from purethin.spec import Masks, Spec

_REMEDY = (
    "use an optimizer whose state has its parameter's shape, or that of its rows and columns "
    "(SGD, Adam, AdamW, RMSprop, Adagrad, Adafactor, schedule-free, …)"
)


Change = Callable[[str, Tensor, Slot], Tensor]
"""From a parameter's name, a tensor of its state, and which dims of the parameter that has, to the
tensor in its place.
"""


@explained
def check_optimizer(optimizer: Optimizer) -> None:
    """That what an optimizer will keep can be thinned, asked before it has made a step.

    A twin of it, with its options, makes one step on small tensors whose dims all differ.

    Args:
        optimizer: any; it is not changed.

    Raises:
        SpecError: it keeps what mixes units, as Shampoo and SOAP do; or it wraps another one, whose
            state would be left behind.

    >>> import torch
    >>> check_optimizer(torch.optim.Adam([torch.zeros(2, 2)]))
    """
    if not isinstance(optimizer, Optimizer):
        raise OptionError(
            f"optimizer is a {type(optimizer).__name__}: give one that is made, "
            "torch.optim.SGD(model.parameters(), lr=0.1)"
        )
    _check_whole(optimizer)
    for (dims, key), slot in probed(optimizer).items():
        if slot is None:
            raise SpecError(
                f"{_named(optimizer, key)} for a parameter of {dims} dims, which has neither its "
                f"shape nor that of some of its dims: it mixes units, so none can be taken out of "
                f"it; {_REMEDY}"
            )


@explained
def thin_state(
    optimizer: Optimizer, state: Mapping[str, Mapping[str, Any]], spec: Spec, masks: Masks
) -> dict[str, dict[str, Any]]:
    """An optimizer's state without the units that go.

    Args:
        optimizer: whose state it is; it is not changed.
        state: `{parameter: {key: value}}`, the values those of `optimizer.state[parameter]`. A
            value may be a list, tuple or dict of tensors. The 8-bit values of torchao and
            bitsandbytes are read, thinned and rounded again.
        spec: the parameters' spec.
        masks: `{axis: BoolTensor[size]}`, True = keep.

    Returns:
        New dicts; numbers, and the state of what the spec does not know, as they are.

    Raises:
        SpecError: a value can't be thinned; the message names the optimizer, key and parameter.

    >>> import torch
    >>> spec = Spec.from_layout({"w": "h 2"}, {"w": torch.ones(3, 2)})
    >>> keep = {"h": torch.tensor([True, False, True])}
    >>> state = {"w": {"step": 4, "row_var": torch.tensor([[1.0], [2.0], [3.0]])}}
    >>> thin_state(torch.optim.SGD([torch.ones(3, 2)]), state, spec, keep)["w"]["row_var"]
    tensor([[1.],
            [3.]])
    """
    check_masks(spec, masks)
    _check_whole(optimizer)
    kept = Kept(spec, masks)
    less = {name: values for name, values in state.items() if kept.touches(name)}
    after = state_after(optimizer, less, kept, lambda *leaf: taken(kept, *leaf))
    return {name: dict(values) for name, values in state.items()} | after


def state_after(
    optimizer: Optimizer, state: Mapping[str, Mapping[str, Any]], kept: Kept, change: Change
) -> dict[str, dict[str, Any]]:
    """An optimizer's state with each tensor of several elements changed.

    Args:
        optimizer: whose state it is.
        state: as `thin_state` takes it.
        kept: the parameters' spec, and what masks keep, which says whether it matters which dims a
            tensor has.
        change: what stands in place of each tensor.

    Raises:
        SpecError: as `thin_state`.
    """
    work = _Work(unwrapped(optimizer), kept, probed(optimizer), change)
    return {
        name: work.changed(name, values) if name in kept.spec.layout else dict(values)
        for name, values in state.items()
    }


def taken(kept: Kept, name: str, leaf: Tensor, slot: Slot) -> Tensor:
    """A tensor of a parameter's state without the units that go."""
    for dim, of in enumerate(slot):
        if of is not None and (places := kept.places(name, of)) is not None:
            leaf = leaf.index_select(dim, places.to(leaf.device))
    return leaf


@dataclass(frozen=True)
class _Work:
    """One optimizer, what is kept, what the probe learnt of its keys, and what is done."""

    optimizer: Optimizer
    kept: Kept
    known: Mapping[tuple[int, str], Slot | None]
    change: Change

    def changed(self, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The state of one parameter."""
        plain = read(values)
        out: dict[str, Any] = {}
        for key, value in plain.items():
            leaves, tree = tree_flatten_with_path(value)
            new = [self._leaf(name, key + keystr(path), leaf) for path, leaf in leaves]
            out[key] = tree_unflatten(new, tree)
        return rounded(self.optimizer, values, out)

    def _leaf(self, name: str, key: str, leaf: Any) -> Any:
        if leaf is None or isinstance(leaf, int | float | complex | str):
            return leaf
        if not isinstance(leaf, Tensor) or not self._readable(name, leaf):
            raise SpecError(
                f"{_named(self.optimizer, key)} for {name} in a {type(leaf).__name__}: what that "
                f"holds can't be thinned; {_REMEDY}"
            )
        return leaf if leaf.numel() <= 1 else self.change(name, leaf, self._slot(name, key, leaf))

    def _readable(self, name: str, leaf: Tensor) -> bool:
        """Whether a tensor is a plain one; or spread over processes as its parameter is."""
        if hasattr(leaf, "placements"):
            shaped = tuple(leaf.shape) == self.kept.spec.shapes[name]
            return shaped and type(leaf.to_local()) is Tensor  # type: ignore[attr-defined]
        return type(leaf) in (Tensor, Parameter)

    def _slot(self, name: str, key: str, leaf: Tensor) -> Slot:
        """The dims of the parameter that a tensor of its state has.

        Raises:
            SpecError: none, or several that differ.
        """
        shape = self.kept.spec.shapes[name]
        said = f"{_named(self.optimizer, key)} of shape {tuple(leaf.shape)} for {name}, which is "
        ways = slots(leaf.shape, shape)
        if (len(shape), key) in self.known:
            known = self.known[len(shape), key]
            ways = [way for way in ways if way == known]
        if not ways:
            raise SpecError(
                f"{said}{shape}: it mixes units, so none can be taken out of it; {_REMEDY}"
            )
        if len({self._effect(name, way) for way in ways}) > 1:
            raise SpecError(f"{said}{shape}: which of its dims those are is not certain; {_REMEDY}")
        return ways[0]

    def _effect(self, name: str, way: Slot) -> tuple[int | None, ...]:
        """What decides which entries go: equal for ways that come to the same."""
        numbers = self.kept.spec.numbers[name]
        stays = [of is None or self.kept.places(name, of) is None for of in way]
        return tuple(
            None if s or of is None else numbers[of] for s, of in zip(stays, way, strict=True)
        )


def _check_whole(optimizer: Optimizer) -> None:
    """That an optimizer's state is all that it has of state.

    Raises:
        SpecError: it wraps another one, which has a state of its own.
    """
    for key, value in vars(optimizer).items():
        if isinstance(value, Optimizer) and value.state is not optimizer.state:
            kind = type(value).__name__
            raise SpecError(
                f"{type(optimizer).__name__} wraps {kind} ('{key}'), whose state cannot be thinned "
                f"with the parameters: give {kind} itself, or {_REMEDY}"
            )


def _named(optimizer: Optimizer, key: str) -> str:
    return f"{type(unwrapped(optimizer)).__name__} keeps '{key}'"
