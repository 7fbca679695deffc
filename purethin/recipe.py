"""Recipes: Distiller's YAML, read safely into plain data. Every complaint has file, line and column, and what to write instead.

A recipe knows no network. `masks_at` and `thins_at` say what happens as an epoch begins; both are pure. Masks and sparsities are
those of the dense network, and only grow: what is removed stays removed.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.optim import lr_scheduler

from purethin.criteria import filter_norm
from purethin.distiller import ARGUMENTS, CLASSES, GROUPS, SECTIONS
from purethin.errors import MaskError, RecipeError, nearest
from purethin.groups import DEPENDENCIES, GROUP_TYPES, Group, Pruner, groups_of, refuse_rivals
from purethin.located import Fields, compose, empty, fail, fraction, mapping, place, sequence, value, values, whole
from purethin.schedule import agp
from purethin.select import count_removed
from purethin.spec import Masks, Spec, check_fits
from purethin.tree import TensorTree, named

_PRUNERS = {"L1RankedStructureParameterPruner": 1, "L2RankedStructureParameterPruner": 2}
_THINNERS = ("FilterRemover", "ChannelRemover", "StructureRemover")
_THINNING = ("remove_filters", "remove_channels")


@dataclass(frozen=True)
class Scheduler:
    """A learning-rate scheduler of torch by class name, and its arguments."""

    name: str
    kind: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Policy:
    """When an instance acts: its kind (`pruner`, `extension`, `lr_scheduler`), its name, and its epochs."""

    kind: str
    instance: str
    epochs: tuple[int, ...]
    frequency: int
    end: int

    @property
    def begin(self) -> int:
        """The first epoch."""
        return self.epochs[0]


@dataclass(frozen=True)
class Recipe:
    """A recipe as read: plain data.

    Attributes:
        source: the file name, or `recipe`.
        pruners: by instance name, as listed.
        thinners: the instance names of the thinning extensions.
        schedulers: learning-rate schedulers by instance name.
        policies: which instance acts when, as listed.
    """

    source: str
    pruners: Mapping[str, Pruner]
    thinners: tuple[str, ...]
    schedulers: Mapping[str, Scheduler]
    policies: tuple[Policy, ...]

    @property
    def last_epoch(self) -> int:
        """The last epoch at which any policy acts; -1 where none does."""
        return max((p.epochs[-1] for p in self.policies), default=-1)

    def at(self, epoch: int, kind: str) -> list[Policy]:
        """The policies of one kind that act at an epoch, as listed."""
        return [p for p in self.policies if p.kind == kind and epoch in p.epochs]

    def thins_at(self, epoch: int) -> bool:
        """Whether a thinning extension fires as this epoch begins, after its pruners."""
        return bool(self.at(epoch, "extension"))

    def sparsity_at(self, epoch: int, policy: Policy) -> float:
        """The fraction of dense units that a pruner's policy has removed after this epoch."""
        pruner = self.pruners[policy.instance]
        if not pruner.gradual:
            return pruner.final
        return agp(
            epoch,
            initial=pruner.initial,
            final=pruner.final,
            begin=policy.begin,
            end=policy.end,
            frequency=policy.frequency,
        )

    def groups(self, spec: Spec) -> dict[str, list[Group]]:
        """The axes that each pruner prunes on this network.

        Raises:
            RecipeError: a pruner does not fit the network (see `groups_of`), or two would prune one axis in the same epoch.
        """
        groups = {name: groups_of(pruner, spec) for name, pruner in self.pruners.items()}
        for epoch in sorted(set(chain.from_iterable(p.epochs for p in self.policies if p.kind == "pruner"))):
            refuse_rivals(groups, self.pruners, [p.instance for p in self.at(epoch, "pruner")], spec)
        return groups

    def acts_within(self, epoch: int, step: int) -> bool:
        return False

    def penalty_at(self, epoch: int, params: TensorTree, spec: Spec) -> Tensor | None:
        return None

    def measures_at(self, epoch: int, spec: Spec) -> tuple[Any, ...]:
        return ()

    def masks_at(
        self, epoch: int, params: TensorTree, spec: Spec, masks: Masks, *, step: int = 0, statistics: Any = None, seed: int = 0
    ) -> dict[str, Tensor]:
        """The masks after the pruners of this epoch have acted; the same ones where none does.

        Args:
            epoch: counted from 0.
            params: the parameters at their dense shapes, zero where units are removed already: they rank. After thinning,
                `expand(thinned, spec, masks)`.
            spec: the dense spec.
            masks: the masks so far, over the dense axes; what is removed stays removed.

        Returns:
            New masks: of n units, floor(sparsity · n) of the dense n are gone, those already gone among them; never the last one.

        Raises:
            RecipeError: a pruner does not fit the network: see `groups_of`.
            SpecError: the parameters are not at the spec's dense shapes.
            MaskError: a weight that ranks holds nan.
        """
        groups, tensors, out = self.groups(spec), named(params), dict(masks)
        check_fits(spec, tensors)
        for policy in self.at(epoch, "pruner"):
            sparsity = self.sparsity_at(epoch, policy)
            for group in groups[policy.instance]:
                for axis in group.axes:
                    rank = filter_norm(tensors[group.leader], spec, group.leader, group.dim, group.ranks or axis, p=group.power)
                    if bool(rank.isnan().any()):
                        count = int(rank.isnan().sum())
                        raise MaskError(f"{count} units of '{axis}' have a norm of nan in {group.leader}: they have no rank")
                    out[axis] = _lowest(rank.detach(), count_removed(sparsity, rank.numel()), out.get(axis))
        return out


