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

from purethin.cli.arguments import DEFAULT_INPUT, PROGRAM, parse
from purethin.cli.imported import Source, explained, make, parse_input, tensors
from purethin.cli.outputs import refuse_existing, write_file, write_folder
from purethin.cli.tables import show
from purethin.cli.weights import merged, with_weights
from purethin.comparison import Report, check
from purethin.costs import cost
from purethin.criteria import lp_norm
from purethin.errors import PurethinError
from purethin.inference.infer import infer
from purethin.modules import params_of
from purethin.recipes.plan import plan
from purethin.recipes.recipe import load_recipe
from purethin.recipes.writing import fractions_of, recipe_for
from purethin.selection import select
from purethin.spec import Masks, Spec
from purethin.storage import save
from purethin.table import Table
from purethin.thinning import thin, thin_spec


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    Args:
        argv: the arguments, those of the process if None.

    Raises:
        SystemExit: from argparse: 0 after --help, 2 for what is no command line of ours.
    """
    options = parse(argv)
    run = {"show": _show, "plan": _plan, "recipe": _recipe, "thin": _thin}[options.command]
    try:
        run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # the interpreter flushes once more as it ends
        return 141  # as the shell reports a program that SIGPIPE ended
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (PurethinError, OSError) as error:
        if options.debug:
            traceback.print_exc()
        else:
            where = (
                f"{error.filename}: {error.strerror}"
                if isinstance(error, OSError) and error.filename
                else error
            )
            print(f"{PROGRAM}: error: {where}", file=sys.stderr)
        return 1
    return 0


# ---- the commands


def _show(options: argparse.Namespace) -> None:
    _, spec, _ = _inferred(make(_source(options))[0], options)
    now = cost(spec)
    axes = [
        (a.name, f"{a.size:,}", str(len(a.places)), "exact" if a.exact else f"inexact: {a.reason}")
        for a in spec.axes.values()
    ]
    parts: list[Table | str] = [
        Table(
            ("parameter", "layout"),
            [(name, " ".join(map(str, dims))) for name, dims in spec.layout.items()],
        ),
        Table(("axis", "units", "dimensions", "removal"), axes, numbers=(1, 2)),
    ]
    if spec.frozen:
        reasons: dict[str, list[str]] = {}
        for f in spec.frozen:
            reasons.setdefault(f.reason, []).append(f"{f.parameter}:{f.dim}")
        rows = [(str(len(where)), why, where[0]) for why, where in reasons.items()]
        parts.append(Table(("frozen", "why", "the first"), rows, numbers=(0,)))
    parts += [f"note: {note}" for note in spec.notes]
    counts = f"{now.parameters:,} parameters, {now.macs:,} MACs, {now.bytes:,} bytes"
    show(*parts, f"{len(spec.axes)} axes, {len(spec.exact)} exact; {counts}")


def _plan(options: argparse.Namespace) -> None:
    recipe = load_recipe(Path(options.recipe))
    params, spec, _ = _inferred(make(_source(options))[0], options)
    print(plan(recipe, params, spec, epochs=options.epochs))


def _recipe(options: argparse.Namespace) -> None:
    if options.out is not None:
        refuse_existing(options.out, force=options.force)
    _, spec, _ = _inferred(make(_source(options))[0], options)
    timing = {
        "initial": options.initial,
        "begin": options.begin,
        "end": options.end,
        "frequency": options.frequency,
    }
    text = recipe_for(spec, sparsity=_sparsity(options), axes=options.axes or "*", **timing)
    if options.out is None:
        print(text, end="")
    else:
        write_file(options.out, text)
        print(f"wrote {options.out}")


def _thin(options: argparse.Namespace) -> None:
    refuse_existing(options.out, force=options.force)
    recipe = None if options.recipe is None else load_recipe(Path(options.recipe))
    model, statement, expression = make(_source(options))
    model, before = with_weights(model, options.weights)
    params, spec, (args, kwargs) = _inferred(model, options)
    if recipe is None:
        fractions = fractions_of(spec, _sparsity(options), options.axes or "*")
        masks: Masks = select(
            {name: s for name, s in lp_norm(params, spec).items() if name in fractions}, fractions
        )
    else:
        masks = plan(recipe, params, spec).masks
    with explained("running the model, masked and thinned"):
        report = check(model, params, spec, masks, *args, **kwargs)
    _refuse_different(report, params)
    thinned, config = thin(params, spec, masks)
    line = _loading(options.out / "thinned.safetensors", statement, expression)
    parts = (
        f"{options.model.title} with {options.weights}",
        *_summary(spec, masks),
        str(report),
        "Load it back:",
        line,
    )

    def fill(folder: Path) -> None:
        save(folder / "thinned.safetensors", thinned, merged(before, config))
        (folder / "spec.yaml").write_text(thin_spec(spec, masks).to_yaml(), encoding="utf-8")
        (folder / "report.txt").write_text("\n\n".join(map(str, parts)) + "\n", encoding="utf-8")

    write_folder(options.out, fill)
    show(
        *parts,
        f"wrote {options.out}: thinned.safetensors, spec.yaml (of the thinned network), report.txt",
    )


def _summary(spec: Spec, masks: Masks) -> tuple[Table, Table]:
    before, after = cost(spec), cost(spec, masks)
    axes = [
        (n, f"{spec.axes[n].size:,}", f"{int(m.sum()):,}")
        for n, m in masks.items()
        if n in spec.axes
    ]
    rows = [
        ("parameters", before.parameters, after.parameters),
        ("MACs", before.macs, after.macs),
        ("bytes", before.bytes, after.bytes),
    ]
    return (
        Table(("axis", "units", "kept"), axes, numbers=(1, 2)),
        Table(
            ("", "dense", "thinned", "ratio"),
            [(what, f"{b:,}", f"{a:,}", f"{a / max(b, 1):.3f}") for what, b, a in rows],
            numbers=(1, 2, 3),
        ),
    )


def _refuse_different(report: Report, params: dict[str, Tensor]) -> None:
    """Exact axes leave the function as it was, up to rounding: the square root of the type's
    precision is far above that.
    """
    eps = max((finfo(t.dtype).eps for t in params.values() if t.is_floating_point()), default=0.0)
    if not report.inexact and report.relative > eps**0.5:
        raise PurethinError(
            f"the thinned network differs from the masked one; nothing is written\n{report}"
        )


def _loading(path: Path, statement: str, expression: str) -> str:
    """One line of Python that makes the thinned network."""
    return (
        f"import purethin as pt; {statement}; params, config = pt.load({str(path)!r}); "
        f"model = pt.rebuild({expression}, params, config)"
    )


# ---- what they share


def _source(options: argparse.Namespace) -> Source:
    given: dict[str, Any] = {**(options.kwargs or {}), **dict(options.arg or [])}
    return Source(options.model.where, options.model.name, given)


def _inferred(model: nn.Module, options: argparse.Namespace) -> tuple[dict[str, Tensor], Spec, Any]:
    """The parameters, the spec, and the inputs `(args, kwargs)`."""
    given = options.input or [parse_input(DEFAULT_INPUT)]
    args, kwargs = tensors(given)
    params = params_of(model)
    with explained(f"{options.model.title} on --input {' --input '.join(map(str, given))}"):
        return params, infer(model, params, *args, **kwargs), (args, kwargs)


def _sparsity(options: argparse.Namespace) -> float | dict[str, float]:
    """A number, or a table; a number beside patterns is for what no pattern matches."""
    given = options.sparsity or [(None, 0.5)]
    table = {key: fraction for key, fraction in given if key is not None}
    plain = [fraction for key, fraction in given if key is None]
    if not table:
        return plain[-1]
    return {**table, "*": plain[-1]} if plain else table


if __name__ == "__main__":
    sys.exit(main())
