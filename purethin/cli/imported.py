"""A model from the command line: an import path and arguments make it, shapes make its inputs.

Invariant: no weights are fetched unless an argument asks for them, and an error of the user's own
code becomes one SpecError that says where.
"""

from __future__ import annotations

import importlib
import inspect
import re
import runpy
import sys
from argparse import ArgumentTypeError
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from purethin.errors import PurethinError, SpecError, nearest

_INPUT = re.compile(r"(?:([A-Za-z_]\w*)=)?(\d+(?:,\d+)*)(?::(\w+))?")
_DTYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Maker:
    """Where a model comes from: a module's name or a `.py` file, and a callable in it."""

    where: str
    name: str

    def __str__(self) -> str:
        """As it was written."""
        return f"{self.where}:{self.name}"


def parse_model(text: str) -> Maker:
    """`module:callable` or `path/to/file.py:callable`.

    Raises:
        ArgumentTypeError: it is neither.

    >>> parse_model("torchvision.models:resnet50").name
    'resnet50'
    """
    where, _, name = text.rpartition(":")
    named = all(part.isidentifier() for part in name.split("."))
    if not named or not (where.endswith(".py") or re.fullmatch(r"\w+(\.\w+)*", where)):
        raise ArgumentTypeError(
            f"'{text}' is not an import path: write module:callable, as "
            "torchvision.models:resnet50, or file.py:callable"
        )
    return Maker(where, name)


def parse_argument(text: str) -> tuple[str, Any]:
    """`name=value`, the value read as YAML: a number, a word, true, null, [1, 2].

    Raises:
        ArgumentTypeError: it is not.

    >>> parse_argument("num_classes=10")
    ('num_classes', 10)
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ArgumentTypeError(f"'{text}' is not an argument: write name=value, as num_classes=10")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", error)
        raise ArgumentTypeError(f"the value of '{text}' is not YAML: {problem}") from error


@dataclass(frozen=True)
class Input:
    """One example input: its shape, its dtype, and the name of the argument that takes it, None by
    position.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    name: str | None
    text: str

    def __str__(self) -> str:
        """As it was written."""
        return self.text

    def tensor(self) -> Tensor:
        """Random numbers, repeatable; of an integer type 0 and 1, which every vocabulary has; True
        of bool.
        """
        state = torch.Generator().manual_seed(0)
        if self.dtype == torch.bool:
            return torch.ones(self.shape, dtype=self.dtype)
        if not (self.dtype.is_floating_point or self.dtype.is_complex):
            return torch.randint(0, 2, self.shape, generator=state).to(self.dtype)
        return torch.randn(self.shape, generator=state).to(self.dtype)


def parse_input(text: str) -> Input:
    """`1,3,224,224`, `1,128:long`, `mask=1,128:bool`.

    Raises:
        ArgumentTypeError: it is none of these.

    >>> parse_input("mask=1,128:bool").shape
    (1, 128)
    """
    match = _INPUT.fullmatch(text)
    if match is None:
        raise ArgumentTypeError(
            f"'{text}' is not an input: write its shape, as 1,3,224,224, with :long for integers, "
            "mask=… by name"
        )
    name, shape, dtype = match.groups()
    if (dtype or "float32") not in _DTYPES:
        raise ArgumentTypeError(f"torch has no dtype '{dtype}'; {nearest(dtype, _DTYPES)}")
    return Input(tuple(map(int, shape.split(","))), _DTYPES[dtype or "float32"], name, text)


def tensors(inputs: Sequence[Input]) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """The inputs by position and by name."""
    by_name = {i.name: i.tensor() for i in inputs if i.name is not None}
    return tuple(i.tensor() for i in inputs if i.name is None), by_name


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Errors of the user's code become a SpecError of one line; purethin's own pass."""
    try:
        yield
    except PurethinError:
        raise
    except (Exception, SystemExit) as error:
        first = (str(error).strip().splitlines() or ["no message"])[0]
        raise SpecError(f"{what}: {type(error).__name__}: {first}") from error


def make(maker: Maker, given: Mapping[str, Any] | None = None) -> tuple[nn.Module, str, str]:
    """Import and call, with the same random weights each time. `weights=None`, `pretrained=False`
    where the signature has them.

    Returns:
        The model in eval mode; the Python statement that imports its maker, and the expression that
        makes it again.

    Raises:
        SpecError: there is no such module or callable, it fails, or makes no `nn.Module`.
    """
    with explained(f"importing {maker.where}"):
        names, statement = _imported(maker)
    first, *rest = maker.name.split(".")
    try:
        found: Any = reduce(getattr, rest, names[first])
    except (KeyError, AttributeError):
        public = [n for n, value in names.items() if callable(value) and not n.startswith("_")]
        why = nearest(maker.name, public)
        raise SpecError(f"{maker.where} has no '{maker.name}'; {why}") from None
    if isinstance(found, nn.Module):
        if given:
            raise SpecError(f"{maker} is a model already, and takes no arguments")
        return found.eval(), statement, maker.name
    arguments = {**_plain_defaults(found), **(given or {})}
    torch.manual_seed(0)
    with explained(f"making {maker}"):
        model = found(**arguments)
    if not isinstance(model, nn.Module):
        kind = type(model).__name__
        raise SpecError(f"{maker} made a {kind}; MODEL names what makes an nn.Module")
    written = ", ".join(f"{k}={v!r}" for k, v in arguments.items())
    return model.eval(), statement, f"{maker.name}({written})"


def _imported(maker: Maker) -> tuple[Mapping[str, Any], str]:
    """The names in a module or a file, and the statement that imports the one that is asked for."""
    where, first = maker.where, maker.name.partition(".")[0]
    if not where.endswith(".py"):
        return vars(importlib.import_module(where)), f"from {where} import {first}"
    if not Path(where).is_file():
        raise SpecError(f"there is no file {where}")
    if (folder := str(Path(where).resolve().parent)) not in sys.path:
        sys.path.insert(0, folder)  # for the modules beside it, as `python file.py` does
    statement = f"import runpy; {first} = runpy.run_path({where!r})[{first!r}]"
    return runpy.run_path(where), statement


def _plain_defaults(maker: Any) -> dict[str, Any]:
    """The arguments that would fetch trained weights, turned off, where they are not off by
    themselves.
    """
    try:
        parameters = inspect.signature(maker).parameters.values()
    except (TypeError, ValueError):
        return {}
    off = [p.name for p in parameters if p.default is None or p.default is False]
    on = [p.name for p in parameters if p.kind in _NAMED and p.name not in off]
    weights = [name for name in on if name == "weights" or name.startswith("weights_")]
    pretrained = [name for name in on if name.startswith("pretrained")]
    return dict.fromkeys(weights) | dict.fromkeys(pretrained, False)
