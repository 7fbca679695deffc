"""Normalisation: statistics over some dims (inexact over those), then a scale and a shift."""

from __future__ import annotations

from purethin.inference.rules.call import Call, Dims, rule
from purethin.inference.rules.laws import Normalised, WeightNormed
from purethin.inference.solver import find, product, variable


def with_statistics(c: Call, dims: Dims) -> Dims | tuple[Dims, ...]:
    """The output's dims; where the operator hands out its statistics too, everything is fixed."""
    if not isinstance(c.out, tuple):
        return dims
    for d in dims:
        c.freeze(d, "statistics handed out")
    return (dims, *([c.fixed(s, "statistics") for s in o.shape] for o in c.outs[1:]))


@rule("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "instance_norm")
def batch_norm(c: Call) -> Dims | tuple[Dims, ...]:
    """Scale, shift and running statistics are x's dim 1."""
    x, weight, bias = c["input"], c["weight"], c["bias"]
    dims = c.dims(x)
    for t in (weight, bias, c["running_mean"], c["running_var"]):
        if t is not None:
            c.unify(dims[1], c.dims(t)[0])
    batch = c["running_mean"] is None or bool(c.get("use_input_stats", c.get("training", False)))
    per_sample = c.name == "instance_norm"
    over = (
        tuple(d for d in range(len(dims)) if d > 1 or (d == 0 and not per_sample)) if batch else ()
    )
    c.law = Normalised(
        over,
        "the statistics of an instance norm" if per_sample else "the statistics of a batch",
        weight,
        bias,
        1,
    )
    return with_statistics(c, dims)


@rule("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm")
def layer_norm(c: Call) -> Dims | tuple[Dims, ...]:
    """The last dims are the normalised shape, and those of scale and shift."""
    x = c["input"]
    weight, bias = c.get("weight"), c.get("bias")
    dims = c.dims(x)
    sizes = c.integers("normalized_shape")
    last = len(dims) - len(sizes)
    for d, size in enumerate(sizes, start=last):
        c.unify(dims[d], c.sized(size, "normalized shape"))
    for t in (weight, bias):
        for d, node in enumerate(c.dims(t) if t is not None else [], start=last):
            c.unify(dims[d], node)
    over = tuple(range(last, len(dims)))
    c.law = Normalised(
        over, "an RMS norm" if "rms" in c.name else "a layer norm", weight, bias, last
    )
    return with_statistics(c, dims)


@rule("group_norm", "native_group_norm")
def group_norm(c: Call) -> Dims | tuple[Dims, ...]:
    """x's dim 1 is (groups channels); whole groups go exactly, channels within one inexactly."""
    x, weight, bias = c["input"], c["weight"], c["bias"]
    dims = c.dims(x)
    number = c.integer("num_groups" if c.name == "group_norm" else "group")
    inner = dims[1]
    if int(number) > 1:
        groups, inner = (
            c.sized(number, "number of groups"),
            variable(find(dims[1]).size // int(number)),
        )
        c.unify(dims[1], product([groups, inner]))
    for t in (weight, bias):
        if t is not None:
            c.unify(dims[1], c.dims(t)[0])
    c.law = Normalised(tuple(range(2, len(dims))), "a group norm", weight, bias, 1, within=inner)
    return with_statistics(c, dims)


@rule("_weight_norm", "_weight_norm_interface")
def weight_norm(c: Call) -> Dims | tuple[Dims, ...]:
    """out = v's dims, scaled by g / |v|, the norm over all dims but one (or all): silent units add
    nothing to it.
    """
    v, g = c.tensors[:2]
    dims, length = c.dims(v), c.dims(g)
    for a, b in zip(dims, length, strict=False):
        if find(b).size != 1:
            c.unify(a, b)
    kept = [d for d in range(len(length)) if find(length[d]).size != 1]
    for d in kept:
        c.produces(v, d)
    c.law = WeightNormed(v, g, tuple(d for d in range(len(dims)) if d not in kept))
    return (dims, c.dims(g)) if isinstance(c.out, tuple) else dims
