"""The stand-in for torch's attention: the same function, heads of any width, and what rebuild makes
of it.
"""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import pytest
import torch
from networks import random_masks, randomise
from torch import Tensor, nn

import purethin as pt
from purethin.multihead import MultiheadAttention, stand_in

OPTIONS: list[dict[str, Any]] = [
    {},
    {"batch_first": True},
    {"bias": False},
    {"add_bias_kv": True},
    {"add_zero_attn": True},
    {"kdim": 10, "vdim": 7, "batch_first": True},
]
CALLS: list[dict[str, Any]] = [
    {},
    {"need_weights": False},
    {"average_attn_weights": False},
    {"mask": "float"},
    {"mask": "bool", "need_weights": False},
    {"mask": "per head"},
    {"padding": True},
    {"padding": True, "mask": "bool", "need_weights": False},
    {"mask": "bool", "is_causal": True, "need_weights": False},
]


@pytest.mark.parametrize(("options", "call"), [*itertools.product(OPTIONS, CALLS)], ids=str)
@pytest.mark.parametrize("batched", [True, False])
def test_the_stand_in_computes_what_torchs_class_does(
    options: dict[str, Any], call: dict[str, Any], batched: bool
) -> None:
    torch.manual_seed(0)
    own = randomise(nn.MultiheadAttention(12, 3, **options))
    other = copy.deepcopy(own)
    assert stand_in(other) == {"": "purethin.multihead.MultiheadAttention"}

    def tokens(n: int, width: int) -> Tensor:
        x = torch.randn(2, n, width, dtype=torch.float64)
        return (x if own.batch_first else x.transpose(0, 1)) if batched else x[0]

    q, k, v = tokens(4, 12), tokens(5, options.get("kdim", 12)), tokens(5, options.get("vdim", 12))
    mask = {
        "float": torch.randn(4, 5, dtype=torch.float64),
        "bool": torch.ones(4, 5, dtype=torch.bool).triu(1),
        "per head": torch.randn(6 if batched else 3, 4, 5, dtype=torch.float64),
        None: None,
    }[call.get("mask")]
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    given = {
        "attn_mask": mask,
        "key_padding_mask": (padding if batched else padding[1]) if call.get("padding") else None,
        **{name: value for name, value in call.items() if name not in ("mask", "padding")},
    }
    for want, got in zip(own(q, k, v, **given), other(q, k, v, **given), strict=True):
        assert (want is None) == (got is None)
        if want is not None:
            torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


class Encoder(nn.Module):
    """torch's encoder between two linear layers."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(5, 12), nn.Linear(12, 3)
        self.body = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(12, 4, 20, batch_first=True, **options), 2
        )

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        return self.head(self.body(self.embed(x), src_key_padding_mask=padding))


def test_a_config_names_the_stand_in_and_is_plain_data() -> None:
    model, x = randomise(Encoder()), torch.randn(2, 6, 5, dtype=torch.float64)
    params = pt.params_of(model)
    spec = pt.infer(model, params, x)
    heads = "body.layers.0.self_attn.num_heads"
    thinned, config = pt.thin(params, spec, {heads: torch.tensor([True, False, True, True])})
    assert json.loads(json.dumps(config))["body.layers.0.self_attn"] == {
        "class": "purethin.multihead.MultiheadAttention",
        "num_heads": 3,
    }
    assert "body.layers.1.self_attn" not in config
    small = pt.rebuild(model, thinned, config)
    layers: Any = small.get_submodule("body.layers")
    assert isinstance(layers[0].self_attn, MultiheadAttention)
    assert type(layers[1].self_attn) is nn.MultiheadAttention, (
        "what stays as it was keeps its class"
    )
    assert (
        layers[0].self_attn.in_proj_weight.shape == (27, 12)
        and layers[0].self_attn.out_proj.in_features == 9
    )
    assert set(small.state_dict()) == set(model.state_dict())
    again = pt.infer(small, pt.params_of(small), x)
    assert (
        again.layout == pt.thin_spec(spec, {heads: torch.tensor([True, False, True, True])}).layout
    )


# torch's own
@pytest.mark.filterwarnings(
    "ignore:enable_nested_tensor", "ignore:The PyTorch API of nested tensors"
)
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_an_encoder_thins_with_and_without_its_fast_path(norm_first: bool, padded: bool) -> None:
    model, x = (
        randomise(Encoder(norm_first=norm_first, dropout=0.1)),
        torch.randn(2, 6, 5, dtype=torch.float64),
    )
    padding = torch.tensor([[False] * 6, [False] * 4 + [True] * 2]) if padded else None
    params = pt.params_of(model)
    spec = pt.infer(model, params, x, padding)
    assert [a for a in spec.axes if a not in spec.exact] == ["embed"], (
        "only the width, by its layer norms"
    )
    masks = random_masks(spec)
    assert pt.check(model, params, spec, masks, x, padding).relative < 1e-12
    thinned, config = pt.thin(params, spec, masks)
    dense, small = (
        pt.rebuild(model, pt.mask(params, spec, masks), {}),
        pt.rebuild(model, thinned, config),
    )
    kept = slice(None) if padding is None else ~padding
    with torch.no_grad():  # here torch's own layers take the fast path, which zeroes padded places
        torch.testing.assert_close(
            small(x, padding)[kept], dense(x, padding)[kept], rtol=1e-10, atol=1e-10
        )
    # with gradients it does not
    torch.testing.assert_close(small(x, padding), dense(x, padding), rtol=1e-10, atol=1e-10)


def test_a_subclass_of_the_users_keeps_its_own_forward() -> None:
    class Own(nn.MultiheadAttention):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    attention = Own(12, 3)
    assert not stand_in(attention) and type(attention) is Own
