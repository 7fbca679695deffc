"""Contractions: products summed over shared dimensions. Each is a row of labels, as in einsum; the
labels are its law, and `contract` reads the dims off them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

from torch import Tensor

from purethin.inference.nodes import Node, find, product, variable
from purethin.inference.rules.call import Call, Dims, rule
from purethin.inference.rules.laws import Contracted, Label

Operand = tuple[Tensor, Sequence[Label]]
Labels = Callable[[Call], Contracted]


def labelled(
    c: Call, operands: Sequence[Operand], out: Sequence[Label], bias: Operand | None = None
) -> Contracted:
    """The law of tensors whose dims have these labels; of several dims, one larger than 1 gives the
    label its node.
    """
    nodes: dict[Label, Node] = {}
    for tensor, labels in [*operands, *([bias] if bias else [])]:
        for label, node in zip(labels, c.dims(tensor), strict=True):
            if label not in nodes or find(nodes[label]).size == 1:
                nodes[label] = node
    rows = tuple((tensor, tuple(row)) for tensor, row in operands)
    return Contracted(rows, tuple(out), nodes, (bias[0], tuple(bias[1])) if bias else None)


def contract(c: Call) -> Dims:
    """Dims that share a label are the same; the output has the dims of its labels; costs the
    product of all labels.
    """
    law = _law(c)
    for tensor, labels in [*law.operands, *([law.bias] if law.bias else [])]:
        for dim, (label, node) in enumerate(zip(labels, c.dims(tensor), strict=True)):
            if find(node).size != 1:
                c.unify(law.nodes[label], node)
            if label in law.out:
                c.produces(tensor, dim)
    for labels in _products([row for _, row in law.operands], law.out):
        c.costs(1, [law.nodes[label] for label in labels])
    return [law.nodes[label] for label in law.out]


def contraction(names: str) -> Callable[[Labels], Labels]:
    """Register operators whose labels are all that there is to say."""

    def register(labels: Labels) -> Labels:
        rule(names, law=labels)(contract)
        return labels

    return register


def _law(c: Call) -> Contracted:
    assert isinstance(c.law, Contracted)
    return c.law


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


# ---- the labels of each operator


def written(
    c: Call, equation: str, tensors: Sequence[Tensor], bias: Operand | None = None
) -> Contracted:
    """The law of tensors whose labels are written as in einsum."""
    rows, out = equation_labels(equation, [t.dim() for t in tensors])
    return labelled(c, list(zip(tensors, rows, strict=True)), out, bias)


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


@contraction("einsum")
def einsum(c: Call) -> Contracted:
    """As the equation says."""
    return written(c, c["equation"], c["tensors"])


@contraction("linear")
def linear(c: Call) -> Contracted:
    """x's last dim is w's last, w's dim 0 the output's last and the bias's."""
    x, w, b = c["input"], c["weight"], c["bias"]
    equation = "...i,oi->...o" if w.dim() > 1 else "...i,i->..."
    return written(c, equation, [x, w], None if b is None or w.dim() == 1 else (b, "o"))


@contraction("bilinear")
def bilinear(c: Call) -> Contracted:
    """w's dims 1 and 2 are the inputs' last dims, its dim 0 the output's last and the bias's."""
    tensors, b = [c[name] for name in ("input1", "input2", "weight")], c["bias"]
    return written(c, "...a,...b,oab->...o", tensors, None if b is None else (b, "o"))


def matrices(c: Call) -> Contracted:
    """x's last dim is y's last but one; batch dims broadcast."""
    x, y = c.tensors[:2]
    rows, columns = "...r" if x.dim() > 1 else "", "c" if y.dim() > 1 else ""
    batch = "..." if max(x.dim(), y.dim()) > 1 else ""
    equation = f"{rows}i,{batch if columns else ''}i{columns}->{batch}{rows[3:]}{columns}"
    return written(c, equation, [x, y])


@rule("matmul mm bmm mv dot vdot", law=matrices)
def matmul(c: Call) -> Dims:
    """As its labels say; batches of products are heads, as attention by hand has them."""
    x, y = c.tensors[:2]
    if min(x.dim(), y.dim()) > 2 and not (c.is_parameter(x) or c.is_parameter(y)):
        c.called("heads", *c.dims(x)[:-2])
        c.called("head_dim", c.dims(x)[-1], c.dims(y)[-1])
    return contract(c)


