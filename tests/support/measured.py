"""Small networks whose layers are written out, so that what each reads can be said by hand."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from networks import randomise
from torch import Tensor, nn

import purethin as pt


class Convolutions(nn.Module):
    """Norms and ReLUs, a depthwise and a grouped convolution, a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.deep = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.grouped = nn.Conv2d(6, 8, (3, 1), padding="same", groups=2, dilation=(2, 1))
        self.fc1, self.fc2 = nn.Linear(8 * 16, 5), nn.Linear(5, 2)

    def seen(self, x: Tensor) -> dict[str, Tensor]:
        """What each layer reads."""
        one = torch.relu(self.deep(torch.relu(self.bn1(self.conv1(x)))))
        two = torch.relu(self.grouped(one)).flatten(1)
        three = torch.relu(self.fc1(two))
        return {"grouped": one, "fc1": two, "fc2": three, "out": self.fc2(three)}

    def forward(self, x: Tensor) -> Tensor:
        return self.seen(x)["out"]


class Attention(nn.Module):
    """torch's attention, packed, in a residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.attn, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 6), nn.Linear(6, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = self.norm(x + self.attn(x, x, x, need_weights=False)[0])
        return self.head((x + self.down(F.gelu(self.up(x)))).mean(1))


def bare(p: dict[str, Tensor], x: Tensor) -> Tensor:
    """A function without modules: a matrix that is transposed, one that is not."""
    return torch.relu(F.linear(x, p["a"] * 2, p["bias"])) @ p["b"]


class Recurrent(nn.Module):
    """Two layers of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.fc = nn.LSTM(3, 4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(x)[0])


def inputs(*shape: int, seed: int = 1) -> Tensor:
    state = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=state)


X = inputs(5, 3, 4, 4)
NET: Any = randomise(Convolutions())
PARAMS = pt.params_of(NET)
SPEC = pt.infer(NET, PARAMS, X)
BARE = {"a": inputs(4, 3), "bias": inputs(4), "b": inputs(4, 2)}


class Stream(nn.Module):
    """A residual stream with a layer norm before one block, and an RMS norm by hand at its end."""

    def __init__(self, *, rms: bool) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(3, 6), nn.LayerNorm(6)
        self.up, self.down, self.head = nn.Linear(6, 5), nn.Linear(5, 6), nn.Linear(6, 2)
        self.rms = rms

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + F.dropout(self.down(torch.relu(self.up(x))), 0.1, self.training)
        normed = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) if self.rms else None
        return self.head(self.norm(x) if normed is None else normed)


CASES = {
    "attention": (randomise(Attention()), None, inputs(3, 5, 3)),
    "bare": (bare, BARE, inputs(5, 3)),
    "recurrent": (randomise(Recurrent()), None, inputs(3, 6, 3)),
    "convolutions": (NET, None, X),
}
