"""The house: who may import whom, and how large a file, a function and a line may be."""

from __future__ import annotations

import re
from pathlib import Path

import house
import pytest

ROOT = Path(__file__).parents[1]
FILES = house.files_of(ROOT / "purethin")
ROWS = """
    errors lazy
    arguments parts
    axes tree outputs table waiting multihead empty holders hooked copying builtin
    notation layouts records
    document
    spec
    finding
    checks limits rewriting units kept
    thinning unsaid
    costs modules oracle
    selection branches
    measuring
    criteria influence
    measures storage comparison repairing optimizers
    budgets
    inference recipes deploying
    training
    loops
    plot
    __init__
    cli
    __main__
"""
LEVEL = {name: level for level, row in enumerate(ROWS.split("\n")) for name in row.split()}


def room(module: str) -> str:
    return module.split(".")[0]


def test_each_room_imports_only_rooms_of_the_rows_above_it() -> None:
    assert {room(name) for name in FILES} == LEVEL.keys()
    wrong = [
        f"{name} imports {other}"
        for name, others in house.arrows(FILES).items()
        for other in others
        if room(name) != room(other) and LEVEL[room(name)] <= LEVEL[room(other)]
    ]
    assert not wrong


def in_design() -> set[str]:
    """The modules that the tree of files in design.md names."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    tree = text.partition("\n    purethin/\n")[2].partition("\n\n")[0]
    found: set[str] = set()
    folders: list[tuple[int, str]] = []
    for line in tree.splitlines():
        depth = len(line) - len(line.lstrip())
        folders = [(d, folder) for d, folder in folders if d < depth]
        for word in line.split():
            if re.fullmatch(r"\w+/", word):
                folders.append((depth, word[:-1]))
            elif module := re.fullmatch(r"(\w+)\.py\W?", word):
                found.add(".".join([*(folder for _, folder in folders), module[1]]))
    return found


def test_the_tree_in_design_names_each_file_and_no_other() -> None:
    packages = {n for n in FILES if any(m.startswith(f"{n}.") for m in FILES)}
    assert in_design() == FILES.keys() - packages


def test_nothing_but_the_public_names_imports_inference() -> None:
    assert not house.across(FILES)
    used = FILES["__init__"].imports() & FILES.keys()
    assert {n for n in used if room(n) == "inference"} >= {"inference.infer", "inference.rules"}


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert not house.loops(FILES)


@pytest.mark.parametrize(
    "package",
    [{"a": "from p.b import x", "b": "from p import c", "c": "import p.a"}],
)
def test_a_loop_and_a_crossing_arrow_are_seen(tmp_path: Path, package: dict[str, str]) -> None:
    folder = tmp_path / "p"
    (folder / "inference").mkdir(parents=True)
    for name, text in {**package, "inference/d": "", "e": "import p.inference.d"}.items():
        (folder / f"{name}.py").write_text(text)
    files = house.files_of(folder)
    assert house.loops(files) == ["a", "b", "c"]
    assert house.across(files) == [("e", "inference.d")]


MANY = {
    ("training.train", "__init__"),
    ("multihead", "__init__"),
    ("multihead", "forward"),
    ("selection", "select"),  # one call says what is removed, each option by its name
}
LIMITS = {
    "no file is longer than 350 lines": house.long_files(FILES),
    "no function is longer than 40 lines": house.long_functions(FILES),
    "no function but the Trainer's, torch's attention and select has more than 7 arguments": {
        name: count
        for name, count in house.many_arguments(FILES).items()
        if (name.partition(":")[0], name.split()[-1]) not in MANY
    },
    "no line is wider than 100 columns": house.wide_lines(FILES),
    "no line is left out of the formatting": {
        name: 1 for name, file in FILES.items() if "fmt: skip" in file.text
    },
}


@pytest.mark.parametrize("limit", LIMITS)
def test_the_house_keeps_its_limits(limit: str) -> None:
    assert not LIMITS[limit]
