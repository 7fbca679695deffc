"""The public names: what `dir(pt)` shows, and what importing the package costs."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import purethin as pt


def fresh(code: str) -> list[str]:
    """The words that code prints in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_importing_purethin_imports_neither_torch_nor_its_own_modules() -> None:
    code = "import sys, purethin; print(*sorted(sys.modules))"
    loaded = [name for name in fresh(code) if name.split(".")[0] in ("purethin", "torch")]
    assert loaded == ["purethin", "purethin.lazy"]


def test_dir_shows_the_public_names_and_no_other_module_whatever_was_imported() -> None:
    values = {name: getattr(pt, name) for name in dir(pt)}
    modules = {name for name, value in values.items() if isinstance(value, ModuleType)}
    assert modules == {"criteria", "curves", "laws", "plot"}
    assert dir(pt) == sorted(values) == pt.__all__  # type: ignore[attr-defined]
    assert {"infer", "thin", "Trainer", "__version__"} < values.keys()
    assert values["Axis"] is pt.spec.Axis  # type: ignore[attr-defined]


def test_a_name_that_is_not_public_is_an_attribute_error_with_the_name() -> None:
    with pytest.raises(AttributeError, match=r"module 'purethin' has no attribute 'lpnorm'") as e:
        _ = pt.lpnorm  # type: ignore[attr-defined]
    assert e.value.name == "lpnorm"


def test_a_star_import_takes_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from purethin import *", names)
    assert names.keys() - {"__builtins__"} == set(dir(pt))
