"""The command line: `python -m purethin show | plan | recipe | thin`.

Exit status: 0 done; 1 an error of the model, a file or a recipe, one message on standard error; 2
usage; 130 interrupted. Files are written whole or not at all.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, finfo, nn

import purethin as pt
from purethin.cli.arguments import BUDGETS, DEFAULT_INPUT, PROGRAM, parse
from purethin.cli.imported import explained, make, parse_input, tensors
from purethin.cli.outputs import filled, refuse_existing, show
from purethin.cli.weights import merged, with_weights
from purethin.recipes.fractions import fractions_of
from purethin.storage import written_whole
from purethin.table import Table


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    Args:
        argv: the arguments, those of the process if None.

    Raises:
        SystemExit: from argparse: 0 after --help, 2 for anything that is not a command line of
            ours.
    """
    options = parse(argv)
    run = {"show": _show, "plan": _plan, "recipe": _recipe, "thin": _thin}[options.command]
    try:
        run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the interpreter flushes once more as it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as the shell reports a program that SIGPIPE ended
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (pt.PurethinError, OSError) as error:
        if options.debug:
            traceback.print_exc()
            return 1
        file, why = getattr(error, "filename", None), getattr(error, "strerror", None)
        print(f"{PROGRAM}: error: {f'{file}: {why}' if file else error}", file=sys.stderr)
        return 1
    return 0


# ---- the commands


def _show(options: argparse.Namespace) -> None:
    _, spec, _ = _inferred(make(options.model, dict(options.arg))[0], options)
    layout = [(name, " ".join(map(str, dims))) for name, dims in spec.layout.items()]
    axes = [
        (a.name, f"{a.size:,}", str(len(a.places)), "exact" if a.exact else f"inexact: {a.reason}")
        for a in spec.axes.values()
    ]
    parts: list[Table | str] = [
        Table(("parameter", "layout"), layout),
        Table(("axis", "units", "dimensions", "removal"), axes, numbers=(1, 2)),
    ]
    if spec.frozen:
        reasons: dict[str, list[str]] = {}
        for f in spec.frozen:
            reasons.setdefault(f.reason, []).append(f"{f.parameter}:{f.dim}")
        rows = [(str(len(where)), why, where[0]) for why, where in reasons.items()]
        parts.append(Table(("frozen", "why", "the first"), rows, numbers=(0,)))
    worth = pt.worth(spec)
    parts += worth.tables()
    now = worth.total
    counts = f"{now.parameters:,} parameters, {now.macs:,} MACs, {now.bytes:,} bytes"
    notes = [f"note: {note}" for note in spec.notes]
    show(
        *parts,
        *notes,
        f"{len(spec.axes)} axes, {len(spec.exact)} exact; {counts} (MACs of this input)",
    )


def _plan(options: argparse.Namespace) -> None:
    recipe = pt.load_recipe(Path(options.recipe))
    params, spec, _ = _inferred(make(options.model, dict(options.arg))[0], options)
    print(pt.plan(recipe, params, spec, epochs=options.epochs))


def _recipe(options: argparse.Namespace) -> None:
    if options.out is not None:
        refuse_existing(options.out, force=options.force)
    _, spec, _ = _inferred(make(options.model, dict(options.arg))[0], options)
    timing = {name: getattr(options, name) for name in ("initial", "begin", "end", "frequency")}
    text = pt.recipe_for(spec, sparsity=_sparsity(options), axes=options.axes or "*", **timing)
    if options.out is None:
        print(text, end="")
        return
    with written_whole(options.out) as beside:
        beside.write_text(text, encoding="utf-8")
    print(f"wrote {options.out}")


def _thin(options: argparse.Namespace) -> None:
    refuse_existing(options.out, force=options.force)
    recipe = None if options.recipe is None else pt.load_recipe(Path(options.recipe))
    model, statement, expression = make(options.model, dict(options.arg))
    model, before = with_weights(model, options.weights)
    params, spec, (args, kwargs) = _inferred(model, options)
    masks, params, said = _masks(recipe, params, spec, options)
    with explained("running the model, masked and thinned"):
        report = pt.check(model, params, spec, masks, *args, **kwargs)
    _refuse_different(report, params)
    thinned, config = pt.thin(params, spec, masks)
    file = str(options.out / "thinned.safetensors")
    parts = (
        f"{options.model} with {options.weights}",
        *_summary(spec, masks),
        *said,
        str(report),
        "Load it back:",
        f"import purethin as pt; {statement}; model = pt.rebuild({expression}, *pt.load({file!r}))",
    )
    with filled(options.out) as folder:
        pt.save(folder / "thinned.safetensors", thinned, merged(before, config))
        (folder / "spec.yaml").write_text(pt.thin_spec(spec, masks).to_yaml(), encoding="utf-8")
        (folder / "report.txt").write_text("\n\n".join(map(str, parts)) + "\n", encoding="utf-8")
    files = "thinned.safetensors, spec.yaml (of the thinned network), report.txt"
    show(*parts, f"wrote {options.out}: {files}")


def _masks(
    recipe: pt.Recipe | None, params: dict[str, Tensor], spec: pt.Spec, options: argparse.Namespace
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str]]:
    """What goes: the masks, the parameters with single weights zeroed, and what is to be said of
    it.
    """
    budgets = {kind: getattr(options, kind) for kind in BUDGETS if getattr(options, kind)}
    if recipe is not None:
        planned = pt.plan(recipe, params, spec)
        return dict(planned.masks), pt.mask(params, spec, {}, planned.elements), []
    scores = pt.lp_norm(params, spec)
    if budgets:
        found = pt.solution(scores, spec, pt.Options(axes=options.axes or None), budgets)
        return found.masks, params, [str(found)]
    fractions = fractions_of(spec, _sparsity(options), options.axes or "*")
    return pt.select({n: s for n, s in scores.items() if n in fractions}, fractions), params, []


def _summary(spec: pt.Spec, masks: pt.Masks) -> tuple[Table, Table]:
    before, after = pt.cost(spec), pt.cost(spec, masks)
    axes = [(n, f"{spec.axes[n].size:,}", f"{int(m.sum()):,}") for n, m in masks.items()]
    rows = []
    for name in ("parameters", "MACs", "bytes"):
        b, a = getattr(before, name.lower()), getattr(after, name.lower())
        rows.append((name, f"{b:,}", f"{a:,}", f"{a / max(b, 1):.3f}"))
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


# ---- what they share


def _inferred(
    model: nn.Module, options: argparse.Namespace
) -> tuple[dict[str, Tensor], pt.Spec, Any]:
    """The parameters, the spec, and the inputs `(args, kwargs)`."""
    given = options.input or [parse_input(DEFAULT_INPUT)]
    args, kwargs = tensors(given)
    params = pt.params_of(model)
    with explained(f"{options.model} on --input {' --input '.join(map(str, given))}"):
        return params, pt.infer(model, params, *args, **kwargs), (args, kwargs)


def _sparsity(options: argparse.Namespace) -> float | dict[str, float]:
    """A number, or a table; a number beside patterns is for the axes that no pattern matches."""
    table = {pattern or "*": fraction for pattern, fraction in options.sparsity or [("", 0.5)]}
    if table.keys() == {"*"}:
        return table["*"]
    return {pattern: table[pattern] for pattern in sorted(table, key=lambda p: p == "*")}


if __name__ == "__main__":
    sys.exit(main())
