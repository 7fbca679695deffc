"""Recipes: Distiller's YAML, read safely into plain data. Every error has file, line and column,
and what to write instead.

A recipe knows no network: `recipe.on(spec)` is what gives masks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from purethin.arguments import explained
from purethin.errors import RecipeError, nearest
from purethin.recipes import nodes
from purethin.recipes.distiller import SECTIONS, class_of
from purethin.recipes.nodes import Fields, said
from purethin.recipes.policies import Policy, Thinner, Timetable, read_policy
from purethin.recipes.pruners import Pruner, read_pruner, read_target
from purethin.recipes.pruning import Pruning, bound
from purethin.recipes.regularizers import Regularizer, read_regularizer
from purethin.recipes.schedulers import Scheduler, read_scheduler
from purethin.recipes.text import written
from purethin.spec import Spec
from purethin.table import folded, in_short

_SECTIONS = (
    "version",
    "target",
    "pruners",
    "regularizers",
    "extensions",
    "lr_schedulers",
    "policies",
)


_INSTANCES = ("pruners", "thinners", "schedulers", "regularizers")


@dataclass(frozen=True, kw_only=True)
class Recipe(Timetable):
    """A recipe as read: plain data. Recipes compare by content; file positions are ignored.

    Attributes:
        source: the file name, or `recipe`.
        pruners: by instance name, as listed.
        thinners: the thinning extensions by instance name.
        schedulers: learning-rate schedulers by instance name.
        policies: which instance acts when, as listed.
        regularizers: by instance name, as listed.
        scheduled: whether policies say when. A recipe of pruners alone acts at once, at epoch 0:
            each pruner to its final sparsity.
    """

    source: str = field(compare=False)
    pruners: Mapping[str, Pruner]
    thinners: Mapping[str, Thinner]
    schedulers: Mapping[str, Scheduler]
    regularizers: Mapping[str, Regularizer] = field(default_factory=dict)
    scheduled: bool = True

    def __repr__(self) -> str:
        """What there is; `print(recipe)` shows it as YAML."""
        kinds = ("pruners", "regularizers", "schedulers", "thinners")
        named = {kind: in_short(getattr(self, kind)) for kind in kinds if getattr(self, kind)}
        head = (
            f"Recipe {self.source!r}: {len(self.policies)} policies, last epoch {self.last_epoch}"
        )
        return "\n  ".join([head, *(f"{kind}: {names}" for kind, names in named.items())])

    def __str__(self) -> str:
        """The YAML that reads back as an equal recipe, where there is such YAML."""
        try:
            return self.to_yaml()
        except RecipeError:  # a criterion or a curve of one's own
            return repr(self)

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        head, *rest = repr(self).splitlines()
        return folded(head, {"instances": "\n".join(map(str.strip, rest)), "YAML": str(self)})

    @staticmethod
    def from_yaml(text: str, source: str = "recipe") -> Recipe:
        r"""Read a recipe from Distiller's YAML.

        Args:
            text: the YAML text.
            source: what errors call it.

        Raises:
            RecipeError: the text is not such YAML, or asks for what is unknown, contradictory or
                not supported; with line and column.

        >>> Recipe.from_yaml("version: 1\npolicies: []").last_epoch
        -1
        """
        if (root := nodes.compose(text, source)) is None:
            raise RecipeError(
                f"{source}: empty; a recipe has version, pruners, extensions, lr_schedulers and "
                "policies"
            )
        return _recipe(root, source)

    def __or__(self, other: Recipe) -> Recipe:
        """Both recipes in one: it does what either does. What both have alike, as a thinner, is
        one.

        Raises:
            RecipeError: they have different instances of one name.

        >>> a, b = (Recipe.from_yaml(f"pruners: {{{n}: {{axes: {{{n}: 0.5}}}}}}") for n in "ab")
        >>> list((a | b).pruners)
        ['a', 'b']
        """
        merged: dict[str, dict[str, Any]] = {kind: {**getattr(self, kind)} for kind in _INSTANCES}
        for kind, known in merged.items():
            for name, theirs in getattr(other, kind).items():
                if known.setdefault(name, theirs) != theirs:
                    remedy = "rename one of them; of pt.schedule, by name="
                    raise RecipeError(f"both recipes have {kind} named '{name}': {remedy}")
        policies = list(self.policies)
        for policy in other.policies:
            ours = (known.get(policy.instance.name) for known in merged.values())
            alike = (i for i in ours if type(i) is type(policy.instance))
            policies.append(replace(policy, instance=next(alike)))
        scheduled = self.scheduled and other.scheduled
        return replace(self, policies=tuple(policies), scheduled=scheduled, **merged)

    def to_yaml(self) -> str:
        """The recipe as YAML, which reads back as an equal one.

        Raises:
            RecipeError: a criterion or curve is a function that YAML cannot name.
        """
        sections = {
            "pruners": self.pruners,
            "regularizers": self.regularizers,
            "extensions": self.thinners,
            "lr_schedulers": self.schedulers,
        }
        return written(sections, self.policies if self.scheduled else None)

    def on(self, spec: Spec) -> Pruning:
        """The recipe on a network: what gives masks by epoch.

        Raises:
            RecipeError: a pruner or regularizer does not fit the network (see `groups_of`), or two
                pruners would prune one axis, or the single weights of one parameter, in the same
                epoch.

        >>> import torch
        >>> params = {"a.w": torch.arange(8.0).view(4, 2), "b.w": torch.ones(3, 4)}
        >>> spec = Spec.from_layout({"a.w": "a 2", "b.w": "3 a"}, params)
        >>> recipe = Recipe.from_yaml('''
        ... pruners: {half: {class: L1RankedFilterPruner, desired_sparsity: 0.5, weights: a.w}}
        ... policies: [{pruner: {instance_name: half}, epochs: [1]}]''')
        >>> pruning = recipe.on(spec)
        >>> pruning.masks_at(0, params, {}), pruning.masks_at(1, params, {})
        ({}, {'a': tensor([False, False,  True,  True])})
        """
        return bound(self, self.pruners.values(), self.regularizers.values(), spec)

    def require_policies(self) -> None:
        """That policies say when, as a training must know.

        Raises:
            RecipeError: they don't; with the lines to add.
        """
        if not self.scheduled:
            raise RecipeError(
                f"{self.source}:1:1: no policies: a training must know when each pruner acts. Add\n"
                f"{_policies_of(self)}"
            )


def _policies_of(recipe: Recipe) -> str:
    """The policies that a recipe of pruners alone may have, as YAML."""
    ranged = "    starting_epoch: 0\n    ending_epoch: 30\n    frequency: 2\n"
    gradual = any(pruner.gradual for pruner in recipe.pruners.values())
    parts = ["policies:\n"]
    for name, pruner in recipe.pruners.items():
        when = ranged if pruner.gradual else "    epochs: [0]\n"
        parts.append(f"  - pruner: {{instance_name: {name}}}\n{when}")
    for name in recipe.thinners:
        when = f"    epochs: [{30 if gradual else 0}]\n"
        parts.append(f"  - extension: {{instance_name: {name}}}\n{when}")
    return "".join(parts)


@explained
def load_recipe(source: str | Path) -> Recipe:
    r"""Read a recipe in Distiller's YAML from a file.

    Args:
        source: a path. A string with a line break is the YAML text itself, as for
            `Recipe.from_yaml`.

    Raises:
        RecipeError: the file is missing, is not such YAML, or asks for what is unknown,
            contradictory or not supported; with file, line and column.
    """
    if isinstance(source, str) and "\n" in source:
        return Recipe.from_yaml(source)
    title = str(source)
    try:
        text = Path(source).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{title}: is not text in UTF-8: {error.reason} at byte {error.start}"
        ) from error
    except (OSError, ValueError) as error:  # a ValueError where no file can have such a name
        why = getattr(error, "strerror", None) or error if title.strip() else "it is empty"
        raise RecipeError(
            f"{title[:500] or repr(title)}: cannot be read: {why}; give a path, or the YAML text "
            "itself"
        ) from error
    return Recipe.from_yaml(text, title)


# ---- reading


def _recipe(root: yaml.Node, title: str) -> Recipe:
    top = nodes.mapping(root, "the recipe")
    for key, (at, node) in top.items():
        if key in SECTIONS and not nodes.empty(node):
            nodes.fail(at, f"'{key}': {SECTIONS[key]}; remove the section and its policies")
        if key not in _SECTIONS and key not in SECTIONS:
            nodes.fail(at, f"no section is named '{key}'; {nearest(key, _SECTIONS)}")
    if "version" in top and (version := nodes.value(top["version"][1])) != 1:
        nodes.fail(top["version"][1], f"version {version} is not known; write `version: 1`")
    readers = dict(_READERS)
    if "target" in top:
        target = top["target"][1]
        read_target(target)
        readers["pruner"] = lambda name, at, node: read_pruner(name, at, node, target)
    known = {kind: _section(top, f"{kind}s", read) for kind, read in readers.items()}
    if "target" in top and not any(pruner.shared for pruner in known["pruner"].values()):
        why = "each pruner has an amount of its own: leave out one of the two"
        nodes.fail(top["target"][0], f"the recipe's target is nobody's: {why}")
    pruners = known["pruner"]
    if "policies" in top:
        listed = nodes.sequence(top["policies"][1], "policies")
        policies = tuple(read_policy(entry, known) for entry in listed)
    elif pruners:
        policies = tuple(Policy(pruner, (0,), frequency=1, end=1) for pruner in pruners.values())
    else:
        remedy = "write `policies:` with a list of what acts when"
        nodes.fail(root, f"no policies: nothing would ever act; {remedy}")
    return Recipe(
        source=title,
        pruners=pruners,
        thinners=known["extension"],
        schedulers=known["lr_scheduler"],
        policies=policies,
        regularizers=known["regularizer"],
        scheduled="policies" in top,
    )


def _section(
    top: Fields, name: str, read: Callable[[str, yaml.Node, yaml.Node], Any]
) -> dict[str, Any]:
    if name not in top or nodes.empty(top[name][1]):
        return {}
    entries = nodes.mapping(top[name][1], name).items()
    return {instance: read(instance, at, node) for instance, (at, node) in entries}


_FUNCTIONS = partial(nodes.one_of, allowed=("remove_filters", "remove_channels"))


@dataclass(frozen=True)
class _Thinner:
    """What an extension says; it said to Distiller what the spec knows."""

    thinning_func_str: str | None = said(_FUNCTIONS, default=None)
    arch: object = said(lambda node, _: node, default=None)
    dataset: object = said(lambda node, _: node, default=None)


def _thinner(name: str, at: yaml.Node, node: yaml.Node) -> Thinner:
    owner, known = f"extension '{name}'", ("FilterRemover", "ChannelRemover", "StructureRemover")
    _, entries = class_of(name, at, nodes.mapping(node, owner), known)
    nodes.read(_Thinner, entries, at, owner, "a thinning extension has no argument")
    return Thinner(name)


_READERS: dict[str, Callable[[str, yaml.Node, yaml.Node], Any]] = {
    "pruner": read_pruner,
    "regularizer": read_regularizer,
    "extension": _thinner,
    "lr_scheduler": read_scheduler,
}
"""Of the instances under `pruners`, `regularizers` and so on."""
