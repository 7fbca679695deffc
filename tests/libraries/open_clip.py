"""OpenCLIP: towers of images and text."""

from __future__ import annotations

from functools import partial
from typing import Any

from libraries import Lazy, Models, Row, ids, row, x

lib = Lazy("open_clip.model")
towers = Lazy("open_clip.transformer")
VISION: dict[str, Any] = {
    "image_size": 16,
    "layers": 2,
    "width": 32,
    "head_width": 8,
    "patch_size": 8,
}
TEXT: dict[str, Any] = {
    "context_length": 5,
    "vocab_size": 20,
    "width": 24,
    "heads": 4,
    "layers": 1,
}


def clip(vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None) -> Row:
    """Both towers."""
    model = lib.CLIP(12, {**VISION, **(vision or {})}, {**TEXT, **(text or {})})
    return row(model, x(2, 3, 16, 16), ids(2, 5))


MODELS: Models = {
    "CLIP": clip,
    "CLIP, quick GELU": lambda: row(
        lib.CLIP(12, VISION, TEXT, quick_gelu=True), x(2, 3, 16, 16), ids(2, 5)
    ),
    "CLIP, attentional pool": partial(
        clip, {"attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 4}
    ),
    "CLIP, patch dropout": partial(clip, {"patch_dropout": 0.5}),
    "CLIP, layer scale": partial(clip, {"ls_init_value": 0.1}, {"ls_init_value": 0.1}),
    "CLIP, average pool": partial(clip, {"pool_type": "avg", "final_ln_after_pool": True}),
    "CLIP, pooled text": partial(clip, None, {"pool_type": "last", "embed_cls": False}),
    "CLIP, ResNet": lambda: row(
        lib.CLIP(12, {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}, TEXT),
        x(2, 3, 32, 32),
        ids(2, 5),
    ),
    "CustomTextCLIP": lambda: row(lib.CustomTextCLIP(12, VISION, TEXT), x(2, 3, 16, 16), ids(2, 5)),
    "VisionTransformer": lambda: row(
        towers.VisionTransformer(16, 8, 32, 2, 4, 2.0, output_dim=12), x(2, 3, 16, 16)
    ),
    "TextTransformer": lambda: row(
        towers.TextTransformer(5, 20, 24, 4, 2, output_dim=12), ids(2, 5)
    ),
}
MODELS["CLIP, timm"] = lambda: row(
    lib.CLIP(
        12,
        {
            "timm_model_name": "test_vit",
            "timm_proj": "linear",
            "timm_pool": "token",
            "image_size": 160,
        },
        TEXT,
    ),
    x(1, 3, 160, 160),
    ids(1, 5),
)
