"""Numbers that were computed from sizes: each knows what it is at other sizes, so one trial is
enough where they are all that changes, and nothing that has no formula is taken for one.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import math
import operator
import pickle
import struct
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import randomise
from tables import case
from torch import Tensor, nn

import purethin as pt
from purethin import axes as ax
from purethin.inference.computed import HEAVIEST, Computed, computed, foretold, formulas
from purethin.inference.ledger import Ledger
from purethin.inference.nodes import Node, expression, variable
from purethin.inference.posing import unposed
from purethin.inference.ratios import Ratio
from purethin.inference.sizes import Size

Between = Callable[[Any, Tensor, Tensor], Tensor]
FORWARDS = itertools.count()
"""What nothing puts back: so it counts the traces too."""


class Two(nn.Module):
    """Two hidden layers of eight units, with numbers between."""

    def __init__(self, between: Between, heads: int = 2) -> None:
        super().__init__()
        self.width, self.heads, self.between = 8, heads, between
        self.up, self.side, self.down = nn.Linear(5, 8), nn.Linear(5, 8), nn.Linear(8, 3)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        next(FORWARDS)
        h, k = self.up(x), self.side(x)
        return self.down(self.between(self, h, k)) + self.last(k)


def inferred(between: Between) -> tuple[pt.Spec, int]:
    """The spec, and the traces that it took."""
    net, before = randomise(Two(between)), next(FORWARDS)
    spec = pt.infer(net, pt.params_of(net), torch.randn(4, 5, dtype=torch.float64))
    return spec, next(FORWARDS) - before - 1


def attended(net: Any, h: Tensor, k: Tensor) -> Tensor:
    q = h.view(1, 4, 4, h.shape[1] // 4).transpose(1, 2)
    out = F.scaled_dot_product_attention(q, q, q, scale=q.size(-1) ** -0.5)
    return out.transpose(1, 2).reshape(h.shape)


FORETOLD = [
    case("an attention scale", lambda net, h, k: h * h.shape[1] ** -0.5).gives(),
    case("its inverse", lambda net, h, k: h * (1 / h.shape[1] ** 0.5)).gives(),
    case("a root", lambda net, h, k: h / math.sqrt(h.shape[-1])).gives(),
    case("the inverse of a root", lambda net, h, k: (1.0 / math.sqrt(h.size(1))) * h).gives(),
    case("a temperature from the width", lambda net, h, k: (h / (h.shape[1] * 0.1)).tanh()).gives(),
    case("a fraction of the width", lambda net, h, k: h * (h.shape[1] / net.heads)).gives(),
    case("its root", lambda net, h, k: h * (h.shape[1] / net.heads) ** 0.5).gives(),
    case("the width itself", lambda net, h, k: h * h.shape[1]).gives(),
    case("a sum with the width", lambda net, h, k: h + (h.shape[1] + 0.5)).gives(),
    case("a difference of widths", lambda net, h, k: h * (h.shape[1] - 1)).gives(),
    case("a logarithm", lambda net, h, k: h + math.log(h.shape[1], 2)).gives(),
    case("a power", lambda net, h, k: h * 0.9 ** h.shape[1]).gives(),
    case("the less of two", lambda net, h, k: h * min(0.9, h.shape[1] ** -0.5)).gives(),
    case(
        "a number kept in a dict", lambda net, h, k: h * {"scale": h.shape[1] ** -0.5}["scale"]
    ).gives(),
    case("a keyword", lambda net, h, k: torch.add(h, h.tanh(), alpha=h.shape[1] ** -0.5)).gives(),
    case("what attention is told", attended).gives(),
]


@pytest.mark.parametrize("between", FORETOLD)
def test_a_number_whose_formula_is_known_asks_for_no_second_trial(between: Between) -> None:
    spec, traces = inferred(between)
    assert spec.exact == ("side",) and len(spec.axes) > 1
    assert traces == 2


def test_a_quotient_of_sizes_has_a_formula_too() -> None:
    """As a window attention has it: its heads stay exact, their width does not."""

    def by_heads(net: Any, h: Tensor, k: Tensor) -> Tensor:
        q = h.view(-1, net.heads, h.shape[1] // net.heads)
        return (q * (h.shape[1] // net.heads) ** -0.5).flatten(1)

    spec, traces = inferred(by_heads)
    assert "side" in spec.exact and len(spec.exact) == 2 and len(spec.axes) == 3
    assert traces == 2


def hidden(t: Tensor) -> Any:
    """The width, as nothing tracks it."""
    return t.stride(0)


HIDDEN = [
    case("alone", lambda net, h, k: h * hidden(k) ** -0.5).gives(),
    case(
        "beside one that is known", lambda net, h, k: h * h.shape[1] ** -0.5 + hidden(k) ** -0.5
    ).gives(),
    case("before it", lambda net, h, k: (h + hidden(k) ** -0.5) * h.shape[1] ** -0.5).gives(),
    case(
        "unchanged where both go, as it would not be without it",
        lambda net, h, k: h * (1.5 + abs(h.shape[1] - hidden(k) + 3)),
    ).gives(),
    case("a factor in it", lambda net, h, k: h * (h.shape[1] ** -0.5 * hidden(k))).gives(),
    case("a power in it", lambda net, h, k: h * h.shape[1] ** (-1 / hidden(k))).gives(),
    case("in a fraction", lambda net, h, k: h * (h.shape[1] / hidden(k))).gives(),
    case("for a size in it", lambda net, h, k: h * (h.shape[1] - hidden(k) + 0.5)).gives(),
    case(
        "the other number of one operator",
        lambda net, h, k: F.threshold(h, h.shape[1] ** -0.5, hidden(k) ** -0.5),
    ).gives(),
    case(
        "chosen by it", lambda net, h, k: h * (h.shape[1] ** -0.5 if hidden(k) == 8 else 1.5)
    ).gives(),
    case(
        "in a tensor", lambda net, h, k: h * h.shape[1] ** -0.5 * torch.tensor(hidden(k) * 1.0)
    ).gives(),
]


@pytest.mark.parametrize("between", HIDDEN)
def test_a_hidden_size_in_a_number_is_found_beside_one_that_is_known(between: Between) -> None:
    """Both axes have eight units, of which as many stay in the trial."""
    spec, traces = inferred(between)
    assert "side" not in spec.exact
    assert "its size is in the number" in str(spec.axes["side"].reason)
    assert traces > 2


LOST = [
    case("its digits", lambda net, h, k: h * float(f"{h.shape[1] ** -0.5}")).gives(),
    case("a number of its own kind", lambda net, h, k: h * float(h.shape[1]) ** -0.5).gives(),
    case("a tensor", lambda net, h, k: h * torch.tensor(h.shape[1] ** -0.5, dtype=h.dtype)).gives(),
    case("rounded", lambda net, h, k: h * round(h.shape[1] ** -0.5, 9)).gives(),
]


@pytest.mark.parametrize("between", LOST)
def test_where_a_formula_is_lost_a_second_trial_tells(between: Between) -> None:
    spec, traces = inferred(between)
    assert spec.exact == ("side",) and not spec.axes["up"].exact
    assert traces == 3


def test_a_comparison_of_sizes_is_a_condition_and_asks_for_no_second_trial() -> None:
    spec, traces = inferred(lambda net, h, k: h * (2.0 if h.shape[1] > 2 else 1.0))
    assert {*spec.exact} == {"up", "side"} and len(spec.conditions) == 1
    assert traces == 2


def test_another_way_is_seen_behind_a_number_that_was_foretold() -> None:
    def turned(net: Any, h: Tensor, k: Tensor) -> Tensor:
        h = h * h.shape[1] ** -0.5
        return h.tanh() if h.shape[1] ** 0.5 > 2.7 else h.sin()

    spec, _ = inferred(turned)
    assert spec.exact == ("side",) and "up" not in spec.axes
    assert any("takes another way" in f.reason for f in spec.frozen)


# ---- formulas

Formula = Callable[[Any, Any], Any]
LEAVES: st.SearchStrategy[Formula] = st.one_of(
    st.sampled_from([lambda w, h: w, lambda w, h: h, lambda w, h: w // h]),
    st.sampled_from([0.25, 1, 2, 3.5]).map(lambda k: lambda w, h: k),
)
ONE: tuple[Callable[[Any], Any], ...] = (
    *(lambda x: x**-0.5, lambda x: x**2, lambda x: 0.9**x, lambda x: -x, abs),
    *(lambda x: math.sqrt(x), lambda x: math.log(x), lambda x: math.exp(x), lambda x: min(x, 7.5)),
)
TWO = (operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod)


def larger(parts: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
    """A function of one formula, or an operator between two."""

    def of_two(f: Any, x: Formula, y: Formula) -> Formula:
        return lambda w, h: f(x(w, h), y(w, h))

    def of_one(f: Any, x: Formula) -> Formula:
        return lambda w, h: f(x(w, h))

    return st.one_of(
        st.builds(of_two, st.sampled_from(TWO), parts, parts),
        st.builds(of_one, st.sampled_from(ONE), parts),
    )


def value(formula: Formula, width: Any, heads: Any) -> Any:
    """What a formula gives, or that it has no value there."""
    try:
        found = formula(width, heads)
    except (ArithmeticError, ValueError):
        return "none"
    return found if isinstance(found, int | float) else "none"


@settings(max_examples=60)
@given(st.recursive(LEAVES, larger, max_leaves=6), st.integers(1, 40), st.integers(1, 9))
def test_a_number_of_sizes_is_pythons_own_and_foretells_itself_at_other_sizes(
    formula: Formula, width: int, heads: int
) -> None:
    ledger, w, h = Ledger(), variable(24), variable(4)
    with formulas():
        made = value(formula, Size(24, w, ledger), Size(4, h, ledger))
    assert unposed(made) == value(formula, 24, 4)
    if not isinstance(made, Computed | Ratio):
        return
    sizes = {"w": width, "h": heads}
    sizes |= {name: n.size for name, n in (("w", w), ("h", h)) if n.kind == "constant"}

    def size_of(node: Node) -> int:
        return ax.size(expression(node, {w: "w", h: "h"}.__getitem__), sizes)

    with contextlib.suppress(LookupError):  # a quotient has its size from a whole trace
        there = value(lambda *_: foretold(made, size_of), 0, 0)
        assert there == value(formula, sizes["w"], sizes["h"])


def scale() -> Any:
    """A float of a size."""
    return Size(4, variable(4), Ledger()) ** -0.5


READERS = [
    case("float", float).gives(0.5),
    case("int", int).gives(0),
    case("isinstance", lambda x: isinstance(x, float)).gives(True),
    case("json", json.dumps).gives("0.5"),
    case("text", lambda x: f"{x} {x:.2f} {x!r} {round(x, 2)}").gives("0.5 0.50 0.5 0.5"),
    case("struct", lambda x: struct.unpack("f", struct.pack("f", x))[0]).gives(0.5),
    case("a key", {0.5: "half"}.get).gives("half"),
    case("copy", copy.deepcopy).gives(0.5),
    case("pickle", lambda x: type(pickle.loads(pickle.dumps(x)))).gives(float),
    case("an order", lambda x: (x < 1, x >= 1, x == 0.5, max(x, 2), sorted([x, 0])[0])).gives(
        (True, False, True, 2, 0)
    ),
    case("a truth value", lambda x: -x * True).gives(-0.5),
    case("a sum", lambda x: sum([x] * 4)).gives(2.0),
    case("torch", lambda x: (torch.ones(1) * x + x * torch.ones(1)).item()).gives(1.0),
    case("made by torch", lambda x: (torch.tensor(x) + torch.full((), x)).item()).gives(1.0),
]


@pytest.mark.parametrize(("reader", "found"), READERS)
def test_a_float_of_a_size_is_a_float_to_all_that_read_it(
    reader: Callable[[Any], Any], found: object
) -> None:
    assert reader(scale()) == found == reader(0.5)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_numpy_takes_a_float_of_a_size_as_it_takes_a_float(kind: str) -> None:
    np = pytest.importorskip("numpy")
    for x in (np.ones(2, kind), np.ones((), kind)[()]):
        for function in (lambda k, x=x: x * k, lambda k, x=x: k * x, lambda k: np.sqrt(k)):
            found, want = function(scale()), function(0.5)
            assert type(found) is type(want) and found.dtype == want.dtype
            assert (found == want).all()


def test_a_formula_that_grows_in_a_loop_is_let_go() -> None:
    x = scale()
    for _ in range(2 * HEAVIEST):
        x = x * 0.9
    assert type(x) is float
    assert type(computed(operator.mul, scale(), scale())) is Computed
