"""Layers of which nothing is left.

Torch has no convolution, pooling or batch norm of no channels. A stand-in of the layer's own class
gives what it would: nothing, or, where its input alone is empty, its bias. It reads only the shape
of an empty input, so that for an exporter nothing leads to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import conv
from torch.utils._pytree import tree_map

from purethin.errors import SpecError


class _Linear(nn.Linear):
    """A linear layer of no inputs or no outputs."""

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.numel():
            return super().forward(input)
        return _constant(input, (*input.shape[:-1], self.weight.shape[0]), self.bias, 0)


class _Convolution(conv._ConvNd):
    """A convolution of no channels on one of its sides."""

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.numel():
            return super().forward(input)
        rank, pads = len(self.kernel_size), self._reversed_padding_repeated_twice
        spatial = [
            (n + sum(pads[2 * (rank - i) - 2 : 2 * (rank - i)]) - _reach(self, i)) // self.stride[i]
            for i, n in enumerate(input.shape[-rank:])
        ]
        shape = (*input.shape[: -rank - 1], self.weight.shape[0], *(n + 1 for n in spatial))
        return _constant(input, shape, self.bias, rank)


class _Transposed(conv._ConvTransposeNd):
    """A transposed convolution of no channels on one of its sides."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self.weight.numel():
            return super().forward(input, output_size)
        rank = len(self.kernel_size)
        sides: list[list[int]] = [[*map(int, p)] for p in (self.stride, self.padding)]
        sides += [[*self.kernel_size], [*self.dilation]]
        stride, padding, kernel, dilation = sides
        more = self._output_padding(input, output_size, stride, padding, kernel, rank, dilation)
        spatial = [
            (n - 1) * stride[i] - 2 * padding[i] + _reach(self, i) + more[i]
            for i, n in enumerate(input.shape[-rank:])
        ]
        channels = self.weight.shape[1] * self.groups
        shape = (*input.shape[: -rank - 1], channels, *spatial)
        return _constant(input, shape, self.bias, rank)


class _Normed(nn.Module):
    """A norm of each channel, of no channels."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if input.shape[_channels(self, input)] else input


class _Resized(nn.Module):
    """What resizes each channel, of no channels: one is resized, to know the sizes."""

    def forward(self, input: Tensor) -> Any:
        at = _channels(self, input)
        if input.shape[at]:
            return super().forward(input)
        one = input.new_zeros([1 if d == at else n for d, n in enumerate(input.shape)])
        return tree_map(lambda t: t.narrow(at, 0, 0), super().forward(one))


class Same(nn.Module):
    """A module of anyone's that returns what it takes, changed in its values alone: nothing."""

    def forward(self, input: Tensor) -> Tensor:
        if input.numel():
            raise RuntimeError(f"{Same.__module__}.Same stands in where nothing is left, not here")
        return input


def _reach(layer: conv._ConvNd, dim: int) -> int:
    """How many entries a kernel spans along a dim."""
    return layer.dilation[dim] * (layer.kernel_size[dim] - 1) + 1


def _channels(layer: nn.Module, input: Tensor) -> int:
    """The dim of the channels; 2d layers may be given images without a batch."""
    rank = type(layer).__name__[-2:].removesuffix("d")
    pooled = rank.isdecimal() and not isinstance(layer, nn.modules.batchnorm._NormBase)
    return input.dim() - 1 - int(rank) if pooled else 1


def _constant(input: Tensor, shape: Sequence[int], bias: Tensor | None, rank: int) -> Tensor:
    """What a layer gives for an input of nothing."""
    out = input.new_zeros(shape)
    return out if bias is None or not bias.numel() else out + bias.view(-1, *[1] * rank)


_NAMES: dict[type[nn.Module], str] = {
    _Linear: "Linear",
    _Convolution: "Conv1d Conv2d Conv3d",
    _Transposed: "ConvTranspose1d ConvTranspose2d ConvTranspose3d",
    _Normed: "BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm "
    "InstanceNorm1d InstanceNorm2d InstanceNorm3d",
    _Resized: "MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d "
    "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d "
    "AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d LPPool1d LPPool2d LPPool3d "
    "ReflectionPad1d ReflectionPad2d ReflectionPad3d "
    "ReplicationPad1d ReplicationPad2d ReplicationPad3d "
    "Upsample UpsamplingBilinear2d UpsamplingNearest2d",
}
STAND_INS: dict[type[nn.Module], type[nn.Module]] = {
    (own := getattr(nn, name)): type(name, (form, own), {"__module__": __name__})
    for form, names in _NAMES.items()
    for name in names.split()
}
"""`{torch's class: what stands in for it}`."""
SAME = f"{__name__}.Same"
globals().update({made.__name__: made for made in STAND_INS.values()})  # as pickle finds a class


def class_for(module: nn.Module) -> str | None:
    """The name of the class that stands in for a layer of torch's own class; None for others.

    >>> class_for(nn.Conv2d(3, 4, 1)), class_for(nn.ReLU())
    ('purethin.empty.Conv2d', None)
    """
    own = next((c for c in type(module).__mro__[:3] if c in STAND_INS), None)
    if own is None or type(module) not in (own, STAND_INS[own]):
        return None
    return f"{__name__}.{own.__name__}"


def let_stand_in(modules: Mapping[str, nn.Module], classes: Mapping[str, str]) -> None:
    """Give layers of a copied model, by path, the classes that a config names.

    Raises:
        SpecError: a layer is of another class than the one that it names stands in for.
    """
    for path, name in classes.items():
        if not name.startswith(f"{__name__}."):
            continue
        module = modules[path]
        if name == SAME:
            module.__class__ = Same
            continue
        if class_for(module) != name:
            kind = type(module)
            raise SpecError(
                f"the config lets {name} stand in for '{path}', which is a "
                f"{kind.__module__}.{kind.__name__}: give the model that the parameters were "
                "thinned from"
            )
        own = next(c for c in type(module).__mro__ if c in STAND_INS)
        module.__class__ = STAND_INS[own]
