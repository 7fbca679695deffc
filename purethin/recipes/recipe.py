"""Recipes: Distiller's YAML, read safely into plain data. Every complaint has file, line and
column, and what to write instead.

A recipe knows no network. `masks_at` and `thins_at` say what happens as an epoch begins,
`penalty_at` what a regularizer adds to the loss; all are pure. Masks and sparsities are those of
the dense network, and only grow: what is removed stays removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
import yaml
from torch import Tensor
from torch.optim import lr_scheduler

from purethin.errors import RecipeError, nearest
from purethin.measures import Measure
from purethin.recipes.distiller import SECTIONS, class_of
from purethin.recipes.elements import element_mask
from purethin.recipes.groups import (
    Group,
    elements_of,
    groups_of,
    measures_of,
    placed,
    refuse_rivals,
    resolve,
)
from purethin.recipes.located import Fields, compose, empty, fail, mapping, sequence, value
from purethin.recipes.masking import Entries, entries, ranked_masks
from purethin.recipes.policies import Policy, read_policy
from purethin.recipes.pruners import Pruner, read_pruner
from purethin.recipes.regularizers import Regularizer, fallen, penalty, read_regularizer
from purethin.recipes.schedulers import Scheduler, read_scheduler
from purethin.selection import count_removed
from purethin.spec import Masks, Spec, check_fits
from purethin.tree import TensorTree, named

_THINNERS = ("FilterRemover", "ChannelRemover", "StructureRemover")
_THINNING = ("remove_filters", "remove_channels")
_SECTIONS = ("version", "pruners", "regularizers", "extensions", "lr_schedulers", "policies")


@dataclass(frozen=True)
class Recipe:
    """A recipe as read: plain data. Two are equal when they say the same, wherever it stands.

    Attributes:
        source: the file name, or `recipe`.
        pruners: by instance name, as listed.
        thinners: the instance names of the thinning extensions.
        schedulers: learning-rate schedulers by instance name.
        policies: which instance acts when, as listed.
        regularizers: by instance name, as listed.
    """

    source: str = field(compare=False)
    pruners: Mapping[str, Pruner]
    thinners: tuple[str, ...]
    schedulers: Mapping[str, Scheduler]
    policies: tuple[Policy, ...]
    regularizers: Mapping[str, Regularizer] = field(default_factory=dict)

    @property
    def last_epoch(self) -> int:
        """The last epoch at which anything acts; -1 where nothing does."""
        return max((p.over if self._kept(p) else p.epochs[-1] for p in self.policies), default=-1)

    def at(self, epoch: int, kind: str) -> list[Policy]:
        """The policies of one kind (`pruner`, `regularizer`, `extension`, `lr_scheduler`) that act
        at an epoch, as listed.
        """
        return [p for p in self.policies if p.kind == kind and p.acts_at(epoch)]

    def thins_at(self, epoch: int) -> bool:
        """Whether a thinning extension fires as this epoch begins, after its pruners."""
        return bool(self.at(epoch, "extension"))

    def acts_at(self, epoch: int) -> bool:
        """Whether masks may change as this epoch begins: `masks_at(epoch, …)` is to be called."""
        return bool(self.at(epoch, "pruner") or self.removes_at(epoch))

    def acts_within(self, epoch: int, step: int) -> bool:
        """Whether pruners act before this batch (counted from 0) of an epoch too: `masks_at(…,
        step=step)` is to be called.
        """
        return step > 0 and any(
            p.batches and step % p.batches == 0 for p in self.at(epoch, "pruner")
        )

    def removes_at(self, epoch: int) -> list[Regularizer]:
        """The regularizers whose fallen groups are removed as this epoch begins.

        That is where a thinner fires while their policy lasts, or right after it; and with
        keep_mask right after it in any case.
        """
        due = [
            p.instance
            for p in self.policies
            if (self._kept(p) and epoch == p.over)
            or (p.kind == "regularizer" and p.begin < epoch <= p.over and self.thins_at(epoch))
        ]
        return [
            self.regularizers[name]
            for name in dict.fromkeys(due)
            if self.regularizers[name].threshold
        ]

    def _kept(self, policy: Policy) -> bool:
        return policy.keep_mask and self.regularizers[policy.instance].threshold is not None

    def groups(self, spec: Spec) -> dict[str, list[Group]]:
        """The axes that each pruner prunes on this network, and what ranks them; none for those of
        single weights.

        Raises:
            RecipeError: a pruner or regularizer does not fit the network (see `groups_of`), or two
                pruners would prune one axis, or the single weights of one parameter, in the same
                epoch.
        """
        groups = {name: groups_of(pruner, spec) for name, pruner in self.pruners.items()}
        for regularizer in self.regularizers.values():
            regularizer.listed(spec)
        acting: dict[int, list[str]] = {}
        for policy in self.policies:
            for epoch in policy.epochs if policy.kind == "pruner" else ():
                acting.setdefault(epoch, []).append(policy.instance)
        for together in {tuple(dict.fromkeys(names)) for names in acting.values()}:
            refuse_rivals(groups, self.pruners, together, spec)
        return groups

    def read(self, spec: Spec) -> frozenset[str]:
        """The parameters whose values `masks_at` reads: those that pruners and regularizers list.

        Raises:
            RecipeError: one is unknown.
        """
        listed = {
            resolve(name, at, spec)
            for pruner in self.pruners.values()
            for name, at in placed(pruner)
        }
        return frozenset(
            listed
            | {one.weight for r in self.regularizers.values() for one, _, _ in r.listed(spec)}
        )

    def measures_at(self, epoch: int, spec: Spec) -> tuple[Measure, ...]:
        """What must be measured on data before `masks_at(epoch)`: see `purethin.measures`. Mostly
        nothing.

        Raises:
            RecipeError: a pruner does not fit the network.
        """
        acting = [self.pruners[p.instance] for p in self.at(epoch, "pruner")]
        return tuple(
            dict.fromkeys(
                m for pruner in acting for m in measures_of(pruner, groups_of(pruner, spec))
            )
        )

    def masks_at(
        self,
        epoch: int,
        params: TensorTree,
        spec: Spec,
        masks: Masks,
        *,
        step: int = 0,
        statistics: Mapping[Measure, Tensor] | None = None,
        seed: int = 0,
    ) -> dict[str, Tensor]:
        """The masks after the pruners of this epoch have acted; the same ones where none does.

        Args:
            epoch: counted from 0.
            params: the parameters at their dense shapes, zero where units are removed already: they
                rank. After thinning, `expand(thinned, spec, masks)`. Of those that no pruner or
                regularizer lists, shapes alone are read.
            spec: the dense spec.
            masks: the masks so far, over the dense axes, and by a parameter's name over its
                elements.
            step: the batch that is about to begin, counted from 0. As the epoch begins (0) all act;
                later only those pruners whose policy has `mini_batch_pruning_frequency`, at its
                multiples.
            statistics: `{measure: Tensor[size]}` for all of `measures_at(epoch, spec)`.
            seed: random pruners rank by it, the epoch, their name and the axis's alone.

        Returns:
            New masks: of n units, floor(sparsity · n) of the dense n are gone, those already gone
            among them; never the last one.

        Raises:
            RecipeError: a pruner does not fit the network: see `groups_of`.
            SpecError: the parameters are not at the spec's dense shapes.
            MaskError: a weight that ranks holds nan, or a statistic is missing.
        """
        tensors = named(params)
        check_fits(spec, tensors)

        def read(name: str, power: int, masks: Masks) -> Tensor:
            return entries(tensors[name], spec, name, power, masks)

        return next_masks(
            self, epoch, self.groups(spec), tensors, read, spec, masks, step, statistics or {}, seed
        )

    def penalty_at(self, epoch: int, params: TensorTree, spec: Spec) -> Tensor | None:
        """What the regularizers of an epoch add to the loss: a scalar, differentiable; None where
        none acts.

        Args:
            epoch: counted from 0.
            params: the parameters as they are now, thinned or not.
            spec: theirs.

        Raises:
            RecipeError: a regularizer does not fit the network.
        """
        if not (acting := self.at(epoch, "regularizer")):
            return None
        tensors = named(params)
        parts = [penalty(self.regularizers[policy.instance], tensors, spec) for policy in acting]
        return torch.stack([part.to(parts[0].device) for part in parts]).sum()


def next_masks(
    recipe: Recipe,
    epoch: int,
    groups: Mapping[str, Sequence[Group]],
    tensors: Mapping[str, Tensor],
    read: Entries,
    spec: Spec,
    masks: Masks,
    step: int,
    statistics: Mapping[Measure, Tensor],
    seed: int,
) -> dict[str, Tensor]:
    """`Recipe.masks_at` of known groups: units that are ranked, then those that fell below a
    threshold, then single weights.

    So the elements of a unit that goes in this epoch count as gone, in whatever order the policies
    stand.
    """
    out = dict(masks)
    acting = [
        p for p in recipe.at(epoch, "pruner") if step == 0 or (p.batches and step % p.batches == 0)
    ]
    for policy in acting:
        pruner = recipe.pruners[policy.instance]
        sparsity = pruner.sparsity_at(epoch, policy)
        new = ranked_masks(
            pruner, groups[pruner.name], sparsity, spec, out, read, statistics, (seed, epoch), masks
        )
        homes = {
            axis: tensors[group.leader].device
            for group in groups[pruner.name]
            for axis in group.axes
        }
        out |= {
            axis: m if homes[axis].type == "meta" else m.to(homes[axis]) for axis, m in new.items()
        }
    for regularizer in recipe.removes_at(epoch) if step == 0 else ():
        out |= fallen(regularizer, tensors, spec, out)
    for policy in acting:
        pruner = recipe.pruners[policy.instance]
        for name in elements_of(pruner, spec):
            removed = count_removed(pruner.sparsity_at(epoch, policy), tensors[name].numel())
            out[name] = element_mask(tensors[name], spec, name, out, removed)
    return out


def build_schedulers(
    recipe: Recipe, optimizer: torch.optim.Optimizer
) -> dict[str, lr_scheduler.LRScheduler]:
    """The recipe's learning-rate schedulers over an optimizer, by name; each steps at the end of
    the epochs of its policies.
    """
    return {
        s.name: getattr(lr_scheduler, s.kind)(optimizer, **s.arguments)
        for s in recipe.schedulers.values()
    }


# ---- reading


def load_recipe(source: str | Path) -> Recipe:
    r"""Read a recipe in Distiller's YAML.

    Args:
        source: a path, or the YAML text itself (a string with a line break).

    Raises:
        RecipeError: the file is missing, is no such YAML, or asks for what is unknown,
            contradictory or not supported; with file, line and column.

    >>> load_recipe("version: 1\npolicies: []").last_epoch
    -1
    """
    text, title = (
        (source, "recipe") if isinstance(source, str) and "\n" in source else (None, str(source))
    )
    if text is None:
        try:
            text = Path(source).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise RecipeError(
                f"{title}: is not text in UTF-8: {error.reason} at byte {error.start}"
            ) from error
        except (OSError, ValueError) as error:  # a ValueError where no file can have such a name
            why = getattr(error, "strerror", None) or error
            raise RecipeError(
                f"{title[:500]}: cannot be read: {why}; give a path, or the YAML text itself"
            ) from error
    root = compose(text, title)
    if root is None:
        raise RecipeError(
            f"{title}: empty; a recipe has version, pruners, extensions, lr_schedulers and policies"
        )
    return _recipe(root, title)


_Read = TypeVar("_Read")


def _recipe(root: yaml.Node, title: str) -> Recipe:
    top = mapping(root, "the recipe")
    for key, (at, node) in top.items():
        if key in SECTIONS and not empty(node):
            fail(at, f"'{key}': {SECTIONS[key]}; remove the section and its policies")
        if key not in _SECTIONS and key not in SECTIONS:
            fail(at, f"no section is named '{key}'; {nearest(key, _SECTIONS)}")
    if "version" in top and (version := value(top["version"][1])) != 1:
        fail(top["version"][1], f"version {version} is not known; write `version: 1`")
    if "policies" not in top:
        fail(
            root,
            "no policies: nothing would ever act; write `policies:` with a list of what acts when",
        )
    section = partial(_section, top)
    pruners, regularizers = (
        section("pruners", read_pruner),
        section("regularizers", read_regularizer),
    )
    thinners, schedulers = section("extensions", _thinner), section("lr_schedulers", read_scheduler)
    known = {
        "pruner": pruners,
        "regularizer": regularizers,
        "extension": thinners,
        "lr_scheduler": schedulers,
    }
    gradual = {name for name, pruner in pruners.items() if pruner.gradual}
    policies = tuple(
        read_policy(node, known, gradual) for node in sequence(top["policies"][1], "policies")
    )
    return Recipe(title, pruners, tuple(thinners), schedulers, policies, regularizers)


def _section(
    top: Fields, name: str, read: Callable[[str, yaml.Node, yaml.Node], _Read]
) -> dict[str, _Read]:
    if name not in top or empty(top[name][1]):
        return {}
    return {
        instance: read(instance, at, node)
        for instance, (at, node) in mapping(top[name][1], name).items()
    }


def _thinner(name: str, at: yaml.Node, node: yaml.Node) -> str:
    """The name of a thinning extension. Its other arguments said to Distiller what the spec
    knows.
    """
    fields = mapping(node, f"extension '{name}'")
    class_of(name, at, fields, _THINNERS)
    allowed = ("class", "thinning_func_str", "arch", "dataset")
    for key, (key_at, entry) in fields.items():
        if key not in allowed:
            fail(key_at, f"a thinning extension has no argument '{key}'; {nearest(key, allowed)}")
        if key == "thinning_func_str" and (function := str(value(entry))) not in _THINNING:
            fail(
                entry,
                f"no thinning function is named '{function}': filters or channels leave; "
                f"{nearest(function, _THINNING)}",
            )
    return name
