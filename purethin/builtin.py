"""What the integers of torch's own layers measure, and whether they do."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from torch import Tensor, nn

MEASURES: dict[type[nn.Module], tuple[tuple[str, str, int], ...]] = {
    nn.Linear: (("in_features", "weight", 1), ("out_features", "weight", 0)),
    nn.Bilinear: (
        ("in1_features", "weight", 1),
        ("in2_features", "weight", 2),
        ("out_features", "weight", 0),
    ),
    nn.Embedding: (("num_embeddings", "weight", 0), ("embedding_dim", "weight", 1)),
    nn.EmbeddingBag: (("num_embeddings", "weight", 0), ("embedding_dim", "weight", 1)),
    nn.modules.batchnorm._NormBase: (
        ("num_features", "weight", 0),
        ("num_features", "running_mean", 0),
    ),
    nn.GroupNorm: (("num_channels", "weight", 0),),
    nn.MultiheadAttention: (
        ("embed_dim", "in_proj_weight", 1),
        ("kdim", "in_proj_weight", 1),
        ("vdim", "in_proj_weight", 1),
        ("embed_dim", "q_proj_weight", 1),
        ("kdim", "k_proj_weight", 1),
        ("vdim", "v_proj_weight", 1),
    ),
    nn.PReLU: (("num_parameters", "weight", 0),),
    nn.RNNBase: (("input_size", "weight_ih_l0", 1),),
    nn.RNNCellBase: (("input_size", "weight_ih", 1), ("hidden_size", "weight_hh", 1)),
}
"""By class: (attribute, parameter, dim)."""


@functools.cache
def measures(kind: type[nn.Module]) -> tuple[tuple[str, str, int], ...]:
    """What the integers of a class of layers measure, as in `MEASURES`."""
    return tuple(row for base, rows in MEASURES.items() if issubclass(kind, base) for row in rows)


def measuring(module: nn.Module) -> set[str]:
    """The integers of torch's own layers that say what they measure; all that they have, where the
    class is torch's own.
    """
    if type(module).__module__.startswith("torch.nn."):
        return {*vars(module)}
    found = {attribute for attribute, _, _ in measures(type(module))}
    convolves = isinstance(module, nn.modules.conv._ConvNd)
    return found | ({"in_channels", "out_channels", "groups"} if convolves else set())


def misfits(module: nn.Module, dense: nn.Module) -> Iterator[str]:
    """Where an integer of a layer is not the size that it measures, though it is in the dense one:
    `weight has 7 rows, out_features is 1000`.
    """
    for attribute, parameter, dim in measures(type(module)):
        sizes = [_size(m, parameter, dim) for m in (module, dense)]
        said = [getattr(m, attribute, None) for m in (module, dense)]
        if sizes[0] is not None and sizes[1] == said[1] and sizes[0] != said[0]:
            yield f"{parameter}'s dim {dim} is {sizes[0]}, but {attribute} is {said[0]}"


def _size(module: nn.Module, parameter: str, dim: int) -> int | None:
    tensor = module._parameters.get(parameter, module._buffers.get(parameter))
    return tensor.shape[dim] if isinstance(tensor, Tensor) and tensor.dim() > dim else None
