"""Batches as a training takes them: grouped for accumulation, in an order that a resumed run
repeats, split into inputs.

A loader is anything that yields batches anew at each epoch. What orders them is kept: its own
`state_dict`, or the `torch.Generator`s that it, its sampler, its batch sampler and its dataset
hold; and `set_epoch` of any of these is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch

from purethin.errors import CheckpointError, PurethinError


def first_of(batch: Any) -> Any:
    """The inputs of a batch: the first entry of a tuple or list, else the batch itself."""
    return batch[0] if isinstance(batch, tuple | list) else batch


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`(args, kwargs)` from inputs: a tensor, a tuple of arguments, or a dict of keyword
    arguments.
    """
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def grouped(loader: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """So many batches at a time; the last group may be smaller."""
    batches = iter(loader)
    while group := list(islice(batches, size)):
        yield group


def length(loader: Iterable[Any], size: int) -> int | None:
    """The number of groups in an epoch, where the loader has a length."""
    try:
        return -(-len(loader) // size)  # pyright: ignore[reportArgumentType]
    except TypeError:
        return None


def no_batch(epoch: int) -> PurethinError:
    """The error of an epoch in which a loader gave nothing."""
    return PurethinError(
        f"the loader gave no batch in epoch {epoch}: give what yields batches anew each epoch, as "
        "a list or a DataLoader (a generator is used up after one)"
    )


def set_epoch(loader: Iterable[Any], epoch: int) -> None:
    """Tell the epoch to what reorders by it, as a DistributedSampler does."""
    for part in _parts(loader).values():
        if callable(tell := getattr(part, "set_epoch", None)):
            tell(epoch)


def order_of(loader: Iterable[Any]) -> dict[str, Any]:
    """The state of what orders a loader's batches, as tensors and plain data."""
    if callable(state := getattr(loader, "state_dict", None)):
        return {"state_dict": state()}
    return {path: generator.get_state() for path, generator in _generators(loader).items()}


def set_order(loader: Iterable[Any], state: Mapping[str, Any]) -> None:
    """Put back what `order_of` took.

    Raises:
        CheckpointError: the loader holds other generators.
    """
    if "state_dict" in state and callable(load := getattr(loader, "load_state_dict", None)):
        load(state["state_dict"])
        return
    have = _generators(loader)
    if have.keys() != state.keys():
        raise CheckpointError(
            f"the saved run's loader held the generators {sorted(state)}, this one {sorted(have)}: "
            "give a loader made alike"
        )
    for path, generator in have.items():
        generator.set_state(state[path].to("cpu", torch.uint8))


def _parts(loader: Iterable[Any]) -> dict[str, Any]:
    """The loader and what orders it, each object once."""
    found: dict[str, Any] = {"loader": loader}
    for name in ("sampler", "batch_sampler", "batch_sampler.sampler", "dataset"):
        part: Any = loader
        for step in name.split("."):
            part = getattr(part, step, None)
        if part is not None and all(part is not other for other in found.values()):
            found[name] = part
    return found


def _generators(loader: Iterable[Any]) -> dict[str, torch.Generator]:
    found: dict[str, torch.Generator] = {}
    for name, part in _parts(loader).items():
        for key, value in getattr(part, "__dict__", {}).items():
            if isinstance(value, torch.Generator) and all(
                value is not other for other in found.values()
            ):
                found[f"{name}.{key}"] = value
    return found
