"""Weights for a model from a safetensors file: a plain state dict, or what `save` wrote.

Invariant: nothing is unpickled, and a file fits wholly or is refused with the names that differ.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from purethin.errors import CheckpointError, listed
from purethin.modules import misnamed, rebuild, tensors_of
from purethin.storage import KEY, config_in, tensors_in
from purethin.thinning import Config


def with_weights(model: nn.Module, path: Path) -> tuple[nn.Module, Config]:
    """The model with a file's tensors.

    Returns:
        A new module, and the config of an earlier thinning (empty for a dense network).

    Raises:
        CheckpointError: the file cannot be read, or its names or shapes are not the model's.
    """
    tensors, metadata = tensors_in(path)
    config = config_in(path, metadata) if KEY in metadata else {}
    own = dict(tensors_of(model, duplicates=True))
    counts = {n: t for n, t in own.items() if n.endswith("num_batches_tracked")}  # may be absent
    wrong = misnamed(model, own, counts | tensors)
    if not wrong and not config:
        wrong = listed(
            [
                f"{name} of shape {tuple(t.shape)}, which is {tuple(own[name].shape)} in the model"
                for name, t in tensors.items()
                if t.shape != own[name].shape
            ]
        )
    if wrong:
        raise CheckpointError(f"{path} does not fit this {type(model).__name__}: {wrong}")
    given = {
        name: t.to(own[name].dtype) if t.is_floating_point() else t
        for name, t in (counts | tensors).items()
    }
    return rebuild(model, given, config).eval(), config


def merged(before: Config, after: Config) -> Config:
    """The config of a network thinned twice, over the dense class.

    >>> merged({"a": {"heads": 4, "dim": 8}}, {"a": {"heads": 2}, "b": {"width": 3}})
    {'a': {'heads': 2, 'dim': 8}, 'b': {'width': 3}}
    """
    return {path: {**before.get(path, {}), **after.get(path, {})} for path in {**before, **after}}
