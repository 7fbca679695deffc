"""Regrowth: at each step units that are gone come back, in exchange for others, as RigL has it for
single weights. They come back with the weights that they had.

Source: Evci et al., Rigging the Lottery: Making All Tickets Winners, arXiv 1911.11134: drop the
least, grow what has the largest gradient; the part that is exchanged falls along a cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from purethin.errors import RecipeError
from purethin.measuring.running import running
from purethin.recipes.policies import Policy, Timetable
from purethin.recipes.pruners import Pruner
from purethin.spec import Masks, Scores, Spec
from purethin.thinning import mask
from purethin.tree import TensorTree


def regrows(timetable: Timetable) -> bool:
    """Whether any unit may come back."""
    return any(_part(policy) for policy in timetable.of(Pruner))


def exchanged(new: Masks, before: Masks, scores: Scores, part: float) -> dict[str, Tensor]:
    """Masks with as many units gone, in which the best of those that were gone stand for the least
    of those that were there.

    Args:
        new: the masks that this step would leave, `{axis: BoolTensor[size]}`.
        before: those before it.
        scores: `{axis: Tensor[size]}`: of units that are there, what they are worth; of those that
            are gone, what bringing them back is.
        part: of the units that stay, how many are exchanged at most, rounded down.

    >>> stay, there = torch.tensor([False, True, True]), torch.tensor([False, True, True])
    >>> exchanged({"h": stay}, {"h": there}, {"h": torch.tensor([9.0, 1.0, 2.0])}, 0.5)
    {'h': tensor([ True, False,  True])}
    """
    out = dict(new)
    for axis, kept in new.items():
        if axis not in before:
            continue
        gone = ~before[axis].to(kept.device)
        count = min(int(part * int(kept.sum())), int(gone.sum()), int(kept.sum()))
        worth = scores[axis].to(kept.device)
        least = torch.where(kept, worth, torch.inf).argsort(stable=True)[:count]
        best = torch.where(gone, worth, -torch.inf).argsort(descending=True, stable=True)[:count]
        out[axis] = kept.clone()
        out[axis][least] = False
        out[axis][best] = True
    return out


def growth(
    model: nn.Module,
    params: TensorTree,
    spec: Spec,
    masks: Masks,
    axes: Iterable[str],
    batches: Sequence[tuple[Any, Callable[[Any], Tensor]]],
) -> dict[str, Tensor]:
    """What bringing back each unit is worth, `{axis: Tensor[size]}`: E_batch[(∂L/∂z)²] of a gate z
    on it, at 0 where it is gone; RigL's gradient of a connection that is not there.

    Args:
        model: the dense network.
        params: its parameters, with the weights that gone units had.
        spec: its spec.
        masks: what is gone.
        axes: whose units are asked for; they have gates.
        batches: inputs, as `measure` takes them, each with the loss of the outputs.
    """
    run, wanted = running(model, params, spec), [*axes]
    total = {axis: torch.zeros(spec.sizes[axis]) for axis in wanted}
    dtype = next(t.dtype for t in run.tensors.values() if t.is_floating_point())
    for inputs, loss in batches:
        device = next(iter(run.tensors.values())).device
        z = {a: _whole(a, masks, spec).to(device, dtype).requires_grad_() for a in wanted}
        with torch.enable_grad():
            masked = mask(dict(run.tensors), spec, {**masks, **z})
            value = loss(run.call(dict(masked), inputs))
        found = torch.autograd.grad(value, [*z.values()], allow_unused=True)
        for axis, g in zip(wanted, found, strict=True):
            total[axis] = total[axis] if g is None else total[axis].to(g) + g.square()
    return total


def _whole(axis: str, masks: Masks, spec: Spec) -> Tensor:
    return masks.get(axis, torch.ones(spec.sizes[axis], dtype=torch.bool, device="cpu"))


def check_regrowth(timetable: Timetable, thin: str) -> None:
    """That what may come back is still in the tensors.

    Raises:
        RecipeError: it leaves them before the last exchange.
    """
    for policy in timetable.of(Pruner):
        if not _part(policy):
            continue
        early = next((e for e in range(policy.epochs[-1]) if timetable.thins_at(e)), None)
        why = 'thin="now" takes units out at each step' if thin == "now" else None
        if early is not None:
            why = f"the recipe thins at epoch {early}"
        if why is not None:
            raise RecipeError(
                f"units of '{policy.instance.name}' may come back until epoch "
                f"{policy.epochs[-1]}, and {why}: what has left the tensors cannot; thin after "
                'that, with thin="end", or leave `regrow` out'
            )


def _part(policy: Policy[Pruner]) -> float:
    by = policy.instance.by_axis
    return 0.0 if by is None else by.regrow
