"""Space: pooling, resizing, padding, windows, and operators that trade channels for space."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod

from purethin.inference.nodes import Node, find, product, total, variable
from purethin.inference.rules.call import Call, Dims, dim_list, rule
from purethin.inference.rules.laws import Mixed, Moved, moved
from purethin.inference.sizes import Size

POOLS = ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool")


def _space(c: Call, dims: Dims) -> Dims:
    """The last two dims of the output; those of the input are fixed."""
    c.freeze("a spatial size", *dims[-2:])
    return [c.fixed(s, "a spatial size") for s in c.shape[-2:]]


@rule(
    *(f"{kind}{d}d" for kind in POOLS for d in (1, 2, 3)),
    "fractional_max_pool2d fractional_max_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d",
    "max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices",
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d",
    "upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d _upsample_nearest_exact1d",
    "_upsample_nearest_exact2d _upsample_nearest_exact3d",
    "_upsample_bilinear2d_aa _upsample_bicubic2d_aa",
    law=moved,
)
def pool(c: Call) -> Dims | tuple[Dims, ...]:
    """Batch and channels stay; space is fixed."""
    dims = c.dims()
    lead = len(dims) - int(re.findall(r"\d", c.name)[-1])
    c.freeze("a window over it", *dims[lead:])
    out = dims[:lead] + [c.fixed(s, "a spatial size") for s in c.shape[lead:]]
    return tuple(list(out) for _ in c.outs) if c.several else out


@rule("grid_sampler grid_sampler_2d grid_sampler_3d", law=moved)
def grid_sample(c: Call) -> Dims:
    """Batch and channels are x's; space is the grid's."""
    dims = c.dims()
    c.freeze("a sampled spatial size", *dims[2:], *c.dims(c.tensors[1]))
    return [*dims[:2], *(c.fixed(s, "a sampled spatial size") for s in c.shape[2:])]


def padded(c: Call) -> Moved:
    """x's entries, and a fill along the padded dims."""
    fill = float(c.get("value") or 0.0) if _is_constant(c) else 0.0
    literal = [d for d, *amounts in _paddings(c) if not any(isinstance(n, Size) for n in amounts)]
    return Moved((c["self"],), fill=fill, filled=tuple(literal))


def _is_constant(c: Call) -> bool:
    return c.name == "constant_pad_nd" or (c.name == "pad" and c["mode"] == "constant")


def _paddings(c: Call) -> Iterator[tuple[int, int, int]]:
    """The padded dims, each with what comes before and after it."""
    amounts = c.integers("pad" if c.get("pad") is not None else "padding")
    for i, (before, after) in enumerate(zip(amounts[::2], amounts[1::2], strict=True)):
        if int(before) or int(after):
            yield c["self"].dim() - 1 - i, before, after


@rule(
    "pad constant_pad_nd _pad_circular reflection_pad1d reflection_pad2d reflection_pad3d",
    "replication_pad1d replication_pad2d replication_pad3d",
    law=padded,
)
def pad(c: Call) -> Dims:
    """A padded dim is (before + dim + after); a cropped or reflected one is fixed."""
    dims = c.dims()
    for d, before, after in _paddings(c):
        if _is_constant(c) and int(before) >= 0 and int(after) >= 0:
            dims[d] = total([c.sized(before, "padding"), dims[d], c.sized(after, "padding")])
        else:
            c.freeze("cropped or reflected padding", dims[d])
            dims[d] = c.fixed(c.shape[d], "cropped or reflected padding")
    return dims


def _window(c: Call) -> Node:
    return c.fixed(prod(c["kernel_size"]), "a window")


@rule("im2col", law=moved)
def im2col(c: Call) -> Dims:
    """Channels become (channels window); space is fixed."""
    dims = c.dims()
    c.freeze("a window over it", *dims[-2:])
    channels = product([dims[-3], _window(c)])
    return [*dims[:-3], channels, c.fixed(c.shape[-1], "a spatial size")]


@rule("col2im", law=moved)
def col2im(c: Call) -> Dims:
    """(channels window) become channels."""
    dims, channels = c.dims(), variable(c.shape[-3])
    c.unify(dims[-2], product([channels, _window(c)]))
    c.freeze("a spatial size", dims[-1])
    return [*dims[:-2], channels, *(c.fixed(s, "a spatial size") for s in c.shape[-2:])]


@rule("unfold", law=moved)
def unfold(c: Call) -> Dims:
    """The dim is cut in windows: fixed; the window is a new last dim."""
    dims, d = c.dims(), c.dim("dimension")
    c.freeze("windows over it", dims[d])
    dims[d] = c.fixed(c.shape[d], "windows")
    return [*dims, c.fixed(c.shape[-1], "a window")]


@rule("pixel_shuffle", law=moved)
def pixel_shuffle(c: Call) -> Dims:
    """(channels r r) become channels."""
    dims, channels = c.dims(), variable(c.shape[-3])
    c.unify(dims[-3], product([channels, c.fixed(c["upscale_factor"] ** 2, "the factor")]))
    return [*dims[:-3], channels, *_space(c, dims)]


@rule("pixel_unshuffle", law=moved)
def pixel_unshuffle(c: Call) -> Dims:
    """Channels become (channels r r)."""
    dims = c.dims()
    channels = product([dims[-3], c.fixed(c["downscale_factor"] ** 2, "the factor")])
    return [*dims[:-3], channels, *_space(c, dims)]


@rule("channel_shuffle native_channel_shuffle", law=moved)
def channel_shuffle(c: Call) -> Dims:
    """(groups channels) becomes (channels groups)."""
    dims = c.dims()
    groups = c.sized(c.integer("groups"), "groups")
    each = variable(find(dims[1]).size // int(c["groups"]))
    c.unify(dims[1], product([groups, each]))
    return [dims[0], product([each, groups]), *dims[2:]]


def _transformed(c: Call) -> list[int]:
    """The dims of a Fourier transform: those given, the last two, or all."""
    over = c.get("dim")
    default = [-2, -1] if "fft2" in c.name else None
    return dim_list(over if isinstance(over, int) or over else default, c["self"].dim())


@rule(
    "fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn",
    "fft_ifftn _fft_r2c _fft_c2r _fft_c2c",
    law=lambda c: Mixed(tuple(_transformed(c)), "a Fourier transform", keeps_zero=True),
)
def fft(c: Call) -> Dims:
    """The transformed dims are fixed, the others stay."""
    dims = c.dims()
    for d in _transformed(c):
        c.freeze("a Fourier transform over it", dims[d])
        dims[d] = c.fixed(c.shape[d], "a Fourier transform")
    return dims
