"""Masks at work: zero the removed units, take them out, put zeros back, and the spec of what is
left. All pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.arguments import explained
from purethin.axes import Axes
from purethin.checks import (
    check_conditions,
    check_elements,
    check_fits,
    check_gates,
    check_masks,
    counts,
    kept_sizes,
)
from purethin.errors import SpecError
from purethin.kept import Kept, along
from purethin.rewriting import rewritten
from purethin.spec import Elements, Masks, Spec
from purethin.tree import TensorTree, map_named, named

Config = dict[str, dict[str, Any]]
"""`{module path: {attribute: new value}}`: plain data, safe as JSON."""
CLASS = "class"
"""The key under which a config names the class that stands in for a module's own, where that
asserts what thinning breaks.
"""


@explained
def mask(
    params: TensorTree, spec: Spec, masks: Masks, elements: Elements | None = None
) -> TensorTree:
    """Zeros where units are removed: the simulated network, at its dense shapes.

    What an axis spares (`Axis.spared`: the direction of a weight norm) stays as it is; the other
    zeros silence the unit.

    A float mask is a gate: it multiplies what each unit gives to its readers, once, whatever
    nonlinearity lies before them. So only the dims that read the axis are multiplied
    (`Axis.gates`), no buffer is, and 0 and 1 give the function that False and True give, on exact
    axes.

    Args:
        params: the parameter pytree.
        spec: its spec.
        masks: `{axis: Tensor[size]}`, bool (True = keep) or float (a gate, differentiable). Works
            under `vmap` over stacked masks or parameters.
        elements: `{parameter: Tensor of its shape}`, alike: single elements that are zero too.

    Returns:
        A tree of new tensors; a parameter that no mask touches is the same tensor.

    Raises:
        MaskError: an unknown axis or parameter, a wrong shape or dtype; a float mask of an axis
            that has no gates.
        SpecError: the parameters do not fit the spec.

    >>> params = {"w": torch.ones(3, 2), "v": torch.ones(1, 3)}
    >>> spec = Spec.from_layout({"w": "h 2", "v": "1 h"}, params)
    >>> masks = {"h": torch.tensor([True, False, True])}
    >>> mask(params, spec, masks)["v"]
    tensor([[1., 0., 1.]])
    >>> gated = mask(params, spec, {"h": torch.tensor([0.5, 0.0, 1.0])})
    >>> gated["v"], bool((gated["w"] == 1).all())
    (tensor([[0.5000, 0.0000, 1.0000]]), True)
    """
    single = elements or {}
    check_masks(spec, masks, all_removed_allowed=True)
    check_gates(spec, masks)
    check_elements(spec, single)
    kept, fits = Kept(spec, masks), partial(check_fits, spec)
    masked = lambda name, tensor: masked_by(name, tensor, kept, single, spare=True)  # noqa: E731
    return map_named(masked, params, fits)


def masked_leaf(
    name: str,
    tensor: Tensor,
    spec: Spec,
    masks: Masks,
    elements: Elements | None = None,
    *,
    spare: bool = True,
) -> Tensor:
    """One parameter as `mask` leaves it, unchecked; without `spare`, zero wherever units are
    removed.
    """
    return masked_by(name, tensor, Kept(spec, masks), elements or {}, spare=spare)


def masked_by(name: str, tensor: Tensor, kept: Kept, elements: Elements, *, spare: bool) -> Tensor:
    """`masked_leaf` of masks whose parts are kept from parameter to parameter."""
    if name in kept.spec.positions:
        return tensor
    tensor = kept.zeroed(name, tensor, spare=spare)
    for dim in range(tensor.dim()) if kept.gated else ():
        if (gates := kept.gates(name, dim)) is not None:
            tensor = _times(tensor, along(gates, dim, tensor.dim()))
    return _times(tensor, elements[name]) if name in elements else tensor


@explained
def thin(params: TensorTree, spec: Spec, masks: Masks) -> tuple[TensorTree, Config]:
    """Remove the masked units: smaller tensors, and the new module config for `rebuild`.

    Args:
        params: the parameter pytree, at the spec's dense shapes.
        spec: its spec.
        masks: `{axis: BoolTensor[size]}`, True = keep.

    Returns:
        `(thinned, config)`: the tree with smaller tensors, and `{module path: {attribute: value}}`.

    Raises:
        MaskError: an unknown axis, a wrong length or dtype, nothing kept, or a size that would take
            another branch.
        SpecError: the parameters do not fit the spec; or were thinned already.

    >>> params = {"w": torch.ones(3, 2), "v": torch.ones(1, 3)}
    >>> spec = Spec.from_layout({"w": "h 2", "v": "1 h"}, params)
    >>> masks = {"h": torch.tensor([True, False, True])}
    >>> thinned, config = thin(params, spec, masks)
    >>> {name: tuple(tensor.shape) for name, tensor in thinned.items()}
    {'w': (2, 2), 'v': (1, 2)}
    """
    thinning = Thinning(spec, masks)
    return map_named(thinning.leaf, params, partial(check_fits, spec)), thinning.config


@dataclass(frozen=True)
class Thinning:
    """A spec and masks that thin it, checked once, so that one whole tensor at a time is enough.

    Raises:
        MaskError: as `thin`.
    """

    spec: Spec
    masks: Masks

    def __post_init__(self) -> None:
        check_masks(self.spec, self.masks)
        check_conditions(self.spec, self.masks)

    @cached_property
    def _kept(self) -> Kept:
        return Kept(self.spec, self.masks)

    def leaf(self, name: str, tensor: Tensor) -> Tensor:
        """One parameter of the spec's shape, without the removed units."""
        if name in self.spec.positions:
            tensor = _renumber(self.spec, name, tensor, self.masks)
        return self._kept.taken(name, tensor)

    @property
    def config(self) -> Config:
        """What `rebuild` needs beside the parameters."""
        return config_of(self.spec, self.masks)


