"""The pattern table: each network's axes are what the table says, and on every exact axis masked
equals thinned.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from layout_text import layout_text
from networks import assert_thinned_equals_masked, built, random_masks, randomise
from patterns import PATTERNS, Pattern, owned
from random_nets import networks
from survey import allowed
from torch import Tensor

import purethin as pt
from purethin import axes as ax
from purethin.comparison import slow_path
from purethin.outputs import output_leaves

FRACTIONS = ((0.5, 0), (0.3, 1), (0.7, 2), (0.0, 3))
"""The last removes one unit of each axis."""


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_axes_are_as_the_table_says_and_masked_equals_thinned(pattern: Pattern) -> None:
    model, params = built(pattern)
    args, kwargs = pattern.inputs(), pattern.kwargs()
    spec = pt.infer(model, params, *args, **kwargs)
    for entry in pattern.prunable:
        mine = owned(entry, spec.axes)
        assert any(spec.axes[a].exact for a in mine), f"{entry} is not exact:\n{spec}"
        assert entry in pattern.inexact or all(spec.axes[a].exact for a in mine), (
            f"{entry} is partly inexact:\n{spec}"
        )
    for entry in pattern.inexact:
        mine = owned(entry, spec.axes)
        assert any(not spec.axes[a].exact for a in mine), f"{entry} is not inexact:\n{spec}"
        assert entry in pattern.prunable or not any(spec.axes[a].exact for a in mine), (
            f"{entry} is partly exact:\n{spec}"
        )
    for entry in pattern.frozen:
        parameter, dim = entry.rsplit(":", 1)
        assert not list(ax.names(spec.layout[parameter][int(dim)])), (
            f"{entry} is not frozen:\n{spec}"
        )
        assert any((f.parameter, f.dim) == (parameter, int(dim)) and f.reason for f in spec.frozen)
    for axis in spec.axes.values():
        assert axis.exact or axis.reason
    assert layout_text(spec) == pattern.layout, spec
    reasons = [part.reason or "" for part in (*spec.axes.values(), *spec.frozen)]
    assert bool(spec.exact) != bool(pattern.why), "a row without an exact axis says why"
    assert any(pattern.why in reason for reason in reasons), reasons
    compared: set[str] = set()
    inexact = [a.name for a in spec.axes.values() if not a.exact]
    for fraction, seed in FRACTIONS:
        masks = allowed(spec, random_masks(spec, fraction=fraction, seed=seed))
        assert_thinned_equals_masked(model, params, spec, masks, *args, **kwargs)
        compared |= masks.keys()
        if seed == 0:
            assert_gates_do_the_same(model, params, spec, masks, pattern)
        also = allowed(spec, random_masks(spec, inexact, fraction=fraction, seed=seed))
        pt.check(model, params, spec, also, *args, **kwargs)  # it runs
    assert pattern.guards or compared == set(spec.exact), (
        f"never compared: {set(spec.exact) - compared}\n{spec}"
    )
    pt.check(model, params, spec, {}, *args, **kwargs)


def assert_gates_do_the_same(
    model: Any, params: Any, spec: pt.Spec, masks: dict[str, Tensor], pattern: Pattern
) -> None:
    """Float masks of 0 and 1 give what bool masks give."""
    bools = {n: m for n, m in masks.items() if spec.axes[n].gates}
    if not bools:
        return
    first, second = (
        tensors_of(model, pt.mask(params, spec, m), pattern)
        for m in (bools, {n: m.double() for n, m in bools.items()})
    )
    for want, got in zip(first, second, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-8, equal_nan=True)


@torch.no_grad()
def tensors_of(model: Any, params: Any, pattern: Pattern) -> list[Tensor]:
    args, kwargs = pattern.inputs(), pattern.kwargs()
    torch.manual_seed(0)
    if isinstance(model, torch.nn.Module):
        with slow_path():
            out = pt.rebuild(model, params, {})(*args, **kwargs)
    else:
        out = model(params, *args, **kwargs)
    return [leaf for _, leaf in output_leaves(out) if isinstance(leaf, Tensor)]


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if p.guards], ids=str)
def test_a_mask_that_would_take_another_branch_is_refused(pattern: Pattern) -> None:
    model, params = built(pattern)
    spec = pt.infer(model, params, *pattern.inputs(), **pattern.kwargs())
    for axis in (a for entry in pattern.guards for a in owned(entry, spec.axes)):
        refused = 0
        for left in range(1, spec.axes[axis].size):
            try:
                pt.thin(params, spec, {axis: torch.arange(spec.axes[axis].size) < left})
            except pt.MaskError as error:
                assert "another branch" in str(error)
                refused += 1
        assert refused


@given(networks())
@settings(max_examples=150, deadline=None)
def test_random_networks_thin_exactly(
    drawn: tuple[torch.nn.Module, tuple[torch.Tensor, ...]],
) -> None:
    model, args = drawn
    randomise(model)
    params = pt.params_of(model)
    spec = pt.infer(model, params, *args)
    assert not spec.notes
    assert pt.Spec.from_yaml(spec.to_yaml()) == spec
    drawn_masks = (random_masks(spec, fraction=f, seed=seed) for f, seed in FRACTIONS)
    masks = next((m for m in (allowed(spec, d) for d in drawn_masks) if m), {})
    assert masks or not spec.exact, f"never compared:\n{spec}"
    assert_thinned_equals_masked(model, params, spec, masks, *args)
