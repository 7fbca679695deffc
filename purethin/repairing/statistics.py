"""Batch norms' running statistics, afresh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from purethin.arguments import explained
from purethin.errors import MaskError
from purethin.measuring.running import arguments, arity
from purethin.modules import rebuild
from purethin.thinning import Config

_NORM = nn.modules.batchnorm._BatchNorm


@explained
def fresh_statistics(
    model: nn.Module,
    params: Mapping[str, Tensor],
    batches: Iterable[Any],
    *,
    config: Config | None = None,
) -> dict[str, Tensor]:
    """The parameters with batch norms' running statistics recomputed over batches, all alike: what
    `torch.optim.swa_utils.update_bn` does to a module, as a function.

    After removal the data of each layer are others than those that its statistics were taken from.
    All else runs in eval mode; nothing is trained.

    Args:
        model: the module; it is not changed.
        params: its parameters, dense, masked or thinned.
        batches: inputs, as `measure` takes them; read once. Larger batches give better variances.
        config: what `thin` gave, for thinned parameters.

    Returns:
        `{name: Tensor}`; only running means and variances are new.

    Raises:
        MaskError: there is no batch.
        SpecError: the parameters do not fit the model.

    >>> norm, x = nn.Sequential(nn.BatchNorm1d(1)), torch.tensor([[1.], [3.]])
    >>> params = {**norm.state_dict()}
    >>> new = fresh_statistics(norm, params, [x])
    >>> float(new["0.running_mean"]), float(new["0.running_var"]), float(params["0.running_mean"])
    (2.0, 2.0, 0.0)
    """
    net = rebuild(model, params, config or {}).eval()
    for module in net.modules():
        if isinstance(module, _NORM) and module.track_running_stats:
            module.reset_running_stats()
            module.momentum = None  # the plain mean over batches
            module.train()
    with torch.no_grad():
        count = 0
        for count, batch in enumerate(batches, start=1):  # noqa: B007
            args, kwargs = arguments(batch, arity(net.forward))
            net(*args, **kwargs)
    if not count:
        raise MaskError("no batch is given: give one at least, [inputs]")
    new = dict(net.named_buffers())
    names = {n for n in params if n.endswith(("running_mean", "running_var")) and n in new}
    return {n: new[n].detach() if n in names else t for n, t in params.items()}
