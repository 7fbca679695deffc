"""A float mask is a gate: it multiplies what a unit gives to its readers, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from networks import randomise
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional as F

import purethin as pt
from purethin import axes as ax
from purethin.records import Activation


def bert() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=10,
        max_position_embeddings=8,
    )
    return transformers.BertModel(config, add_pooling_layer=False)


def llama() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=10,
        max_position_embeddings=8,
    )
    return transformers.LlamaModel(config)


IMAGES = (torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double(),)
TOKENS = (torch.arange(10).reshape(2, 5),)
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...], tuple[str, ...]]] = {
    "resnet18": (torchvision.models.resnet18, IMAGES, ("layer1.0.conv1", "layer2.0.conv2")),
    "mobilenet_v2": (torchvision.models.mobilenet_v2, IMAGES, ("features.2.conv.0.0",)),
    "bert": (bert, TOKENS, ("encoder.layer.0.intermediate.dense",)),
    "llama": (llama, TOKENS, ("layers.0.mlp.gate_proj",)),
}


def first(out: Any) -> Tensor:
    return out if isinstance(out, Tensor) else out[0]


def halving(gate: Mapping[str, Tensor], spec: pt.Spec, a: Activation) -> Callable[..., Any]:
    """A forward hook that multiplies what a module takes."""
    factor = ax.keep(a.channels, gate, spec.sizes)
    at = a.argument
    assert factor is not None and isinstance(at, int)

    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x = args[at]
        shape = [-1 if d == a.at % x.dim() else 1 for d in range(x.dim())]
        return (*args[:at], x * factor.reshape(shape), *args[at + 1 :])

    return hook


@pytest.mark.parametrize("name", NETS)
def test_a_gate_does_what_a_hook_does_that_multiplies_the_activation(name: str) -> None:
    make, inputs, some = NETS[name]
    model = randomise(make())
    params = pt.params_of(model)
    spec = pt.infer(model, params, *inputs)
    seed = torch.Generator().manual_seed(1)
    heads = next((n for n in spec.gated if n.endswith(("heads", "rep"))), some[0])
    for axis in dict.fromkeys([*some, heads]):
        gate = {axis: torch.rand(spec.sizes[axis], generator=seed, dtype=torch.float64)}
        gates = spec.axes[axis].gates
        readers = [a for a in spec.activations if a.role == "reads"]
        hooked = {(a.module, a.argument): a for a in readers if (a.parameter, a.dim) in gates}
        assert {(a.parameter, a.dim) for a in hooked.values()} == set(gates)
        handles = [
            model.get_submodule(a.module).register_forward_pre_hook(halving(gate, spec, a))
            for a in hooked.values()
        ]
        with torch.no_grad():
            want = first(model(*inputs))
            for handle in handles:
                handle.remove()
            dense = first(model(*inputs))
            got = first(functional_call(model, pt.mask(params, spec, gate), inputs))
        assert not torch.allclose(want, dense)
        torch.testing.assert_close(got, want)


class Gated(nn.Module):
    """Two producers, a squeeze branch, a batch norm and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.squeeze = nn.Linear(6, 6)
        self.up, self.gate, self.down = nn.Conv2d(6, 5, 1), nn.Conv2d(6, 5, 1), nn.Conv2d(5, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm(self.stem(x)))
        x = x * self.squeeze(x.mean((2, 3))).sigmoid()[..., None, None]
        x = x + self.down(F.silu(self.gate(x)) * self.up(x))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def gated() -> tuple[nn.Module, dict[str, Tensor], pt.Spec, Tensor]:
    model, x = randomise(Gated()), torch.randn(4, 2, 5, 5, dtype=torch.float64)
    params = pt.params_of(model)
    return model, params, pt.infer(model, params, x), x


Net = tuple[nn.Module, dict[str, Tensor], pt.Spec, Tensor]


def loss_of(net: Net, gates: Mapping[str, Tensor]) -> Tensor:
    model, params, spec, x = net
    return functional_call(model, pt.mask(params, spec, gates), (x,)).square().sum()


