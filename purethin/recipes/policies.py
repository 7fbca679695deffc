"""Policies: which instance of a recipe acts when. Epochs are counted from 0, the end of a range is
exclusive.

A policy that could never act is refused as it is read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import yaml

from purethin.errors import nearest
from purethin.recipes.agp import agp
from purethin.recipes.distiller import SECTIONS, off
from purethin.recipes.located import (
    Fields,
    empty,
    fail,
    mapping,
    place,
    read,
    said,
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


# ---- reading


@dataclass(frozen=True)
class _Arguments:
    keep_mask: bool = said(truth, default=False)


@dataclass(frozen=True)
class _PrunerArguments(_Arguments):
    mini_batch_pruning_frequency: int = said(whole, default=0)


@dataclass(frozen=True)
class _NoArguments:
    pass


_ARGUMENTS: dict[str, type] = {"pruner": _PrunerArguments, "regularizer": _Arguments}


def _epochs(node: yaml.Node, what: str) -> tuple[int, ...]:
    if not (epochs := {whole(e, "an epoch") for e in sequence(node, what)}):
        fail(node, "`epochs` is empty: this policy would never act")
    return tuple(sorted(epochs))


@dataclass(frozen=True)
class _Times:
    """When a policy acts: at epochs, or in a range."""

    epochs: tuple[int, ...] = said(_epochs, default=())
    starting_epoch: int = said(whole, default=0)
    ending_epoch: int = said(whole, default=0)
    frequency: int = said(partial(whole, least=1), default=1)


def read_policy(node: yaml.Node, known: Mapping[str, Mapping[str, Any]]) -> Policy[Any]:
    """A policy from its entry under `policies`.

    Args:
        node: the entry.
        known: `{kind: {name: instance}}`.

    Raises:
        RecipeError: it is of no instance, has no time or two, or asks for what is refused.
    """
    entries = mapping(node, "a policy")
    for key, (at, _) in entries.items():
        if refused := SECTIONS.get(f"{key}s"):
            fail(at, f"a policy of a {key}: {refused}; remove the policy")
    kinds = [k for k in entries if k in KINDS]
    times = {k: e for k, e in entries.items() if k not in KINDS}
    says = read(_Times, times, node, "a policy", "a policy has no")
    if len(kinds) != 1:
        given = ", ".join(kinds) or "none"
        fail(node, f"a policy has exactly one of {', '.join(KINDS)}; this has {given}")
    kind = kinds[0]
    instance, arguments = _instance(kind, entries[kind][1], known[kind])
    gradual = isinstance(instance, Pruner) and instance.gradual
    _check_times(node, times, says, ranged_only=gradual)
    epochs = says.epochs or tuple(range(says.starting_epoch, says.ending_epoch, says.frequency))
    return Policy(
        instance,
        epochs,
        says.frequency,
        says.ending_epoch or epochs[-1] + 1,
        getattr(arguments, "mini_batch_pruning_frequency", 0),
        isinstance(instance, Regularizer) and bool(instance.threshold) and arguments.keep_mask,
        place(node),
    )


def _instance(kind: str, node: yaml.Node, known: Mapping[str, Any]) -> tuple[Any, Any]:
    """What acts, and the arguments of its policy."""
    inner = mapping(node, f"the policy's {kind}")
    for key, (at, _) in inner.items():
        if key not in ("instance_name", "args"):
            fail(at, f"'{key}' of a policy's {kind} is not known; only instance_name and args are")
    if "instance_name" not in inner:
        names = ", ".join(known) or "none is defined"
        fail(node, f"write `instance_name:` and one of: {names}")
    named = inner["instance_name"][1]
    name = str(value(named))
    if name not in known:
        fail(named, f"no {kind} is named '{name}'; {nearest(name, known)}")
    given: Fields = {}
    if "args" in inner and not empty(inner["args"][1]):
        given = mapping(inner["args"][1], "args")
    asked = {k: e for k, e in given.items() if not off(k, *e) or kind != "pruner"}
    unknown = f"a policy's {kind} has no argument"
    return known[name], read(_ARGUMENTS.get(kind, _NoArguments), asked, node, "args", unknown)


def _check_times(node: yaml.Node, entries: Fields, says: _Times, *, ranged_only: bool) -> None:
    """That a policy has epochs or a range, and acts."""
    ranged = [k for k in entries if k != "epochs"]
    if "epochs" in entries and ranged:
        fail(
            entries[ranged[0]][0],
            f"a policy has `epochs` or a range, not both: remove `epochs` or {', '.join(ranged)}",
        )
    if "epochs" in entries and ranged_only:
        fail(
            entries["epochs"][0],
            "an _AGP pruner needs a range: write starting_epoch, ending_epoch and frequency",
        )
    for key in () if "epochs" in entries else ("starting_epoch", "ending_epoch"):
        if key not in entries:
            fail(
                node,
                f"this policy lacks '{key}': write starting_epoch, ending_epoch and frequency, or "
                "epochs: […]",
            )
    if ranged and says.ending_epoch <= says.starting_epoch:
        fail(
            entries["ending_epoch"][1],
            f"ending_epoch {says.ending_epoch} (exclusive) is not after starting_epoch "
            f"{says.starting_epoch}: this policy would never act",
        )
