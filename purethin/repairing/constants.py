"""What removed units still give, moved into the biases of what reads them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from purethin import axes as ax
from purethin.arguments import explained
from purethin.checks import check_fits, check_masks
from purethin.errors import MaskError
from purethin.measuring.stats import Features, Stats
from purethin.spec import Masks, Spec
from purethin.tree import TensorTree, map_named, named


@explained
def fold(
    params: TensorTree, spec: Spec, masks: Masks, stats: Stats, *, means: bool = False
) -> TensorTree:
    """Move what removed units give their readers into the readers' biases: b += W_:u·E[x_u], and
    W_:u = 0.

    A unit whose filter is zero may still give a constant: a live bias or batch norm shift, the
    sigmoid or softplus of zero. Then this changes nothing, and `thin` may take the unit out without
    a change of the function, although its axis is inexact.

    Args:
        params: the parameter pytree, in which the units give constants, as `mask` leaves it.
        spec: its spec.
        masks: `{axis: BoolTensor[size]}`, True = keep.
        stats: what `measure` gave of these very parameters; with `gram=` of the masked axes where
            convolutions with a kernel read them.
        means: whether what is not constant moves too, by its mean: FLAP's bias. This is no longer
            exact. On transformers single tokens rule a mean: see `docs/repair.md`.

    Returns:
        New parameters at dense shapes, for `thin`.

    Raises:
        MaskError: the masks do not fit, what a removed unit gives is not constant (as within the
            padding of a convolution), or a reader has no bias to take it.
        SpecError: the parameters do not fit the spec.

    Source of the bias by means: An et al., FLAP, arXiv 2312.11983, eq. 7.

    >>> from purethin.inference.infer import infer
    >>> from purethin.measuring.measure import measure
    >>> from purethin.thinning import mask
    >>> def net(p, x): return torch.nn.functional.linear((x @ p["w"]).sigmoid(), p["v"], p["b"])
    >>> params = {"w": torch.ones(1, 2), "v": torch.ones(1, 2), "b": torch.zeros(1)}
    >>> spec, masks = infer(net, params, torch.ones(1, 1)), {"w": torch.tensor([True, False])}
    >>> masked = mask(params, spec, masks) | {"v": params["v"]}  # sigmoid(0) is read
    >>> new = fold(masked, spec, masks, measure(net, masked, spec, [torch.ones(1, 1)]))
    >>> new["v"], new["b"]
    (tensor([[1., 0.]]), tensor([0.5000]))
    """
    tensors = dict(named(params))
    check_fits(spec, tensors)
    check_masks(spec, masks)
    new = dict(tensors)
    folded: dict[str, Features] = {}
    _check_seen(spec, masks, stats)
    for f in stats.features:
        kept = ax.keep(f.site.channels, masks, spec.sizes)
        if kept is None or bool(kept.all()) or f.site.role != "reads":
            continue
        if len(f.site.weights) != 1:
            raise MaskError(f"'{f.site.axes[0]}' is read in {f.site.call} by no weight of its own")
        before = folded.setdefault(weight := f.site.weights[0][0], f)
        if before is not f:  # its bias is added at each call, so each must be given the same
            if not torch.allclose(before.mean[~kept], f.mean[~kept], rtol=1e-5):
                raise MaskError(
                    f"'{weight}' reads removed units of '{f.site.axes[0]}' in two calls, which are "
                    "given other constants: one bias cannot stand for both"
                )
            if not means:
                _check_constant(f, ~kept, tensors[weight])
            continue
        new |= _folded(new, spec, f, ~kept, means=means)
    return map_named(lambda name, t: new[name], params)


def _check_seen(spec: Spec, masks: Masks, stats: Stats) -> None:
    """That the stats are of this network, and have all that reads what is masked."""
    seen = {f.site: f for f in stats.features}
    for site in spec.sites:
        if site.role != "reads" or site.operand is None or not masks.keys() & {*site.axes}:
            continue
        size = ax.size(site.channels, spec.sizes)
        if site not in seen or len(seen[site].total) != size:
            raise MaskError(
                f"what {site.call} reads of '{site.axes[0]}' was not measured: give what "
                "pt.measure(model, params, spec, batches) gives of this network"
            )


def _folded(
    tensors: Mapping[str, Tensor], spec: Spec, f: Features, gone: Tensor, *, means: bool
) -> dict[str, Tensor]:
    """The weight and the bias of one reader."""
    (name, dim), gone = f.site.weights[0], gone.to(f.total.device)
    weight, constant = tensors[name], torch.where(gone, f.mean, torch.zeros_like(f.mean))
    if not means:
        _check_constant(f, gone, weight)
    rows = weight.double() if weight.dim() == 2 else weight.double().flatten(2).sum(2)
    rows = rows if dim == 1 else rows.mT
    groups = len(constant) // rows.shape[1]
    each = constant.reshape(groups, -1)
    moved = torch.einsum("goc,gc->go", rows.reshape(groups, -1, rows.shape[1]), each).flatten()
    zeroed = gone.reshape(groups, -1).repeat_interleave(len(rows) // groups, 0)
    zeroed = zeroed if dim == 1 else zeroed.mT
    shape = (*zeroed.shape, *[1] * (weight.dim() - 2))
    out = {name: torch.where(zeroed.reshape(shape), torch.zeros_like(weight), weight)}
    if bool(moved.any()):
        _check_gated(spec, f)
        bias = _bias(spec, name, 1 - dim if weight.dim() == 2 else 0)
        if bias is None:
            raise MaskError(
                f"{f.site.call} has no bias to take what removed units of '{f.site.axes[0]}' give; "
                "give its layer a bias of zeros first"
            )
        out[bias] = (tensors[bias].double() + moved).to(tensors[bias])
    return out


def _check_gated(spec: Spec, f: Features) -> None:
    """That all that reads units which give something is linear in them: a bias stands for it."""
    for name in f.site.axes:
        if not spec.axes[name].gates:
            why = spec.axes[name].reason or "something reads them by no weight of its own"
            raise MaskError(
                f"removed units of '{name}' give a constant, and no bias can stand for all that "
                f"reads it: {why}"
            )


def _bias(spec: Spec, weight: str, out: int) -> str | None:
    """The bias beside a weight: a vector over the same units, of the same module."""
    module = weight.rpartition(".")[0]
    row = (spec.layout[weight][out],)
    beside = [
        n
        for n, d in spec.layout.items()
        if n not in (weight, *spec.buffers) and n.rpartition(".")[0] == module
    ]
    found = [n for n in beside if spec.layout[n] == row]
    return found[0] if len(found) == 1 else None


def _check_constant(f: Features, gone: Tensor, weight: Tensor) -> None:
    """That removed units give constants, at all places of a kernel."""
    axis, call = f.site.axes[0], f.site.call
    if bool((f.variance > 1e-8 * f.mean.square() + 1e-14)[gone].any()):
        raise MaskError(
            f"what removed units of '{axis}' give to {call} is not constant: measure the masked "
            "network, or say means=True, to move its mean"
        )
    if weight.dim() == 2 or weight[0, 0].numel() == 1 or not bool(f.mean[gone].any()):
        return
    if f.gram is None:
        raise MaskError(f"{call} has a kernel: give measure gram='{axis}', to see its padding")
    mean = f.gram.total.double() / f.gram.weight
    square = f.gram.matrix.double().diagonal(dim1=1, dim2=2) / f.gram.weight
    places = mean.shape[1] // (len(gone) // len(mean))
    each = gone.reshape(len(mean), -1).repeat_interleave(places, 1)
    if bool(((square - mean.square()) > 1e-6 * mean.square() + 1e-12)[each].any()):
        raise MaskError(
            f"{call} pads with zeros: at the border removed units of '{axis}' do not give the "
            "constant that they give inside, so no bias can stand for them"
        )
