"""Random networks that do what people write with sizes: the program is drawn as text, and run as it
stands.

A network has three hidden layers of widths 3 to 40. Integers are drawn from what their shapes, a
config's attributes, `len`, tuples, defaults and closures give, through arithmetic; each is then
used: as a factor, a branch, a bound, a view, a loop's count, a key.
"""

from __future__ import annotations

import linecache
import math
import operator
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import purethin as pt

WIDTHS = (3, 5, 6, 8, 9, 12, 16, 17, 24, 40)
_HEAD = """
def network(p, x, k={default}):
    a, b, c = x @ p["a"], x @ p["b"], x @ p["c"]
    (n, m), w = (a.shape[1], b.size(1)), p["c"].shape[-1]
    wb = p["b"]
    config, scale = Config(width=n, heads=w), 1.0
    def closed(extra=0): return m + extra
    def decided(v, bound=7): return 2.0 if v > bound else 1.0
    def thirds(v): return 2.0 if v % 3 == 0 else 1.0
"""
_TAIL = """
    return (torch.relu(a) @ p["a2"] + torch.relu(b) @ p["b2"] + torch.relu(c) @ p["c2"]) * scale
"""


@dataclass
class Config:
    """What a forward keeps its sizes in."""

    width: int
    heads: int


@dataclass(frozen=True)
class SizeNet:
    """One drawn program, its parameters and its example."""

    seed: int
    text: str
    run: Callable[..., Tensor]
    params: dict[str, Tensor]
    x: Tensor


def size_net(seed: int) -> SizeNet:
    """The network of a seed."""
    draw = random.Random(seed)
    widths = [draw.choice(WIDTHS) for _ in "abc"]
    if draw.random() < 0.3:
        widths[1] = widths[0]
    lines = [_HEAD.format(default=draw.choice((2, 3, 4, 8)))]
    lines += [f"    {line}\n" for _ in range(draw.randint(1, 3)) for line in _use(draw, widths)]
    text = "".join([*lines, _TAIL])
    file = f"<size network {seed}>.py"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    try:
        import numpy
    except ImportError:
        numpy = None
    scope: dict[str, Any] = {
        "torch": torch,
        "math": math,
        "np": numpy,
        "operator": operator,
        "Config": Config,
    }
    exec(compile(text, file, "exec"), scope)
    state = torch.Generator().manual_seed(seed)

    def made(*shape: int) -> Tensor:
        return torch.randn(shape, generator=state, dtype=torch.float64)

    params = {name: made(5, n) for name, n in zip("abc", widths, strict=True)}
    params |= {f"{name}2": made(n, 3) for name, n in zip("abc", widths, strict=True)}
    return SizeNet(seed, text, scope["network"], params, made(4, 5))


def _integer(draw: random.Random, depth: int = 2) -> str:
    """An expression for an integer, of tracked ones mostly."""
    if depth == 0 or draw.random() < 0.25:
        leaf = "n m w a.shape[-1] b.shape[1] config.width config.heads closed() closed(1) len(p) k"
        return draw.choice([*leaf.split(), "a[0].numel()", "wb.size(dim=1)"])
    x, y = _integer(draw, depth - 1), _integer(draw, depth - 1)
    k = draw.choice((1, 2, 3, 4, 8))
    forms = [
        *(f"({x} + {y})", f"({x} - {y})", f"({x} + {k})", f"({x} - {k})", f"{k} * {x}"),
        *(
            f"({x} * {y})",
            f"({x} // {k})",
            f"({x} // max({y}, 1))",
            f"({x} % {k})",
            f"abs({x} - {y})",
        ),
        *(f"min({x}, {y})", f"max({x}, {y})", f"min({x}, {k})", f"max({x}, {k + 4})", f"-(-{x})"),
        *(
            f"sum(({x}, {y}))",
            f"sum([{x}, {y}, {k}])",
            f"divmod({x}, {k})[0]",
            f"divmod({x}, {k})[1]",
        ),
        *(
            f"math.prod(({x}, {y}))",
            f"math.ceil({x} / {k})",
            f"round({x} / {k})",
            f"int({x} * 0.5)",
        ),
        *(f"int(np.prod(({x}, {y})))", f"int(np.sqrt(abs({x})))", f"math.gcd({x}, {y})"),
        *(f"len([0] * {x})", f"({x} if {x} > {y} else {y})", f"({x} or {k})"),
        *(
            f"sorted(({x}, {y}))[0]",
            f"int(str({x}))",
            f"[{x}, {y}][0]",
            f"({x} & 3)",
            f"({x} << 1)",
        ),
        *(f"math.isqrt(abs({x}))", f"int(math.log2(abs({x}) + 1))", f"max({x}, {y}, {k})"),
        *(f"len(range({x}))", f"sum(1 for _ in range({x}))", f'len("x" * {x})', f"int(2.0 * {x})"),
        *(f"int({x})", f"int({x} / {k})", f"math.floor({x} / {k})", f"math.trunc({x} * 0.25)"),
        *(f"int(float({x}))", f"int({x} / max({y}, 1) * {k})", f"round({x} * 1.0)"),
        *(f"[*range(99)][min(abs({x}), 98)]", f"len(bytes(abs({x})))", f"operator.index({x})"),
    ]
    return draw.choice(forms)


