"""From a pruner to axes: what a listed weight and a group type mean on a network, and what ranks the units.

Two listed weights that share an axis never rank it twice: one leads, or the recipe is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from purethin import axes as ax
from purethin.errors import nearest
from purethin.located import fail
from purethin.spec import Spec

GROUP_TYPES = {"Filters": "filters", "3D": "filters", "Rows": "filters", "Channels": "channels", "Cols": "channels"}
"""What a group type prunes: the outputs of a weight, or its inputs. Rows and Cols are for matrices."""
_OTHER = {"Filters": "Channels", "3D": "Channels", "Channels": "Filters", "Rows": "Cols", "Cols": "Rows"}
DEPENDENCIES = ("Leader", "Auto")
"""`Leader`: the first listed weight ranks for all. `Auto`: each axis is ranked by the first listed weight that carries it."""


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
class Group:
    """Axes that one weight ranks: its name, its dim, and the axis of it whose units are ranked (None: each by itself)."""

    leader: str
    dim: int
    axes: tuple[str, ...]
    ranks: str | None
    power: int
    why: str


@dataclass(frozen=True)
class _Listed:
    """A listed weight, resolved: its name in the spec, its place in the recipe, and the dim that is meant."""

    weight: str
    place: str
    dim: int


def groups_of(pruner: Pruner, spec: Spec) -> list[Group]:
    """The axes that a pruner prunes on this network, and what ranks each.

    Raises:
        RecipeError: a weight is unknown, has no such dim, a frozen one, or one that is a product of several axes; several listed
            weights carry one axis without `group_dependency`; or a Leader's axis is of another size than one that it leads.
    """
    found: dict[str, list[_Listed]] = {}
    for name, place in pruner.weights:
        weight = _resolve(name, place, spec)
        listed = _Listed(weight, place, _dim(pruner, weight, place, spec))
        for axis in _axes(pruner, listed, spec):
            found.setdefault(axis, []).append(listed)
    if pruner.group_dependency == "Leader":
        return _led(pruner, found, spec)
    for axis, members in found.items():
        if len(members) > 1 and pruner.group_dependency is None:
            _refuse_shared(pruner, axis, members, spec)
    return [_alone(pruner, members[0], axis) for axis, members in found.items()]


def refuse_rivals(
    groups: Mapping[str, Sequence[Group]], pruners: Mapping[str, Pruner], together: Sequence[str], spec: Spec
) -> None:
    """That no two pruners which act in the same epoch reach one axis by different weights or amounts.

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
                        f"pruners '{first}' (by {its.leader}) and '{name}' (by {group.leader}) both prune the axis '{axis}' "
                        f"({spec.axes[axis].size} units) in the same epoch.{_meeting(axis, spec)} Each would keep other units: "
                        "list the weights in one pruner, with `group_dependency: Auto`, or give the pruners different epochs",
                    )


def _alone(pruner: Pruner, listed: _Listed, axis: str) -> Group:
    return Group(listed.weight, listed.dim, (axis,), None, pruner.power, f"{pruner.group_type} of {listed.weight}")


def _led(pruner: Pruner, found: Mapping[str, list[_Listed]], spec: Spec) -> list[Group]:
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
                f"{members[0].weight} carries the axis '{axis}', which the Leader {leader.weight} lacks; the Leader has several "
                f"({', '.join(own)}), and which of them should rank it is not said: write `group_dependency: Auto`",
            )
        if spec.axes[axis].size != spec.axes[own[0]].size:
            fail(
                members[0].place,
                f"{members[0].weight} has {spec.axes[axis].size} units ('{axis}'), but the Leader {leader.weight} ranks "
                f"{spec.axes[own[0]].size} ('{own[0]}'): list it in a pruner of its own, or write `group_dependency: Auto`",
            )
    if len(own) > 1:
        return [Group(leader.weight, leader.dim, (axis,), None, pruner.power, why) for axis in own]
    return [Group(leader.weight, leader.dim, tuple(found), own[0], pruner.power, why)]


