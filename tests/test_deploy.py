"""Out to runtimes: what each needs of widths, and what a thinned network needs to go there."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from functools import reduce
from math import gcd
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import purethin as pt
from purethin import axes as ax
from purethin.axes import Axes, Fixed, Name, Product, Sum
from purethin.budgets.multiples import RUNTIMES

X = torch.rand(2, 128)


def linears() -> nn.Sequential:
    return nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 64)).eval()


# ---- what a runtime needs of widths

NAMES: tuple[str, ...] = ("a", "b", "c")
PARTS = st.sampled_from(NAMES).map(Name) | st.sampled_from([2, 3, 8]).map(Fixed)
DIMS = st.recursive(
    PARTS,
    lambda inner: (
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: Product(tuple(parts)))
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: Sum(tuple(parts)))
    ),
    max_leaves=4,
)


def spec_of(rows: dict[str, list[Axes]], sizes: dict[str, int]) -> pt.Spec:
    shapes = {n: [ax.size(d, sizes) for d in dims] for n, dims in rows.items()}
    params = {n: torch.zeros(shape, device="meta") for n, shape in shapes.items()}
    return pt.Spec.from_layout({n: " ".join(map(str, d)) for n, d in rows.items()}, params)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(DIMS, min_size=1, max_size=4),
    st.tuples(*[st.sampled_from([2, 6, 8, 12, 16, 20, 24])] * len(NAMES)),
    st.sampled_from([2, 8, 12, 16]),
    st.tuples(*[st.integers(1, 24)] * len(NAMES)),
)
def test_multiples_of_axes_make_multiples_of_every_dim_that_was_one(
    dims: list[Axes], sizes: tuple[int, ...], need: int, asked: tuple[int, ...]
) -> None:
    whole = dict(zip(NAMES, sizes, strict=True))
    rows: dict[str, list[Axes]] = {f"w{i}": [Fixed(3), dim] for i, dim in enumerate(dims)}
    rows |= {f"makes_{name}": [Name(name), Fixed(3)] for name in NAMES}
    spec = spec_of(rows, whole)
    steps = pt.round_for(pt.Needs(inputs=need), spec)
    kept = {}
    for name, size, want in zip(NAMES, sizes, asked, strict=True):
        scores = {name: torch.arange(float(size))}
        least = min(want, size)
        masks = pt.select(scores, 1.0, round_to=steps, min_keep=least, spec=spec)
        kept[name] = int(masks[name].sum())
        assert kept[name] % steps.get(name, 1) == 0 or kept[name] == size
    for dim in dims:
        if ax.size(dim, whole) % need == 0:
            assert ax.size(dim, kept) % need == 0


def test_the_multiples_are_no_larger_than_one_axis_needs() -> None:
    llama = spec_of(
        {
            "q": [Product((Name("heads"), Fixed(64))), Name("width")],
            "o": [Name("width"), Product((Name("heads"), Fixed(64)))],
            "up": [Name("ffn"), Name("width")],
            "down": [Name("width"), Name("ffn")],
        },
        {"heads": 16, "width": 1024, "ffn": 4096},
    )
    assert pt.round_for("torchao int4", llama) == {"heads": 2, "width": 128, "ffn": 128}
    assert pt.round_for("gguf k", llama) == {"heads": 4, "width": 256, "ffn": 256}
    assert pt.round_for("onnxruntime", llama) == {}


def test_convolutions_and_linear_layers_have_needs_of_their_own() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 16, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 256),
        nn.ReLU(),
        nn.Linear(256, 4),
    )
    params = pt.params_of(net)
    spec = pt.infer(net, params, torch.rand(1, 3, 8, 8))
    assert pt.round_for("onnxruntime", spec) == {"0.weight": 8, "2.weight": 8}
    assert pt.round_for(pt.Needs(inputs=128), spec) == {"2.weight": 16, "6.weight": 128}
    scores = pt.lp_norm(params, spec)
    masks = pt.solve(scores, spec, macs=0.5, round_to=pt.round_for("onnxruntime", spec))
    assert int(masks["0.weight"].sum()) == 8
    with pytest.raises(pt.SpecError, match="did you mean 'onnxruntime'"):
        pt.round_for("onxruntime", spec)


def test_what_is_written_of_runtimes_says_what_happens_otherwise() -> None:
    for name, needs in RUNTIMES.items():
        assert name == name.lower()
        assert (reduce(gcd, (needs.channels, needs.inputs)) >= 1) and (
            bool(needs.otherwise) == (max(needs.channels, needs.inputs) > 1)
        )


# ---- what is quantized already


def prepared(how: str) -> nn.Module:
    """The linear layers prepared for quantization, by torch or torchao."""
    tq, net = torch.ao.quantization, linears()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "prepare":
            net.qconfig = tq.get_default_qconfig("fbgemm")
            return tq.prepare(net)
        if how == "prepare_qat":
            net.qconfig = tq.get_default_qat_qconfig("fbgemm")
            return tq.prepare_qat(net.train())
        if how == "prepare_qat_fx":
            fx: Any = importlib.import_module("torch.ao.quantization.quantize_fx")
            mapping = tq.get_default_qat_qconfig_mapping("fbgemm")
            return fx.prepare_qat_fx(net.train(), mapping, (X,))
        pytest.importorskip("torchao")
        ao: Any = importlib.import_module("torchao.quantization")
        qat: Any = importlib.import_module("torchao.quantization.qat")
        fake = qat.IntxFakeQuantizeConfig(torch.int8, "per_channel")
        configs = {
            "torchao QAT": lambda: qat.QATConfig(weight_config=fake, step="prepare"),
            "torchao int8": ao.Int8WeightOnlyConfig,
        }
        ao.quantize_(net, configs[how]())
        return net


@pytest.mark.parametrize(
    ("how", "then"),
    [
        ("prepare", "prepare it"),
        ("prepare_qat", "prepare it"),
        ("prepare_qat_fx", "prepare it"),
        ("torchao QAT", "prepare it"),
        ("torchao int8", "quantize it"),
    ],
)
def test_a_network_that_is_prepared_or_quantized_is_refused(how: str, then: str) -> None:
    net = prepared(how)
    doors: list[Callable[[], object]] = [
        lambda: pt.params_of(net),
        lambda: pt.infer(net, {}, X),
        lambda: pt.rebuild(net, {}, {}),
    ]
    for door in doors:
        with pytest.raises(pt.SpecError, match=f"[Tt]hin the float model, then {then}"):
            door()


# ---- the config of a thinned network


class Sizes:
    """A config; `steps` equals `inner` by chance, `late` is derived where it is None."""

    inner: int
    late: int | None

    def __init__(self) -> None:
        self.inner, self.steps, self.late, self.heads, self.dim = 24, 24, None, 4, 6


class Block(nn.Module):
    """Heads under an inner layer; `parts` is read by nothing, `rate` is."""

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.config, self.parts = config, config.inner // 2
        self.up, self.down = nn.Linear(8, config.inner), nn.Linear(config.inner, 8)
        late = config.late or 2 * config.inner
        self.out = nn.Sequential(nn.Linear(8, late), nn.ReLU(), nn.Linear(late, 8))
        self.mix = nn.Linear(8, config.heads * config.dim)
        self.back, self.rate = nn.Linear(config.heads * config.dim, 8), config.dim**-0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.out(x + self.down(self.up(x).relu()))
        heads = self.mix(x).view(len(x), -1, self.config.dim) * self.rate
        return x + self.back(heads.relu().flatten(1))


class Built(nn.Module):
    """Two blocks that are built from one config."""

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.Sequential(Block(config), Block(config))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(x)


def thinned(kept: dict[str, int]) -> tuple[Any, Any, torch.Tensor]:
    """The dense module, one that keeps so many units of these axes, and an input."""
    torch.manual_seed(0)
    model, x = Built(Sizes()), torch.rand(3, 8)
    params = pt.params_of(model)
    spec = pt.infer(model, params, x)
    masks = {
        name: torch.arange(spec.sizes[name]) < n
        for text, n in kept.items()
        for name in pt.find(spec, text)
    }
    return model, pt.rebuild(model, *pt.thin(params, spec, masks)), x


def test_a_config_says_the_new_sizes_where_one_value_can() -> None:
    model, small, x = thinned({"*.up": 16, "*.out.0": 20, "blocks.0.mix.0": 2, "blocks.1.mix": 2})
    synced: Any
    synced, report = pt.sync_config(model, small, x)
    assert report.complete and report.difference == 0.0
    assert report.changed == {"inner": (24, 16), "late": (None, 20), "heads": (4, 2)}
    again = Built(synced.config)
    again.load_state_dict(synced.state_dict())
    assert torch.equal(again(x), small(x)) and torch.equal(synced(x), small(x))
    assert [b.parts for b in synced.blocks] == [8, 8] and report.facts == 2
    assert (small.config.inner, small.blocks[0].parts) == (24, 12)
    assert (model.config.inner, synced.config.steps) == (24, 24)


@pytest.mark.parametrize(
    ("kept", "changed", "left"),
    [
        ({"blocks.0.up": 16, "blocks.1.up": 12}, {}, "blocks.0.up.weight is (16, 8)"),
        (
            {"*.up": 16, "blocks.0.mix.0": 2},
            {"inner": (24, 16), "late": (None, 48)},
            "blocks.0.mix.weight is (12",
        ),
        (
            {"*.up": 16, "blocks.0.mix.1": 3},
            {"inner": (24, 16), "late": (None, 48)},
            "blocks.0.mix.weight is (12, 8)",
        ),
    ],
)
def test_what_no_value_of_the_config_says_is_listed_and_left(
    kept: dict[str, int], changed: dict[str, tuple[int | None, int]], left: str
) -> None:
    model, small, x = thinned(kept)
    synced, report = pt.sync_config(model, small, x)
    assert not report.complete and any(left in line for line in report.left)
    assert report.changed == changed
    assert torch.equal(synced(x), small(x))


def test_a_module_that_its_config_does_not_describe_is_refused() -> None:
    model, small, x = thinned({"*.up": 16})
    with pytest.raises(pt.SpecError, match=r"not built from one config.*pt\.save"):
        pt.sync_config(nn.Sequential(model), nn.Sequential(small), x)
    model.blocks.append(nn.Linear(8, 2))
    with pytest.raises(pt.SpecError, match="has other parameters than this one"):
        pt.sync_config(model, small, x)
