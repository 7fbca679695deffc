"""Several processes, launched by `torchrun`, train the network that one process trains; a dead one
ends them all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from distributed_job import RECIPE, Block, Net, run

import purethin as pt
from purethin.training.distributed import ddp

Pair: TypeAlias = tuple[Path, dict[str, list[dict[str, Any]]]]
JOB = Path(__file__).parent / "support" / "distributed_job.py"
ENGINES = ("ddp", "sharded")
USUAL: dict[str, dict[str, Any]] = {
    "SGD": {"optimizer": "SGD"},
    "AdamW, average, accumulation, clipping": {
        "optimizer": "AdamW",
        "thin": "now",
        "ema": 0.9,
        "accumulate": 4,
        "clip_norm": 0.5,
        "best": "min",
    },
}
MORE: dict[str, dict[str, Any]] = {
    f"{optimizer}, {thin}": {
        "optimizer": optimizer,
        "thin": thin,
        "ema": 0.9,
        "accumulate": a,
        "clip_norm": 0.5,
    }
    for optimizer, a in (("SGD", 2), ("AdamW", 1))
    for thin in ("recipe", "now", "end")
} | {"compiled": {"compiled": True}, "one unit": {"units": False}}
LEARNT = """
regularizers:
  lasso:
    class: GroupLassoRegularizer
    reg_regims: {blocks.0.up.weight: [0.02, Rows], blocks.1.down.weight: [0.01, Cols]}
pruners:
  by_chance: {class: RandomRankedStructureParameterPruner, desired_sparsity: 0.4, group_type: Rows,
    weights: [blocks.0.up.weight]}
  by_use: {class: ActivationAPoZRankedStructureParameterPruner, desired_sparsity: 0.3,
    group_type: Rows, weights: [blocks.1.up.weight]}
extensions: {thinner: {class: FilterRemover}}
policies:
  - {regularizer: {instance_name: lasso}, starting_epoch: 0, ending_epoch: 9, frequency: 1}
  - {pruner: {instance_name: by_chance}, epochs: [1]}
  - {pruner: {instance_name: by_use}, epochs: [2]}
  - {extension: {instance_name: thinner}, epochs: [3]}
"""
USUAL["random pruner, measure, penalty"] = {"recipes": [LEARNT]}
BY_AXIS = """
pruners:
  used: {axes: {blocks.0.up: 0.5}, criterion: activation_mean, curve: linear}
  heavy: {axes: {blocks.1.up: 0.25}, criterion: {lp_norm: {p: 2}}, curve: one_shot}
extensions: {thinner: {class: FilterRemover}}
policies:
  - {pruner: {instance_name: used}, starting_epoch: 1, ending_epoch: 4, frequency: 1}
  - {pruner: {instance_name: heavy}, epochs: [2]}
  - {extension: {instance_name: thinner}, epochs: [3]}
