"""Logs of a training, to be read by programs: JSON lines and TensorBoard scalars, as callback sets.

Invariant: after a resume a log holds each epoch once, as the run that went on trained it.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from purethin.costs import cost
from purethin.errors import PurethinError
from purethin.training.events import Callbacks, Moment

_BEGIN = b'{"event": "'


def json_lines(path: str | Path) -> Callbacks:
    """One JSON object a line for each event but "step", written and closed at once, so that a
    killed run loses none.

    Every object has `event`, `time` (UTC) and `epoch`; an epoch has the fields of its `Record`,
    "prune" the units kept of each masked axis; "fit", "prune", "thin" and "end" have `parameters`,
    `macs` and `bytes`: of the masked network at "prune", else of the tensors. A number that is not
    finite is null.

    Args:
        path: the file, made with its folder where there is none. When `fit` begins, entries of the
            epochs that it will train are cut off, and a last line that a killed run left half
            written; training from epoch 0 begins the file anew.

    Raises:
        PurethinError: the file holds something else (it is left as it is), or cannot be written;
            both when `fit` begins.
    """
    path = Path(path)
    begun, ended = False, -1  # the last epoch that has ended

    def write(moment: Moment, **fields: Any) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        entry = {"event": moment.event, "time": now, "epoch": moment.epoch, **fields}
        line = json.dumps({key: _finite(value) for key, value in entry.items()}, allow_nan=False)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise PurethinError(f"{path} cannot be written: {error.strerror or error}") from error

    def fit(moment: Moment) -> None:
        nonlocal begun, ended
        ended = moment.epoch - 1
        if not begun:  # a second `fit` of the same trainer only goes on
            _cut(path, moment.epoch)
        begun = True
        write(moment, epochs=moment.epochs, **_sizes(moment))

    def prune(moment: Moment) -> None:
        trainer = moment.trainer
        kept = {name: int(m.sum()) for name, m in (trainer.masks | trainer.elements).items()}
        write(moment, kept=kept, **asdict(cost(moment.trainer.spec, moment.trainer.masks)))

    def record(moment: Moment) -> None:
        nonlocal ended
        assert moment.record is not None
        ended = moment.record.epoch
        write(moment, **asdict(moment.record))

    return {
        "fit": fit,
        "prune": prune,
        "thin": lambda moment: write(moment, **_sizes(moment)),
        "epoch": record,
        "best": record,
        "save": lambda moment: write(moment, epoch=ended, path=str(moment.path)),
        "end": lambda moment: write(moment, **_sizes(moment)),
    }


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
            if value is not None:
                writer.add_scalar(name, value, at)
        writer.flush()

    def close(moment: Moment) -> None:
        nonlocal writer
        if writer is not None:
            writer.close()
        writer = None

    return {"fit": fit, "epoch": epoch, "end": close, "fail": close}


def _sizes(moment: Moment) -> dict[str, int]:
    return asdict(cost(moment.trainer.spec, moment.trainer.thinned_masks))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cut(path: Path, epoch: int) -> None:
    """Cut a log where the epochs from this one on begin; make its folder where there is none.

    A fit's end bears the number of the epoch that would come next, and belongs to those before it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise PurethinError(f"{path} cannot be written: {error.strerror or error}") from error
    position = kept = 0
    lines = content.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        position += len(line)
        try:
            entry = json.loads(line)
            event, at = entry["event"], int(entry["epoch"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) and line.startswith(_BEGIN[: len(line)]):
                break  # half written when its run was killed
            raise PurethinError(
                f"{path}:{number}: no line of a training log: nothing was written; give json_lines "
                "another path"
            ) from error
        if line.endswith(b"\n") and (at < epoch or (event == "end" and at == epoch)):
            kept = position
    if kept < len(content):
        os.truncate(path, kept)
