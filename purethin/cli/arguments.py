"""What the command line takes: four commands, their options, and their help. Nothing is imported,
read or made here.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from textwrap import fill
from typing import Any

import purethin
from purethin.cli.given import parse_argument, parse_input, parse_model

DEFAULT_INPUT = "1,3,224,224"
BUDGETS = ("macs", "parameters", "bytes", "activation_bytes")
CRITERIA: Mapping[str, str] = {
    "lp_norm": "mean",
    "geometric_median": "mean",
    "batch_norm_scale": "raw",
    "lamp": "raw",
    "random_scores": "raw",
}
"""Those that need no data, and what makes their scores comparable across axes: norms grow with a
filter's fan-in, so each is divided by its axis's mean; the others were made to be ranked together.
"""
_MANY: dict[str, Any] = {"action": "append", "default": []}
_MODEL = """\
MODEL is an import path of what makes an nn.Module: torchvision.models:resnet50;
timm:create_model with --arg model_name=resnet18; path/to/net.py:Net. Where its
signature has weights or pretrained, they are turned off unless given.
The spec is that of eval mode, on the inputs that --input describes.
"""
_COMMANDS = {
    "show": (
        "the spec: which dimensions share an axis, which axes are exact, which dimensions are "
        "frozen and why, and the cost",
        "torchvision.models:vgg16_bn",
        "timm:create_model --arg model_name=resnet18 --arg num_classes=10",
        "net.py:Net --arg width=64 --input 1,128:long --input mask=1,128:bool",
        "torchvision.models:resnet50 --picture worth.png --graph axes.dot",
    ),
    "plan": (
        "what a recipe does to a model, epoch by epoch; nothing is trained",
        "examples/recipes/resnet20.yaml examples/resnet_cifar.py:resnet20 --input 1,3,32,32",
        "resnet50.yaml torchvision.models:resnet50 --by-axis | less -S",
    ),
    "recipe": (
        "write a commented recipe for a model",
        "torchvision.models:resnet50 -o resnet50.yaml",
        "torchvision.models:resnet50 --axes 'layer[34].*' --sparsity 0.5 --sparsity '*.conv3=0.3' "
        "--end 60",
    ),
    "thin": (
        "remove units of a trained model, all at once; check that against the masked model; save "
        "the smaller one",
        "torchvision.models:resnet50 --macs 0.5 --weights resnet50.pth --out thinned",
        "torchvision.models:resnet50 --sparsity 0.5 --keep 'layer1.*' --weights resnet50.pth "
        "--out thinned --onnx thinned.onnx --round-to onnxruntime",
        "torchvision.models:resnet50 --branches --sparsity 'layer3.[45].*=1' --weights "
        "resnet50.pth --out thinned",
        "net.py:Net --recipe net.yaml --weights net.safetensors --out thinned --input 1,3,32,32",
    ),
}


def program() -> str:
    """As it was called: the script, or the module."""
    return "purethin" if Path(sys.argv[0]).stem == "purethin" else "python -m purethin"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of one command line.

    Raises:
        SystemExit: 0 after --help and --version; 2 for anything that is not a command line of
            ours.
    """
    first = {name: [example] for name, (_, example, *_) in _COMMANDS.items()}
    parser = argparse.ArgumentParser(
        prog=program(),
        description="Prune whole filters, channels, heads and neurons of PyTorch networks.",
        epilog=f"{_MODEL}\n{_examples(first)}\n\n"
        "exit status: 0 done, 1 an error, 2 usage, 130 interrupted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_versions())
    commands = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND"
    )
    by_name = {name: _command(commands, name, *texts) for name, texts in _COMMANDS.items()}
    _add_plan(by_name["plan"])
    for command in by_name.values():
        _add_model(command)
    _add_show(by_name["show"])
    for name in ("recipe", "thin"):
        _add_amount(by_name[name].add_argument_group("how much goes"), budgets=name == "thin")
    _add_schedule(by_name["recipe"])
    _add_choice(by_name["thin"].add_argument_group("which units go"))
    _add_files(by_name["thin"].add_argument_group("files"))
    options = parser.parse_args(argv)
    if options.command == "thin":
        _check_amount(by_name["thin"], options)
    return options


def _versions() -> str:
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = "not found"
    return f"purethin {purethin.__version__}, torch {torch}, Python {platform.python_version()}"


