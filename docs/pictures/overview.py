"""Draw overview.svg, the picture of README and the home page: ResNet-18 at half its MACs, and for
how many models a pruned network runs, read from docs/peer.md.

    python docs/pictures/overview.py
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import torch
import torchvision
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import purethin as pt

HERE = Path(__file__).parent
GREY, BLUE, INK = "#cfd6df", "#2b6cb0", "#1f2933"


def runs() -> dict[str, tuple[int, int, int]]:
    """By collection: models, those whose pruned network runs for the peer, and for purethin."""
    text = (HERE.parent / "peer.md").read_text(encoding="utf-8")
    counts = r"(\d+) \| \d+ \| \d+ \| (\d+) \| (\d+)"
    rows = re.findall(rf"^\| (torchvision|timm) \| {counts} \| \d\.", text, re.MULTILINE)
    rows += re.findall(rf"^\| (all) \| {counts} \|$", text, re.MULTILINE)
    return {name: (int(models), int(peer), int(ours)) for name, models, peer, ours in rows}


def widths(panel: Axes) -> None:
    """Units by axis, dense and kept, at half the MACs."""
    model, image = torchvision.models.resnet18().eval(), torch.rand(1, 3, 224, 224)
    params = pt.params_of(model)
    spec = pt.infer(model, params, image)
    scores = pt.output_taylor(model, params, spec, [image])
    masks = pt.solve(scores, spec, macs=0.5, normalize=None)
    dense, small = pt.cost(spec), pt.cost(spec, masks)
    panel.bar(list(spec.axes), list(spec.sizes.values()), color=GREY, width=0.8, label="dense")
    kept = [int(masks[name].sum()) if name in masks else n for name, n in spec.sizes.items()]
    panel.bar(list(spec.axes), kept, color=BLUE, width=0.8, label="kept")
    panel.set_xticks(range(len(kept)), list(spec.axes), rotation=55, ha="right", fontsize=7)
    panel.set_ylabel("channels", fontsize=8)
    panel.legend(frameon=False, fontsize=8, loc="upper left")
    panel.set_title(
        f"ResNet-18 at half its MACs: {dense.macs / 1e9:.2f} → {small.macs / 1e9:.2f} billion,\n"
        f"{dense.parameters / 1e6:.1f} → {small.parameters / 1e6:.1f} million parameters",
        loc="left",
        fontsize=9,
        color=INK,
    )


def models(panel: Axes) -> None:
    """Models whose pruned network runs, beside the peer's."""
    names = {"torchvision": "torchvision", "timm": "timm, one a family", "all": "16 libraries"}
    for row, (total, peer, ours) in enumerate(runs().values()):
        for at, count, color in ((row - 0.2, peer, GREY), (row + 0.2, ours, BLUE)):
            panel.barh(at, count / total, height=0.36, color=color)
            panel.text(count / total + 0.02, at, f"{count} of {total}", va="center", fontsize=8)
    panel.set_yticks(range(len(names)), list(names.values()), fontsize=8)
    panel.set_xlim(0, 1.28)
    panel.set_xticks([])
    panel.invert_yaxis()
    panel.set_title(
        "Models whose pruned network runs:\npurethin (blue), Torch-Pruning (grey)",
        loc="left",
        fontsize=9,
        color=INK,
    )


def main() -> None:
    torch.manual_seed(0)
    matplotlib.rcParams |= {"svg.hashsalt": "purethin", "font.family": "DejaVu Sans"}
    figure = Figure(figsize=(9, 3.3), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    widths(left)
    models(right)
    for panel in (left, right):
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=7 if panel is left else 8, length=0)
    right.spines["bottom"].set_visible(False)
    figure.savefig(HERE / "overview.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
