"""Which axes may lose all their units, what goes with them, and why the others may not.

An axis is a branch where every output still depends on the inputs without it: another way goes
around it. Then no value is of account that an emptied tensor held: what read it gives zero or a
constant, as in the masked network. That torch runs what is left, a trial shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch

from purethin import axes as ax
from purethin.axes import Axes
from purethin.checks import broken_condition, joined
from purethin.inference.faults import Fault, halved
from purethin.inference.layers import layers_of
from purethin.inference.ledger import Ledger
from purethin.inference.nodes import Node
from purethin.inference.places import raised_at
from purethin.inference.readout import names_of
from purethin.inference.sources import Example, Source, Traced, run
from purethin.inference.without import Dense, Without
from purethin.spec import Masks, Spec


def with_branches(source: Source, dense: Traced, spec: Spec, examples: Sequence[Example]) -> Spec:
    """The spec, with its branches, and why the other exact axes are none.

    Args:
        source: what was traced.
        dense: its trace.
        spec: what the trace proves.
        examples: what it was traced with.
    """
    names = names_of(dense)
    node_of = {name: node for node, name in names.items() if name in spec.axes}
    layers = layers_of(dense, names, spec)
    trials = _Emptied(source, dense, replace(spec, empty_layers=layers), examples, node_of)
    for name in spec.exact:
        trials.judge(name, [name])
    for expr in joined(spec, trials.left(spec.exact)):
        trials.judge(str(expr), [*dict.fromkeys(ax.names(expr))], expr)
    trials.together()
    may = trials.left(spec.exact)
    branches = {n: trials.freed(n, may) for n in may}
    return replace(
        spec, branches=branches, needed=trials.needed, empty_layers=layers if may else {}
    )


class _Emptied:
    """The network without all units of some axes: what is read of it, and whether it runs."""

    def __init__(
        self,
        source: Source,
        dense: Traced,
        spec: Spec,
        examples: Sequence[Example],
        node_of: Mapping[str, Node],
    ) -> None:
        self.source, self.dense, self.spec, self.examples = source, dense, spec, examples
        self.node_of = node_of
        self.shapes, self.read = _shapes(dense), Dense(dense)
        self.needed: dict[str, str] = {}
        self.never: list[Axes] = []
        self._without: dict[frozenset[str], Without] = {}

    def judge(self, what: str, axes: Sequence[str], expr: Axes | None = None) -> None:
        """Note why these axes cannot go whole, if the dense trace says so."""
        if (why := self.refusal(axes)) is not None:
            self._keep(what, why, expr)

    def _keep(self, what: str, why: str, expr: Axes | None = None) -> None:
        self.needed[what] = why
        self.never += [] if expr is None else [expr]

    def left(self, axes: Iterable[str]) -> list[str]:
        """Those that nothing is known against."""
        return [n for n in axes if n not in self.needed]

    def refusal(self, axes: Iterable[str]) -> str | None:
        """Why these axes cannot go whole together, if the dense trace says so."""
        for name in axes:
            if not self.spec.axes[name].finite:
                return "masked, its units make infinities"
        if (broken := broken_condition(self.spec, self.masks(axes))) is not None:
            c = broken[0]
            return f"{c.place} compares '{c.left} {c.relation} {c.right}'"
        return self.without(axes).refusal()

    def without(self, axes: Iterable[str]) -> Without:
        key = frozenset(axes)
        if key not in self._without:
            self._without[key] = Without(self.read, frozenset(self.node_of[n] for n in key))
        return self._without[key]

    def masks(self, axes: Iterable[str]) -> Masks:
        sizes = self.spec.sizes
        return {n: torch.zeros(sizes[n], dtype=torch.bool, device="cpu") for n in axes}

    def together(self) -> None:
        """Run the network without as many axes at once as leave a way through it, until all were;
        those that are to blame for a fault are needed.
        """
        done: set[str] = set()
        while left := [n for n in self.left(self.spec.exact) if n not in done]:
            group = self._fitting([], left) or left[:1]
            fault = self.fault(group)
            while fault is not None:
                for name, why in halved(group, fault, self.fault).items():
                    self._blame(name, why, group)
                group = self._fitting([], self.left(group))
                fault = self.fault(group) if group else None
            done.update(group)

    def _blame(self, name: str, why: str, group: Sequence[str]) -> None:
        """An axis; or where the network runs without it, the concatenation that it ended."""
        ended = [e for e in joined(self.spec, group) if name in ax.names(e)]
        if ended and self.fault([name]) is None:
            for expr in ended:
                self._keep(str(expr), why, expr)
        else:
            self._keep(name, why)

    def _fitting(self, group: list[str], more: Sequence[str]) -> list[str]:
        """A group, and as many more as may go at once with it."""
        both = [*group, *more]
        if not more or (
            not any(ax.vanishes(e, both) for e in self.never) and self.refusal(both) is None
        ):
            return both
        if len(more) == 1:
            return group
        half = len(more) // 2
        return self._fitting(self._fitting(group, more[:half]), more[half:])

    def fault(self, axes: Sequence[str]) -> Fault | None:
        """What comes out otherwise than it should without these axes; None if nothing does."""
        spec = replace(self.spec, branches=dict.fromkeys(axes, ()))
        meta, ledger = self.dense.trace.meta, self.dense.trace.ledger
        try:
            small = self.source.thinned(spec, self.masks(axes), meta=meta)
            fresh = Ledger(ledger.tracking, ledger.tentative, only=ledger.taken.keys())
            shapes = _shapes(run(small, self.examples, meta=meta, ledger=fresh))
        except Exception as error:  # whatever the forward raises is the finding
            first = (str(error).splitlines() or [""])[0]
            return Fault(f"without it a trial raised {first!r} in {raised_at(error)}", raised=True)
        other = next((w for w, s in self.shapes.items() if shapes.get(w) != s), None)
        return (other and Fault(f"without it {other} has the shape {shapes.get(other)}")) or None

    def freed(self, name: str, may: Sequence[str]) -> tuple[str, ...]:
        """The other branches of which nothing is read without this one."""
        read = self.without([name]).parameters_read()
        axes = self.spec.axes
        return tuple(n for n in may if n != name and not any(p in read for p, _ in axes[n].places))


def _shapes(traced: Traced) -> dict[str, tuple[int, ...]]:
    return {where: tuple(t.shape) for where, t in traced.outputs.items()}
