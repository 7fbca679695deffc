"""Contractions: products summed over shared dimensions. Each is a row of labels, as in einsum, and
that is its whole law.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from torch import Tensor

from purethin.inference.rules.call import Call, Dims, rule
from purethin.inference.rules.laws import Contracted, Label
from purethin.inference.solver import Node, find, product, variable

Operand = tuple[Tensor, Sequence[Label]]


def contract(
    c: Call, operands: Sequence[Operand], out: Sequence[Label], bias: Operand | None = None
) -> Dims:
    """Dims that share a label are the same; the output has the dims of its labels; costs the
    product of all labels.
    """
    nodes: dict[Label, Node] = {}
    for tensor, labels in [*operands, *([bias] if bias else [])]:
        for dim, (label, node) in enumerate(zip(labels, c.dims(tensor), strict=True)):
            if label not in nodes or find(nodes[label]).size == 1:
                nodes[label] = node
            elif find(node).size != 1:
                c.unify(nodes[label], node)
            if label in out:
                c.produces(tensor, dim)
    state_contraction(c, operands, out, nodes, bias)
    for labels in _products([row for _, row in operands], out):
        c.costs(1, [nodes[label] for label in labels])
    return [nodes[label] for label in out]


def _products(rows: Sequence[Sequence[Label]], out: Sequence[Label]) -> Iterator[list[Label]]:
    """The labels of each product that sums, two operands at a time from the left; what only one has
    and nobody needs is summed before.
    """
    have = list(rows[0])
    for i, row in enumerate(rows[1:], 2):
        needed = {*out, *(label for later in rows[i:] for label in later)}
        both = list(dict.fromkeys([*have, *row]))
        if any(label in row and label not in needed for label in have):
            yield [label for label in both if label in needed or (label in have and label in row)]
        have = [label for label in both if label in needed]


def state_contraction(
    c: Call,
    operands: Sequence[Operand],
    out: Sequence[Label],
    nodes: dict[Label, Node],
    bias: Operand | None,
) -> None:
    """Set the law of a call to a contraction."""
    c.law = Contracted(
        tuple((t, tuple(row)) for t, row in operands),
        tuple(out),
        nodes,
        (bias[0], tuple(bias[1])) if bias else None,
    )


@rule("linear")
def linear(c: Call) -> Dims:
    """out = x's leading dims, then w's dim 0; x's last dim is w's dim 1; the bias is w's dim 0."""
    x, w, b = c["input"], c["weight"], c["bias"]
    lead = list(range(x.dim() - 1))
    if w.dim() == 1:
        return contract(c, [(x, [*lead, "in"]), (w, ["in"])], lead)
    return contract(
        c,
        [(x, [*lead, "in"]), (w, ["out", "in"])],
        [*lead, "out"],
        None if b is None else (b, ["out"]),
    )


@rule("matmul", "mm", "bmm", "mv", "dot", "vdot")
def matmul(c: Call) -> Dims:
    """x's last dim is y's last but one; batch dims broadcast."""
    x, y = c.tensors[:2]
    rows = {
        "x": _matrix_labels(x.dim(), last="sum", before="row"),
        "y": _matrix_labels(y.dim(), last="column", before="sum"),
    }
    if y.dim() == 1:
        rows["y"] = ["sum"]
    batch = range(max(x.dim(), y.dim()) - 2, 0, -1)
    out = [*batch, *(["row"] if x.dim() > 1 else []), *(["column"] if y.dim() > 1 else [])]
    if min(x.dim(), y.dim()) > 2 and not (
        c.is_parameter(x) or c.is_parameter(y)
    ):  # as attention by hand has them
        for d in c.dims(x)[:-2]:
            c.called(d, "heads")
        for d in (c.dims(x)[-1], c.dims(y)[-1]):
            c.called(d, "head_dim")
    return contract(c, [(x, rows["x"]), (y, rows["y"])], out)


def _matrix_labels(rank: int, *, last: str, before: str) -> list[Label]:
    return [*range(rank - 2, 0, -1), before, last][-rank:] if rank else []


