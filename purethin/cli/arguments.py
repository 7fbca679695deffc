"""What the command line takes: four commands, their options, and their help. Nothing is imported,
read or made here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from purethin.cli.imported import parse_argument, parse_arguments, parse_input, parse_model

PROGRAM = "python -m purethin"
DEFAULT_INPUT = "1,3,224,224"
_MODEL = """\
MODEL is an import path of what makes an nn.Module: torchvision.models:resnet50;
timm:create_model with --arg model_name=resnet18; path/to/net.py:Net. Where its
signature has weights or pretrained, they are turned off
unless given. The spec is that of eval mode, on the inputs that --input describes.
"""
_COMMANDS = {
    "show": (
        "the spec: which dimensions share an axis, what is exact, what is frozen and why, and the "
        "cost",
        "torchvision.models:vgg16_bn",
        "timm:create_model --arg model_name=resnet18 --arg num_classes=10",
        "net.py:Net --kwargs '{\"width\": 64}' --input 1,128:long --input mask=1,128:bool",
    ),
    "plan": (
        "what a recipe does to a model, epoch by epoch; nothing is trained",
        "examples/recipes/resnet20.yaml examples/resnet_cifar.py:resnet20 --input 1,3,32,32",
        "resnet50.yaml torchvision.models:resnet50 | less -S",
    ),
    "recipe": (
        "write a commented recipe for a model that has none",
        "torchvision.models:resnet50 -o resnet50.yaml",
        "torchvision.models:resnet50 --axes 'layer[34].*' --sparsity 0.5 --sparsity '*.conv3=0.3' "
        "--end 60",
    ),
    "thin": (
        "remove units by their L1 norms, all at once; check that against the masked model; save "
        "the smaller one",
        "torchvision.models:resnet50 --sparsity 0.5 --weights resnet50.safetensors --out thinned",
        "net.py:Net --recipe net.yaml --weights net.safetensors --out thinned --input 1,3,32,32",
    ),
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of one command line.

    Raises:
        SystemExit: 0 after --help; 2 for what is no command line of ours.
    """
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Prune whole filters, channels, heads and neurons of PyTorch networks.",
        epilog=f"{_MODEL}\n{_examples({name: (line,) for name, (_, line, *_) in _COMMANDS.items()})}\n\n"
        "exit status: 0 done, 1 an error, 2 usage, 130 interrupted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND"
    )
    by_name = {name: _command(commands, name, *texts) for name, texts in _COMMANDS.items()}
    by_name["plan"].add_argument("recipe", metavar="RECIPE", help="a recipe in Distiller's YAML")
    by_name["plan"].add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="how many will be trained: what comes after them never fires, and is noted",
    )
    for command in by_name.values():
        _add_model(command)
    for name in ("recipe", "thin"):
        _add_amount(by_name[name])
    _add_schedule(by_name["recipe"])
    _add_files(by_name["thin"])
    options = parser.parse_args(argv)
    if options.command == "thin":
        if options.recipe and (options.sparsity or options.axes):
            by_name["thin"].error(
                "--recipe says which axes and how much of each: leave out --sparsity and --axes"
            )
        if not options.recipe and not options.sparsity:
            by_name["thin"].error("give --sparsity, as 0.5, or --recipe")
    return options


def _command(commands: Any, name: str, what: str, *examples: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"{_MODEL}\n{_examples({name: examples})}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _examples(lines: dict[str, Sequence[str]]) -> str:
    return "\n".join(
        [
            "examples:",
            *(f"  {PROGRAM} {name} {line}" for name, each in lines.items() for line in each),
        ]
    )


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "model",
        type=_typed(parse_model),
        metavar="MODEL",
        help="module:callable or file.py:callable",
    )
    command.add_argument(
        "--arg",
        action="append",
        default=[],
        type=_typed(parse_argument),
        metavar="NAME=VALUE",
        help="an argument of the callable, its value as YAML; repeatable",
    )
    command.add_argument(
        "--kwargs",
        default={},
        type=_typed(parse_arguments),
        metavar="JSON",
        help="arguments as a JSON object",
    )
    command.add_argument(
        "--input",
        action="append",
        type=_typed(parse_input),
        metavar="[NAME=]SHAPE[:DTYPE]",
        help=f"an example input, as 1,128:long; repeatable (default {DEFAULT_INPUT})",
    )
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_amount(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--sparsity",
        action="append",
        type=_typed(_amount),
        metavar="[PATTERN=]FRACTION",
        help=(
            "the fraction of units to remove, from every axis or from those that a pattern "
            "matches; repeatable"
        ),
    )
    command.add_argument(
        "--axes",
        action="append",
        metavar="PATTERN",
        help="these axes only, as 'layer3.*'; repeatable (default: all exact ones)",
    )


def _add_schedule(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--initial",
        type=_typed(_fraction),
        default=0.0,
        metavar="FRACTION",
        help="removed at first (default 0)",
    )
    helps = {
        "begin": (0, "the first epoch"),
        "end": (30, "the epoch after the last"),
        "frequency": (2, "epochs between steps"),
    }
    for name, (default, what) in helps.items():
        command.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{what} (default {default})"
        )
    command.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="write it there, not to standard output"
    )
    command.add_argument("--force", action="store_true", help="replace FILE")


def _add_files(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--recipe",
        metavar="RECIPE",
        help="the end state of this recipe, instead of --sparsity and --axes",
    )
    command.add_argument(
        "--weights",
        type=Path,
        required=True,
        metavar="FILE",
        help="safetensors: a state dict, or what pt.save wrote",
    )
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="a folder, new or empty"
    )
    command.add_argument("--force", action="store_true", help="replace files in DIR")


def _amount(text: str) -> tuple[str | None, float]:
    """`0.5`, or `layer1.*=0.5`."""
    pattern, equals, number = text.rpartition("=")
    return (pattern if equals else None), _fraction(number)


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ValueError(f"'{text}' is no fraction from 0 to 1, as 0.5 for half")
    return number


def _typed(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """A reader whose own complaint argparse shows."""

    def typed(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return typed
