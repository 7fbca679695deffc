"""spandrel: restoration and super-resolution of images."""

from __future__ import annotations

from functools import partial
from typing import Any

from libraries import Call, Lazy, Models, Row, row, x

HOME = "spandrel.architectures."


def net(path: str, size: int = 16, **options: Any) -> Row:
    """The class at `architecture.file.Class`, and an image."""
    where, _, kind = path.rpartition(".")
    architecture, _, file = where.partition(".")
    module = Lazy(f"{HOME}{architecture}.__arch.{file}")
    return row(getattr(module, kind)(**options), x(1, 3, size, size, low=0.0))


WINDOWS: dict[str, Any] = {"img_size": 16, "embed_dim": 12, "depths": (2,), "num_heads": (2,)}

MODELS: Models = {
    "ATD": partial(
        net,
        "ATD.atd_arch.ATD",
        **WINDOWS,
        window_size=4,
        category_size=16,
        num_tokens=6,
        reducted_dim=4,
        upscale=2,
        upsampler="pixelshuffledirect",
    ),
    "RGT": partial(
        net,
        "RGT.rgt.RGT",
        32,
        img_size=32,
        embed_dim=32,
        depth=[2],
        num_heads=[2],
        mlp_ratio=2.0,
        split_size=[4, 4],
    ),
    "GFPGANv1Clean": lambda: row(
        Call(
            Lazy(f"{HOME}GFPGAN.__arch.gfpganv1_clean_arch").GFPGANv1Clean(
                out_size=32,
                num_style_feat=16,
                channel_multiplier=0.125,
                narrow=0.25,
                input_is_latent=True,
                different_w=True,
                num_mlp=2,
            ),
            "forward",
            lambda y: y[0],
        ),
        x(1, 3, 32, 32),
        randomize_noise=False,
        return_rgb=False,
    ),
    "Swin2SR": partial(net, "Swin2SR.Swin2SR.Swin2SR", **WINDOWS, window_size=4),
    "Swin2SR, pixel shuffle": partial(
        net, "Swin2SR.Swin2SR.Swin2SR", **WINDOWS, window_size=4, upsampler="pixelshuffledirect"
    ),
    "SPAN": partial(net, "SPAN.span.SPAN", num_in_ch=3, num_out_ch=3, feature_channels=12),
    "SeemoRe": partial(
        net,
        "SeemoRe.seemore_arch.SeemoRe",
        scale=2,
        num_experts=3,
        num_layers=1,
        embedding_dim=12,
    ),
    "DRCT": partial(
        net,
        "DRCT.drct_arch.DRCT",
        **WINDOWS,
        window_size=4,
        gc=6,
        upscale=2,
        upsampler="pixelshuffle",
    ),
    "SwinIR": partial(
        net,
        "SwinIR.SwinIR.SwinIR",
        **WINDOWS,
        window_size=4,
        upscale=2,
        upsampler="pixelshuffledirect",
    ),
    "HAT": partial(
        net,
        "HAT.HAT.HAT",
        **WINDOWS,
        window_size=4,
        compress_ratio=3,
        squeeze_factor=3,
        num_feat=8,
        upscale=2,
    ),
    "RRDBNet": partial(net, "ESRGAN.RRDB.RRDBNet", num_filters=8, num_blocks=1, scale=2),
    "SRVGGNetCompact": partial(net, "Compact.SRVGG.SRVGGNetCompact", num_feat=8, num_conv=2),
    "NAFNet": partial(
        net, "NAFNet.NAFNet_arch.NAFNet", width=8, enc_blk_nums=[1], dec_blk_nums=[1]
    ),
    "OmniSR": partial(net, "OmniSR.OmniSR.OmniSR", num_feat=16, up_scale=2),
    "PLKSR": partial(net, "PLKSR.PLKSR.PLKSR", dim=16, n_blocks=2, kernel_size=5),
    "SAFMN": partial(net, "SAFMN.safmn.SAFMN", 32, dim=12, n_blocks=1),
    "KBNet_s": partial(
        net,
        "KBNet.kbnet_s.KBNet_s",
        width=8,
        middle_blk_num=1,
        enc_blk_nums=[1],
        dec_blk_nums=[1],
    ),
    "MoSR": partial(net, "MoSR.mosr_arch.MoSR", n_block=1, dim=16),
}
