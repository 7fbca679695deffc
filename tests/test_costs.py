"""Cost equals what torch's own counter measures, dense and thinned."""

from __future__ import annotations

from dataclasses import asdict
from math import prod
from typing import Any

import pytest
import torch
import torchvision
from networks import built, random_masks
from patterns import PATTERNS, Pattern
from survey import allowed
from tables import case
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import purethin as pt
from purethin.tree import tensors_in

MODELS = [
    "resnet18",
    "mobilenet_v2",
    "densenet121",
    "shufflenet_v2_x0_5",
    "regnet_y_400mf",
    "convnext_tiny",
    "squeezenet1_1",
    "vit_b_16",
]

FORMULAS = {
    torch.ops.aten.mv: lambda matrix, vector, **_: 2 * prod(matrix),
    torch.ops.aten.dot: lambda left, right, **_: 2 * prod(left),
    torch.ops.aten.vdot: lambda left, right, **_: 2 * prod(left),
    torch.ops.aten._trilinear: lambda left, weight, *_, **__: 2 * left[0] * prod(weight),
    torch.ops.torchvision.deform_conv2d: lambda x, weight, offset, *_, out_shape, **__: (
        2 * prod(weight) * out_shape[0] * prod(out_shape[2:])
    ),
}
"""Operations of what torch's own counter leaves out, from the shapes: products with a vector, those
of `nn.Bilinear`, deformable convolutions.
"""
UNCOUNTED = {"flex attention"}
"""What torch runs under no counter: an operator that takes functions."""


def measured(model: Any, *args: Any, **kwargs: Any) -> int:
    """Multiply-accumulates: half of the counted operations."""
    if isinstance(model, nn.Module):
        model.requires_grad_(False)  # the counter hooks what requires grad
    torch.backends.mha.set_fastpath_enabled(False)  # fused attention is not counted
    try:
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter,
        ):
            model(*args, **kwargs)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return counter.get_total_flops() // 2


class Given(TorchDispatchMode):
    """The bytes of what operators gave while it lasted: those in which torch's counter finds
    something to count.
    """

    bytes = 0

    def __torch_dispatch__(self, op: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        if op is torch.ops.aten.linalg_multi_dot.default:  # each of its products is an operator
            with self:
                return op.decompose(*args, **(kwargs or {}))
        with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
            out = op(*args, **(kwargs or {}))
        if counter.get_total_flops():
            self.bytes += sum(t.numel() * t.element_size() for t in tensors_in(out))
        return out


def given_bytes(model: Any, *args: Any, **kwargs: Any) -> int:
    """What a forward's operators with MACs give, composite ones whole."""
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), Given() as counter:
            model(*args, **kwargs)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return counter.bytes


def assert_same_cost(spec: pt.Spec, masks: dict[str, Tensor]) -> None:
    """The compiled function, at what masks keep, is the cost."""
    function = pt.cost_function(spec)
    amounts = function(function.counts(masks))
    found = {n: int(amount) for n, amount in amounts._asdict().items()}
    assert found | {"batch": spec.batch} == asdict(pt.cost(spec, masks))


@pytest.mark.parametrize("name", MODELS)
def test_macs_and_parameters_equal_a_measured_count_before_and_after_thinning(name: str) -> None:
    model = torchvision.models.get_model(name, weights=None).eval()
    x = torch.randn(1, 3, 224, 224)
    params = pt.params_of(model)
    spec = pt.infer(model, params, x)
    masks = random_masks(spec)
    thinned, config = pt.thin(params, spec, masks)
    small = pt.rebuild(model, thinned, config)
    for seed in range(3):
        assert_same_cost(spec, random_masks(spec, seed=seed))
    for network, cost in ((model, pt.cost(spec)), (small, pt.cost(spec, masks))):
        assert cost.macs == measured(network, x)
        assert cost.parameters == sum(p.numel() for p in network.parameters())
        assert cost.bytes == sum(
            t.numel() * t.element_size() for t in pt.params_of(network).values()
        )
        assert cost.activation_bytes == given_bytes(network, x)


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if p.name not in UNCOUNTED], ids=str)
def test_macs_of_each_pattern_equal_a_measured_count_dense_and_thinned(pattern: Pattern) -> None:
    model, params = built(pattern)
    args, kwargs = pattern.inputs(), pattern.kwargs()
    spec = pt.infer(model, params, *args, **kwargs)
    given = args if pattern.function is None else (params, *args)
    assert pt.cost(spec).macs == measured(model, *given, **kwargs)
    drawn = random_masks(spec)
    # along a single entry einsum multiplies, which the counter leaves out
    masks = allowed(spec, {n: m for n, m in drawn.items() if m.sum() > 1})
    thinned, config = pt.thin(params, spec, masks)
    small = pt.rebuild(model, thinned, config) if pattern.function is None else model
    given = args if pattern.function is None else (thinned, *args)
    assert pt.cost(spec, masks).macs == measured(small, *given, **kwargs)
    assert pt.cost(spec, masks).activation_bytes == given_bytes(small, *given, **kwargs)
    assert_same_cost(spec, masks)


class Recurrent(nn.LSTM):
    """An LSTM that returns its output alone."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)[0]


class Centred(nn.Module):
    """What is returned depends on all rows."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x - x.mean(0))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))


def convolutions() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 3, 3))


def encoder(*, batch_first: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 12, batch_first=batch_first)


BATCHES = [
    case("vectors", mlp(), (5, 3)).gives(5),
    case("images", convolutions(), (3, 3, 7, 7)).gives(3),
    case("one image", convolutions(), (1, 3, 7, 7)).gives(1),
    case("sequences", encoder(batch_first=True), (4, 5, 8)).gives(4),
    case("sequences of an LSTM", Recurrent(3, 6, batch_first=True), (4, 5, 3)).gives(4),
    case("a vector", mlp(), (3,)).gives(0),
    case("an image alone", convolutions(), (3, 7, 7)).gives(0),
    case("sequences with time first", encoder(batch_first=False), (5, 4, 8)).gives(0),
    case("a sequence alone", encoder(batch_first=True), (5, 8)).gives(0),
    case("an LSTM with time first", Recurrent(3, 6), (5, 4, 3)).gives(0),
    case("rows that are compared", Centred(), (5, 3)).gives(0),
]


@pytest.mark.parametrize(("net", "shape", "batch"), BATCHES)
def test_a_spec_knows_of_how_many_examples_its_macs_are(
    net: nn.Module, shape: tuple[int, ...], batch: int
) -> None:
    params, x = pt.params_of(net), torch.rand(shape)
    spec = pt.infer(net, params, x)
    assert (spec.batch, pt.cost(spec).batch) == (batch, batch)
    assert pt.Spec.from_yaml(spec.to_yaml()) == spec
    if batch:
        assert pt.cost(spec).macs == batch * pt.cost(pt.infer(net, params, x[:1])).macs


def test_several_inputs_are_a_batch_where_they_agree_and_the_first_example_counts() -> None:
    net = nn.Bilinear(3, 4, 5)
    params = pt.params_of(net)
    assert pt.infer(net, params, torch.rand(6, 3), torch.rand(6, 4)).batch == 6
    spec = pt.infer(
        net,
        params,
        torch.rand(6, 3),
        torch.rand(6, 4),
        examples=[(torch.rand(2, 3), torch.rand(2, 4))],
    )
    assert spec.batch == 6
