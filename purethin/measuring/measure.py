"""Run a network over batches and sum what criteria and repair need, in the memory of one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from purethin.errors import SpecError, nearest
from purethin.measuring.calls import watched
from purethin.measuring.gradients import GradientSums
from purethin.measuring.grams import GramSums
from purethin.measuring.running import Running, running
from purethin.measuring.stats import Stats
from purethin.measuring.sums import Scratch, Sums
from purethin.records import Site
from purethin.spec import Spec
from purethin.tree import TensorTree

Loss = Callable[[Any, Any], Tensor]
"""`(outputs, batch) -> loss`: a scalar, or one number for each example."""


def measure(
    model: nn.Module | Callable[..., Any],
    params: TensorTree,
    spec: Spec,
    batches: Iterable[Any],
    *,
    gram: bool | str | Sequence[str] = False,
    loss: Loss | None = None,
) -> Stats:
    """Sums over batches of the data that calls read, and of gradients where a loss is given.

    What is measured for an axis comes from the trace: the tensors of data that the calls read which
    sum over it (`Spec.sites`), so after norms and nonlinearities, whatever modules there are. The
    network runs in eval mode.

    Args:
        model: the module, or any function `f(params, *args)`, as `infer` takes it.
        params: its parameters, dense or thinned; nothing of them is changed.
        spec: their spec.
        batches: each a tensor, a tuple of arguments, or a dict of keyword arguments; read once, one
            at a time. A long loader can be wrapped: `rich.progress.track(loader)`.
        gram: the axes whose readers' second moments are summed (see `Gram`): True for all, or names
            or patterns (`"layer1.*"`). They cost the square of the features in memory.
        loss: from the outputs and the batch to a scalar, whose gradient is taken batch by batch; or
            to `Tensor[examples]`, then example by example: each must depend on its own example
            alone.

    Returns:
        The sums, `Stats`; float64 where they are small, float32 or wider else, also of half
        types.

    Raises:
        SpecError: parameters, spec and model do not fit, a pattern matches no axis, the spec was
            written without a trace, or there is no batch.

    >>> params = {"w": torch.tensor([[1., -1.]]), "v": torch.ones(2, 1)}
    >>> def net(p, x): return torch.relu(x @ p["w"]) @ p["v"]
    >>> from purethin.inference.infer import infer
    >>> stats = measure(net, params, infer(net, params, torch.ones(3, 1)), [torch.ones(3, 1)])
    >>> stats.at("w")[0].mean
    tensor([1., 0.], dtype=torch.float64)
    """
    run = running(model, params, spec)
    if not spec.sites:
        raise SpecError(
            "this spec knows no call of a forward, so nothing tells what its axes' data are: give "
            "one that infer made"
        )
    wanted = _wanted(spec, gram)
    sums = {site: Sums(site, spec) for site in spec.sites if _shown(site)}
    scratch = Scratch()
    grams = {site: GramSums(site) for site in sums if wanted & {*site.axes}}
    gradients = None if loss is None else GradientSums(run, spec, loss)
    count = 0
    for batch in batches:
        _activations(run, batch, sums, grams, scratch)
        if gradients is not None:
            gradients.add(batch)
        count += 1
    if not count:
        raise SpecError("no batch is given: give one at least, [inputs]")
    return Stats(
        tuple(
            s.features(grams[site].gram() if site in grams else None)
            for site, s in sums.items()
            if s.positions
        ),
        None if gradients is None else gradients.gradients(),
    )


def _shown(site: Site) -> bool:
    return site.role != "scales" and site.operand is not None


def _wanted(spec: Spec, gram: bool | str | Sequence[str]) -> set[str]:
    """The axes whose second moments are asked for."""
    if isinstance(gram, bool):
        return {*spec.axes} if gram else set()
    out: set[str] = set()
    for pattern in [gram] if isinstance(gram, str) else gram:
        found = {name for name in spec.axes if fnmatchcase(name, pattern)}
        if not found:
            raise SpecError(f"no axis is named '{pattern}'; {nearest(pattern, spec.axes)}")
        out |= found
    return out


def _activations(
    run: Running,
    batch: Any,
    sums: Mapping[Site, Sums],
    grams: Mapping[Site, GramSums],
    scratch: Scratch,
) -> None:
    """Add what the calls of one forward read."""
    sites: dict[str, list[Site]] = {}
    for site in sums:
        sites.setdefault(site.call, []).append(site)

    def seen(name: str, tensors: list[Tensor], outs: list[Any], call: Any) -> None:
        for site in sites[name]:
            assert site.operand is not None
            x = outs[0] if site.operand < 0 else tensors[site.operand]
            if sums[site].add(x, scratch) and site in grams:
                grams[site].add(x, call)

    with watched(run.tensors, {*sites}, seen):
        run.call(run.tensors, batch)
