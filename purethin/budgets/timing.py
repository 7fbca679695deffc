"""A latency table is made: the layers of a network are cut to a grid of widths and timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from purethin import axes as ax
from purethin.arguments import explained
from purethin.axes import Axes
from purethin.budgets.latency import LatencyTable, LayerTime, directions, machine
from purethin.errors import SpecError
from purethin.kept import Kept
from purethin.modules import params_of, rebuild
from purethin.spec import Spec
from purethin.thinning import config_of

Ready = Callable[[nn.Module], Callable[..., object]]
"""From a module to what is called and timed."""
Call = tuple[tuple[Any, ...], dict[str, Any]]
"""The arguments of a call, by position and by name."""


@explained
def latency_table(
    model: nn.Module,
    spec: Spec,
    example: Sequence[Tensor],
    *,
    fractions: Sequence[float] = (0.125, 0.25, 0.5, 0.75, 1.0),
    ready: Ready = lambda module: module,
    seconds: float = 0.05,
) -> LatencyTable:
    """Time each layer of a network at a grid of widths.

    Args:
        model: the dense network.
        spec: its spec, inferred (it says where weights meet the data).
        example: its inputs, of the batch and on the device that count.
        fractions: the parts of the dense widths that are timed; 1 is added.
        ready: what makes a module ready to be called: nothing for eager, `torch.compile`, or a
            function of yours that exports it and returns a session's call.
        seconds: how long each point is timed for at least (`torch.utils.benchmark`).

    Returns:
        A table that `solve(latency=…, table=…)` takes; layers of one class and equal shapes are
        timed once.

    Raises:
        SpecError: no layer of the network was called.
    """
    points = tuple(sorted({*fractions, 1.0}))
    known: dict[object, tuple[float, ...]] = {}
    layers = []
    with torch.no_grad():
        for path, call in _calls(model, spec, example).items():
            groups = directions(spec.layout[_weight(path, spec)])
            key = _shape(model.get_submodule(path), call, path, spec, groups)
            if key not in known:
                known[key] = tuple(
                    _timed(*_cut(model, spec, path, call, groups, at), ready, seconds)
                    for at in product(points, repeat=len(groups))
                )
            names = tuple(tuple(map(str, group)) for group in groups)
            layers.append(LayerTime(path, names, points, known[key]))
        if not layers:
            raise SpecError("no layer with named dimensions was called: there is nothing to time")
        dense = _timed(model, (tuple(example), {}), ready, seconds)
    return LatencyTable(tuple(layers), dense, machine())


def _calls(model: nn.Module, spec: Spec, example: Sequence[Tensor]) -> dict[str, Call]:
    """The inputs of each module that owns a weight with named dimensions, as first called; not of
    one whose parts are such modules.
    """
    found: dict[str, Call] = {}

    def noted(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(_: nn.Module, args: Any, kwargs: Any) -> None:
            found.setdefault(path, (args, kwargs))

        return note

    handles = [
        module.register_forward_pre_hook(noted(path), with_kwargs=True)
        for path, module in model.named_modules()
        if path and _weight(path, spec)
    ]
    try:
        model(*example)
    finally:
        for handle in handles:
            handle.remove()
    whole = {p for p in found if any(other.startswith(f"{p}.") for other in found)}
    return {path: call for path, call in found.items() if path not in whole}


def _weight(path: str, spec: Spec) -> str:
    """The module's own parameter of most dimensions that carries an axis; "" for none."""
    own = [n for n in spec.layout if n.rpartition(".")[0] == path and n not in spec.buffers]
    own = [n for n in own if any(any(ax.names(d)) for d in spec.layout[n])]
    return max(own, key=lambda n: len(spec.layout[n]), default="")


def _shape(
    module: nn.Module, call: Call, path: str, spec: Spec, groups: Sequence[Sequence[Axes]]
) -> object:
    """What two layers must have in common to be timed once: class, options, shapes and grids."""
    tensors = [t for t in (*call[0], *call[1].values()) if isinstance(t, Tensor)]
    own = [(n, tuple(t.shape)) for n, t in params_of(module).items()]
    sizes = [[ax.size(e, spec.sizes) for e in group] for group in groups]
    dims = spec.layout[_weight(path, spec)]
    narrowed = [[i for i, group in enumerate(groups) if d in group] for d in dims]
    return str((repr(module), own, [tuple(t.shape) for t in tensors], sizes, narrowed))


def _cut(
    model: nn.Module,
    spec: Spec,
    path: str,
    call: Call,
    groups: Sequence[Sequence[Axes]],
    at: Sequence[float],
) -> tuple[nn.Module, Call]:
    """A layer and its inputs with the first units of each axis: these fractions of them."""
    masks = {}
    for group, fraction in zip(groups, at, strict=True):
        for name in (n for e in group for n in ax.names(e)):
            size = spec.sizes[name]
            masks[name] = torch.arange(size, device="cpu") < max(1, round(fraction * size))
    own = replace(
        spec,
        attributes={path: spec.attributes.get(path, {})},
        caches={},
        stand_ins={p: c for p, c in spec.stand_ins.items() if p == path},
    )
    module, kept = model.get_submodule(path), Kept(spec, masks)
    thinned = {n: kept.taken(f"{path}.{n}", t) for n, t in params_of(module).items()}
    args, kwargs = [*call[0]], dict(call[1])
    for a in (a for a in spec.activations if a.module == path and a.argument is not None):
        given: Any = args if isinstance(a.argument, int) else kwargs
        keep = ax.keep(a.channels, masks, spec.sizes)
        tensor = given[a.argument]
        if keep is not None and tensor.shape[a.at] == len(keep):
            given[a.argument] = tensor.index_select(a.at, keep.nonzero()[:, 0].to(tensor.device))
    changed = config_of(own, masks).get(path)
    config = {"": changed} if changed else {}
    return rebuild(module, thinned, config).eval(), (tuple(args), kwargs)


def _timed(module: nn.Module, call: Call, ready: Ready, seconds: float) -> float:
    """The median seconds of one call."""
    from torch.utils.benchmark import Timer  # it looks for compilers as it is imported, and warns

    (args, kwargs), forward = call, ready(module)

    def run() -> object:
        out = forward(*args, **kwargs)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return out

    run()
    timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=seconds).median
