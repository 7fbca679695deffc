"""Mixtures of experts: all computed, or chosen for each token; stacked weights or a list."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pattern import Net, add, layers, pattern, sequence, weight

# ---- experts, all of them computed


def mixture(**more: object) -> dict[str, object]:
    """Four experts of hidden width 6 in stacked weights; a router."""
    return layers(
        router=nn.Linear(5, 4),
        up=weight(4, 5, 6),
        down=weight(4, 6, 7),
        head=nn.Linear(7, 3),
        **more,
    )


@pattern(
    "experts in stacked weights, all of them",
    mixture,
    inputs=sequence,
    prunable="up:2 down:2",
    inexact="router up:0",
    layout="up: a~ 5 b; down: a~ b c; router: a~ 5; head.weight: 3 c",
)
def all_experts(net: Net, x: Tensor) -> Tensor:
    share = net.router(x).softmax(-1)
    h = torch.einsum("bnc,ech->bneh", x, net.up).relu()
    return net.head(torch.einsum("bneh,eho,bne->bno", h, net.down, share))


@pattern(
    "experts in stacked weights, by batched products",
    mixture,
    inputs=sequence,
    prunable="up:2 down:2",
    inexact="up:0",
    layout="up: a~ 5 b; down: a~ b c; router: a~ 5; head.weight: 3 c",
)
def batched_experts(net: Net, x: Tensor) -> Tensor:
    share = net.router(x).softmax(-1).flatten(0, 1)
    flat = x.reshape(-1, x.shape[-1]).expand(net.up.shape[0], -1, -1)
    h = torch.bmm(torch.bmm(flat, net.up).relu(), net.down)
    return net.head((h * share.T.unsqueeze(-1)).sum(0).view(*x.shape[:-1], -1))


@pattern(
    "experts in stacked weights, by sigmoids",
    mixture,
    inputs=sequence,
    prunable="router up:0 up:2 down:2",
    layout="up: a 5 b; down: a b c; router: a 5; head.weight: 3 c",
)
def sigmoid_experts(net: Net, x: Tensor) -> Tensor:
    share = net.router(x).sigmoid()
    h = torch.einsum("bnc,ech->bneh", x, net.up).relu()
    return net.head((torch.einsum("bneh,eho->bneo", h, net.down) * share.unsqueeze(-1)).sum(2))


@pattern(
    "experts by sigmoids made to sum to one",
    mixture,
    inputs=sequence,
    prunable="up:2 down:2",
    inexact="router up:0",
    layout="up: a~ 5 b; down: a~ b c; router: a~ 5; head.weight: 3 c",
)
def normed_experts(net: Net, x: Tensor) -> Tensor:
    share = net.router(x).sigmoid()
    share = share / share.sum(-1, keepdim=True)
    h = torch.einsum("bnc,ech->bneh", x, net.up).relu()
    return net.head(torch.einsum("bneh,eho,bne->bno", h, net.down, share))


@pattern(
    "experts in stacked weights with gates packed",
    lambda: layers(
        router=nn.Linear(5, 4),
        both=weight(4, 5, 12),
        down=weight(4, 6, 7),
        shift=weight(4, 12),
        head=nn.Linear(7, 3),
    ),
    inputs=sequence,
    prunable="both:2 shift:1 down:2",
    inexact="router both:0",
    layout="both: a~ 5 (b + b); down: a~ b c; shift: a~ (b + b); router: a~ 5; head.weight: 3 c",
)
def gated_experts(net: Net, x: Tensor) -> Tensor:
    share = net.router(x).softmax(-1)
    gate, up = (torch.einsum("bnc,ech->bneh", x, net.both) + net.shift).chunk(2, dim=-1)
    h = torch.einsum("bneh,eho->bneo", F.silu(gate) * up, net.down)
    return net.head(torch.einsum("bneo,bne->bno", h, share))


def expert_list(hidden: int = 6, number: int = 4) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Sequential(nn.Linear(5, hidden), nn.ReLU(), nn.Linear(hidden, 7)) for _ in range(number)
    )


@pattern(
    "experts in a list, all of them",
    lambda: layers(router=nn.Linear(5, 4), experts=expert_list(), head=nn.Linear(7, 3)),
    inputs=sequence,
    prunable="experts.0.0 experts.3.0 experts.1.2",
    frozen="router.weight:0",
    layout=(
        "experts.0.0: a 5; experts.0.2: b a; experts.1.0: c 5; experts.1.2: b c; "
        "experts.2.0: d 5; experts.2.2: b d; experts.3.0: e 5; experts.3.2: b e; "
        "head.weight: 3 b"
    ),
)
def listed_experts(net: Net, x: Tensor) -> Tensor:
    share = net.router(x).softmax(-1)
    return net.head(sum(share[..., i : i + 1] * expert(x) for i, expert in enumerate(net.experts)))


# ---- experts chosen for each token


@pattern(
    "experts in a list, the best two of them, by masks",
    lambda: layers(router=nn.Linear(5, 4), experts=expert_list(), head=nn.Linear(7, 3)),
    inputs=sequence,
    prunable="experts.0.0 experts.3.0 experts.1.2",
    frozen="router.weight:0",
    layout=(
        "experts.0.0: a 5; experts.0.2: b a; experts.1.0: c 5; experts.1.2: b c; "
        "experts.2.0: d 5; experts.2.2: b d; experts.3.0: e 5; experts.3.2: b e; "
        "head.weight: 3 b"
    ),
)
def masked_experts(net: Net, x: Tensor) -> Tensor:
    share, best = net.router(x).softmax(-1).topk(2, dim=-1)
    out = x.new_zeros(*x.shape[:-1], net.head.in_features)
    for i, expert in enumerate(net.experts):
        out = out + expert(x) * (share * (best == i)).sum(-1, keepdim=True)
    return net.head(out)


@pattern(
    "experts in a list, the best two of them, by where and index_add",
    lambda: layers(router=nn.Linear(5, 4), experts=expert_list(), head=nn.Linear(7, 3)),
    inputs=sequence,
    prunable="experts.0.0 experts.3.0 experts.1.2",
    frozen="router.weight:0",
    layout=(
        "experts.0.0: a 5; experts.0.2: b a; experts.1.0: c 5; experts.1.2: b c; "
        "experts.2.0: d 5; experts.2.2: b d; experts.3.0: e 5; experts.3.2: b e; "
        "head.weight: 3 b"
    ),
)
def mixtral(net: Net, x: Tensor) -> Tensor:
    flat = x.reshape(-1, x.shape[-1])
    share, best = net.router(flat).softmax(-1).topk(2, dim=-1)
    share = share / share.sum(-1, keepdim=True)
    out = flat.new_zeros(flat.shape[0], net.head.in_features)
    chosen = F.one_hot(best, num_classes=4).permute(2, 1, 0)
    for i, expert in enumerate(net.experts):
        which, token = torch.where(chosen[i])
        out.index_add_(0, token, expert(flat[token]) * share[token, which, None])
    return net.head(out.view(*x.shape[:-1], -1))


@pattern(
    "experts in a list, the best of them, by boolean masks, and one shared",
    lambda: layers(
        router=nn.Linear(5, 3),
        experts=expert_list(6, 3),
        shared=nn.Linear(5, 7),
        head=nn.Linear(7, 3),
    ),
    inputs=sequence,
    prunable="experts.0.0 experts.2.0 shared",
    frozen="router.weight:0",
    layout=(
        "experts.0.0: a 5; experts.0.2: b a; experts.1.0: c 5; experts.1.2: b c; "
        "experts.2.0: d 5; experts.2.2: b d; shared: b 5; head.weight: 3 b"
    ),
)
def switched(net: Net, x: Tensor) -> Tensor:
    share, best = net.router(x).softmax(-1).max(-1)
    out = net.shared(x)
    extra = torch.zeros_like(out)
    for i, expert in enumerate(net.experts):
        if (best == i).any():
            extra[best == i] = expert(x[best == i]) * share[best == i].unsqueeze(-1)
    return net.head(out + extra)


@pattern(
    "experts in stacked weights, the best two of them, gathered",
    mixture,
    inputs=sequence,
    prunable="up:2 down:2",
    layout="up: 4 5 a; down: 4 a b; head.weight: 3 b",
)
def gathered(net: Net, x: Tensor) -> Tensor:
    share, best = net.router(x).topk(2, dim=-1)
    h = torch.einsum("bnc,bnkch->bnkh", x, net.up[best]).relu()
    return net.head(torch.einsum("bnkh,bnkho,bnk->bno", h, net.down[best], share.softmax(-1)))


@pattern(
    "experts in stacked weights, dispatched by one-hot products",
    mixture,
    inputs=sequence,
    prunable="up:2 down:2",
    layout="up: 4 5 a; down: 4 a b; head.weight: 3 b",
)
def dispatched(net: Net, x: Tensor) -> Tensor:
    flat = x.flatten(0, 1)
    share = net.router(flat).softmax(-1)
    best = share.argmax(-1)
    send = F.one_hot(best, net.router.out_features).to(x.dtype)
    inside = torch.einsum("te,tc->etc", send, flat)
    h = torch.bmm(torch.bmm(inside, net.up).relu(), net.down)
    return net.head(torch.einsum("eto,te->to", h, send * share).view(*x.shape[:-1], -1))


@pattern(
    "slots for experts, all soft",
    lambda: layers(
        slots=weight(5, 4, 2), up=weight(4, 5, 6), down=weight(4, 6, 7), head=nn.Linear(7, 3)
    ),
    inputs=sequence,
    prunable="up:2 down:2",
    inexact="slots:1 slots:2",
    layout="slots: 5 a~ b~; up: a~ 5 c; down: a~ c d; head.weight: 3 d",
)
def soft_slots(net: Net, x: Tensor) -> Tensor:
    scores = torch.einsum("bnc,ces->bnes", x, net.slots)
    inside = torch.einsum("bnc,bnes->besc", x, scores.softmax(1))
    h = torch.einsum(
        "beso,eod->besd", torch.einsum("besc,eco->beso", inside, net.up).relu(), net.down
    )
    out = torch.einsum("besd,bnes->bnd", h, scores.flatten(2).softmax(-1).view_as(scores))
    return net.head(out)


class Expert(nn.Module):
    """A gated feed-forward."""

    def __init__(self, inside: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up = (
            nn.Linear(inside, hidden, bias=False),
            nn.Linear(inside, hidden, bias=False),
        )
        self.down = nn.Linear(hidden, inside, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Mixture(nn.Module):
    """Routed and shared experts in a residual, under an RMS norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(5, 8), nn.RMSNorm(8, eps=1e-6)
        self.router = nn.Linear(8, 4, bias=False)
        self.bias = nn.Buffer(torch.zeros(4))
        self.experts = nn.ModuleList(Expert(8, 6) for _ in range(4))
        self.shared = Expert(8, 10)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        y = self.norm(h).flatten(0, 1)
        scores = self.router(y).sigmoid()
        best = (scores + self.bias).topk(2, dim=-1).indices
        share = scores.gather(1, best)
        out = self.shared(y)
        for i, expert in enumerate(self.experts):
            token, which = (best == i).nonzero(as_tuple=True)
            out = out.index_add(0, token, expert(y[token]) * share[token, which].unsqueeze(-1))
        return self.head(h + out.view(h.shape))


add(
    "experts and a shared one in a residual",
    Mixture,
    inputs=sequence,
    prunable="experts.0.gate experts.3.up shared.gate",
    inexact="embed",
    frozen="router.weight:0",
    layout=(
        "embed: a~ 5; norm: a~; router: 4 a~; experts.0.gate: b a~; experts.0.up: b a~; "
        "experts.0.down: a~ b; experts.1.gate: c a~; experts.1.up: c a~; experts.1.down: a~ c; "
        "experts.2.gate: d a~; experts.2.up: d a~; experts.2.down: a~ d; experts.3.gate: e a~; "
        "experts.3.up: e a~; experts.3.down: a~ e; shared.gate: f a~; shared.up: f a~; "
        "shared.down: a~ f; head.weight: 3 a~"
    ),
)