def _lowest(scores: Tensor, removed: int, before: Tensor | None) -> Tensor:
    """Remove the lowest, those removed before first of all, the last unit never."""
    kept = torch.ones_like(scores, dtype=torch.bool) if before is None else before.to(scores.device)
    order = torch.where(kept, scores, torch.full_like(scores, -torch.inf)).argsort(stable=True)
    count = min(max(removed, int((~kept).sum())), scores.numel() - 1)
    keep = torch.ones_like(kept)
    keep[order[:count]] = False
    return keep


def build_schedulers(recipe: Recipe, optimizer: torch.optim.Optimizer) -> dict[str, lr_scheduler.LRScheduler]:
    """The recipe's learning-rate schedulers over an optimizer, by name; each steps at the end of the epochs of its policies."""
    return {s.name: getattr(lr_scheduler, s.kind)(optimizer, **s.arguments) for s in recipe.schedulers.values()}


# ---- reading


def load_recipe(source: str | Path) -> Recipe:
    r"""Read a recipe in Distiller's YAML.

    Args:
        source: a path, or the YAML text itself (a string with a line break).

    Raises:
        RecipeError: the file is missing, is no such YAML, or asks for what is unknown, contradictory or not supported; with
            file, line and column.

    >>> load_recipe("version: 1\npolicies: []").last_epoch
    -1
    """
    text, title = (source, "recipe") if isinstance(source, str) and "\n" in source else (None, str(source))
    if text is None:
        try:
            text = Path(source).read_text(encoding="utf-8")
        except OSError as error:
            raise RecipeError(f"{title}: cannot be read: {error.strerror}; give a path, or the YAML text itself") from error
        except UnicodeDecodeError as error:
            raise RecipeError(f"{title}: is not text in UTF-8: {error.reason} at byte {error.start}") from error
    root = compose(text, title)
    if root is None:
        raise RecipeError(f"{title}: empty; a recipe has version, pruners, extensions, lr_schedulers and policies")
    return _recipe(root, title)


def _recipe(root: yaml.Node, title: str) -> Recipe:
    sections = ("version", "pruners", "extensions", "lr_schedulers", "policies")
    top = mapping(root, "the recipe")
    for key, (at, node) in top.items():
        if key in SECTIONS and not empty(node):
            fail(at, f"'{key}': {SECTIONS[key]}; remove the section and its policies")
        if key not in sections and key not in SECTIONS:
            fail(at, f"no section is named '{key}'; {nearest(key, sections)}")
    if "version" in top and (version := value(top["version"][1])) != 1:
        fail(top["version"][1], f"version {version} is not known; write `version: 1`")
    if "policies" not in top:
        fail(root, "no policies: nothing would ever act; write `policies:` with a list of what acts when")
    pruners = {name: _pruner(name, at, node) for name, (at, node) in _section(top, "pruners").items()}
    thinners = tuple(_thinner(name, at, node) for name, (at, node) in _section(top, "extensions").items())
    schedulers = {name: _scheduler(name, at, node) for name, (at, node) in _section(top, "lr_schedulers").items()}
    known = {"pruner": pruners, "extension": dict.fromkeys(thinners), "lr_scheduler": schedulers}
    policies = tuple(_policy(node, known, pruners) for node in sequence(top["policies"][1], "policies"))
    return Recipe(title, pruners, thinners, schedulers, policies)


def _section(top: Fields, name: str) -> Fields:
    return {} if name not in top or empty(top[name][1]) else mapping(top[name][1], name)


