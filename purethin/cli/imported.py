"""A model from the command line: an import path and arguments make it, shapes make its inputs.

Invariant: no weights are fetched unless an argument asks for them, and what the user's own code
raises comes as one SpecError that says where.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from purethin.errors import PurethinError, SpecError, nearest

_INPUT = re.compile(r"(?:([A-Za-z_]\w*)=)?(\d+(?:,\d+)*)(?::(\w+))?")
_DTYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}


@dataclass(frozen=True)
class Source:
    """Where a model comes from: a module's name or a `.py` file, a callable in it, and its keyword
    arguments.
    """

    where: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What a person wrote."""
        return f"{self.where}:{self.name}"


def parse_model(text: str) -> Source:
    """`module:callable` or `path/to/file.py:callable`.

    Raises:
        ValueError: it is neither.

    >>> parse_model("torchvision.models:resnet50").name
    'resnet50'
    """
    where, _, name = text.rpartition(":")
    named = re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name) is not None
    if not named or not (where.endswith(".py") or re.fullmatch(r"\w+(\.\w+)*", where)):
        raise ValueError(
            f"'{text}' is no import path: write module:callable, as torchvision.models:resnet50, "
            "or file.py:callable"
        )
    return Source(where, name)


def parse_argument(text: str) -> tuple[str, Any]:
    """`name=value`, the value read as YAML: a number, a word, true, null, [1, 2].

    Raises:
        ValueError: it is not.

    >>> parse_argument("num_classes=10")
    ('num_classes', 10)
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"'{text}' is no argument: write name=value, as num_classes=10")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(
            f"the value of '{text}' is no YAML: {getattr(error, 'problem', error)}"
        ) from error


def parse_arguments(text: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: it is none.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError('a JSON object is expected, as {"num_classes": 10}')
    return found


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
        ValueError: it is none of these.
    """
    match = _INPUT.fullmatch(text)
    if match is None:
        raise ValueError(
            f"'{text}' is no input: write its shape, as 1,3,224,224, with :long for integers, "
            "mask=… by name"
        )
    name, shape, dtype = match.groups()
    if (dtype or "float32") not in _DTYPES:
        raise ValueError(f"torch has no dtype '{dtype}'; {nearest(dtype, _DTYPES)}")
    return Input(tuple(map(int, shape.split(","))), _DTYPES[dtype or "float32"], name, text)


def tensors(inputs: Sequence[Input]) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """The inputs by position and by name."""
    return tuple(i.tensor() for i in inputs if i.name is None), {
        i.name: i.tensor() for i in inputs if i.name is not None
    }


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


def make(source: Source) -> tuple[nn.Module, str, str]:
    """Import and call, with the same random weights each time. `weights=None`, `pretrained=False`
    where the signature has them.

    Returns:
        The model in eval mode; the Python statement that imports its maker, and the expression that
        makes it again.

    Raises:
        SpecError: there is no such module or callable, it fails, or makes no `nn.Module`.
    """
    with explained(f"importing {source.where}"):
        module = (
            _file(Path(source.where))
            if source.where.endswith(".py")
            else importlib.import_module(source.where)
        )
    try:
        maker: Any = reduce(getattr, source.name.split("."), module)
    except AttributeError:
        public = [
            name
            for name, value in vars(module).items()
            if callable(value) and not name.startswith("_")
        ]
        raise SpecError(
            f"{source.where} has no '{source.name}'; {nearest(source.name, public)}"
        ) from None
    first = source.name.partition(".")[0]
    if source.where.endswith(".py"):
        statement = f"import runpy; {first} = runpy.run_path({str(source.where)!r})[{first!r}]"
    else:
        statement = f"from {source.where} import {first}"
    if isinstance(maker, nn.Module):
        if source.arguments:
            raise SpecError(f"{source.title} is a model already, and takes no arguments")
        return maker.eval(), statement, source.name
    arguments = {**_plain_defaults(maker), **source.arguments}
    torch.manual_seed(0)
    with explained(f"making {source.title}"):
        model = maker(**arguments)
    if not isinstance(model, nn.Module):
        raise SpecError(
            f"{source.title} made a {type(model).__name__}; MODEL names what makes an nn.Module"
        )
    return (
        model.eval(),
        statement,
        f"{source.name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})",
    )


def _file(path: Path) -> ModuleType:
    """A Python file as a module; its folder is searched for what it imports."""
    if not path.is_file():
        raise SpecError(f"there is no file {path}")
    name = (
        path.stem
        if path.stem.isidentifier() and path.stem not in sys.modules
        else f"{path.stem}_model"
    )
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SpecError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[name] = module  # dataclasses and pickles look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _plain_defaults(maker: Any) -> dict[str, Any]:
    """The arguments that would fetch trained weights, turned off, where they are not off by
    themselves.
    """
    try:
        parameters = inspect.signature(maker).parameters.values()
    except (TypeError, ValueError):
        return {}
    off: dict[str, Any] = {}
    for p in parameters:
        if (
            p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL, p.POSITIONAL_ONLY)
            or p.default is None
            or p.default is False
        ):
            continue
        if p.name == "weights" or p.name.startswith("weights_"):
            off[p.name] = None
        elif p.name.startswith("pretrained"):
            off[p.name] = False
    return off
