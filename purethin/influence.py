"""What a residual branch does to the stream that it adds to: the angle between the two, with it
and without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from purethin.arguments import explained
from purethin.branches import drop, whole_branches
from purethin.errors import MaskError
from purethin.finding import find
from purethin.measuring.running import running
from purethin.spec import Spec
from purethin.thinning import mask
from purethin.tree import TensorTree, named


@explained
def block_influence(
    model: nn.Module | Callable[..., Any],
    params: TensorTree,
    spec: Spec,
    batches: Iterable[Any],
    *,
    branches: str | Sequence[str] | None = None,
) -> dict[str, float]:
    """ShortGPT's block influence of each residual branch, 1 − E[cos(x, x + f(x))] over positions:
    how far it turns the stream x that it adds to.

    One forward a batch, and one of the first batch for each branch, which tells where it adds.

    Args:
        model: the module, or any function `f(params, *args)`, as `measure` takes it.
        params: its dense parameters.
        spec: of `infer(…, branches=True)`.
        batches: inputs, as `measure` takes them.
        branches: those to score; of `whole_branches(spec)` all that add to a stream, if not given.

    Returns:
        `{branch: influence}`, from 0 to 2, the higher the more worth keeping, as
        `leave_branch_out` has them.

    Raises:
        MaskError: an axis is no branch, or no term of a sum by itself (a gate, a part of a
            concatenation, an expert, a branch that gives nothing), or there is no batch.
        SpecError: model, parameters and spec do not fit.

    Source: Men et al., ShortGPT: Layers in Large Language Models are More Redundant Than You
    Expect, arXiv 2403.03853, eq. 1; of each branch, where the paper takes layers of two.

    >>> from purethin.inference.infer import infer
    >>> def net(p, x): return x + x @ p["w"] @ p["v"]
    >>> params = {"w": torch.eye(2), "v": torch.tensor([[0.0, 1.0], [-1.0, 0.0]])}
    >>> spec = infer(net, params, torch.ones(1, 2), branches=True)
    >>> found = block_influence(net, params, spec, [torch.tensor([[1.0, 0.0]])])
    >>> round(found["w"], 4)  # turned by 45°
    0.2929
    """
    names = whole_branches(spec) if branches is None else find(spec, branches, error=MaskError)
    gone = {name: drop(spec, name) for name in names}
    run, joins = running(model, params, spec), dict[str, _Join]()
    sums, count = dict.fromkeys(names, 0.0), 0
    for count, batch in enumerate(batches, start=1):
        with _sums() as dense:
            run.call(run.tensors, batch)
        for name in names if count == 1 else ():
            with _sums() as without:
                run.call(named(mask(params, spec, gone[name])), batch)
            if (join := _join(dense, without, _features_at(spec, name))) is not None:
                joins[name] = join
            elif branches is not None:
                raise MaskError(f"'{name}' is no term of a sum: leave_branch_out scores it")
        for name, join in joins.items():
            sums[name] += join.turned(dense)
    if not count:
        raise MaskError("no batch is given: give one at least, [inputs]")
    if not joins:
        raise MaskError("no branch adds to a stream: give a spec of infer(…, branches=True)")
    return {name: sums[name] / count for name in joins}


@dataclass(frozen=True)
class _Sum:
    """A sum of two tensors of its own shape: these very tensors, their values, and what it gave."""

    given: tuple[Tensor, Tensor]
    terms: tuple[Tensor, Tensor]
    out: Tensor
    value: Tensor


@dataclass(frozen=True)
class _Join:
    """Where a branch comes in: the number of the sum, which of its terms it is, the number of the
    sum after which all of the stream is in, and the dim of its features.
    """

    first: int
    term: int
    last: int
    at: int

    def turned(self, sums: Sequence[_Sum]) -> float:
        """1 − the mean cosine between the stream without the branch and with it."""
        with_it = sums[self.last].value.double()
        without = with_it - sums[self.first].terms[self.term].double()
        return max(0.0, 1 - float(torch.cosine_similarity(without, with_it, dim=self.at).mean()))


def _join(dense: Sequence[_Sum], without: Sequence[_Sum], likely: int) -> _Join | None:
    """The first sum of which a branch is one term: all of it, so that what is left without it is
    constant over positions. Where no such sum is, None.
    """
    same = [tuple(map(torch.equal, d.terms, w.terms)) for d, w in zip(dense, without, strict=False)]
    first = next((i for i, terms in enumerate(same) if sum(terms) == 1), None)
    if first is None:
        return None
    term, last = same[first].index(False), first
    while last + 1 < len(same):  # parallel branches: the stream is whole after the last
        mine = [t is dense[last].out for t in dense[last + 1].given]
        if sum(mine) != 1 or not same[last + 1][mine.index(False)]:
            break
        last += 1
    left, whole = without[first].terms[term], dense[first].terms[term]
    ats = [d - left.dim() for d in range(left.dim()) if _even(left, whole, d)]
    if not ats:
        return None
    return _Join(first, term, last, likely if likely in ats else ats[-1])


def _even(left: Tensor, whole: Tensor, dim: int) -> bool:
    """Whether a tensor differs along one dim alone, beside one that differs along all."""
    rows = left.double().movedim(dim, 0).flatten(1)
    return bool((rows.amax(1) - rows.amin(1)).max() <= 1e-4 * whole.double().std())


def _features_at(spec: Spec, name: str) -> int:
    """The dim of the features in what the last reader of a branch takes."""
    return next((s.at for s in reversed(spec.sites) if name in s.axes and s.role == "reads"), -1)


class _Sums(TorchDispatchMode):
    """Lists the sums of a forward."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[_Sum] = []

    def __torch_dispatch__(self, op: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, op._schema.name
        one, other = args[:2] if name in ("aten::add", "aten::add_") else (None, None)
        if not isinstance(one, Tensor) or not isinstance(other, Tensor):
            return op(*args, **kwargs)
        if one.shape != other.shape or not one.is_floating_point():
            return op(*args, **kwargs)
        terms = one.clone() if name == "aten::add_" else one, other * kwargs.get("alpha", 1)
        out = op(*args, **kwargs)
        self.found.append(_Sum((one, other), terms, out, out.clone()))
        return out


@contextmanager
def _sums() -> Iterator[list[_Sum]]:
    """The sums of what runs while the block lasts."""
    mode = _Sums()
    with torch.inference_mode(), mode:
        yield mode.found
