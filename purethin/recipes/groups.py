"""From a pruner to axes: what a listed weight and a group type mean on a network, and what ranks
the units.

Two listed weights that share an axis never rank it twice: one leads, they rank it together, or the
recipe is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch

from purethin import axes as ax
from purethin.errors import PurethinError, nearest
from purethin.recipes.by_axis import ByAxis, check_gated, chosen_masks, fractions_by
from purethin.recipes.nodes import fail
from purethin.recipes.pruners import GROUP_TYPES, Pruner
from purethin.recipes.scoring import asked
from purethin.spec import Spec

_OTHER = {"Channels": "Filters", "Rows": "Cols", "Cols": "Rows"}  # of Filters and 3D: Channels


@dataclass(frozen=True)
class Listed:
    """A listed weight, resolved: its name in the spec, its place in the recipe, and the dim that a
    group type means.
    """

    weight: str
    place: str
    dim: int


@dataclass(frozen=True)
class Ranking:
    """What ranks the units of an axis: a weight, along a dim, by that axis of it."""

    weight: str
    dim: int
    axis: str


@dataclass(frozen=True)
class Group:
    """Axes that lose the same units: `by` ranks them (the scores of several add up, or are
    averaged); `why` says so. `final` is the fraction that is gone of them at the end, where it is
    not one for all that a pruner prunes.
    """

    axes: tuple[str, ...]
    by: tuple[Ranking, ...]
    why: str
    mean: bool = False
    final: float | None = None

    @property
    def leader(self) -> str:
        """The first weight that ranks."""
        return self.by[0].weight


def groups_of(pruner: Pruner, spec: Spec) -> list[Group]:
    """The axes that a pruner prunes on this network, and what ranks each; none where it zeroes
    single weights.

    Raises:
        RecipeError: a weight is unknown, has no such dim, a frozen one, or one that is a product of
            several axes; several listed weights carry one axis without `group_dependency`; or a
            Leader's axis is of another size than one that it leads.
    """
    kind, dependency = pruner.group_type, pruner.group_dependency
    if pruner.by_axis is not None:
        return _of_axes(pruner, pruner.by_axis, spec)
    if kind is None:
        return []
    found: dict[str, list[Listed]] = {}
    for name, place in placed(pruner):
        listed = locate(name, place, kind, spec)
        for axis in _axes(kind, listed, spec):
            found.setdefault(axis, []).append(listed)
    if dependency == "Leader":
        return _led(kind, found, spec)
    groups = []
    for axis, members in found.items():
        if len(members) > 1 and dependency is None:
            _refuse_shared(pruner, axis, members, spec)
        why = f"{kind} of {members[0].weight}"
        if together := dependency in ("Sum", "Mean"):
            more = f" and {len(members) - 1} more" if len(members) > 1 else ""
            why = f"{kind}, {dependency.lower()} of {members[0].weight}{more}"
        by = [Ranking(m.weight, m.dim, axis) for m in (members if together else members[:1])]
        groups.append(Group((axis,), tuple(by), why, mean=dependency == "Mean"))
    return groups


def refuse_rivals(
    groups: Mapping[str, Sequence[Group]],
    pruners: Mapping[str, Pruner],
    together: Sequence[str],
    spec: Spec,
) -> None:
    """That no two pruners which act in the same epoch reach one axis, or one parameter's single
    weights.

    Raises:
        RecipeError: two do; names the axis, both, and what ties their weights.
    """
    owner: dict[str, tuple[str, Group]] = {}
    for name, group in [(n, group) for n in together for group in groups[n]]:
        for axis in group.axes:
            first, its = owner.setdefault(axis, (name, group))
            if first != name:
                fail(
                    pruners[name].place,
                    f"pruners '{first}' (by {its.leader}) and '{name}' (by {group.leader}) both "
                    f"prune the axis '{axis}' ({spec.axes[axis].size} units) in the same epoch."
                    f"{_meeting(axis, spec)} Each would keep other units: list the weights in one "
                    "pruner, with `group_dependency: Auto`, or give the pruners different epochs",
                )
    single: dict[str, str] = {}
    for name in together:
        for weight in elements_of(pruners[name], spec):
            if (first := single.setdefault(weight, name)) != name:
                remedy = "list it in one of them, or give the pruners different epochs"
                both = f"pruners '{first}' and '{name}' both zero single weights of {weight}"
                fail(pruners[name].place, f"{both} in the same epoch: {remedy}")


def elements_of(pruner: Pruner, spec: Spec) -> list[str]:
    """The parameters whose single weights a pruner zeroes; none where it removes units.

    Raises:
        RecipeError: one is unknown.
    """
    listed = placed(pruner) if pruner.group_type is None else []
    return [resolve(name, place, spec) for name, place in listed]


def placed(of: Pruner) -> list[tuple[str, str]]:
    """Each listed weight with its place; that of the pruner where it was not read from a file."""
    return list(zip(of.weights, of.places or [of.place] * len(of.weights), strict=True))


def _of_axes(pruner: Pruner, by: ByAxis, spec: Spec) -> list[Group]:
    """The axes that a pruner lists by texts, each by itself; of what makes it a Ranking says only
    where its mask is to lie.
    """
    try:
        asked(by.criterion.load("criterion"))
        by.curve.load("curve")
        found = fractions_by(by, spec)
        check_gated(found if by.regrow else (), spec)
        ones = {name: torch.ones(spec.sizes[name], device="cpu") for name in found}
        if pruner.target is None:
            chosen_masks(by, found, ones, {}, spec)
    except PurethinError as error:
        fail(pruner.place, f"pruner '{pruner.name}': {error}")
    makers = {name: (spec.axes[name].producers or spec.axes[name].places)[0] for name in found}
    return [
        Group(
            (name,), (Ranking(*makers[name], name),), f"{by.criterion.name}, by axis", final=final
        )
        for name, final in found.items()
    ]


def _led(kind: str, found: Mapping[str, list[Listed]], spec: Spec) -> list[Group]:
    """The first listed weight ranks its own axes, and by them those of the others."""
    leader = next(iter(found.values()))[0]
    own = [axis for axis, members in found.items() if members[0] == leader]
    size = spec.axes[own[0]].size
    for axis, (first, *_) in found.items():
        if axis in own:
            continue
        if len(own) > 1:
            fail(
                first.place,
                f"{first.weight} carries the axis '{axis}', which the Leader {leader.weight} "
                f"lacks; the Leader has several ({', '.join(own)}), and which of them should rank "
                "it is not said: write `group_dependency: Auto`",
            )
        if spec.axes[axis].size != size:
            fail(
                first.place,
                f"{first.weight} has {spec.axes[axis].size} units ('{axis}'), but the Leader "
                f"{leader.weight} ranks {size} ('{own[0]}'): list it in a pruner of its own, or "
                "write `group_dependency: Auto`",
            )
    alike = [(axis,) for axis in own] if len(own) > 1 else [tuple(found)]
    why = f"{kind}, led by {leader.weight}"
    return [
        Group(axes, (Ranking(leader.weight, leader.dim, axis),), why)
        for axis, axes in zip(own, alike, strict=True)
    ]


def _refuse_shared(pruner: Pruner, axis: str, members: Sequence[Listed], spec: Spec) -> NoReturn:
    fail(
        members[1].place,
        f"pruner '{pruner.name}' lists {len(members)} weights that share the axis '{axis}' "
        f"({spec.axes[axis].size} units): {', '.join(m.weight for m in members)}."
        f"{_meeting(axis, spec) or ' They read one tensor.'} "
        "Ranked one by one they would keep different units. Write\n"
        "    group_dependency: Leader   # the first listed weight ranks for all\n"
        "or\n"
        "    group_dependency: Auto     # weights that share an axis are grouped, each group "
        "ranked by its first\n"
        f"in the pruner at {pruner.place}",
    )


def _meeting(axis: str, spec: Spec) -> str:
    """The operators and source lines that tie an axis, as a sentence; empty where none is known."""
    ties = spec.ties.get(axis, ())
    more = f" and {len(ties) - 3} more" if len(ties) > 3 else ""
    return f" They meet in {'; '.join(ties[:3])}{more}." if ties else ""


def resolve(name: str, place: str, spec: Spec) -> str:
    """The parameter that a recipe means: `module.`, which a parallel wrapper puts in, may be there
    or not, wherever it is.
    """
    bare = name.removeprefix("module.")
    for candidate in (name, bare, f"module.{name}"):
        if candidate in spec.layout:
            return candidate
    alike = [known for known in spec.layout if _bare(known) == _bare(name)]
    if len(alike) != 1 and set(name) & set("*?["):
        fail(place, f"'{name}' is a pattern: weights are named; patterns of axes stand in `axes:`")
    if len(alike) != 1:
        fail(place, f"no parameter is named '{name}'; {nearest(bare, spec.layout)}")
    return alike[0]


def _bare(name: str) -> list[str]:
    return [part for part in name.split(".") if part != "module"]


def locate(name: str, place: str, group_type: str, spec: Spec) -> Listed:
    """A listed weight on this network, and the dim of it that a group type means.

    That is dim 0 for what it produces, 1 for what it consumes; the other way round where the weight
    lies transposed, as in a transposed convolution: others make its dim 0. (So it is in a depthwise
    convolution, which has no dim 1 to speak of.)

    Raises:
        RecipeError: there is no such weight, or it has no such dim.
    """
    weight = resolve(name, place, spec)
    layout = spec.layout[weight]
    has = f"{weight} has {len(layout)} dimensions"
    if len(layout) < 2:
        remedy = "list its layer's convolution or linear weight"
        fail(place, f"{has} and no {group_type}: {remedy}")
    if group_type in ("Rows", "Cols"):
        if len(layout) != 2:
            other = "Filters" if group_type == "Rows" else "Channels"
            fail(place, f"{has}; {group_type} are of matrices: write `group_type: {other}`")
        return Listed(weight, place, 0 if group_type == "Rows" else 1)
    first = list(ax.names(layout[0]))
    depthwise = len(layout) > 2 and layout[1] == ax.ONE
    made = any((weight, 0) in spec.axes[axis].producers for axis in first)
    transposed = bool(first) and not depthwise and not made
    return Listed(weight, place, int(transposed == (GROUP_TYPES[group_type] == "filters")))


def prunable(listed: Listed, spec: Spec) -> list[str]:
    """The axes along the dim that is meant; none where it is frozen, or a product of several."""
    expr = spec.layout[listed.weight][listed.dim]
    return [] if _crossed(expr) else list(dict.fromkeys(ax.names(expr)))


def _axes(group_type: str, listed: Listed, spec: Spec) -> list[str]:
    """The axes along the dim that is meant; several where it is a concatenation.

    Raises:
        RecipeError: there are none, with the reason.
    """
    weight, dim = listed.weight, listed.dim
    if found := prunable(listed, spec):
        return found
    expr, other = spec.layout[weight][dim], spec.layout[weight][1 - dim]
    where = f"{weight} cannot be pruned by {group_type}: its dim {dim} is"
    if crossed := _crossed(expr):
        example = ", ".join(f"{name}: 0.5" for name in dict.fromkeys(ax.names(crossed)))
        fail(
            listed.place,
            f"{where} '{expr}', a product of several axes, and which of them should lose units is "
            "not said; remove it from the list, and list them in a pruner of axes: `axes: "
            f"{{{example}}}`",
        )
    reasons = [f.reason for f in spec.frozen if (f.parameter, f.dim) == (weight, dim)]
    kind = _OTHER.get(group_type, "Channels")
    hint = f" (its dim {1 - dim} is '{other}': write `group_type: {kind}` to prune that)"
    fail(
        listed.place,
        f"{where} frozen ({(reasons or [f'its size is {expr}'])[0]}); remove it from the list"
        f"{hint if any(ax.names(other)) else ''}",
    )


def _crossed(expr: ax.Axes) -> ax.Axes | None:
    """A part that is a product of several axes, None where there is no such part."""
    if isinstance(expr, ax.Product) and sum(any(ax.names(f)) for f in expr.factors) > 1:
        return expr
    return next((found for part in ax.parts(expr) if (found := _crossed(part))), None)
