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

_KINDS = ("Filters", "Channels")


@dataclass(frozen=True)
class Carrier:
    """A weight and the group type by which a pruner reaches these axes.

    `makes` is whether the weight makes their values, `whole` whether every unit of each has entries
    in it.
    """

    weight: str
    kind: str
    axes: tuple[str, ...]
    makes: bool
    whole: bool


@dataclass(frozen=True)
class Listing:
    """What one pruner lists: `{axis: the weights that carry it alone; the first ranks}`, and
    weights that join several axes.
    """

    name: str
    kind: str
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
    kinds: dict[str, str] = {}
    joints: list[Carrier] = []
    left: dict[str, str] = {}
    for name in (n for n in wanted if not alone[n] and n not in kinds):
        if joint := next(
            (c for c in carriers if name in c.axes and _agree(c, wanted, kinds)), None
        ):
            kinds |= dict.fromkeys(joint.axes, joint.kind)
            joints.append(joint)
        else:
            left[name] = _why_left(name, spec)
    for name in wanted:
        if alone[name] and name not in kinds:
            kinds[name] = alone[name][0].kind
    grouped: dict[tuple[str, float], dict[str, list[str]]] = {}
    for name, fraction in wanted.items():
        if name in kinds:
            own = [c.weight for c in alone[name] if c.kind == kinds[name]]
            grouped.setdefault((kinds[name], fraction), {})[name] = own
    found: dict[str, Listing] = {}
    for (kind, fraction), weights in grouped.items():
        name = f"{kind.lower()}_{100 * fraction:.3g}".replace(".", "_")
        name = name if name not in found else f"{name}_{len(found)}"  # 0.501 and 0.5011
        found[name] = Listing(
            name,
            kind,
            fraction,
            weights,
            tuple(c for c in joints if c.kind == kind and c.axes[0] in weights),
        )
    return list(found.values()), left


def some(names: Sequence[str], shown: int = 3) -> str:
    """The first few names, the others counted.

    >>> some(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _agree(carrier: Carrier, wanted: Mapping[str, float], kinds: Mapping[str, str]) -> bool:
    """Whether all axes of a weight are to lose the same fraction, and none is another group type's
    already.
    """
    return len({wanted.get(a) for a in carrier.axes}) == 1 and {
        kinds.get(a, carrier.kind) for a in carrier.axes
    } == {carrier.kind}


def _carriers(spec: Spec) -> list[Carrier]:
    """Every weight that a pruner can list, asked of the recipe's own rules; the best to rank an
    axis by come first.
    """
    found = []
    for weight, dims in spec.layout.items():
        for kind in _KINDS if len(dims) > 1 and weight not in spec.buffers else ():
            try:
                groups = groups_of(
                    Pruner("probe", "l1", (weight,), kind, None, 0.5, 0.5, gradual=False), spec
                )
            except RecipeError:  # frozen, or a product of several axes
                continue
            dim, names = groups[0].by[0].dim, tuple(name for group in groups for name in group.axes)
            found.append(
                Carrier(
                    weight,
                    kind,
                    names,
                    makes=any((weight, dim) in spec.axes[name].producers for name in names),
                    whole=all(_reaches_all(dims[dim], name, spec) for name in names),
                )
            )
    return sorted(found, key=lambda c: (not c.whole, not c.makes))


def _reaches_all(expr: ax.Axes, name: str, spec: Spec) -> bool:
    return isinstance(expr, ax.Name) or set(range(spec.sizes[name])) <= set(
        ax.units(expr, name, spec.sizes).tolist()
    )


def _why_left(name: str, spec: Spec) -> str:
    """Why no weight of two dimensions or more names an axis."""
    axis = spec.axes[name]
    large = [(p, d) for p, d in axis.places if len(spec.layout[p]) > 1 and p not in spec.buffers]
    if not large:
        return f"no matrix or kernel carries it, only {some([p for p, _ in axis.places])}"
    weight, dim = next(((p, d) for p, d in large if d < 2), large[0])
    if dim > 1:
        return f"it is dim {dim} of {weight}, and a group type means dim 0 or 1"
    expr = spec.layout[weight][dim]
    part = _factors(expr, name) or expr
    text = str(part).replace(name.rpartition(".")[0] + ".", "") if "." in name else str(part)
    return f"{weight} has it only within '{text}'"


def _factors(expr: ax.Axes, name: str) -> ax.Axes | None:
    """The innermost product of an axis with others."""
    inside = next((found for part in ax.parts(expr) if (found := _factors(part, name))), None)
    return inside or (expr if isinstance(expr, ax.Product) and name in ax.names(expr) else None)
