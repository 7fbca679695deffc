"""The options of a Trainer, checked before anything is made of them."""

from __future__ import annotations

from purethin.training.update import Update


def check_options(
    optimizer: object,
    update: object,
    thin: str,
    best: str | None,
    calibrate: int,
    ema: float | None,
) -> None:
    """That each option has a value that is allowed.

    Raises:
        ValueError: one has not; it says what to give.
    """
    if thin not in ("recipe", "now", "end"):
        raise ValueError(f"thin is {thin!r}; give 'recipe', 'now' or 'end'")
    if best not in ("max", "min", None):
        raise ValueError(f"best is {best!r}; give 'max', 'min' or None")
    if calibrate < 1:
        raise ValueError(f"calibrate is {calibrate}; give at least 1 batch")
    if ema is not None and not 0 <= ema < 1:
        raise ValueError(f"ema is {ema}; give a decay from 0 to below 1, as 0.999")
    if not callable(optimizer):
        raise ValueError(
            f"optimizer is {type(optimizer).__name__}; give a function of the parameters, "
            "lambda params: torch.optim.SGD(params, lr=0.1)"
        )
    if not isinstance(update, Update):
        raise ValueError(
            f"update is {type(update).__name__}; give pt.Update(loss_fn), with "
            "loss_fn(outputs, batch) -> loss"
        )
