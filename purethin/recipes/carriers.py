"""Which weights a pruner lists to reach an axis, and with which group type: `groups_of` read
backwards.

Invariant: what is listed here, `groups_of` resolves to those very axes; each axis is reached by one
pruner alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from purethin import axes as ax
from purethin.errors import RecipeError
from purethin.recipes.groups import groups_of
from purethin.recipes.pruners import Pruner
from purethin.spec import Spec


@dataclass(frozen=True)
class Carrier:
    """A weight and the group type by which a pruner reaches these axes."""

    weight: str
    group_type: str
    axes: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """What one pruner lists: `{axis: the weights that carry it alone; the first ranks}`, and
    weights that join several axes.
    """

    name: str
    group_type: str
    sparsity: float
    weights: Mapping[str, list[str]]
    joint: tuple[Carrier, ...]


def listings(spec: Spec, wanted: Mapping[str, float]) -> tuple[list[Listing], dict[str, str]]:
    """What pruners list, one for each group type and fraction, and `{axis: why no weight names
    it}`.

    An axis that only concatenations carry (`(a + b)`) goes first: all axes of such a weight lose
    the same fraction by one pruner.

    Args:
        spec: the network's spec.
        wanted: `{axis: fraction}`.
    """
    carriers = _carriers(spec)
    alone = {name: [c for c in carriers if c.axes == (name,)] for name in wanted}
    types: dict[str, str] = {}
    joints: list[Carrier] = []
    unnamed: dict[str, str] = {}
    for name in (n for n in wanted if not alone[n]):
        if name in types:
            continue
        if joint := next(
            (c for c in carriers if name in c.axes and _agree(c, wanted, types)), None
        ):
            types |= dict.fromkeys(joint.axes, joint.group_type)
            joints.append(joint)
        else:
            unnamed[name] = _why_unnamed(name, spec)
    types = {name: own[0].group_type for name, own in alone.items() if own} | types
    grouped: dict[tuple[str, float], dict[str, list[str]]] = {}
    for name in (n for n in wanted if n in types):
        own = [c.weight for c in alone[name] if c.group_type == types[name]]
        grouped.setdefault((types[name], wanted[name]), {})[name] = own
    found: dict[str, Listing] = {}
    for (kind, fraction), weights in grouped.items():
        name = f"{kind.lower()}_{100 * fraction:.3g}".replace(".", "_")
        name = name if name not in found else f"{name}_{len(found)}"  # 0.501 and 0.5011
        joint = tuple(c for c in joints if c.group_type == kind and c.axes[0] in weights)
        found[name] = Listing(name, kind, fraction, weights, joint)
    return list(found.values()), unnamed


def some(names: Sequence[str], shown: int = 3) -> str:
    """The first few names, the others counted.

    >>> some(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _agree(carrier: Carrier, wanted: Mapping[str, float], types: Mapping[str, str]) -> bool:
    """Whether all axes of a weight are to lose the same fraction, and none is another group type's
    already.
    """
    given = {types.get(axis, carrier.group_type) for axis in carrier.axes}
    return len({wanted.get(a) for a in carrier.axes}) == 1 and given == {carrier.group_type}


def _carriers(spec: Spec) -> list[Carrier]:
    """Every weight that a pruner can list, asked of the recipe's own rules; the best to rank an
    axis by come first: those with entries of all its units, then those that make its values.
    """
    found: dict[Carrier, tuple[bool, bool]] = {}
    for weight, dims in spec.layout.items():
        listed = len(dims) > 1 and weight not in spec.buffers
        for kind in ("Filters", "Channels") if listed else ():
            probe = Pruner("probe", "l1", (weight,), kind, None, 0.5, 0.5, gradual=False)
            try:
                groups = groups_of(probe, spec)
            except RecipeError:  # frozen, or a product of several axes
                continue
            dim, names = groups[0].by[0].dim, tuple(name for group in groups for name in group.axes)
            whole = all(_reaches_all(dims[dim], name, spec) for name in names)
            makes = any((weight, dim) in spec.axes[name].producers for name in names)
            found[Carrier(weight, kind, names)] = (not whole, not makes)
    return sorted(found, key=found.__getitem__)


def _reaches_all(expr: ax.Axes, name: str, spec: Spec) -> bool:
    units = range(spec.sizes[name])
    return isinstance(expr, ax.Name) or {*units} <= {*ax.units(expr, name, spec.sizes).tolist()}


def _why_unnamed(name: str, spec: Spec) -> str:
    """Why no weight of two dimensions or more names an axis."""
    places = spec.axes[name].places
    large = [(p, d) for p, d in places if len(spec.layout[p]) > 1 and p not in spec.buffers]
    if not large:
        return f"no matrix or kernel carries it, only {some([p for p, _ in places])}"
    weight, dim = next(((p, d) for p, d in large if d < 2), large[0])
    if dim > 1:
        return f"it is dim {dim} of {weight}, and a group type means dim 0 or 1"
    expr = spec.layout[weight][dim]
    text = str(_factors(expr, name) or expr)
    text = text.replace(name.rpartition(".")[0] + ".", "") if "." in name else text
    return f"{weight} has it only within '{text}'"


def _factors(expr: ax.Axes, name: str) -> ax.Axes | None:
    """The innermost product of an axis with others."""
    inside = next((found for part in ax.parts(expr) if (found := _factors(part, name))), None)
    return inside or (expr if isinstance(expr, ax.Product) and name in ax.names(expr) else None)
