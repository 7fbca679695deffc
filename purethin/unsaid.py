"""Integers of modules that equal a width which thinning changed, and stay: no forward that was
traced read them, so nothing says what they measure. Another use of the module may read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from purethin import axes as ax
from purethin.axes import Axes, Product
from purethin.builtin import measuring
from purethin.checks import kept_sizes
from purethin.spec import Masks, Spec


@dataclass(frozen=True)
class Width:
    """A dim of a parameter, or factors of it: where, what it is made of, and its sizes."""

    place: tuple[str, int, int]
    what: str
    whole: bool
    was: int
    now: int


def unsaid(dense: nn.Module, small: nn.Module, spec: Spec, masks: Masks) -> tuple[str, ...]:
    """One line for each integer of a module that equals a dense width of its own parameters, or of
    those of a module right below it, which has become smaller: a dim, or factors of one, such as
    its heads. Torch's own layers say what they measure, and are left out.

    An integer that varies where the width does not, from one module of a class to the next, is
    none (the index of a layer).

    Args:
        dense: the module before.
        small: what `rebuild` made of it.
        spec: the dense module's spec.
        masks: what it was thinned with.

    >>> import torch
    >>> class Up(nn.Module):
    ...     def __init__(self, width, heads):
    ...         super().__init__()
    ...         self.up, self.heads = nn.Linear(3, width, bias=False), heads
    >>> dense, small = Up(8, 2), Up(4, 2)
    >>> spec = Spec.from_layout({"up.weight": "(heads 4) 3"}, dense.state_dict())
    >>> unsaid(dense, small, spec, {"heads": torch.tensor([True, False])})
    ("heads stays 2, but 'heads' of up.weight had 2 units and has 1",)
    """
    before, stays = dict(dense.named_modules()), list[tuple[str, str, int, list[Width]]]()
    sizes = kept_sizes(spec, None), kept_sizes(spec, masks)
    refuted = set[tuple[type[nn.Module], str, tuple[str, int, int]]]()
    for path, module in small.named_modules():
        if path not in before:
            continue
        known = spec.attributes.get(path, {}).keys() | measuring(module)
        widths = [*_widths(module, path, spec, sizes)]
        for name, value in vars(before[path]).items():
            same = type(value) is int and vars(module).get(name) == value
            if same and name not in known:
                stays.append((path, name, value, widths))
                refuted |= {(type(module), name, w.place) for w in widths if w.was != value}
    found = list[str]()
    for path, name, value, widths in stays:
        kind = type(before[path])
        alike = [w for w in widths if w.was == value > 1 and (kind, name, w.place) not in refuted]
        alike = [w for w in alike if w.whole] or alike
        if gone := [w for w in alike if w.now != value]:
            line = f"{gone[0].what} had {value} units and has {gone[0].now}"
            other = ", another width of as many stays" if len(gone) < len(alike) else ""
            found.append(f"{path}.{name}".strip(".") + f" stays {value}, but {line}{other}")
    return tuple(found)


def _widths(
    module: nn.Module, path: str, spec: Spec, sizes: tuple[Callable[[Axes], int], ...]
) -> Iterator[Width]:
    """The dims of a module's parameters and of those right below it, and the factors of dims."""
    for below, holder in (("", module), *module.named_children()):
        for name in holder._parameters:
            place = f"{below}.{name}".strip(".")
            for dim, expr in enumerate(spec.layout.get(f"{path}.{place}".strip("."), ())):
                for at, (part, whole) in enumerate(_runs(expr)):
                    what = place if whole else f"'{part}' of {place}"
                    yield Width((place, dim, at), what, whole, *(size(part) for size in sizes))


def _runs(expr: Axes) -> Iterator[tuple[Axes, bool]]:
    """An expression, then each run of its factors."""
    yield expr, True
    factors = expr.factors if isinstance(expr, Product) else ()
    for length in range(1, len(factors)):
        for start in range(len(factors) - length + 1):
            yield ax.product(factors[start : start + length]), False
