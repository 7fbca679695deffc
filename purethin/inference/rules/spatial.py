"""Space: pooling, resizing, padding, windows, and operators that trade channels for space."""

from __future__ import annotations

from math import prod

from purethin.inference.rules.call import Call, Dims, rule
from purethin.inference.rules.laws import Mixed, Moved
from purethin.inference.solver import find, product, total, variable


@rule(
    *(
        f"{kind}_pool{d}d"
        for kind in ("max", "avg", "adaptive_avg", "adaptive_max")
        for d in (1, 2, 3)
    ),
    "fractional_max_pool2d",
    "fractional_max_pool3d",
    *(f"max_pool{d}d_with_indices" for d in (1, 2, 3)),
    *(f"_adaptive_avg_pool{d}d" for d in (2, 3)),
    *(
        f"upsample_{k}"
        for k in (
            "nearest1d",
            "nearest2d",
            "nearest3d",
            "linear1d",
            "bilinear2d",
            "trilinear3d",
            "bicubic2d",
        )
    ),
    *(
        f"_upsample_{kind}"
        for kind in (
            "nearest_exact1d",
            "nearest_exact2d",
            "nearest_exact3d",
            "bilinear2d_aa",
            "bicubic2d_aa",
        )
    ),
)
def pool(c: Call) -> Dims | tuple[Dims, ...]:
    """Batch and channels stay; space is fixed."""
    x = c.tensors[0]
    dims = c.dims(x)
    space = (
        int(next(ch for ch in c.name.replace("_aa", "")[::-1] if ch.isdecimal()))
        if "d" in c.name
        else 2
    )
    lead = len(dims) - space
    for d in dims[lead:]:
        c.freeze(d, "a window over it")
    c.law = Moved((x,))
    out = dims[:lead] + [c.fixed(s, "a spatial size") for s in c.shape[lead:]]
    return tuple(list(out) for _ in c.outs) if isinstance(c.out, tuple) else out


@rule("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def grid_sample(c: Call) -> Dims:
    """Batch and channels are x's; space is the grid's."""
    x, grid = c.tensors[:2]
    for d in (*c.dims(x)[2:], *c.dims(grid)):
        c.freeze(d, "a sampled spatial size")
    c.law = Moved((x,))
    return [*c.dims(x)[:2], *(c.fixed(s, "a sampled spatial size") for s in c.shape[2:])]


@rule(
    "pad",
    "constant_pad_nd",
    *(f"{m}_pad{d}d" for m in ("reflection", "replication") for d in (1, 2, 3)),
    "_pad_circular",
)
def pad(c: Call) -> Dims:
    """A padded dim is (before + dim + after); a cropped or reflected one is fixed."""
    x = c["self"]
    dims = c.dims(x)
    amounts = c.integers("pad" if c.get("pad") is not None else "padding")
    constant_mode = c.name == "constant_pad_nd" or (c.name == "pad" and c["mode"] == "constant")
    padded = []
    for i in range(len(amounts) // 2):
        d, before, after = len(dims) - 1 - i, amounts[2 * i], amounts[2 * i + 1]
        if int(before) == int(after) == 0:
            continue
        padded.append(d)
        if constant_mode and int(before) >= 0 and int(after) >= 0:
            dims[d] = total([c.sized(before, "padding"), dims[d], c.sized(after, "padding")])
        else:
            c.freeze(dims[d], "cropped or reflected padding")
            dims[d] = c.fixed(c.shape[d], "cropped or reflected padding")
    fill = float(c.get("value") or 0.0) if constant_mode else 0.0
    c.law = Moved((x,), fill=fill, filled=tuple(padded))
    return dims


@rule("im2col")
def im2col(c: Call) -> Dims:
    """Channels become (channels window); space is fixed."""
    x = c["self"]
    dims = c.dims(x)
    for d in dims[-2:]:
        c.freeze(d, "a window over it")
    c.law = Moved((x,))
    return [
        *dims[:-3],
        product([dims[-3], c.fixed(prod(c["kernel_size"]), "a window")]),
        c.fixed(c.shape[-1], "a spatial size"),
    ]


@rule("col2im")
def col2im(c: Call) -> Dims:
    """(channels window) become channels."""
    x = c["self"]
    dims = c.dims(x)
    channels = variable(c.shape[-3])
    c.unify(dims[-2], product([channels, c.fixed(prod(c["kernel_size"]), "a window")]))
    c.freeze(dims[-1], "a spatial size")
    c.law = Moved((x,))
    return [*dims[:-2], channels, *(c.fixed(s, "a spatial size") for s in c.shape[-2:])]


@rule("unfold")
def unfold(c: Call) -> Dims:
    """The dim is cut in windows: fixed; the window is a new last dim."""
    x = c["self"]
    dims, d = c.dims(x), c["dimension"] % c["self"].dim()
    c.freeze(dims[d], "windows over it")
    c.law = Moved((x,))
    return [
        *dims[:d],
        c.fixed(c.shape[d], "windows"),
        *dims[d + 1 :],
        c.fixed(c.shape[-1], "a window"),
    ]


@rule("pixel_shuffle")
def pixel_shuffle(c: Call) -> Dims:
    """(channels r r) become channels."""
    x = c["self"]
    dims, channels = c.dims(x), variable(c.shape[-3])
    c.unify(dims[-3], product([channels, c.fixed(c["upscale_factor"] ** 2, "the factor")]))
    c.law = Moved((x,))
    return [*dims[:-3], channels, *_space(c, dims)]


@rule("pixel_unshuffle")
def pixel_unshuffle(c: Call) -> Dims:
    """Channels become (channels r r)."""
    x = c["self"]
    dims = c.dims(x)
    c.law = Moved((x,))
    return [
        *dims[:-3],
        product([dims[-3], c.fixed(c["downscale_factor"] ** 2, "the factor")]),
        *_space(c, dims),
    ]


def _space(c: Call, dims: Dims) -> Dims:
    for d in dims[-2:]:
        c.freeze(d, "a spatial size")
    return [c.fixed(s, "a spatial size") for s in c.shape[-2:]]


@rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(c: Call) -> Dims:
    """(groups channels) becomes (channels groups)."""
    x = c["self"]
    dims = c.dims(x)
    groups, each = (
        c.sized(c.integer("groups"), "groups"),
        variable(find(dims[1]).size // int(c["groups"])),
    )
    c.unify(dims[1], product([groups, each]))
    c.law = Moved((x,))
    return [dims[0], product([each, groups]), *dims[2:]]


@rule(
    "fft_fft",
    "fft_ifft",
    "fft_rfft",
    "fft_irfft",
    "fft_fft2",
    "fft_ifft2",
    "fft_rfft2",
    "fft_irfft2",
    "fft_fftn",
    "fft_ifftn",
    "_fft_r2c",
    "_fft_c2r",
    "_fft_c2c",
)
def fft(c: Call) -> Dims:
    """The transformed dims are fixed, the others stay."""
    x = c["self"]
    dims = c.dims(x)
    over = c.get("dim")
    two = "fft2" in c.name
    over = (
        [over]
        if isinstance(over, int)
        else list(over)
        if over
        else [-2, -1]
        if two
        else list(range(len(dims)))
    )
    over = [d % len(dims) for d in over]
    for d in over:
        c.freeze(dims[d], "a Fourier transform over it")
    c.law = Mixed(tuple(over), "a Fourier transform", keeps_zero=True)
    return [
        c.fixed(s, "a Fourier transform") if d in over else dims[d] for d, s in enumerate(c.shape)
    ]
