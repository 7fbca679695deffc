"""Survey: small networks of the libraries that people use. `pytest -m survey` runs a handful,
`pytest -m nightly` the rest; the tables are docs/survey-libraries.md.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["YOLO_OFFLINE"] = "1"

import pytest
import torch
from libraries import ready
from libraries.known import HANDFUL, KNOWN
from survey import surveyed, write

import purethin as pt
from purethin.axes import names

FILES = sorted(
    f.stem
    for f in (Path(__file__).parent / "libraries").glob("*.py")
    if f.stem not in ("__init__", "known")
)
TABLES: dict[str, Any] = {name: import_module(f"libraries.{name}") for name in FILES}
ROWS = [f"{library}/{name}" for library, table in TABLES.items() for name in table.MODELS]


def never(spec: pt.Spec) -> dict[str, str]:
    """Of the parameters that the forward reads, the share none of whose dimensions carries an
    axis.
    """
    unread = {f.parameter for f in spec.frozen if "does not read" in f.reason}
    read = {
        n: prod(spec.shape(n)) for n in spec.layout if n not in spec.buffers and n not in unread
    }
    fixed = sum(k for n, k in read.items() if not any(list(names(e)) for e in spec.layout[n]))
    total = sum(read.values())
    return {"parameters": str(total), "never prunable": f"{fixed / max(1, total):.2f}"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, marks=pytest.mark.survey if row in HANDFUL else pytest.mark.nightly)
        for row in ROWS
    ],
)
def test_half_of_all_exact_axes_goes_and_the_function_stays(row: str) -> None:
    library, _, name = row.partition("/")
    if find_spec(library) is None:
        pytest.skip(f"no {library}: pip install 'purethin[libraries]'")
    table = TABLES[library]
    single = name in getattr(table, "SINGLE", {})
    dtype = torch.float32 if single else torch.float64
    torch.manual_seed(0)
    model, args, kwargs = ready(table.MODELS[name](), dtype)
    tolerance = 1e-4 if single else 1e-9

    def run() -> None:
        surveyed("libraries", row, model, args, kwargs, tolerance=tolerance, cells=never)

    if row not in KNOWN:
        return run()
    error, message, reason = KNOWN[row]
    with pytest.raises(error, match=message):
        run()
    write("libraries", {"model": row, "difference": "does not hold", "frozen, and why": reason})
    pytest.xfail(reason)


def test_known_rows_and_the_handful_are_rows() -> None:
    assert {*KNOWN, *HANDFUL} <= {*ROWS}
