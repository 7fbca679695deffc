"""Weights for a model from a safetensors file: a plain state dict, or what `save` wrote.

Invariant: nothing is unpickled, and a file fits wholly or is refused with every name that differs
counted.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from purethin.errors import CheckpointError, nearest
from purethin.modules import rebuild, tensors_of
from purethin.storage import load, safetensors_library
from purethin.thinning import Config

_SHOWN = 5


def with_weights(model: nn.Module, path: Path) -> tuple[nn.Module, Config]:
    """The model with a file's tensors: a plain state dict in safetensors, or what `save` wrote.

    Returns:
        A new module, and the config of what was thinned already (empty for a dense network).

    Raises:
        CheckpointError: the file cannot be read, or its names or shapes are not the model's; names
            them all, the first ones in full.
    """
    given, config = _read(path)
    dense = dict(tensors_of(model, duplicates=True))
    wrong = [
        f"{name}, which the model lacks; {nearest(name, dense, shown=2)}"
        for name in given
        if name not in dense
    ]
    kept = set(model.state_dict(keep_vars=True))
    have = {id(dense[name]) for name in given if name in dense}
    optional = "num_batches_tracked"  # counts batches; files from other tools leave it out
    wrong += [
        f"no {name}"
        for name, t in dense.items()
        if name in kept and id(t) not in have and not name.endswith(optional)
    ]
    if not config:
        wrong += [
            f"{name} of shape {tuple(t.shape)}, which is {tuple(dense[name].shape)} in the model"
            for name, t in given.items()
            if name in dense and t.shape != dense[name].shape
        ]
    if wrong:
        more = f"\n  and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        listed = "".join(f"\n  {line}" for line in wrong[:_SHOWN])
        raise CheckpointError(
            f"{path} does not fit this {type(model).__name__}: {len(wrong)} differences. It "
            f"has{listed}{more}"
        )
    cast = {
        name: t.to(dense[name].dtype) if t.is_floating_point() else t for name, t in given.items()
    }
    return rebuild(model, cast, config).eval(), config


def _read(path: Path) -> tuple[dict[str, Tensor], Config]:
    safetensors = safetensors_library()
    try:
        with safetensors.safe_open(path, "pt") as file:
            if "purethin" not in (file.metadata() or {}):
                return {name: file.get_tensor(name) for name in file.keys()}, {}  # noqa: SIM118  (it is no mapping)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path} is damaged or no safetensors file: {error}. A file of torch.save is not read, "
            "for unpickling runs code: "
            "convert it, safetensors.torch.save_file(torch.load(path, weights_only=True), "
            "'weights.safetensors')"
        ) from error
    return load(path)


def merged(before: Config, after: Config) -> Config:
    """The config of a network thinned twice, over the dense class.

    >>> merged({"a": {"heads": 4, "dim": 8}}, {"a": {"heads": 2}, "b": {"width": 3}})
    {'a': {'heads': 2, 'dim': 8}, 'b': {'width': 3}}
    """
    return {path: {**before.get(path, {}), **after.get(path, {})} for path in {**before, **after}}
