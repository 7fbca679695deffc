"""Logs: nothing is lost or cut off, whatever was killed and resumed; every whole line is JSON."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trainers import trainer_of

import purethin as pt
from purethin.training.events import Callbacks, Moment, Record
from purethin.training.follow import json_lines, tensorboard
from purethin.training.progress import progress

SPEC = pt.Spec.from_layout(
    {"w": "h 3", "v": "2 h"}, {"w": torch.zeros(4, 3), "v": torch.zeros(2, 4)}
)
MASKS = {"h": torch.arange(4) < 3}


def record(epoch: int, loss: float = 0.5) -> Record:
    return Record(epoch, loss, None if epoch == 0 else 0.1 * epoch, 0.25, 15, 0, 1.0, 0.1)


def watch(
    callbacks: Callbacks, begin: int, epochs: int, *, killed: int | None = None, loss: float = 0.5
) -> None:
    """A fit that prunes and thins as epoch 1 begins, and is killed at the end of epoch `killed`."""
    trainer = SimpleNamespace(
        spec=SPEC,
        masks=MASKS if begin > 1 else {},
        thinned_masks=MASKS if begin > 1 else {},
        history=[],
        elements={},
    )

    def tell(event: Any, epoch: int, **told: Any) -> None:
        if event in callbacks:
            callbacks[event](Moment(event, trainer, epoch, epochs, **told))

    tell("fit", begin)
    for epoch in range(begin, epochs):
        if epoch == 1:
            trainer.masks = MASKS
            tell("prune", epoch)
            trainer.thinned_masks = MASKS
            tell("thin", epoch)
        tell("step", epoch, step=0, loss=loss)
        tell("epoch", epoch + 1, record=record(epoch, loss))
        if epoch == killed:
            return
        tell("best", epoch + 1, record=record(epoch, loss))
        tell("save", epoch + 1, path="run.safetensors")
    tell("end", epochs)


def entries(path: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def told(path: Path) -> list[tuple[str, int]]:
    return [(entry["event"], entry["epoch"]) for entry in entries(path)]


def epochs_of(path: Path) -> list[int]:
    return [epoch for event, epoch in told(path) if event == "epoch"]


def test_each_event_but_a_step_is_one_json_line_with_its_time(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "run.jsonl"
    watch(json_lines(path), 0, 2)
    found = entries(path)
    assert [e["event"] for e in found] == [
        "fit",
        "epoch",
        "best",
        "save",
        "prune",
        "thin",
        "epoch",
        "best",
        "save",
        "end",
    ]
    assert all(e["time"].endswith("+00:00") for e in found)
    by = {e["event"]: e for e in found}
    assert (by["fit"]["epochs"], by["fit"]["parameters"], by["fit"]["bytes"]) == (2, 20, 80)
    assert by["prune"]["kept"] == {"h": 3} and by["prune"]["parameters"] == 15
    assert by["thin"]["bytes"] == by["end"]["bytes"] == 60
    assert by["epoch"] | {"time": "", "event": ""} == {**vars(record(1)), "time": "", "event": ""}
    assert by["save"]["path"] == "run.safetensors"


def test_a_loss_that_is_not_finite_is_null(tmp_path: Path) -> None:
    watch(json_lines(tmp_path / "run.jsonl"), 0, 1, loss=float("nan"))
    assert entries(tmp_path / "run.jsonl")[1]["loss"] is None


def test_lines_are_on_disk_as_soon_as_they_are_told(tmp_path: Path) -> None:
    watch(json_lines(tmp_path / "run.jsonl"), 0, 5, killed=2)
    assert epochs_of(tmp_path / "run.jsonl") == [0, 1, 2]


def latest(path: Path) -> list[dict[str, Any]]:
    """The entries of the runs that went on: a "fit" replaces those from its epoch on."""
    found: list[dict[str, Any]] = []
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # half written
        if entry["event"] == "fit":
            found = [e for e in found if e["epoch"] < entry["epoch"]]
        found.append(entry)
    return found


@given(st.integers(0, 4), st.integers(0, 5), st.integers(0, 40))
def test_after_a_kill_and_a_resume_a_fit_tells_which_entries_count(
    tmp_path_factory: Any, killed: int, resumed: int, torn: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "run.jsonl"
    resumed = min(resumed, killed + 1)  # from an epoch of a checkpoint
    watch(json_lines(path), 0, 6, killed=killed)
    with path.open("ab") as file:
        file.write(path.read_bytes().splitlines()[-1][:torn])
    before = path.read_bytes()
    watch(json_lines(path), resumed, 6, loss=0.25)
    assert path.read_bytes().startswith(before), "nothing is cut off"
    found = latest(path)
    epochs = [(e["epoch"], e["loss"]) for e in found if e["event"] == "epoch"]
    assert epochs == [(epoch, 0.5 if epoch < resumed else 0.25) for epoch in range(6)]
    assert [(e["event"], e["epoch"]) for e in found if e["event"] in ("prune", "thin")] == [
        ("prune", 1),
        ("thin", 1),
    ]


def test_training_further_keeps_the_end_of_the_first_training(tmp_path: Path) -> None:
    callbacks = json_lines(path := tmp_path / "run.jsonl")
    watch(callbacks, 0, 2)
    watch(callbacks, 2, 3)
    watch(json_lines(path), 3, 4)  # another process
    spans = [("fit", 0), ("end", 2), ("fit", 2), ("end", 3), ("fit", 3), ("end", 4)]
    assert [entry for entry in told(path) if entry[0] in ("fit", "end")] == spans
    assert epochs_of(path) == [0, 1, 2, 3]


def test_training_anew_goes_on_in_the_same_log(tmp_path: Path) -> None:
    for _ in range(2):
        watch(json_lines(tmp_path / "run.jsonl"), 0, 2)
    assert epochs_of(tmp_path / "run.jsonl") == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "make",
    [lambda at: at.mkdir(), lambda at: at.parent.joinpath("in").write_text("")],
    ids=["folder", "in a file"],
)
def test_a_log_that_cannot_be_written_says_so_as_fit_begins(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(tmp_path / "log")
    with pytest.raises(pt.PurethinError, match="cannot be written"):
        watch(
            json_lines(
                tmp_path / "log" if (tmp_path / "log").exists() else tmp_path / "in" / "log"
            ),
            0,
            1,
        )


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {tag: [(s.step, s.value) for s in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


@pytest.fixture
def _installed() -> None:
    pytest.importorskip("tensorboard")


@pytest.mark.usefixtures("_installed")
def test_tensorboard_reads_the_scalars_of_each_epoch(tmp_path: Path) -> None:
    watch(tensorboard(tmp_path), 0, 3)
    found = scalars(tmp_path)
    assert found.keys() == {"loss", "metric", "sparsity", "parameters", "macs", "lr", "seconds"}
    assert found["loss"] == [(0, 0.5), (1, 0.5), (2, 0.5)]
    assert [step for step, _ in found["metric"]] == [1, 2], "no metric, no scalar"


@pytest.mark.usefixtures("_installed")
def test_tensorboard_reads_each_epoch_once_after_a_kill_and_a_resume(tmp_path: Path) -> None:
    watch(tensorboard(tmp_path), 0, 4, killed=2)
    watch(tensorboard(tmp_path), 1, 4, loss=0.25)
    assert scalars(tmp_path)["loss"] == [(0, 0.5), (1, 0.25), (2, 0.25), (3, 0.25)]


def test_without_tensorboard_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(pt.PurethinError, match=r"pip install 'purethin\[tensorboard\]'"):
        tensorboard(tmp_path)


# ---- a real training

RECIPE = """
version: 1
pruners:
  hidden:
    class: L1RankedStructureParameterPruner_AGP
    initial_sparsity: 0.25
    final_sparsity: 0.5
    group_type: Filters
    weights: [0.weight]
