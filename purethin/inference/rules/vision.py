"""torchvision's own operators: boxes that are kept or dropped, regions that are cut out of a
map.
"""

from __future__ import annotations

from purethin.inference.rules.call import Call, Dims, rule
from purethin.inference.rules.laws import Opaque, moved


@rule("torchvision::nms", law=Opaque("which boxes are kept"))
def nms(c: Call) -> Dims | tuple[Dims, ...]:
    """Which boxes stay depends on the data: everything is fixed."""
    return c.all_fixed("which boxes are kept depends on the data", "the boxes that are kept")


@rule("torchvision::roi_align torchvision::roi_pool", law=moved)
def regions(c: Call) -> Dims | tuple[Dims, ...]:
    """out = regions, then x's channels, then the regions' grid: each place is interpolated from its
    own channel.
    """
    _, channels, *space = c.dims()
    c.freeze("a region's place in it", *space, *c.dims(c.tensors[1]))
    grid = [c.fixed(s, "a region's grid") for s in c.shape[2:]]
    first = [c.fixed(c.shape[0], "regions"), channels, *grid]
    return (first, list(first)) if c.several else first