@rule("_grouped_mm", law=lambda c: written(c, "ri,gic->rc", c.tensors[:2]))
def grouped(c: Call) -> Dims:
    """Each row of x meets the matrix of its own group; which group is a matter of order."""
    x, y = c.tensors[:2]
    if (x.dim(), y.dim()) != (2, 3):
        raise ValueError(f"a grouped product of {x.dim()} and {y.dim()} dims")
    c.freeze("groups that are picked by position", c.dims(y)[0])
    for d in c.dims(y)[1:]:
        c.compares(d, "%", c.fixed(16 // x.element_size(), "rows of whole 16 bytes"))
    return contract(c)


@contraction("addmm baddbmm addmv addbmm")
def addmm(c: Call) -> Contracted:
    """As matmul of the last two, plus the first, broadcast: its dims of size 1 stand apart."""
    b, x, y = c.tensors[:3]
    batch, column = "b" * (x.dim() - 2), "c" * (y.dim() - x.dim() + 1)
    out = f"{'' if c.name == 'addbmm' else batch}r{column}"
    sizes = zip(out[len(out) - b.dim() :], b.shape, strict=True)
    bias: list[Label] = [label if size != 1 else ("bias", label) for label, size in sizes]
    return written(c, f"{batch}ri,{batch}i{column}->{out}", [x, y], (b, bias))


@contraction("tensordot inner outer ger")
def tensordot(c: Call) -> Contracted:
    """The listed dims of both are summed (of `inner` the last, of `outer` none); the rest follow in
    order.
    """
    x, y = c.tensors[:2]
    listed = [-1] if c.name == "inner" else []
    left = [d % x.dim() for d in c.get("dims_self", listed)]
    right = [d % y.dim() for d in c.get("dims_other", listed)]
    rx: list[Label] = [("sum", left.index(d)) if d in left else ("x", d) for d in range(x.dim())]
    ry: list[Label] = [("sum", right.index(d)) if d in right else ("y", d) for d in range(y.dim())]
    out = [label for label in (*rx, *ry) if isinstance(label, tuple) and label[0] != "sum"]
    return labelled(c, [(x, rx), (y, ry)], out)


# ---- convolution: labels for parts of dims


def kernel(c: Call) -> Contracted:
    """x's channels are (groups in), w is (groups out) in, out is (groups out); transposed: w is
    (groups in) out.
    """
    x, w, b = c["input"], c["weight"], c["bias"]
    xd, wd = c.dims(x), c.dims(w)
    at = x.dim() - w.dim() + 1  # 1, or 0 for an input without batch
    number = c.integer("groups")
    group = {"groups": c.sized(number, "groups")} if int(number) > 1 else {}
    each = variable(find(wd[0]).size // int(number))
    ends = (each, wd[1]) if _transposed(c) else (wd[1], each)
    batch = {"batch": xd[0]} if at else {}
    window, rest = _is_window(c, w), enumerate(xd[at + 1 :])
    space = {("space", d): n for d, n in rest if not window or _keeps(c, at + 1 + d)}
    slid = tuple(space) if window else ()
    row = ("in", "out") if _transposed(c) else ("out", "in")
    return Contracted(
        ((x, (*batch, *group, "in", *space)), (w, (*group, *row))),
        (*batch, *group, "out", *space),
        {**dict(zip(("in", "out"), ends, strict=True)), **space, **batch, **group},
        None if b is None else (b, (*group, "out")),
        slid,
    )


def _keeps(c: Call, dim: int) -> bool:
    """Whether a dim of x can be pruned although a window slides over it: where it keeps its size
    at every size.
    """
    x = c["input"]
    if find(c.dims(x)[dim]).kind == "constant":
        return False
    return all(step == 1 for step in c.get("stride", ())) and x.shape[dim] == c.shape[dim]


@rule(
    "conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d",
    "torchvision::deform_conv2d",
    law=kernel,
)
def convolution(c: Call) -> Dims:
    """As its labels say; what a window looks at is fixed."""
    x, w, b = c["input"], c["weight"], c["bias"]
    xd, wd, nodes, transposed = c.dims(x), c.dims(w), _law(c).nodes, _transposed(c)
    at = x.dim() - w.dim() + 1
    group = [nodes["groups"]] if "groups" in nodes else []
    channels, filters = product([*group, nodes["in"]]), product([*group, nodes["out"]])
    c.unify(channels, xd[at])
    c.unify(channels if transposed else filters, wd[0])
    if b is not None:
        c.unify(filters, c.dims(b)[0])
    c.freeze("a kernel's size", *wd[2:])
    if c.get("offset") is not None:
        _deform(c, channels)
    c.produces(w, 1 if transposed else 0)
    space = xd[at + 1 :]
    for d in range(len(space)):
        if ("space", d) not in nodes:
            c.freeze("a convolved dimension", space[d])
            space[d] = c.fixed(c.shape[at + 1 + d], "a convolved dimension")
    count = prod(x.shape[at + 1 :] if transposed else c.shape[at + 1 :])
    c.costs(count * prod(w.shape[2:]), [*xd[:at], wd[0], wd[1]])
    return [*xd[:at], filters, *space]


def _deform(c: Call, channels: Node) -> None:
    """Where a deformed window looks: offsets stand by position, each for a part of the channels."""
    for t in (c["offset"], c["mask"]):
        c.freeze("offsets and weights of places, by position", *c.dims(t)[1:])
    if (parts := c["offset_groups"]) > 1:
        each = variable(find(channels).size // parts)
        c.unify(channels, product([c.fixed(parts, "offset groups"), each]))


def _transposed(c: Call) -> bool:
    return bool(c.get("transposed", "transpose" in c.name))


def _is_window(c: Call, w: Tensor) -> bool:
    """Whether a convolution looks at more than one place: a kernel, a stride or a padding."""

    def plain(value: object, neutral: int) -> bool:
        listed = isinstance(value, list | tuple) and all(v == neutral for v in value)
        return listed or value == "valid"

    return c.get("stride") is None or not (
        w.shape[2:].numel() == 1
        and plain(c["stride"], 1)
        and (plain(c["padding"], 0) or c["padding"] == "same")
        and plain(c.get("output_padding", [0]), 0)
    )
