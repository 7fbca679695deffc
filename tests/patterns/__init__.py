"""The pattern table: tiny networks, each with what must be said of its axes. `PATTERNS` has them
all; data only.
"""

from . import (  # noqa: F401  (importing a family registers it)
    attention,
    attention_biases,
    attention_counts,
    attention_grouped,
    attention_kinds,
    attention_scores,
    attributes,
    bare,
    behaviour,
    chains,
    convolution,
    experts,
    feed_forward,
    flattening,
    gating,
    inplace,
    interfaces,
    joining,
    multihead,
    normalisation,
    ordering,
    pointwise,
    products,
    recurrent,
    reduction,
    reshaping,
    rotary,
    sharing,
    sizes,
    slicing,
    surveyed,
    torch_transformers,
    transformers,
    weight_norm,
)
from .pattern import PATTERNS, Pattern, owned

__all__ = ["PATTERNS", "Pattern", "owned"]
