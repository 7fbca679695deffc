"""Pruners that say axes in place of weights: which, by what criterion, along which curve, and which
of their units go. Our own key `axes:`, for what no weight names: heads, head widths, groups of
queries, experts, and for any criterion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import yaml
from torch import Tensor

from purethin.errors import MaskError
from purethin.finding import find
from purethin.recipes import nodes
from purethin.recipes.fractions import fractions_of
from purethin.recipes.functions import Function, read_function
from purethin.recipes.nodes import Fields, said
from purethin.selection import Normalize, Scope, select
from purethin.spec import Masks, Scores, Spec

_SCOPES = get_args(Scope)
_NORMS = (*get_args(Normalize), "layers", "share")
_LP_NORM, _AGP = Function("lp_norm"), Function("agp")


def _texts(node: yaml.Node, what: str) -> tuple[str, ...]:
    one = isinstance(node, yaml.ScalarNode)
    return tuple(str(nodes.value(n)) for n in ([node] if one else nodes.sequence(node, what)))


def _amounts(node: yaml.Node, what: str) -> dict[str, float | None]:
    """`{text: fraction}`; of a list, or of one word, no fraction."""
    if not isinstance(node, yaml.MappingNode):
        return dict.fromkeys(_texts(node, what))
    entries = nodes.mapping(node, what).items()
    return {
        text: nodes.fraction(given, f"the sparsity of '{text}'") for text, (_, given) in entries
    }


def _steps(node: yaml.Node, what: str) -> int | dict[str, int]:
    """A number of units, or `{text: number}`."""
    if not isinstance(node, yaml.MappingNode):
        return nodes.whole(node, what, least=1)
    entries = nodes.mapping(node, what).items()
    return {text: nodes.whole(n, f"{what} of '{text}'", least=1) for text, (_, n) in entries}


def _curve(node: yaml.Node, _: str) -> Function:
    return read_function(node, "curve")


def _criterion(node: yaml.Node, _: str) -> Function:
    return read_function(node, "criterion")


@dataclass(frozen=True, kw_only=True)
class ByAxis:
    """What a pruner with `axes:` says beside its amounts.

    Attributes:
        axes: `{text: the fraction removed at the end}`, texts as `find` reads them; None where a
            target says how much.
        criterion: what ranks the units.
        curve: how much is gone by when.
        scope: whose units rank together, as `select` has it; so the other options.
        normalize: what makes scores of different axes comparable; with a target `"layers"`,
            `"share"` or `"raw"`, as `solve` has it (raw scores add up).
        round_to: units that stay are a multiple of so many; or `{text: number}`.
        min_keep: so many stay at least; 0 lets a whole branch go.
        max_sparsity: at most this fraction of an axis goes.
        keep: texts of axes that stay whole.
        gram: whether the criterion needs second moments (`obs`, `thinet`).
        regrow: the part of the units that stay which is exchanged for units that were gone, at the
            first step; it falls along a cosine to 0 at the last.
    """

    axes: Mapping[str, float | None] = said(_amounts, "{heads: 0.5}")
    criterion: Function = said(_criterion, default=_LP_NORM)
    curve: Function = said(_curve, default=_AGP)
    scope: str = said(partial(nodes.one_of, allowed=_SCOPES), default="local")
    normalize: str | None = said(partial(nodes.one_of, allowed=_NORMS), default=None)
    round_to: int | Mapping[str, int] = said(_steps, default=1)
    min_keep: int = said(nodes.whole, default=1)
    max_sparsity: float | None = said(nodes.fraction, default=None)
    keep: tuple[str, ...] = said(_texts, default=())
    gram: bool = said(nodes.truth, default=False)
    regrow: float = said(nodes.fraction, default=0.0)


def read_by_axis(entries: Fields, at: yaml.Node, owner: str) -> ByAxis:
    """What a pruner says, from its entries but for its amounts."""
    for key, instead in (("class", "criterion"), ("weights", "axes"), ("group_type", "axes")):
        if key in entries:
            why = f"a pruner with `axes` has no `{key}`; `{instead}` says it"
            nodes.fail(entries[key][0], f"{owner}: {why}")
    return nodes.read(ByAxis, entries, at, owner, "a pruner with `axes` has no argument")


# ---- on a network


def fractions_by(by: ByAxis, spec: Spec) -> dict[str, float]:
    """`{axis: the fraction removed at the end}`; 1.0 where a target says how much.

    Raises:
        MaskError: a text means no axis, all of them stay whole, or the options don't fit.
    """
    given = {text: 1.0 if f is None else f for text, f in by.axes.items()}
    found = fractions_of(spec, given)
    stay = {*find(spec, by.keep, error=MaskError)}
    found = {name: fraction for name, fraction in found.items() if name not in stay}
    if not found:
        raise MaskError("all axes that it means stay whole: nothing would ever go")
    return found


def check_gated(axes: Iterable[str], spec: Spec) -> None:
    """That a gate can stand for each unit, as the gradient of one that is gone needs.

    Raises:
        MaskError: an axis has no gates.
    """
    if ungated := next((axis for axis in axes if not spec.axes[axis].gates), None):
        raise MaskError(
            f"'{ungated}' has no gates (spec.gated), so what bringing back its units is worth has "
            "no gradient: leave `regrow` out for it"
        )


def chosen_masks(
    by: ByAxis, fractions: Mapping[str, float], scores: Scores, masks: Masks, spec: Spec
) -> dict[str, Tensor]:
    """The masks of a pruner's axes when these fractions of their dense units are gone.

    Args:
        by: the pruner's choice.
        fractions: `{axis: fraction}`, now.
        scores: `{axis: Tensor[size]}` of all units.
        masks: the masks so far; what they remove stays removed and is counted.
        spec: the dense spec.
    """
    options: dict[str, Any] = {key: getattr(by, key) for key in _OF_SELECT}
    return select({n: scores[n] for n in fractions}, fractions, spec=spec, masks=masks, **options)


_OF_SELECT = ("scope", "normalize", "round_to", "min_keep", "max_sparsity")
