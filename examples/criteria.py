"""What criteria are worth: how each ranks units, beside the true change of the output when one unit
goes, on trained networks.

    python examples/criteria.py mlp resnet20 lite0 minilm crepe --write

Scores come from some examples, the truth (`pt.leave_out`) from others of the same kind. Of each
axis up to `--units` are tried. Printed is Spearman's correlation within an axis, the mean over
axes, and that of all units together; with the seconds that measuring and scoring take. Results are
kept in out/criteria.json, network by network; where no network is named, the table of all that is
kept is printed, and `--write` puts it into docs/criteria.md. The networks are those of
real_weights.py, and some that are trained here on the Fashion-MNIST images of examples/data.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import real_weights
import torch
import torch.nn.functional as F
from agp_resnet20 import HERE, Shuffled, idx
from resnet_cifar import ResNet
from torch import Tensor, nn
from torch.func import functional_call

import purethin as pt
from purethin.table import Table

Batch = tuple[Tensor, ...]
DOC = Path(__file__).parents[1] / "docs" / "criteria.md"


@dataclass(frozen=True)
class Case:
    """A trained network, examples to score by and others to try.

    `loss`: from outputs and batch to one number for each example, or a scalar. `distance`: from two
    outputs to what one is off the other, a number for each example.
    """

    model: nn.Module
    given: Batch
    tried: Batch
    loss: Callable[[Any, Any], Tensor]
    distance: Callable[[Tensor, Tensor], Tensor]
    axes: str = ""
    gram: bool = True


# ---- the networks


def images() -> tuple[Batch, Batch]:
    """Fashion-MNIST's test images and labels: 8,000 to train, 2,000 to test."""
    folder = HERE / "data" / "fashion-mnist"
    x = (idx(folder, "t10k-images-idx3-ubyte").unsqueeze(1).float() / 255 - 0.286) / 0.353
    y = idx(folder, "t10k-labels-idx1-ubyte").long()
    return (x[:8000], y[:8000]), (x[8000:], y[8000:])


