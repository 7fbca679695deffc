"""Integers of modules that equal a width which thinning changed, and stay: no forward that was
traced read them, so nothing says what they measure. Another use of the module may read them.
"""

from __future__ import annotations

from torch import nn


def unsaid(dense: nn.Module, small: nn.Module) -> tuple[str, ...]:
    """One line for each integer of a module that is a dense width of its own parameters, or of
    those of a module right below it, where all dims of this width have become smaller.

    Args:
        dense: the module before.
        small: what `rebuild` made of it.

    >>> dense, small = nn.Linear(2, 8), nn.Linear(2, 5)
    >>> dense.hidden = small.hidden = 8
    >>> unsaid(dense, small)
    ('hidden stays 8, but weight had 8 units and has 5',)
    """
    before, found = dict(dense.named_modules()), []
    for path, module in small.named_modules():
        widths = _changed(before[path], module) if path in before else {}
        for name, value in vars(module).items() if widths else ():
            same = type(value) is int and vars(before[path]).get(name) == value
            if same and (change := widths.get(value)) is not None:
                found.append(f"{path}.{name}".strip(".") + f" stays {value}, but {change}")
    return tuple(found)


def _changed(dense: nn.Module, small: nn.Module) -> dict[int, str]:
    """`{dense width: what became of it}` of the parameters of a module and of those right below."""
    stays: set[int] = set()
    found: dict[int, str] = {}
    for path, module in (("", small), *small.named_children()):
        other = dense.get_submodule(path) if hasattr(dense, path) or not path else None
        for name, new in module._parameters.items():
            old = other._parameters.get(name) if other is not None else None
            pairs = () if old is None or new is None else zip(old.shape, new.shape, strict=True)
            for was, now in pairs:
                if was == now:
                    stays.add(was)
                else:
                    place = f"{path}.{name}".strip(".")
                    found.setdefault(was, f"{place} had {was} units and has {now}")
    return {width: said for width, said in found.items() if width not in stays}
