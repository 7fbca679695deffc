"""From a pruner to axes: what a listed weight and a group type mean on a network, and what ranks
the units.

Two listed weights that share an axis never rank it twice: one leads, they rank it together, or the
recipe is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from purethin import axes as ax
from purethin.errors import nearest
from purethin.measures import KINDS, Measure
from purethin.recipes.located import fail
from purethin.recipes.pruners import GROUP_TYPES, Pruner
from purethin.spec import Spec

_OTHER = {
    "Filters": "Channels",
    "3D": "Channels",
    "Channels": "Filters",
    "Rows": "Cols",
    "Cols": "Rows",
}


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
    averaged); `why` says so.
    """

    axes: tuple[str, ...]
    by: tuple[Ranking, ...]
    why: str
    mean: bool = False

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
    if pruner.group_type is None:
        elements_of(pruner, spec)
        return []
    found: dict[str, list[Listed]] = {}
    for name, place in placed(pruner):
        listed = locate(name, place, pruner.group_type, spec)
        for axis in _axes(pruner.group_type, listed, spec):
            found.setdefault(axis, []).append(listed)
    if pruner.group_dependency == "Leader":
        return _led(pruner, found, spec)
    if pruner.group_dependency in ("Sum", "Mean"):
        return [_together(pruner, members, axis) for axis, members in found.items()]
    for axis, members in found.items():
        if len(members) > 1 and pruner.group_dependency is None:
            _refuse_shared(pruner, axis, members, spec)
    return [
        _alone(f"{pruner.group_type} of {members[0].weight}", members[0], axis)
        for axis, members in found.items()
    ]


def measures_of(pruner: Pruner, groups: Iterable[Group]) -> list[Measure]:
    """What a pruner must know of data before it ranks these groups."""
    if pruner.criterion not in KINDS:
        return []
    return [
        Measure(pruner.criterion, r.weight, r.dim, r.axis) for group in groups for r in group.by
    ]


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
    for name in together:
        for group in groups[name]:
            for axis in group.axes:
                first, its = owner.setdefault(axis, (name, group))
                if first != name:
                    fail(
                        pruners[name].place,
                        f"pruners '{first}' (by {its.leader}) and '{name}' (by {group.leader}) "
                        f"both prune the axis '{axis}' "
                        f"({spec.axes[axis].size} units) in the same epoch.{_meeting(axis, spec)} "
                        "Each would keep other units: "
                        "list the weights in one pruner, with `group_dependency: Auto`, or give "
                        "the pruners different epochs",
                    )
    single: dict[str, str] = {}
    for name in together:
        for weight in elements_of(pruners[name], spec):
            if (first := single.setdefault(weight, name)) != name:
                fail(
                    pruners[name].place,
                    f"pruners '{first}' and '{name}' both zero single weights of {weight} in the "
                    "same epoch: "
                    "list it in one of them, or give the pruners different epochs",
                )


def elements_of(pruner: Pruner, spec: Spec) -> list[str]:
    """The parameters whose single weights a pruner zeroes; none where it removes units.

    Raises:
        RecipeError: one is unknown.
    """
    if pruner.group_type is not None:
        return []
    return [resolve(name, place, spec) for name, place in placed(pruner)]


def placed(of: Pruner) -> list[tuple[str, str]]:
    """Each listed weight with its place; that of the pruner where it was not read from a file."""
    return list(zip(of.weights, of.places or [of.place] * len(of.weights), strict=True))


def _alone(why: str, listed: Listed, axis: str) -> Group:
    return Group((axis,), (Ranking(listed.weight, listed.dim, axis),), why)


def _together(pruner: Pruner, members: Sequence[Listed], axis: str) -> Group:
    by = tuple(Ranking(m.weight, m.dim, axis) for m in members)
    more = f" and {len(by) - 1} more" if len(by) > 1 else ""
    why = (
        f"{pruner.group_type}, {str(pruner.group_dependency).lower()} of {members[0].weight}{more}"
    )
    return Group((axis,), by, why, mean=pruner.group_dependency == "Mean")


