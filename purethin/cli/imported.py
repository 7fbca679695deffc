"""A model from the command line: an import path and arguments make it, shapes make its inputs.

Invariant: no weights are fetched unless an argument asks for them, and an error of the user's own
code becomes one SpecError that says where.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import purethin as pt
from purethin.cli.arguments import DEFAULT_INPUT
from purethin.cli.given import Input, Maker, parse_input
from purethin.errors import PurethinError, SpecError, nearest

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def tensors(inputs: Sequence[Input]) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """The inputs by position and by name."""
    by_name = {i.name: _tensor(i) for i in inputs if i.name is not None}
    return tuple(_tensor(i) for i in inputs if i.name is None), by_name


def _tensor(given: Input) -> Tensor:
    """Random numbers, repeatable; of an integer type 0 and 1, which every vocabulary has; True of
    bool.
    """
    state, dtype = torch.Generator().manual_seed(0), getattr(torch, given.dtype)
    if dtype == torch.bool:
        return torch.ones(given.shape, dtype=dtype)
    if not (dtype.is_floating_point or dtype.is_complex):
        return torch.randint(0, 2, given.shape, generator=state).to(dtype)
    return torch.randn(given.shape, generator=state).to(dtype)


def inferred(
    model: nn.Module, options: argparse.Namespace
) -> tuple[dict[str, Tensor], pt.Spec, Any]:
    """The parameters, the spec, and the inputs `(args, kwargs)`.

    Raises:
        SpecError: the model cannot be run on the inputs.
    """
    given = options.input or [parse_input(DEFAULT_INPUT)]
    args, kwargs = tensors(given)
    params = pt.params_of(model)
    where = f"{options.model} on --input {' --input '.join(map(str, given))}"
    more = "" if options.input else ". That input is the default: give the model's own by --input"
    with explained(where, more):
        spec = pt.infer(model, params, *args, branches=options.branches, **kwargs)
        return params, spec, (args, kwargs)


@contextmanager
def explained(what: str, more: str = "") -> Iterator[None]:
    """Errors of the user's code become a SpecError of one line, which ends in `more`; purethin's
    own pass.
    """
    try:
        yield
    except PurethinError:
        raise
    except (Exception, SystemExit) as error:
        first = (str(error).strip().splitlines() or ["no message"])[0]
        raise SpecError(f"{what}: {type(error).__name__}: {first}{more}") from error


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
    missing = [name for name in _required(found) if name not in arguments]
    more = f": give --arg {' --arg '.join(f'{name}=…' for name in missing)}" if missing else ""
    torch.manual_seed(0)
    with explained(f"making {maker}", more):
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


def _required(maker: Any) -> list[str]:
    """The arguments without a default."""
    try:
        parameters = inspect.signature(maker).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.default is p.empty and p.kind in _NAMED]


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
