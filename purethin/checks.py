"""Whether parameters and masks fit a spec, and what masks leave of its sizes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from math import prod

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.axes import Axes, Fixed, Name, Product, Sum
from purethin.errors import MaskError, SpecError, nearest
from purethin.finding import hint
from purethin.records import Axis, Condition
from purethin.spec import Elements, Masks, Spec


def check_fits(spec: Spec, tensors: Mapping[str, Tensor]) -> None:
    """That these tensors have the spec's names and dense shapes.

    Raises:
        SpecError: a name is missing or a shape differs; says whether they look thinned already.
    """
    for name, want in spec.shapes.items():
        if name not in tensors:
            raise SpecError(
                f"the spec has '{name}', which these parameters lack: a spec of another model? "
                f"{nearest(name, tensors)}"
            )
        if (have := tensors[name].shape) != want:
            have = tuple(have)
            smaller = len(have) == len(want) and all(
                h <= w for h, w in zip(have, want, strict=True)
            )
            raise SpecError(
                f"{name} has shape {have}, but its layout '{ax.layout_text(spec.layout[name])}' "
                f"means {want}: "
                + (
                    "these parameters are thinned already; use thin_spec(spec, masks) with them"
                    if smaller
                    else "a spec of another model: infer one from these parameters' own"
                )
            )
    for name in tensors:
        if name not in spec.layout:
            raise SpecError(
                f"'{name}' is not in the spec: a spec of another model? "
                f"{nearest(name, spec.layout)}"
            )


def check_masks(spec: Spec, masks: Masks, *, all_removed_allowed: bool = False) -> None:
    """That masks of axes fit a spec.

    Raises:
        MaskError: an unknown axis, a wrong length or dtype, or (unless allowed, as when zeroing) an
            axis with no unit left that must have one.
    """
    if not isinstance(masks, Mapping):
        raise MaskError(f"masks are a dict of axis name to bool tensor, not {type(masks).__name__}")
    for name, m in masks.items():
        if name in spec.layout and name not in spec.axes:
            raise MaskError(
                f"'{name}' is a parameter, and masks are of axes: to zero single elements of it "
                f"write pt.mask(params, spec, masks, elements={{'{name}': …}})"
            )
        if name not in spec.axes:
            raise MaskError(f"no axis is named '{name}'; {hint(spec, name)}")
        size = spec.axes[name].size
        _check_mask(name, m, (size,), f"the axis has {size} units", floats=all_removed_allowed)
    if not all_removed_allowed:
        gone = [name for name, stay in counts(masks).items() if not stay and spec.sizes[name]]
        if gone:
            _check_emptied(spec, gone)


def counts(masks: Masks) -> dict[str, int]:
    """`{axis: how many units a bool mask keeps}`; of all at once, as each wait for a device counts.

    >>> counts({"a": torch.tensor([True, False, True]), "b": torch.tensor([False])})
    {'a': 2, 'b': 0}
    """
    if not masks:
        return {}
    device = next(iter(masks.values())).device
    each = torch.stack([m.count_nonzero().to(device) for m in masks.values()])
    return dict(zip(masks, each.tolist(), strict=True))


def _check_emptied(spec: Spec, gone: Sequence[str]) -> None:
    """That these axes may lose all their units, all of them at once.

    Raises:
        MaskError: one may not, or not all of those that are joined.
    """
    for name in gone:
        if name not in spec.branches:
            axis = spec.axes[name]
            raise MaskError(
                f"the mask of '{name}' removes all {axis.size} units: keep at least one; "
                f"{_why_needed(spec, axis)}"
            )
    for expr in joined(spec, gone):
        if (why := spec.needed.get(str(expr))) is not None:
            names = ", ".join(n for n in dict.fromkeys(ax.names(expr)) if n in gone)
            raise MaskError(
                f"nothing would be left of '{expr}': keep a unit of one of {names}; {why}"
            )


def _why_needed(spec: Spec, axis: Axis) -> str:
    if not axis.exact:
        return f"it is inexact: {axis.reason}"
    if not (spec.branches or spec.needed):
        return "which axes may go whole, pt.infer(…, branches=True) tries"
    return spec.needed.get(axis.name, "it is no branch of this network, see spec.branches")


def joined(spec: Spec, gone: Collection[str]) -> Iterator[Axes]:
    """The expressions of the layout that these axes empty together, and none of them alone."""
    for expr in dict.fromkeys(e for dims in spec.layout.values() for e in dims):
        own = [n for n in dict.fromkeys(ax.names(expr)) if n in gone]
        alone = any(ax.vanishes(expr, {n}) for n in own)
        if len(own) > 1 and not alone and ax.vanishes(expr, own):
            yield expr


def check_names(masks: Masks, known: Iterable[str]) -> None:
    """That masks are of axes that are known.

    Raises:
        MaskError: one is not.
    """
    for name in masks:
        if name not in known:
            raise MaskError(f"masks are given of {name!r}, no axis; {nearest(str(name), known)}")


def check_gates(spec: Spec, masks: Masks) -> None:
    """That each float mask has a place where it multiplies its units once.

    Raises:
        MaskError: an axis has none.
    """
    for name, m in masks.items():
        if m.dtype != torch.bool and not spec.axes[name].gates:
            raise MaskError(
                f"'{name}' has no gates: nothing that reads its units is linear in them and theirs "
                "alone, so no factor on a weight multiplies them once; give a bool mask, or gate "
                "one of spec.gated"
            )


def check_elements(spec: Spec, elements: Elements) -> None:
    """That masks of single elements fit a spec.

    Raises:
        MaskError: an unknown parameter, a wrong shape or dtype.
    """
    for name, m in elements.items():
        if name not in spec.layout:
            raise MaskError(f"no parameter is named '{name}'; {nearest(name, spec.layout)}")
        _check_mask(name, m, spec.shape(name), "the parameter has another", floats=True)


def _check_mask(name: str, m: object, want: tuple[int, ...], why: str, *, floats: bool) -> None:
    if not isinstance(m, Tensor):
        raise MaskError(
            f"the mask of '{name}' is {type(m).__name__}; give a bool tensor, True = keep: "
            "scores > 0"
        )
    if tuple(m.shape) != want:
        raise MaskError(
            f"the mask of '{name}' has shape {tuple(m.shape)}, but {why}: give shape {want}"
        )
    if m.dtype != torch.bool and not (floats and m.is_floating_point()):
        raise MaskError(
            f"the mask of '{name}' is {m.dtype}; give torch.bool, True = keep: mask > 0"
        )


def kept_sizes(spec: Spec, masks: Masks | None) -> Callable[[Axes], int]:
    """A function from an expression to the number of its entries that stay, counted once for each
    object.
    """
    masks = masks or {}
    kept = spec.sizes | counts({n: masks[n] for n in masks if n in spec.sizes})
    known: dict[int, tuple[Axes, int]] = {}  # by identity: to hash a long sum takes longer

    def size(expr: Axes) -> int:
        if type(expr) is Name:
            return kept[expr.name]
        if id(expr) not in known:
            known[id(expr)] = expr, count(expr)
        return known[id(expr)][1]

    def count(expr: Axes) -> int:
        match expr:
            case Fixed(number):
                return number
            case Product(factors):
                return prod(map(size, factors))
            case Sum(terms):
                return sum(map(size, terms))
        stays = ax.keep(expr, masks, spec.sizes)
        return ax.size(expr, spec.sizes) if stays is None else int(stays.sum())

    return size


def broken_condition(spec: Spec, masks: Masks) -> tuple[Condition, int, int] | None:
    """The first comparison of the traced forward that would come out otherwise, with the two sizes
    that it would compare.
    """
    kept = kept_sizes(spec, masks)
    for c in spec.conditions:
        left, right = kept(c.left), kept(c.right)
        if _RELATIONS[c.relation](left, right) != c.held:
            return c, left, right
    return None


def check_conditions(spec: Spec, masks: Masks) -> None:
    """That thinning by these masks changes no branch of the traced forward.

    Raises:
        MaskError: it would.
    """
    if (broken := broken_condition(spec, masks)) is not None:
        c, left, right = broken
        if c.relation == "%":
            raise MaskError(
                f"'{c.left}' must stay a multiple of {right} and would be {left}: the thinned "
                "network would take another branch, "
                f"or fail ({c.place}); give select round_to={right}"
            )
        raise MaskError(
            f"{c.place} compares '{c.left} {c.relation} {c.right}', which was {c.held} when traced "
            "and is not with "
            f"{left} and {right}: the thinned network would take another branch; "
            "keep more units of "
            f"{', '.join(dict.fromkeys([*ax.names(c.left), *ax.names(c.right)]))}"
        )


_RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "%": lambda a, b: a % b == 0,
}
