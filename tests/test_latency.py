"""A table of layers' times: made, kept as JSON, between its points, and as a budget."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import purethin as pt
from purethin.budgets.latency import LatencyTable, LayerTime

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

    table = pt.latency_table(NET, SPEC, (X,), fractions=(0.25, 0.5), ready=ready, seconds=1e-4)
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
        ready=lambda module: (calls.append(module), module)[1],
        seconds=1e-4,
    )
    assert len(table.layers) == 4
    assert len(calls) == 2 + 4 + 2 + 1  # the first, both inner ones, the last, the whole


def test_between_its_points_a_table_is_interpolated_and_never_falls() -> None:
    table = table_of([1.0, 2.0, 3.0, 8.0])
    widths = {FIRST: torch.tensor([16, 12, 8, 2]), SECOND: torch.tensor([16, 12, 16, 8])}
    assert table.seconds(SPEC, widths).tolist() == pytest.approx([8.0, 3.5, 3.0, 1.0])
    odd = table_of([1.0, 2.0, 0.5, 8.0])  # a narrower one was seen to be slower
    assert float(odd.seconds(SPEC, {FIRST: 8})) == pytest.approx(1.0)


def test_a_table_is_kept_as_json(tmp_path: Path) -> None:
    table = pt.latency_table(NET, SPEC, (X,), fractions=(0.5,), seconds=1e-4)
    assert table.machine["threads"] == torch.get_num_threads()
    table.save(tmp_path / "t.json")
    assert LatencyTable.load(tmp_path / "t.json") == table
    (tmp_path / "t.json").write_text("[1]")
    with pytest.raises(pt.SpecError, match="no latency table"):
        LatencyTable.load(tmp_path / "t.json")


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
