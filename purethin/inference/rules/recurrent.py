"""Recurrent layers and cells: each weight's dim 0 is (gates hidden); a hidden unit with zero
weights stays zero.
"""

from __future__ import annotations

from math import prod

from torch import Tensor

from purethin.inference.nodes import Node, product, total, variable
from purethin.inference.rules.call import Call, Dims, rule
from purethin.inference.rules.laws import Moved, Recurrent, moved

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def recurrent(c: Call) -> Recurrent:
    """The input, the weights of all layers or of the cell, and the initial states."""
    return Recurrent(c.get("input", c.get("data")), tuple(_weights(c)), tuple(_states(c)))


def _weights(c: Call) -> list[Tensor]:
    names = ("w_ih", "w_hh", "b_ih", "b_hh")
    return list(c.get("params", ())) or [t for name in names if (t := c.get(name)) is not None]


def _states(c: Call) -> list[Tensor]:
    """The hidden state, and an LSTM's cell state."""
    return list(c["hx"]) if isinstance(c["hx"], list | tuple) else [c["hx"]]


@rule("lstm gru rnn_tanh rnn_relu", law=recurrent)
def layers(c: Call) -> tuple[Dims, ...]:
    """w_ih is (gates hidden) in, w_hh (gates hidden) out; out is the directions' sum; the next
    layer's in is that.
    """
    x, params, states = c.get("input", c.get("data")), _weights(c), _states(c)
    sides = 2 if c["bidirectional"] else 1
    dims = c.dims(x)
    projected = c.name == "lstm" and c.outs[0].shape[-1] // sides != params[1].shape[0] // 4
    per = 2 + 2 * c["has_biases"] + projected
    feature = dims[-1]
    found: list[tuple[Node, Node]] = []
    for layer in range(c["num_layers"]):
        starts = [(layer * sides + side) * per for side in range(sides)]
        found += [_direction(c, x, feature, params[i : i + per], projected) for i in starts]
        feature = total(out for out, _ in found[-sides:])
    for state, lasts in zip(states, zip(*found, strict=True), strict=False):
        for last in lasts:  # one tensor holds the states of all layers and directions
            c.unify(c.dims(state)[-1], last)
    return ([*dims[:-1], feature], *(c.dims(s) for s in states))


def _direction(
    c: Call, x: Tensor, feature: Node, own: list[Tensor], projected: bool
) -> tuple[Node, Node]:
    """One layer in one direction: the last dims of its output (which is its hidden state) and of
    its cell state.
    """
    w_in, w_hidden = own[0], own[1]
    steps = prod(x.shape[:-1])
    gates = GATES[c.name.removesuffix("_cell")]
    hidden = variable(w_in.shape[0] // gates)
    for t in own[: len(own) - projected]:
        c.unify(c.dims(t)[0], product([c.fixed(gates, "gates"), hidden]))
    c.unify(c.dims(w_in)[1], feature)
    out = hidden
    if projected:
        c.unify(c.dims(own[-1])[1], hidden)
        out = c.dims(own[-1])[0]
        c.compares(out, "<", hidden)
        c.produces(own[-1], 0)
        c.costs(steps, c.dims(own[-1]))
    c.unify(c.dims(w_hidden)[1], out)
    c.produces(w_in, 0)
    c.costs(steps, c.dims(w_in))
    c.costs(steps, c.dims(w_hidden))
    return out, hidden


@rule("_pack_padded_sequence", law=moved)
def packed(c: Call) -> tuple[Dims, ...]:
    """out = all steps of all sequences, then x's dims from the third on; and the batch's sizes."""
    what = "steps of sequences"
    first, second, *rest = c.dims()
    c.freeze(what, first, second)
    return [c.fixed(c.outs[0].shape[0], what), *rest], [c.fixed(c.outs[1].shape[0], what)]


@rule(
    "_pad_packed_sequence pad_sequence",
    law=lambda c: Moved(_sequences(c), fill=float(c["padding_value"]), filled=(0, 1)),
)
def unpacked(c: Call) -> Dims | tuple[Dims, ...]:
    """out = batch and steps, padded, then the dims of the sequences from the second on."""
    what, rows = "steps of sequences", [c.dims(t) for t in _sequences(c)]
    for first, *rest in rows:
        c.freeze(what, first)
        for a, b in zip(rest, rows[0][1:], strict=True):
            c.tie(a, b)
    out = [*(c.fixed(s, what) for s in c.outs[0].shape[:2]), *rows[0][1:]]
    return (out, [c.fixed(s, what) for s in c.outs[1].shape]) if c.several else out


def _sequences(c: Call) -> tuple[Tensor, ...]:
    return tuple(c["sequences"]) if c.get("sequences") is not None else (c["data"],)


@rule("lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell", law=recurrent)
def cell(c: Call) -> Dims | tuple[Dims, ...]:
    """One step: out is hidden."""
    x = c["input"]
    hidden, _ = _direction(c, x, c.dims(x)[-1], _weights(c), projected=False)
    for s in _states(c):
        c.unify(c.dims(s)[-1], hidden)
    out = [*c.dims(x)[:-1], hidden]
    return tuple(list(out) for _ in c.outs) if c.several else out
