"""Second moments in which each position counts as much as the norm that follows lets through.

A norm divides each position of a residual stream by its own spread. Where a few positions are
hundreds of times larger than the others (as the first tokens of transformers are), equal weights
would fit these alone. Invariant: what waits for its norm is dropped when the forward ends.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from purethin.measuring.grams import GramSums
from purethin.measuring.stats import Gram
from purethin.measuring.sums import widened
from purethin.records import Norm, Site

EPSILON = 1e-5
"""Added to each variance, as norms do."""


class WeightedSums:
    """What has been summed so far at the sites whose output goes into a norm."""

    def __init__(self, sites: list[Site]) -> None:
        self._sums = {site: GramSums(site) for site in sites if site.norm is not None}
        self._norms: dict[str, set[Norm]] = {}
        for site in self._sums:
            assert site.norm is not None
            self._norms.setdefault(site.norm.call, set()).add(site.norm)
        self._waiting: dict[Norm, list[tuple[Site, Tensor, Any]]] = {}

    @property
    def calls(self) -> set[str]:
        """The names of the norms."""
        return {*self._norms}

    def reads(self, site: Site, x: Tensor, call: Any) -> None:
        """What a call reads waits for its norm."""
        if site in self._sums and site.norm is not None:
            self._waiting.setdefault(site.norm, []).append((site, x, call))

    def norms(self, name: str, tensors: list[Tensor]) -> None:
        """A norm's data are here: what waits for it is summed, each position by 1/(variance + ε);
        left out where the norm does not see the same positions.
        """
        for norm in self._norms.get(name, ()):
            x = widened(tensors[norm.operand])
            spread = x.var(-1, correction=0) if norm.centred else x.square().mean(-1)
            weights = (1 / (spread + EPSILON)).flatten()
            for site, read, call in self._waiting.pop(norm, ()):
                if read.numel() // read.shape[site.at] == len(weights):
                    self._sums[site].add(read, call, weights)

    def ends(self) -> None:
        """The forward has ended."""
        self._waiting.clear()

    def gram(self, site: Site) -> Gram | None:
        """The sums as they stand."""
        return self._sums[site].gram() if site in self._sums else None
