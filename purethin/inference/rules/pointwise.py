"""Pointwise operators: operands broadcast, dims that meet are one. Any operator that torch tags
pointwise is here by its tag.
"""

from __future__ import annotations

from purethin.inference.nodes import total, variable
from purethin.inference.rules.call import Call, Dims, broadcast, rule
from purethin.inference.rules.laws import Law, Mixed, Pointwise, Written, moved

# what torch's own tag misses
UNTAGGED = """
hardswish hardsigmoid hardtanh relu relu6 silu mish gelu elu celu selu softplus log_sigmoid rrelu
leaky_relu threshold softshrink hardshrink square float_power true_divide divide multiply subtract
arctan2 where masked_fill clamp clamp_min clamp_max clip rsub remainder floor_divide fmod lerp
addcmul addcdiv nan_to_num log_sigmoid_forward sigmoid tanh type_as ones_like full_like polar
complex to_dense special_expit special_erf isclose logical_not xlogy logit sgn view_as_real_copy
is_nonzero fill zero rrelu_with_noise conj positive resolve_conj resolve_neg isnan isinf isfinite
isreal fix negative absolute arccos arcsin arctan
"""


@rule(UNTAGGED, law=Pointwise())
def pointwise(c: Call) -> Dims:
    """out = the operands' dims, broadcast."""
    return broadcast(c, [c.dims(t) for t in c.tensors], c.shape)


def copied(c: Call) -> Law:
    """Moved, unless dropout draws what stays."""
    if "dropout" in c.name and c.get("train") and c.get("p") != 0:
        everywhere = tuple(range(c.tensors[0].dim()))
        return Mixed(everywhere, "random numbers drawn", keeps_zero=True)
    return moved(c)


@rule(
    "dropout native_dropout feature_dropout alpha_dropout feature_alpha_dropout",
    "alias clone contiguous detach to _to_copy lift_fresh lift lift_fresh_copy data requires_grad",
    "pin_memory cpu cuda _pin_memory set_data _to_cpu",
    law=copied,
)
def copies(c: Call) -> Dims:
    """out = x's dims, the same entries (of another dtype or device)."""
    return c.dims()


@rule("view_as_real view_as_complex", law=moved)
def complex_view(c: Call) -> Dims:
    """A last dim of 2, real and imaginary, comes or goes."""
    dims = c.dims()
    if c.name == "view_as_complex":
        c.freeze("real and imaginary parts", dims[-1])
        return dims[:-1]
    return [*dims, c.fixed(2, "real and imaginary parts")]


@rule("copy", law=lambda c: Written(c.tensors[1]))
def copy(c: Call) -> Dims:
    """The target's dims are the source's, broadcast; what shares the target's memory is changed."""
    target, source = c.tensors[:2]
    return broadcast(c, [c.dims(target), c.dims(source)], c.shape)


@rule("glu", law=moved)
def glu(c: Call) -> Dims:
    """The dim is (half + half), which meet."""
    dims, d = c.dims(), c.dim()
    half = variable(c.shape[d])
    c.unify(dims[d], total([half, half]))
    return [*dims[:d], half, *dims[d + 1 :]]


@rule("prelu", law=moved)
def prelu(c: Call) -> Dims:
    """The slopes are x's dim 1, or one for all; zero stays zero."""
    dims, slope = c.dims(), c.tensors[1]
    if slope.numel() > 1:
        c.unify(dims[min(1, len(dims) - 1)], c.dims(slope)[0])
    return dims


@rule("triu tril", law=moved)
def triangle(c: Call) -> Dims:
    """x's last two dims are compared by position: both freeze."""
    c.freeze("a triangle compares positions along it", *c.dims()[-2:])
    return c.dims()