"""
USUAL["axes, by data and by a norm"] = {"recipes": [BY_AXIS], "ema": 0.9}


def launch(
    folder: Path, processes: int, cases: list[dict[str, Any]], timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cases.json").write_text(json.dumps(cases))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", str(JOB), str(folder / "cases.json"), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def results(
    folder: Path, processes: int, cases: dict[str, dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """What each process ended with, by case; all cases in one job, since starting one takes
    seconds.
    """
    ended = launch(folder, processes, [*cases.values()])
    assert ended.returncode == 0, ended.stderr[-6000:]
    assert "Warning" not in ended.stderr
    return {
        name: [json.loads((folder / f"{i}-{rank}.json").read_text()) for rank in range(processes)]
        for i, name in enumerate(cases)
    }


def alone(case: dict[str, Any]) -> dict[str, Any]:
    """The case in one process, whose batches are the whole ones."""
    return run(
        {key: value for key, value in case.items() if key not in ("engine", "units", "replicas")},
        None,
        0,
        1,
    )


def assert_like_one_process(found: list[dict[str, Any]], one: dict[str, Any]) -> None:
    for of_rank in found:
        assert of_rank["masks"] == one["masks"]
        assert of_rank["shapes"] == one["shapes"]
        assert of_rank["losses"] == pytest.approx(one["losses"], abs=1e-5)
        assert of_rank["average"] == pytest.approx(one["average"], abs=1e-5)
        assert of_rank["metrics"] == pytest.approx(one["metrics"], abs=1e-5)
        assert of_rank["params"] == found[0]["params"]
        assert of_rank["class"] == "Net"
        for name, values in of_rank["params"].items():
            assert values == pytest.approx(one["params"][name], abs=1e-5)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """One job of two processes, whose cases several tests look at."""
    folder = tmp_path_factory.mktemp("pair")
    cases: dict[str, dict[str, Any]] = {}
    for engine in ENGINES:
        for name, case in USUAL.items():
            kept = {"folder": str(folder / f"{engine}-best")} if "best" in case else {}
            cases[f"{engine} {name}"] = {"engine": engine, **case, **kept}
        place = {"engine": engine, "folder": str(folder / engine)}
        cases[f"{engine} begun"] = {**place, "epochs": 3}
        cases[f"{engine} resumed"] = {**place, "resume": True}
        cases[f"{engine} repaired"] = {"engine": engine, "repair": True, "ema": 0.9}
        alone({"folder": str(folder / f"{engine}-one"), "epochs": 3})
        cases[f"{engine} from one"] = {
            "engine": engine,
            "folder": str(folder / f"{engine}-one"),
            "resume": True,
        }
        cases[f"{engine} batch norm"] = {
            "engine": engine,
            "batch_norm": True,
            "ema": 0.9,
            "epochs": 3,
        }
    cases["uneven"] = {"engine": "ddp", "batches": [6, 5]}
    cases["uneven, unsized"] = {
        "engine": "ddp",
        "batches": [6, 5],
        "unsized": True,
        "accumulate": 2,
    }
    cases["tied"] = {
        "engine": "sharded",
        "tied": True,
        "recipes": [RECIPE.replace(", blocks.1.up.weight", "")],
    }
    cases["unlike"] = {"engine": "sharded", "recipes": [RECIPE, RECIPE.replace("0.5", "0.25")]}
    return folder, results(folder, 2, cases)


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize("engine", ENGINES)
def test_two_processes_train_the_network_that_one_trains(
    pair: Pair, engine: str, name: str
) -> None:
    found = pair[1][f"{engine} {name}"]
    assert_like_one_process(found, alone({**USUAL[name], "best": None}))
    assert found[0]["shapes"]["blocks.0.up.weight"][0] < 12, "it was thinned"


def test_each_process_holds_its_part_alone(pair: Pair) -> None:
    one, other = pair[1]["sharded SGD"]
    for name, shape in one["shapes"].items():
        assert one["local"][name] + other["local"][name] == torch.Size(shape).numel(), name
    assert one["local"]["blocks.0.up.weight"] == 3 * 8


@pytest.mark.parametrize("engine", ENGINES)
def test_process_0_alone_tells(pair: Pair, engine: str) -> None:
    one, other = pair[1][f"{engine} SGD"]
    assert (one["told"], other["told"]) == ([1, 2, 3, 4, 5], [])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_resumed_run_goes_on_bit_by_bit_with_each_processs_own_draws(
    pair: Pair, engine: str
) -> None:
    whole, resumed = pair[1][f"{engine} SGD"], pair[1][f"{engine} resumed"]
    for one, other in zip(whole, resumed, strict=True):
        assert other["resumed"]
        for what in ("losses", "metrics", "params", "masks"):
            assert one[what] == other[what], what
        assert one["draws"][3:] == other["draws"]
    assert whole[0]["draws"] != whole[1]["draws"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_moves_between_one_process_and_several(pair: Pair, engine: str) -> None:
    folder, found = pair
    assert_like_one_process(found[f"{engine} from one"], alone({}))
    longer = alone({"folder": str(folder / engine), "resume": True, "epochs": 7})
    assert longer["resumed"]
    assert longer["losses"] == pytest.approx(alone({"epochs": 7})["losses"], abs=1e-5)


def test_a_spread_state_runs_no_code_and_has_no_part_of_an_older_one(pair: Pair) -> None:
    place = pair[0] / "sharded-one"
    kept = sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))
    assert len(kept) == 4, kept
    assert [Path(name).suffix for name in kept] == ["", ".pt", ".pt", ".pt"]
    assert all(torch.load(place / name, weights_only=True) for name in kept[1:])


def test_a_spread_state_that_was_cut_short_is_an_error(pair: Pair) -> None:
    torn = next((pair[0] / "sharded-best").glob("state-*/1.pt"))
    whole = torn.read_bytes()
    try:
        torn.write_bytes(whole[:-3])
        with pytest.raises(pt.CheckpointError, match=rf"{torn.name} was truncated or edited"):
            alone(
                {
                    **USUAL["AdamW, average, accumulation, clipping"],
                    "folder": str(pair[0] / "sharded-best"),
                    "resume": True,
                }
            )
    finally:
        torn.write_bytes(whole)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_best_network_is_written_whole(pair: Pair, engine: str) -> None:
    params, config = pt.load(pair[0] / f"{engine}-best" / "best.safetensors")
    small = pt.rebuild(Net().double(), params, config)
    assert isinstance(small, Net)
    assert isinstance(block := small.blocks[0], Block) and block.up.out_features == 6
    assert small(torch.zeros(1, 6, dtype=torch.float64)).shape == (1, 3)


def test_loaders_of_unlike_lengths_are_an_error_before_training(pair: Pair) -> None:
    for of_rank in pair[1]["uneven"]:
        assert of_rank["error"].startswith(
            "the loaders' lengths differ: 6 in process 0, 5 in process 1; give each as many batches"
        )


def test_loaders_without_length_that_end_apart_are_an_error(pair: Pair) -> None:
    for rank, of_rank in enumerate(pair[1]["uneven, unsized"]):
        assert of_rank["error"].startswith(
            f"the loaders give unlike numbers of batches: process {rank} has {2 - rank} left where "
            "others have more or less"
        )


def test_every_process_repairs_as_process_0_does(pair: Pair) -> None:
    ddp, sharded = (pair[1][f"{engine} repaired"] for engine in ENGINES)
    plain = pair[1]["ddp SGD"][0]
    assert ddp[0]["params"] == ddp[1]["params"] and ddp[0]["average"] == ddp[1]["average"]
    for one, other in zip(ddp, sharded, strict=True):
        assert one["losses"] == pytest.approx(other["losses"], abs=1e-9)
        assert one["average"] == pytest.approx(other["average"], abs=1e-9)
        assert one["masks"] == plain["masks"] and one["losses"] != plain["losses"]


@pytest.mark.parametrize("engine", ENGINES)
def test_running_statistics_are_those_of_process_0(pair: Pair, engine: str) -> None:
    one, other = pair[1][f"{engine} batch norm"]
    assert one["params"]["norm.running_mean"] != [0.0] * 8
    assert one["params"] == other["params"]
    assert one["average"] == other["average"]
    assert one["metrics"] == other["metrics"]


def test_a_parameter_of_two_blocks_is_an_error(pair: Pair) -> None:
    for of_rank in pair[1]["tied"]:
        assert of_rank["error"].startswith(
            "blocks.0.up.weight and blocks.1.up.weight are one parameter, in two blocks"
        )


def test_masks_that_differ_are_an_error(pair: Pair) -> None:
    for of_rank in pair[1]["unlike"]:
        assert of_rank["error"].startswith("the masks differ: ")


@pytest.mark.parametrize("engine", ["ddp", pytest.param("sharded", marks=pytest.mark.survey)])
def test_a_process_that_is_killed_ends_the_job_within_seconds(engine: str, tmp_path: Path) -> None:
    begin = time.monotonic()
    ended = launch(tmp_path, 2, [{"engine": engine, "kill": [1, 9]}])
    assert ended.returncode != 0
    assert "SIGKILL" in ended.stderr
    assert time.monotonic() - begin < 60


def test_an_engine_outside_of_torchrun_says_how_to_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(
        pt.PurethinError,
        match=r"was not started by torchrun \(RANK is not set\): run `torchrun --nproc-per-node=2",
    ):
        ddp()


@pytest.mark.survey
@pytest.mark.parametrize("processes", [2, 4])
def test_any_number_of_processes_trains_the_network_that_one_trains(
    processes: int, tmp_path: Path
) -> None:
    cases = {
        f"{engine} {name}": {"engine": engine, **case}
        for engine in ENGINES
        for name, case in {**USUAL, **MORE}.items()
    }
    cases = {name: {k: v for k, v in case.items() if k != "best"} for name, case in cases.items()}
    if processes == 4:
        cases["two replicas"] = {
            "engine": "sharded",
            "replicas": 2,
            "folder": str(tmp_path / "replicas"),
            "epochs": 3,
        }
        cases["two replicas, resumed"] = {**cases["two replicas"], "epochs": 5, "resume": True}
    found = results(tmp_path, processes, cases)
    for name, case in cases.items():
        assert_like_one_process(
            found[name],
            alone({k: v for k, v in case.items() if k not in ("compiled", "folder", "resume")}),
        )


@pytest.mark.survey
@pytest.mark.parametrize(("before", "after"), [(2, 4), (4, 2)])
def test_a_run_goes_on_with_another_number_of_processes(
    before: int, after: int, tmp_path: Path
) -> None:
    cases = {
        f"{engine} {name}": {"engine": engine, "folder": str(tmp_path / f"{engine} {name}"), **case}
        for engine in ENGINES
        for name, case in USUAL.items()
    }
    results(
        tmp_path / "first", before, {name: {**case, "epochs": 3} for name, case in cases.items()}
    )
    found = results(
        tmp_path / "then", after, {name: {**case, "resume": True} for name, case in cases.items()}
    )
    for name, case in cases.items():
        assert all(of_rank["resumed"] for of_rank in found[name])
        assert len({tuple(of_rank["draws"]) for of_rank in found[name]}) == after, (
            "no two processes draw the same"
        )
        assert_like_one_process(
            found[name], alone({k: v for k, v in case.items() if k != "folder"} | {"best": None})
        )
