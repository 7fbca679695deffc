"""The command `thin`: which units go, and the smaller model on disk.

Invariant: what can be refused is refused before the model is imported; nothing is written before
the thinned network was compared with the masked one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from torch import Tensor, finfo

import purethin as pt
from purethin.cli.arguments import BUDGETS, CRITERIA
from purethin.cli.exported import onnx_packages, written_onnx
from purethin.cli.imported import explained, inferred, make
from purethin.cli.outputs import drawn, filled, refuse_existing, show, writable_picture
from purethin.cli.weights import merged, readable, with_weights
from purethin.costs import for_batch
from purethin.recipes.fractions import fractions_of
from purethin.table import Table


def thin(options: argparse.Namespace) -> None:
    """Thin a model, check it, write it.

    Raises:
        PurethinError: something does not fit; nothing is written.
    """
    recipe = _accepted(options)
    model, statement, expression = make(options.model, dict(options.arg))
    model, before, read = with_weights(model, options.weights)
    params, spec, (args, kwargs) = inferred(model, options)
    masks, params, said = _masks(recipe, params, spec, options)
    with explained("running the model, masked and thinned"):
        report = pt.check(model, params, spec, masks, *args, **kwargs)
    _refuse_different(report, params)
    thinned, config = pt.thin(params, spec, masks)
    file = str(options.out / "thinned.safetensors")
    parts = [
        f"{options.model} with {options.weights}{read}",
        *_summary(spec, masks),
        *said,
        str(report),
        "Load it back:",
        f"import purethin as pt; {statement}; model = pt.rebuild({expression}, *pt.load({file!r}))",
    ]
    if options.onnx is not None:
        small = pt.rebuild(model, thinned, config).eval()
        parts.append(written_onnx(options.onnx, small, args, kwargs))
    with filled(options.out) as folder:
        pt.save(folder / "thinned.safetensors", thinned, merged(before, config))
        (folder / "spec.yaml").write_text(pt.thin_spec(spec, masks).to_yaml(), encoding="utf-8")
        (folder / "report.txt").write_text("\n\n".join(map(str, parts)) + "\n", encoding="utf-8")
    files = "thinned.safetensors, spec.yaml (of the thinned network), report.txt"
    show(*parts, f"wrote {options.out}: {files}")
    if options.picture is not None:
        drawn(options.picture, pt.plot.layers(spec, masks))


def sparsity_of(options: argparse.Namespace) -> float | dict[str, float]:
    """A number, or a table; a number beside patterns is for the axes that no pattern matches."""
    table = {pattern or "*": fraction for pattern, fraction in options.sparsity or [("", 0.5)]}
    if table.keys() == {"*"}:
        return table["*"]
    return {pattern: table[pattern] for pattern in sorted(table, key=lambda p: p == "*")}


def _accepted(options: argparse.Namespace) -> pt.Recipe | None:
    """The recipe, if any, once all that needs no model is seen to be in order."""
    refuse_existing(options.out, force=options.force)
    refuse_existing(options.onnx, force=options.force)
    writable_picture(options.picture, force=options.force)
    readable(options.weights)
    if options.onnx is not None:
        onnx_packages()
    return None if options.recipe is None else pt.load_recipe(Path(options.recipe))


def _masks(
    recipe: pt.Recipe | None, params: dict[str, Tensor], spec: pt.Spec, options: argparse.Namespace
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str]]:
    """What goes: the masks, the parameters with single weights zeroed, and what is to be said of
    it.
    """
    if recipe is not None:
        planned = pt.plan(recipe, params, spec)
        return dict(planned.masks), pt.mask(params, spec, {}, planned.elements), []
    budgets = {kind: getattr(options, kind) for kind in BUDGETS if getattr(options, kind)}
    fractions = fractions_of(spec, 0.5 if budgets else sparsity_of(options), options.axes or "*")
    stay = {*pt.find(spec, options.keep)}
    name = options.criterion or "lp_norm"
    scores = getattr(pt.criteria, name)(params, spec)
    wanted = {axis: fraction for axis, fraction in fractions.items() if axis not in stay}
    ranked = {axis: scores[axis] for axis in wanted if axis in scores}
    unranked = [axis for axis in wanted if axis not in scores]
    said = [f"{name} ranks none of {', '.join(unranked)}: they stay whole"] if unranked else []
    if not ranked:
        raise pt.MaskError(f"no axis is left to prune: {name} ranks none that may lose units")
    step = options.round_to or 1
    limits: Any = {"round_to": pt.round_for(step, spec) if isinstance(step, str) else step}
    limits["min_keep"] = 0 if options.branches else 1
    if budgets:
        asked = pt.Options(axes=[*ranked], **limits)
        found = pt.solution(ranked, spec, asked, budgets)
        return found.masks, params, [str(found), *said]
    if options.together:
        together: Any = {"scope": "global", "normalize": CRITERIA[name]}
        return pt.select(ranked, sparsity_of(options), **together, **limits), params, said
    return pt.select(ranked, {a: wanted[a] for a in ranked}, **limits), params, said


def _summary(spec: pt.Spec, masks: pt.Masks) -> tuple[Table, Table]:
    before, after = pt.cost(spec), pt.cost(spec, masks)
    axes = [(n, f"{spec.axes[n].size:,}", f"{int(m.sum()):,}") for n, m in masks.items()]
    rows = []
    for name in ("parameters", "MACs", "bytes"):
        b, a = getattr(before, name.lower()), getattr(after, name.lower())
        whose = for_batch(before.batch) if name == "MACs" else ""
        rows.append((f"{name}{whose}", f"{b:,}", f"{a:,}", f"{a / max(b, 1):.3f}"))
    return (
        Table(("axis", "units", "kept"), axes, numbers=(1, 2)),
        Table(("", "dense", "thinned", "ratio"), rows, numbers=(1, 2, 3)),
    )


def _refuse_different(report: pt.Report, params: dict[str, Tensor]) -> None:
    """Exact axes leave the function as it was, up to rounding: the square root of the type's
    precision is far above that.
    """
    eps = max((finfo(t.dtype).eps for t in params.values() if t.is_floating_point()), default=0.0)
    if not report.inexact and report.relative > eps**0.5:
        raise pt.PurethinError(
            f"the thinned network differs from the masked one; nothing is written\n{report}"
        )
