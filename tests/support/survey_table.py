"""Join the rows that `pytest -m survey` left in build/ into the pages docs/survey-*.md."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMON = """\
Each model has random weights, in float64 unless its row says otherwise. Half of the units of *all
exact axes at once* are removed at random; `difference` is the largest between masked and thinned
outputs, relative to the output's largest value. Then half of *all* axes go, exact or not: the
thinned model runs, and so much of it is gone. `seconds` is the CPU time of `infer`, its trial
included, on one thread. The last column says what is frozen beside kernels, inputs, outputs and
vocabularies, how often, and where in the model's source.
"""
PAGES = {
    "torchvision": (
        "torchvision's models",
        "Classification, segmentation, detection, video and optical flow.",
    ),
    "timm": ("timm", "The smallest model of every module file in timm."),
    "transformers": (
        "Hugging Face transformers",
        "Tiny configurations of each architecture, built with `from_config`.",
    ),
    "libraries": (
        "libraries of networks",
        "Small configurations of the networks of other libraries; those of `pytest -m survey` are "
        "the few that each commit runs, `pytest -m nightly` runs the rest.",
    ),
}


def page(table: str) -> str:
    """The page of one survey, from its rows."""
    title, what = PAGES[table]
    rows = [
        dict(line.split("\t", 1) for line in f.read_text().splitlines())
        for f in sorted((ROOT / "build" / f"survey-{table}").iterdir())
    ]
    columns = list(dict.fromkeys(c for row in rows for c in row))
    lines = [
        f"# Survey: {title}",
        "",
        f"{what} Made by `pytest -m survey` and `python tests/support/survey_table.py`. {COMMON}",
    ]
    if table == "libraries":
        lines += [*by_library(rows), ""]
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(row.get(c, "–") for c in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def by_library(rows: list[dict[str, str]]) -> list[str]:
    """A line a library: how many of its models are inferred and hold, what is never prunable of
    the parameters that their forwards read, and the seconds of `infer`.
    """
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(row["model"].partition("/")[0], []).append(row)
    lines = [
        "A model is *inferred* where `infer` returns a spec and leaves the model bit for bit as it "
        "was. *Never prunable*: of all parameters that the forwards read, those without an axis.",
        "",
        "| library | models built | inferred | exact axes hold | all axes run | never prunable |"
        " seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for library, some in groups.items():
        held = [r for r in some if r["difference"] != "does not hold"]
        total = sum(int(r["parameters"]) for r in held)
        frozen = sum(int(r["parameters"]) * float(r["never prunable"]) for r in held)
        cells = (
            library,
            str(len(some)),
            str(sum("axes" in r for r in some)),
            str(len(held)),
            str(len(held)),
            f"{100 * frozen / max(1, total):.1f} %",
            f"{sum(float(r['seconds']) for r in held if r['seconds'] != '–'):.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Write every page whose rows are there."""
    for table in PAGES:
        if (ROOT / "build" / f"survey-{table}").exists():
            path = ROOT / "docs" / f"survey-{table}.md"
            path.write_text(page(table))
            print(f"{path.read_text().count(chr(10))} lines in {path}")


if __name__ == "__main__":
    main()
