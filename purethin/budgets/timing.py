"""A latency table is made: the layers of a network are cut to a grid of widths and timed, then the
network itself at a few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from purethin import axes as ax
from purethin.arguments import explained, fits
from purethin.axes import Axes
from purethin.budgets.backends import Backend, Ready, clock, ready_of, settle
from purethin.budgets.latency import LatencyTable, machine
from purethin.budgets.layer_times import LayerTime, adder, directions, narrowed
from purethin.budgets.solve import solve
from purethin.errors import MaskError, PurethinError, SpecError
from purethin.kept import Kept
from purethin.modules import params_of, rebuild
from purethin.spec import Scores, Spec
from purethin.thinning import config_of, thin

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""The arguments of a call, by position and by name."""
Groups = Sequence[Sequence[Axes]]
KINDS = 4
"""Odd widths, and those that 2, 4 and 8 divide, but no larger power of two."""
ROUNDS = 5
WHOLE = 20
"""How many times as long as a layer a whole network is timed, and in four times as many rounds."""


@explained
def latency_table(
    model: nn.Module,
    spec: Spec,
    example: Sequence[Tensor],
    *,
    backend: Backend | Ready = "eager",
    fractions: Sequence[float] = (0.125, 0.25, 0.5, 0.75, 1.0),
    scores: Scores | None = None,
    seconds: float = 0.05,
) -> LatencyTable:
    """Time each layer of a network at a grid of widths, and at widths with few divisors; then the
    whole network, cut at each fraction.

    The time is the processor's where torch has one thread and no GPU, else the wall's; the least of
    several rounds, in a process whose memory is settled: what a call frees, the next one uses.

    Args:
        model: the dense network.
        spec: its spec, inferred (it says where weights meet the data).
        example: its inputs, of the batch and on the device that count.
        backend: what runs the layers: `"eager"`, `"compiled"` by torch.compile, `"onnxruntime"`, or
            a function from a module to what is called and timed.
        fractions: the parts of the dense widths that are timed; 1 is added.
        scores: the whole networks that are timed are then those that `solve` finds with these
            scores for the fractions as parts of the dense latency; else all exact axes are cut
            alike.
        seconds: how long each point is timed for at least (`torch.utils.benchmark`); a whole
            network twenty times as long.

    Returns:
        A table that `solve(latency=…, table=…)` takes; layers of one class and equal shapes are
        timed once.

    Raises:
        SpecError: no layer of the network was called; a fraction is none; no such backend, or it is
            not installed.
    """
    wrong = [part for part in fractions if not fits(part, float) or not 0 < part <= 1]
    points = tuple(sorted({float(part) for part in fractions if part not in wrong} | {1.0}))
    if wrong or len(points) < 2:
        raise SpecError(f"fractions are {tuple(fractions)}: give parts of the widths, up to 1")
    ready = ready_of(backend) if isinstance(backend, str) else backend
    settle()
    with torch.no_grad():
        layers = tuple(_layers(model, spec, example, points, ready, seconds))
        if not layers:
            raise SpecError("no layer with named dimensions was called: there is nothing to time")

        def timed(network: nn.Module) -> float:
            return _timed(network, (tuple(example), {}), ready, WHOLE * seconds, 4 * ROUNDS)

        total = adder(layers, spec.sizes)
        described = {**machine(), "backend": backend if isinstance(backend, str) else "own"}
        table = LatencyTable(layers, timed(model), described, sizes=dict(spec.sizes))
        for fraction in reversed(points[:-1]):
            if (widths := _narrow(spec, fraction, table, scores)) and (
                cut := _network(model, spec, widths)
            ):
                whole = float(total(_tensors(widths, spec))), timed(cut)
                table = replace(table, whole=tuple(sorted((*table.whole, whole))))
    return table


def _layers(
    model: nn.Module,
    spec: Spec,
    example: Sequence[Tensor],
    points: tuple[float, ...],
    ready: Ready,
    seconds: float,
) -> Iterator[LayerTime]:
    """Each layer with its grid."""
    known: dict[object, LayerTime] = {}
    for path, call in _calls(model, spec, example).items():
        groups = directions(spec.layout[_weight(path, spec)])
        key = _shape(model.get_submodule(path), call, path, spec, groups)
        names = tuple(tuple(map(str, group)) for group in groups)

        def timed(widths: Mapping[str, int], path: str = path, call: Call = call) -> float:
            try:
                return _timed(*_cut(model, spec, path, call, widths), ready, seconds)
            except PurethinError:
                raise
            except Exception as error:  # whatever the forward raises
                why = (str(error).splitlines() or [""])[0]
                raise SpecError(
                    f"'{path}' cannot be timed by itself with {widths}: {type(error).__name__}: "
                    f"{why}. A budget of macs needs no table"
                ) from error

        if key not in known:
            known[key] = _grid(LayerTime(path, names, points, ()), groups, spec, timed)
        yield replace(known[key], module=path, widths=names)


def _grid(
    layer: LayerTime, groups: Groups, spec: Spec, timed: Callable[[Mapping[str, int]], float]
) -> LayerTime:
    """The layer's times. A point is taken at widths that 8 divides, where there are that many, and
    carried over in proportion.
    """
    taken = []
    for at in product(layer.fractions, repeat=len(groups)):
        widths = _widths(groups, at, spec)
        full = _tensors(widths, spec)
        part = [narrowed(g, full, spec.sizes) / f for g, f in zip(groups, at, strict=True)]
        taken.append(timed(widths) / prod(part))
    layer, odd = replace(layer, seconds=tuple(taken)), [1.0] * KINDS
    interpolated = adder((layer,), spec.sizes)
    for kind in range(KINDS):
        widths = _odd_widths(groups, kind, spec)
        exprs = [e for group in groups for e in group]
        cut = [ax.size(e, {**spec.sizes, **widths}) for e in exprs if {*ax.names(e)} & {*widths}]
        if cut and min(n & -n for n in cut) == 2**kind:
            between = interpolated(_tensors(widths, spec))
            odd[kind] = max(1.0, timed(widths) / float(between))
    return replace(layer, odd=tuple(odd))


