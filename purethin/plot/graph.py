"""The graph of axes as DOT text: an axis is a node, a layer an arrow from the axis that it reads to
the one that it makes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from purethin.axes import Fixed, names
from purethin.checks import check_masks
from purethin.records import Axis
from purethin.spec import Masks, Spec

_HEAD = """digraph axes {
  rankdir=LR; node [shape=box, style="rounded,filled", fillcolor="#eef3f9", color="#2b6cb0"];
  node [fontname="Helvetica", fontsize=11, margin="0.12,0.05"];
  edge [fontname="Helvetica", fontsize=9, color="#718096"];"""


def dot(spec: Spec, masks: Masks | None = None) -> str:
    """The graph of axes, for Graphviz: which layer reads which axis, and makes which.

    Args:
        spec: the dense network's spec.
        masks: `{axis: BoolTensor[size]}`, True = keep: axes say how many units stay.

    Returns:
        DOT text: `dot -Tsvg` draws it, and so does `graphviz.Source(text)` in a notebook. An
        inexact axis is dashed; several layers between the same two axes are one arrow.

    Raises:
        MaskError: the masks do not fit the spec.

    >>> import torch
    >>> params = {"a.w": torch.zeros(4, 3), "b.w": torch.zeros(2, 4)}
    >>> text = dot(Spec.from_layout({"a.w": "h 3", "b.w": "2 h"}, params))
    >>> [line.strip() for line in text.splitlines() if "->" in line]
    ['"input" -> "h" [label="a"];', '"h" -> "output" [label="b"];']
    """
    check_masks(spec, masks or {})
    lines = [_node(axis, masks or {}) for axis in spec.axes.values()]
    arrows: dict[tuple[str, str], dict[str, None]] = {}
    for module, read, made in _layers(spec):
        arrows.setdefault((read, made), {})[module] = None
    for (read, made), modules in arrows.items():
        lines.append(f"{_quoted(read)} -> {_quoted(made)} [label={_quoted(_few([*modules]))}];")
    ends = {name for arrow in arrows for name in arrow} - spec.axes.keys()
    lines += [f'{_quoted(end)} [shape=plaintext, style=""];' for end in sorted(ends)]
    return "\n".join([_HEAD, *(f"  {line}" for line in lines), "}"])


def _node(axis: Axis, masks: Masks) -> str:
    kept = int(masks[axis.name].sum()) if axis.name in masks else axis.size
    units = f"{axis.size:,}" if kept == axis.size else f"{axis.size:,} → {kept:,}"
    style = "" if axis.exact else ', style="rounded,filled,dashed"'
    pruned = "" if kept == axis.size else ', fillcolor="#cfe0f3"'
    label = _quoted("\n".join([axis.name, units]))
    return f"{_quoted(axis.name)} [label={label}{style}{pruned}];"


def _layers(spec: Spec) -> Iterator[tuple[str, str, str]]:
    """`(module, the axis that it reads, the axis that it makes)`, by the weights of two dims or
    more; a fixed dim of more than one entry is the network's input or output.
    """
    making = {(p, d): a.name for a in spec.axes.values() for p, d in a.producers}
    for name, dims in spec.layout.items():
        if len(dims) < 2 or name in spec.buffers:
            continue
        carried = [list(dict.fromkeys(names(dim))) for dim in dims]
        out = next((d for d in range(len(dims)) if (name, d) in making), 0)
        makes = carried[out]
        reads = [a for d, each in enumerate(carried) if d != out for a in each]
        if not makes and not reads:
            continue
        others = [dim for d, dim in enumerate(dims[:2]) if d != out]
        if not reads and any(dim == Fixed(1) for dim in others):
            reads = makes  # a depthwise convolution: each unit reads its own
        for read in reads or ["input"]:
            for made in makes or ["output"]:
                yield name.rpartition(".")[0] or name, read, made


def _few(modules: list[str]) -> str:
    more = f"\n+ {len(modules) - 2} more" if len(modules) > 2 else ""
    return "\n".join(modules[:2]) + more


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
