"""Inference: run a function once, abstractly, and read off the name of every dimension of its
parameters.

Invariant: the function, its parameters and its inputs are left as they were, bit for bit.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from torch import Tensor, nn

from purethin.arguments import explained
from purethin.errors import PurethinError, SpecError, nearest
from purethin.inference.emptying import with_branches
from purethin.inference.ledger import Ledger
from purethin.inference.readout import axes_in, freeze_spelled, settle, spec_of
from purethin.inference.sources import (
    Example,
    FunctionSource,
    ModuleSource,
    Source,
    Traced,
    run,
)
from purethin.inference.trial import proven, tried
from purethin.spec import Spec
from purethin.tree import TensorTree


@explained
def infer(
    model: nn.Module | Callable[..., Any],
    params: TensorTree,
    *args: Any,
    trial: bool = True,
    examples: Sequence[Any] = (),
    methods: Sequence[str] = (),
    branches: bool = False,
    **kwargs: Any,
) -> Spec:
    """The dependency spec of a network, from one forward pass on the meta device.

    Args:
        model: an `nn.Module`, traced in eval mode; or any function `f(params, *args, **kwargs)`.
        params: `params_of(model)`; for a function, any pytree of tensors.
        *args, **kwargs: example inputs, as the forward takes them. Only shapes and integer values
            matter.
        trial: run the forward once more with about half of every axis gone: what then fails, or
            means something else, is frozen with the error and its line. Without it the spec is as
            the first forward left it.
        examples: more inputs, each a tuple of positional inputs, a dict of keyword inputs, or one
            tensor: one spec is made for all. So a network that takes other ways for other inputs
            (routed experts) is seen whole.
        methods: methods that take the place of the forward in the modules that have them, as
            `forward_split` when a YOLO is exported: one spec is made for these ways too.
        branches: whether to find the axes that may lose all their units (`Spec.branches`), as the
            inner channels of a residual block; one forward more, or a few.

    Returns:
        The spec: the layout of every parameter, which axes are exact, what is frozen and why.

    Raises:
        SpecError: the parameters are not the model's, no module has such a method, or the model is
            scripted, quantized or cannot be copied. What the forward itself raises on the example
            comes as it is, with a note of where purethin was.

    >>> import torch
    >>> params = {"w": torch.ones(3, 8), "v": torch.ones(8, 2)}
    >>> spec = infer(lambda p, x: torch.relu(x @ p["w"]) @ p["v"], params, torch.ones(1, 3))
    >>> print(", ".join(spec.axes))
    w
    """
    source = (
        ModuleSource(model, params)
        if isinstance(model, nn.Module)
        else FunctionSource(model, params)
    )
    with _without_collector():
        every = [Example(args, kwargs), *map(_example, examples)]
        every += [e._replace(method=name) for name in _checked(model, methods) for e in every]
        spec, traced = _inferred(source, every, trial)
        return with_branches(source, traced, spec, every) if branches else spec


def _checked(model: object, methods: Sequence[str]) -> Sequence[str]:
    """The methods, which some module must have."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    have = {name for module in modules for name in dir(type(module))} if methods else set()
    for name in methods:
        if name not in have:
            near = sorted(n for n in have if n.startswith("forward")) or ["forward"]
            raise SpecError(f"no module has a method '{name}'; {nearest(name, near)}")
    return methods


def _example(given: Any) -> Example:
    if isinstance(given, Mapping) and all(isinstance(key, str) for key in given):
        return Example((), dict(given))
    if isinstance(given, Tensor | list):
        return Example((given,), {})
    if isinstance(given, tuple):
        return Example(given, {})
    raise SpecError(
        f"an example is a tuple of inputs, a dict of keyword inputs or a tensor, not a "
        f"{type(given).__name__}: write examples=[(x,), {{'x': x}}]"
    )


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pause the garbage collector: a trace is one burst of small objects, all alive, which it would
    walk again and again.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _inferred(source: Source, examples: Sequence[Example], trial: bool) -> tuple[Spec, Traced]:
    """The spec; where plain integers were taken for sizes and the trial finds a fault, the one
    without these if it freezes less.
    """
    spec, traced, doubt = _attempted(source, examples, trial, tentative=trial)
    if doubt == "none":
        return spec, traced
    plain, again, _ = _attempted(source, examples, trial, tentative=False)
    if doubt == "untried":
        return plain, again
    found = ((plain, again), (spec, traced))
    return min(found, key=lambda pair: (len(pair[0].frozen), -len(pair[0].exact)))


def _attempted(
    source: Source, examples: Sequence[Example], trial: bool, *, tentative: bool
) -> tuple[Spec, Traced, Literal["none", "fault", "untried"]]:
    """Trace on meta; where that fails, on real tensors; where C code of others takes no tracked
    integer, with plain ones: and say so. The spec, its trace, and what makes integers that were
    taken for sizes doubtful: a fault, or that no trial can vary them.
    """
    traced, errors = None, []
    for tracking, meta in itertools.product((True, False), (True, False)):
        try:
            traced = run(
                source,
                examples,
                meta=meta,
                ledger=Ledger(tracking, tentative and meta and tracking),
            )
            break
        except PurethinError:
            raise
        except Exception as error:
            errors.append(error)
    if traced is None:
        refuse_shapes(examples[0].args, errors[-1])
        if add_note := getattr(errors[-1], "add_note", None):  # from Python 3.11 on
            add_note(_context(source, examples[0][0]))
        raise errors[-1]
    notes = []
    if not traced.trace.meta:
        notes.append(f"inferred on real tensors: on meta {_raised(errors[0])}")
    if not traced.trace.ledger.tracking:
        notes.append(f"inferred with plain integers: with tracked ones {_raised(errors[0])}")
    settle(traced)
    if not trial:
        freeze_spelled(traced)
    spec = spec_of(traced, tuple(notes))
    found, ledger = proven(source, traced, spec, examples) if trial else spec, traced.trace.ledger
    if ledger.taken and not tried(spec, axes_in(traced, ledger.taken.values())):
        return found, traced, "untried"
    fault = ledger.tentative and ledger.lost and found is not spec
    return found, traced, "fault" if fault else "none"


def refuse_shapes(args: tuple[Any, ...], error: Exception) -> None:
    """That no input that a forward rejected is a shape.

    Raises:
        SpecError: one is.
    """
    for given in args:
        if isinstance(given, tuple) and given and all(isinstance(n, int) for n in given):
            shape = ", ".join(map(str, given))
            raise SpecError(
                f"an input is {tuple(given)}, a shape it seems: inputs are tensors, as the forward "
                f"takes them; give torch.rand({shape})"
            ) from error


def _raised(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return f"the forward raised {type(error).__name__}: {first}"


def _context(source: Source, args: tuple[Any, ...]) -> str:
    shapes = (
        ", ".join(str(tuple(t.shape)) if isinstance(t, Tensor) else type(t).__name__ for t in args)
        or "none"
    )
    return (
        f"purethin.infer: {source.title} rejected the example inputs ({shapes}); this is its own "
        "error, unchanged"
    )
