"""The law, checked on a network: masked and thinned compute the same on exact axes; what differs,
and why.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from purethin.arguments import explained
from purethin.modules import rebuild
from purethin.outputs import results
from purethin.records import Frozen
from purethin.spec import Masks, Spec
from purethin.table import Table, folded
from purethin.thinning import config_of, mask, thin
from purethin.tree import TensorTree
from purethin.unsaid import unsaid


@dataclass(frozen=True)
class Output:
    """One output tensor: its place, shape, largest absolute difference, and the largest absolute
    value of the masked one.

    `rounding` is the largest difference that its dtype can explain; `constant`: all entries of the
    masked one are equal.
    """

    place: str
    shape: tuple[int, ...]
    difference: float
    scale: float
    rounding: float = float("inf")
    constant: bool = False


@dataclass(frozen=True)
class Report:
    """What `check` saw. `difference` and `relative` are the largest over all outputs; `unsaid` are
    integers of modules that equal a width which has changed: nothing that was traced read them.
    """

    outputs: tuple[Output, ...]
    exact: tuple[str, ...]
    inexact: Mapping[str, str]
    frozen: tuple[Frozen, ...]
    removed: int
    units: int
    beside: Literal["masked", "dense"] = "masked"
    unsaid: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether something was tested, and all that differs is rounding, or what inexact axes (and
        removal itself, beside the dense network) explain.
        """
        finite = all(o.difference < float("inf") for o in self.outputs)
        return self.tested and finite and not self.defects

    @property
    def equal(self) -> bool:
        """Whether every output is the same to rounding."""
        return all(o.difference <= o.rounding for o in self.outputs)

    @property
    def verdict(self) -> str:
        """What it comes to, in one line."""
        if not self.tested:
            why = "every output is constant" if self.removed else "no unit was removed"
            return f"not a test: {why}"
        if self.equal:
            return f"equal to rounding: thinned computes what the {self.beside} network does"
        worst = max(self.outputs, key=lambda o: o.difference / max(o.scale, 1e-30))
        seen = f"differs by {worst.difference:.2e} of {worst.scale:.2e}"
        if self.defects or worst.difference == float("inf"):
            return f"{seen}, and nothing explains it"
        if self.beside == "dense":
            return f"{seen}, expected because {self.removed} units are gone"
        many = f"{len(self.inexact)} masked axes are" if len(self.inexact) > 1 else "an axis is"
        return f"{seen}, expected because {many} inexact"

    @property
    def difference(self) -> float:
        """The largest absolute difference between masked and thinned."""
        return max((o.difference for o in self.outputs), default=0.0)

    @property
    def relative(self) -> float:
        """The largest difference relative to its output's largest value."""
        return max((o.difference / max(o.scale, 1e-30) for o in self.outputs), default=0.0)

    @property
    def defects(self) -> tuple[str, ...]:
        """The outputs that differ by more than rounding although every masked axis is exact."""
        if self.inexact or self.beside == "dense":
            return ()
        return tuple(o.place for o in self.outputs if not o.difference <= o.rounding)

    @property
    def tested(self) -> bool:
        """Whether anything was removed, and some output is not constant."""
        return self.removed > 0 and not all(o.constant for o in self.outputs)

    def __repr__(self) -> str:
        """The verdict; `print(report)` shows every output and reason."""
        return f"Report: {self.verdict}\n  {self._removed}; {len(self.outputs)} outputs compared"

    def _repr_html_(self) -> str:
        """As a notebook shows it: the verdict, and tables that unfold."""
        outputs = [
            (o.place, str(o.shape), f"{o.difference:.2e}", f"{o.scale:.2e}") for o in self.outputs
        ]
        head = ("output", "shape", "largest difference", "of")
        sections = {
            self._removed: Table(head, outputs, numbers=(2, 3)),
            "inexact axes": Table(("axis", "why"), [*self.inexact.items()]),
            "all": str(self),
        }
        return folded(self.verdict, sections, opened=(self._removed,))

    @property
    def _removed(self) -> str:
        return f"{self.beside} against thinned: {self.removed} of {self.units} units removed"

    def __str__(self) -> str:
        lines = [self.verdict, self._removed]
        wide = max((len(o.place) for o in self.outputs), default=0)
        lines += [
            "  "
            f"{o.place:<{wide}}  {o.shape!s:<18} largest difference {o.difference:.2e} of "
            f"{o.scale:.2e}"
            for o in self.outputs
        ]
        lines.append(
            f"{len(self.exact)} masked axes are exact" + ("" if self.inexact else ", none inexact")
        )
        if self.defects:
            lines[-1] = f"{len(self.exact)} masked axes were said to be exact and are not"
            lines += [
                f"  {place} differs by more than rounding: a defect of purethin, please report it "
                "with the network and the masks"
                for place in self.defects
            ]
        wide = max(map(len, self.inexact), default=0)
        lines += [f"  {name:<{wide}}  inexact: {why}" for name, why in self.inexact.items()]
        if self.inexact:
            lines.append("  select(scores, sparsity, spec=spec) leaves inexact axes out")
        reasons: dict[str, int] = {}
        for f in self.frozen:
            reasons[f.reason] = reasons.get(f.reason, 0) + 1
        lines += [f"frozen: {n} dimensions, {why}" for why, n in reasons.items()]
        lines += [f"not read by this forward: {line}" for line in self.unsaid]
        return "\n".join(lines)


