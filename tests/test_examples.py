"""The examples run as a reader runs them, on few images."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import distill
import in_use
import pytest
import torch
from criteria import ranks, spearman, written
from curves import table
from resnet_cifar import resnet20
from search import search
from torch import nn

import purethin as pt

ROOT = Path(__file__).parent.parent
RECIPE = """
version: 1
pruners:
  inner:
    class: L1RankedStructureParameterPruner_AGP
    initial_sparsity: 0.25
    final_sparsity: 0.5
    group_type: Filters
    weights: [layer2.0.conv1.weight, layer3.1.conv1.weight]
extensions:
  thinner: {class: FilterRemover}
policies:
  - {pruner: {instance_name: inner}, starting_epoch: 1, ending_epoch: 3, frequency: 1}
  - {extension: {instance_name: thinner}, epochs: [1, 2]}
"""


def run(*arguments: str, example: str = "agp_resnet20.py") -> str:
    command = [sys.executable, str(ROOT / "examples" / example), *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_main_job_prunes_prints_a_table_and_saves_a_network_that_runs(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    out = tmp_path / "out"
    printed = run(
        "--images",
        "64",
        "--epochs",
        "4",
        "--threads",
        "1",
        "--recipe",
        str(recipe),
        "--out",
        str(out),
    )
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("epoch  ")] == [
        *"0123"
    ] * 2
    for row in (
        "parameters",
        "MACs",
        "test accuracy",
        "ms, 1 image",
        "file, KB",
        "masked against thinned",
    ):
        assert row in printed
    assert (out / "agp_resnet20.png").stat().st_size > 10_000
    params, config = pt.load(out / "thinned.safetensors")
    small = pt.rebuild(resnet20(classes=10, channels=1), params, config).eval()
    assert (
        params["layer2.0.conv1.weight"].shape[0] == 16
        and params["layer3.1.conv1.weight"].shape[0] == 32
    )
    assert small(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_the_recipe_beside_the_main_job_fits_the_network_and_ends_before_its_epochs_do() -> None:
    recipe = pt.load_recipe(ROOT / "examples" / "agp_resnet20.yaml")
    model = resnet20(classes=10, channels=1)
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.zeros(1, 1, 28, 28))
    plan = pt.plan(recipe, params, spec)
    assert {name: int(m.sum()) for name, m in plan.masks.items()} == {
        "layer2.0.conv1": 16,
        "layer2.1.conv1": 16,
        "layer2.2.conv1": 16,
        "layer2.0.conv2": 20,
        "layer3.0.conv1": 26,
        "layer3.1.conv1": 26,
        "layer3.2.conv1": 26,
    }
    assert recipe.last_epoch < 7


def test_the_correlation_of_the_criteria_example_is_spearmans_with_mean_ranks_of_ties() -> None:
    one, other = torch.tensor([1.0, 3.0, 3.0, 0.0]), torch.tensor([10.0, 20.0, 30.0, -5.0])
    assert ranks(one).tolist() == [2, 3.5, 3.5, 1]
    assert abs(spearman(one, other) - 0.9487) < 1e-4  # scipy.stats.spearmanr
    assert spearman(one, -one) == -1
    assert spearman(one, torch.zeros(4)) == 0


def test_the_table_of_curves_has_the_mean_over_seeds_of_each_way_and_a_dash_for_none() -> None:
    row = {"network": "mlp", "criterion": "wanda", "level": 0.7, "dense": 0.5}
    rows = [{**row, "seed": 0, "masked": 0.25}, {**row, "seed": 1, "masked": 0.5}]
    rows.append({**row, "seed": 0, "criterion": "gate", "masked": 0.5, "repaired": 0.75})
    assert table(rows, 0.7).splitlines()[2:] == [
        "| dense | 0.50 |",
        "| wanda | 0.38 ± .18 / – / – / – |",
        "| gate | 0.50 / – / 0.75 / – |",
    ]


def test_the_table_of_the_criteria_example_has_a_column_for_each_network() -> None:
    found = {"a": {"wanda": (0.5, 0.25, 1.0)}, "b": {"obs": (-0.125, 0.0, 0.04)}}
    assert written(found, ["a", "b"]).splitlines() == [
        "| criterion | a | b |",
        "|---|---|---|",
        "| wanda | 0.50 / 0.25 (1.0 s) |  |",
        "| obs |  | -0.12 / 0.00 (0.0 s) |",
    ]


def test_a_thinned_network_learns_the_outputs_of_the_dense_one_which_stays() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    net = in_use.Net(model, lambda count: (torch.randn(count, 6),))
    params = pt.params_of(model)
    spec = pt.infer(model, params, *net.draw(1))
    masks = pt.solve(pt.lp_norm(params, spec), spec, macs=0.5)
    before, after = in_use.learn(net, pt.rebuild(model, *pt.thin(params, spec, masks)), 20)
    assert 0 < after < before
    assert all(torch.equal(p, params[name]) for name, p in model.named_parameters())


def test_a_search_keeps_within_the_budget_and_never_ends_worse_than_solve() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2))
    params, x = pt.params_of(net), torch.randn(16, 4)
    spec, want = pt.infer(net, params, x), net(x).detach()
    scores, tried = pt.lp_norm(params, spec), []

    def loss(masks: dict[str, torch.Tensor]) -> float:
        tried.append(pt.cost(spec, masks).macs)
        out = torch.func.functional_call(net, pt.mask(params, spec, masks), (x,))
        return float((out - want).square().mean())

    masks, course = search(scores, spec, loss, macs=0.5, tries=25)
    assert len(tried) == 25
    assert max(tried) <= 0.5 * pt.cost(spec).macs
    assert course == sorted(course, reverse=True)
    assert course[0] == loss(pt.solve(scores, spec, macs=0.5, normalize=None))
    assert course[-1] == loss(masks) < course[0]


def test_a_library_that_is_missing_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(in_use, "find_spec", lambda package: None if package == "monai" else True)
    monkeypatch.setattr(sys, "argv", ["in_use.py", "--models", "monai"])
    assert in_use.main() == 2
    assert capsys.readouterr() == ("", "monai is skipped: pip install 'monai>=1.5'\n")


@pytest.mark.nightly
@pytest.mark.parametrize("name", in_use.NETS)
def test_a_network_of_a_library_is_thinned_trained_and_exported_and_runs_elsewhere(
    name: str,
) -> None:
    needed = [p.partition(">=")[0] for p in f"{in_use.NETS[name][1]} {in_use.ONNX}".split()]
    if absent := [package for package in needed if find_spec(package) is None]:
        pytest.skip(f"{' and '.join(absent)} missing")
    table = run("--models", name, example="in_use.py")
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    found = {row[0]: row[1].replace(",", "").split(" → ") for row in rows if len(row) == 2}
    before, after = (float(x) for x in found["loss, 20 steps"])
    dense, thin = (int(x) for x in found["MACs"])
    assert thin <= dense / 2 and after < before
    assert float(found["thinned against masked"][0]) < 1e-5
    assert float(found["onnxruntime against torch"][0]) < 1e-5


def test_a_teacher_that_a_student_agrees_with_adds_nothing_to_its_loss() -> None:
    x, y, teacher = torch.randn(5, 4), torch.arange(5) % 3, nn.Linear(4, 3)
    same, other = teacher(x), nn.Linear(4, 3)(x)
    labels = distill.by_labels(same, (x, y))
    torch.testing.assert_close(distill.by_teacher(teacher, same, (x, y)), 0.1 * labels)
    assert distill.by_teacher(teacher, other, (x, y)) > 0.1 * distill.by_labels(other, (x, y))


@pytest.mark.survey
def test_the_distillation_example_prints_the_teacher_and_both_students(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--images", "128", "--epochs", "5", "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", ["distill.py", *few])
    distill.main()
    rows = [row.split("%") for row in capsys.readouterr().out.splitlines()]
    sizes = [int(size.split()[0].replace(",", "")) for _, size in rows]
    assert sizes[1] == sizes[2] < 0.3 * sizes[0]
