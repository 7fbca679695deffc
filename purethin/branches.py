"""Branches as units of their own: which there are, masks without some of them, and what each is
worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from purethin.errors import MaskError, nearest
from purethin.finding import find
from purethin.oracle import Loss, leave_out
from purethin.spec import Spec
from purethin.tree import TensorTree


def whole_branches(spec: Spec) -> tuple[str, ...]:
    """The branches that are no part of a larger one, each by one axis: the last inner channels of a
    residual block, the heads of an attention, the inner width of a feed-forward.

    Args:
        spec: of `infer(…, branches=True)`.

    >>> from dataclasses import replace
    >>> spec = replace(Spec({}, {}), branches={"a": (), "b": ("a",), "c": ("d",), "d": ("c",)})
    >>> whole_branches(spec)
    ('b', 'c')
    """
    found: list[str] = []
    for name, others in spec.branches.items():
        above = [n for n, o in spec.branches.items() if name in o and n not in others]
        alike = [n for n in found if n in others and name in spec.branches[n]]
        if not above and not alike:
            found.append(name)
    return tuple(found)


def drop(spec: Spec, branches: str | Iterable[str]) -> dict[str, Tensor]:
    """Masks without these branches, and without what goes with them.

    Args:
        spec: of `infer(…, branches=True)`.
        branches: axes in `spec.branches`, as `find` reads them.

    Returns:
        `{axis: BoolTensor[size]}`, all False.

    Raises:
        MaskError: an axis is no branch, with the reason.

    >>> from purethin import infer
    >>> params = {"w": torch.ones(3, 4), "v": torch.ones(4, 3)}
    >>> spec = infer(lambda p, x: x + x @ p["w"] @ p["v"], params, torch.ones(1, 3), branches=True)
    >>> drop(spec, "w")
    {'w': tensor([False, False, False, False])}
    """
    names: dict[str, None] = {}
    for name in find(spec, branches, error=MaskError):
        if name not in spec.branches:
            why = spec.needed.get(name) or nearest(name, spec.branches)
            unknown = "which axes may go whole, pt.infer(…, branches=True) tries"
            why = why if spec.branches or spec.needed else unknown
            raise MaskError(f"'{name}' is no branch: {why}")
        names |= dict.fromkeys((name, *spec.branches[name]))
    return {n: torch.zeros(spec.sizes[n], dtype=torch.bool, device="cpu") for n in names}


def leave_branch_out(
    loss: Loss,
    params: TensorTree,
    spec: Spec,
    batches: Iterable[Any],
    *,
    branches: str | Sequence[str] | None = None,
    chunk: int | None = None,
) -> dict[str, float]:
    """How much the loss grows without each branch: no estimate, each is tried.

    Args:
        loss: `loss(params, *batch)`, a scalar, as for `leave_one_out`.
        params: the parameter pytree, dense.
        spec: of `infer(…, branches=True)`.
        batches: tuples of the loss's further arguments; read once.
        branches: those to try; `whole_branches(spec)` if not given.
        chunk: how many masks run at once.

    Returns:
        `{branch: growth}`, the higher the more worth keeping: `drop(spec, sorted(found,
        key=found.get)[:3])` leaves the three of least worth out.

    Raises:
        MaskError: an axis is no branch, there is none, or no batch.

    >>> from purethin import infer
    >>> params = {"w": torch.eye(2), "v": torch.eye(2)}
    >>> spec = infer(lambda p, x: x + x @ p["w"] @ p["v"], params, torch.ones(1, 2), branches=True)
    >>> def loss(p, x): return (x + x @ p["w"] @ p["v"]).sum()
    >>> leave_branch_out(loss, params, spec, [(torch.ones(1, 2),)])
    {'w': -2.0}
    """
    names = whole_branches(spec) if branches is None else find(spec, branches, error=MaskError)
    if not names:
        raise MaskError("this spec has no branch: give one of pt.infer(…, branches=True)")
    gone = [drop(spec, n) for n in names]
    keep = {n: torch.ones(spec.sizes[n], dtype=torch.bool, device="cpu") for m in gone for n in m}
    stacked = {n: torch.stack([m.get(n, whole) for m in gone]) for n, whole in keep.items()}
    growth = leave_out(loss, params, spec, batches, stacked, chunk=chunk) if stacked else []
    return dict(zip(names, map(float, growth), strict=True))
