"""Recurrent layers, whole and cell by cell, and recurrences written out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .pattern import Net, conv, layers, pattern, random, sequence, tokens, weight
from .written import LAYOUTS

KINDS = {"an LSTM": nn.LSTM, "a GRU": nn.GRU, "an RNN": nn.RNN}
CELLS = {"an LSTM cell": nn.LSTMCell, "a GRU cell": nn.GRUCell, "an RNN cell": nn.RNNCell}


def last_output(net: Net, x: Tensor) -> Tensor:
    out, _ = net.rnn(net.fc(x))
    return net.head(out[:, -1])


def all_outputs(net: Net, x: Tensor) -> Tensor:
    return net.head(net.rnn(net.fc(x))[0])


def members(kind: Callable[..., nn.Module], head: int, **options: object) -> dict[str, object]:
    rnn = kind(8, 6, batch_first=True, **options)
    return layers(fc=nn.Linear(5, 8), rnn=rnn, head=nn.Linear(head, 3))


for name, kind in KINDS.items():
    pattern(
        name,
        lambda kind=kind: members(kind, 6),
        inputs=sequence,
        prunable="fc rnn",
        frozen="fc.weight:1",
        layout=LAYOUTS[name],
    )(last_output)
    pattern(
        f"{name} in both directions",
        lambda kind=kind: members(kind, 12, bidirectional=True),
        inputs=sequence,
        prunable="fc rnn",
        layout=LAYOUTS[f"{name} in both directions"],
    )(all_outputs)
    pattern(
        f"{name} of two layers",
        lambda kind=kind: members(kind, 6, num_layers=2),
        inputs=sequence,
        prunable="fc rnn",
        layout=LAYOUTS[f"{name} of two layers"],
    )(last_output)
    pattern(
        f"{name} of two layers in both directions",
        lambda kind=kind: members(kind, 12, num_layers=2, bidirectional=True),
        inputs=sequence,
        prunable="fc rnn",
        layout=LAYOUTS[f"{name} of two layers in both directions"],
    )(all_outputs)
pattern(
    "an LSTM without bias",
    lambda: members(nn.LSTM, 6, bias=False),
    inputs=sequence,
    prunable="fc rnn",
    layout="fc: a 5; rnn.weight_ih_l0: (4 b) a; rnn.weight_hh_l0: (4 b) b; head.weight: 3 b",
)(all_outputs)
pattern(
    "an RNN of relus",
    lambda: members(nn.RNN, 6, nonlinearity="relu"),
    inputs=sequence,
    prunable="fc rnn",
    layout=(
        "fc: a 5; rnn.weight_ih_l0: b a; rnn.weight_hh_l0: b b; rnn.bias_ih_l0: b; "
        "rnn.bias_hh_l0: b; head.weight: 3 b"
    ),
)(all_outputs)
pattern(
    "an LSTM with a projection",
    lambda: members(nn.LSTM, 4, proj_size=4),
    inputs=sequence,
    prunable="fc rnn",
    layout=(
        "fc: a 5; rnn.weight_ih_l0: (4 b) a; rnn.weight_hh_l0: (4 b) c; rnn.bias_ih_l0: (4 b); "
        "rnn.bias_hh_l0: (4 b); rnn.weight_hr_l0: c b; head.weight: 3 c"
    ),
)(all_outputs)


@pattern(
    "the last state of a GRU in both directions",
    lambda: layers(
        fc=nn.Linear(5, 8),
        rnn=nn.GRU(8, 6, batch_first=True, bidirectional=True),
        head=nn.Linear(12, 3),
    ),
    inputs=sequence,
    prunable="fc rnn",
    layout=(
        "fc: a 5; rnn.weight_ih_l0: (3 b) a; rnn.weight_hh_l0: (3 b) b; rnn.bias_ih_l0: (3 b); "
        "rnn.bias_hh_l0: (3 b); rnn.weight_ih_l0_reverse: (3 b) a; "
        "rnn.weight_hh_l0_reverse: (3 b) b; rnn.bias_ih_l0_reverse: (3 b); "
        "rnn.bias_hh_l0_reverse: (3 b); head.weight: 3 (b + b)"
    ),
)
def last_state(net: Net, x: Tensor) -> Tensor:
    _, state = net.rnn(net.fc(x))
    return net.head(torch.cat([state[0], state[1]], -1))


@pattern(
    "the cell state of an LSTM",
    lambda: layers(rnn=nn.LSTM(5, 6), head1=nn.Linear(6, 3), head2=nn.Linear(6, 3)),
    inputs=lambda: (random(7, 2, 5),),
    prunable="rnn",
    layout=(
        "rnn.weight_ih_l0: (4 a) 5; rnn.weight_hh_l0: (4 a) a; rnn.bias_ih_l0: (4 a); "
        "rnn.bias_hh_l0: (4 a); head1.weight: 3 a; head2.weight: 3 a"
    ),
)
def cell_state(net: Net, x: Tensor) -> Tensor:
    _, (hidden, cell) = net.rnn(x)
    return net.head1(hidden[-1]) + net.head2(cell.squeeze(0))


@pattern(
    "an initial state of zeros by an attribute",
    lambda: layers(rnn=nn.GRU(5, 6, batch_first=True), head=nn.Linear(6, 3), hidden=6),
    inputs=sequence,
    prunable="rnn",
    layout=(
        "rnn.weight_ih_l0: (3 a) 5; rnn.weight_hh_l0: (3 a) a; rnn.bias_ih_l0: (3 a); "
        "rnn.bias_hh_l0: (3 a); head.weight: 3 a"
    ),
)
def zero_state(net: Net, x: Tensor) -> Tensor:
    return net.head(net.rnn(x, x.new_zeros(1, x.shape[0], net.hidden))[0])


@pattern(
    "an initial state of zeros by a literal",
    lambda: layers(rnn=nn.GRU(5, 6, batch_first=True), head=nn.Linear(6, 3)),
    inputs=sequence,
    frozen="rnn.weight_ih_l0:0 rnn.weight_hh_l0:1 head.weight:1",
    why="the literal or fixed size 6 in zeros",
)
def literal_state(net: Net, x: Tensor) -> Tensor:
    return net.head(net.rnn(x, torch.zeros(1, 2, 6, dtype=x.dtype, device=x.device))[0])


@pattern(
    "an initial state that is learned",
    lambda: layers(first=weight(1, 1, 6), rnn=nn.GRU(5, 6, batch_first=True), head=nn.Linear(6, 3)),
    inputs=sequence,
    prunable="rnn",
    layout=(
        "first: 1 1 a; rnn.weight_ih_l0: (3 a) 5; rnn.weight_hh_l0: (3 a) a; "
        "rnn.bias_ih_l0: (3 a); rnn.bias_hh_l0: (3 a); head.weight: 3 a"
    ),
)
def learned_state(net: Net, x: Tensor) -> Tensor:
    return net.head(net.rnn(x, net.first.expand(-1, x.shape[0], -1).contiguous())[0])


@pattern(
    "an initial state from another layer",
    lambda: layers(fc=nn.Linear(5, 6), rnn=nn.RNN(5, 6, batch_first=True), head=nn.Linear(6, 3)),
    inputs=sequence,
    prunable="fc rnn",
    layout=(
        "fc: a 5; rnn.weight_ih_l0: a 5; rnn.weight_hh_l0: a a; rnn.bias_ih_l0: a; "
        "rnn.bias_hh_l0: a; head.weight: 3 a"
    ),
)
def computed_state(net: Net, x: Tensor) -> Tensor:
    return net.head(net.rnn(x, net.fc(x[:, 0]).unsqueeze(0))[0])


@pattern(
    "an initial state that is not zero at zero",
    lambda: layers(fc=nn.Linear(5, 6), rnn=nn.RNN(5, 6, batch_first=True), head=nn.Linear(6, 3)),
    inputs=sequence,
    layout=(
        "fc: a~ 5; rnn.weight_ih_l0: a~ 5; rnn.weight_hh_l0: a~ a~; rnn.bias_ih_l0: a~; "
        "rnn.bias_hh_l0: a~; head.weight: 3 a~"
    ),
    why="an initial state that is not zero in rnn_tanh",
)
def sigmoid_state(net: Net, x: Tensor) -> Tensor:
    return net.head(net.rnn(x, net.fc(x[:, 0]).sigmoid().unsqueeze(0))[0])


@pattern(
    "an initial state from the caller",
    lambda: layers(rnn=nn.GRU(5, 6, batch_first=True), head=nn.Linear(6, 3)),
    inputs=lambda: (random(2, 7, 5), random(1, 2, 6, seed=1)),
    frozen="rnn.weight_ih_l0:0 rnn.weight_hh_l0:0 rnn.weight_hh_l0:1 head.weight:1",
    why="an input's size",
)
def given_state(net: Net, x: Tensor, state: Tensor) -> Tensor:
    return net.head(net.rnn(x, state)[0])


@pattern(
    "an embedding, two recurrent layers and a norm between",
    lambda: layers(
        table=nn.Embedding(11, 8),
        rnn1=nn.GRU(8, 6, batch_first=True),
        norm=nn.BatchNorm1d(6),
        rnn2=nn.LSTM(6, 7, batch_first=True),
        head=nn.Linear(7, 3),
    ),
    inputs=tokens,
    prunable="table rnn1 rnn2",
    frozen="table.weight:0",
    layout=(
        "table: 11 a; rnn1.weight_ih_l0: (3 b) a; rnn1.weight_hh_l0: (3 b) b; "
        "rnn1.bias_ih_l0: (3 b); rnn1.bias_hh_l0: (3 b); norm: b; rnn2.weight_ih_l0: (4 c) b; "
        "rnn2.weight_hh_l0: (4 c) c; rnn2.bias_ih_l0: (4 c); rnn2.bias_hh_l0: (4 c); "
        "head.weight: 3 c"
    ),
)
def two_layers(net: Net, x: Tensor) -> Tensor:
    h = net.norm(net.rnn1(net.table(x))[0].transpose(1, 2)).transpose(1, 2)
    return net.head(net.rnn2(h)[0])


@pattern(
    "a recurrence over the rows of a convolution",
    lambda: layers(
        conv1=conv(3, 8),
        rnn=nn.LSTM(8, 6, batch_first=True, bidirectional=True),
        head=nn.Linear(12, 3),
    ),
    prunable="conv1 rnn",
    layout=(
        "conv1: a 3 3 3; rnn.weight_ih_l0: (4 b) a; rnn.weight_hh_l0: (4 b) b; "
        "rnn.bias_ih_l0: (4 b); rnn.bias_hh_l0: (4 b); rnn.weight_ih_l0_reverse: (4 b) a; "
        "rnn.weight_hh_l0_reverse: (4 b) b; rnn.bias_ih_l0_reverse: (4 b); "
        "rnn.bias_hh_l0_reverse: (4 b); head.weight: 3 (b + b)"
    ),
)
def rows(net: Net, x: Tensor) -> Tensor:
    return net.head(net.rnn(net.conv1(x).relu().mean(3).transpose(1, 2))[0])


@pattern(
    "a recurrent layer with a residual around it",
    lambda: layers(fc=nn.Linear(5, 6), rnn=nn.GRU(6, 6, batch_first=True), head=nn.Linear(6, 3)),
    inputs=sequence,
    prunable="fc",
    layout=(
        "fc: a 5; rnn.weight_ih_l0: (3 a) a; rnn.weight_hh_l0: (3 a) a; rnn.bias_ih_l0: (3 a); "
        "rnn.bias_hh_l0: (3 a); head.weight: 3 a"
    ),
)
def around(net: Net, x: Tensor) -> Tensor:
    h = net.fc(x)
    return net.head(h + net.rnn(h)[0])


def run_cell(net: Net, x: Tensor) -> Tensor:
    state = None
    for step in net.fc(x).unbind(1):
        state = net.cell(step, state)
    return net.head(state[0] if isinstance(state, tuple) else state)


for name, cell in CELLS.items():
    pattern(
        name,
        lambda cell=cell: layers(fc=nn.Linear(5, 8), cell=cell(8, 6), head=nn.Linear(6, 3)),
        inputs=sequence,
        prunable="fc cell",
        layout=LAYOUTS[name],
    )(run_cell)


@pattern(
    "two LSTM cells, one over the other",
    lambda: layers(
        cell1=nn.LSTMCell(5, 8), cell2=nn.LSTMCell(8, 6, bias=False), head=nn.Linear(6, 3)
    ),
    inputs=sequence,
    prunable="cell1 cell2",
    layout=(
        "cell1.weight_ih: (4 a) 5; cell1.weight_hh: (4 a) a; cell1.bias_ih: (4 a); "
        "cell1.bias_hh: (4 a); cell2.weight_ih: (4 b) a; cell2.weight_hh: (4 b) b; "
        "head.weight: 3 b"
    ),
)
def two_cells(net: Net, x: Tensor) -> Tensor:
    low, high = None, None
    for t in range(x.shape[1]):
        low = net.cell1(x[:, t], low)
        high = net.cell2(low[0], high)
    return net.head(high[0])  # type: ignore[index]


@pattern(
    "a cell fed with its own output",
    lambda: layers(fc=nn.Linear(5, 6), cell=nn.GRUCell(3, 6), head=nn.Linear(6, 3)),
    inputs=lambda: (random(2, 5),),
    prunable="fc",
    layout=(
        "fc: a 5; cell.weight_ih: (3 a) 3; cell.weight_hh: (3 a) a; cell.bias_ih: (3 a); "
        "cell.bias_hh: (3 a); head.weight: 3 a"
    ),
)
def decoder(net: Net, x: Tensor) -> Tensor:
    state, out = net.fc(x).tanh(), x.new_zeros(2, 3)
    for _ in range(3):
        state = net.cell(out, state)
        out = net.head(state)
    return out


@pattern(
    "a recurrence written out",
    lambda: layers(inward=nn.Linear(5, 6), onward=nn.Linear(6, 6), head=nn.Linear(6, 3)),
    inputs=sequence,
    prunable="inward",
    layout="inward: a 5; onward: a a; head.weight: 3 a",
)
def written_out(net: Net, x: Tensor) -> Tensor:
    state = net.inward(x[:, 0])
    for t in range(1, x.shape[1]):
        state = torch.tanh(net.inward(x[:, t]) + net.onward(state))
    return net.head(state)


@pattern(
    "gates of an LSTM written out",
    lambda: layers(
        inward=nn.Linear(5, 24), onward=nn.Linear(6, 24, bias=False), head=nn.Linear(6, 3), hidden=6
    ),
    inputs=sequence,
    prunable="inward",
    layout="inward: (a + a + a + a) 5; onward: (a + a + a + a) a; head.weight: 3 a",
)
def gates(net: Net, x: Tensor) -> Tensor:
    h = c = x.new_zeros(x.shape[0], net.hidden)
    for t in range(x.shape[1]):
        i, f, g, o = (net.inward(x[:, t]) + net.onward(h)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    return net.head(h)


@pattern(
    "a linear recurrence with a decay for each channel",
    lambda: layers(fc=nn.Linear(5, 8), decay=weight(8), head=nn.Linear(8, 3)),
    inputs=sequence,
    prunable="fc",
    layout="decay: a; fc: a 5; head.weight: 3 a",
)
def decayed(net: Net, x: Tensor) -> Tensor:
    h = net.fc(x)
    state, seen = torch.zeros_like(h[:, 0]), []
    for t in range(h.shape[1]):
        state = net.decay.sigmoid() * state + h[:, t]
        seen.append(state)
    return net.head(torch.stack(seen, 1))


@pattern(
    "a packed sequence",
    lambda: layers(fc=nn.Linear(5, 8), rnn=nn.GRU(8, 6, batch_first=True), head=nn.Linear(6, 3)),
    inputs=sequence,
    prunable="fc rnn",
    layout=(
        "fc: a 5; rnn.weight_ih_l0: (3 b) a; rnn.weight_hh_l0: (3 b) b; rnn.bias_ih_l0: (3 b); "
        "rnn.bias_hh_l0: (3 b); head.weight: 3 b"
    ),
)
def packed(net: Net, x: Tensor) -> Tensor:
    parts = nn.utils.rnn.pack_padded_sequence(net.fc(x), [7, 4], batch_first=True)
    out, _ = nn.utils.rnn.pad_packed_sequence(net.rnn(parts)[0], batch_first=True)
    return net.head(out)
