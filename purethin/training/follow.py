"""Logs of a training, to be read by programs: JSON lines and TensorBoard scalars, as callback sets.

Invariant: what is written stays; after a resume the later entry of an epoch is that of the run
that went on.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from purethin.arguments import explained
from purethin.costs import cost
from purethin.errors import PurethinError
from purethin.training.events import Callbacks, Moment


@explained
def json_lines(path: str | Path) -> Callbacks:
    """One JSON object a line for each event but "step", appended and closed at once, so that a
    killed run loses none.

    Every object has `event`, `time` (UTC) and `epoch`; an epoch has the fields of its `Record`,
    "prune" the units kept of each masked axis; "fit", "prune", "thin" and "end" have `parameters`,
    `macs` and `bytes`: of the masked network at "prune", else of the tensors. A number that is not
    finite is null.

    Nothing is ever cut off: a "fit" says from which `epoch` on a run begins, or begins again after
    a resume; of an epoch that is there twice the later line counts.

    Args:
        path: the file, made with its folder where there is none.

    Raises:
        PurethinError: the file cannot be written; when `fit` begins.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "log", "run.jsonl")
    >>> json_lines(path)["save"](Moment("save", None, 1, 2, path="state.pt"))
    >>> json.loads(path.read_text())["path"]
    'state.pt'
    """
    path = Path(path)

    def write(moment: Moment, **fields: Any) -> None:
        _append(path, {"event": moment.event, "time": _now(), "epoch": moment.epoch, **fields})

    def sizes(moment: Moment, **fields: Any) -> None:
        write(moment, **fields, **asdict(cost(moment.trainer.spec, moment.trainer.thinned_masks)))

    def prune(moment: Moment) -> None:
        trainer = moment.trainer
        kept = {name: int(m.sum()) for name, m in (trainer.masks | trainer.elements).items()}
        write(moment, kept=kept, **asdict(cost(trainer.spec, trainer.masks)))

    def record(moment: Moment) -> None:
        assert moment.record is not None
        write(moment, **asdict(moment.record))

    return {
        "fit": lambda moment: sizes(moment, epochs=moment.epochs),
        "prune": prune,
        "thin": sizes,
        "epoch": record,
        "best": record,
        "save": lambda moment: write(moment, epoch=moment.epoch - 1, path=str(moment.path)),
        "end": sizes,
        "fail": write,
    }


@explained
def tensorboard(folder: str | Path) -> Callbacks:
    """TensorBoard scalars: loss, metric, sparsity, parameters, macs, lr and seconds by epoch,
    flushed after each.

    After a resume TensorBoard shows nothing of the epochs that were trained beyond it.

    Args:
        folder: what `tensorboard --logdir` is given.

    Raises:
        PurethinError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise PurethinError(
            f"scalars need tensorboard ({error}): pip install 'purethin[tensorboard]'"
        ) from error
    writer: Any = None

    def fit(moment: Moment) -> None:
        nonlocal writer
        close(moment)
        writer = SummaryWriter(str(folder), purge_step=moment.epoch)

    def epoch(moment: Moment) -> None:
        assert moment.record is not None
        fields = asdict(moment.record)
        at = fields.pop("epoch")
        for name, value in fields.items():
            if value is not None and name != "batch" and not name.startswith("masked"):
                writer.add_scalar(name, value, at)
        writer.flush()

    def close(moment: Moment) -> None:
        nonlocal writer
        if writer is not None:
            writer.close()
        writer = None

    return {"fit": fit, "epoch": epoch, "end": close, "fail": close}


def _append(path: Path, entry: dict[str, Any]) -> None:
    """One line more in a file; a line that a killed run left half written is ended first."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in entry.items()
    }
    line = json.dumps(finite, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                line = line if file.read() == b"\n" else f"\n{line}"
            file.write(line.encode())
    except OSError as error:
        raise PurethinError(f"{path} cannot be written: {error.strerror or error}") from error


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
