"""The trial: what a second trace, with half of the units gone, finds that the first could
not see.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks import random_masks, randomise
from tables import case
from torch import Tensor, nn

import purethin as pt


class Net(nn.Module):
    """Two linear layers with something between."""

    def __init__(self, between: Callable[[Any, Tensor], Tensor], **attributes: Any) -> None:
        super().__init__()
        self.up, self.down, self.between = nn.Linear(5, 8), nn.Linear(8, 3), between
        self.__dict__.update(attributes)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.between(self, self.up(x)))


def spec_of(net: nn.Module, **options: Any) -> pt.Spec:
    return pt.infer(net, pt.params_of(net), torch.randn(4, 5, dtype=torch.float64), **options)


def written_out(net: Any, h: Tensor) -> Tensor:
    return h * torch.tensor([0.5 * h.shape[1]], dtype=h.dtype)


UNSEEN = [
    case("a float over the size", lambda net, h: h * (2.0 / h.shape[1])).gives("in mul"),
    case("a float to the power of the size", lambda net, h: h * 0.9 ** h.shape[1]).gives("in **"),
    case("its logarithm", lambda net, h: h + math.log(h.shape[1])).gives("in float()"),
    case("its greatest common divisor", lambda net, h: h * math.gcd(h.shape[1], 12)).gives(
        "in an index or a count"
    ),
    case("an entry of a list", lambda net, h: h * list(range(20))[h.shape[1]]).gives(
        "in an index or a count"
    ),
    case("a list of that length", lambda net, h: h * len([0.0] * h.shape[1])).gives("in *"),
    case("its digits, read back", lambda net, h: h * int(f"{h.shape[1]}")).gives("in str()"),
    case("a tensor that is written out", written_out).gives("in tensor"),
]


@pytest.mark.parametrize(("between", "reason"), UNSEEN)
def test_a_size_among_the_numbers_of_the_forward_makes_its_axis_inexact(
    between: Callable[[Any, Tensor], Tensor], reason: str
) -> None:
    net = randomise(Net(between))
    axis = spec_of(net).axes["up"]
    assert not axis.exact
    assert f"its size is used as a number {reason} at test_trial.py" in str(axis.reason)


def test_a_loop_over_the_units_freezes_them() -> None:
    def halved(net: Any, h: Tensor) -> Tensor:
        for _ in range(h.shape[1]):
            h = h * 0.9
        return h

    spec = spec_of(randomise(Net(halved)))
    assert "up" not in spec.axes
    assert any("takes another way" in f.reason and "test_trial.py" in f.reason for f in spec.frozen)


def test_a_size_in_a_place_that_nothing_tracks_freezes_its_axis_with_the_error_and_the_line() -> (
    None
):
    """A dict of tensors by size: the key is not there for another size."""
    net = randomise(Net(lambda net, h: h + net.table[int(h.shape[1])], table={8: 1.0}))
    spec = spec_of(net)
    assert "up" not in spec.axes
    reason = next(f.reason for f in spec.frozen if f.parameter == "up.weight" and f.dim == 0)
    assert "KeyError" in reason and "test_trial.py" in reason
    assert "up" in spec_of(net, trial=False).axes


def test_only_the_culprit_is_frozen() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(5 if i == 0 else 8, 8) for i in range(6))
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            for i, layer in enumerate(self.layers):
                x = layer(x).relu()
                if i in (1, 4):
                    x = x + {8: 1.0}[int(x.shape[1])]
            return self.head(x)

    spec = spec_of(randomise(Deep()))
    assert list(spec.axes) == ["layers.0", "layers.2", "layers.3", "layers.5"]


def test_a_size_that_is_spelled_out_in_a_message_freezes_nothing() -> None:
    def checked(net: Any, h: Tensor) -> Tensor:
        torch._assert(h.dim() == 2, f"two dims are expected, not {h.shape}")
        return h

    net = randomise(Net(checked))
    assert spec_of(net).exact == ("up",)
    assert not spec_of(net, trial=False).axes


def test_what_a_kernel_asks_for_is_a_condition_and_not_a_reason_to_freeze() -> None:
    """Pairs seen as complex numbers: the rows before them must have even strides."""

    def turned(net: Any, h: Tensor) -> Tensor:
        left, right = net.parts(h).split([net.plain, 4], -1)
        turned = torch.view_as_complex(right.unflatten(-1, (-1, 2))) * (0.6 + 0.8j)
        return net.join(torch.cat([left, torch.view_as_real(turned).flatten(1)], -1))

    net: Any = Net(turned, plain=8)
    net.parts, net.join = nn.Linear(8, 12), nn.Linear(12, 8)
    net = randomise(net)
    params, spec = pt.params_of(net), spec_of(net)
    name = next(n for n, a in spec.axes.items() if a.size == 8 and ("parts.weight", 0) in a.places)
    condition = next(c for c in spec.conditions if str(c.left) == name)
    assert (condition.relation, str(condition.right)) == (
        "%",
        "2",
    ) and "test_trial.py" in condition.place
    with pytest.raises(
        pt.MaskError, match=r"multiple of 2 and would be 5.*test_trial\.py.*round_to=2"
    ):
        pt.thin(params, spec, {name: torch.arange(8) < 5})
    report = pt.check(
        net, params, spec, {name: torch.arange(8) < 6}, torch.randn(4, 5, dtype=torch.float64)
    )
    assert report.relative < 1e-12


def test_a_forward_on_real_tensors_is_tried_too() -> None:
    def routed(net: Any, h: Tensor) -> Tensor:
        chosen = (h.sum(1) > 0).nonzero()[:, 0]
        return h.index_add(0, chosen, h[chosen] * {8: 1.0}[int(h.shape[1])])

    spec = spec_of(randomise(Net(routed)))
    assert any(n.startswith("inferred on real tensors") for n in spec.notes)
    assert any("KeyError" in f.reason for f in spec.frozen)


def test_positions_that_are_read_freeze_what_they_point_into() -> None:
    def routed(net: Any, h: Tensor) -> Tensor:
        best = h.topk(2, -1).indices
        return F.one_hot(best, 8).sum(1).to(h.dtype) * h

    spec = spec_of(randomise(Net(routed)))
    assert "up" not in spec.axes


def test_values_alone_of_the_best_do_not() -> None:
    spec = spec_of(randomise(Net(lambda net, h: h + h.topk(2, -1).values.sum(-1, keepdim=True))))
    assert not spec.axes["up"].exact


def test_an_index_that_the_data_gave_freezes_the_whole_dim() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts, self.head = nn.Parameter(torch.zeros(6, 5, 8)), nn.Linear(8, 3)

        def forward(self, x: Tensor, which: Tensor) -> Tensor:
            second: Any = which[1].item()
            return self.head(
                x @ self.experts[which[0]]
                + x @ self.experts[second]
                + x @ self.experts[which.tolist()[0]]
            )

    net = randomise(Experts())
    spec = pt.infer(
        net, pt.params_of(net), torch.randn(4, 5, dtype=torch.float64), torch.tensor([1, 2])
    )
    assert str(spec.layout["experts"][0]) == "6"
    assert str(spec.layout["experts"][2]) in spec.exact


class Stateful(nn.Module):
    """Attention in small that hands its keys back, to be given again."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(width=8)
        self.key, self.head = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, state: Tensor | None = None) -> dict[str, Tensor]:
        keys = self.key(x)
        seen = keys if state is None else torch.cat([state, keys])
        return {"logits": self.head(seen.sum(0, keepdim=True)), "state": seen}