def trained(model: nn.Module, epochs: int, rate: float) -> Case:
    """A classifier, trained; it reads its labels off the images that it is given."""
    train, test = images()
    opt = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    batches = Shuffled(*train, seed=0)
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, rate, epochs * -(-len(train[0]) // 64))
    for _ in range(epochs):
        for x, y in batches:
            opt.zero_grad()
            F.cross_entropy(model(x), y).backward()
            opt.step()
            plan.step()
    model.eval()
    with torch.no_grad():
        right = float((model(test[0]).argmax(1) == test[1]).float().mean())
    print(f"{type(model).__name__}: {right:.1%} right of {len(test[0])}")
    return classifier(model, train[0][:256], train[1][:256], test[0][:256])


class Labelled(nn.Module):
    """A network that is given its labels too, and leaves them to the loss."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.net(x)


def classifier(model: nn.Module, x: Tensor, y: Tensor, others: Tensor) -> Case:
    def loss(outputs: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(outputs, batch[1], reduction="none")

    def distance(out: Tensor, dense: Tensor) -> Tensor:  # Kullback and Leibler's, in nats
        return F.kl_div(
            out.log_softmax(1), dense.log_softmax(1), reduction="none", log_target=True
        ).sum(1)

    return Case(Labelled(model).eval(), (x, y), (others,), loss, distance)


def mlp() -> Case:
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()]
    return trained(nn.Sequential(*layers, nn.Linear(64, 10)), 6, 0.1)


def resnet20() -> Case:
    torch.manual_seed(0)
    return trained(ResNet(3, 10, 1), 4, 0.2)


def resnet8() -> Case:
    torch.manual_seed(0)
    return trained(ResNet(1, 10, 1), 4, 0.2)


def lite0() -> Case:
    net = real_weights.lite0()
    (x,) = net.inputs
    with torch.no_grad():
        labels = net.model(x).argmax(1)
    return classifier(net.model, x[:10], labels[:10], x[10:])


def minilm() -> Case:
    net = real_weights.minilm()
    tokens, attention = net.inputs

    def loss(outputs: Tensor, batch: Batch) -> Tensor:  # InfoNCE of the pairs
        e = F.normalize(outputs, dim=1)
        logits = e[0::2] @ e[1::2].T / 0.05
        return F.cross_entropy(logits, torch.arange(len(logits)))

    def distance(out: Tensor, dense: Tensor) -> Tensor:
        return (F.normalize(out, dim=1) - F.normalize(dense, dim=1)).square().sum(1)

    first, last = slice(0, 20), slice(20, 40)
    given, tried = ((tokens[s], attention[s]) for s in (last, first))
    return Case(net.model, given, tried, loss, distance)


def crepe() -> Case:
    net = real_weights.crepe("tiny")
    (x,) = net.inputs

    def loss(outputs: Tensor, batch: Batch) -> Tensor:
        return F.binary_cross_entropy(outputs, outputs.detach().round(), reduction="none").sum(1)

    def distance(out: Tensor, dense: Tensor) -> Tensor:
        return (out - dense).square().sum(1)

    return Case(net.model, (x[0::2],), (x[1::2],), loss, distance, gram=False)


CASES = {f.__name__: f for f in (mlp, resnet8, resnet20, lite0, minilm, crepe)}


# ---- the truth, and what is said of it


def some_units(spec: pt.Spec, count: int) -> dict[str, Tensor]:
    """Up to so many units of each exact axis, at random."""
    state = torch.Generator().manual_seed(0)
    return {
        n: torch.randperm(spec.sizes[n], generator=state)[:count]
        for n in spec.exact
        if spec.sizes[n] >= 4
    }


def truth(case: Case, params: Any, spec: pt.Spec, units: Mapping[str, Tensor]) -> Tensor:
    """`Tensor[units]`: how far the output is off when one of them goes."""
    with torch.no_grad():
        dense = case.model(*case.tried)

    def loss(params: Any, *batch: Tensor) -> Tensor:
        out = functional_call(case.model, params, batch[:-1])
        return case.distance(out, batch[-1]).mean()

    total, masks, start = sum(map(len, units.values())), {}, 0
    for name, chosen in units.items():
        keep = torch.ones(total, spec.sizes[name], dtype=torch.bool)
        keep[torch.arange(start, start + len(chosen)), chosen] = False
        masks[name], start = keep, start + len(chosen)
    return pt.leave_out(loss, params, spec, [(*case.tried, dense)], masks)


def ranks(values: Tensor) -> Tensor:
    """Ranks, equal ones their mean."""
    _, of, counts = values.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2).double()[of]


def spearman(one: Tensor, other: Tensor) -> float:
    pair = torch.stack([ranks(one), ranks(other)])
    return float(torch.corrcoef(pair)[0, 1].nan_to_num())


def judged(scores: pt.Scores, units: Mapping[str, Tensor], true: Tensor) -> tuple[float, float]:
    """Spearman's correlation within axes, and over all units that have scores."""
    within, have, want = [], [], []
    for (name, chosen), part in zip(
        units.items(), true.split([*map(len, units.values())]), strict=True
    ):
        if name in scores and float(part.std()) > 0:  # not one that no output depends on
            mine = scores[name][chosen].double()
            within.append(spearman(mine, part))
            have.append(mine)
            want.append(part)
    return sum(within) / len(within), spearman(torch.cat(have), torch.cat(want))


# ---- the criteria


def criteria(case: Case, params: Any, spec: pt.Spec) -> dict[str, tuple[float, pt.Scores]]:
    """Each criterion's seconds, measuring included, and scores."""
    found: dict[str, tuple[float, pt.Scores]] = {}
    c, model, given = pt.criteria, case.model, case.given

    def take(before: float, **ways: Callable[[], pt.Scores]) -> None:
        for name, way in ways.items():
            start = time.perf_counter()
            try:
                scores = way()
            except pt.MaskError:  # no batch norm
                continue
            found[name.replace("_each", ", each example")] = (
                before + time.perf_counter() - start,
                scores,
            )

    def measured(**how: Any) -> tuple[float, Any]:
        start = time.perf_counter()
        stats = pt.measure(model, params, spec, [given], **how)
        return time.perf_counter() - start, stats

    take(
        0,
        random=lambda: pt.random_scores(params, spec, generator=torch.Generator().manual_seed(0)),
        lp_norm=lambda: pt.lp_norm(params, spec),
        lamp=lambda: c.lamp(params, spec),
        geometric_median=lambda: c.geometric_median(params, spec),
        batch_norm_scale=lambda: c.batch_norm_scale(params, spec),
    )
    seconds, stats = measured()
    for of in (pt.apoz, pt.activation_mean, c.activation_norm, pt.wanda, c.flap):
        take(seconds, **{of.__name__: lambda of=of, stats=stats: of(params, spec, stats)})
    if case.gram:
        seconds, stats = measured(gram=True)
        for of in (c.thinet, c.obs):
            take(seconds, **{of.__name__: lambda of=of, stats=stats: of(params, spec, stats)})

    def scalar(outputs: Tensor, batch: Any) -> Tensor:
        return case.loss(outputs, batch).mean()

    seconds, stats = measured(loss=scalar)
    for of in (pt.taylor, c.gate, c.snip):
        take(seconds, **{of.__name__: lambda of=of, stats=stats: of(params, spec, stats)})
    with torch.no_grad():
        single = case.loss(model(*given), given).dim() == 0
    if not single:
        seconds, stats = measured(loss=case.loss)
        for of in (pt.taylor, c.gate, pt.fisher):
            name = of.__name__ + ("" if of is pt.fisher else "_each")
            take(seconds, **{name: lambda of=of, stats=stats: of(params, spec, stats)})
    state = torch.Generator().manual_seed(0)
    take(
        0,
        output_taylor=lambda: pt.output_taylor(model, params, spec, [given], generator=state),
    )
    return found


# ---- the table


def rows_of(name: str, count: int, same: bool) -> dict[str, tuple[float, float, float]]:
    """`{criterion: (within axes, over all, seconds)}` of a network."""
    case = CASES[name]()
    tried = case.given[: len(case.tried)] if same else case.tried
    case = Case(case.model, case.given, tried, case.loss, case.distance, case.axes, case.gram)
    params = pt.params_of(case.model)
    spec = pt.infer(case.model, params, *(x[:1] for x in case.given))
    units = some_units(spec, count)
    start = time.perf_counter()
    true = truth(case, params, spec, units)
    print(f"{name}: {len(true)} units of {len(units)} axes, {time.perf_counter() - start:.0f} s")
    out = {
        criterion: (*judged(scores, units, true), seconds)
        for criterion, (seconds, scores) in criteria(case, params, spec).items()
    }
    shown = [(n, f"{a:.2f}", f"{b:.2f}", f"{s:.1f}") for n, (a, b, s) in out.items()]
    print(Table(("", "within", "all", "s"), shown, numbers=(1, 2, 3)), flush=True)
    return out


def written(
    found: Mapping[str, Mapping[str, tuple[float, float, float]]], names: Sequence[str]
) -> str:
    """The table as Markdown."""
    criteria = dict.fromkeys(c for rows in found.values() for c in rows)
    lines = ["| criterion | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for c in criteria:
        cells = [
            "{:.2f} / {:.2f} ({:.1f} s)".format(*found[n][c]) if c in found[n] else ""
            for n in names
        ]
        lines.append(f"| {c} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=[], help=", ".join(CASES))
    parser.add_argument("--units", type=int, default=32, help="of each axis")
    parser.add_argument("--same", action="store_true", help="the truth from the same examples")
    parser.add_argument("--write", action="store_true", help="put the table into docs/criteria.md")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    kept = HERE / "out" / "criteria.json"
    found = json.loads(kept.read_text()) if kept.exists() and not args.same else {}
    for name in args.networks:
        found[name] = rows_of(name, args.units, args.same)
        if not args.same:
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps(found, indent=1))
    table = written(found, [name for name in CASES if name in found])
    print(table)
    if args.write:
        before, _, rest = DOC.read_text().partition("<!-- correlations -->")
        after = rest.partition("<!-- end -->")[2]
        DOC.write_text(f"{before}<!-- correlations -->\n\n{table}\n\n<!-- end -->{after}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
