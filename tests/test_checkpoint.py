"""A training's state: whole on disk or not at all, bitwise the same when put back, and loadable
into the dense class.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_train import OPTIMIZERS, RECIPE, Net, batches, loss_fn, trainer
from torch import Tensor, nn
from trainers import trainer_of

import purethin as pt
from purethin.training import checkpoint
from purethin.training.train import Trainer, When
from purethin.tree import flatten

DATA = batches(torch.float32)
THREE = RECIPE.replace("epochs: [3, 5]", "epochs: [1, 2, 4]")
"""Thinned three times."""


def run(folder: Path | None, optimizer: str = "AdamW", **options: Any) -> Trainer:
    return trainer(
        "recipe", optimizer=optimizer, dtype=torch.float32, recipe=THREE, folder=folder, **options
    )


def assert_equal_states(one: dict[str, Any], other: dict[str, Any]) -> None:
    (names, leaves, structure), (_, others, same) = flatten(_untimed(one)), flatten(_untimed(other))
    assert structure == same
    for name, leaf, found in zip(names, leaves, others, strict=True):
        equal = torch.equal(leaf, found) if isinstance(leaf, Tensor) else leaf == found
        assert equal, name


def _untimed(state: dict[str, Any]) -> dict[str, Any]:
    def timeless(record: dict[str, Any] | None) -> dict[str, Any] | None:
        return record and {key: value for key, value in record.items() if key != "seconds"}

    records = [timeless(record) for record in state["history"]]
    return {**state, "history": records, "best": timeless(state["best"])}


def test_a_run_killed_twenty_times_ends_bitwise_where_an_uninterrupted_one_does(
    tmp_path: Path,
) -> None:
    script = Path(__file__).parent / "support" / "killed_run.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path, "20"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=script.parent,
        env={
            "PYTHONPATH": f"{script.parent}:{script.parents[1]}",
            "PATH": "",
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, done.stderr
    whole, killed, kills, _ = done.stdout.split()
    assert (whole, kills) == (killed, "20")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("at", [1, 4])
def test_a_resumed_run_is_bitwise_the_uninterrupted_one(
    optimizer: str, at: int, tmp_path: Path
) -> None:
    whole = run(None, optimizer, ema=0.9)
    whole.fit(DATA, 6)
    run(tmp_path, optimizer, ema=0.9).fit(DATA, at)
    resumed = run(tmp_path, optimizer, ema=0.9)
    assert resumed.resume()
    assert resumed.epoch == at
    resumed.fit(DATA, 6 - at)
    assert_equal_states(resumed.state, whole.state)


def test_where_nothing_was_saved_nothing_is_resumed(tmp_path: Path) -> None:
    t = run(tmp_path / "new")
    assert not t.resume()
    with pytest.raises(ValueError, match="give the trainer a `folder`"):
        run(None).resume()


def test_after_three_thinnings_a_fresh_dense_model_takes_the_state(tmp_path: Path) -> None:
    first = run(tmp_path)
    first.fit(DATA, 5)
    torch.manual_seed(7)
    again = trainer_of(
        Net(),
        pt.load_recipe(THREE),
        loss_fn,
        OPTIMIZERS["AdamW"],
        torch.zeros(1, 3, 6, 6),
        folder=tmp_path,
        callbacks=(),
    )
    again.resume()
    assert again.params["a.conv1.weight"].shape == (6, 4, 3, 3)
    x = DATA[0][0]
    assert torch.equal(again.model()(x), first.model()(x))
    state = checkpoint.read(tmp_path)
    assert state is not None
    small = pt.rebuild(Net(), state["params"], again.config).eval()
    assert torch.equal(small(x), first.model()(x))


def test_a_state_is_a_pytree_that_rolls_a_trainer_back() -> None:
    t = run(None)
    t.fit(DATA, 2)
    kept = t.state
    t.fit(DATA, 3)
    later = t.state
    t.state = kept
    assert t.epoch == 2
    t.fit(DATA, 3)
    assert_equal_states(t.state, later)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[random.Random(0).randrange(len(content))] ^= 1
    path.write_bytes(bytes(content))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _foreign(path: Path) -> None:
    path.write_text("a diary")


def _zip(path: Path) -> None:
    with ZipFile(path, "w") as archive:
        archive.writestr("a", "diary")


def _older(path: Path) -> None:
    torch.save({**torch.load(path), "version": 0}, path)


def _tensor(path: Path) -> None:
    torch.save(torch.zeros(2), path)


class Code:
    """Unpickled, it would write a file."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