def test_a_state_that_is_handed_back_is_no_output() -> None:
    net, x = randomise(Stateful()), torch.randn(4, 5, dtype=torch.float64)
    params = pt.params_of(net)
    spec = pt.infer(net, params, x)
    assert spec.exact == ("key",)
    report = pt.check(net, params, spec, random_masks(spec), x)
    assert [o.place for o in report.outputs] == ["output['logits']"] and report.relative < 1e-12
    given = pt.infer(net, params, x, state=torch.zeros(2, 8, dtype=torch.float64))
    assert not given.axes, "a state that is given has its shape from outside"


@functools.cache
def area(n: int) -> int:
    return n * 1


class Cached(nn.Module):
    """Sizes that go through caches: the user's own, on a module and on a class, and einops's."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.qkv, self.head = 4, nn.Linear(5, 72), nn.Linear(24, 3)

    @staticmethod
    @functools.lru_cache
    def same(n: int) -> int:
        return n * 1

    def forward(self, x: Tensor) -> Tensor:
        einops = pytest.importorskip("einops")
        q, k, v = einops.rearrange(
            self.qkv(x), "n (three h d) -> three h n d", three=3, h=self.heads
        )
        out = einops.rearrange((q @ k.mT * 0.3).softmax(-1) @ v, "h n d -> n (h d)")
        return self.head(out.view(-1, area(out.shape[1])).view(-1, self.same(out.shape[1])))


def test_what_caches_keep_does_not_come_between_two_traces() -> None:
    net = randomise(Cached())
    first, second = spec_of(net), spec_of(net)
    assert len(first.exact) == 2 and first == second
    assert area.cache_info().currsize == 0, "nothing tracked got into the user's cache"
    half = random_masks(first)
    assert (
        pt.check(
            net, pt.params_of(net), first, half, torch.randn(4, 5, dtype=torch.float64)
        ).relative
        < 1e-12
    )


# ---- what `check` says


def linear(p: dict[str, Tensor], x: Tensor) -> Tensor:
    return torch.relu(x @ p["w"]) @ p["v"]


def doubled_below(p: dict[str, Tensor], x: Tensor) -> Tensor:
    return linear(p, x) * (1 if len(p["v"]) == 8 else 2)


def broken_below(p: dict[str, Tensor], x: Tensor) -> Tensor:
    return linear(p, x) if len(p["v"]) == 8 else linear(p, x) / torch.zeros(2, dtype=x.dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("function", [doubled_below, broken_below])
def test_check_never_calls_a_difference_beyond_rounding_exact(
    function: Callable[..., Tensor], dtype: torch.dtype
) -> None:
    """The spec is one by hand, so that it can be wrong."""
    torch.manual_seed(0)
    params, x = {"w": torch.randn(5, 8), "v": torch.randn(8, 2)}, torch.randn(4, 5)
    params, x = {n: t.to(dtype) for n, t in params.items()}, x.to(dtype)
    spec = pt.Spec.from_layout({"w": "5 h", "v": "h 2"}, params)
    masks = {"h": torch.arange(8) < 5}
    wrong, right = (pt.check(f, params, spec, masks, x) for f in (function, linear))
    assert wrong.defects == ("output",) and not right.defects
    assert "output differs by more than rounding: a defect of purethin" in str(wrong)
    assert "are exact" not in str(wrong) and "are exact" in str(right)


def test_check_says_what_is_not_a_test() -> None:
    params, x = {"w": torch.zeros(5, 8), "v": torch.zeros(8, 2)}, torch.ones(4, 5)
    spec = pt.Spec.from_layout({"w": "5 h", "v": "h 2"}, params)
    assert "not a test: no unit was removed" in str(pt.check(linear, params, spec, {}, x))
    report = pt.check(linear, params, spec, {"h": torch.arange(8) < 5}, x)
    assert "not a test: every output is constant" in str(report)
    params = {n: t + 0.1 * torch.arange(t.numel()).view(t.shape) for n, t in params.items()}
    assert "not a test" not in str(
        pt.check(linear, params, spec, {"h": torch.arange(8) < 5}, x + params["w"][:, :4].T)
    )


def test_the_first_line_of_a_report_is_its_verdict() -> None:
    seed = torch.Generator().manual_seed(0)
    params = {"w": torch.randn(5, 8, generator=seed), "v": torch.randn(8, 2, generator=seed)}
    x, masks = torch.randn(4, 5, generator=seed), {"h": torch.arange(8) < 5}
    layout = {"w": "5 h", "v": "h 2"}
    exact = pt.Spec.from_layout(layout, params)
    inexact = pt.Spec.from_layout(layout, params, inexact={"h": "a mean"})
    rows = [
        (pt.check(linear, params, exact, masks, x), "equal to rounding", True),
        (pt.check(broken_below, params, exact, masks, x), "nothing explains it", False),
        (pt.check(broken_below, params, inexact, masks, x), "because an axis is inexact", True),
        (pt.check(linear, params, exact, {}, x), "not a test: no unit was removed", False),
        (pt.check_dense(linear, params, exact, masks, x), "because 3 units are gone", True),
    ]
    for report, verdict, ok in rows:
        assert verdict in str(report).splitlines()[0]
        assert report.ok is ok
    want = linear(params, x)
    gone = linear({n: t[:, :5] if n == "w" else t[:5] for n, t in params.items()}, x)
    far = float((want - gone).abs().max())
    assert rows[-1][0].difference == pytest.approx(far, rel=1e-5)