@explained
def thin_tree(tree: TensorTree, spec: Spec, masks: Masks) -> TensorTree:
    """Remove the masked units from anything that follows the parameters: optimizer state,
    gradients, averages.

    Args:
        tree: any pytree. A leaf belongs to the parameter whose name is part of its path; it is
            thinned when it has that parameter's dense shape. Scalars (a step count), None and
            leaves of no parameter stay as they are.
        spec: the parameters' spec.
        masks: `{axis: BoolTensor[size]}`, True = keep.

    Returns:
        A tree of the same structure.

    Raises:
        MaskError: the masks do not fit the spec.
        SpecError: a leaf of several elements lies under a parameter's name but is not shaped like
            it; or no leaf lies under any (as in `optimizer.state_dict()`, which numbers the
            parameters).

    >>> params = {"w": torch.ones(3, 2), "v": torch.ones(1, 3)}
    >>> spec = Spec.from_layout({"w": "h 2", "v": "1 h"}, params)
    >>> masks = {"h": torch.tensor([True, False, True])}
    >>> state = {"w": {"step": 4, "momentum": torch.ones(3, 2)}}
    >>> thin_tree(state, spec, masks)["w"]["momentum"].shape
    torch.Size([2, 2])
    """
    check_masks(spec, masks)
    return following(tree, spec, Kept(spec, masks).taken)


def following(tree: TensorTree, spec: Spec, change: Callable[[str, Tensor], Tensor]) -> TensorTree:
    """`change(parameter, leaf)` of the leaves that follow a parameter, as `thin_tree` tells them.

    Raises:
        SpecError: as `thin_tree`.
    """
    owner = _owner_of(spec)
    if "" in (leaves := named(tree)) and not isinstance(leaves[""], Tensor):
        raise SpecError(f"a {type(tree).__name__} is no tree of tensors: give {{name: tensor}}")
    sized = [path for path, leaf in leaves.items() if isinstance(leaf, Tensor) and leaf.numel() > 1]
    if sized and all(owner(path) is None for path in sized):
        raise SpecError(
            f"no leaf of the tree lies under a parameter's name ('{sized[0]}' does not): key it by "
            "name, as in "
            "{name: optimizer.state[p] for name, p in model.named_parameters()}"
        )

    def changed(path: str, leaf: Any) -> Any:
        name = owner(path)
        if name is None or not isinstance(leaf, Tensor):
            return leaf
        if tuple(leaf.shape) == spec.shape(name):
            return change(name, leaf)
        if leaf.numel() <= 1:
            return leaf
        raise SpecError(
            f"'{path}' has shape {tuple(leaf.shape)}, but {name} is {spec.shape(name)}: only what "
            "is shaped like its "
            "parameter can be thinned with it; drop this leaf and let it be made anew"
        )

    return map_named(changed, tree)


