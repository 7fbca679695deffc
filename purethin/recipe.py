"""Recipes: Distiller's YAML, read safely into plain data. Every complaint has file, line and column, and what to write instead.

A recipe knows no network. `masks_at` and `thins_at` say what happens at an epoch; both are pure; all sizes are the dense ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from torch import Tensor
from torch.optim import lr_scheduler

from purethin import axes as ax
from purethin.criteria import filter_norm
from purethin.errors import RecipeError, nearest
from purethin.schedule import agp
from purethin.select import count_removed
from purethin.spec import Masks, Spec
from purethin.tree import TensorTree, named

GROUP_TYPES = {"Filters": "filters", "3D": "filters", "Rows": "filters", "Channels": "channels", "Cols": "channels"}
"""What a group type prunes: the outputs of a weight, or its inputs. Rows and Cols are for matrices."""
DEPENDENCIES = ("Leader", "Auto")
_PRUNERS = {"L1RankedStructureParameterPruner": 1, "L2RankedStructureParameterPruner": 2}
_THINNERS = ("FilterRemover", "ChannelRemover", "StructureRemover")
_PRUNER_ARGUMENTS = ("class", "group_type", "group_dependency", "weights")
_RANKED = "use L1RankedStructureParameterPruner (or its _AGP form)"
_REFUSED = {
    "MagnitudeParameterPruner": f"it zeroes single weights and thins nothing; {_RANKED}",
    "SensitivityPruner": f"it zeroes single weights and thins nothing; {_RANKED}",
    "SplicingPruner": f"it zeroes single weights and thins nothing; {_RANKED}",
    "BaiduRNNPruner": f"it zeroes single weights and thins nothing; {_RANKED}",
    "AutomatedGradualPruner": "it zeroes single weights; for whole filters use L1RankedStructureParameterPruner_AGP",
    "StructuredAGP": "name its ranking: L1RankedStructureParameterPruner_AGP",
    "StructureParameterPruner": "it prunes below a fixed threshold; use L1RankedStructureParameterPruner with desired_sparsity",
    "ActivationAPoZRankedFilterPruner": f"activation criteria are not read from recipes yet; {_RANKED}",
    "ActivationMeanRankedFilterPruner": f"activation criteria are not read from recipes yet; {_RANKED}",
    "GradientRankedFilterPruner": f"gradient criteria are not read from recipes yet; {_RANKED}",
    "RandomRankedFilterPruner": f"random ranking is not read from recipes yet (pt.random_scores has it); {_RANKED}",
    "BernoulliFilterPruner": f"random ranking is not read from recipes yet (pt.random_scores has it); {_RANKED}",
    "L1RegularizedWeights": "regularizers are not read from recipes yet; remove the section",
    "GroupLassoRegularizer": "regularizers are not read from recipes yet; remove the section",
    "MultiStepMultiGammaLR": "it is Distiller's own; use torch's MultiStepLR or SequentialLR by hand",
    "LambdaLR": "it needs a function, which YAML cannot hold; use ExponentialLR or MultiStepLR",
    "MultiplicativeLR": "it needs a function, which YAML cannot hold; use ExponentialLR or MultiStepLR",
    "ReduceLROnPlateau": "it needs a metric at each step; use ExponentialLR or MultiStepLR",
    "ChainedScheduler": "it needs schedulers as arguments; list them under lr_schedulers, each with a policy",
    "SequentialLR": "it needs schedulers as arguments; list them under lr_schedulers, each with a policy",
}
_REFUSED_SECTIONS = {
    "regularizers": "regularizers are not supported yet",
    "quantizers": "purethin does not quantize; thin first, then quantize the result",
}
_REFUSED_GROUPS = {
    "2D": "kernels",
    "4D": "whole layers",
    "Blocks": "blocks within a matrix",
    "Channels2D": "parts of channels",
}


@dataclass(frozen=True)
class Pruner:
    """One pruner: which weights, along what, how much; `place` is its line. `weights` are `(name, place)`."""

    name: str
    place: str
    power: int
    weights: tuple[tuple[str, str], ...]
    group_type: str
    group_dependency: str | None
    initial: float
    final: float
    gradual: bool


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
    """A recipe as read: plain data."""

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
        """Whether a thinning extension fires at this epoch."""
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

    def masks_at(self, epoch: int, params: TensorTree, spec: Spec, masks: Masks) -> dict[str, Tensor]:
        """The masks after the pruners of this epoch have acted.

        Args:
            epoch: counted from 0.
            params: the parameters at their dense shapes (masked or not); they rank.
            spec: the dense spec.
            masks: the masks so far; what is removed stays removed.

        Raises:
            RecipeError: a pruner does not fit the network: see `groups_of`.
        """
        tensors, out = named(params), dict(masks)
        for policy in self.at(epoch, "pruner"):
            sparsity = self.sparsity_at(epoch, policy)
            for group in groups_of(self.pruners[policy.instance], spec):
                for axis in group.axes:
                    rank = filter_norm(tensors[group.leader], spec, group.leader, group.dim, group.ranks or axis, p=group.power)
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


# ---- from a pruner to axes


@dataclass(frozen=True)
class Group:
    """Axes that one weight ranks: its name, its dim, and the axis of it whose units are ranked (None: each by itself)."""

    leader: str
    dim: int
    axes: tuple[str, ...]
    ranks: str | None
    power: int
    why: str


def groups_of(pruner: Pruner, spec: Spec) -> list[Group]:
    """The axes that a pruner prunes on this network, and what ranks each.

    Raises:
        RecipeError: a weight is unknown, has no such dim, or a frozen one; several listed weights carry one axis without
            `group_dependency`; or a Leader's axis is of another size than one that it leads.
    """
    found: dict[str, list[tuple[str, str, int]]] = {}
    for name, place in pruner.weights:
        weight = _resolve(name, place, spec)
        dim = _dim(pruner, weight, place, spec)
        axes = list(dict.fromkeys(ax.names(spec.layout[weight][dim])))
        if not axes:
            why = [f.reason for f in spec.frozen if (f.parameter, f.dim) == (weight, dim)] or ["it has one unit"]
            _fail(
                place,
                f"{name} cannot be pruned by {pruner.group_type}: its dim {dim} is frozen ({why[0]}); remove it from the list",
            )
        for axis in axes:
            found.setdefault(axis, []).append((weight, place, dim))
    if pruner.group_dependency is None:
        for axis, members in found.items():
            if len(members) > 1:
                _refuse_shared(pruner, axis, members, spec)
    if pruner.group_dependency == "Leader":
        return [_led(pruner, found, spec)]
    return [
        Group(members[0][0], members[0][2], (axis,), None, pruner.power, f"{pruner.group_type} of {members[0][0]}")
        for axis, members in found.items()
    ]


def _led(pruner: Pruner, found: Mapping[str, list[tuple[str, str, int]]], spec: Spec) -> Group:
    first, (weight, _, dim) = next((axis, members[0]) for axis, members in found.items())
    for axis, members in found.items():
        if spec.axes[axis].size != spec.axes[first].size:
            _fail(
                members[0][1],
                f"{members[0][0]} has {spec.axes[axis].size} units ('{axis}'), but the Leader {weight} ranks "
                f"{spec.axes[first].size} ('{first}'): list it in a pruner of its own, or write `group_dependency: Auto`",
            )
    return Group(weight, dim, tuple(found), first, pruner.power, f"{pruner.group_type}, led by {weight}")


def _refuse_shared(pruner: Pruner, axis: str, members: list[tuple[str, str, int]], spec: Spec) -> NoReturn:
    listed = ", ".join(weight for weight, _, _ in members)
    ties = spec.ties.get(axis, ())
    where = "; ".join(ties[:3]) + (f" and {len(ties) - 3} more" if len(ties) > 3 else "")
    met = f" They meet in {where}." if where else " They read one tensor."
    _fail(
        members[1][1],
        f"pruner '{pruner.name}' lists {len(members)} weights that share the axis '{axis}' ({spec.axes[axis].size} units): "
        f"{listed}.{met} "
        "Ranked one by one they would keep different units. Write\n"
        "    group_dependency: Leader   # the first listed weight ranks for all\n"
        "or\n"
        "    group_dependency: Auto     # weights that share an axis are grouped, each group ranked by its first\n"
        f"in the pruner at {pruner.place}",
    )


def _resolve(name: str, place: str, spec: Spec) -> str:
    for candidate in (name, name.removeprefix("module."), f"module.{name}"):
        if candidate in spec.layout:
            return candidate
    _fail(place, f"no parameter is named '{name}'; {nearest(name.removeprefix('module.'), spec.layout)}")


def _dim(pruner: Pruner, weight: str, place: str, spec: Spec) -> int:
    """The dim of a weight that a group type means: what it produces, or what it consumes."""
    rank = len(spec.layout[weight])
    if rank < 2:
        _fail(
            place,
            f"{weight} has {rank} dimensions and no {pruner.group_type}: list its layer's convolution or linear weight",
        )
    if pruner.group_type in ("Rows", "Cols") and rank != 2:
        other = "Filters" if pruner.group_type == "Rows" else "Channels"
        _fail(place, f"{weight} has {rank} dimensions; {pruner.group_type} are of matrices: write `group_type: {other}`")
    makes = {d for a in spec.axes.values() for p, d in a.producers if p == weight}
    filters = 1 if makes == {1} and pruner.group_type in ("Filters", "3D", "Channels") else 0
    return filters if GROUP_TYPES[pruner.group_type] == "filters" else 1 - filters


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
            text = Path(source).read_text()
        except OSError as error:
            raise RecipeError(f"{title}: cannot be read: {error.strerror}; give a path, or the YAML text itself") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{title}:{mark.line + 1}:{mark.column + 1}" if mark else title
        raise RecipeError(f"{at}: not YAML: {getattr(error, 'problem', error)}") from error
    except RecursionError as error:
        raise RecipeError(f"{title}: nested too deeply for a recipe") from error
    return _Reader(title).recipe(root)


def _fail(place: str, message: str) -> NoReturn:
    raise RecipeError(f"{place}: {message}")


class _Reader:
    """From YAML nodes, which know their line and column, to a recipe."""

    def __init__(self, title: str) -> None:
        self.title = title

    def place(self, node: Any) -> str:
        return f"{self.title}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def fail(self, node: Any, message: str) -> NoReturn:
        _fail(self.place(node), message)

    def recipe(self, root: Any) -> Recipe:
        if root is None:
            raise RecipeError(f"{self.title}: empty; a recipe has version, pruners, extensions, lr_schedulers and policies")
        sections = ("version", "pruners", "extensions", "lr_schedulers", "policies")
        top = self.mapping(root, "the recipe")
        for key, (at, value) in top.items():
            if key in _REFUSED_SECTIONS and value.value:
                self.fail(at, f"'{key}': {_REFUSED_SECTIONS[key]}; remove the section and its policies")
            if key not in sections and key not in _REFUSED_SECTIONS:
                self.fail(at, f"no section is named '{key}'; {nearest(key, sections)}")
        if "version" in top and self.value(top["version"][1]) != 1:
            self.fail(top["version"][1], f"version {self.value(top['version'][1])} is not known; write `version: 1`")
        pruners = {n: self.pruner(n, at, v) for n, (at, v) in self.section(top, "pruners").items()}
        thinners = tuple(n for n, (at, v) in self.section(top, "extensions").items() if self.thinner(n, v))
        schedulers = {n: self.scheduler(n, v) for n, (_, v) in self.section(top, "lr_schedulers").items()}
        known = {"pruner": pruners, "extension": dict.fromkeys(thinners), "lr_scheduler": schedulers}
        rows = self.sequence(top["policies"][1], "policies") if "policies" in top else []
        policies = tuple(self.policy(node, known, pruners) for node in rows)
        return Recipe(self.title, pruners, thinners, schedulers, policies)

    # ---- the four kinds of entry

    def pruner(self, name: str, at: Any, node: Any) -> Pruner:
        fields = self.mapping(node, f"pruner '{name}'")
        kind = self.kind(name, fields, at, [*_PRUNERS, *(f"{k}_AGP" for k in _PRUNERS)])
        gradual = kind.endswith("_AGP")
        amounts = ("initial_sparsity", "final_sparsity") if gradual else ("desired_sparsity",)
        allowed = (*_PRUNER_ARGUMENTS, *amounts)
        for key, (key_at, _) in fields.items():
            if key not in allowed:
                self.fail(key_at, f"{kind} has no argument '{key}'; {nearest(key, allowed)}")
        for key in (*amounts, "weights", "group_type"):
            if key not in fields:
                example = {"weights": "[…]", "group_type": "Filters"}.get(key, "0.5")
                self.fail(at, f"pruner '{name}' lacks '{key}': write `{key}: {example}`")
        listed = self.sequence(fields["weights"][1], "weights")
        weights: dict[str, str] = {}
        for item in listed:
            weight = str(self.value(item))
            if weight.removeprefix("module.") in {w.removeprefix("module.") for w in weights}:
                self.fail(item, f"'{weight}' is listed twice; list each weight once")
            weights[weight] = self.place(item)
        if not weights:
            self.fail(fields["weights"][1], f"pruner '{name}' lists no weights")
        fractions = [self.fraction(fields[key][1], key) for key in amounts]
        return Pruner(
            name=name, place=self.place(at), power=_PRUNERS[kind.removesuffix("_AGP")], weights=tuple(weights.items()),
            group_type=self.group_type(fields["group_type"][1]),
            group_dependency=self.choice(fields, "group_dependency", DEPENDENCIES),
            initial=fractions[0], final=fractions[-1], gradual=gradual,
        )  # fmt: skip

    def group_type(self, node: Any) -> str:
        value = str(self.value(node))
        if value in _REFUSED_GROUPS:
            self.fail(
                node,
                f"group_type {value} removes {_REFUSED_GROUPS[value]}, which leaves no smaller network; use Filters or Channels",
            )
        if value not in GROUP_TYPES:
            self.fail(node, f"no group_type is named '{value}'; {nearest(value, GROUP_TYPES)}")
        return value

    def thinner(self, name: str, node: Any) -> bool:
        fields = self.mapping(node, f"extension '{name}'")
        self.kind(name, fields, node, _THINNERS)
        allowed = ("class", "thinning_func_str", "arch", "dataset")
        for key, (at, _) in fields.items():
            if key not in allowed:
                self.fail(at, f"a thinning extension has no argument '{key}'; {nearest(key, allowed)}")
        return True

    def scheduler(self, name: str, node: Any) -> Scheduler:
        fields = self.mapping(node, f"lr_scheduler '{name}'")
        kinds = {k: v for k, v in vars(lr_scheduler).items() if inspect.isclass(v) and issubclass(v, lr_scheduler.LRScheduler)}
        known = [k for k in kinds if k.endswith(("LR", "Restarts")) and not k.startswith("_") and k not in _REFUSED]
        kind = self.kind(name, fields, node, known)
        arguments = {key: self.value(value) for key, (_, value) in fields.items() if key != "class"}
        signature = inspect.signature(kinds[kind])
        allowed = [p for p in signature.parameters if p not in ("self", "optimizer", "verbose")]
        for key, (at, _) in fields.items():
            if key not in ("class", *allowed):
                self.fail(at, f"{kind} has no argument '{key}'; {nearest(key, allowed)}")
        for key in allowed:
            if signature.parameters[key].default is inspect.Parameter.empty and key not in arguments:
                self.fail(node, f"{kind} needs '{key}'")
        return Scheduler(name, kind, arguments)

    def policy(self, node: Any, known: Mapping[str, Mapping[str, Any]], pruners: Mapping[str, Pruner]) -> Policy:
        fields = self.mapping(node, "a policy")
        kinds = [k for k in fields if k in known]
        times = ("epochs", "starting_epoch", "ending_epoch", "frequency")
        for key, (at, _) in fields.items():
            if key not in (*known, *times):
                self.fail(at, f"a policy has no '{key}'; {nearest(key, (*known, *times))}")
        if len(kinds) != 1:
            self.fail(node, f"a policy has exactly one of {', '.join(known)}; this has {', '.join(kinds) or 'none'}")
        kind = kinds[0]
        inner = self.mapping(fields[kind][1], f"the policy's {kind}")
        for key, (at, _) in inner.items():
            if key != "instance_name":
                self.fail(at, f"'{key}' of a policy's {kind} is not supported yet; only instance_name is")
        if "instance_name" not in inner:
            self.fail(fields[kind][1], f"write `instance_name:` and one of: {', '.join(known[kind]) or 'none is defined'}")
        name = str(self.value(inner["instance_name"][1]))
        if name not in known[kind]:
            self.fail(inner["instance_name"][1], f"no {kind} is named '{name}'; {nearest(name, known[kind])}")
        gradual = kind == "pruner" and pruners[name].gradual
        return self.times(node, kind, name, fields, gradual)

    def times(self, node: Any, kind: str, name: str, fields: Mapping[str, tuple[Any, Any]], gradual: bool) -> Policy:
        ranged = [k for k in ("starting_epoch", "ending_epoch", "frequency") if k in fields]
        if "epochs" in fields:
            if ranged:
                self.fail(
                    fields[ranged[0]][0],
                    f"a policy has `epochs` or a range, not both: remove `epochs` or {', '.join(ranged)}",
                )
            if gradual:
                self.fail(
                    fields["epochs"][0],
                    "an _AGP pruner needs a range: write starting_epoch, ending_epoch and frequency",
                )
            epochs = tuple(sorted({self.whole(e, "an epoch", 0) for e in self.sequence(fields["epochs"][1], "epochs")}))
            if not epochs:
                self.fail(fields["epochs"][1], "`epochs` is empty: this policy would never act")
            return Policy(kind, name, epochs, 1, epochs[-1] + 1)
        for key in ("starting_epoch", "ending_epoch"):
            if key not in fields:
                self.fail(node, f"this policy lacks '{key}': write starting_epoch, ending_epoch and frequency, or epochs: […]")
        start, end = (self.whole(fields[k][1], k, 0) for k in ("starting_epoch", "ending_epoch"))
        frequency = self.whole(fields["frequency"][1], "frequency", 1) if "frequency" in fields else 1
        if end <= start:
            self.fail(
                fields["ending_epoch"][1],
                f"ending_epoch {end} (exclusive) is not after starting_epoch {start}: this policy would never act",
            )
        return Policy(kind, name, tuple(range(start, end, frequency)), frequency, end)

    # ---- YAML, checked

    def section(self, top: Mapping[str, tuple[Any, Any]], name: str) -> dict[str, tuple[Any, Any]]:
        node = top[name][1] if name in top else None
        empty = node is None or (isinstance(node, yaml.ScalarNode) and self.value(node) is None)
        return {} if empty else self.mapping(node, name)

    def mapping(self, node: Any, what: str) -> dict[str, tuple[Any, Any]]:
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"{what} is a mapping of names to values, not {_kind_of(node)}")
        self.plain(node)
        out: dict[str, tuple[Any, Any]] = {}
        for key, value in node.value:
            name = str(self.value(key))
            if name in out:
                self.fail(key, f"'{name}' stands twice in {what}; first at line {out[name][0].start_mark.line + 1}")
            out[name] = (key, value)
        return out

    def sequence(self, node: Any, what: str) -> list[Any]:
        if not isinstance(node, yaml.SequenceNode):
            self.fail(node, f"{what} is a list, not {_kind_of(node)}: write [a, b] or one `- a` a line")
        self.plain(node)
        return list(node.value)

    def value(self, node: Any) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [self.value(n) for n in self.sequence(node, "a list")]
        if not isinstance(node, yaml.ScalarNode):
            self.fail(node, f"a number or a word is expected, not {_kind_of(node)}")
        self.plain(node)
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            self.fail(node, f"'{node.value}' is no plain value: {error}")

    def plain(self, node: Any) -> None:
        if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
            self.fail(node, f"the tag {node.tag} would make an object; a recipe holds plain values only: remove it")

    def kind(self, name: str, fields: Mapping[str, tuple[Any, Any]], at: Any, known: Iterable[str]) -> str:
        known = list(known)
        if "class" not in fields:
            self.fail(at, f"'{name}' lacks its class; write `class:` and one of {', '.join(known)}")
        node = fields["class"][1]
        kind = str(self.value(node))
        if kind not in known:
            refused = _REFUSED.get(kind) or _REFUSED.get(kind.removesuffix("_AGP"))
            self.fail(
                node,
                f"{kind} is not supported: {refused}" if refused else f"no class is named '{kind}' here; {nearest(kind, known)}",
            )
        return kind

    def choice(self, fields: Mapping[str, tuple[Any, Any]], key: str, allowed: Iterable[str]) -> str | None:
        value = self.value(fields[key][1]) if key in fields else None
        if value is not None and value not in allowed:
            self.fail(fields[key][1], f"no {key} is named '{value}'; {nearest(str(value), allowed)}")
        return value

    def fraction(self, node: Any, what: str) -> float:
        value = self.value(node)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            self.fail(node, f"{what} is {value}; it is the fraction removed, from 0 to 1 (0.5 for half)")
        return float(value)

    def whole(self, node: Any, what: str, least: int) -> int:
        value = self.value(node)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.fail(node, f"{what} is {value}; it is a whole number from {least}")
        return value


def _kind_of(node: Any) -> str:
    return {yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list"}.get(type(node), f"'{getattr(node, 'value', '')}'")


def build_schedulers(recipe: Recipe, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The recipe's learning-rate schedulers over an optimizer, by name."""
    made: Callable[[Scheduler], Any] = lambda s: getattr(lr_scheduler, s.kind)(optimizer, **s.arguments)  # noqa: E731
    return {name: made(s) for name, s in recipe.schedulers.items()}