def _pruner(name: str, at: yaml.Node, node: yaml.Node) -> Pruner:
    fields = mapping(node, f"pruner '{name}'")
    kind = _class(name, at, fields, [*_PRUNERS, *(f"{k}_AGP" for k in _PRUNERS)])
    gradual = kind.endswith("_AGP")
    amounts = ("initial_sparsity", "final_sparsity") if gradual else ("desired_sparsity",)
    allowed = ("class", "group_type", "group_dependency", "weights", *amounts)
    for key, (key_at, _) in fields.items():
        if key in ARGUMENTS:
            fail(key_at, f"'{key}' is not supported: {ARGUMENTS[key]}; remove it")
        if key not in allowed:
            other = kind.removesuffix("_AGP") if gradual else f"{kind}_AGP"
            hint = f"; that is of {other}" if key in ("initial_sparsity", "final_sparsity", "desired_sparsity") else ""
            fail(key_at, f"{kind} has no argument '{key}'{hint}; {nearest(key, allowed)}")
    for key in (*amounts, "weights", "group_type"):
        if key not in fields:
            example = {"weights": "[…]", "group_type": "Filters"}.get(key, "0.5")
            fail(at, f"pruner '{name}' lacks '{key}': write `{key}: {example}`")
    weights: dict[str, str] = {}
    for item in sequence(fields["weights"][1], "weights"):
        weight = str(value(item))
        if weight.removeprefix("module.") in {w.removeprefix("module.") for w in weights}:
            fail(item, f"'{weight}' is listed twice; list each weight once")
        weights[weight] = place(item)
    if not weights:
        fail(fields["weights"][1], f"pruner '{name}' lists no weights")
    fractions = [fraction(fields[key][1], key) for key in amounts]
    if fractions[0] > fractions[-1]:
        fail(
            fields["final_sparsity"][1],
            f"final_sparsity {fractions[-1]} is below initial_sparsity {fractions[0]}: what is removed stays removed",
        )
    return Pruner(
        name=name, place=place(at), power=_PRUNERS[kind.removesuffix("_AGP")], weights=tuple(weights.items()),
        group_type=_group_type(fields["group_type"][1]), group_dependency=_group_dependency(fields),
        initial=fractions[0], final=fractions[-1], gradual=gradual,
    )  # fmt: skip


def _group_type(node: yaml.Node) -> str:
    kind = str(value(node))
    if kind in GROUPS:
        fail(node, f"group_type {kind} removes {GROUPS[kind]}, which leaves no smaller network; use Filters or Channels")
    if kind not in GROUP_TYPES:
        fail(node, f"no group_type is named '{kind}'; {nearest(kind, GROUP_TYPES)}")
    return kind


def _group_dependency(fields: Fields) -> str | None:
    if "group_dependency" not in fields or empty(node := fields["group_dependency"][1]):
        return None
    if (kind := str(value(node))) not in DEPENDENCIES:
        fail(node, f"no group_dependency is named '{kind}'; {nearest(kind, DEPENDENCIES)}")
    return kind


def _thinner(name: str, at: yaml.Node, node: yaml.Node) -> str:
    """The name of a thinning extension. Its other arguments said to Distiller what the spec knows."""
    fields = mapping(node, f"extension '{name}'")
    _class(name, at, fields, _THINNERS)
    allowed = ("class", "thinning_func_str", "arch", "dataset")
    for key, (key_at, entry) in fields.items():
        if key not in allowed:
            fail(key_at, f"a thinning extension has no argument '{key}'; {nearest(key, allowed)}")
        if key == "thinning_func_str" and (function := str(value(entry))) not in _THINNING:
            fail(entry, f"no thinning function is named '{function}': filters or channels leave; {nearest(function, _THINNING)}")
    return name


def _scheduler(name: str, at: yaml.Node, node: yaml.Node) -> Scheduler:
    fields = mapping(node, f"lr_scheduler '{name}'")
    classes = {k: v for k, v in vars(lr_scheduler).items() if inspect.isclass(v) and issubclass(v, lr_scheduler.LRScheduler)}
    known = [k for k in classes if k.endswith(("LR", "Restarts")) and not k.startswith("_") and k not in CLASSES]
    kind = _class(name, at, fields, known)
    signature = inspect.signature(classes[kind])
    allowed = [p for p in signature.parameters if p not in ("self", "optimizer", "last_epoch", "verbose")]
    for key, (key_at, _) in fields.items():
        if key not in ("class", *allowed):
            fail(key_at, f"{kind} has no argument '{key}'; {nearest(key, allowed)}")
    for key in allowed:
        if signature.parameters[key].default is inspect.Parameter.empty and key not in fields:
            fail(at, f"{kind} needs '{key}'")
    scheduler = Scheduler(name, kind, {key: values(entry) for key, (_, entry) in fields.items() if key != "class"})
    _try(scheduler, classes[kind], fields["class"][1])
    return scheduler