def _truth(draw: random.Random, depth: int = 1) -> str:
    """A condition on integers."""
    x, y, z = _integer(draw), _integer(draw, 1), _integer(draw, 1)
    k, j = sorted(draw.sample(range(2, 45), 2))
    if depth and draw.random() < 0.25:
        other = _truth(draw, 0)
        return draw.choice([f"({x} > {k} and {other})", f"({x} < {k} or {other})", f"not {other}"])
    forms = [
        *(f"{x} > {k}", f"{x} < {k}", f"{x} >= {y}", f"{x} <= {k}", f"{x} == {y}", f"{x} != {y}"),
        *(f"{x} == {k}", f"{k} < {x} < {j}", f"{y} <= {x} <= {z}", f"{x} in ({k}, {j}, 8)"),
        *(f"{x} in range({k}, {j})", f"{x} in [{y}, {z}]", f"{x} % 2 == 0", f"{x} in {{{k}, {j}}}"),
        *(
            f"{x} - {y} > 3",
            f"{x}",
            f"({x}, {y}) == ({y}, {x})",
            f"{x} > {k}.5",
            f"{k / 2} * {x} > {j}",
        ),
        *(
            *("a.shape == b.shape", f"{x} * 1.0 == {k}.0", f"len(range({x})) == {k}"),
            f"{x} / max({y}, 1) > 1.5",
            f"bool({x} - {y})",
            f"'{k}' in f'{{{x}}}'",
        ),
        *(f"np.int64({k}) < {x}", "a.numel() > b.numel()", f"x.shape[1] < {x}"),
    ]
    return draw.choice(forms)


