"""A table of layers' times: made, kept as JSON, between its points, and as a budget."""

from __future__ import annotations

from itertools import chain, product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import purethin as pt
from purethin.budgets.latency import LatencyTable
from purethin.budgets.layer_times import LayerTime, adder

NET = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.Conv2d(16, 16, 3, padding=1),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(16, 4),
).eval()
X = torch.rand(1, 3, 6, 6)
PARAMS = pt.params_of(NET)
SPEC = pt.infer(NET, PARAMS, X)
FIRST, SECOND = SPEC.axes


def table_of(seconds: list[float]) -> LatencyTable:
    """One layer of two directions on the grid .5, 1."""
    layer = LayerTime("3", ((SECOND,), (FIRST,)), (0.5, 1.0), tuple(seconds))
    return LatencyTable((layer,), seconds[-1], {})


def test_every_layer_is_cut_to_each_point_of_its_grid() -> None:
    seen: list[tuple[str, tuple[int, ...]]] = []

    def ready(module: nn.Module) -> nn.Module:
        if isinstance(module, nn.Conv2d | nn.Linear):
            seen.append((type(module).__name__, tuple(module.weight.shape[:2])))
        return module

    table = pt.latency_table(NET, SPEC, (X,), fractions=(0.25, 0.5), backend=ready, seconds=1e-4)
    assert [layer.module for layer in table.layers] == ["0", "1", "3", "7"]
    assert [len(layer.seconds) for layer in table.layers] == [3, 3, 9, 3]
    assert all(s > 0 for layer in table.layers for s in layer.seconds)
    assert seen == [
        *(("Conv2d", (n, 3)) for n in (4, 8, 16)),
        *(("Conv2d", (n, m)) for n in (4, 8, 16) for m in (4, 8, 16)),
        *(("Linear", (4, n)) for n in (4, 8, 16)),
    ]
    assert float(table.seconds(SPEC, {})) == pytest.approx(table.dense)


def test_layers_of_one_shape_are_timed_once() -> None:
    net = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(8, 8), nn.ReLU())))
    x, calls = torch.rand(1, 8), []
    table = pt.latency_table(
        net,
        pt.infer(net, pt.params_of(net), x),
        (x,),
        fractions=(0.5,),
        backend=lambda module: (calls.append(module), module)[1],
        seconds=1e-4,
    )
    assert len(table.layers) == 4
    # the first, both inner ones, the last, the whole, the whole cut to half
    assert len(calls) == 2 + 4 + 2 + 1 + 1


def test_between_its_points_a_table_is_interpolated_and_never_falls() -> None:
    table = table_of([1.0, 2.0, 3.0, 8.0])
    widths = {FIRST: torch.tensor([16, 12, 8, 2]), SECOND: torch.tensor([16, 12, 16, 8])}
    assert table.seconds(SPEC, widths).tolist() == pytest.approx([8.0, 3.5, 3.0, 1.0])
    odd = table_of([1.0, 2.0, 0.5, 8.0])  # a narrower one was seen to be slower
    assert float(odd.seconds(SPEC, {FIRST: 8})) == pytest.approx(1.0)


def by_hand(layer: LayerTime, sizes: dict[str, int], widths: dict[str, int]) -> float:
    """A layer's seconds at one width of each axis, point by point."""
    at = []
    for group in layer.widths:
        parts = [widths[n] / sizes[n] for n in group]
        at.append(min(max(sum(parts) / len(parts), layer.fractions[0]), 1.0))
    many, total = len(layer.fractions), 0.0
    for corner in product(range(many), repeat=len(at)):
        below = product(*(range(i + 1) for i in corner))
        places = [sum(i * many**k for k, i in enumerate(reversed(b))) for b in below]
        weight = 1.0
        for x, i in zip(at, corner, strict=True):
            steps = layer.fractions
            left = 0.0 if i == 0 else (x - steps[i - 1]) / (steps[i] - steps[i - 1])
            right = 0.0 if i == many - 1 else (steps[i + 1] - x) / (steps[i + 1] - steps[i])
            inside = left if i and x <= steps[i] else right if x >= steps[i] else 0.0
            weight *= 1.0 if x == steps[i] else max(0.0, min(1.0, inside))
        total += weight * max(layer.seconds[p] for p in places)
    cut = [w for n in {*chain(*layer.widths)} if 0 < (w := widths[n]) < sizes[n]]
    odd = min([w & -w for w in cut] + [2 ** len(layer.odd)])
    return total * (*layer.odd, 1.0)[odd.bit_length() - 1]