@rule("_grouped_mm")
def grouped(c: Call) -> Dims:
    """Each row of x meets the matrix of its own group: x's last dim is y's last but one; which
    group is a matter of order.
    """
    x, y = c.tensors[:2]
    if (x.dim(), y.dim()) != (2, 3):
        raise ValueError(f"a grouped product of {x.dim()} and {y.dim()} dims")
    c.freeze(c.dims(y)[0], "groups that are picked by position")
    for d in c.dims(y)[1:]:
        c.compares(d, "%", c.fixed(16 // x.element_size(), "rows of whole 16 bytes"))
    return contract(c, [(x, ["row", "sum"]), (y, ["group", "sum", "column"])], ["row", "column"])


@rule("addmm", "baddbmm", "addmv", "addbmm")
def addmm(c: Call) -> Dims:
    """As matmul of the last two, plus the first, broadcast."""
    b, x, y = c.tensors[:3]
    batch = ["batch"] * (x.dim() - 2)
    right = ["sum", "column"][: y.dim() - len(batch)]
    out: list[Label] = [*(batch if c.name != "addbmm" else []), "row", *right[1:]]
    bias = _aligned_bias(c, b, out)
    return contract(c, [(x, [*batch, "row", "sum"]), (y, [*batch, *right])], out, bias)


def _aligned_bias(c: Call, b: Tensor, out: list[Label]) -> Operand:
    """A bias's labels at the right of the output's; its dims of size 1 get labels of their own."""
    row = out[len(out) - b.dim() :]
    return b, [
        label if size != 1 else ("bias", label) for label, size in zip(row, b.shape, strict=True)
    ]


@rule("einsum")
def einsum(c: Call) -> Dims:
    """As the equation says."""
    tensors = c["tensors"]
    rows, out = equation_labels(c["equation"], [t.dim() for t in tensors])
    return contract(c, list(zip(tensors, rows, strict=True)), out)


def equation_labels(equation: str, ranks: Sequence[int]) -> tuple[list[list[Label]], list[Label]]:
    """The labels of each operand and of the output; an ellipsis becomes numbers, counted from the
    right.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    rows: list[list[Label]] = []
    dots: list[Label] = []
    for term, rank in zip(left.split(","), ranks, strict=True):
        before, ellipsis, after = term.partition("...")
        extra: list[Label] = list(range(rank - len(before) - len(after), 0, -1)) if ellipsis else []
        dots = max(dots, extra, key=len)
        rows.append([*before, *extra, *after])
    if arrow:
        before, ellipsis, after = right.partition("...")
        return rows, [*before, *(dots if ellipsis else []), *after]
    flat = [label for row in rows for label in row if isinstance(label, str)]
    return rows, [*dots, *sorted(label for label in set(flat) if flat.count(label) == 1)]


@rule("tensordot")
def tensordot(c: Call) -> Dims:
    """The listed dims of both are summed; the rest follow in order."""
    x, y = c["self"], c["other"]
    left = [d % x.dim() for d in c["dims_self"]]
    right = [d % y.dim() for d in c["dims_other"]]
    rx: list[Label] = [("sum", left.index(d)) if d in left else ("x", d) for d in range(x.dim())]
    ry: list[Label] = [("sum", right.index(d)) if d in right else ("y", d) for d in range(y.dim())]
    out = [label for label in (*rx, *ry) if isinstance(label, tuple) and label[0] != "sum"]
    return contract(c, [(x, rx), (y, ry)], out)


@rule("outer", "ger")
def outer(c: Call) -> Dims:
    """out = x's dim, y's dim."""
    x, y = c.tensors[:2]
    return contract(c, [(x, ["row"]), (y, ["column"])], ["row", "column"])


@rule("inner")
def inner(c: Call) -> Dims:
    """The last dims are summed; the leading dims of both follow."""
    x, y = c.tensors[:2]
    rx, ry = [("x", i) for i in range(x.dim() - 1)], [("y", i) for i in range(y.dim() - 1)]
    return contract(c, [(x, [*rx, "sum"]), (y, [*ry, "sum"])], [*rx, *ry])


@rule("bilinear")
def bilinear(c: Call) -> Dims:
    """out = the leading dims, then w's dim 0; w's dims 1 and 2 are the inputs' last dims."""
    x, y, w, b = c["input1"], c["input2"], c["weight"], c["bias"]
    lead = list(range(x.dim() - 1))
    return contract(
        c,
        [(x, [*lead, "a"]), (y, [*lead, "b"]), (w, ["out", "a", "b"])],
        [*lead, "out"],
        None if b is None else (b, ["out"]),
    )


@rule(
    "conv1d",
    "conv2d",
    "conv3d",
    "convolution",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
)
def convolution(c: Call) -> Dims:
    """x's channels are (groups in), w is (groups out) in, out is (groups out); transposed: w is
    (groups in) out.
    """
    x, w, b = c["input"], c["weight"], c["bias"]
    transposed = bool(c.get("transposed", "transpose" in c.name))
    xd, wd = c.dims(x), c.dims(w)
    at = len(xd) - len(wd) + 1  # 1, or 0 for an input without batch
    groups = c.integer("groups")
    g = c.sized(groups, "groups") if int(groups) > 1 else None
    together = [g] if g is not None else []
    each = variable(find(wd[0]).size // int(groups))
    i, o = (each, wd[1]) if transposed else (wd[1], each)
    channels, filters = product([*together, i]), product([*together, o])
    c.unify(channels, xd[at])
    c.unify(channels if transposed else filters, wd[0])
    if b is not None:
        c.unify(filters, c.dims(b)[0])
    for d in wd[2:]:
        c.freeze(d, "a kernel's size")
    c.produces(w, 1 if transposed else 0)

    space = c.shape[at + 1 :]
    window = _is_window(c, w)
    over: list[Label] = [] if window else [("space", d) for d in range(len(space))]
    spatial = [c.fixed(s, "a convolved dimension") for s in space] if window else xd[at + 1 :]
    for d in xd[at + 1 :] if window else ():
        c.freeze(d, "a convolved dimension")
    batch: list[Label] = ["batch"] * at
    gl: list[Label] = ["groups"] * len(together)
    row: list[Label] = [*gl, "in", "out"] if transposed else [*gl, "out", "in"]
    nodes: dict[Label, Node] = {"in": i, "out": o} | dict(zip(over, spatial, strict=False))
    nodes |= {"batch": xd[0]} if at else {}
    nodes |= {"groups": g} if g is not None else {}
    state_contraction(
        c,
        [(x, [*batch, *gl, "in", *over]), (w, row)],
        [*batch, *gl, "out", *over],
        nodes,
        None if b is None else (b, [*gl, "out"]),
    )
    count = prod(x.shape[at + 1 :]) if transposed else prod(space)
    c.costs(count * prod(w.shape[2:]), [*xd[:at], wd[0], wd[1]])
    return [*xd[:at], filters, *spatial]


def _is_window(c: Call, w: Tensor) -> bool:
    """Whether a convolution looks at more than one place: a kernel, a stride or a padding."""

    def plain(value: object, neutral: int) -> bool:
        return value == "valid" or (
            isinstance(value, list | tuple) and all(v == neutral for v in value)
        )

    padding = plain(c["padding"], 0) or c["padding"] == "same"
    return not (
        all(k == 1 for k in w.shape[2:])
        and plain(c["stride"], 1)
        and padding
        and plain(c.get("output_padding", [0]), 0)
    )