def _check_amount(command: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    budgets = any(getattr(options, kind) is not None for kind in BUDGETS)
    chosen = options.criterion or options.together or options.round_to or options.keep
    if options.recipe and (options.sparsity or options.axes or budgets or chosen):
        command.error(
            "--recipe says which axes and how much of each: leave out --sparsity, --axes and the "
            "budgets, --criterion, --global, --round-to and --keep"
        )
    if options.sparsity and budgets:
        command.error("a budget says how much of each axis: leave out --sparsity")
    if not (options.recipe or options.sparsity or budgets):
        command.error("give --sparsity, as 0.5, a budget, as --macs 0.5, or --recipe")
    if options.together and budgets:
        command.error("a budget gives each axis its own width: leave out --global")
    if options.together and any(pattern for pattern, _ in options.sparsity):
        command.error("--global ranks all units together: give one --sparsity for all")


def _command(commands: Any, name: str, what: str, *examples: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=what,
        description=fill(f"{what[0].upper()}{what[1:]}.", 79),
        epilog=f"{_MODEL}\n{_examples({name: examples})}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _examples(lines: Mapping[str, Sequence[str]]) -> str:
    shown = [f"  {program()} {name} {line}" for name, each in lines.items() for line in each]
    return "\n".join(["examples:", *shown])


def _add_plan(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("recipe", metavar="RECIPE", help="a recipe in Distiller's YAML")
    epochs = "how many will be trained: what comes after them never fires, and is noted"
    add("--epochs", type=int, metavar="N", help=epochs)
    details = "a line for each axis at each epoch: which pruner, and why that axis"
    add("--by-axis", action="store_true", help=details)


def _add_model(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    model = "module:callable or file.py:callable"
    add("model", type=parse_model, metavar="MODEL", help=model)
    argument = "an argument of the callable, its value as YAML; repeatable"
    add("--arg", type=parse_argument, metavar="NAME=VALUE", help=argument, **_MANY)
    example = f"an example input, as 1,128:long; repeatable (default {DEFAULT_INPUT})"
    add("--input", type=parse_input, metavar="[NAME=]SHAPE[:DTYPE]", help=example, **_MANY)
    branches = "find the branches that may go whole; without it each axis keeps a unit"
    add("--branches", action="store_true", help=branches)
    add("--debug", action="store_true", help="show the traceback of an error")


def _add_show(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    picture = "draw there what one unit of each axis costs: a .png, .svg or .pdf"
    add("--picture", type=Path, metavar="FILE", help=picture)
    graph = "write there which layers read and make which axes, as DOT: `dot -Tsvg` draws it"
    add("--graph", type=Path, metavar="FILE", help=graph)
    add("--force", action="store_true", help="replace FILE")


def _add_amount(group: Any, *, budgets: bool) -> None:
    amount = "the fraction of units to remove, from every axis or from those that a pattern matches"
    amount = f"{amount}; repeatable"
    group.add_argument(
        "--sparsity", type=_amount, metavar="[PATTERN=]FRACTION", help=amount, **_MANY
    )
    for kind in BUDGETS if budgets else ():
        words = kind.replace("_", " ")
        what = f"at most this part of the dense {words}, or this number; the widths are solved"
        option = f"--{words.replace(' ', '-')}"
        group.add_argument(option, type=_budget, metavar="PART", help=what)
    axes = "these axes only, as 'layer3.*' or filters; repeatable (default: all exact ones)"
    group.add_argument("--axes", metavar="PATTERN", help=axes, **_MANY)
    if budgets:
        keep = "these axes stay whole; repeatable"
        group.add_argument("--keep", metavar="PATTERN", help=keep, **_MANY)
        recipe = "as this recipe ends, instead of all these"
        group.add_argument("--recipe", metavar="RECIPE", help=recipe)


def _add_choice(group: Any) -> None:
    add = group.add_argument
    known = ", ".join(CRITERIA)
    criterion = f"what ranks units: {known} (default lp_norm: L1); others need data, in Python"
    add("--criterion", choices=list(CRITERIA), metavar="NAME", help=criterion)
    together = "rank the units of all axes together, each score beside its axis's mean"
    add("--global", dest="together", action="store_true", help=together)
    step = "keep a multiple of N units, or what a runtime asks for, as onnxruntime"
    add("--round-to", type=_step, metavar="N|RUNTIME", help=step)


def _add_schedule(command: argparse.ArgumentParser) -> None:
    add = command.add_argument_group("when").add_argument
    initial = "removed at first (default 0)"
    add("--initial", type=_fraction, default=0.0, metavar="FRACTION", help=initial)
    add("--begin", type=int, default=0, metavar="N", help="the first epoch (default 0)")
    add("--end", type=int, default=30, metavar="N", help="the epoch after the last (default 30)")
    frequency = "epochs between steps (default 2)"
    add("--frequency", type=int, default=2, metavar="N", help=frequency)
    add = command.add_argument
    out = "write it there, not to standard output"
    add("-o", "--out", type=Path, metavar="FILE", help=out)
    add("--force", action="store_true", help="replace FILE")


def _add_files(group: Any) -> None:
    add = group.add_argument
    weights = "safetensors, or a checkpoint of torch.save, of which tensors alone are read"
    add("--weights", type=Path, required=True, metavar="FILE", help=weights)
    add("--out", type=Path, required=True, metavar="DIR", help="a folder, new or empty")
    add("--onnx", type=Path, metavar="FILE", help="export the thinned model there too, to ONNX")
    picture = "draw there what is left of each layer: a .png, .svg or .pdf"
    add("--picture", type=Path, metavar="FILE", help=picture)
    add("--force", action="store_true", help="replace files that are there")


def _budget(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not number > 0 or (number > 1 and number != int(number)):
        raise argparse.ArgumentTypeError(f"'{text}' is not a part, as 0.5, or a number above 1")
    return number


def _step(text: str) -> int | str:
    """A number of units, or a runtime's name."""
    if text.lstrip("+-").isdigit():
        if int(text) < 1:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number of units, as 8")
        return int(text)
    return text


def _amount(text: str) -> tuple[str, float]:
    """`0.5`, or `layer1.*=0.5`; the pattern of a plain number is empty."""
    pattern, _, number = text.rpartition("=")
    return pattern, _fraction(number)


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a fraction from 0 to 1, as 0.5 for half")
    return number
