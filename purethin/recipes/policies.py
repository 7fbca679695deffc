"""Policies: which instance of a recipe acts when, and what acts at an epoch. Epochs are counted
from 0, the end of a range is exclusive.

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
from purethin.recipes import nodes
from purethin.recipes.curves import agp, cosine
from purethin.recipes.distiller import SECTIONS, off
from purethin.recipes.nodes import Fields, said
from purethin.recipes.pruners import Pruner
from purethin.recipes.regularizers import Regularizer

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


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
        """What acts: pruner, regularizer, extension or lr_scheduler."""
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


def sparsity_at(policy: Policy[Pruner], epoch: int, final: float | None = None) -> float:
    """The fraction of dense units (or weights) that is gone after this epoch of a policy.

    Args:
        policy: of a pruner.
        epoch: one of its epochs.
        final: the fraction at the end, where it is not the pruner's own but one axis's.
    """
    pruner = policy.instance
    final = pruner.final if final is None else final
    if not pruner.gradual:
        return final
    when = {"begin": policy.begin, "end": policy.end, "frequency": policy.frequency}
    curve = agp if pruner.by_axis is None else pruner.by_axis.curve.load("curve")
    return curve(epoch, initial=min(pruner.initial, final), final=final, **when)


def exchanged_at(policy: Policy[Pruner], epoch: int) -> float:
    """The part of the units that stay which is exchanged for gone ones at this epoch."""
    by = policy.instance.by_axis
    if by is None or not by.regrow:
        return 0.0
    when = {"begin": policy.begin, "end": policy.end, "frequency": policy.frequency}
    return cosine(epoch, initial=by.regrow, final=0.0, **when)


@dataclass(frozen=True)
class Timetable:
    """The policies of a recipe, as listed."""

    policies: tuple[Policy[Any], ...]

    @property
    def last_epoch(self) -> int:
        """The last epoch at which anything acts; -1 where nothing does."""
        return max((p.over if p.keep_mask else p.epochs[-1] for p in self.policies), default=-1)

    def of(self, kind: type[T]) -> list[Policy[T]]:
        """The policies of one kind: `Pruner`, `Regularizer`, `Thinner` or `Scheduler`."""
        return [p for p in self.policies if isinstance(p.instance, kind)]

    def at(self, epoch: int, kind: type[T]) -> list[Policy[T]]:
        """Those of them that act at an epoch."""
        return [p for p in self.of(kind) if p.acts_at(epoch)]

    def pruning_at(self, epoch: int, step: int = 0) -> list[Policy[Pruner]]:
        """The policies of pruners that act as an epoch begins, or before a later batch of it."""
        return [
            p for p in self.at(epoch, Pruner) if not step or (p.batches and not step % p.batches)
        ]

    def thins_at(self, epoch: int) -> bool:
        """Whether a thinning extension fires as this epoch begins, after its pruners."""
        return bool(self.at(epoch, Thinner))

    def acts_at(self, epoch: int) -> bool:
        """Whether masks may change as this epoch begins: `masks_at(epoch, …)` is to be called."""
        return bool(self.pruning_at(epoch) or self.removes_at(epoch))

    def acts_within(self, epoch: int, step: int) -> bool:
        """Whether pruners act before this batch (counted from 0) of an epoch too: `masks_at(…,
        step=step)` is to be called.
        """
        return step > 0 and bool(self.pruning_at(epoch, step))

    def removes_at(self, epoch: int) -> list[Regularizer]:
        """The regularizers whose fallen groups are removed as this epoch begins.

        That is where a thinner fires while their policy lasts, or right after it; and with
        keep_mask right after it in any case.
        """
        due = [
            p.instance
            for p in self.of(Regularizer)
            if (p.keep_mask and epoch == p.over)
            or (p.begin < epoch <= p.over and self.thins_at(epoch))
        ]
        return [regularizer for regularizer in dict.fromkeys(due) if regularizer.threshold]


# ---- reading


@dataclass(frozen=True)
class _Arguments:
    keep_mask: bool = said(nodes.truth, default=False)


@dataclass(frozen=True)
class _PrunerArguments(_Arguments):
    mini_batch_pruning_frequency: int = said(nodes.whole, default=0)


@dataclass(frozen=True)
class _NoArguments:
    pass


_ARGUMENTS: dict[str, type] = {
    "pruner": _PrunerArguments,
    "regularizer": _Arguments,
    "extension": _NoArguments,
    "lr_scheduler": _NoArguments,
}
"""What a policy is of, and the `args` that it reads."""


def _epochs(node: yaml.Node, what: str) -> tuple[int, ...]:
    if not (epochs := {nodes.whole(e, "an epoch") for e in nodes.sequence(node, what)}):
        nodes.fail(node, "`epochs` is empty: this policy would never act")
    return tuple(sorted(epochs))


@dataclass(frozen=True)
class _Times:
    """When a policy acts: at epochs, or in a range."""

    epochs: tuple[int, ...] = said(_epochs, default=())
    starting_epoch: int = said(nodes.whole, default=0)
    ending_epoch: int = said(nodes.whole, default=0)
    frequency: int = said(partial(nodes.whole, least=1), default=1)


def read_policy(node: yaml.Node, known: Mapping[str, Mapping[str, Any]]) -> Policy[Any]:
    """A policy from its entry under `policies`.

    Args:
        node: the entry.
        known: `{kind: {name: instance}}`.

    Raises:
        RecipeError: it is of no instance, has no time or two, or asks for what is refused.
    """
    entries = nodes.mapping(node, "a policy")
    for key, (at, _) in entries.items():
        if refused := SECTIONS.get(f"{key}s"):
            nodes.fail(at, f"a policy of a {key}: {refused}; remove the policy")
    kinds = [k for k in entries if k in _ARGUMENTS]
    times = {k: e for k, e in entries.items() if k not in kinds}
    says = nodes.read(_Times, times, node, "a policy", "a policy has no")
    if len(kinds) != 1:
        one, given = ", ".join(_ARGUMENTS), ", ".join(kinds) or "none"
        nodes.fail(node, f"a policy has exactly one of {one}; this has {given}")
    instance, arguments = _instance(kinds[0], entries[kinds[0]][1], known[kinds[0]])
    batches = getattr(arguments, "mini_batch_pruning_frequency", 0)
    if batches and instance.by_axis is not None:
        nodes.fail(node, "a pruner with `axes` acts as epochs begin: leave mini_batch_… out")
    _check_times(node, times, says, ranged=_ranged(instance))
    epochs = says.epochs or tuple(range(says.starting_epoch, says.ending_epoch, says.frequency))
    return Policy(
        instance,
        epochs,
        says.frequency,
        says.ending_epoch or epochs[-1] + 1,
        batches,
        isinstance(instance, Regularizer) and bool(instance.threshold) and arguments.keep_mask,
        nodes.place(node),
    )


def _instance(kind: str, node: yaml.Node, known: Mapping[str, Any]) -> tuple[Any, Any]:
    """What acts, and the arguments of its policy."""
    inner = nodes.mapping(node, f"the policy's {kind}")
    for key, (at, _) in inner.items():
        if key not in ("instance_name", "args"):
            only = "only instance_name and args are"
            nodes.fail(at, f"'{key}' of a policy's {kind} is not known; {only}")
    if "instance_name" not in inner:
        names = ", ".join(known) or "none is defined"
        nodes.fail(node, f"write `instance_name:` and one of: {names}")
    name = str(nodes.value(named := inner["instance_name"][1]))
    if name not in known:
        nodes.fail(named, f"no {kind} is named '{name}'; {nearest(name, known)}")
    given: Fields = {}
    if "args" in inner and not nodes.empty(inner["args"][1]):
        given = nodes.mapping(inner["args"][1], "args")
    asked = {k: e for k, e in given.items() if kind != "pruner" or not off(k, *e)}
    unknown = f"a policy's {kind} has no argument"
    return known[name], nodes.read(_ARGUMENTS[kind], asked, node, "args", unknown)


def _ranged(instance: Any) -> str:
    """What of an instance asks for a range of epochs; empty where nothing does."""
    if not isinstance(instance, Pruner) or not instance.gradual:
        return ""
    return "an _AGP pruner" if instance.by_axis is None else "a curve other than one_shot"


def _check_times(node: yaml.Node, entries: Fields, says: _Times, *, ranged: str) -> None:
    """That a policy has epochs or a range, and acts."""
    others = [k for k in entries if k != "epochs"]
    if "epochs" in entries:
        if others:
            which = f"remove `epochs` or {', '.join(others)}"
            nodes.fail(
                entries[others[0]][0], f"a policy has `epochs` or a range, not both: {which}"
            )
        if ranged:
            remedy = "write starting_epoch, ending_epoch and frequency"
            nodes.fail(entries["epochs"][0], f"{ranged} needs a range: {remedy}")
        return
    for key in ("starting_epoch", "ending_epoch"):
        if key not in entries:
            remedy = "write starting_epoch, ending_epoch and frequency, or epochs: […]"
            nodes.fail(node, f"this policy lacks '{key}': {remedy}")
    if says.ending_epoch <= says.starting_epoch:
        late = f"is not after starting_epoch {says.starting_epoch}: this policy would never act"
        end = entries["ending_epoch"][1]
        nodes.fail(end, f"ending_epoch {says.ending_epoch} (exclusive) {late}")
