"""Run a network over batches and sum what criteria and repair need, in the memory of one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Any

from torch import Tensor, nn

from purethin.arguments import explained
from purethin.errors import SpecError
from purethin.finding import find
from purethin.measuring.calls import Calls, watched
from purethin.measuring.gradients import GradientSums
from purethin.measuring.grams import GramSums
from purethin.measuring.running import Running, running
from purethin.measuring.stats import Features, Stats
from purethin.measuring.sums import Scratch, Sums
from purethin.measuring.weighted import WeightedSums
from purethin.records import Site
from purethin.spec import Spec
from purethin.tree import TensorTree
from purethin.waiting import told

Loss = Callable[[Any, Any], Tensor]
"""`(outputs, batch) -> loss`: a scalar, or one number for each example."""


@explained
def measure(
    model: nn.Module | Callable[..., Any],
    params: TensorTree,
    spec: Spec,
    batches: Iterable[Any],
    *,
    gram: bool | str | Sequence[str] = False,
    loss: Loss | None = None,
    progress: bool = False,
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
            at a time. Of a tuple the forward gets as many as it takes by position: what is left,
            such as labels, is for the loss.
        gram: the axes whose readers' second moments are summed (see `Gram`): True for all, or names
            or patterns (`"layer1.*"`). They cost the square of the features in memory.
        loss: from the outputs and the whole batch to a scalar, whose gradient is taken batch by
            batch; or to `Tensor[examples]`, then example by example: each must depend on its own
            example alone, which is entry i along dim 0 of the batch's tensors.
        progress: whether a line tells how far it is, in a terminal where rich is installed.

    Returns:
        The sums, `Stats`; float64 where they are small, float32 or wider else, also of half
        types.

    Raises:
        SpecError: parameters, spec and model do not fit, a pattern matches no axis, the spec was
            written without a trace, there is no batch, or the loss is no such tensor.

    >>> import torch
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
    activations = _Activations(run, spec, _wanted(spec, gram))
    gradients = None if loss is None else GradientSums(run, spec, loss)
    count, total = 0, len(batches) if isinstance(batches, Sized) else None
    with told("batches", total, show=progress) as done:
        for count, batch in enumerate(batches, start=1):  # noqa: B007
            activations.add(batch)
            if gradients is not None:
                gradients.add(batch)
            done(1)
    if not count:
        raise SpecError("no batch is given: give one at least, [inputs]")
    return Stats(activations.features(), None if gradients is None else gradients.gradients())


def _wanted(spec: Spec, gram: bool | str | Sequence[str]) -> set[str]:
    """The axes whose second moments are asked for."""
    if isinstance(gram, bool):
        return {*spec.axes} if gram else set()
    return {*find(spec, gram)}


class _Activations:
    """The sums at all sites."""

    def __init__(self, run: Running, spec: Spec, wanted: set[str]) -> None:
        self.run, self.scratch = run, Scratch()
        shown = [s for s in spec.sites if s.role != "scales" and s.operand is not None]
        self.sums = {site: Sums(site, spec) for site in shown}
        self.grams = {site: GramSums(site) for site in shown if wanted & {*site.axes}}
        self.weighted = WeightedSums([*self.grams])
        self.calls = Calls({})
        self.computed: dict[str, dict[str, Tensor]] = {}
        self.sites: dict[str, list[Site]] = {}
        for site in shown:
            self.sites.setdefault(site.call, []).append(site)

    def add(self, batch: Any) -> None:
        """Add what the calls of one forward read."""
        tensors = self.run.tensors
        with watched(tensors, {*self.sites} | self.weighted.calls, self._seen) as self.calls:
            self.run.call(tensors, batch)
        self.weighted.ends()

    def features(self) -> tuple[Features, ...]:
        """The sums as they stand."""
        return tuple(
            sums.features(
                self.grams[site].gram() if site in self.grams else None,
                self.weighted.gram(site),
                self.computed.get(site.call, {}),
            )
            for site, sums in self.sums.items()
            if sums.positions
        )

    def _computed(self, tensors: list[Tensor]) -> dict[str, Tensor]:
        """The weights that several parameters make together, as a norm and a direction do, by each
        of these that has their shape.
        """
        made = [(t, of) for t in tensors if len(of := self.calls.made_of(t)) > 1]
        return {n: t for t, of in made for n in of if self.run.tensors[n].shape == t.shape}

    def _seen(self, name: str, tensors: list[Tensor], outs: list[Any], call: Any) -> None:
        self.weighted.norms(name, tensors)
        if name not in self.computed:
            self.computed[name] = self._computed(tensors)
        for site in self.sites.get(name, ()):
            assert site.operand is not None
            x = outs[0] if site.operand < 0 else tensors[site.operand]
            if self.sums[site].add(x, self.scratch) and site in self.grams:
                self.grams[site].add(x, call)
                self.weighted.reads(site, x, call)