@given(st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_layers_of_any_grids_add_up_to_what_each_takes_by_hand(random: Any) -> None:
    sizes = {"a": 16, "b": 8, "c": 12}
    layers = []
    for number in range(random.randint(1, 5)):
        names = random.choice([("a",), ("b",), ("a", "b"), ("c", "a")])
        groups = random.choice([(names,), tuple((n,) for n in names)])
        points = random.choice([(0.5, 1.0), (0.25, 0.5, 1.0)])
        seconds = tuple(random.uniform(0.1, 1) for _ in range(len(points) ** len(groups)))
        odd = tuple(random.uniform(1, 2) for _ in range(random.choice([0, 3])))
        layers.append(LayerTime(str(number), groups, points, seconds, odd))
    each = [{n: random.randint(1, size) for n, size in sizes.items()} for _ in range(4)]
    columns = {n: torch.tensor([w[n] for w in each], dtype=torch.float64) for n in sizes}
    want = [sum(by_hand(layer, sizes, w) for layer in layers) for w in each]
    assert adder(layers, sizes)(columns).tolist() == pytest.approx(want)


def test_a_table_knows_the_multiples_that_were_fast() -> None:
    layer = LayerTime(
        "3", ((SECOND,), (FIRST,)), (0.5, 1.0), (1.0, 2.0, 3.0, 8.0), (3.0, 2.0, 1.02)
    )
    table = LatencyTable((layer,), 8.0, {})
    assert layer.multiple == 4 and pt.round_for(table, SPEC) == {FIRST: 4, SECOND: 4}
    widths = {FIRST: torch.tensor([16, 15, 14, 12, 8]), SECOND: 16}
    plain = table_of([1.0, 2.0, 3.0, 8.0]).seconds(SPEC, widths)
    factors = table.seconds(SPEC, widths) / plain
    assert factors.tolist() == pytest.approx([1.0, 3.0, 2.0, 1.02, 1.0])
    scores = pt.lp_norm(PARAMS, SPEC)
    masks = pt.solve(scores, SPEC, latency=0.8, table=table)
    assert masks and all(int(m.sum()) % 4 == 0 for m in masks.values())
    odd = pt.solve(scores, SPEC, parameters=0.8, round_to=1, table=table)
    assert any(int(m.sum()) % 4 for m in odd.values())
    half = pt.select(scores, 0.6, round_to=pt.round_for(table, SPEC), spec=SPEC)
    assert {int(m.sum()) for m in half.values()} == {8}
    for way in (
        lambda: pt.select(scores, 0.5, round_to="auto"),  # type: ignore[arg-type]
        lambda: pt.solve(scores, SPEC, macs=0.5, round_to="auto"),
    ):
        with pytest.raises(pt.MaskError, match=r"round_to is 'auto'.*table"):
            way()


def test_fast_multiples_that_a_budget_does_not_allow_are_halved_and_those_asked_for_are_not() -> (
    None
):
    layer = LayerTime("3", ((SECOND,), (FIRST,)), (0.5, 1.0), (1.0, 2.0, 3.0, 8.0), (3.0, 2.0))
    table, scores = LatencyTable((layer,), 8.0, {}), pt.lp_norm(PARAMS, SPEC)
    fours = {name: torch.arange(16) < 4 for name in SPEC.axes}
    limit = pt.cost(SPEC, fours).parameters - 1
    with pytest.raises(pt.MaskError, match="cannot be reached"):
        pt.solve(scores, SPEC, parameters=limit, round_to={"*": 4}, table=table)
    for round_to in (None, "auto"):
        found = pt.solve(scores, SPEC, parameters=limit, round_to=round_to, table=table)
        assert pt.cost(SPEC, found).parameters <= limit
        assert {int(m.sum()) % 2 for m in found.values()} == {0}
    with pytest.raises(pt.MaskError, match="cannot be reached: the least is"):
        pt.solve(scores, SPEC, parameters=2, table=table)


def test_networks_that_were_timed_whole_correct_what_layers_add_up_to() -> None:
    layer = LayerTime("3", ((SECOND,), (FIRST,)), (0.5, 1.0), (1.0, 2.0, 3.0, 8.0))
    table = LatencyTable((layer,), 80.0, {}, ((1.0, 30.0), (3.0, 40.0), (5.0, 200.0)))
    widths = {FIRST: torch.tensor([8, 16, 16]), SECOND: torch.tensor([8, 8, 16])}
    assert table.seconds(SPEC, widths).tolist() == pytest.approx([30.0, 35.0, 80.0])


def test_a_depthwise_convolution_is_cut_with_its_input() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 3, groups=64), nn.Flatten(), nn.Linear(64, 2)
    ).eval()
    x, seen = torch.rand(1, 3, 3, 3), []

    def ready(module: nn.Module) -> nn.Module:
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            seen.append(module.groups)
        return module

    spec = pt.infer(net, pt.params_of(net), x)
    pt.latency_table(net, spec, (x,), fractions=(0.5,), backend=ready, seconds=1e-4)
    assert seen == [32, 64, 31, 30, 28, 24]  # then those with few divisors, below three quarters


