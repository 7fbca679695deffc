"""A recipe for a network: commented YAML in which each axis is reached by weights that make it.

Invariant: `load_recipe` reads the text, `plan` takes floor(sparsity · size) units off every axis
that it lists; what no weight names is listed by axis, in our own key, with the reason. The same
spec gives the same text in every process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import yaml

from purethin.arguments import explained
from purethin.budgets.asked import KINDS, Budgets, limits_of
from purethin.costs import cost, for_batch
from purethin.errors import MaskError, RecipeError, nearest
from purethin.recipes.carriers import Listing, listings, some
from purethin.recipes.fractions import check_fraction, fractions_of
from purethin.selection import count_removed
from purethin.spec import Spec

if TYPE_CHECKING:
    from typing_extensions import Unpack

_CLASS = "L1RankedStructureParameterPruner_AGP"
_LAST = 100_000  # beyond which `load_recipe` takes nothing for an epoch
_THINNER = (
    "extensions:",
    "  thinner:                     # takes the removed units out of the tensors",
    "    class: StructureRemover",
)
_BY_AXIS = "by_axis"


@explained
def recipe_for(
    spec: Spec,
    *,
    sparsity: float | Mapping[str, float] = 0.5,
    axes: str | Sequence[str] = "*",
    initial: float = 0.0,
    begin: int = 0,
    end: int = 30,
    frequency: int = 2,
    **target: Unpack[Budgets],
) -> str:
    """A recipe for this network: automated gradual pruning by L1 norms, then thinning, as commented
    YAML.

    L1 norms need no data. Criteria that look at data know far better what a unit is worth; docs/
    criteria.md says which: `output_taylor` without labels, `gate` or `fisher` with labels.

    Args:
        spec: the network's spec.
        sparsity: the fraction of units to remove, in [0, 1]; or `{axis or pattern: fraction}`: an
            axis by its own name first, then by the first pattern that matches; axes that none
            matches keep all.
        axes: a text, or several, as `find` reads them: a name, a pattern (`layer2.*`), a weight, a
            role ("heads", "feed_forward"). Patterns and roles mean exact axes; an inexact one is
            pruned where it is named outright.
        initial: the fraction removed at `begin`; less where an axis's sparsity is less.
        begin: the first epoch.
        end: the epoch after the last (exclusive), at which the network is thinned.
        frequency: epochs between steps.
        target: `macs`, `parameters`, `bytes`, `activation_bytes`: what the network may cost at the
            end, in place of `sparsity` and `initial`, as `solve` takes it: the recipe's own
            `target`.

    Returns:
        YAML text. Each axis has a comment with its size, how many units go, and which weights share
        it.

    Raises:
        SpecError: a pattern matches no exact axis.
        MaskError: a fraction outside [0, 1], or a sparsity for a name that is not an axis.
        RecipeError: no epoch is scheduled between `begin` and `end`.

    >>> from purethin.recipes.recipe import load_recipe
    >>> params = {"a.w": torch.ones(8, 3), "b.w": torch.ones(4, 8)}
    >>> spec = Spec.from_layout({"a.w": "a 3", "b.w": "b a"}, params)
    >>> list(load_recipe(recipe_for(spec, axes="a")).pruners)
    ['filters_50']
    """
    if not 0 <= begin < end <= _LAST or frequency < 1:
        raise RecipeError(
            f"no epoch is scheduled from {begin} to {end} (exclusive), every {frequency}: "
            f"give 0 <= begin < end <= {_LAST:,} and frequency > 0"
        )
    check_fraction("initial", initial)
    if (other := next((kind for kind in target if kind not in KINDS), None)) is not None:
        raise MaskError(f"a recipe has no target of '{other}'; {nearest(other, KINDS)}")
    limits_of(target or {"bytes": 1.0}, spec)
    wanted = fractions_of(spec, 0.0 if target else sparsity, axes)
    pruners, unnamed = listings(spec, wanted)
    if target:
        pruners = [replace(p, name=p.name.removesuffix("_0")) for p in pruners]
    goal = f"target: {{{', '.join(f'{kind}: {part}' for kind, part in target.items())}}}"
    lines = [*_head(spec, wanted, target), "version: 1", *([goal] if target else []), ""]
    lines.append("pruners:")
    for p in pruners:
        lines += _pruner_lines(p, None if target else min(initial, p.sparsity), spec)
    if unnamed:
        fractions = None if target else {axis: wanted[axis] for axis in unnamed}
        lines += _axes_lines(unnamed, fractions, initial, spec)
    lines += [*_THINNER, "", "policies:"]
    for name in [*(p.name for p in pruners), *[_BY_AXIS] * bool(unnamed)]:
        lines += [f"  - pruner: {{instance_name: {name}}}", f"    starting_epoch: {begin}"]
        lines += [f"    ending_epoch: {end}", f"    frequency: {frequency}"]
    lines += ["  - extension: {instance_name: thinner}", f"    epochs: [{end}]", ""]
    return "\n".join(lines)


# ---- text


def _head(spec: Spec, pruned: Mapping[str, float], target: Budgets) -> list[str]:
    """The comment at the top: what the recipe does to the network."""
    gone = {name: _removed(name, fraction, spec) for name, fraction in pruned.items()}
    masks = {n: torch.arange(spec.sizes[n], device="cpu") >= k for n, k in gone.items()}
    before, after = cost(spec), cost(spec, masks)
    many = "1 axis loses" if len(pruned) == 1 else f"{len(pruned)} axes lose"
    lines = [
        f"{many} {sum(gone.values()):,} of {sum(spec.sizes[n] for n in pruned):,} units.",
        f"Parameters: {before.parameters:,}, at the end {after.parameters:,}. MACs: "
        f"{before.macs:,}, at the end {after.macs:,}{for_batch(spec.batch)}.",
    ]
    if target:
        many = "1 axis" if len(pruned) == 1 else f"{len(pruned)} axes"
        lines = [
            f"{many} of {sum(spec.sizes[n] for n in pruned):,} units lose as many as the target "
            "asks.",
            f"Dense: {before.parameters:,} parameters, {before.bytes:,} bytes, {before.macs:,} "
            f"MACs{for_batch(spec.batch)}.",
        ]
    inexact = [name for name in spec.axes if name not in {*spec.exact, *pruned}]
    if inexact:
        why = "their removal changes the function (spec.axes[name].reason)"
        lines += ["", f"Not pruned, since {why}: {some(inexact)}"]
    return [_comment(line) for line in lines]


def _pruner_lines(pruner: Listing, initial: float | None, spec: Spec) -> list[str]:
    """A pruner's entry; without `initial` it has no sparsities, and shares the recipe's target."""
    amounts = [] if initial is None else [f"    initial_sparsity: {float(initial)!r}"]
    amounts += [] if initial is None else [f"    final_sparsity: {float(pruner.sparsity)!r}"]
    group = f"    group_type: {pruner.group_type}"
    lines = [f"  {pruner.name}:", f"    class: {_CLASS}", *amounts, group]
    reached = sum(map(len, pruner.weights.values())) + sum(len(c.axes) for c in pruner.joint)
    if reached > len(pruner.weights):
        why = "weights that share an axis stand together; the first ranks it"
        lines.append(f"    group_dependency: Auto     # {why}")
    lines.append("    weights:")
    for name, own in pruner.weights.items():
        says, ties = _axis_says(name, pruner.sparsity, own, spec), spec.ties.get(name, ())
        if len(own) == 1:
            lines.append(f"      - {_scalar(own[0])}  {says}")
        elif own:
            meet = [_comment(f"  they meet in {some(ties)}")] if ties else []
            lines += [f"      {line}" for line in (says, *meet)]
            lines += [f"      - {_scalar(weight)}" for weight in own]
    for carrier in pruner.joint:
        for name in carrier.axes:
            lines.append(f"      {_axis_says(name, pruner.sparsity, [carrier.weight], spec)}")
        lines.append(f"      - {_scalar(carrier.weight)}")
    return [*lines, ""]


def _axes_lines(
    unnamed: Mapping[str, str], fractions: Mapping[str, float] | None, initial: float, spec: Spec
) -> list[str]:
    """The entry of a pruner of axes that no weight names, with why; without fractions it shares the
    recipe's target.
    """
    lines = [f"  {_BY_AXIS}:", "    axes:                      # ours: no weight names these"]
    for name, why in unnamed.items():
        gone = "" if fractions is None else f", {_removed(name, fractions[name], spec)} go"
        says = _comment(f"{spec.sizes[name]} units{gone}: {why}")
        said = "- " if fractions is None else ""
        amount = "" if fractions is None else f": {float(fractions[name])!r}"
        lines.append(f"      {said}{_scalar(name)}{amount}  {says}")
    lines.append("    criterion: lp_norm")
    if fractions is not None:
        lines.append(f"    initial_sparsity: {float(initial)!r}")
    return [*lines, ""]


def _axis_says(name: str, fraction: float, own: Sequence[str], spec: Spec) -> str:
    """A comment: an axis's size, how many units go, and the weights that are pruned with it, beside
    those that stand below.
    """
    carried = dict.fromkeys(p for p, _ in spec.axes[name].places if len(spec.layout[p]) > 1)
    others = [p for p in carried if p not in own]
    shared = f"; shared with {some([p.removesuffix('.weight') for p in others])}" if others else ""
    reason = "" if spec.axes[name].exact else f"; INEXACT: {spec.axes[name].reason}"
    go = _removed(name, fraction, spec)
    units = f"{spec.sizes[name]} units{f', {go} go' * bool(fraction)}"
    return _comment(f"{name}: {units}{shared}{reason}")


def _removed(name: str, fraction: float, spec: Spec) -> int:
    """The last unit stays, as `Recipe.masks_at` has it."""
    return min(count_removed(fraction, spec.sizes[name]), max(spec.sizes[name] - 1, 0))


def _comment(text: str) -> str:
    """One line; what YAML cannot hold even in a comment is escaped."""
    return f"# {text if text.isprintable() else text.encode('unicode_escape').decode()}".rstrip()


def _scalar(name: str) -> str:
    """A parameter's name as YAML reads it back: bare where it is a plain word."""
    plain = re.fullmatch(r"\w[\w./-]*", name, re.ASCII) and re.search(r"[A-Za-z_]{2}", name)
    return name if plain and yaml.safe_load(name) == name else json.dumps(name)