def test_only_what_reads_the_units_is_multiplied(gated: Net) -> None:
    spec = gated[2]
    assert spec.gated == ("stem", "up")
    assert spec.axes["up"].gates == (("down.weight", 1),)
    assert {p for p, _ in spec.axes["stem"].gates} == {
        "squeeze.weight",
        "up.weight",
        "gate.weight",
        "head.weight",
    }


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_gradients_directions_and_batches_of_gates_pass_batch_norms(gated: Net) -> None:
    spec = gated[2]
    ones = {n: torch.ones(spec.sizes[n], dtype=torch.float64) for n in spec.gated}
    slope = grad(partial(loss_of, gated))(ones)
    step = 1e-6
    for axis, unit in (("stem", 2), ("up", 4)):
        near = {**ones, axis: ones[axis] + step * F.one_hot(torch.tensor(unit), len(ones[axis]))}
        change = (loss_of(gated, near) - loss_of(gated, ones)) / step
        torch.testing.assert_close(slope[axis][unit], change, rtol=1e-4, atol=1e-4)
    along = jvp(partial(loss_of, gated), (ones,), (ones,))[1]
    torch.testing.assert_close(along, slope["stem"].sum() + slope["up"].sum())
    stacked = {n: torch.stack([one, one / 2]) for n, one in ones.items()}
    both = vmap(grad(partial(loss_of, gated)))(stacked)
    torch.testing.assert_close(both["stem"][0], slope["stem"])


def test_zeros_and_ones_are_false_and_true(gated: Net) -> None:
    spec = gated[2]
    masks = {n: torch.arange(spec.sizes[n]) % 2 == 0 for n in spec.gated}
    floats = {n: m.double() for n, m in masks.items()}
    torch.testing.assert_close(loss_of(gated, masks), loss_of(gated, floats))


def test_gradients_of_parameters_leave_buffers_out(gated: Net) -> None:
    model, params, spec, x = gated
    weights, buffers = pt.split(params, spec)
    assert {*weights, *buffers} == {*params}
    assert set(weights) == {n for n, _ in model.named_parameters()}
    masks = {"up": torch.tensor([True, False, True, True, False])}

    def loss(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        masked = pt.mask({**weights, **buffers}, spec, masks)
        return functional_call(model, masked, (x[None],)).square().sum()

    each = vmap(grad(loss), in_dims=(None, 0))(weights, x)
    torch.testing.assert_close(
        each["head.weight"].sum(0), sum(grad(loss)(weights, one)["head.weight"] for one in x)
    )
    assert not each["down.weight"][:, :, [1, 4]].any()


def test_queries_and_keys_are_gated_on_one_side() -> None:
    def attend(p: dict[str, Tensor], x: Tensor) -> Tensor:
        q, k = (F.linear(x, p[n], p[f"{n}_bias"]) for n in ("q", "k"))
        return (q @ k.mT) @ x

    seed = torch.Generator().manual_seed(0)
    params = {n: torch.randn(4, 3, generator=seed) for n in ("q", "k")}
    params |= {n: torch.randn(4, generator=seed) for n in ("q_bias", "k_bias")}
    x = torch.randn(5, 3, generator=seed)
    spec = pt.infer(attend, params, x)
    half = {"q": torch.full((4,), 0.5)}
    torch.testing.assert_close(attend(pt.mask(params, spec, half), x), attend(params, x) / 2)


def test_an_axis_that_nothing_linear_reads_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU())
    tied = pt.params_of(model)
    spec = pt.infer(
        lambda p, x: F.gelu(x @ p["0.weight"].T + p["0.bias"]).sum(1), tied, torch.rand(2, 3)
    )
    (name,) = spec.axes
    with pytest.raises(pt.MaskError, match=r"has no gates.*give a bool mask"):
        pt.mask(tied, spec, {name: torch.ones(4)})
    pt.mask(tied, spec, {name: torch.arange(4) > 0})
