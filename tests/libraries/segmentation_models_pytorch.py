"""segmentation-models-pytorch: decoders over encoders."""

from __future__ import annotations

from functools import partial
from typing import Any

from libraries import Lazy, Models, Row, row, x

smp = Lazy("segmentation_models_pytorch")


def over(kind: str, encoder: str = "resnet18", size: int = 64, **options: Any) -> Row:
    """A decoder over an encoder without trained weights."""
    model = getattr(smp, kind)(encoder_name=encoder, encoder_weights=None, classes=2, **options)
    return row(model, x(1, 3, size, size))


SMALL = {"encoder_depth": 3, "decoder_channels": (16, 12, 8)}
MODELS: Models = {
    "Unet": partial(over, "Unet", **SMALL),
    "Unet, mobilenet_v2": partial(over, "Unet", "mobilenet_v2", **SMALL),
    "Unet, timm-regnetx_002": partial(over, "Unet", "timm-regnetx_002", **SMALL),
    "Unet, mit_b0": partial(over, "Unet", "mit_b0"),
    "UnetPlusPlus": partial(over, "UnetPlusPlus", **SMALL),
    "MAnet": partial(over, "MAnet", decoder_pab_channels=8, **SMALL),
    "Linknet": partial(over, "Linknet", encoder_depth=3),
    "FPN": partial(over, "FPN", decoder_pyramid_channels=16, decoder_segmentation_channels=32),
    "PSPNet": partial(over, "PSPNet", psp_out_channels=16),
    "PAN": partial(over, "PAN", size=128, decoder_channels=8),
    "DeepLabV3": partial(over, "DeepLabV3", decoder_channels=16),
    "DeepLabV3Plus": partial(over, "DeepLabV3Plus", decoder_channels=16),
    "UPerNet": partial(over, "UPerNet", decoder_channels=16),
    "Segformer": partial(over, "Segformer", decoder_segmentation_channels=16),
}
