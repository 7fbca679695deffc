"""An optimizer's state, thinned with its parameters: by shapes alone, whatever the optimizer.

A tensor that has its parameter's shape loses the same units. One that has some of the parameter's
dims (Adafactor's rows and columns) loses the units of those. What has another shape mixes units
(the square matrices of Shampoo and SOAP), so none can be taken out: it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
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


@explained
def check_optimizer(optimizer: Optimizer) -> None:
    """That what an optimizer will keep can be thinned, asked before it has made a step.

    A twin of it, with its options, makes one step on small tensors whose dims all differ.

    Args:
        optimizer: any; it is not changed.

    Raises:
        SpecError: it keeps what mixes units, as Shampoo and SOAP do.

    >>> import torch
    >>> check_optimizer(torch.optim.Adam([torch.zeros(2, 2)]))
    """
    if not isinstance(optimizer, Optimizer):
        raise OptionError(
            f"optimizer is a {type(optimizer).__name__}: give one that is made, "
            "torch.optim.SGD(model.parameters(), lr=0.1)"
        )
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
    work = _Work(unwrapped(optimizer), Kept(spec, masks), probed(optimizer))
    return {
        name: work.thinned(name, values) if name in spec.layout else dict(values)
        for name, values in state.items()
    }


@dataclass(frozen=True)
class _Work:
    """One optimizer, what is kept, and what the probe learnt of its keys."""

    optimizer: Optimizer
    kept: Kept
    known: Mapping[tuple[int, str], Slot | None]

    def thinned(self, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
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
        if not isinstance(leaf, Tensor):
            raise SpecError(
                f"{_named(self.optimizer, key)} for {name}, a {type(leaf).__name__}: what that "
                f"holds can't be thinned; {_REMEDY}"
            )
        if leaf.numel() <= 1:
            return leaf
        slot = self._slot(name, key, leaf)
        for dim, of in enumerate(slot):
            if of is not None and (places := self.kept.places(name, of)) is not None:
                leaf = leaf.index_select(dim, places.to(leaf.device))
        return leaf

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


def _named(optimizer: Optimizer, key: str) -> str:
    return f"{type(unwrapped(optimizer)).__name__} keeps '{key}'"