def _try(scheduler: Scheduler, made: Any, at: yaml.Node) -> None:
    """Build a scheduler over an optimizer of nothing, so that torch's complaint comes now and has a line."""
    if any(isinstance(v, list) for key, v in scheduler.arguments.items() if key != "milestones"):
        return  # one value for each of the optimizer's parameter groups, which are not known here
    try:
        made(torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.9), **scheduler.arguments)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        fail(at, f"torch refuses these arguments of {scheduler.kind}: {error}")


def _policy(node: yaml.Node, known: Mapping[str, Mapping[str, Any]], pruners: Mapping[str, Pruner]) -> Policy:
    fields = mapping(node, "a policy")
    kinds = [k for k in fields if k in known]
    allowed = (*known, "epochs", "starting_epoch", "ending_epoch", "frequency")
    for key, (at, _) in fields.items():
        if refused := SECTIONS.get(f"{key}s"):
            fail(at, f"a policy of a {key}: {refused}; remove the policy")
        if key not in allowed:
            fail(at, f"a policy has no '{key}'; {nearest(key, allowed)}")
    if len(kinds) != 1:
        fail(node, f"a policy has exactly one of {', '.join(known)}; this has {', '.join(kinds) or 'none'}")
    kind = kinds[0]
    inner = mapping(fields[kind][1], f"the policy's {kind}")
    for key, (at, entry) in inner.items():
        if key == "args" and not empty(entry):
            for argument, (argument_at, _) in mapping(entry, "args").items():
                why = ARGUMENTS.get(argument, f"a policy's {kind} takes none")
                fail(argument_at, f"the argument '{argument}' of a policy is not supported: {why}; remove it")
        if key not in ("instance_name", "args"):
            fail(at, f"'{key}' of a policy's {kind} is not known; only instance_name is")
    if "instance_name" not in inner:
        fail(fields[kind][1], f"write `instance_name:` and one of: {', '.join(known[kind]) or 'none is defined'}")
    name = str(value(inner["instance_name"][1]))
    if name not in known[kind]:
        fail(inner["instance_name"][1], f"no {kind} is named '{name}'; {nearest(name, known[kind])}")
    return _times(node, kind, name, fields, gradual=kind == "pruner" and pruners[name].gradual)


def _times(node: yaml.Node, kind: str, name: str, fields: Fields, *, gradual: bool) -> Policy:
    ranged = [k for k in ("starting_epoch", "ending_epoch", "frequency") if k in fields]
    if "epochs" in fields:
        if ranged:
            fail(fields[ranged[0]][0], f"a policy has `epochs` or a range, not both: remove `epochs` or {', '.join(ranged)}")
        if gradual:
            fail(fields["epochs"][0], "an _AGP pruner needs a range: write starting_epoch, ending_epoch and frequency")
        epochs = tuple(sorted({whole(e, "an epoch", 0) for e in sequence(fields["epochs"][1], "epochs")}))
        if not epochs:
            fail(fields["epochs"][1], "`epochs` is empty: this policy would never act")
        return Policy(kind, name, epochs, 1, epochs[-1] + 1)
    for key in ("starting_epoch", "ending_epoch"):
        if key not in fields:
            fail(node, f"this policy lacks '{key}': write starting_epoch, ending_epoch and frequency, or epochs: […]")
    start, end = (whole(fields[k][1], k, 0) for k in ("starting_epoch", "ending_epoch"))
    frequency = whole(fields["frequency"][1], "frequency", 1) if "frequency" in fields else 1
    if end <= start:
        fail(
            fields["ending_epoch"][1],
            f"ending_epoch {end} (exclusive) is not after starting_epoch {start}: this policy would never act",
        )
    return Policy(kind, name, tuple(range(start, end, frequency)), frequency, end)


def _class(name: str, at: yaml.Node, fields: Fields, known: Iterable[str]) -> str:
    known = list(known)
    if "class" not in fields:
        fail(at, f"'{name}' lacks its class; write `class:` and one of {', '.join(known)}")
    node = fields["class"][1]
    kind = str(value(node))
    if kind not in known:
        refused = CLASSES.get(kind) or CLASSES.get(kind.removesuffix("_AGP"))
        why = f"{kind} is not supported: {refused}" if refused else f"no class is named '{kind}' here; {nearest(kind, known)}"
        fail(node, why)
    return kind
