"""Which rows run with the surveys of each commit, and which do not hold yet."""

from __future__ import annotations

HANDFUL = {
    "diffusers/AutoencoderKLWan",
    "diffusers/UNet2DModel",
    "diffusers/SD3Transformer2DModel",
    "monai/UNet",
    "timm/resnet10t, eca",
}
"""The rows of `pytest -m survey`; the others are `nightly`."""
KNOWN: dict[str, tuple[type[BaseException], str, str]] = {}
"""`{row: (the error, a pattern of its message, why)}`: a row that holds must leave this table."""