class Attending(nn.Module):
    """Attention, a layer before it and one behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(self.attention(x, x, x)[0])


class Experts(nn.Module):
    """Packed weights, transposed where they meet what the layer takes."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.rand(3, 24, 16))
        self.down = nn.Parameter(torch.rand(3, 16, 24))

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.bmm(x.expand(3, -1, -1), self.up.transpose(1, 2)).relu()
        return torch.bmm(inner, self.down.transpose(1, 2)).sum(0)


def test_what_a_transposed_weight_reads_is_cut_with_it() -> None:
    net = nn.Sequential(nn.Linear(4, 16), Experts(), nn.Linear(16, 2)).eval()
    x = torch.rand(5, 4)
    spec = pt.infer(net, pt.params_of(net), x)
    said = {(a.parameter, a.dim): (a.role, a.argument) for a in spec.activations}
    assert said["1.up", 2] == ("reads", 0)
    assert said["1.down", 1] == ("makes", None)
    table = pt.latency_table(net, spec, (x,), fractions=(0.5,), seconds=1e-4)
    assert [layer.module for layer in table.layers] == ["0", "1", "2"]


def test_a_layer_that_does_not_run_by_itself_is_named() -> None:
    class Fixed(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            if self.weight.shape[0] < 12 and calls:
                raise ValueError("too narrow")
            return super().forward(input)

    calls: list[int] = []
    net = nn.Sequential(Fixed(4, 16), nn.Linear(16, 2)).eval()
    x = torch.rand(5, 4)
    spec = pt.infer(net, pt.params_of(net), x)
    calls.append(1)
    with pytest.raises(pt.SpecError, match=r"'0' cannot be timed by itself with .*: too narrow"):
        pt.latency_table(net, spec, (x,), fractions=(0.5,), seconds=1e-4)


def test_attention_is_cut_with_all_that_it_is_given() -> None:
    block, x, seen = Attending().eval(), torch.rand(1, 3, 3), set()

    def ready(module: nn.Module) -> nn.Module:
        if isinstance(module, nn.MultiheadAttention):
            seen.add((module.num_heads, module.embed_dim, module.out_proj.in_features))
        return module

    spec = pt.infer(block, pt.params_of(block), x)
    table = pt.latency_table(block, spec, (x,), backend=ready, fractions=(0.5,), seconds=1e-4)
    assert seen == {(1, 4, 2), (1, 8, 2), (2, 4, 8), (2, 8, 8)}  # half the heads of half the width
    assert {layer.module for layer in table.layers} == {"first", "attention", "last"}


def weighed(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """From now on a millionth of a second for each parameter; of a network, twice as much. The
    networks that are timed whole.
    """
    found: list[nn.Module] = []

    def timed(module: nn.Module, *_: object) -> float:
        whole = isinstance(module, nn.Sequential)
        found.extend([module] if whole else [])
        return 1e-6 * sum(p.numel() for p in module.parameters()) * (1 + whole)

    monkeypatch.setattr("purethin.budgets.timing._timed", timed)
    return found


def test_with_scores_the_networks_that_solve_finds_are_timed_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, scores = weighed(monkeypatch), pt.lp_norm(PARAMS, SPEC)
    table = pt.latency_table(NET, SPEC, (X,), fractions=(0.25, 0.5), scores=scores, seconds=1e-4)
    assert table.dense == pytest.approx(2e-6 * sum(p.numel() for p in NET.parameters()))
    dense, half, quarter = (2e-6 * sum(p.numel() for p in net.parameters()) for net in found)
    assert 0.2 * dense < quarter < 0.3 * dense and 0.4 * dense < half < 0.55 * dense
    assert [seconds for _, seconds in table.whole] == pytest.approx([quarter, half])
    masks = pt.solve(scores, SPEC, latency=0.4, table=table)
    small = pt.rebuild(NET, *pt.thin(PARAMS, SPEC, masks))
    kept: dict[str, Tensor | int] = {n: int(m.sum()) for n, m in masks.items()}
    real = 2e-6 * sum(p.numel() for p in small.parameters())
    assert float(table.seconds(SPEC, kept)) == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize(
    "backend", ["eager", "compiled", pytest.param("onnxruntime", marks=pytest.mark.survey)]
)
def test_each_backend_makes_a_table(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    if backend == "compiled":  # without a compiler of C++, which would take a minute
        compiled = torch.compile
        fast = lambda module, dynamic: compiled(module, dynamic=dynamic, backend="eager")  # noqa: E731
        monkeypatch.setattr(torch, "compile", fast)
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)).eval()
    x = torch.rand(1, 8)
    spec = pt.infer(net, pt.params_of(net), x)
    table = pt.latency_table(net, spec, (x,), backend=backend, fractions=(0.5,), seconds=1e-4)
    assert table.machine["backend"] == backend
    assert len(table.whole) == 1 and table.dense > 0


def test_an_unknown_backend_is_named_with_the_nearest() -> None:
    with pytest.raises(pt.SpecError, match="'onxruntime'; did you mean 'onnxruntime'"):
        pt.latency_table(NET, SPEC, (X,), backend="onxruntime")  # type: ignore[arg-type]


def test_a_table_is_kept_as_json(tmp_path: Path) -> None:
    table = pt.latency_table(NET, SPEC, (X,), fractions=(0.5,), seconds=1e-4)
    assert table.machine["threads"] == torch.get_num_threads()
    assert f"{len(table.layers)} layers and 1 networks timed; dense " in repr(table)
    assert f"threads {torch.get_num_threads()}" in repr(table) and "backend eager" in repr(table)
    table.save(tmp_path / "t.json")
    assert LatencyTable.load(tmp_path / "t.json") == table
    for text in ("[1]", "no JSON", '{"layers": [], "dense": 1, "machine": {}, "whole": []}'):
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(pt.SpecError, match="no latency table"):
            LatencyTable.load(tmp_path / "t.json")
    with pytest.raises(pt.SpecError, match="cannot be read: No such file"):
        LatencyTable.load(tmp_path / "none.json")
    with pytest.raises(pt.SpecError, match="cannot be written: Is a directory"):
        table.save(tmp_path)


def test_a_table_of_another_network_and_odd_fractions_are_refused() -> None:
    table = pt.latency_table(NET, SPEC, (X,), fractions=(0.5,), seconds=1e-4)
    name = next(iter(SPEC.axes))
    masks = {name: torch.arange(SPEC.sizes[name]) > 0}
    small = pt.thin_spec(SPEC, masks)
    scores = pt.lp_norm(pt.thin(PARAMS, SPEC, masks)[0], small)
    for call in (
        lambda: pt.solve(scores, small, latency=0.5, table=table),
        lambda: pt.round_for(table, small),
    ):
        with pytest.raises(pt.SpecError, match=f"another network: its '{name}' has"):
            call()
    deeper = nn.Sequential(*NET[:5], nn.Conv2d(16, 8, 1), *NET[5:7], nn.Linear(8, 4)).eval()
    more = pt.infer(deeper, pt.params_of(deeper), X)
    assert SPEC.sizes.items() < more.sizes.items()
    with pytest.raises(pt.SpecError, match=r"its '5.weight' has no units, that of the spec has 8"):
        pt.solve(pt.lp_norm(pt.params_of(deeper), more), more, latency=0.5, table=table)
    with pytest.raises(pt.SpecError, match=f"no axis is named 'q'; Known: {name}"):
        table.seconds(SPEC, {"q": 3})
    wrong: Any
    for wrong in ((0.0,), (-0.5,), (2.0,), (1.0,), (), "ab"):
        with pytest.raises(pt.SpecError, match="give parts of the widths, up to 1"):
            pt.latency_table(NET, SPEC, (X,), fractions=wrong, seconds=1e-4)


def test_a_budget_of_latency_holds_beside_others() -> None:
    table, scores = table_of([1.0, 2.0, 3.0, 8.0]), pt.lp_norm(PARAMS, SPEC)
    found = pt.solution(scores, SPEC, pt.Options(), {"latency": 0.5, "bytes": 0.9, "table": table})
    kept: dict[str, Tensor | int] = {n: int(m.sum()) for n, m in found.masks.items()}
    assert float(table.seconds(SPEC, kept)) == pytest.approx(found.latency)
    assert found.latency is not None
    assert 3.0 < found.latency <= 4.0
    assert found.cost.bytes <= 0.9 * pt.cost(SPEC).bytes
    assert "latency" in str(found)
    masks = pt.solve(scores, SPEC, latency=5000.0, table=table)
    counts: dict[str, Tensor | int] = {n: int(m.sum()) for n, m in masks.items()}
    assert 4.5 < float(table.seconds(SPEC, counts)) <= 5.0
    with pytest.raises(pt.MaskError, match="cannot be reached: the least is 1"):
        pt.solve(scores, SPEC, latency=0.01, table=table)
    with pytest.raises(pt.MaskError, match="needs a table"):
        pt.solve(scores, SPEC, latency=0.5)
