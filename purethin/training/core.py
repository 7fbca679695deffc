"""Pruning along a recipe as pure functions that any loop can call: `begin`, then `advance` as each
epoch begins, and `finish`.

Invariant: a state holds no parameters and is never changed: the loop owns its tensors, and a
`Change` says how they follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from purethin.arguments import explained
from purethin.checks import check_elements, check_masks
from purethin.errors import OptionError, RecipeError, SpecError
from purethin.kept import Kept
from purethin.measures import Measure
from purethin.recipes.pruning import Pruning
from purethin.recipes.recipe import Recipe
from purethin.recipes.regrowth import check_regrowth
from purethin.recipes.scoring import spread
from purethin.spec import Elements, Masks, Scores, Spec
from purethin.thinning import (
    Config,
    Thinning,
    config_of,
    expand,
    following,
    mask,
    masked_by,
    thin,
    thin_spec,
    thin_tree,
)
from purethin.training.zeros import check_finite, thinned_elements
from purethin.tree import TensorTree, map_named, named

When = Literal["end", "recipe", "now"]


@dataclass(frozen=True)
class State:
    """How far a recipe has come on a network: what `begin` makes and `advance` takes on.

    Attributes:
        pruning: the recipe on the dense network.
        thin: when masked units leave the tensors, as `begin` was told.
        seed: of the recipe's random pruners.
        masks: `{axis: BoolTensor[size]}` over the dense axes, True = keep: all that is removed.
        elements: `{parameter: BoolTensor of its dense shape}` of single weights, alike.
        thinned_masks: those of the masks that have left the tensors.
    """

    pruning: Pruning
    thin: When = "end"
    seed: int = 0
    masks: Masks = field(default_factory=dict)
    elements: Elements = field(default_factory=dict)
    thinned_masks: Masks = field(default_factory=dict)

    @cached_property
    def spec(self) -> Spec:
        """The spec of the tensors as they are now."""
        return thin_spec(self.pruning.spec, self.thinned_masks)

    @cached_property
    def pending(self) -> dict[str, Tensor]:
        """`{axis: BoolTensor[size]}` over `spec`: what is zero, and still in the tensors."""
        gone = self.thinned_masks
        return {n: m[gone[n].to(m.device)] if n in gone else m for n, m in self.masks.items()}

    @cached_property
    def singles(self) -> dict[str, Tensor]:
        """`elements`, at the shapes of the tensors as they are now."""
        dense = self.pruning.spec
        return thinned_elements(self.elements, dense, self.thinned_masks)

    @property
    def config(self) -> Config:
        """What `rebuild` needs beside the parameters."""
        return config_of(self.pruning.spec, self.thinned_masks)

    def acts(self, epoch: int, step: int = 0) -> bool:
        """Whether `advance` will look at the parameters: masks may move."""
        table = self.pruning.timetable
        return table.acts_within(epoch, step) if step else table.acts_at(epoch)

    def zeroed(self, tree: TensorTree) -> TensorTree:
        """Gradients, or anything else that follows the parameters, with zeros where units are
        masked; what no mask touches is the same tensor. Zero gradients keep masked units at zero
        under an elementwise optimizer.

        Args:
            tree: as `thin_tree` takes it, at the shapes of the tensors as they are now.
        """
        return _zeroed(tree, self.kept, self.singles)

    @cached_property
    def kept(self) -> Kept:
        """What `pending` keeps of each dim."""
        return Kept(self.spec, self.pending)


@dataclass(frozen=True)
class Change:
    """What one `advance` does to the tensors of a loop, as data.

    Attributes:
        spec: of the tensors as they were before.
        masks: `{axis: BoolTensor[size]}` over it: the units that are zero, or leave.
        elements: `{parameter: BoolTensor of its shape}` over it: single weights that are zero.
        masked: whether masks have moved.
        thinned: whether the masked units leave the tensors.
    """

    spec: Spec
    masks: Masks
    elements: Elements
    masked: bool
    thinned: bool

    def params(self, params: TensorTree) -> TensorTree:
        """Parameters and buffers after it, or an average of them: masked, or thinned.

        Args:
            params: at the shapes of `spec`.

        Returns:
            New tensors without a graph, which require grad where those given do; what did not
            change is the same tensor.
        """
        if not (self.masked or self.thinned):
            return params
        given = named(params)
        with torch.no_grad():
            out = mask(params, self.spec, {} if self.thinned else self.masks, self.elements)
            out = thin(out, self.spec, self.masks)[0] if self.thinned else out
        return map_named(lambda name, t: _as_before(given[name], t), out)

    def moments(self, tree: TensorTree) -> TensorTree:
        """An optimizer's state after it, or anything else that follows the parameters.

        Args:
            tree: as `thin_tree` takes it: `{name: momentum}`, or `{name: {"step": 4, "exp_avg":
                …}}`, at the shapes of `spec`.

        Raises:
            SpecError: a leaf of several elements is not shaped like its parameter.
        """
        if not (self.masked or self.thinned):
            return tree
        with torch.no_grad():
            if not self.thinned:
                return _zeroed(tree, Kept(self.spec, self.masks), self.elements)
            tree = _zeroed(tree, Kept(self.spec, {}), self.elements) if self.elements else tree
            return thin_tree(tree, self.spec, self.masks)


@explained
def begin(
    spec: Spec,
    recipe: Recipe,
    *,
    thin: When = "end",
    seed: int = 0,
    masks: Masks | None = None,
    elements: Elements | None = None,
    thinned_masks: Masks | None = None,
) -> State:
    """A recipe at its beginning on a network, or where an earlier state was.

    Args:
        spec: the dense network's.
        recipe: what `load_recipe` read.
        thin: `"end"`: where the recipe's extension acts, and what is masked then at `finish`;
            `"recipe"`: where the extension acts alone; `"now"`: whenever masks have moved.
        seed: of the recipe's random pruners.
        masks: of an earlier state, to go on from there; so are `elements` and `thinned_masks`.
        elements: see `masks`.
        thinned_masks: see `masks`.

    Raises:
        RecipeError: the recipe does not fit the network, has no policies, would mask an axis whose
            masks make infinities, or lets units come back that have left the tensors.
        PurethinError: an argument is of another type, or `thin` none of the three.

    >>> import purethin as pt
    >>> params = {"a.w": torch.arange(8.0).view(4, 2), "b.w": torch.ones(3, 4)}
    >>> spec = pt.Spec.from_layout({"a.w": "a 2", "b.w": "3 a"}, params)
    >>> recipe = pt.load_recipe(pt.recipe_for(spec, begin=0, end=1, frequency=1))
    >>> state = begin(spec, recipe, thin="now")
    >>> state, changed = advance(state, params, epoch=0)
    >>> {name: tuple(t.shape) for name, t in changed.params(params).items()}
    {'a.w': (2, 2), 'b.w': (3, 2)}
    """
    if not isinstance(spec, Spec):
        raise SpecError(f"spec is {type(spec).__name__}; give what pt.infer(model, params, x) gave")
    if not isinstance(recipe, Recipe):
        raise RecipeError(
            f"recipe is {type(recipe).__name__}; give what pt.load_recipe('recipe.yaml') read"
        )
    if thin not in ("end", "recipe", "now"):
        raise OptionError(f"thin is {thin!r}; give 'recipe', 'now' or 'end'")
    recipe.require_policies()
    pruning = recipe.on(spec)
    check_regrowth(recipe, thin)
    if thin != "now":
        check_finite(recipe, pruning)
    for each in (masks, thinned_masks):
        check_masks(spec, each or {})
    check_elements(spec, elements or {})
    held = (dict(each or {}) for each in (masks, elements, thinned_masks))
    return State(pruning, thin, seed, *held)


@explained
def advance(
    state: State,
    params: TensorTree,
    *,
    epoch: int,
    step: int = 0,
    statistics: Mapping[Measure, Tensor] | None = None,
    scores: Mapping[str, Scores] | None = None,
) -> tuple[State, Change]:
    """What the recipe does as an epoch begins, or before a step within it: first the masks, then
    thinning. Pure: nothing is changed.

    Args:
        state: where the recipe is.
        params: parameters and buffers as they are now, masked or thinned; they rank. Only those in
            `state.pruning.reads` are read; of the others the shapes count.
        epoch: counted from 0. A loop that counts steps alone calls so many of them an epoch.
        step: the batch of the epoch that is about to begin, counted from 0: later than 0, only
            pruners act that say so (`mini_batch_pruning_frequency`).
        statistics: `{measure: Tensor[dense size]}` for all of `state.pruning.measures_at(epoch)`.
        scores: `{pruner: {axis: Tensor[size]}}` for all of `state.pruning.scored_at(epoch)`, by
            `state.spec`; of other pruners by axes too, in place of their criteria.

    Returns:
        `(state, change)`: `change.params(params)` and `change.moments(momentum)` are the tensors to
        go on with.

    Raises:
        SpecError: the parameters are not those that the state leaves of the network.
        MaskError: a weight that ranks holds nan, a statistic is missing, or thinning would change
            the branch that the forward takes.
    """
    pruning, new = state.pruning, state
    known = isinstance(statistics or {}, Mapping)
    if not known or not all(isinstance(measure, Measure) for measure in statistics or ()):
        raise OptionError(
            "statistics are {measure: Tensor[size]} for all of state.pruning.measures_at(epoch), "
            f"not a {type(statistics).__name__}"
        )
    if state.acts(epoch, step):
        dense = expand(params, pruning.spec, state.thinned_masks)
        whole = {name: spread(each, state.thinned_masks) for name, each in (scores or {}).items()}
        given: dict[str, Any] = {"statistics": statistics, "scores": whole, "seed": state.seed}
        masks = pruning.masks_at(epoch, dense, state.masks, step=step, **given)
        elements = pruning.elements_at(epoch, dense, masks, state.elements, step=step)
        if differ(masks, state.masks) or differ(elements, state.elements):
            new = replace(state, masks=masks, elements=elements)
    thins = state.thin == "now" or (not step and pruning.timetable.thins_at(epoch))
    return _changed(state, new, thins=thins)


@explained
def finish(state: State) -> tuple[State, Change]:
    """The end of a training: what is masked leaves the tensors now, unless `thin` is "recipe".

    Returns:
        As `advance`.

    Raises:
        MaskError: thinning would change the branch that the forward takes.
    """
    return _changed(state, state, thins=state.thin != "recipe")


def differ(masks: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> bool:
    """Whether any mask is new, or another than before."""
    return any(
        name not in before or not torch.equal(m, before[name].to(m.device))
        for name, m in masks.items()
    )


def _changed(before: State, now: State, *, thins: bool) -> tuple[State, Change]:
    pending, singles = now.pending, now.singles
    thins = thins and not all(bool(m.all()) for m in pending.values())
    if thins:
        Thinning(now.spec, pending)  # its errors, before anything is changed
    change = Change(now.spec, pending, singles, now is not before, thins)
    return (replace(now, thinned_masks=dict(now.masks)) if thins else now), change


def _zeroed(tree: TensorTree, kept: Kept, elements: Elements) -> TensorTree:
    zero: Callable[[str, Tensor], Tensor]
    zero = lambda name, leaf: masked_by(name, leaf, kept, elements, spare=False)  # noqa: E731
    return following(tree, kept.spec, zero)


def _as_before(given: Any, tensor: Any) -> Any:
    if tensor is given or not given.requires_grad:
        return tensor
    return tensor.detach().requires_grad_()