def _use(draw: random.Random, widths: list[int]) -> list[str]:
    """One use of an integer, in lines."""
    which = draw.choice("abc")
    x, y, k = _integer(draw), _integer(draw, 1), draw.choice((2, 3, 4))
    f, g = draw.choice(("2.0", "0.5")), draw.choice(("1.0", "-1.0"))
    uses = [
        [f"scale = scale * {f} if {_truth(draw)} else scale * {g}"],
        [f"if {_truth(draw)}:", f"    {which} = {which} * {f}"],
        [f"{which} = {which} * {f} if {_truth(draw)} else torch.tanh({which})"],
        [f"scale = scale * ({x})"],
        [f"{which} = {which} * (({x}) ** -0.5 if ({x}) > 0 else 1.0)"],
        [f"{which} = {which} * {{'w8': 2.0, 'w16': 3.0}}.get(f'w{{{x}}}', 1.0)"],
        [f"{which} = {which} * {{8: 2.0, 5: 3.0, 16: 0.5}}.get({x}, 1.0)"],
        [f"scale = scale + {which}[:, :max({x}, 0)].sum(1, keepdim=True)"],
        [f"scale = scale + {which}[:, {x}:].sum()"],
        [f"scale = scale + x[:, :abs({x})].sum(1, keepdim=True)"],
        [f"scale = scale + {which}[:, -max({y}, 1):].sum(1, keepdim=True)"],
        [f"a = a[:, :{y}] if {y} >= n else a"],
        [f"{which} = {which}.view({which}.shape[0], -1, {k}).flatten(1)"]
        if widths["abc".index(which)] % k == 0
        else [f"{which} = {which}.reshape(-1, {which}.shape[1])"],
        [f"{which} = {which}.view(len(x), {which}.shape[1])"],
        [f"{which} = {which}.view(len(x), int({which}.shape[1]))"],
        [f"j = int({x})", f"scale = scale * (2.0 if j > {k * 3} else 1.0)"],
        [f"scale = scale * decided(int({x}), {k * 2})"],
        [f"scale = scale * decided({x} / {k}, {k * 2})"],
        [
            f"j = int({which}.shape[1] / {k})",
            f"scale = scale + {which}[:, :j].sum(1, keepdim=True)",
        ],
        [
            f"u, *v = {which}.split(max(int({which}.shape[1] * 0.5), 1), 1)",
            f"{which} = torch.cat([u, *v], 1)",
        ],
        [f"scale = scale + {which}.norm(dim=1, keepdim=True) / math.sqrt({which}.shape[1] / {k})"],
        [f"scale = scale * thirds(int({x}))"],
        [f"for i in range(min(abs({y}), {k})):", f"    {which} = {which} * 0.9 + 0.0 * i"],
        [f"for i in range(abs({y}) // 4):", f"    {which} = {which} * 0.9"],
        [f"scale = scale * torch.tensor({x}, dtype=x.dtype)"],
        [f"scale = scale + torch.ones(abs({y}), dtype=x.dtype).sum()"],
        [f"scale = scale + 0.1 * torch.arange(abs({y}), dtype=x.dtype).sum().tanh()"],
        [f"scale = scale * (2.0 if torch.ones(abs({y})).sum().item() > 9 else 1.0)"],
        [f"{which} = {which} + torch.zeros({which}.shape[1], dtype=x.dtype)"],
        ["a = a + b if n == m else a"],
        ["b = torch.cat([b[:, :1] * 0 + b[:, 1:2], b[:, 1:]], 1)"],
        [f"assert {which}.dim() == 2, f'got {{{x}}}'"],
        [f"print(end=f'{{{x}}}'[:0])"],
        ["table = [1.0] * 6 + [2.0] * 5 + [3.0] * 4000", f"scale = scale * table[abs({y}) % 4000]"],
        [f"scale = scale * [1.0, 2.0, 1.0, 3.0, 1.0, 0.5, 2.0][min(abs({y}), 6)]"],
        [f"scale = scale * {{8: 2.0, 3: 3.0, 17: 0.5}}.get(len(range({y})), 1.0)"],
        [f"for i in range(abs({y})):", f"    scale = scale * (2.0 if i == {k} else 1.0)"],
        [f"{which} = {which}.roll({y} // 2, 1)"],
        [f"{which} = {which} / max({x}, 1)"],
        [f"{which} = {which} * (2.0 / max({y}, 1))"],
        [f"{which} = {which} * (2.0 if {draw.choice((6.5, 10.5))} < {y} else 1.0)"],
    ]
    return draw.choice(uses)


def outcome(net: SizeNet) -> str:
    """What comes of a network: 'exact', 'frozen' or 'inexact' (no exact axis was compared),
    'refused' by every mask, 'raises' (the program itself does), or 'wrong: …'.
    """
    try:
        net.run(net.params, net.x)
    except Exception:
        return "raises"
    spec = pt.infer(net.run, net.params, net.x)
    for axis in spec.axes.values():
        if not axis.exact and not axis.reason:
            return f"wrong: {axis.name} is inexact and does not say why"
    if not spec.exact:
        return "inexact" if spec.axes else "frozen"
    refused = 0
    for fraction, seed in ((0.5, 0), (0.3, 1), (0.75, 2)):
        state, masks = torch.Generator().manual_seed(seed), {}
        for name in spec.exact:
            n = spec.axes[name].size
            kept = max(1, round(n * (1 - fraction)) | 1)
            masks[name] = torch.rand(n, generator=state).argsort() < min(kept, n)
        try:
            report = pt.check(net.run, net.params, spec, masks, net.x)
        except pt.MaskError:
            refused += 1
            continue
        except Exception as error:
            return f"wrong: the thinned network raised {error!r}"
        if not report.relative < 1e-9:
            counts = [int(m.sum()) for m in masks.values()]
            return f"wrong: differs by {report.relative:.2e} with {counts}"
    return "refused" if refused == 3 else "exact"
