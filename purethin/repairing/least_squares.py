"""Repair by least squares, reader after reader, on the network as it is by then.

Each reader of removed units learns to give what it gave in the dense network, from what is left; in
a residual stream, what the next norm reads. Invariant: a step is made only if it takes the outputs
of the held-out batches nearer to the dense ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, prod
from typing import Any

import torch
from torch import Tensor, nn

from purethin import axes as ax
from purethin.arguments import explained
from purethin.checks import check_masks
from purethin.errors import MaskError
from purethin.measuring.calls import watched
from purethin.measuring.grams import placed_rows
from purethin.measuring.running import Running, running
from purethin.outputs import output_leaves
from purethin.records import Site
from purethin.repairing.equations import Equations, equations
from purethin.spec import Masks, Spec
from purethin.thinning import mask
from purethin.tree import TensorTree, map_named, named
from purethin.units import wide

RIDGES = (0.01, 0.1, 1.0, 10.0)
"""Strengths that are tried, relative to the energy of the features: convolutions take the least,
transformers the most.
"""


@explained
def repair(
    model: nn.Module | Callable[..., Any],
    params: TensorTree,
    spec: Spec,
    masks: Masks,
    batches: Iterable[Any],
    *,
    held_out: Iterable[Any] | None = None,
    ridges: Sequence[float] = RIDGES,
) -> TensorTree:
    """New weights for what reads removed units, so that the outputs stay near the dense ones. No
    labels, no gradients, no training.

    The readers follow one another in the order of the forward, each fitted on the repaired network
    so far: it minimises Σ w·‖y_dense − y‖² + the ridge towards the old weights over what is left of
    its inputs, and its bias where it has one. y is what it returns; where a norm follows, what that
    norm reads (the residual stream), so that errors of earlier layers are made up for too, and each
    position has the weight 1/variance by which the norm divides. Each reader takes the ridge that
    brings the outputs of held-out batches nearest to the dense ones, and stays as it is where none
    does; with that ridge it is then fitted to these batches too.

    Linear layers and convolutions, grouped, dilated or transposed, are repaired, one reader of an
    axis after the other; of a recurrent layer what it reads, fitted to what its gates were given.
    What it reads of itself, products of bare parameters of another shape and weights that are used
    twice stay masked.

    Args:
        model: the module, or any function `f(params, *args)`, as `measure` takes it.
        params: its dense parameters.
        spec: their spec, from `infer`.
        masks: `{axis: BoolTensor[size]}`, True = keep.
        batches: inputs, as `measure` takes them; run once for each reader, while what the dense
            network gives at all readers is held in memory. Padded positions count as others
            do: give examples of one length together.
        held_out: inputs to choose by, run once more for each ridge; without them every third batch.
        ridges: the strengths to choose from.

    Returns:
        The masked network's parameters at dense shapes, repaired: `thin` takes them. Where the
        outputs on the held-out batches are no nearer to the dense ones, what `mask` gives.

    Raises:
        MaskError: the masks do not fit the spec, there are no ridges, or fewer than two batches are
            given without `held_out`.
        SpecError: model, parameters and spec do not fit.

    Source: He et al., Channel Pruning for Accelerating Very Deep Neural Networks, arXiv 1707.06168,
    eq. 5; the weights by the following norm and the stream as target are purethin's.

    >>> from purethin.inference.infer import infer
    >>> def net(p, x): return x @ p["w"].T @ p["v"].T
    >>> params = {"w": torch.tensor([[1., 0.], [0., 1.], [1., 1.]]), "v": torch.ones(1, 3)}
    >>> x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    >>> spec, masks = infer(net, params, x), {"w": torch.tensor([True, True, False])}
    >>> new = repair(net, params, spec, masks, [x[:6]], held_out=[x[6:]], ridges=[1e-6])
    >>> new["v"].round(decimals=3)  # the third unit was the sum of the others
    tensor([[2., 2., 0.]])
    """
    check_masks(spec, masks)
    if not ridges or not all(0 <= ridge < inf for ridge in ridges):
        raise MaskError(f"ridges are {[*ridges]}: give some numbers from 0, as the default")
    run = running(model, params, spec)
    fit, held = _split([*batches], None if held_out is None else [*held_out])
    masked = dict(named(mask(params, spec, masks)))
    masked = {n: t.detach() for n, t in masked.items()}
    readers = [_Reader(run, spec, masks, site) for site in _readers(spec, masks)]
    aims = [_aims(run, readers, part) for part in (fit, held)]
    far = _distance(run, held)
    now, start = dict(masked), far(masked)
    reached = start
    for reader in readers:
        own = reader.sums(now, fit, aims[0])
        others = None if own is None else reader.sums(now, held, aims[1])
        if own is None or others is None:
            continue
        tried = {r: far({**now, **reader.changed(now, own.solved(r))}) for r in ridges}
        best = min(tried, key=lambda ridge: tried[ridge])
        if tried[best] < reached:
            now |= reader.changed(now, (own + others).solved(best))
            reached = far(now)
    best = now if reached < start else masked
    return map_named(lambda name, t: best[name], params)


def _split(batches: list[Any], held: list[Any] | None) -> tuple[list[Any], list[Any]]:
    """What to fit on, and what to choose by."""
    if held is not None:
        return batches, held
    if len(batches) < 2:
        raise MaskError(
            "one batch alone leaves nothing to choose the ridge by: give several, or held_out="
        )
    return [b for i, b in enumerate(batches) if i % 3 != 1], batches[1::3]


def _readers(spec: Spec, masks: Masks) -> Iterator[Site]:
    """The calls that read masked axes by one weight, which no other call uses."""
    uses: dict[str, set[str]] = {}
    for site in spec.sites:
        for weight, _ in site.weights:
            uses.setdefault(weight, set()).add(site.call)
    for site in spec.sites:
        reads = site.role == "reads" and site.operand is not None and len(site.weights) == 1
        alone = reads and len(uses[site.weights[0][0]]) == 1
        if alone and masks.keys() & {*ax.names(site.channels)}:
            kept = ax.keep(site.channels, masks, spec.sizes)
            if kept is not None and bool(kept.any()):  # of a whole branch nothing is left to fit
                yield site


class _Stop(Exception):
    """What was to be seen of a forward has been seen."""


@dataclass(frozen=True)
class _Seen:
    """What one forward shows of a reader: its rows, `Tensor[groups, positions, features]`, what is
    to be as in the dense network, `Tensor[groups, positions, outputs]`, and the positions' weights.
    """

    rows: Tensor
    made: Tensor
    weights: Tensor | None


class _Reader:
    """One call that reads masked units by one weight."""

    def __init__(self, run: Running, spec: Spec, masks: Masks, site: Site) -> None:
        self.run, self.spec, self.site = run, spec, site
        self.weight, self.dim = site.weights[0]
        kept = ax.keep(site.channels, masks, spec.sizes)
        assert kept is not None
        self.kept, self.places = kept, prod(run.tensors[self.weight].shape[2:])
        dims = spec.layout[self.weight]
        self.out_dim = 1 - self.dim  # of transposed convolutions it is dim 1
        self.out_kept = ax.keep(dims[self.out_dim], masks, spec.sizes)
        module, _, own = self.weight.rpartition(".")
        name = f"{module}.{own.replace('weight', 'bias')}".removeprefix(".")
        fits = name in spec.layout and spec.layout[name] == (dims[self.out_dim],)
        self.bias = name if fits and name != self.weight else None
        # a recurrent layer returns what its gates let through: fitted is what they are given
        self.gated = site.call.partition(" ")[0] in _RECURRENT
        self.norm = None if self.gated else site.norm

    def sums(
        self, now: Mapping[str, Tensor], batches: Sequence[Any], aims: _Aims
    ) -> Equations | None:
        """The normal equations over batches; None where the call is of another form."""
        total: Equations | None = None
        for i, batch in enumerate(batches):
            dense = aims.get((self.site, i))
            current = next(iter(_seen(self.run, [self], now, batch).values()), None)
            if dense is None or current is None or dense.made.shape != current.made.shape:
                return None
            lacking = dense.made - current.made
            if self.out_kept is not None:
                keep = self.out_kept.to(lacking.device)
                groups = len(keep) // lacking.shape[2]  # 1 where all groups share their units
                keep = keep.reshape(groups, 1, -1)
                lacking = torch.where(keep, lacking, torch.zeros_like(lacking))
            keep = self.features(len(current.rows)).to(lacking.device)
            rows = (current.rows * keep[:, None])[..., keep.any(0)]
            more = equations(rows, lacking, dense.weights, shift=self.bias is not None)
            total = more if total is None else total + more
        return total

    def features(self, groups: int) -> Tensor:
        """`BoolTensor[groups, features]`: those of units that stay."""
        return self.kept.reshape(groups, -1).repeat_interleave(self.places, 1)

    def changed(self, now: Mapping[str, Tensor], change: Tensor) -> dict[str, Tensor]:
        """The weight and the bias with a change `Tensor[groups, features that stay, outputs]`."""
        weight, out = now[self.weight], {}
        if self.bias is not None:
            bias = now[self.bias]
            out[self.bias] = (bias.double() + change[:, -1].flatten()).to(bias)
            change = change[:, :-1]
        keep = self.features(len(change)).to(change.device)
        rows = change.new_zeros(len(change), change.shape[2], keep.shape[1])
        rows[..., keep.any(0)] = change.mT
        if weight.dim() == 2:
            delta = rows[0] if self.dim == 1 else rows[0].mT
        elif self.dim == 1:
            delta = rows.reshape(weight.shape)
        else:  # transposed: groups, outputs, channels, the kernel backwards
            places = rows.unflatten(2, (-1, *weight.shape[2:])).transpose(1, 2)
            delta = places.flip([*range(3, places.dim())]).reshape(weight.shape)
        return {**out, self.weight: (weight.double() + delta).to(weight)}

    def matched(self, caught: Mapping[str, Any]) -> _Seen | None:
        """What was caught, if the call is of the form that is repaired."""
        rows, out, normed = caught["rows"], caught["out"], caught.get("norm")
        groups, positions = rows.shape[:2]
        if self.gated:
            return _Seen(rows, rows @ caught["weight"].mT.to(rows), None)
        kernel = len(self.spec.layout[self.weight]) - 2
        at = out.dim() - 1 - kernel
        made = out.movedim(at, -1).reshape(positions, -1) if _fits(out, at, positions) else None
        if made is None or made.shape[1] % groups:
            return None
        weights, norm = None, self.norm
        same = normed is not None and normed.numel() == made.numel() and not kernel
        if normed is not None and norm is not None and same and normed.shape[-1] == made.shape[1]:
            made = normed.reshape(positions, -1)
            spread = made.var(1, correction=0) if norm.centred else made.square().mean(1)
            weights = 1 / (spread + 1e-5)
        made = made.reshape(positions, groups, -1).movedim(1, 0)
        return _Seen(rows, made, weights)


_RECURRENT = {
    f"{kind}{part}" for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu") for part in ("", "_cell")
}
_Aims = Mapping[tuple[Site, int], _Seen]
"""By reader and batch: what is to be as in the dense network."""


def _aims(run: Running, readers: Sequence[_Reader], batches: Sequence[Any]) -> _Aims:
    """What the dense network shows of all readers; their rows are not kept."""
    none = torch.empty(0)
    return {
        (site, i): replace(seen, rows=none)
        for i, batch in enumerate(batches)
        for site, seen in _seen(run, readers, run.tensors, batch).items()
    }


def _seen(
    run: Running, readers: Sequence[_Reader], tensors: Mapping[str, Tensor], batch: Any
) -> dict[Site, _Seen]:
    """What one forward shows of readers; it runs no further than it must."""
    waiting: dict[str, list[_Reader]] = {}  # the two directions of a recurrent layer are one call
    for reader in readers:
        waiting.setdefault(reader.site.call, []).append(reader)
    caught: dict[Site, tuple[_Reader, dict[str, Any]]] = {}
    found: dict[Site, _Seen | None] = {}

    def seen(name: str, given: list[Tensor], outs: list[Any], call: Any) -> None:
        for reader in waiting.get(name, ()):
            assert reader.site.operand is not None
            rows = placed_rows(wide(given[reader.site.operand]), reader.site, call)
            mine = {"rows": rows, "out": wide(outs[0]), "weight": tensors[reader.weight]}
            caught[reader.site] = reader, mine
        for site, (reader, mine) in [*caught.items()]:
            if reader.norm is None or reader.norm.call == name:
                del caught[site]
                if reader.norm is not None:
                    mine["norm"] = wide(given[reader.norm.operand])
                found[site] = reader.matched(mine)
        if len(found) == len(readers):
            raise _Stop

    calls = {*waiting, *(r.norm.call for r in readers if r.norm is not None)}
    try:
        with watched(tensors, calls, seen):
            run.call(tensors, batch)
    except _Stop:
        pass
    return {site: seen for site, seen in found.items() if seen is not None}


def _fits(out: Tensor, at: int, positions: int) -> bool:
    return out.numel() == positions * out.shape[at]


def _distance(run: Running, batches: Sequence[Any]) -> Callable[[Mapping[str, Tensor]], float]:
    """From tensors to Σ ‖outputs − dense outputs‖² over batches."""

    def outputs(tensors: Mapping[str, Tensor]) -> Iterator[Tensor]:
        with torch.no_grad():
            for batch in batches:
                for _, leaf in output_leaves(run.call(tensors, batch)):
                    if isinstance(leaf, Tensor) and leaf.is_floating_point():
                        yield leaf

    dense = [*outputs(run.tensors)]

    def far(tensors: Mapping[str, Tensor]) -> float:
        pairs = zip(outputs(tensors), dense, strict=True)
        total = sum(float((a.double() - b.double()).square().sum()) for a, b in pairs)
        return total if isfinite(total) else inf

    return far