@explained
def expand(thinned: TensorTree, spec: Spec, masks: Masks) -> TensorTree:
    """The inverse of `thin`: dense shapes again, zeros where units were removed.

    Args:
        thinned: the tree that `thin(params, spec, masks)` gave, or one shaped like it.
        spec: the dense parameters' spec.
        masks: the masks it was thinned with.

    Raises:
        SpecError: the tensors are not those that these masks leave.

    >>> params = {"w": torch.ones(3, 2), "v": torch.ones(1, 3)}
    >>> spec = Spec.from_layout({"w": "h 2", "v": "1 h"}, params)
    >>> masks = {"h": torch.tensor([True, False, True])}
    >>> thinned, _ = thin(params, spec, masks)
    >>> expand(thinned, spec, masks)["v"]
    tensor([[1., 0., 1.]])
    """
    check_masks(spec, masks)
    kept_of = Kept(spec, masks)

    def expanded(name: str, tensor: Tensor) -> Tensor:
        if (positions := spec.positions.get(name)) is not None and (
            kept := ax.keep(positions, masks, spec.sizes)
        ) is not None:
            tensor = kept.nonzero()[:, 0].to(tensor)[tensor]
        for dim in range(tensor.dim()):
            if (where := kept_of.places(name, dim)) is not None:
                whole = spec.shapes[name][dim]
                shape = [whole if d == dim else s for d, s in enumerate(tensor.shape)]
                zeros = tensor.new_zeros(shape)
                tensor = zeros.index_copy(dim, where.to(tensor.device), tensor)
        return tensor

    return map_named(expanded, thinned, partial(check_fits, thin_spec(spec, masks)))


@explained
def thin_spec(spec: Spec, masks: Masks) -> Spec:
    """The spec of the thinned network, without a new trace: fewer units, the same names.

    Raises:
        MaskError: the masks do not fit the spec.

    >>> params = {"w": torch.ones(3, 2), "v": torch.ones(1, 3)}
    >>> spec = Spec.from_layout({"w": "h 2", "v": "1 h"}, params)
    >>> masks = {"h": torch.tensor([True, False, True])}
    >>> thin_spec(spec, masks).sizes
    {'h': 2}
    """
    check_masks(spec, masks)
    sizes = spec.sizes | counts(masks)
    return rewritten(spec, lambda e: ax.thinned(e, masks, spec.sizes), sizes)


def config_of(spec: Spec, masks: Masks) -> Config:
    """The module attributes whose values change under these masks, and the caches to empty."""
    kept, dense = kept_sizes(spec, masks), kept_sizes(spec, None)

    def value(expr: Axes | tuple[Axes, ...], count: Callable[[Axes], int]) -> int | list[int]:
        return [count(e) for e in expr] if isinstance(expr, tuple) else count(expr)

    config: Config = {}
    for module, attributes in spec.attributes.items():
        for attribute, expr in attributes.items():
            if (new := value(expr, kept)) != value(expr, dense):
                config.setdefault(module, {})[attribute] = new
    for module, caches in spec.caches.items():
        config.setdefault(module, {}).update((name, {}) for name in caches)
    for module, name in spec.stand_ins.items():
        if module in config:
            config[module] = {CLASS: name, **config[module]}
    for module, (name, sizes) in spec.empty_layers.items():
        if any(dense(e) and not kept(e) for e in sizes):
            config[module] = {CLASS: name, **config.get(module, {})}
    return config


def _times(tensor: Tensor, keep: Tensor) -> Tensor:
    """Zero where a bool mask is False, whatever was there (inf times 0 is nan); a float mask
    multiplies.
    """
    keep = keep.to(tensor.device)
    if keep.dtype == torch.bool:
        return torch.where(keep, tensor, torch.zeros((), dtype=tensor.dtype, device=tensor.device))
    factors = tensor.is_floating_point() or tensor.is_complex()
    return tensor * keep.to(tensor.dtype) if factors else tensor * (keep != 0)


def _renumber(spec: Spec, name: str, tensor: Tensor, masks: Masks) -> Tensor:
    """Values that are positions along an expression, as positions among its remaining entries."""
    kept = ax.keep(spec.positions[name], masks, spec.sizes)
    return tensor if kept is None else (kept.cumsum(0) - 1).to(tensor)[tensor.long()]


def _owner_of(spec: Spec) -> Callable[[str], str | None]:
    """From a leaf's dotted path to the parameter whose whole name is part of it, the longest where
    several are.
    """
    by_length = sorted(spec.layout, key=len, reverse=True)

    def owner(path: str) -> str | None:
        if path in spec.layout:
            return path
        framed = f".{path}."
        return next((name for name in by_length if f".{name}." in framed), None)

    return owner
