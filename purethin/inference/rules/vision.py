"""torchvision's own operators: boxes that are kept or dropped, regions that are cut out of a
map.
"""

from __future__ import annotations

from purethin.inference.rules.call import Call, Dims, rule
from purethin.inference.rules.laws import Moved, Opaque


@rule("torchvision::nms", law=Opaque("which boxes are kept"))
def nms(c: Call) -> Dims:
    """Which boxes stay depends on the data: everything is fixed."""
    for t in c.tensors:
        for d in c.dims(t):
            c.freeze(d, "which boxes are kept depends on the data")
    return [c.fixed(s, "the boxes that are kept") for s in c.shape]


@rule("torchvision::roi_align", "torchvision::roi_pool")
def regions(c: Call) -> Dims | tuple[Dims, ...]:
    """out = regions, then x's channels, then the regions' grid: each place is interpolated from its
    own channel.
    """
    x, boxes = c.tensors[:2]
    _, channels, *space = c.dims(x)
    for d in (*space, *c.dims(boxes)):
        c.freeze(d, "a region's place in it")
    c.law = Moved((x,))
    first = [
        c.fixed(c.shape[0], "regions"),
        channels,
        *(c.fixed(s, "a region's grid") for s in c.shape[2:]),
    ]
    return (first, list(first)) if isinstance(c.out, tuple | list) else first
