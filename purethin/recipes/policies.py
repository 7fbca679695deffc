"""Policies: which instance of a recipe acts when. Epochs are counted from 0, the end of a range is
exclusive.

A policy that could never act is refused as it is read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import yaml

from purethin.errors import nearest
from purethin.recipes.agp import agp
from purethin.recipes.distiller import ARGUMENTS, SECTIONS, refuse_argument
from purethin.recipes.located import (
    Fields,
    empty,
    fail,
    mapping,
    place,
    sequence,
    truth,
    value,
    whole,
)
from purethin.recipes.pruners import Pruner
from purethin.recipes.regularizers import Regularizer

T_co = TypeVar("T_co", covariant=True)
KINDS = ("pruner", "regularizer", "extension", "lr_scheduler")
"""What a policy is of."""
_ARGUMENTS = {
    "pruner": ("mini_batch_pruning_frequency", "keep_mask"),
    "regularizer": ("keep_mask",),
}


@dataclass(frozen=True)
class Thinner:
    """A thinning extension, by instance name."""

    name: str


@dataclass(frozen=True)
class Policy(Generic[T_co]):
    """When an instance acts.

    Attributes:
        instance: the pruner, regularizer, thinner or scheduler that acts.
        epochs: at which it acts, ascending.
        frequency: epochs between two of them, where a range gave them; else 1.
        end: the epoch after the last (exclusive), as the range says it.
        batches: a pruner acts anew before every so many batches of its epochs too; 0 for never.
        keep_mask: whether what a regularizer brought below its threshold is removed when the policy
            is over.
        place: its line, for messages.
    """

    instance: T_co
    epochs: tuple[int, ...]
    frequency: int
    end: int
    batches: int = 0
    keep_mask: bool = False
    place: str = field(default="", compare=False, repr=False)

    @property
    def kind(self) -> str:
        """One of `KINDS`: what acts."""
        of = {Pruner: "pruner", Regularizer: "regularizer", Thinner: "extension"}
        return of.get(type(self.instance), "lr_scheduler")

    @property
    def begin(self) -> int:
        """The first epoch."""
        return self.epochs[0]

    @property
    def over(self) -> int:
        """The epoch after the last at which it acts."""
        return self.epochs[-1] + 1

    def acts_at(self, epoch: int) -> bool:
        """Whether this is one of its epochs."""
        place = bisect_left(self.epochs, epoch)
        return place < len(self.epochs) and self.epochs[place] == epoch


def sparsity_at(policy: Policy[Pruner], epoch: int) -> float:
    """The fraction of dense units (or weights) that is gone after this epoch of a policy."""
    pruner = policy.instance
    if not pruner.gradual:
        return pruner.final
    when = {"begin": policy.begin, "end": policy.end, "frequency": policy.frequency}
    return agp(epoch, initial=pruner.initial, final=pruner.final, **when)


def read_policy(node: yaml.Node, known: Mapping[str, Mapping[str, Any]]) -> Policy[Any]:
    """A policy from its entry under `policies`.

    Args:
        node: the entry.
        known: `{kind: {name: instance}}`.

    Raises:
        RecipeError: it is of no instance, has no time or two, or asks for what is refused.
    """
    fields = mapping(node, "a policy")
    kinds = [k for k in fields if k in KINDS]
    allowed = (*KINDS, "epochs", "starting_epoch", "ending_epoch", "frequency")
    for key, (at, _) in fields.items():
        if refused := SECTIONS.get(f"{key}s"):
            fail(at, f"a policy of a {key}: {refused}; remove the policy")
        if key not in allowed:
            fail(at, f"a policy has no '{key}'; {nearest(key, allowed)}")
    if len(kinds) != 1:
        fail(
            node,
            f"a policy has exactly one of {', '.join(KINDS)}; this has "
            f"{', '.join(kinds) or 'none'}",
        )
    kind = kinds[0]
    inner = mapping(fields[kind][1], f"the policy's {kind}")
    for key, (at, _) in inner.items():
        if key not in ("instance_name", "args"):
            fail(at, f"'{key}' of a policy's {kind} is not known; only instance_name and args are")
    if "instance_name" not in inner:
        fail(
            fields[kind][1],
            f"write `instance_name:` and one of: {', '.join(known[kind]) or 'none is defined'}",
        )
    name = str(value(inner["instance_name"][1]))
    if name not in known[kind]:
        fail(
            inner["instance_name"][1], f"no {kind} is named '{name}'; {nearest(name, known[kind])}"
        )
    instance = known[kind][name]
    batches, keep_mask = _arguments(kind, inner)
    keep_mask = keep_mask and isinstance(instance, Regularizer) and instance.threshold is not None
    ranged_only = isinstance(instance, Pruner) and instance.gradual
    epochs, frequency, end = _times(node, fields, ranged_only=ranged_only)
    return Policy(instance, epochs, frequency, end, batches, keep_mask, place(node))


def _arguments(kind: str, inner: Fields) -> tuple[int, bool]:
    """`(batches, keep_mask)` of a policy's args."""
    batches, keep_mask = 0, False
    args = (
        mapping(inner["args"][1], "args") if "args" in inner and not empty(inner["args"][1]) else {}
    )
    for key, (at, entry) in args.items():
        refuse_argument(key, at, entry)
        if key == "keep_mask" and kind in _ARGUMENTS:
            keep_mask = truth(entry, key)
        elif key in _ARGUMENTS.get(kind, ()):
            batches = whole(entry, key, 0)
        elif key not in ARGUMENTS or kind != "pruner":
            fail(
                at,
                f"a policy's {kind} has no argument '{key}'; "
                f"{nearest(key, _ARGUMENTS.get(kind, ()))}",
            )
    return batches, keep_mask


def _times(
    node: yaml.Node, fields: Fields, *, ranged_only: bool
) -> tuple[tuple[int, ...], int, int]:
    """`(epochs, frequency, end)`."""
    ranged = [k for k in ("starting_epoch", "ending_epoch", "frequency") if k in fields]
    if "epochs" in fields:
        if ranged:
            fail(
                fields[ranged[0]][0],
                "a policy has `epochs` or a range, not both: remove `epochs` or "
                f"{', '.join(ranged)}",
            )
        if ranged_only:
            fail(
                fields["epochs"][0],
                "an _AGP pruner needs a range: write starting_epoch, ending_epoch and frequency",
            )
        epochs = tuple(
            sorted({whole(e, "an epoch", 0) for e in sequence(fields["epochs"][1], "epochs")})
        )
        if not epochs:
            fail(fields["epochs"][1], "`epochs` is empty: this policy would never act")
        return epochs, 1, epochs[-1] + 1
    for key in ("starting_epoch", "ending_epoch"):
        if key not in fields:
            fail(
                node,
                f"this policy lacks '{key}': write starting_epoch, ending_epoch and frequency, or "
                "epochs: […]",
            )
    start, end = (whole(fields[k][1], k, 0) for k in ("starting_epoch", "ending_epoch"))
    frequency = whole(fields["frequency"][1], "frequency", 1) if "frequency" in fields else 1
    if end <= start:
        fail(
            fields["ending_epoch"][1],
            f"ending_epoch {end} (exclusive) is not after starting_epoch {start}: this policy "
            "would never act",
        )
    return tuple(range(start, end, frequency)), frequency, end
