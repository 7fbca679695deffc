"""diffusers: UNets, transformers, autoencoders and control networks of diffusion."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from libraries import Lazy, Models, Row, row, x

lib = Lazy("diffusers")
flat = {"return_dict": False}
WIDTHS = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
TEXT = {**WIDTHS, "cross_attention_dim": 6, "attention_head_dim": 4, "sample_size": 8}
BLOCKS = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
PLAIN = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
VAE = {
    **WIDTHS,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
}
HEADS = {"num_attention_heads": 4, "attention_head_dim": 8}
TIME = torch.tensor([3.0])
WAN: dict[str, Any] = {
    "base_dim": 8,
    "z_dim": 4,
    "dim_mult": [1, 2],
    "num_res_blocks": 1,
    "temperal_downsample": [True],
    "latents_mean": [0.0] * 4,
    "latents_std": [1.0] * 4,
}


def unet(kind: str = "UNet2DModel", *args: Any, **options: Any) -> Row:
    """A UNet of images and a time step."""
    model = getattr(lib, kind)(**{"sample_size": 8, **WIDTHS, "attention_head_dim": 4, **options})
    return row(model, x(1, 3, 16, 16), TIME, *args, **flat)


def conditioned(kind: str = "UNet2DConditionModel", *args: Any, **options: Any) -> Row:
    """A UNet of latents, a time step and text."""
    model = getattr(lib, kind)(**{**TEXT, **BLOCKS, **options})
    return row(model, x(1, 4, 8, 8), TIME, x(1, 3, 6), *args, **flat)


def image(kind: str, *shape: int, **options: Any) -> Row:
    """An autoencoder and an image, a volume or a sound."""
    return row(getattr(lib, kind)(**options), x(*(shape or (1, 3, 16, 16))), **flat)


def text(kind: str, shape: tuple[int, ...], words: int, options: Any, /, **inputs: Any) -> Row:
    """A transformer over latents and text."""
    return row(
        getattr(lib, kind)(**options),
        hidden_states=x(*shape),
        encoder_hidden_states=x(1, 3, words),
        **{"timestep": TIME, **inputs},
        **flat,
    )


FLUX: dict[str, Any] = {
    "in_channels": 8,
    "num_layers": 1,
    "num_single_layers": 1,
    "joint_attention_dim": 6,
    "axes_dims_rope": (2, 2, 4),
    **HEADS,
}
PLACES = {"img_ids": x(4, 3, low=0.0), "txt_ids": x(3, 3, low=0.0)}
SEEN = torch.ones(1, 3)

MODELS: Models = {
    "UNet2DModel": partial(unet, **PLAIN),
    "UNet2DModel, attention": partial(
        unet,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ),
    "UNet2DModel, three widths": partial(
        unet,
        block_out_channels=(8, 16, 24),
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
    ),
    "UNet2DModel, FIR skips": partial(
        unet,
        down_block_types=("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        up_block_types=("AttnSkipUpBlock2D", "SkipUpBlock2D"),
        block_out_channels=(32, 64),
    ),
    "UNet2DModel, resnets": partial(
        unet,
        down_block_types=("ResnetDownsampleBlock2D",) * 2,
        up_block_types=("ResnetUpsampleBlock2D",) * 2,
        resnet_time_scale_shift="scale_shift",
    ),
    "UNet2DModel, simple cross": partial(
        conditioned,
        down_block_types=("SimpleCrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "SimpleCrossAttnUpBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
    ),
    "UNet2DConditionModel": conditioned,
    "UNet2DConditionModel, linear": partial(
        conditioned, use_linear_projection=True, transformer_layers_per_block=2
    ),
    "UNet2DConditionModel, half widths": partial(
        conditioned, block_out_channels=(16, 24), attention_head_dim=8
    ),
    "UNet1DModel": lambda: row(
        lib.UNet1DModel(
            sample_size=32,
            block_out_channels=(32, 32),
            in_channels=2,
            extra_in_channels=64,
            down_block_types=("DownBlock1DNoSkip", "AttnDownBlock1D"),
            up_block_types=("AttnUpBlock1D", "UpBlock1DNoSkip"),
        ),
        x(1, 2, 32),
        TIME,
        **flat,
    ),
    "UNet3DConditionModel": lambda: row(
        lib.UNet3DConditionModel(
            **TEXT,
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        ),
        x(1, 4, 2, 8, 8),
        TIME,
        x(1, 3, 6),
        **flat,
    ),
    "UNetSpatioTemporalConditionModel": lambda: row(
        lib.UNetSpatioTemporalConditionModel(
            in_channels=4,
            block_out_channels=(32, 64),
            layers_per_block=1,
            cross_attention_dim=6,
            num_attention_heads=(2, 4),
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24,
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        ),
        x(1, 2, 4, 8, 8),
        TIME,
        x(1, 3, 6),
        x(1, 3),
        **flat,
    ),
    "ControlNetModel": lambda: row(
        lib.ControlNetModel(
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=6,
            attention_head_dim=4,
            down_block_types=BLOCKS["down_block_types"],
            conditioning_embedding_out_channels=(8, 12),
        ),
        x(1, 4, 8, 8),
        TIME,
        x(1, 3, 6),
        x(1, 3, 16, 16),
        **flat,
    ),
    "AsymmetricAutoencoderKL": lambda: row(
        lib.AsymmetricAutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            down_block_out_channels=(8, 16),
            up_block_types=("UpDecoderBlock2D",) * 2,
            up_block_out_channels=(8, 16),
            norm_num_groups=4,
        ),
        x(1, 3, 16, 16),
        x(1, 1, 16, 16, low=0.0),
        **flat,
    ),
    "AutoencoderDC": partial(
        image,
        "AutoencoderDC",
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 16),
        decoder_block_out_channels=(8, 16),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
    ),
    "AutoencoderKLCogVideoX": partial(
        image,
        "AutoencoderKLCogVideoX",
        1,
        3,
        1,
        16,
        16,
        down_block_types=("CogVideoXDownBlock3D",) * 2,
        up_block_types=("CogVideoXUpBlock3D",) * 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        temporal_compression_ratio=4,
    ),
    "AutoencoderKLWan": partial(image, "AutoencoderKLWan", 1, 3, 1, 16, 16, **WAN),
    "AutoencoderKLMochi": partial(
        image,
        "AutoencoderKLMochi",
        1,
        3,
        7,
        16,
        16,
        in_channels=15,
        encoder_block_out_channels=(32, 32),
        decoder_block_out_channels=(32, 32),
        latent_channels=4,
        layers_per_block=(1, 1, 1),
        temporal_expansions=(2,),
        spatial_expansions=(2,),
        add_attention_block=(False, True, True),
        latents_mean=(0.0,) * 4,
        latents_std=(1.0,) * 4,
    ),
    "AutoencoderOobleck": partial(
        image,
        "AutoencoderOobleck",
        1,
        2,
        64,
        encoder_hidden_size=8,
        downsampling_ratios=[2, 2],
        channel_multiples=[1, 2],
        decoder_channels=8,
        decoder_input_channels=4,
    ),
    "DiTTransformer2DModel": lambda: row(
        lib.DiTTransformer2DModel(**HEADS, num_layers=2, sample_size=8, num_embeds_ada_norm=10),
        x(1, 4, 8, 8),
        torch.tensor([3]),
        torch.tensor([1]),
        **flat,
    ),
    "SD3Transformer2DModel": partial(
        text,
        "SD3Transformer2DModel",
        (1, 4, 8, 8),
        6,
        {
            **HEADS,
            "sample_size": 8,
            "in_channels": 4,
            "num_layers": 2,
            "joint_attention_dim": 6,
            "caption_projection_dim": 32,
            "pooled_projection_dim": 5,
            "out_channels": 4,
            "pos_embed_max_size": 8,
        },
        pooled_projections=x(1, 5),
    ),
    "SD3Transformer2DModel, dual": partial(
        text,
        "SD3Transformer2DModel",
        (1, 4, 8, 8),
        6,
        {
            **HEADS,
            "sample_size": 8,
            "in_channels": 4,
            "num_layers": 2,
            "joint_attention_dim": 6,
            "caption_projection_dim": 32,
            "pooled_projection_dim": 5,
            "out_channels": 4,
            "pos_embed_max_size": 8,
            "dual_attention_layers": (0,),
            "qk_norm": "rms_norm",
        },
        pooled_projections=x(1, 5),
    ),
    "FluxTransformer2DModel": partial(
        text,
        "FluxTransformer2DModel",
        (1, 4, 8),
        6,
        {**FLUX, "pooled_projection_dim": 5},
        pooled_projections=x(1, 5),
        **PLACES,
    ),
    "ChromaTransformer2DModel": partial(
        text,
        "ChromaTransformer2DModel",
        (1, 4, 8),
        6,
        {
            **FLUX,
            "approximator_num_channels": 8,
            "approximator_hidden_dim": 12,
            "approximator_layers": 1,
        },
        **PLACES,
    ),
    "LuminaNextDiT2DModel": lambda: row(
        lib.LuminaNextDiT2DModel(
            sample_size=8,
            in_channels=4,
            hidden_size=32,
            num_layers=1,
            num_attention_heads=4,
            num_kv_heads=2,
            multiple_of=8,
            cross_attention_dim=6,
        ),
        x(1, 4, 8, 8),
        TIME,
        x(1, 3, 6),
        SEEN,
        x(16, 16, 4, low=0.0).to(torch.float64),
        cross_attention_kwargs={},
        **flat,
    ),
    "Lumina2Transformer2DModel": partial(
        text,
        "Lumina2Transformer2DModel",
        (1, 4, 8, 8),
        6,
        {
            "sample_size": 8,
            "in_channels": 4,
            "hidden_size": 32,
            "num_layers": 1,
            "num_refiner_layers": 1,
            "num_attention_heads": 4,
            "num_kv_heads": 2,
            "multiple_of": 8,
            "axes_dim_rope": (4, 2, 2),
            "axes_lens": (16, 16, 16),
            "cap_feat_dim": 6,
        },
        encoder_attention_mask=SEEN.bool(),
    ),
    "StableAudioDiTModel": lambda: row(
        lib.StableAudioDiTModel(
            sample_size=8,
            in_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            num_key_value_attention_heads=2,
            out_channels=4,
            cross_attention_dim=16,
            time_proj_dim=6,
            global_states_input_dim=5,
            cross_attention_input_dim=6,
        ),
        x(1, 4, 8),
        TIME,
        x(1, 3, 6),
        x(1, 1, 5),
        (x(9, 4), x(9, 4)),
        **flat,
    ),
}
SINGLE = {"AutoencoderTiny": "autoencoder_tiny.py divides bytes by 255, which gives float32"}