def _refuse_shared(pruner: Pruner, axis: str, members: list[_Listed], spec: Spec) -> NoReturn:
    fail(
        members[1].place,
        f"pruner '{pruner.name}' lists {len(members)} weights that share the axis '{axis}' ({spec.axes[axis].size} units): "
        f"{', '.join(m.weight for m in members)}.{_meeting(axis, spec) or ' They read one tensor.'} "
        "Ranked one by one they would keep different units. Write\n"
        "    group_dependency: Leader   # the first listed weight ranks for all\n"
        "or\n"
        "    group_dependency: Auto     # weights that share an axis are grouped, each group ranked by its first\n"
        f"in the pruner at {pruner.place}",
    )


def _meeting(axis: str, spec: Spec) -> str:
    """The operators and source lines that tie an axis, as a sentence; empty where none is known."""
    ties = spec.ties.get(axis, ())
    more = f" and {len(ties) - 3} more" if len(ties) > 3 else ""
    return f" They meet in {'; '.join(ties[:3])}{more}." if ties else ""


def _resolve(name: str, place: str, spec: Spec) -> str:
    for candidate in (name, name.removeprefix("module."), f"module.{name}"):
        if candidate in spec.layout:
            return candidate
    fail(place, f"no parameter is named '{name}'; {nearest(name.removeprefix('module.'), spec.layout)}")


def _dim(pruner: Pruner, weight: str, place: str, spec: Spec) -> int:
    """The dim of a weight that a group type means: 0 for what it produces, 1 for what it consumes.

    The other way round where the weight lies transposed, as in a transposed convolution: others make its dim 0. (So it is in a
    depthwise convolution, which has no dim 1 to speak of.)
    """
    rank = len(spec.layout[weight])
    if rank < 2:
        fail(place, f"{weight} has {rank} dimensions and no {pruner.group_type}: list its layer's convolution or linear weight")
    if pruner.group_type in ("Rows", "Cols"):
        if rank != 2:
            other = "Filters" if pruner.group_type == "Rows" else "Channels"
            fail(place, f"{weight} has {rank} dimensions; {pruner.group_type} are of matrices: write `group_type: {other}`")
        return 0 if pruner.group_type == "Rows" else 1
    makes = {dim for axis in spec.axes.values() for name, dim in axis.producers if name == weight}
    depthwise = rank > 2 and spec.layout[weight][1] == ax.ONE
    transposed = 0 not in makes and any(ax.names(spec.layout[weight][0])) and not depthwise
    return int(transposed == (GROUP_TYPES[pruner.group_type] == "filters"))


def _axes(pruner: Pruner, listed: _Listed, spec: Spec) -> list[str]:
    """The axes along the dim that is meant; several where it is a concatenation."""
    expr = spec.layout[listed.weight][listed.dim]
    names = list(dict.fromkeys(ax.names(expr)))
    where = f"{listed.weight} cannot be pruned by {pruner.group_type}"
    if not names:
        reasons = [f.reason for f in spec.frozen if (f.parameter, f.dim) == (listed.weight, listed.dim)]
        other = spec.layout[listed.weight][1 - listed.dim]
        hint = f" (its dim {1 - listed.dim} is '{other}': write `group_type: {_OTHER[pruner.group_type]}` to prune that)"
        fail(
            listed.place,
            f"{where}: its dim {listed.dim} is frozen ({(reasons or [f'its size is {expr}'])[0]}); remove it from the list"
            f"{hint if any(ax.names(other)) else ''}",
        )
    if crossed := _crossed(expr):
        example = ", ".join(f"'{name}': 0.5" for name in dict.fromkeys(ax.names(crossed)))
        fail(
            listed.place,
            f"{where}: its dim {listed.dim} is '{expr}', a product of several axes, and which of them should lose units is not "
            f"said; remove it from the list, and prune them by name: pt.select(scores, {{{example}}})",
        )
    return names


def _crossed(expr: ax.Axes) -> ax.Axes | None:
    """A part that is a product of several axes, None where there is no such part."""
    if isinstance(expr, ax.Product) and sum(any(ax.names(f)) for f in expr.factors) > 1:
        return expr
    return next((found for part in ax.parts(expr) if (found := _crossed(part))), None)
