"""One file a family of operators; each rule is the law of one operator about its dimensions.
`RULES` has them all.
"""

from purethin.inference.rules import (  # noqa: F401  (importing a family registers it)
    attention,
    contraction,
    factory,
    indexing,
    joining,
    normalisation,
    pointwise,
    recurrent,
    reduction,
    shape,
    slicing,
    spatial,
    vision,
)
from purethin.inference.rules.call import RULES, Call, rule

__all__ = ["RULES", "Call", "rule"]