def _widths(groups: Groups, at: Sequence[float], spec: Spec, step: int = 8) -> dict[str, int]:
    """The widths of a point: multiples of a step where an axis has at least four of them."""
    found = {}
    for group, fraction in zip(groups, at, strict=True):
        for name in (n for e in group for n in ax.names(e)):
            size = spec.sizes[name]
            unit = step if size >= 4 * step and fraction < 1 else 1
            found[name] = max(unit, round(fraction * size / unit) * unit)
    return found


def _odd_widths(groups: Groups, kind: int, spec: Spec) -> dict[str, int]:
    """Widths below three quarters that 2 ** kind divides and no larger power of two."""
    sizes = {n: spec.sizes[n] for group in groups for e in group for n in ax.names(e)}
    below = {
        n: int(0.75 * size) // 32 * 32 or int(0.75 * size) // 16 * 16 for n, size in sizes.items()
    }
    return {n: width - 2**kind for n, width in below.items() if width}


def _tensors(widths: Mapping[str, int], spec: Spec) -> dict[str, Tensor]:
    full = {**spec.sizes, **widths}
    return {n: torch.tensor(float(w), dtype=torch.float64, device="cpu") for n, w in full.items()}


def _masks(widths: Mapping[str, int], spec: Spec) -> dict[str, Tensor]:
    """The first units of each axis."""
    return {n: torch.arange(spec.sizes[n], device="cpu") < width for n, width in widths.items()}


def _narrow(
    spec: Spec, fraction: float, table: LatencyTable, scores: Scores | None
) -> dict[str, int]:
    """The widths of a network that is timed whole: this part of all exact axes, or what `solve`
    finds for this part of the latency; none where it finds nothing.
    """
    if scores is None:
        exact = [ax.Name(name) for name in spec.exact]
        return _widths([exact], [fraction], spec, step=16)
    try:
        masks = solve(scores, spec, latency=fraction, table=table)
    except MaskError:  # the narrowest takes longer
        return {}
    return {n: int(m.sum()) for n, m in masks.items()}


def _network(model: nn.Module, spec: Spec, widths: Mapping[str, int]) -> nn.Module | None:
    """The network of these widths, where its forward allows it."""
    try:
        return rebuild(model, *thin(params_of(model), spec, _masks(widths, spec)))
    except MaskError:  # a comparison of sizes that this would change
        return None


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


def _shape(module: nn.Module, call: Call, path: str, spec: Spec, groups: Groups) -> object:
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
    widths: Mapping[str, int],
) -> tuple[nn.Module, Call]:
    """A layer and its inputs with the first units of each axis, so many of them."""
    masks = _masks(widths, spec)
    mine = {p for p in spec.attributes if f"{p}.".startswith(f"{path}.")}
    own = replace(
        spec,
        attributes={p: spec.attributes[p] for p in mine},
        caches={},
        stand_ins={p: c for p, c in spec.stand_ins.items() if p in mine},
        empty_layers={},
    )
    module, kept = model.get_submodule(path), Kept(spec, masks)
    thinned = {n: kept.taken(f"{path}.{n}", t) for n, t in params_of(module).items()}
    args, kwargs = call
    for argument, at, channels in _taken(module, path, spec):
        given = args[argument] if isinstance(argument, int) else kwargs[argument]
        keep = ax.keep(channels, masks, spec.sizes)
        if keep is not None and given.shape[at] == len(keep):
            cut = given.index_select(at, keep.nonzero()[:, 0].to(given.device))
            args = tuple(cut if a is given else a for a in args)  # attention is given one thrice
            kwargs = {name: cut if a is given else a for name, a in kwargs.items()}
    config = {p[len(path) + 1 :]: changed for p, changed in config_of(own, masks).items()}
    return rebuild(module, thinned, config).eval(), (args, kwargs)


def _taken(module: nn.Module, path: str, spec: Spec) -> Iterator[tuple[int | str, int, Axes]]:
    """What a layer takes: the argument, the dim of it that carries axes, and what that is made of.

    A convolution of as many groups as channels sums over none of them: its own integer says them.
    """
    for a in spec.activations:
        if a.module == path and a.argument is not None:
            yield a.argument, a.at, a.channels
    channels = spec.attributes.get(path, {}).get("in_channels")
    if isinstance(module, nn.modules.conv._ConvNd) and not isinstance(channels, tuple | None):
        yield 0, -1 - len(module.kernel_size), channels


def _timed(
    module: nn.Module, call: Call, ready: Ready, seconds: float, rounds: int = ROUNDS
) -> float:
    """The least seconds of one call, over rounds."""
    from torch.utils.benchmark import Timer  # it looks for compilers as it is imported, and warns

    (args, kwargs), forward = call, ready(module)

    def run() -> object:
        out = forward(*args, **kwargs)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return out

    run()
    names, threads = {"run": run}, torch.get_num_threads()
    timer = Timer("run()", timer=clock(), globals=names, num_threads=threads)
    once = timer.timeit(1).mean
    number = max(1, int(seconds / rounds / max(once, 1e-7)))
    return min(timer.timeit(number).mean for _ in range(rounds))
