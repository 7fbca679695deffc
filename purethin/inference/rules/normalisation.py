"""Normalisation: statistics over some dims (inexact over those), then a scale and a shift."""

from __future__ import annotations

from purethin.inference.nodes import find, product, variable
from purethin.inference.rules.call import Call, Dims, rule
from purethin.inference.rules.laws import Normalised, WeightNormed


def with_statistics(c: Call, dims: Dims) -> Dims | tuple[Dims, ...]:
    """The output's dims; where the operator hands out its statistics too, everything is fixed."""
    if not isinstance(c.out, tuple):
        return dims
    c.freeze("statistics handed out", *dims)
    return (dims, *([c.fixed(s, "statistics") for s in o.shape] for o in c.outs[1:]))


def batch_statistics(c: Call) -> Normalised:
    """Over batch and space, or over space alone; a trained norm takes its running statistics."""
    per_sample = c.name == "instance_norm"
    batch = c["running_mean"] is None or bool(c.get("use_input_stats", c.get("training", False)))
    over = range(2, c["input"].dim()) if per_sample else (0, *range(2, c["input"].dim()))
    what = f"the statistics of {'an instance norm' if per_sample else 'a batch'}"
    return Normalised(tuple(over) if batch else (), what, c["weight"], c["bias"], 1)


@rule(
    "batch_norm native_batch_norm _native_batch_norm_legit_no_training instance_norm",
    law=batch_statistics,
)
def batch_norm(c: Call) -> Dims | tuple[Dims, ...]:
    """Scale, shift and running statistics are x's dim 1."""
    dims = c.dims()
    for name in ("weight", "bias", "running_mean", "running_var"):
        if (t := c[name]) is not None:
            c.unify(dims[1], c.dims(t)[0])
    return with_statistics(c, dims)


def layer_statistics(c: Call) -> Normalised:
    """Over the normalised dims, of each place alone."""
    rank = c["input"].dim()
    last = rank - len(c["normalized_shape"])
    what = "an RMS norm" if "rms" in c.name else "a layer norm"
    return Normalised(tuple(range(last, rank)), what, c.get("weight"), c.get("bias"), last)


@rule("layer_norm native_layer_norm rms_norm _fused_rms_norm", law=layer_statistics)
def layer_norm(c: Call) -> Dims | tuple[Dims, ...]:
    """The last dims are the normalised shape, and those of scale and shift."""
    dims, sizes = c.dims(), c.integers("normalized_shape")
    last = len(dims) - len(sizes)
    rows = [[c.sized(size, "normalized shape") for size in sizes]]
    rows += [c.dims(t) for t in (c.get("weight"), c.get("bias")) if t is not None]
    for row in rows:
        for d, node in enumerate(row, start=last):
            c.unify(dims[d], node)
    return with_statistics(c, dims)


def group_statistics(c: Call) -> Normalised:
    """Over space and the channels of one group, which are a part of dim 1."""
    number, channels = int(_groups(c)), c.dims()[1]
    inner = variable(find(channels).size // number) if number > 1 else channels
    over = tuple(range(2, c["input"].dim()))
    return Normalised(over, "a group norm", c["weight"], c["bias"], 1, within=inner)


def _groups(c: Call) -> int:
    return c.integer("num_groups" if c.name == "group_norm" else "group")


@rule("group_norm native_group_norm", law=group_statistics)
def group_norm(c: Call) -> Dims | tuple[Dims, ...]:
    """x's dim 1 is (groups channels); whole groups go exactly, channels within one inexactly."""
    dims, number, law = c.dims(), _groups(c), c.law
    if int(number) > 1 and isinstance(law, Normalised) and law.within is not None:
        c.unify(dims[1], product([c.sized(number, "number of groups"), law.within]))
    for t in (c["weight"], c["bias"]):
        if t is not None:
            c.unify(dims[1], c.dims(t)[0])
    return with_statistics(c, dims)


def weight_statistics(c: Call) -> WeightNormed:
    """The norm over the dims that g lacks: silent units add nothing to it."""
    v, g = c.tensors[:2]
    kept = _lengths(c)
    return WeightNormed(v, g, tuple(d for d in range(v.dim()) if d not in kept))


def _lengths(c: Call) -> list[int]:
    """The dims along which each unit has a length of its own."""
    return [d for d, node in enumerate(c.dims(c.tensors[1])) if find(node).size != 1]


@rule("_weight_norm _weight_norm_interface", law=weight_statistics)
def weight_norm(c: Call) -> Dims | tuple[Dims, ...]:
    """out = v's dims, scaled by g / |v|, the norm over all dims but one (or all)."""
    v, g = c.tensors[:2]
    for d in _lengths(c):
        c.unify(c.dims(v)[d], c.dims(g)[d])
        c.produces(v, d)
    return (c.dims(v), c.dims(g)) if isinstance(c.out, tuple) else c.dims(v)
