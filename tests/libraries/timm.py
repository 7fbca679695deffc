"""timm's other uses: other attention layers, features, heads and widths."""

from __future__ import annotations

from functools import partial
from typing import Any

from libraries import Call, Lazy, Models, Row, row, x

timm = Lazy("timm")


def net(name: str, size: int = 64, **options: Any) -> Row:
    """A network of few classes."""
    return row(timm.create_model(name, num_classes=5, **options), x(1, 3, size, size))


def attended(layer: str) -> Row:
    """A small ResNet with this channel attention."""
    return net("resnet10t", block_args={"attn_layer": layer})


MODELS: Models = {
    f"resnet10t, {layer}": partial(attended, layer)
    for layer in ("eca", "ecam", "se", "ese", "cbam", "lcbam", "gc", "gca", "sk")
}
MODELS |= {
    "resnet10t, features": lambda: row(
        timm.create_model("resnet10t", features_only=True, out_indices=(4,)), x(1, 3, 64, 64)
    ),
    "test_vit, no class token": partial(net, "test_vit", 160, class_token=False, global_pool="avg"),
    "test_vit, intermediates": lambda: row(
        Call(timm.create_model("test_vit", num_classes=5), "forward_intermediates", lambda y: y[0]),
        x(1, 3, 160, 160),
    ),
    "test_vit, dynamic size": partial(net, "test_vit", 96, dynamic_img_size=True, img_size=160),
    "test_vit, QK norm": partial(net, "test_vit", 160, qk_norm=True),
    "test_vit, attention pool": partial(net, "test_vit", 160, global_pool="map"),
    "test_vit, registers": partial(net, "test_vit", 160, reg_tokens=2),
    "test_resnet, stochastic depth": partial(net, "test_resnet", drop_path_rate=0.2),
    "test_resnet, output stride": partial(net, "test_resnet", output_stride=8),
}
