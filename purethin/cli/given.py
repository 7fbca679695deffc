"""What is written on the command line, read: where a model comes from, its arguments, its inputs.

Invariant: nothing is imported or made; torch is asked only whether it has a dtype.
"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from dataclasses import dataclass
from typing import Any

from purethin.errors import nearest

_INPUT = re.compile(r"(?:([A-Za-z_]\w*)=)?(\d+(?:,\d+)*)(?::(\w+))?")


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
    import yaml

    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", error)
        raise ArgumentTypeError(f"the value of '{text}' is not YAML: {problem}") from error


@dataclass(frozen=True)
class Input:
    """One example input: its shape, its dtype's name, and the name of the argument that takes it,
    None by position.
    """

    shape: tuple[int, ...]
    dtype: str
    name: str | None
    text: str

    def __str__(self) -> str:
        """As it was written."""
        return self.text


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
    if dtype is not None:
        import torch

        dtypes = [n for n, value in vars(torch).items() if isinstance(value, torch.dtype)]
        if dtype not in dtypes:
            raise ArgumentTypeError(f"torch has no dtype '{dtype}'; {nearest(dtype, dtypes)}")
    return Input(tuple(map(int, shape.split(","))), dtype or "float32", name, text)
