"""The search for the config that says a thinned module's sizes.

Values are proposed by what changed, and dropped where a size or a number that no other entry moves
contradicts. Sizes that several entries move are settled together.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import starmap
from math import log
from typing import Any

import torch
from torch import Tensor, nn

from purethin.errors import SpecError
from purethin.holders import holders
from purethin.modules import tensors_of

Number = int | float
Facts = dict[tuple[str, str, str], Any]
"""`{(module path, holder, name): value}` of the numbers that modules keep."""
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Builder:
    """How a class builds a module from a config, on meta.

    Attributes:
        kind: the class.
        name: the argument, and the module's attribute, that is the config.
        config: the dense one.
    """

    kind: type[nn.Module]
    name: str
    config: Any

    @staticmethod
    def of(model: nn.Module) -> Builder:
        """The builder of this module's class.

        Raises:
            SpecError: the class takes no single config.
        """
        given = [*inspect.signature(type(model)).parameters.values()]
        given = [p for p in given if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        needed = [p.name for p in given if p.default is p.empty]
        config = vars(model).get(needed[0]) if len(needed) == 1 else None
        if config is None or not hasattr(config, "__dict__"):
            raise SpecError(
                f"a {type(model).__name__} is not built from one config, which it keeps under the "
                "name of the argument: keep the network with pt.save, or with torch.save"
            )
        return Builder(type(model), needed[0], config)

    def __call__(self, config: Any) -> nn.Module:
        try:
            with torch.device("meta"), torch.random.fork_rng(devices=[]):
                return self.kind(copy.deepcopy(config))
        except Exception as error:
            raise SpecError(f"{self.kind.__name__} cannot be built: {error}") from error


@dataclass(frozen=True)
class Search:
    """From the dense config to one that says the thinned sizes.

    Attributes:
        build: from a config to a module on meta.
        want: the thinned module's shapes.
        numbers: the numbers that its modules keep.
        dense: those that the dense one keeps.
        tried: modules by the entries that were changed.
    """

    build: Builder
    want: Shapes
    numbers: Facts
    dense: Facts
    tried: dict[frozenset[tuple[str, int]], nn.Module | None] = field(default_factory=dict)

    def found(self, dense: Any) -> tuple[Any, nn.Module]:
        """The config, and the module that is built from it."""
        changes, proposed = dict[str, int](), self._possible(dense)
        derived = {n for n, v in entries_of(dense) if v is None}
        pairs = [(a, b) for a in proposed for b in proposed if a[0] in derived and a[0] != b[0]]
        while True:
            now = self._far(changes)
            for steps in ([(step,) for step in proposed], pairs):
                best = min(({**changes, **dict(s)} for s in steps), key=self._far, default=changes)
                if self._far(best) < now:
                    break
            else:
                break
            changes = best
        while wrong := [n for n in changes if not self._proven(n, changes)]:
            changes = {n: v for n, v in changes.items() if n not in wrong}
        made = self._made(changes)
        assert made is not None
        return self._config(changes), made

    def _possible(self, dense: Any) -> list[tuple[str, int]]:
        """What entries may be now, without what a size or a number contradicts that no other entry
        moves.
        """
        effects: dict[tuple[str, int], dict[object, Number]] = {}
        for name, value in entries_of(dense):
            for new in self._proposals(value):
                made = self._made({name: new})
                effect = {} if made is None else self._effect(made)
                if effect or (made is not None and value is None):
                    effects[name, new] = effect
        movers: dict[object, set[str]] = {}
        for (name, _), effect in effects.items():
            for key in effect:
                movers.setdefault(key, set()).add(name)
        want = self._sizes(self.want, self.numbers)
        base = self._sizes(shapes_of(self._base()), self.dense)

        def contradicts(key: object, value: Number) -> bool:
            unread = key in self.numbers and type(value) is int and want[key] == base[key]
            return len(movers[key]) == 1 and value != want[key] and not unread

        possible = [
            k for k, effect in effects.items() if not any(starmap(contradicts, effect.items()))
        ]
        settled = {name for name, _ in possible}
        moved = [ns for k, ns in movers.items() if want[k] != base[k] and not ns & settled]
        broken = {n for ns in moved for n in ns}
        values = {n: [new for name, new in effects if name == n] for n in broken}
        return [
            (name, new)
            for name, new in possible
            if not any(self._meet(name, new, other, values[other]) for other in broken)
        ]

    def _meet(self, name: str, new: int, other: str, values: list[int]) -> bool:
        """Whether another entry, of which no value fits, moves what this one moves."""
        mine = self._made({name: new})
        for made in (self._made({name: new, other: value}) for value in values):
            if made is not None and mine is not None:
                shared = self._effect(mine).keys() & self._effect(made, mine).keys()
                if not shared:
                    return False
        return True

    def _sizes(self, shapes: Shapes, numbers: Facts) -> dict[object, Number]:
        sizes = {(n, i): size for n, shape in shapes.items() for i, size in enumerate(shape)}
        return {**sizes, **numbers}

    def _effect(self, made: nn.Module, beside: nn.Module | None = None) -> dict[object, Number]:
        """The sizes and numbers that differ from those of another; by default, the dense one."""
        other = self._base() if beside is None else beside
        base = self._sizes(shapes_of(other), numbers_of(other))
        new = self._sizes(shapes_of(made), numbers_of(made))
        mine = self._sizes(self.want, self.numbers)
        return {k: v for k, v in new.items() if k in base and k in mine and base[k] != v}

    def _proposals(self, value: int | None) -> list[int]:
        """What an entry may be now: as its value is to a size or a number that changed."""
        pairs = {
            (old, new)
            for name, shape in shapes_of(self._base()).items()
            for old, new in zip(shape, self.want.get(name, shape), strict=True)
        }
        pairs |= {
            (old, self.numbers[key])
            for key, old in self.dense.items()
            if type(old) is int and type(self.numbers.get(key)) is int
        }
        changed = sorted((old, new) for old, new in pairs if old != new and old > 0)
        if value is None:  # it is derived from others, which may change
            return sorted({size for shape in self.want.values() for size in shape if size > 1})
        scaled = {value * new // old for old, new in changed if value * new % old == 0}
        return sorted(new for new in scaled - {value} if new > 0)

    def _base(self) -> nn.Module:
        made = self._made({})
        assert made is not None
        return made

    def _config(self, changes: Mapping[str, int]) -> Any:
        config = copy.deepcopy(self.build.config)
        for name, value in changes.items():
            put(config, name, value)
        return config

    def _made(self, changes: Mapping[str, int]) -> nn.Module | None:
        key = frozenset(changes.items())
        if key not in self.tried:
            try:
                self.tried[key] = self.build(self._config(changes))
            except SpecError:
                self.tried[key] = None
        return self.tried[key]

    def _far(self, changes: Mapping[str, int]) -> tuple[float, int]:
        """How far the shapes are from the thinned ones, and how many numbers contradict."""
        made = self._made(changes)
        if made is None:
            return (float("inf"), 0)
        shapes = shapes_of(made)
        if shapes.keys() != self.want.keys():
            return (float("inf"), 0)
        far = sum(
            abs(log(a / b))
            for name, shape in shapes.items()
            for a, b in zip(shape, self.want[name], strict=True)
            if a != b and a and b
        )
        return (round(far, 9), len(self.stale(made)[1]))

    def _proven(self, name: str, changes: Mapping[str, int]) -> bool:
        """Whether all that an entry decides is as in the thinned module."""
        with_it = self._made(changes)
        without = self._made({n: v for n, v in changes.items() if n != name})
        if with_it is None or without is None:
            return with_it is not None
        new, old = shapes_of(with_it), shapes_of(without)
        return all(
            a == c
            for key in new
            for a, b, c in zip(new[key], old[key], self.want[key], strict=True)
            if a != b
        )

    def stale(self, made: nn.Module) -> tuple[Facts, list[str]]:
        """The integers of modules that the config's change moves and thinning did not; and the
        numbers in which a module built from it is another network.
        """
        stale, wrong = Facts(), []
        for key, new in numbers_of(made).items():
            old, now = self.dense.get(key), self.numbers.get(key, new)
            if new == now:
                continue
            if now == old and not isinstance(new, float):
                stale[key] = new
            else:
                at = ".".join(filter(None, key))
                wrong.append(f"{at} is {now}, of one built from the config {new}")
        return stale, wrong

    def left(self, made: nn.Module) -> list[str]:
        """The parameters whose shapes the config does not give."""
        shapes = shapes_of(made)
        return [
            f"{name} is {shape}, of one built from the config {shapes[name]}"
            for name, shape in self.want.items()
            if shapes[name] != shape
        ]


def shapes_of(model: nn.Module) -> Shapes:
    """The shapes of all parameters and buffers, tied ones by each of their names."""
    return {n: tuple(t.shape) for n, t in tensors_of(model, duplicates=True)}


def numbers_of(model: nn.Module) -> Facts:
    """The numbers that modules keep, in plain objects too; what several share, once."""
    found, seen = Facts(), set[int]()
    for path, module in model.named_modules():
        for prefix, holder in holders(module):
            if holder.shared is None or id(holder.shared) not in seen:
                seen.add(id(holder.shared))
                values = holder.values.items()
                found |= {(path, prefix, n): v for n, v in values if type(v) in (int, float)}
    return found


def entries_of(config: Any, prefix: str = "") -> Iterator[tuple[str, int | None]]:
    """The integers of a config and of those in it, and entries that are None where an integer may
    stand, by their annotation.
    """
    hints = {
        k: v for c in type(config).__mro__ for k, v in vars(c).get("__annotations__", {}).items()
    }
    for name, value in vars(config).items():
        if name.startswith("_"):
            continue
        if type(value) is int and value > 0:
            yield prefix + name, value
        elif value is None and "int" in str(hints.get(name, "")):
            yield prefix + name, None
        elif hasattr(value, "__dict__") and not isinstance(value, type | Tensor | nn.Module):
            yield from entries_of(value, f"{prefix}{name}.")


def put(config: Any, path: str, value: int) -> None:
    """Set an entry of a config, or of one that stands in it."""
    *where, last = path.split(".")
    for name in where:
        config = vars(config)[name]
    setattr(config, last, value)
