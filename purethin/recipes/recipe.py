"""Recipes: Distiller's YAML, read safely into plain data. Every complaint has file, line and
column, and what to write instead.

A recipe knows no network. `masks_at` and `thins_at` say what happens as an epoch begins,
`penalty_at` what a regularizer adds to the loss; all are pure. Masks and sparsities are those of
the dense network, and only grow: what is removed stays removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
import yaml
from torch.optim import lr_scheduler

from purethin.errors import RecipeError, nearest
from purethin.recipes.distiller import SECTIONS, class_of
from purethin.recipes.located import Fields, compose, empty, fail, mapping, sequence, value
from purethin.recipes.policies import Thinner, read_policy
from purethin.recipes.pruners import Pruner, read_pruner
from purethin.recipes.pruning import Pruning, bound
from purethin.recipes.regularizers import Regularizer, read_regularizer
from purethin.recipes.schedulers import Scheduler, read_scheduler
from purethin.recipes.timetable import Timetable
from purethin.spec import Spec

_THINNERS = ("FilterRemover", "ChannelRemover", "StructureRemover")
_THINNING = ("remove_filters", "remove_channels")
_SECTIONS = ("version", "pruners", "regularizers", "extensions", "lr_schedulers", "policies")


@dataclass(frozen=True, kw_only=True)
class Recipe(Timetable):
    """A recipe as read: plain data. Two are equal when they say the same, wherever it stands.

    Attributes:
        source: the file name, or `recipe`.
        pruners: by instance name, as listed.
        thinners: the thinning extensions by instance name.
        schedulers: learning-rate schedulers by instance name.
        policies: which instance acts when, as listed.
        regularizers: by instance name, as listed.
    """

    source: str = field(compare=False)
    pruners: Mapping[str, Pruner]
    thinners: Mapping[str, Thinner]
    schedulers: Mapping[str, Scheduler]
    regularizers: Mapping[str, Regularizer] = field(default_factory=dict)

    def on(self, spec: Spec) -> Pruning:
        """The recipe on a network: what gives masks by epoch.

        Raises:
            RecipeError: a pruner or regularizer does not fit the network (see `groups_of`), or two
                pruners would prune one axis, or the single weights of one parameter, in the same
                epoch.

        >>> params = {"a.w": torch.arange(8.0).view(4, 2), "b.w": torch.ones(3, 4)}
        >>> spec = Spec.from_layout({"a.w": "a 2", "b.w": "3 a"}, params)
        >>> recipe = load_recipe('''
        ... pruners: {half: {class: L1RankedFilterPruner, desired_sparsity: 0.5, weights: a.w}}
        ... policies: [{pruner: {instance_name: half}, epochs: [1]}]''')
        >>> pruning = recipe.on(spec)
        >>> pruning.masks_at(0, params, {}), pruning.masks_at(1, params, {})
        ({}, {'a': tensor([False, False,  True,  True])})
        """
        return bound(self, self.pruners.values(), self.regularizers.values(), spec)


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
    policies = tuple(read_policy(node, known) for node in sequence(top["policies"][1], "policies"))
    return Recipe(
        source=title,
        pruners=pruners,
        thinners=thinners,
        schedulers=schedulers,
        policies=policies,
        regularizers=regularizers,
    )


def _section(
    top: Fields, name: str, read: Callable[[str, yaml.Node, yaml.Node], _Read]
) -> dict[str, _Read]:
    if name not in top or empty(top[name][1]):
        return {}
    return {
        instance: read(instance, at, node)
        for instance, (at, node) in mapping(top[name][1], name).items()
    }


def _thinner(name: str, at: yaml.Node, node: yaml.Node) -> Thinner:
    """A thinning extension. Its other arguments said to Distiller what the spec
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
    return Thinner(name)