def _code(path: Path) -> None:
    torch.save({**torch.load(path), "state": Code()}, path)


@pytest.mark.parametrize(
    "damage", [_cut, _half, _flip, _empty, _foreign, _zip, _older, _tensor, _code, Path.unlink]
)
def test_a_damaged_file_is_one_error_that_names_it_and_changes_nothing(
    damage: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(tmp_path).fit(DATA, 1)
    path = tmp_path / "state.pt"
    damage(path)
    t = run(tmp_path)
    before = t.state
    if damage is Path.unlink:
        assert not t.resume()
    else:
        with pytest.raises(
            pt.CheckpointError, match=r"state\.pt (was truncated|is not a training)"
        ):
            t.resume()
    assert_equal_states(t.state, before)
    assert not Path("executed").exists()


def test_no_flipped_bit_is_read_as_another_state(tmp_path: Path) -> None:
    state = {"history": [], "best": None, "words": "some", "x": torch.arange(300.0)}
    path = checkpoint.write(tmp_path, state)
    whole, refused = path.read_bytes(), 0
    for position in range(0, len(whole), 3):
        torn = bytearray(whole)
        torn[position] ^= 1 << position % 8
        path.write_bytes(torn)
        try:
            found = checkpoint.read(tmp_path)
        except pt.CheckpointError:
            refused += 1
        else:
            assert found is not None
            assert_equal_states(found, state)
    assert refused > len(whole) / 6


def _other_width() -> nn.Module:
    model = Net()
    model.head = nn.Linear(10, 5)
    return model


@pytest.mark.parametrize(
    ("model", "recipe", "optimizer", "options", "said"),
    [
        (
            _other_width,
            THREE,
            "AdamW",
            {},
            r"of another network: head\.weight was \(4, 10\) and is \(5, 10\)",
        ),
        (Net, RECIPE, "AdamW", {}, "of another recipe"),
        (Net, THREE, "AdamW", {"ema": 0.9}, "average"),
        (Net, THREE, "SGD", {}, "the optimizer is SGD, the saved one AdamW"),
        (lambda: Net().double(), THREE, "AdamW", {}, "of another network"),
    ],
)
def test_a_state_of_another_run_is_refused(
    model: Callable[[], nn.Module],
    recipe: str,
    optimizer: str,
    options: dict[str, Any],
    said: str,
    tmp_path: Path,
) -> None:
    run(tmp_path).fit(DATA, 1)
    example = torch.zeros(1, 3, 6, 6)
    t = trainer_of(
        model(),
        pt.load_recipe(recipe),
        loss_fn,
        OPTIMIZERS[optimizer],
        example,
        folder=tmp_path,
        callbacks=(),
        **options,
    )
    with pytest.raises(pt.CheckpointError, match=said):
        t.resume()
    assert t.epoch == 0


def test_a_refused_state_leaves_the_learning_rate(tmp_path: Path) -> None:
    options: dict[str, Any] = {"dtype": torch.float32, "recipe": THREE, "folder": tmp_path}
    trainer("recipe", ema=0.9, **options).fit(DATA, 2)
    t = trainer("recipe", **options)
    before = t.state
    with pytest.raises(pt.CheckpointError, match="average"):
        t.resume()
    assert_equal_states(t.state, before)


@pytest.mark.parametrize("key", ["params", "optimizer", "spec", "history", "processes", "step"])
def test_a_state_that_lacks_a_part_is_one_error_and_changes_nothing(key: str) -> None:
    t = run(None)
    before = t.state
    with pytest.raises(pt.CheckpointError, match=f"not all of it .*{key}"):
        t.state = {name: value for name, value in before.items() if name != key}
    assert_equal_states(t.state, before)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_that_is_set_stays_as_it_was(optimizer: str) -> None:
    t = run(None, optimizer, ema=0.9)
    t.fit(DATA, 2)
    kept, other = t.state, run(None, optimizer, ema=0.9)
    ends = []
    for one in (t, other, other):
        one.state = kept
        one.fit(DATA, 2)
        ends.append(one.state)
    for end in ends[1:]:
        assert_equal_states(end, ends[0])


def test_a_folder_of_the_version_before_is_an_error_and_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(pt.CheckpointError, match=r"state\.json is not a training's state"):
        run(tmp_path).resume()
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_an_optimizer_of_other_groups_is_refused(tmp_path: Path) -> None:
    run(tmp_path).fit(DATA, 1)
    halves = trainer(
        "recipe",
        dtype=torch.float32,
        recipe=THREE,
        folder=tmp_path,
        make=lambda params: torch.optim.AdamW([{"params": params[:3]}, {"params": params[3:]}]),
    )
    with pytest.raises(
        pt.CheckpointError, match=r"2 group\(s\) of \[3, \d+\] parameters, the saved one 1"
    ):
        halves.resume()
    assert halves.epoch == 0


def test_only_the_last_state_stays_and_torn_files_go(tmp_path: Path) -> None:
    (tmp_path / ".state.pt.k3_d8s0a").write_text("{")
    run(tmp_path).fit(DATA, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_what_is_not_a_run_s_stays_in_its_folder(tmp_path: Path) -> None:
    for name in (".state.pt.bak", "state-notes.txt", "state-0123456789ab"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "state-of-the-art").mkdir()
    before = {p.name for p in tmp_path.iterdir()}
    run(tmp_path).fit(DATA, 2)
    assert {p.name for p in tmp_path.iterdir()} == before | {"state.pt"}


def test_the_best_network_since_the_last_pruning_is_kept_thinned(tmp_path: Path) -> None:
    metrics = iter([0.9, 0.8, 0.7, 0.2, 0.4, 0.3])
    t = run(tmp_path, best="max")
    seen: list[Tensor] = []

    def validate(model: nn.Module) -> float:
        seen.append(model(DATA[0][0]))
        return next(metrics)

    t.fit(DATA, 6, validate)
    assert t.best is not None
    assert (t.best.epoch, t.best.metric) == (4, 0.4)
    params, config = pt.load(tmp_path / "best.safetensors")
    best = pt.rebuild(Net(), params, config).eval()
    torch.testing.assert_close(best(DATA[0][0]), seen[4])
    again = run(tmp_path, best="max")
    again.resume()
    assert again.best == t.best


def test_the_smallest_metric_may_be_best() -> None:
    losses = iter([0.5, 0.3, 0.4])
    t = trainer("now", dtype=torch.float32, recipe="policies: []\n", best="min")
    t.fit(DATA, 3, lambda _: next(losses))
    assert t.best is not None and t.best.epoch == 1
    with pytest.raises(ValueError, match="give fit a `validate`"):
        t.fit(DATA, 1)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(plain)
def test_what_is_written_is_read_back_equal(value: Any) -> None:
    with TemporaryDirectory() as folder:
        checkpoint.write(Path(folder), {"a": value})
        assert checkpoint.read(Path(folder)) == {"a": value}


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.complex64]
)
def test_tensors_keep_their_dtype_and_values(dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = torch.arange(6).reshape(2, 3).to(dtype)
    checkpoint.write(tmp_path, {"x": {"a.b/c": tensor.T, "scalar": tensor[1, 1]}})
    read = checkpoint.read(tmp_path)
    assert read is not None
    assert read["x"]["a.b/c"].dtype == dtype
    assert torch.equal(read["x"]["a.b/c"], tensor.T)
    assert torch.equal(read["x"]["scalar"], tensor[1, 1])


class Mode(str, Enum):
    FAST = "fast"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (run, "function"),
        (Mode.FAST, "Mode"),
        (1 << 3000, "a long int"),
        (torch.zeros(2).as_subclass(type("Quantized", (Tensor,), {})), "Quantized"),
    ],
)
def test_what_would_not_come_back_as_it_is_is_refused_by_its_path(
    value: object, kind: str, tmp_path: Path
) -> None:
    with pytest.raises(pt.CheckpointError, match=f"optimizer/hook is {kind}, which a state"):
        checkpoint.write(tmp_path, {"optimizer": {"hook": value}})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("way", ["now", "end"])
def test_a_finished_run_resumes_to_its_end(way: When, tmp_path: Path) -> None:
    first = trainer(way, dtype=torch.float32, folder=tmp_path)
    first.fit(DATA, 6)
    again = trainer(way, dtype=torch.float32, folder=tmp_path)
    again.resume()
    assert again.fit(DATA, 6 - again.epoch) == []
    assert_equal_states(again.state, first.state)
