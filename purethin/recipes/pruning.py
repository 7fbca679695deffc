"""A recipe on a network: the axes and single weights that its pruners mean, resolved and checked
once, and the masks that follow from it, epoch by epoch.

All methods are pure. Masks and sparsities are those of the dense network, and only grow: what is
removed stays removed, unless a pruner says `regrow`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from purethin.checks import check_fits
from purethin.measures import KINDS, Measure
from purethin.recipes.by_axis import chosen_masks
from purethin.recipes.groups import Group, elements_of, groups_of, refuse_rivals
from purethin.recipes.masking import Evidence, element_mask, ranked_masks
from purethin.recipes.policies import Policy, Timetable, exchanged_at, sparsity_at
from purethin.recipes.pruners import Pruner
from purethin.recipes.regrowth import exchanged, regrows
from purethin.recipes.regularizers import Penalty, Regularizer, fallen, penalties_of, penalty
from purethin.recipes.scoring import looks_at_data
from purethin.recipes.targets import budgets_at, check_targets, targeted_masks
from purethin.selection import count_removed
from purethin.spec import Elements, Masks, Scores, Spec
from purethin.tree import TensorTree, named


@dataclass(frozen=True)
class Pruning:
    """What `recipe.on(spec)` gives.

    Attributes:
        timetable: what acts when.
        pruners: by name.
        spec: the dense network's.
        groups: the axes that each pruner prunes, by its name, and what ranks them.
        singles: the parameters whose single weights it zeroes.
        penalties: what each regularizer pulls to zero, by its name.
    """

    timetable: Timetable
    pruners: Mapping[str, Pruner]
    spec: Spec
    groups: Mapping[str, Sequence[Group]]
    singles: Mapping[str, Sequence[str]]
    penalties: Mapping[str, Sequence[Penalty]]

    @staticmethod
    def _weighs(pruner: Pruner) -> bool:
        """Whether the criterion of a pruner by axes reads all weights."""
        by = pruner.by_axis
        return by is not None and not by.regrow and not looks_at_data(by)

    @property
    def reads(self) -> frozenset[str]:
        """The parameters whose values the masks depend on; of all others, shapes alone are read."""
        ranks = {r.weight for groups in self.groups.values() for group in groups for r in group.by}
        pulled = {p.listed.weight for each in self.penalties.values() for p in each}
        everything = self.spec.layout if any(map(self._weighs, self.pruners.values())) else ()
        return frozenset(ranks.union(pulled, everything, *self.singles.values()))

    def measures_at(self, epoch: int) -> tuple[Measure, ...]:
        """What must be measured on data before `masks_at(epoch)`: see `purethin.measures`. Mostly
        nothing.
        """
        acting = [p.instance for p in self.timetable.at(epoch, Pruner)]
        acting = [p for p in acting if p.criterion in KINDS and p.by_axis is None]
        by = [(p.criterion, r) for p in acting for group in self.groups[p.name] for r in group.by]
        return tuple(dict.fromkeys(Measure(kind, r.weight, r.dim, r.axis) for kind, r in by))

    def scored_at(self, epoch: int) -> tuple[Pruner, ...]:
        """The pruners by axes whose criteria look at data, or whose units may come back:
        `masks_at(epoch)` is to be given their scores.
        """
        acting = dict.fromkeys(p.instance.name for p in self.timetable.at(epoch, Pruner))
        found = (self.pruners[name] for name in acting)
        return tuple(
            p
            for p in found
            if p.by_axis is not None and (p.by_axis.regrow or looks_at_data(p.by_axis))
        )

    @property
    def regrows(self) -> bool:
        """Whether units may come back, with the weights that they had."""
        return regrows(self.timetable)

    def axes_of(self, pruner: str) -> list[str]:
        """The axes that a pruner prunes."""
        return [axis for group in self.groups[pruner] for axis in group.axes]

    def masks_at(
        self,
        epoch: int,
        params: TensorTree,
        masks: Masks,
        *,
        step: int = 0,
        statistics: Mapping[Measure, Tensor] | None = None,
        scores: Mapping[str, Scores] | None = None,
        seed: int = 0,
    ) -> dict[str, Tensor]:
        """The masks after the pruners of this epoch have acted; the same ones where none does.

        Args:
            epoch: counted from 0.
            params: the parameters at their dense shapes, zero where they are masked already: they
                rank. After thinning, `expand(thinned, spec, masks)`.
            masks: the masks so far, over the dense axes.
            step: the batch that is about to begin, counted from 0. As the epoch begins (0) all act;
                later only those pruners whose policy has `mini_batch_pruning_frequency`, at its
                multiples.
            statistics: `{measure: Tensor[size]}` for all of `measures_at(epoch)`.
            scores: `{pruner: {axis: Tensor[size]}}` for all of `scored_at(epoch)`, of all units;
                of other pruners by axes too, in place of their criteria. Where units may come
                back, those of gone units say what that is worth.
            seed: random pruners rank by it, the epoch, their name and the axis's alone.

        Returns:
            New masks: of n units, floor(sparsity · n) of the dense n are gone, those already gone
            among them; never the last one, but of a branch that may go whole.

        Raises:
            SpecError: the parameters are not at the spec's dense shapes.
            MaskError: a weight that ranks holds nan, or a statistic is missing.
        """
        tensors = named(params)
        check_fits(self.spec, tensors)
        evidence = Evidence(self.spec, tensors, statistics or {}, scores or {}, seed)
        return self.next_masks(epoch, evidence, masks, step)

    def next_masks(
        self, epoch: int, evidence: Evidence, masks: Masks, step: int = 0
    ) -> dict[str, Tensor]:
        """`masks_at` by evidence that is kept from epoch to epoch."""
        out = dict(masks)
        for policies in _together(self.timetable.pruning_at(epoch, step)):
            first = policies[0].instance
            ranked = [
                (p.instance, groups, evidence.score(p.instance, groups, epoch, masks))
                for p in policies
                for groups in (self.groups[p.instance.name],)
            ]
            if first.target is not None:
                budgets = budgets_at(first.target, sparsity_at(policies[0], epoch), self.spec)
                new = targeted_masks(ranked, budgets, out, self.spec)
            elif first.by_axis is not None:
                [(_, groups, score)] = ranked
                scores = {g.axes[0]: score(g.by[0]) for g in groups}
                fractions = {g.axes[0]: sparsity_at(policies[0], epoch, g.final) for g in groups}
                new = chosen_masks(first.by_axis, fractions, scores, out, self.spec)
                new = exchanged(new, out, scores, exchanged_at(policies[0], epoch))
            else:
                [(_, groups, score)] = ranked
                fraction, may = sparsity_at(policies[0], epoch), self.spec.branches
                new = ranked_masks(groups, fraction, score, out, may)
            for group in (group for _, groups, _ in ranked for group in groups):
                home = evidence.tensors[group.leader].device
                out |= {a: new[a] if home.type == "meta" else new[a].to(home) for a in group.axes}
        for r in self.timetable.removes_at(epoch) if step == 0 else ():
            pulled = self.penalties[r.name]
            out |= fallen(r.threshold or "", pulled, evidence.tensors, self.spec, out)
        return out

    def elements_at(
        self,
        epoch: int,
        params: TensorTree,
        masks: Masks,
        elements: Elements,
        *,
        step: int = 0,
    ) -> dict[str, Tensor]:
        """The masks of single weights after the pruners of this epoch have acted.

        Args:
            epoch: counted from 0.
            params: as `masks_at` takes them.
            masks: what `masks_at` gave for this epoch and step: what belongs to a removed unit
                counts as gone.
            elements: the masks of single weights so far.
            step: as `masks_at` takes it.

        Returns:
            `{parameter: BoolTensor of its dense shape}`, True = keep.

        Raises:
            MaskError: a parameter that loses single weights holds nan.
        """
        tensors, out = named(params), dict(elements)
        for policy in self.timetable.pruning_at(epoch, step):
            for name in self.singles[policy.instance.name]:
                removed = count_removed(sparsity_at(policy, epoch), tensors[name].numel())
                out[name] = element_mask(tensors[name], self.spec, name, masks, out, removed)
        return out

    def penalty_at(self, epoch: int, params: TensorTree) -> Tensor | None:
        """What the regularizers of an epoch add to the loss: a scalar, differentiable; None where
        none acts.

        Args:
            epoch: counted from 0.
            params: the parameters as they are now, thinned or not.
        """
        acting = [policy.instance for policy in self.timetable.at(epoch, Regularizer)]
        pulled = [p for regularizer in acting for p in self.penalties[regularizer.name]]
        return penalty(pulled, named(params)) if pulled else None


def _together(policies: Sequence[Policy[Pruner]]) -> list[list[Policy[Pruner]]]:
    """The policies one by one; those of the recipe's own target together, at the first's place."""
    out: dict[object, list[Policy[Pruner]]] = {}
    for i, policy in enumerate(policies):
        out.setdefault("shared" if policy.instance.shared else i, []).append(policy)
    return [*out.values()]


def bound(
    timetable: Timetable, pruners: Iterable[Pruner], regularizers: Iterable[Regularizer], spec: Spec
) -> Pruning:
    """A timetable, pruners and regularizers on a network: `Recipe.on`, with its errors."""
    known = {pruner.name: pruner for pruner in pruners}
    groups = {name: groups_of(pruner, spec) for name, pruner in known.items()}
    check_targets(groups, known.values(), spec)
    singles = {name: elements_of(pruner, spec) for name, pruner in known.items()}
    penalties = {r.name: penalties_of(r, spec) for r in regularizers}
    acting: dict[int, list[str]] = {}
    for policy in timetable.of(Pruner):
        for epoch in policy.epochs:
            acting.setdefault(epoch, []).append(policy.instance.name)
    for together in dict.fromkeys(tuple(dict.fromkeys(names)) for names in acting.values()):
        refuse_rivals(groups, known, together, spec)
    return Pruning(timetable, known, spec, groups, singles, penalties)
