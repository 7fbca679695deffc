"""Pictures of a pruned network: widths, cost by layer, worth of a unit, training, sensitivity, and
what accuracy costs. They need matplotlib (extra `plot`); `dot` is text and needs nothing.

Each function returns a matplotlib Figure, to save (`.savefig`) or to show in a notebook; `ax=`
draws into axes of one's own instead.
"""

from purethin.plot.graph import dot as dot
from purethin.plot.networks import layers as layers
from purethin.plot.networks import widths as widths
from purethin.plot.networks import worth as worth
from purethin.plot.training import history as history
from purethin.plot.training import sensitivity as sensitivity
from purethin.plot.training import summary as summary
from purethin.plot.training import tradeoff as tradeoff
