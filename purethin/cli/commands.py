"""The commands: each takes its options, prints what it found, and writes what was asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

import purethin as pt
from purethin.cli.imported import inferred, make
from purethin.cli.outputs import drawn, refuse_existing, show, writable_picture, write_text
from purethin.cli.removal import sparsity_of, thin
from purethin.costs import for_batch
from purethin.table import Table


def run(options: argparse.Namespace) -> None:
    """Run the command that the options name."""
    {"show": _show, "plan": _plan, "recipe": _recipe, "thin": thin}[options.command](options)


def _show(options: argparse.Namespace) -> None:
    writable_picture(options.picture, force=options.force)
    refuse_existing(options.graph, force=options.force)
    _, spec, _ = inferred(make(options.model, dict(options.arg))[0], options)
    layout = [(name, " ".join(map(str, dims))) for name, dims in spec.layout.items()]
    axes = [
        (a.name, f"{a.size:,}", str(len(a.places)), "exact" if a.exact else f"inexact: {a.reason}")
        for a in spec.axes.values()
    ]
    parts: list[Table | str] = [
        Table(("parameter", "layout"), layout),
        Table(("axis", "units", "dimensions", "removal"), axes, numbers=(1, 2)),
    ]
    if options.branches:
        may = [(name, ", ".join(others)) for name, others in spec.branches.items()]
        parts.append(Table(("may go whole", "and with it"), may))
        parts.append(Table(("may not go whole", "why"), [*spec.needed.items()]))
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
    whose = for_batch(now.batch) or " of this input"
    notes = [f"note: {note}" for note in spec.notes]
    show(
        *parts,
        *notes,
        f"{len(spec.axes)} ax{'is' if len(spec.axes) == 1 else 'es'}, {len(spec.exact)} exact; "
        f"{counts} (MACs{whose})",
    )
    if options.picture is not None:
        drawn(options.picture, pt.plot.worth(spec))
    if options.graph is not None:
        write_text(options.graph, pt.plot.dot(spec) + "\n")


def _plan(options: argparse.Namespace) -> None:
    recipe = pt.load_recipe(Path(options.recipe))
    params, spec, _ = inferred(make(options.model, dict(options.arg))[0], options)
    plan = pt.plan(recipe, params, spec, epochs=options.epochs)
    show(plan.by_axis() if options.by_axis else plan.by_epoch())
    print(plan.outcome)


def _recipe(options: argparse.Namespace) -> None:
    refuse_existing(options.out, force=options.force)
    _, spec, _ = inferred(make(options.model, dict(options.arg))[0], options)
    timing = {name: getattr(options, name) for name in ("initial", "begin", "end", "frequency")}
    text = pt.recipe_for(spec, sparsity=sparsity_of(options), axes=options.axes or "*", **timing)
    if options.out is None:
        print(text, end="")
    else:
        write_text(options.out, text)
