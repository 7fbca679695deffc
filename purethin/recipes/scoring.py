"""What a criterion says of a network: its arguments are asked for by name, so that one of weights,
of activations, of gradients or of the whole network is called alike, and one's own function too.

Invariant: the network that is scored is the thinned one, whatever has left the tensors yet: what is
masked and what is thinned is ranked alike.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from purethin.errors import MaskError, RecipeError
from purethin.measuring.measure import measure
from purethin.measuring.running import running
from purethin.recipes.by_axis import ByAxis
from purethin.spec import Masks, Scores, Spec
from purethin.tree import TensorTree

OF_WEIGHTS = ("params", "spec")
OF_DATA = ("model", "stats", "grads", "batches")


@dataclass(frozen=True)
class Data:
    """What a criterion may ask for beside weights.

    Attributes:
        model: the network as it is now, a module of the user's own class.
        inputs: of some batches: tuples of arguments, or dicts of keyword arguments.
        loss: `(outputs, inputs) -> loss`, a scalar.
        gram: whether second moments are measured.
    """

    model: nn.Module
    inputs: Sequence[Any]
    loss: Callable[[Any, Any], Tensor]
    gram: bool = False

    def give(self, what: str, params: TensorTree, spec: Spec) -> Any:
        """One argument of a criterion."""
        if what == "stats":
            return measure(self.model, params, spec, self.inputs, gram=self.gram)
        if what == "grads":
            return self._gradients(params, spec)
        return {"params": params, "spec": spec, "model": self.model, "batches": self.inputs}[what]

    def _gradients(self, params: TensorTree, spec: Spec) -> Iterator[dict[str, Tensor]]:
        """The loss's gradients, batch by batch."""
        run = running(self.model, params, spec)
        free = [
            n for n, t in run.tensors.items() if t.is_floating_point() and n not in spec.buffers
        ]
        for batch in self.inputs:
            leaves = {name: run.tensors[name].detach().requires_grad_() for name in free}
            with torch.enable_grad():
                loss = self.loss(run.call({**run.tensors, **leaves}, batch), batch)
            found = torch.autograd.grad(loss, [*leaves.values()], allow_unused=True)
            yield {n: g for n, g in zip(leaves, found, strict=True) if g is not None}


def asked(criterion: Callable[..., Any]) -> tuple[str, ...]:
    """The arguments that a criterion must have, in order; of two with other names, parameters and
    spec.

    Raises:
        RecipeError: it must have one that nobody can give.

    >>> asked(lambda params, spec, stats, *, p=2: {}), asked(lambda tree, table: {})
    (('params', 'spec', 'stats'), ('params', 'spec'))
    """
    wanted = tuple(
        p.name
        for p in inspect.signature(criterion).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    )
    unknown = [name for name in wanted if name not in OF_WEIGHTS + OF_DATA]
    if len(wanted) == 2 == len(unknown):
        return OF_WEIGHTS
    if unknown:
        raise RecipeError(
            f"the criterion asks for '{unknown[0]}', which is not known: name its arguments "
            f"{', '.join(OF_WEIGHTS + OF_DATA)}, or set the others by functools.partial"
        )
    return wanted


def looks_at_data(by: ByAxis) -> bool:
    """Whether the criterion of a pruner asks for more than weights."""
    return bool({*asked(by.criterion.load("criterion"))} & {*OF_DATA})


def scores_by(
    by: ByAxis,
    axes: Collection[str],
    params: TensorTree,
    spec: Spec,
    seed: tuple[object, ...],
    data: Data | None = None,
) -> dict[str, Tensor]:
    """The scores of a pruner's axes, `{axis: Tensor[size]}`.

    Args:
        by: the pruner's choice.
        axes: whose.
        params: of the network as it is now.
        spec: its spec.
        seed: what a criterion that draws draws by.
        data: what the criterion may ask for.

    Raises:
        MaskError: it asks for data and there are none, or gives other than scores.
    """
    criterion, name = by.criterion.load("criterion"), by.criterion.name
    wanted = asked(criterion)
    if data is None and {*wanted} & {*OF_DATA}:
        raise MaskError(
            f"the criterion '{name}' asks for data, which the Trainer measures: in a loop of your "
            "own give advance, or masks_at, `scores`"
        )
    plain = {"params": params, "spec": spec}
    given = [data.give(w, params, spec) if data else plain[w] for w in wanted]
    draws = "generator" in inspect.signature(criterion).parameters
    found = criterion(*given, **({"generator": seeded(seed)} if draws else {}))
    for axis in axes:
        scores = found.get(axis) if isinstance(found, Mapping) else None
        if not isinstance(scores, Tensor) or scores.shape != (spec.sizes[axis],):
            what = type(found).__name__ if not isinstance(found, Mapping) else _says(scores)
            raise MaskError(
                f"the criterion '{name}' gave {what} for '{axis}': it returns "
                f"{{axis: Tensor[size]}}, here {spec.sizes[axis]} numbers, the higher the more "
                "worth keeping"
            )
    return {axis: found[axis].detach() for axis in axes}


def _says(scores: Any) -> str:
    shape = getattr(scores, "shape", None)
    return "nothing" if scores is None else f"a {type(scores).__name__} of shape {shape}"


def seeded(of: tuple[object, ...]) -> torch.Generator:
    """A generator that depends on nothing but `of`: the same in every process, whatever ran
    before.
    """
    seed = int.from_bytes(hashlib.blake2b(repr(of).encode(), digest_size=7).digest(), "big")
    return torch.Generator("cpu").manual_seed(seed)


def spread(scores: Scores, thinned: Masks) -> dict[str, Tensor]:
    """Scores of the units that remain as scores of all units; those that are gone score 0.

    >>> spread({"h": torch.tensor([3.0])}, {"h": torch.tensor([False, True])})
    {'h': tensor([0., 3.])}
    """

    def whole(found: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None or len(found) == mask.numel():
            return found
        kept = mask.nonzero()[:, 0].to(found.device)
        return found.new_zeros(mask.numel()).index_copy(0, kept, found)

    return {axis: whole(found, thinned.get(axis)) for axis, found in scores.items()}