extensions:
  thinner: {class: StructureRemover}
policies:
  - {pruner: {instance_name: hidden}, starting_epoch: 1, ending_epoch: 3, frequency: 1}
  - {extension: {instance_name: thinner}, epochs: [2]}
"""


def training(folder: Path, *callbacks: Callbacks) -> pt.Trainer:
    torch.manual_seed(0)
    return trainer_of(
        torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)),
        pt.load_recipe(RECIPE),
        lambda outputs, batch: torch.nn.functional.cross_entropy(outputs, batch[1]),
        lambda params: torch.optim.SGD(params, lr=0.1),
        torch.zeros(1, 3),
        callbacks=callbacks,
        folder=folder,
        best="max",
    )


def test_a_training_that_dies_in_an_epoch_and_is_resumed_has_each_epoch_in_every_log(
    tmp_path: Path,
) -> None:
    def die(moment: Moment) -> None:
        if moment.epoch == 2:
            raise KeyboardInterrupt

    batches = [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))] * 3
    scores = iter([0.1, 0.2, 0.3, 0.4, 0.5])
    log, board, seen = tmp_path / "run.jsonl", tmp_path / "board", io.StringIO()
    pytest.importorskip("tensorboard")
    first = training(
        tmp_path / "state", json_lines(log), tensorboard(board), progress(file=seen), {"step": die}
    )
    with pytest.raises(KeyboardInterrupt):
        first.fit(batches, 4, lambda _: next(scores))
    second = training(tmp_path / "state", json_lines(log), tensorboard(board), progress(file=seen))
    assert second.resume() and second.epoch == 2
    second.fit(batches, 2, lambda _: next(scores))
    assert epochs_of(log) == [0, 1, 2, 3] and [step for step, _ in scalars(board)["loss"]] == [
        0,
        1,
        2,
        3,
    ]
    assert [e for e in told(log) if e[0] in ("fit", "prune", "thin", "end")] == [
        ("fit", 0),
        ("prune", 1),
        ("prune", 2),
        ("thin", 2),
        ("fit", 2),
        ("prune", 2),
        ("thin", 2),
        ("end", 4),
    ]
    assert [e for e in told(log) if e[0] in ("best", "save")][-2:] == [("best", 3), ("save", 3)]
    assert [f"epoch   {e}" in seen.getvalue() for e in range(4)] == [True] * 4
    assert "best  loss" in seen.getvalue() and "     8     4\n" in seen.getvalue()