def _led(pruner: Pruner, found: Mapping[str, list[Listed]], spec: Spec) -> list[Group]:
    """The first listed weight ranks its own axes, and by them those of the others."""
    leader = next(iter(found.values()))[0]
    own = [axis for axis, members in found.items() if members[0] == leader]
    why = f"{pruner.group_type}, led by {leader.weight}"
    for axis, members in found.items():
        if axis in own:
            continue
        if len(own) > 1:
            fail(
                members[0].place,
                f"{members[0].weight} carries the axis '{axis}', which the Leader {leader.weight} "
                "lacks; the Leader has several "
                f"({', '.join(own)}), and which of them should rank it is not said: write "
                "`group_dependency: Auto`",
            )
        if spec.axes[axis].size != spec.axes[own[0]].size:
            fail(
                members[0].place,
                f"{members[0].weight} has {spec.axes[axis].size} units ('{axis}'), but the Leader "
                f"{leader.weight} ranks "
                f"{spec.axes[own[0]].size} ('{own[0]}'): list it in a pruner of its own, or write "
                "`group_dependency: Auto`",
            )
    if len(own) > 1:
        return [_alone(why, leader, axis) for axis in own]
    return [Group(tuple(found), (Ranking(leader.weight, leader.dim, own[0]),), why)]


def _refuse_shared(pruner: Pruner, axis: str, members: Sequence[Listed], spec: Spec) -> NoReturn:
    met = _meeting(axis, spec) or " They read one tensor."
    fail(
        members[1].place,
        f"pruner '{pruner.name}' lists {len(members)} weights that share the axis '{axis}' "
        f"({spec.axes[axis].size} units): {', '.join(m.weight for m in members)}.{met} "
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
    for candidate in (name, name.removeprefix("module."), f"module.{name}"):
        if candidate in spec.layout:
            return candidate
    alike = [known for known in spec.layout if _bare(known) == _bare(name)]
    if len(alike) == 1:
        return alike[0]
    fail(
        place,
        f"no parameter is named '{name}'; {nearest(name.removeprefix('module.'), spec.layout)}",
    )


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
    rank = len(spec.layout[weight])
    if rank < 2:
        fail(
            place,
            f"{weight} has {rank} dimensions and no {group_type}: list its layer's convolution or "
            "linear weight",
        )
    if group_type in ("Rows", "Cols"):
        if rank != 2:
            other = "Filters" if group_type == "Rows" else "Channels"
            fail(
                place,
                f"{weight} has {rank} dimensions; {group_type} are of matrices: write `group_type: "
                f"{other}`",
            )
        return Listed(weight, place, 0 if group_type == "Rows" else 1)
    first = list(ax.names(spec.layout[weight][0]))
    depthwise = rank > 2 and spec.layout[weight][1] == ax.ONE
    transposed = (
        bool(first)
        and not depthwise
        and not any((weight, 0) in spec.axes[axis].producers for axis in first)
    )
    return Listed(weight, place, int(transposed == (GROUP_TYPES[group_type] == "filters")))


def prunable(listed: Listed, spec: Spec) -> list[str]:
    """The axes along the dim that is meant; none where it is frozen, or a product of several."""
    expr = spec.layout[listed.weight][listed.dim]
    return [] if _crossed(expr) else list(dict.fromkeys(ax.names(expr)))


def _axes(group_type: str, listed: Listed, spec: Spec) -> list[str]:
    """The axes along the dim that is meant; several where it is a concatenation."""
    expr = spec.layout[listed.weight][listed.dim]
    names = list(dict.fromkeys(ax.names(expr)))
    where = f"{listed.weight} cannot be pruned by {group_type}"
    if not names:
        reasons = [
            f.reason for f in spec.frozen if (f.parameter, f.dim) == (listed.weight, listed.dim)
        ]
        other = spec.layout[listed.weight][1 - listed.dim]
        hint = (
            f" (its dim {1 - listed.dim} is '{other}': write `group_type: {_OTHER[group_type]}` to "
            "prune that)"
        )
        fail(
            listed.place,
            f"{where}: its dim {listed.dim} is frozen ({(reasons or [f'its size is {expr}'])[0]}); "
            "remove it from the list"
            f"{hint if any(ax.names(other)) else ''}",
        )
    if crossed := _crossed(expr):
        example = ", ".join(f"'{name}': 0.5" for name in dict.fromkeys(ax.names(crossed)))
        fail(
            listed.place,
            f"{where}: its dim {listed.dim} is '{expr}', a product of several axes, and which of "
            "them should lose units is not "
            "said; remove it from the list, and prune them by name: pt.select(scores, "
            f"{{{example}}})",
        )
    return names


def _crossed(expr: ax.Axes) -> ax.Axes | None:
    """A part that is a product of several axes, None where there is no such part."""
    if isinstance(expr, ax.Product) and sum(any(ax.names(f)) for f in expr.factors) > 1:
        return expr
    return next((found for part in ax.parts(expr) if (found := _crossed(part))), None)
