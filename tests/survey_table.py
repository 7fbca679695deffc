"""Join the rows that `pytest -m survey` left in build/survey-torchvision into docs/survey-torchvision.md."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
HEAD = """# Survey: torchvision's classification models

Made by `pytest -m survey` and `python tests/survey_table.py`. Each model has random weights in float64 (regnet_y_128gf and
vit_h_14 in float32). Half of the units of *all exact axes at once* are removed at random; `difference` is the largest between
masked and thinned outputs, relative. `frozen` counts dimensions that cannot be pruned, kernel sizes aside. `gone at 30 %` is
the fraction of parameters that leaves with floor(0.3 n) of each axis's n units, exact or not; `peer's count` the same with
the units that Torch-Pruning 1.6.1 removes (it keeps int(0.7 n)), and `peer` what it removed there. `seconds` is `infer` on
one thread.

| model | axes | exact | frozen | gone at 50 % of exact | gone at 30 % | peer's count | peer | difference | seconds |
|---|---|---|---|---|---|---|---|---|---|
"""


def main() -> None:
    """Write the page."""
    rows = sorted((ROOT / "build" / "survey-torchvision").iterdir())
    page = ROOT / "docs" / "survey-torchvision.md"
    page.write_text(HEAD + "".join(f"{row.read_text().strip()}\n" for row in rows))
    print(f"{len(rows)} models in {page}")


if __name__ == "__main__":
    main()
