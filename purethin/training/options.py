"""The options of a Trainer, checked before anything is made of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from purethin.errors import OptionError
from purethin.training.batches import length
from purethin.training.network import Engine
from purethin.training.update import Update


def check_options(
    optimizer: object,
    update: object,
    best: str | None,
    calibrate: int,
    ema: float | None,
    epochs: int | None,
) -> None:
    """That each option has a value that is allowed.

    Raises:
        OptionError: one has not; it says what to give.
    """
    if best not in ("max", "min", None):
        raise OptionError(f"best is {best!r}; give 'max', 'min' or None")
    if calibrate < 1:
        raise OptionError(f"calibrate is {calibrate}; give at least 1 batch")
    if epochs is not None:
        _whole(epochs)
    if ema is not None and not 0 <= ema < 1:
        raise OptionError(f"ema is {ema}; give a decay from 0 to below 1, as 0.999")
    if not callable(optimizer):
        raise OptionError(
            f"optimizer is {type(optimizer).__name__}; give a function of the parameters, "
            "lambda params: torch.optim.SGD(params, lr=0.1)"
        )
    if not isinstance(update, Update):
        raise OptionError(
            f"update is {type(update).__name__}; give pt.Update(loss_fn), with "
            "loss_fn(outputs, batch) -> loss"
        )


def check_fit(epochs: int | None, in_all: int | None, trained: int) -> int:
    """How many epochs a `fit` trains.

    Args:
        epochs: what it was given.
        in_all: the trainer's `epochs`.
        trained: already.

    Raises:
        OptionError: neither says how many, or not by a whole number.
    """
    if epochs is None and in_all is None:
        raise OptionError("fit(loader, epochs): say how many, or give the trainer `epochs`")
    return max(0, (in_all or 0) - trained) if epochs is None else _whole(epochs)


def check_processes(engine: Engine, epoch: int, end: int, loader: Iterable[Any]) -> None:
    """That all processes train the same epochs, on as many batches.

    Raises:
        PurethinError: they don't.
    """
    remedy = "resume each from the same folder, for the same epochs"
    engine.same("the epochs to train", (epoch, end), remedy)
    remedy = "give each as many batches, as DistributedSampler does"
    engine.same("the loaders' lengths", length(loader, 1), remedy)


def check_metric(found: Any) -> float:
    """What `validate` gave, as a number.

    Raises:
        OptionError: it is not one.
    """
    try:
        return float(found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(
            f"validate gave {type(found).__name__}, and a metric is one number: return that, as in "
            'validate=lambda model: scores(model)["accuracy"]. The epoch is trained and kept: call '
            "fit again, and it is validated"
        ) from error


def _whole(epochs: object) -> int:
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 0:
        raise OptionError(f"epochs is {epochs!r}; give a whole number, 0 or more")
    return epochs
