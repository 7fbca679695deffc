"""The pattern table: tiny networks, each with what must be said of its axes. `PATTERNS` has them all; data only."""

from . import (  # noqa: F401  (importing a family registers it)
    attributes,
    bare,
    behaviour,
    chains,
    convolution,
    flattening,
    gating,
    inplace,
    interfaces,
    joining,
    normalisation,
    ordering,
    pointwise,
    products,
    recurrent,
    reduction,
    reshaping,
    sharing,
    sizes,
    slicing,
)
from .pattern import PATTERNS, Pattern, owned

__all__ = ["PATTERNS", "Pattern", "owned"]
