"""What a forward changes besides what it returns is as it was after `infer`: of the user's own
module, and of what a traced function closes over.
"""

from __future__ import annotations

import copy
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import purethin as pt

COUNTS: Counter[str] = Counter()
NAMES: dict[Any, Any] = {}
SEEN: list[Any] = []
WIDTHS: set[int] = set()
STEPS = 0
TABLE = torch.zeros(3)


class Net(nn.Module):
    """A network that leaves traces."""

    total = 0
    tables: dict[Any, Any] = {}  # noqa: RUF012  (shared on purpose)

    def __init__(self, leave: Callable[[Any, Tensor], object]) -> None:
        super().__init__()
        self.up, self.down, self.leave = nn.Linear(5, 8), nn.Linear(8, 3), leave
        self.cache: dict[Any, Any] = {}
        self.ordered: OrderedDict[Any, Any] = OrderedDict(a=1)
        self.log: list[Any] = [0]
        self.recent: deque[Any] = deque([1, 2], maxlen=3)
        self.config = SimpleNamespace(width=8, history=[])
        self.steps = 0
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.mean = torch.zeros(8)

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x).relu()
        self.leave(self, h)
        return self.down(h)


def count(net: Any, h: Tensor) -> None:
    global STEPS
    STEPS += 1


def per_class(net: Any, h: Tensor) -> None:
    type(net).total += 1


def new_on_class(net: Any, h: Tensor) -> None:
    type(net).newest = h


def replace_buffer(net: Any, h: Tensor) -> None:
    net.calls = net.calls + 1


def drop(net: Any, h: Tensor) -> None:
    net.__dict__.pop("mean", None)


MUTATIONS = [
    pytest.param(lambda net, h: setattr(net, "steps", net.steps + 1), id="an attribute"),
    pytest.param(lambda net, h: setattr(net, "last", h), id="a new attribute"),
    pytest.param(lambda net, h: net.cache.update({h.shape[1]: h}), id="a dict"),
    pytest.param(lambda net, h: net.ordered.update(b=h), id="an ordered dict"),
    pytest.param(lambda net, h: net.ordered.update(a=2), id="an ordered dict's order"),
    pytest.param(lambda net, h: net.log.append(h.shape), id="a list"),
    pytest.param(lambda net, h: net.log.__setitem__(0, h), id="an entry of a list"),
    pytest.param(lambda net, h: net.recent.append(h), id="a queue"),
    pytest.param(lambda net, h: setattr(net.config, "width", h.shape[1]), id="a config"),
    pytest.param(lambda net, h: net.config.history.append(h), id="a list in a config"),
    pytest.param(lambda net, h: net.calls.add_(1), id="a buffer in place"),
    pytest.param(replace_buffer, id="a buffer replaced"),
    pytest.param(lambda net, h: net.mean.add_(1), id="a tensor in place"),
    pytest.param(lambda net, h: net.mean[2:4].fill_(7), id="a view of a tensor in place"),
    pytest.param(drop, id="an attribute taken away"),
    pytest.param(count, id="a global number"),
    pytest.param(lambda net, h: NAMES.update({h.shape: h}), id="a global dict"),
    pytest.param(lambda net, h: SEEN.append(h), id="a global list"),
    pytest.param(lambda net, h: WIDTHS.add(3), id="a global set"),
    pytest.param(lambda net, h: COUNTS.update(["forward"]), id="a global counter"),
    pytest.param(lambda net, h: TABLE.add_(1), id="a global tensor in place"),
    pytest.param(per_class, id="an attribute of the class"),
    pytest.param(new_on_class, id="a new attribute of the class"),
    pytest.param(lambda net, h: net.tables.update({len(h): h}), id="a dict of the class"),
    pytest.param(lambda net, h: torch.rand(3), id="torch's random state"),
    pytest.param(lambda net, h: random.random(), id="Python's random state"),
]


def world(*nets: nn.Module) -> list[Any]:
    """Everything that a forward here can change, copied."""
    own = [{n: x for n, x in vars(net).items() if n != "leave"} for net in nets]
    names = {n: x for n, x in vars(Net).items() if not n.startswith("__")}
    return [
        copy.deepcopy([COUNTS, NAMES, SEEN, WIDTHS, STEPS, TABLE, own]),
        {n: repr(x) for n, x in names.items()},
        torch.get_rng_state(),
        random.getstate(),
    ]


def same(a: Any, b: Any) -> bool:
    """Whether two copies are equal, tensors bit for bit."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.device == b.device and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple | deque) and isinstance(b, list | tuple | deque):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "__dict__") and type(a) is type(b):
        return same(vars(a), vars(b))
    return bool(a == b)


@pytest.mark.parametrize("leave", MUTATIONS)
def test_a_module_that_changes_things_is_left_as_it_was(
    leave: Callable[[Any, Tensor], object],
) -> None:
    net = Net(leave).eval()
    before = world(net)
    spec = pt.infer(net, pt.params_of(net), torch.ones(2, 5))
    assert "up" in spec.axes
    assert same(before, world(net))


@pytest.mark.parametrize("leave", MUTATIONS)
def test_what_a_traced_function_closes_over_is_left_as_it_was(
    leave: Callable[[Any, Tensor], object],
) -> None:
    net = Net(leave).eval()
    calls = [0]

    def function(params: dict[str, Tensor], x: Tensor) -> Any:
        calls.append(1)
        return functional_call(net, params, x)

    params = dict(net.named_parameters())
    before = world(net)
    spec = pt.infer(function, params, torch.ones(2, 5))
    assert "up" in spec.axes
    assert same(before, world(net))
    assert calls == [0]


def test_a_count_that_a_closure_keeps_is_as_it_was() -> None:
    calls = 0

    def function(params: dict[str, Tensor], x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return (x @ params["w"]).relu() @ params["v"]

    pt.infer(function, {"w": torch.ones(5, 8), "v": torch.ones(8, 3)}, torch.randn(2, 5))
    assert calls == 0
