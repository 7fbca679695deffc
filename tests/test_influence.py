"""A branch's influence is the angle that it turns its stream by, wherever it is added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from networks import randomise
from torch import Tensor, nn
from torch.nn import functional as F

import purethin as pt

Add = Callable[[Tensor, Tensor, Tensor], Tensor]
ADDS: dict[str, Add] = {
    "a sum": lambda x, f, g: x + f,
    "in place of the branch": lambda x, f, g: f.add_(x),
    "in place of the stream": lambda x, f, g: x.clone().add_(f),
    "scaled": lambda x, f, g: torch.add(x, f, alpha=0.5),
    "parallel branches": lambda x, f, g: g + f + x,
    "then in place again": lambda x, f, g: torch.relu_(x + f),
}


class Block(nn.Module):
    """Two branches of matrices or kernels, and how they are added."""

    def __init__(self, add: Add, kernels: bool) -> None:
        super().__init__()
        layer: Any = (lambda a, b: nn.Conv2d(a, b, 3, padding=1)) if kernels else nn.Linear
        self.add, self.up, self.down = add, layer(6, 8), layer(8, 6)
        self.other, self.back = layer(6, 8), layer(8, 6)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.down(F.gelu(self.up(x))), self.back(F.gelu(self.other(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.add(x, *self.parts(x))


@pytest.mark.parametrize("kernels", [False, True], ids=["matrices", "kernels"])
@pytest.mark.parametrize("name", ADDS)
def test_influence_is_the_mean_angle_between_the_stream_without_and_with_it(
    name: str, kernels: bool
) -> None:
    torch.manual_seed(0)
    first: nn.Module = nn.Conv2d(3, 6, 1) if kernels else nn.Linear(3, 6)
    net = nn.Sequential(first, Block(ADDS[name], kernels), Block(ADDS[name], kernels))
    randomise(net)
    shape = (2, 3, 5, 5) if kernels else (2, 5, 3)
    batches = [torch.rand(shape, dtype=torch.float64) for _ in range(2)]
    params = pt.params_of(net)
    spec = pt.infer(net, params, batches[0], branches=True)
    found = pt.block_influence(net, params, spec, batches)
    for i in (1, 2):
        block: Any = net[i]
        turned = []
        for batch in batches:
            with torch.no_grad():
                x = net[:i](batch)
                f, g = block.parts(x)
            f = f * 0.5 if name == "scaled" else f
            x = x + g if name == "parallel branches" else x
            turned.append(1 - F.cosine_similarity(x, x + f, dim=1 if kernels else -1).mean())
        assert found[f"{i}.up"] == pytest.approx(float(sum(turned)) / 2, rel=1e-6)


class Turned(nn.Module):
    """A stream of images, its branch of matrices over the last dim."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up, self.down = nn.Conv2d(3, 6, 1), nn.Linear(6, 8), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + self.down(self.up(x.permute(0, 2, 3, 1)).relu()).permute(0, 3, 1, 2)


def test_features_are_found_where_the_sum_has_them() -> None:
    net, x = Turned(), torch.rand(2, 3, 6, 6, dtype=torch.float64)
    randomise(net)
    params = pt.params_of(net)
    spec = pt.infer(net, params, x, branches=True)
    with torch.no_grad():
        want = 1 - F.cosine_similarity(net.stem(x), net(x), dim=1).mean()
    found = pt.block_influence(net, params, spec, [x])
    assert found == pytest.approx({"up": float(want)}, rel=1e-6)


class Gated(nn.Module):
    """A gate that may go whole, beside no sum of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.squeeze, self.gate = nn.Linear(3, 6), nn.Linear(6, 2), nn.Linear(2, 6)
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        inner = self.down(self.up(x).relu())
        return x + inner * self.gate(self.squeeze(x).relu()).sigmoid()


def test_what_is_no_term_of_a_sum_has_no_influence() -> None:
    net, x = Gated(), torch.rand(4, 3)
    params = pt.params_of(net)
    spec = pt.infer(net, params, x, branches=True)
    assert {"squeeze"} <= spec.branches.keys()
    assert [*pt.block_influence(net, params, spec, [x])] == ["up"]
    with pytest.raises(pt.MaskError, match="'squeeze' is no term of a sum: leave_branch_out"):
        pt.block_influence(net, params, spec, [x], branches="squeeze")
    with pytest.raises(pt.MaskError, match="no batch is given"):
        pt.block_influence(net, params, spec, [])
    with pytest.raises(pt.MaskError, match=r"give a spec of infer\(…, branches=True\)"):
        pt.block_influence(net, params, pt.infer(net, params, x), [x])
