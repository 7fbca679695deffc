"""Recurrent layers and cells: each weight's dim 0 is (gates hidden); a hidden unit with zero weights stays zero."""

from __future__ import annotations

from torch import Tensor

from purethin.rules.call import Call, Dims, rule
from purethin.rules.laws import Recurrent
from purethin.solver import Node, product, total, variable

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def layers(c: Call) -> tuple[Dims, ...]:
    """w_ih is (gates hidden) in, w_hh (gates hidden) out; out is the directions' sum; the next layer's in is that."""
    x = c.get("input", c.get("data"))
    params: list[Tensor] = list(c["params"])
    states = c["hx"] if isinstance(c["hx"], list | tuple) else [c["hx"]]
    biased, depth = c["has_biases"], c["num_layers"]
    sides = 2 if c["bidirectional"] else 1
    dims = c.dims(x)
    projected = c.name == "lstm" and c.outs[0].shape[-1] // sides != params[1].shape[0] // 4
    per = 2 + 2 * biased + projected
    steps = 1
    for s in x.shape[:-1]:
        steps *= s
    feature = dims[-1]
    for layer in range(depth):
        outs = []
        for side in range(sides):
            start = (layer * sides + side) * per
            own = params[start : start + per]
            outs.append(_direction(c, feature, own, steps, projected))
        feature = total(outs)
    for i, state in enumerate(states):
        for last in _last_hidden(c, params, per, i):
            c.unify(c.dims(state)[-1], last)
    c.law = Recurrent(x, params[0], tuple(params), tuple(states))
    hidden = [[*c.dims(s)[:-1], c.dims(s)[-1]] for s in states]
    return ([*dims[:-1], feature], *hidden)


def _direction(c: Call, feature: Node, own: list[Tensor], steps: int, projected: bool) -> Node:
    """One layer in one direction: its output's last dim."""
    w_in, w_hidden = own[0], own[1]
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
    return out


def _last_hidden(c: Call, params: list[Tensor], per: int, state: int) -> list[Node]:
    """The last dims that a state's slices have, one per layer and direction; they are one tensor, so they are one size."""
    rows = [params[i : i + per] for i in range(0, len(params), per)]
    if state == 0:
        return [c.dims(row[1])[1] for row in rows]
    gates = GATES[c.name]
    return [_inner(c, row[0], gates) for row in rows]


def _inner(c: Call, weight: Tensor, gates: int) -> Node:
    hidden = variable(weight.shape[0] // gates)
    c.unify(c.dims(weight)[0], product([c.fixed(gates, "gates"), hidden]))
    return hidden


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def cell(c: Call) -> Dims | tuple[Dims, ...]:
    """One step: out is hidden."""
    x, states = c["input"], c["hx"] if isinstance(c["hx"], list | tuple) else [c["hx"]]
    own = [t for t in (c["w_ih"], c["w_hh"], c["b_ih"], c["b_hh"]) if t is not None]
    steps = 1
    for s in x.shape[:-1]:
        steps *= s
    hidden = _direction(c, c.dims(x)[-1], own, steps, projected=False)
    for s in states:
        c.unify(c.dims(s)[-1], hidden)
    c.law = Recurrent(x, own[0], tuple(own), tuple(states))
    out = [*c.dims(x)[:-1], hidden]
    return tuple(list(out) for _ in c.outs) if isinstance(c.out, tuple | list) else out
