"""Repair within a training: what reads the units that go gives what it gave before, as nearly as
what is left allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from purethin.errors import OptionError, RecipeError, SpecError
from purethin.modules import params_of
from purethin.recipes.pruners import Pruner
from purethin.recipes.pruning import Pruning
from purethin.repairing.least_squares import repair
from purethin.thinning import expand, mask
from purethin.training.core import State
from purethin.training.tensors import Tensors
from purethin.tree import named


def check_repair(pruning: Pruning) -> None:
    """That a training along this recipe can repair.

    Raises:
        SpecError: the spec knows no call of a forward.
        RecipeError: units come back, or go within an epoch.
    """
    table, spec = pruning.timetable, pruning.spec
    if not spec.sites:
        raise SpecError(
            "repair=True fits what the trace saw read an axis, and this spec was written without "
            "one: give one that infer made, or leave repair out"
        )
    why = None
    if pruning.regrows:
        why = "whose units come back, to weights that were fitted to do without them: leave "
        why += "regrow out"
    elif any(policy.batches for policy in table.of(Pruner)):
        why = "which prunes within an epoch, where the loader's batches are not to be had: leave "
        why += "mini_batch_pruning_frequency out"
    if why is not None:
        raise RecipeError(f"repair=True does not go with this recipe, {why}, or repair")


def repaired(tensors: Tensors, state: State, inputs: Sequence[Any]) -> dict[str, Tensor]:
    """`{parameter: its new value, whole}` at the shapes of the tensors as they are: of those alone
    that `repair` changes, the same in every process.

    Args:
        tensors: as they are before the next state is followed.
        state: the next one, with the masks that come.
        inputs: of some batches of this process, as `repair` takes them.

    Raises:
        OptionError: there are fewer than two batches.
    """
    if len(inputs) < 2:
        raise OptionError(
            f"repair=True fits on some batches and chooses by others, and has {len(inputs)}: give "
            "a loader of two batches or more, and calibrate=2 or more"
        )
    now, small = tensors.pruned, tensors.small().eval()
    without = replace(state, thinned_masks=now.masks)  # as if all that is masked now had left
    left = {n: m for n, m in without.pending.items() if not bool(m.all())}
    params, spec = params_of(small), without.spec
    plain = named(mask(params, spec, left))
    found = repair(small, params, spec, left, inputs)
    moved = [n for n, t in named(found).items() if not torch.equal(t, plain[n])]
    whole = named(expand(found, now.spec, now.pending))
    values = {name: whole[name] for name in tensors.engine.gathered(moved)[0]}
    tensors.engine.agree(values.values())
    return values
