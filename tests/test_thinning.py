"""Masking, thinning and expanding undo and explain each other, on networks and on any layout that
can be written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optree
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import random_masks, randomise
from strategies import SIZES, expressions, masks_of
from tables import case
from torch import Tensor, nn
from torch.func import grad, jvp, vmap

import purethin as pt
from purethin import axes as ax

Params = dict[str, Tensor]


class Mixed(nn.Module):
    """A residual sum, a concatenation, a reordered copy and a flattened linear layer."""

    order: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv3 = nn.Conv2d(8, 6, 1)
        self.conv4 = nn.Conv2d(14, 5, 1)
        self.register_buffer("order", torch.tensor([4, 2, 0, 1, 3]))
        self.fc = nn.Linear(5 * 4, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = (x + self.conv2(x)).relu()
        x = self.conv4(torch.cat([x, self.conv3(x)], 1)).relu()
        return self.fc(x[:, self.order].flatten(1))


X = torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
MODEL = randomise(Mixed())
PARAMS: Params = pt.params_of(MODEL)
SPEC = pt.infer(MODEL, PARAMS, X)
MASKS = random_masks(SPEC)
FLOATS = [name for name, t in PARAMS.items() if t.is_floating_point()]


def equal(left: Any, right: Any) -> bool:
    """The same structure, dtypes and values."""
    (x, a), (y, b) = optree.tree_flatten(left), optree.tree_flatten(right)
    return a == b and all(
        s.dtype == t.dtype and torch.equal(s, t) for s, t in zip(x, y, strict=True)
    )


@st.composite
def layouts(draw: st.DrawFn) -> tuple[pt.Spec, Params, dict[str, Tensor]]:
    """A spec of any writable layout, parameters without a zero, and masks that leave a unit in each
    dimension.
    """
    dims = draw(st.lists(expressions(2), min_size=1, max_size=3))
    assume(all(0 < ax.size(e, SIZES) <= 20 for e in dims))
    shapes = {
        "w": [ax.size(e, SIZES) for e in dims],
        **{n: [s] for n, s in SIZES.items()},
        "step": [],
    }
    params = {n: torch.arange(1.0, 1 + torch.Size(s).numel()).reshape(s) for n, s in shapes.items()}
    spec = pt.Spec.from_layout(
        {"w": ax.layout_text(dims), "step": "scalar"} | {n: n for n in SIZES}, params
    )
    masks = draw(masks_of())
    keeps = [ax.keep(e, masks, SIZES) for e in dims]
    assume(all(keep is None or keep.any() for keep in keeps))
    return spec, params, masks


# ---- the laws


@given(layouts())
@settings(deadline=None)
def test_expanding_what_was_thinned_is_masking(
    drawn: tuple[pt.Spec, Params, dict[str, Tensor]],
) -> None:
    spec, params, masks = drawn
    thinned, _ = pt.thin(params, spec, masks)
    masked = pt.mask(params, spec, masks)
    assert equal(pt.expand(thinned, spec, masks), masked)
    assert equal(pt.thin(masked, spec, masks)[0], thinned)
    assert sum(t.count_nonzero() for t in masked.values()) == sum(
        t.numel() for t in thinned.values()
    )


@given(layouts())
@settings(deadline=None)
def test_the_thinned_spec_has_the_thinned_shapes_and_reads_back(
    drawn: tuple[pt.Spec, Params, dict[str, Tensor]],
) -> None:
    spec, params, masks = drawn
    small = pt.thin_spec(spec, masks)
    assert {n: small.shape(n) for n in small.layout} == {
        n: tuple(t.shape) for n, t in pt.thin(params, spec, masks)[0].items()
    }
    assert small.sizes == {n: int(masks[n].sum()) if n in masks else s for n, s in SIZES.items()}
    assert pt.Spec.from_yaml(small.to_yaml()) == small


@given(layouts(), st.data())
@settings(deadline=None)
def test_thinning_in_two_steps_is_thinning_once(
    drawn: tuple[pt.Spec, Params, dict[str, Tensor]], data: st.DataObject
) -> None:
    spec, params, both = drawn
    first = {
        n: m | torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(m), max_size=len(m))))
        for n, m in both.items()
    }
    rest = {n: m[first[n]] for n, m in both.items()}
    once, _ = pt.thin(params, spec, both)
    halfway, _ = pt.thin(params, spec, first)
    assert equal(pt.thin(halfway, pt.thin_spec(spec, first), rest)[0], once)


@given(layouts())
@settings(deadline=None)
def test_masking_twice_is_masking_once(drawn: tuple[pt.Spec, Params, dict[str, Tensor]]) -> None:
    spec, params, masks = drawn
    masked = pt.mask(params, spec, masks)
    assert equal(pt.mask(masked, spec, masks), masked)


def test_a_networks_thinned_parameters_expand_to_the_masked_ones_positions_too() -> None:
    assert "order" in SPEC.positions
    thinned, _ = pt.thin(PARAMS, SPEC, MASKS)
    assert sorted(thinned["order"].tolist()) == [*range(thinned["order"].numel())]
    expanded, masked = pt.expand(thinned, SPEC, MASKS), pt.mask(PARAMS, SPEC, MASKS)
    assert equal({n: expanded[n] for n in FLOATS}, {n: masked[n] for n in FLOATS})
    kept = [i for i in PARAMS["order"].tolist() if MASKS["conv4"][i]]
    assert [
        i
        for i, there in zip(
            expanded["order"].tolist(), MASKS["conv4"][PARAMS["order"]], strict=True
        )
        if there
    ] == kept


def test_the_thinned_spec_is_that_of_the_rebuilt_module() -> None:
    thinned, config = pt.thin(PARAMS, SPEC, MASKS)
    small = pt.rebuild(MODEL, thinned, config)
    again, expected = pt.infer(small, pt.params_of(small), X), pt.thin_spec(SPEC, MASKS)
    assert {n: ax.layout_text(d) for n, d in again.layout.items()} == {
        n: ax.layout_text(d) for n, d in expected.layout.items()
    }
    assert again.axes == expected.axes
    assert again.attributes == expected.attributes
    assert pt.cost(again) == pt.cost(expected) == pt.cost(SPEC, MASKS)


def test_no_masks_change_nothing() -> None:
    thinned, config = pt.thin(PARAMS, SPEC, {})
    assert config == {}
    for tree in (
        thinned,
        pt.mask(PARAMS, SPEC, {}),
        pt.expand(PARAMS, SPEC, {}),
        pt.thin_tree(PARAMS, SPEC, {}),
    ):
        assert all(tree[n] is PARAMS[n] for n in PARAMS)
    assert pt.thin_spec(SPEC, {}) == SPEC


@pytest.mark.parametrize(
    "call",
    [
        lambda: pt.mask(PARAMS, SPEC, MASKS),
        lambda: pt.mask(PARAMS, SPEC, {n: m.double() for n, m in MASKS.items()}),
        lambda: pt.thin(PARAMS, SPEC, MASKS),
        lambda: pt.thin_tree(PARAMS, SPEC, MASKS),
        lambda: pt.thin_spec(SPEC, MASKS),
        lambda: pt.expand(pt.thin(PARAMS, SPEC, MASKS)[0], SPEC, MASKS),
    ],
    ids=["mask", "mask by floats", "thin", "thin_tree", "thin_spec", "expand"],
)
def test_the_inputs_stay_as_they_were(call: Callable[[], Any]) -> None:
    before = {n: (id(t), t.clone()) for n, t in (PARAMS | MASKS).items()}, SPEC.to_yaml()
    call()
    assert SPEC.to_yaml() == before[1]
    assert all(
        id(t) == before[0][n][0] and torch.equal(t, before[0][n][1])
        for n, t in (PARAMS | MASKS).items()
    )


# ---- trees


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


def test_any_pytree_keeps_its_structure() -> None:
    tree = {"layers": [Pair(torch.ones(4, 3), torch.ones(4)), (torch.ones(2, 4),)], "none": None}
    spec = pt.Spec.from_layout({"layers.0.0": "h 3", "layers.0.1": "h", "layers.1.0": "2 h"}, tree)
    thinned, _ = pt.thin(tree, spec, {"h": torch.arange(4) < 1})
    want = {"layers": [Pair(torch.ones(1, 3), torch.ones(1)), (torch.ones(2, 1),)], "none": None}
    assert isinstance(thinned["layers"][0], Pair)
    assert equal(thinned, want)


def thinned_weights() -> Mapping[str, Tensor]:
    return pt.thin(PARAMS, SPEC, MASKS)[0]


def by_parameter(tensors: Mapping[str, Tensor]) -> Any:
    return {
        n: {
            "exp_avg": tensors[n],
            "exp_avg_sq": tensors[n] ** 2,
            "step": torch.tensor(3.0),
            "best": None,
        }
        for n in FLOATS
    }


def by_moment(tensors: Mapping[str, Tensor]) -> Any:
    return {
        "exp_avg": {n: tensors[n] for n in FLOATS},
        "step": 3,
        "history": [{n: tensors[n] for n in FLOATS}, None],
    }


def averaged(tensors: Mapping[str, Tensor]) -> Any:
    return {f"module.{n}": tensors[n] for n in FLOATS} | {
        "n_averaged": torch.tensor(7),
        "other.weights": torch.ones(8, 3),
    }


@pytest.mark.parametrize("shaped", [by_parameter, by_moment, averaged])
def test_what_follows_the_parameters_is_thinned_with_them(
    shaped: Callable[[Mapping[str, Tensor]], Any],
) -> None:
    thinned = pt.thin_tree(shaped(PARAMS), SPEC, MASKS)
    want = shaped(thinned_weights())
    assert optree.tree_map(
        lambda leaf: leaf if isinstance(leaf, int) else leaf.tolist(), thinned
    ) == optree.tree_map(lambda leaf: leaf if isinstance(leaf, int) else leaf.tolist(), want)


def test_an_optimizers_moments_go_on_as_if_the_network_had_always_been_thin() -> None:
    thinned, config = pt.thin(PARAMS, SPEC, MASKS)
    trained = dict(MODEL.named_parameters())
    masked = {
        n: t.clone().requires_grad_()
        for n, t in pt.mask(PARAMS, SPEC, MASKS).items()
        if n in trained
    }
    optimizer = torch.optim.Adam([*masked.values()], lr=0.1)
    torch.func.functional_call(MODEL, PARAMS | masked, X).square().sum().backward()
    grads = {n: t.grad for n, t in masked.items() if t.grad is not None}
    optimizer.step()
    small = pt.rebuild(MODEL, thinned, config)
    small(X).square().sum().backward()
    of_small = {n: p.grad for n, p in small.named_parameters() if p.grad is not None}
    for name, gradient in pt.thin_tree(grads, SPEC, MASKS).items():
        assert torch.allclose(gradient, of_small[name])
    state = pt.thin_tree({n: optimizer.state[masked[n]] for n in grads}, SPEC, MASKS)
    for name, gradient in of_small.items():
        assert torch.allclose(state[name]["exp_avg"], 0.1 * gradient)
        assert int(state[name]["step"]) == 1


def test_a_leaf_belongs_to_the_parameter_whose_name_is_longest() -> None:
    params = {"weight": torch.ones(4, 3), "inner.weight": torch.ones(2, 4)}
    spec = pt.Spec.from_layout({"weight": "h 3", "inner.weight": "2 h"}, params)
    tree = {"m": dict(params), "10": {"weight": params["weight"]}}
    thinned = pt.thin_tree(tree, spec, {"h": torch.arange(4) < 3})
    assert thinned["m"]["inner.weight"].shape == (2, 3)
    assert thinned["m"]["weight"].shape == thinned["10"]["weight"].shape == (3, 3)


# ---- transforms


def of(parameter: str, masks: Mapping[str, Tensor]) -> Tensor:
    return pt.mask(PARAMS, SPEC, masks)[parameter]


@pytest.mark.parametrize("dtype", [torch.bool, torch.float64])
def test_mask_maps_over_stacked_masks(dtype: torch.dtype) -> None:
    many = [{n: m.to(dtype) for n, m in random_masks(SPEC, seed=s).items()} for s in range(3)]
    stacked = {n: torch.stack([m[n] for m in many]) for n in many[0]}
    got = vmap(lambda masks: {n: of(n, masks) for n in FLOATS})(stacked)
    for name in FLOATS:
        assert torch.equal(got[name], torch.stack([of(name, masks) for masks in many]))


@pytest.mark.parametrize("act", [pt.mask, lambda *given: pt.thin(*given)[0]], ids=["mask", "thin"])
def test_mask_and_thin_map_over_stacked_parameters(act: Callable[..., Params]) -> None:
    many = [pt.params_of(randomise(Mixed(), seed)) for seed in range(3)]
    got = vmap(lambda params: act(params, SPEC, MASKS))(
        {n: torch.stack([p[n] for p in many]) for n in PARAMS}
    )
    for name in FLOATS:
        assert torch.equal(
            got[name], torch.stack([act(params, SPEC, MASKS)[name] for params in many])
        )


def test_the_gradient_of_a_gate_is_the_difference_between_its_unit_doubled_and_removed() -> None:
    g = {n: torch.randn_like(PARAMS[n]) for n in FLOATS}
    gates = {n: torch.ones(s, dtype=torch.float64) for n, s in SPEC.sizes.items()}

    def loss(z: Mapping[str, Tensor]) -> Tensor:
        masked = pt.mask(PARAMS, SPEC, z)
        return torch.stack([(masked[n] * g[n]).sum() for n in FLOATS]).sum()

    got = grad(loss)(gates)
    for axis in SPEC.axes.values():
        for unit in range(axis.size):
            at = [
                gates | {axis.name: gates[axis.name].index_fill(0, torch.tensor(unit), z)}
                for z in (0, 2)
            ]
            # exact: of second degree in one gate
            assert torch.allclose(got[axis.name][unit], (loss(at[1]) - loss(at[0])) / 2)


# torch's own, when forward mode is first used
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_forward_mode_agrees_with_a_difference() -> None:
    gates = {"conv1": torch.rand(8, dtype=torch.float64)}
    direction = {"conv1": torch.randn(8, dtype=torch.float64)}

    def of_gates(z: dict[str, Tensor]) -> Tensor:
        return of("conv2.weight", z)

    value, tangent = jvp(of_gates, (gates,), (direction,))[:2]
    step = {"conv1": gates["conv1"] + direction["conv1"]}
    assert torch.equal(value, of_gates(gates))
    # the residual sum ties both dimensions of conv2 to the axis: the value is of second degree in
    # its gates
    assert SPEC.layout["conv2.weight"][:2] == (ax.Name("conv1"), ax.Name("conv1"))
    back = {"conv1": gates["conv1"] - direction["conv1"]}
    assert torch.allclose(tangent, (of_gates(step) - of_gates(back)) / 2)


def test_gradients_reach_the_kept_entries_of_the_parameters_through_mask_and_thin() -> None:
    weight = PARAMS["conv2.weight"]

    def half_square(w: Tensor, act: Callable[..., Params]) -> Tensor:
        return act(PARAMS | {"conv2.weight": w}, SPEC, MASKS)["conv2.weight"].square().sum() / 2

    for act in (pt.mask, lambda *given: pt.thin(*given)[0]):
        assert torch.equal(grad(half_square)(weight, act), of("conv2.weight", MASKS))


# ---- values and dtypes


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.complex64, torch.int8, torch.bool]
)
@pytest.mark.parametrize("kind", [torch.bool, torch.float32])
def test_dtypes_stay(dtype: torch.dtype, kind: torch.dtype) -> None:
    params = {"w": torch.ones(4, 2).to(dtype)}
    spec = pt.Spec.from_layout({"w": "h 2"}, params)
    keep = torch.tensor([True, False, True, True])
    masked = pt.mask(params, spec, {"h": keep.to(kind)})["w"]
    assert masked.dtype == dtype
    assert masked[:, 0].bool().tolist() == keep.tolist()
    thinned = pt.thin(params, spec, {"h": keep})[0]
    assert equal(thinned, {"w": torch.ones(3, 2).to(dtype)})
    assert pt.expand(thinned, spec, {"h": keep})["w"].dtype == dtype


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_removed_unit_is_zero_whatever_it_held(bad: float) -> None:
    params = {"w": torch.full((2, 2), bad)}
    spec = pt.Spec.from_layout({"w": "h 2"}, params)
    assert pt.mask(params, spec, {"h": torch.tensor([True, False])})["w"][1].tolist() == [0, 0]


def test_an_element_mask_zeroes_and_never_thins() -> None:
    keep = (
        torch.rand(PARAMS["conv2.weight"].shape, generator=torch.Generator().manual_seed(0)) > 0.5
    )
    alone = {"conv2.weight": keep}
    zeroed = PARAMS["conv2.weight"] * keep
    masked = pt.mask(PARAMS, SPEC, {}, alone)
    assert torch.equal(masked["conv2.weight"], zeroed)
    thinned, config = pt.thin(masked, SPEC, {})
    assert config == {} and torch.equal(thinned["conv2.weight"], zeroed)
    both = pt.mask(PARAMS, SPEC, MASKS, alone)
    assert torch.equal(both["conv2.weight"], of("conv2.weight", MASKS) * keep)
    assert pt.check(MODEL, masked, SPEC, MASKS, X).relative < 1e-9
    floats = {"conv2.weight": torch.full(keep.shape, 0.5, dtype=torch.float64)}
    halved = pt.mask(PARAMS, SPEC, {}, floats)["conv2.weight"]
    assert torch.equal(halved, PARAMS["conv2.weight"] / 2)


def test_an_axis_and_a_parameter_may_have_one_name() -> None:
    params = {"h": torch.ones(4, 2)}
    spec = pt.Spec.from_layout({"h": "h 2"}, params)
    masked = pt.mask(params, spec, {"h": torch.arange(4) > 0}, {"h": torch.eye(4, 2) == 0})
    assert masked["h"].tolist() == [[0, 0], [1, 0], [1, 1], [1, 1]]


# ---- mistakes that only thinning and masking can meet (the common ones are in test_errors)


class Guarded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        return self.second(x if x.shape[1] > 4 else x * 2)


guarded = Guarded()
GUARDED = pt.params_of(guarded)
GUARDED_SPEC = pt.infer(guarded, GUARDED, torch.zeros(1, 3))
TAKEN = {"w": torch.zeros(2, 3), "v": torch.zeros(4)}
TAKEN_SPEC = pt.Spec.from_layout({"w": "h[0, 2] 3", "v": "h"}, TAKEN)

CASES = [
    case(
        "a float mask for thinning",
        pt.MaskError,
        lambda: pt.thin(PARAMS, SPEC, {"conv1": torch.ones(8)}),
    ).says("'conv1'", "torch.float32", "give torch.bool", "mask > 0"),
    case(
        "an integer mask for zeroing",
        pt.MaskError,
        lambda: pt.mask(PARAMS, SPEC, {"conv1": torch.arange(8)}),
    ).says("'conv1'", "torch.int64"),
    case(
        "an element mask of another shape",
        pt.MaskError,
        lambda: pt.mask(PARAMS, SPEC, {}, {"fc.bias": torch.ones(3) > 0}),
    ).says("'fc.bias'", "(3,)", "the parameter has another", "(7,)"),
    case(
        "elements of an unknown parameter",
        pt.MaskError,
        lambda: pt.mask(PARAMS, SPEC, {}, {"fc.bais": torch.ones(7) > 0}),
    ).says("no parameter is named 'fc.bais'", "did you mean 'fc.bias'?"),
    case(
        "a parameter in place of an axis",
        pt.MaskError,
        lambda: pt.thin(PARAMS, SPEC, {"fc.bias": torch.ones(7) > 0}),
    ).says("'fc.bias' is a parameter", "elements={'fc.bias': …}"),
    case(
        "no unit left in a take",
        pt.MaskError,
        lambda: pt.thin(TAKEN, TAKEN_SPEC, {"h": torch.tensor([False, True, False, True])}),
    ).says("dim 0 of w", "'h[0, 2]'", "no unit left"),
    case(
        "a size that takes another branch",
        pt.MaskError,
        lambda: pt.thin(GUARDED, GUARDED_SPEC, {"first": torch.arange(8) < 4}),
    ).says(
        "test_thinning.py",
        "'first > 4'",
        "was True",
        "4 and 4",
        "another branch",
        "more units of first",
    ),
    case(
        "expanding with other masks",
        pt.SpecError,
        lambda: pt.expand(
            pt.thin(PARAMS, SPEC, {"conv1": torch.arange(8) < 4})[0],
            SPEC,
            {"conv1": torch.arange(8) < 5},
        ),
    ).says("conv1.weight", "(4, 3, 3, 3)", "(5, 3, 3, 3)"),
    case(
        "a parameter missing",
        pt.SpecError,
        lambda: pt.mask({n: t for n, t in PARAMS.items() if n != "fc.bias"}, SPEC, MASKS),
    ).says("'fc.bias'", "lack"),
    case(
        "a parameter too many",
        pt.SpecError,
        lambda: pt.mask(PARAMS | {"extra": torch.ones(2)}, SPEC, MASKS),
    ).says("'extra' is not in the spec", "another model"),
    case(
        "larger parameters",
        pt.SpecError,
        lambda: pt.mask(PARAMS | {"fc.bias": torch.ones(9)}, SPEC, MASKS),
    ).says("fc.bias", "(9,)", "'7'", "another model"),
    case(
        "masks of unknown axes for a tree",
        pt.MaskError,
        lambda: pt.thin_tree(PARAMS, SPEC, {"conv9": torch.ones(8) > 0}),
    ).says("'conv9'", "did you mean 'conv"),
    case(
        "masks of unknown axes for a spec",
        pt.MaskError,
        lambda: pt.thin_spec(SPEC, {"conv9": torch.ones(8) > 0}),
    ).says("'conv9'", "did you mean 'conv"),
]


@pytest.mark.parametrize(("error", "call", "words"), CASES)
def test_what_does_not_fit_is_one_error_that_says_what_to_write(
    error: type[Exception], words: list[str], call: Callable[[], Any]
) -> None:
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_the_branch_is_the_same_with_enough_units() -> None:
    assert pt.thin(GUARDED, GUARDED_SPEC, {"first": torch.arange(8) < 5})[0][
        "first.weight"
    ].shape == (5, 3)