@explained
def check(
    model: nn.Module | Callable[..., Any],
    params: TensorTree,
    spec: Spec,
    masks: Masks,
    *args: Any,
    **kwargs: Any,
) -> Report:
    """Run the masked and the thinned network on the same inputs and compare every output.

    Args:
        model: the module, run in eval mode on copies; or the function of the parameters.
        params: its parameters, dense.
        spec: its spec.
        masks: `{axis: BoolTensor[size]}`, True = keep.
        *args, **kwargs: example inputs.

    Returns:
        A report that prints as a short table.

    Raises:
        MaskError, SpecError: as `mask` and `thin`.
    """
    return _checked(model, params, spec, masks, (mask(params, spec, masks), "masked"), args, kwargs)


@explained
def check_dense(
    model: nn.Module | Callable[..., Any],
    params: TensorTree,
    spec: Spec,
    masks: Masks,
    *args: Any,
    **kwargs: Any,
) -> Report:
    """As `check`, beside the dense network: how much removal itself changes the outputs.

    Args:
        model: the module, run in eval mode on copies; or the function of the parameters.
        params: its parameters, dense.
        spec: its spec.
        masks: `{axis: BoolTensor[size]}`, True = keep.
        *args, **kwargs: example inputs.

    Returns:
        A report that prints as a short table.

    Raises:
        MaskError, SpecError: as `thin`.
    """
    return _checked(model, params, spec, masks, (params, "dense"), args, kwargs)


def _checked(
    model: nn.Module | Callable[..., Any],
    params: TensorTree,
    spec: Spec,
    masks: Masks,
    reference: tuple[TensorTree, Literal["masked", "dense"]],
    args: Any,
    kwargs: Any,
) -> Report:
    """Thinned beside other parameters of dense shapes."""
    (beside, name), (thinned, config) = reference, thin(params, spec, masks)
    stay: tuple[str, ...] = ()
    if isinstance(model, nn.Module):
        dense = rebuild(model, beside, config_of(spec, {})).eval()
        small = rebuild(model, thinned, config).eval()
        stay = unsaid(dense, small, spec, masks)
    else:
        dense, small = (lambda *a, p=p, **k: model(p, *a, **k) for p in (beside, thinned))
    with torch.no_grad(), slow_path():
        state = torch.get_rng_state()
        want = _outputs(dense, args, kwargs)
        torch.set_rng_state(state)
        got = _outputs(small, args, kwargs)
    masked_axes = [spec.axes[name] for name in masks]
    eps = max((_eps(t) for t in tree_leaves((beside, args, kwargs))), default=0.0)
    return Report(
        outputs=tuple(_compared(place, want[place], got.get(place), eps) for place in want),
        exact=tuple(a.name for a in masked_axes if a.exact),
        inexact={a.name: a.reason or "" for a in masked_axes if not a.exact},
        frozen=spec.frozen,
        removed=sum(int((~m).sum()) for m in masks.values()),
        units=sum(a.size for a in masked_axes),
        beside=name,
        unsaid=stay,
    )


def _outputs(function: Callable[..., Any], args: Any, kwargs: Any) -> dict[str, Tensor]:
    out = function(*_copied(args), **_copied(kwargs))
    forward = function.forward if isinstance(function, nn.Module) else function
    return {
        place: leaf
        for place, leaf in results(forward, args, kwargs, out)
        if isinstance(leaf, Tensor)
    }


@contextmanager
def slow_path() -> Iterator[None]:
    """Without the fused path of torch's encoder layers, which zeroes padded places where the other
    computes them.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _copied(tree: Any) -> Any:
    return tree_map(lambda x: x.clone() if isinstance(x, Tensor) else copy.copy(x), tree)


def _eps(x: Any) -> float:
    """The relative step of a floating dtype; 0 for anything else."""
    floats = isinstance(x, Tensor) and (x.is_floating_point() or x.is_complex())
    return torch.finfo(x.dtype).eps if floats else 0.0


def _compared(place: str, want: Tensor, got: Tensor | None, eps: float) -> Output:
    """One output of both. Rounding explains 4 √eps of its scale, by the coarsest dtype that took
    part, or 16 eps; in integers any difference, for they may stand for the larger of two that tie.
    """
    if got is None or got.shape != want.shape:
        return Output(place, tuple(want.shape), float("inf"), float("inf"), 0.0)
    if not want.numel():
        return Output(place, tuple(want.shape), 0.0, 0.0, constant=True)
    step = max(eps, _eps(want)) if _eps(want) else float("inf")
    a, b = (
        t.detach().to(torch.complex128 if t.is_complex() else torch.float64) for t in (want, got)
    )
    same = (a == b) | (a.isnan() & b.isnan())
    difference = torch.where(same, torch.zeros_like(a), a - b).abs()
    scale = float(a.abs().nan_to_num(0, 0, 0).max())
    return Output(
        place,
        tuple(want.shape),
        float(difference.nan_to_num(float("inf")).max()),
        scale,
        max(4 * step**0.5 * scale, 16 * step),
        want.numel() > 1 and bool((a == a.flatten()[0]).all()),
    )
