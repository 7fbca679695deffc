"""Compare the specs of all patterns and surveyed models between two commits, field by field.

    python tests/support/compare_specs.py COMMIT [COMMIT] [--only
    patterns,torchvision,timm,transformers]

Without a second commit, the working tree is the second. Each side runs its own purethin on its own
tables of models; `--jobs` processes share them. What differs is printed by model and field, and
what both sides say alike is only counted. Line numbers of the source are not compared. Exits 1
where something differs.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
TABLES = ("patterns", "torchvision", "timm", "transformers")


# ---- one side: every model's spec as YAML text


def patterns() -> Iterator[tuple[str, Callable[[], Any]]]:
    from patterns import PATTERNS

    import purethin as pt

    try:
        from networks import built
    except ImportError:  # a commit from before it moved
        from test_patterns import built

    def spec(pattern: Any) -> Any:
        model, params = built(pattern)
        args, kwargs = pattern.inputs(), pattern.kwargs()
        return pt.infer(model, params, *args, **kwargs)

    yield from ((pattern.name, lambda pattern=pattern: spec(pattern)) for pattern in PATTERNS)


def torchvision() -> Iterator[tuple[str, Callable[[], Any]]]:
    import test_torchvision as table

    import purethin as pt

    def spec(name: str) -> Any:
        kwargs: dict[str, Any] = {"num_flow_updates": 2} if name in table.FLOW else {}
        model = table.built(name)
        return pt.infer(model, pt.params_of(model), *table.inputs(name), **kwargs)

    lists = (table.CLASSIFICATION, table.SEGMENTATION, table.DETECTION, table.VIDEO, table.FLOW)
    yield from ((name, lambda name=name: spec(name)) for names in lists for name in names)


def timm() -> Iterator[tuple[str, Callable[[], Any]]]:
    import test_timm as table

    import purethin as pt

    def spec(name: str) -> Any:
        model = table.built(name)
        example: Any = table.example(model, table.SIZES.get(name))
        return pt.infer(model, pt.params_of(model), example)

    yield from ((name, lambda name=name: spec(name)) for name in table.MODELS)


def transformers() -> Iterator[tuple[str, Callable[[], Any]]]:
    import test_transformers as table

    import purethin as pt

    def spec(name: str) -> Any:
        model = table.ROWS[name].build()
        example: dict[str, Any] = table.ROWS[name].example()
        return pt.infer(model, pt.params_of(model), **example)

    yield from ((name, lambda name=name: spec(name)) for name in table.ROWS)


def write(folder: Path, tables: list[str], part: int, parts: int) -> None:
    """Write this process's share of the specs, `folder/TABLE/MODEL.yaml`; an error's text where
    inference fails.
    """
    import torch

    torch.set_num_threads(1)
    for table in tables:
        (folder / table).mkdir(parents=True, exist_ok=True)
        for i, (name, spec) in enumerate(globals()[table]()):
            if i % parts != part:
                continue
            torch.manual_seed(0)
            try:
                text = spec().to_yaml()
            except Exception as error:  # what a side raises is its answer
                text = yaml.safe_dump({"error": f"{type(error).__name__}: {error}"})
            (folder / table / f"{name.replace('/', '-')}.yaml").write_text(text)


# ---- both sides


def specs_of(commit: str | None, folder: Path, tables: list[str], jobs: int) -> None:
    """Run one side: a commit in a worktree of its own, or the working tree."""
    tree = ROOT if commit is None else folder / "tree"
    if commit is not None:
        subprocess.run(
            ["git", "worktree", "add", "--detach", "-f", tree, commit], cwd=ROOT, check=True
        )
    try:
        paths = [tree, tree / "tests", tree / "tests" / "support", tree / "examples"]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONSAFEPATH": "1",
        }
        command = [sys.executable, __file__, "--write", folder, "--only", ",".join(tables)]
        runs = [
            subprocess.Popen([*command, "--part", str(i), str(jobs)], cwd=folder, env=environment)
            for i in range(jobs)
        ]
        failed = [run for run in runs if run.wait()]
        if failed:
            sys.exit(f"a process of {commit or 'the working tree'} failed")
    finally:
        if commit is not None:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)


def differences(before: Path, after: Path) -> dict[str, list[str]]:
    """`{model: the fields in which its two specs differ, and how}`."""
    found: dict[str, list[str]] = {}
    files = {path.relative_to(before) for path in before.glob("*/*.yaml")}
    files |= {path.relative_to(after) for path in after.glob("*/*.yaml")}
    for file in sorted(files):
        if not ((before / file).exists() and (after / file).exists()):
            found[str(file)] = ["only " + ("before" if (before / file).exists() else "after")]
            continue
        was, now = (
            yaml.load(re.sub(r"\.py:\d+", ".py", (side / file).read_text()), yaml.CSafeLoader)
            for side in (before, after)
        )
        rows = [
            row
            for key in {**was, **now}
            if key not in ("activations", "sites")
            or (key in was and key in now)  # which older specs lack
            for row in _differences(key, was.get(key), now.get(key))
        ]
        if rows:
            found[str(file)] = rows
    return found


def _differences(where: str, was: Any, now: Any) -> Iterator[str]:
    if was == now:
        return
    if isinstance(was or {}, dict) and isinstance(now or {}, dict):
        for key in {**(was or {}), **(now or {})}:
            yield from _differences(f"{where}: {key}", (was or {}).get(key), (now or {}).get(key))
    elif isinstance(was or [], list) and isinstance(now or [], list):
        yield from (f"{where}: - {row}" for row in was or [] if row not in (now or []))
        yield from (f"{where}: + {row}" for row in now or [] if row not in (was or []))
        if sorted(map(str, was or [])) == sorted(map(str, now or [])):
            yield f"{where}: in another order"
    else:
        yield f"{where}: {was!r} -> {now!r}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("commits", nargs="*")
    parser.add_argument("--only", default=",".join(TABLES), help="tables, separated by commas")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--keep", type=Path, help="a folder that keeps each commit's specs for the next run"
    )
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), help=argparse.SUPPRESS)
    given = parser.parse_args()
    tables = given.only.split(",")
    if given.write:
        return write(given.write, tables, *given.part)
    if not 1 <= len(given.commits) <= 2:
        parser.error("give one commit or two")
    with tempfile.TemporaryDirectory() as temporary:
        sides = []
        for i, commit in enumerate([*given.commits, None][:2]):
            folder = (given.keep or Path(temporary)) / (commit or "working")
            folder = folder.resolve() if commit else Path(temporary) / str(i)
            todo = [table for table in tables if not (folder / table).exists()]
            folder.mkdir(parents=True, exist_ok=True)
            if todo:
                specs_of(commit, folder, todo, given.jobs)
            sides.append(folder)
        found = differences(*sides)
        total = len(
            {
                p.relative_to(side)
                for side in sides
                for t in tables
                for p in side.glob(f"{t}/*.yaml")
            }
        )
    for model, rows in found.items():
        print(model, *rows, sep="\n    ")
    print(f"{total - len(found)} of {total} specs are the same")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
