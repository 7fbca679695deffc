"""Recipes with faults: texts and trees of the tests' and examples' own recipes, changed at random.

A mutant is made from its seed alone: `mutant(seed)` is the text of a failure's number.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import yaml

TESTS = Path(__file__).parents[1]
CANARY = TESTS / "a_recipe_ran_code"
"""What a mutant would make if it ran code."""

# Every section and most of the arguments, on the small network below.
WHOLE = """\
version: 1
pruners:
  filters: {class: L1RankedStructureParameterPruner_AGP, initial_sparsity: 0.05,
    final_sparsity: 0.5, group_type: Filters, group_dependency: Leader,
    weights: [conv1.weight, conv2.weight]}
  channels:
    class: L2RankedStructureParameterPruner
    desired_sparsity: 0.5
    group_type: Channels
    group_dependency: Sum
    weights:
      - fc1.weight
  seen: {class: ActivationAPoZRankedFilterPruner, desired_sparsity: 0.3, group_type: Filters,
    weights: [conv3.weight]}
  felt: {class: GradientRankedFilterPruner_AGP, initial_sparsity: 0.1, final_sparsity: 0.3,
    weights: [conv3.weight]}
  chance: {class: RandomRankedFilterPruner, desired_sparsity: 0.3, group_type: Filters,
    weights: [module.conv3.weight]}
  single: {class: AutomatedGradualPruner, initial_sparsity: 0.05, final_sparsity: 0.8,
    weights: [fc2.weight]}
regularizers:
  lasso:
    class: GroupLassoRegularizer
    reg_regims:
      conv3.weight: [0.0005, '3D']
      fc1.weight: [0.0001, Rows]
    threshold_criteria: Mean_Abs
lr_schedulers:
  slower: {class: MultiStepLR, milestones: [2, 4], gamma: 0.5}
  rate: {class: ExponentialLR, gamma: 0.9}
extensions:
  thinner: {class: FilterRemover, thinning_func_str: remove_filters, arch: small, dataset: none}
policies:
  - pruner: {instance_name: filters, args: {mini_batch_pruning_frequency: 2}}
    starting_epoch: 0
    ending_epoch: 6
    frequency: 2
  - pruner: {instance_name: channels}
    epochs: [1]
  - pruner: {instance_name: seen}
    epochs: [0]
  - pruner: {instance_name: felt}
    starting_epoch: 2
    ending_epoch: 4
    frequency: 1
  - pruner: {instance_name: chance}
    epochs: [5]
  - pruner: {instance_name: single}
    starting_epoch: 0
    ending_epoch: 4
  - regularizer: {instance_name: lasso, args: {keep_mask: true}}
    starting_epoch: 0
    ending_epoch: 5
    frequency: 1
  - lr_scheduler: {instance_name: slower}
    starting_epoch: 0
    ending_epoch: 6
    frequency: 1
  - lr_scheduler: {instance_name: rate}
    starting_epoch: 6
    ending_epoch: 8
    frequency: 1
  - extension: {instance_name: thinner}
    epochs: [6]
"""
CORPUS = [WHOLE] * 8 + [
    path.read_text(encoding="utf-8")
    for place in (
        TESTS / "recipes",
        TESTS.parent / "examples",
        TESTS.parent / "examples" / "recipes",
    )
    for path in sorted(place.glob("*.yaml"))
]

# ---- what mutants are made of

MILD = [
    *("0", "1", "2", "0.5", "0.9", "1e-4", "3.0", "100", "true", "null", "[]", "[0]", "[1, 2]"),
    *("{}", "''", "Filters", "Channels", "Rows", "Cols", "3D", "2D", "Leader", "Auto", "Sum"),
    *("Mean", "ExponentialLR", "MultiStepLR", "StepLR", "CyclicLR", "OneCycleLR"),
    *("L1RankedStructureParameterPruner", "L2RankedStructureParameterPruner_AGP"),
    *("AutomatedGradualPruner", "RandomRankedFilterPruner"),
    *("GradientRankedStructureParameterPruner", "ActivationMeanRankedFilterPruner"),
    *("CosineAnnealingWarmRestarts", "L1Regularizer", "conv1.weight", "conv1.bias", "conv3.weight"),
    *("fc1.weight", "fc2.weight", "module.conv2.weight", "norm.weight", "norm.running_mean"),
]
"""What a recipe might well say, there or elsewhere."""
WILD = [
    *("nan", ".nan", ".inf", "-.inf", "inf", "-1", "1.5", "1e400", "-0.0", "9" * 5000),
    *("0x" + "f" * 3000, "100000", "99999999999999999999", "010", "0o17", "0b11", "1_000"),
    *("190:20:30", "2001-12-14", "2001-12-14t21:59:43.10-05:00", "2001-99-99", "~", "no", "="),
    *("<<", "*", "&a", "*a", "?", "!", "!!", "%", "@", "`", "-", ": ", "#", '""', "[[]]"),
    *("{a: {}}", "[a", "{a", "a: b: c", "- - -", "'", '"', "|", ">", "|2", "&a [*a]", "&a {a: *a}"),
    *("*missing", "LambdaLR", "FMReconstructionChannelPruner", "module.module.conv2.weight", "4D"),
    *("Blocks", "\u0660.5", "\uff11", "\u202e5", "caf\xe9", "\U0001f600", "\x00", "\ufeff", "\x85"),
    *("\u2028", "\x07", "\t", "\\x00", '"\\ud800"', "!!int x", "!!float x", "!!bool 7"),
    *("!!binary x", "!!binary aGk=", "!!timestamp 1", "!!set {a, b}", "!!omap [a: 1]", "!!null x"),
    *("!!pairs [a: 1]", "!!str 1", "!!seq {}", "!!map []", "!local 1"),
    *("!<tag:yaml.org,2002:python/none> x", "!!python/none", "!!python/name:os.system"),
    *("!!python/module:os", "!!python/tuple [1, 2]", "!!python/object/apply:time.sleep [60]"),
    *(f"!!python/object/{how}:os.mkdir ['{CANARY}']" for how in ("apply", "new")),
    f"!!python/object/apply:pathlib.Path.mkdir [!!python/object/apply:pathlib.Path ['{CANARY}']]",
]
"""What YAML, or a reader of it, might stumble over."""
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 0.0, 0.5, 1.0, -0.5, 1.5, float("nan"), float("inf")),
    *(10**400, 2**63, 1e308, 5e-324),
    *("", " ", "a", "0.5", "Filters", "conv1.weight", "module.", "null", "~", "\ud7ff"),
    *("x" * 10_000, "\n", "a\nb", "\x00"),
    *([], {}, [[]], [{}], [None], {"a": 1}, {None: None}, {1: 2}, {True: 0}, {(1, 2): 3}, b"bytes"),
    {"a", "b"},
    *(datetime.date(2001, 12, 14), datetime.datetime(2001, 12, 14, 21, 59), [1, [2, [3]]]),
    *([0, 0, 0], ["a", "a"], 100_000, 1e-9),
]


def bomb(levels: int) -> str:
    """Billion laughs: each level is ten of the one below it."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join([*lines, f"weights: *a{levels - 1}", ""])


def merges(levels: int) -> str:
    """The same by merge keys, read where a pruner's entries are."""
    lines = ["version: 1", "policies:", "  - &k0 {class: x}"]
    lines += [f"  - &k{i} {{<<: [{', '.join([f'*k{i - 1}'] * 9)}]}}" for i in range(1, levels)]
    return "\n".join([*lines, f"pruners: {{p: {{<<: *k{levels - 1}}}}}", ""])


WHOLES = [
    *("", "\n", " \n", "---\n", "...\n", "\t\n", "#\n", "\ufeff\n", "\x00\n", "\x00", "null\n"),
    *("a\n", "1\n", "[]\n", "{}\n", "- a\n", "? a\n", "a: b: c\n", "&a [*a]\n", "&a {*a : *a}\n"),
    *("%YAML 9.9\n--- a\n", "%YAML x\n---\n", "%TAG ! tag:x,2000:\n---\n!y z\n"),
    *("---\na: 1\n---\nb: 2\n", "policies: []\n", "policies: &a [*a]\n"),
    *("version: 1\npolicies: &a\n  - pruner: *a\n", "a" * 5000, "/", ".", "[" * 5000 + "\n"),
    *("{a: " * 3000 + "\n", "- " * 3000 + "\n", "[" * 900 + "]" * 900 + "\n"),
    "".join(" " * i + "a:\n" for i in range(900)),
    *("version: 1\npolicies: " + "[" * 300 + "]" * 300 + "\n", "? " * 2000 + "\n"),
    *("'" + "a" * 50_000 + "\n", "a: " + "b " * 50_000 + "\n", bomb(9)),
    *("policies: [&a [x, x], *a, *a]\n" + bomb(9), merges(12)),
    *("pruners: &p {<<: *p}\npolicies: []\n", "&p\n<<: *p\npolicies: []\n"),
    *("version: 1\nversion: 1\npolicies: []\n", "1: 2\npolicies: []\n"),
    *("policies: []\n" + "[" * 100_000 + "\n", "policies: []\n" + "{a: " * 100_000 + "\n"),
]
"""Whole texts."""


def of_lines(text: str, random: Random) -> str:
    """One line deleted, doubled, moved, indented, emptied or cut."""
    lines = text.split("\n")
    i, j = random.randrange(len(lines)), random.randrange(len(lines))
    kind = random.randrange(8)
    if kind == 0:
        del lines[i : i + random.choice([1, 1, 1, 2, 5])]
    elif kind == 1:
        lines.insert(j, lines[i])
    elif kind == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif kind == 3:
        lines[i] = random.choice([" ", "  ", "\t", "- ", "? ", "# ", "&x ", "!!map "]) + lines[i]
    elif kind == 4:
        lines[i] = lines[i].removeprefix(random.choice([" ", "  ", "    ", "- "]))
    elif kind == 5:
        lines[i] = lines[i].partition(":")[0]
    elif kind == 6:
        lines = lines[:i]
    else:
        lines[i : j + 1] = lines[i : j + 1][::-1]
    return "\n".join(lines)


def of_characters(text: str, random: Random) -> str:
    """A few characters deleted, replaced or put in."""
    for _ in range(random.choice([1, 1, 2, 5])):
        i = random.randrange(len(text) + 1)
        put = random.choice(
            [
                "",
                "",
                *":-#[]{},&*!|>'\"%@`\t\n\r \x00\ufeff\u00a0\u2028\u0085\ud800",
                *"0aA.",
                random.choice(WILD),
            ]
        )
        text = text[:i] + put + text[i + random.choice([0, 1, 1, 3]) :]
    return text


def of_scalars(text: str, random: Random) -> str:
    """A word or number, a name or a value, changed for another."""
    found = [*re.finditer(r"[\w.]+", text)]
    for at in sorted(
        random.sample(found, min(len(found), random.choice([1, 1, 2]))), key=lambda m: -m.start()
    ):
        text = (
            text[: at.start()]
            + random.choice(random.choice([MILD, MILD, WILD, [m.group() for m in found]]))
            + text[at.end() :]
        )
    return text


def of_likely_values(text: str, random: Random) -> str:
    """Numbers changed for other numbers, a weight for another weight: most of it loads, and asks
    for something else.
    """
    weights = re.findall(r"[\w.]+\.weight", text)

    def other(found: re.Match[str]) -> str:
        if random.random() < 0.94:
            return found.group()
        if not found.group()[0].isdigit():
            return random.choice(weights)
        return str(
            random.choice(
                [round(random.random(), 2), 0.0, 1.0] if "." in found.group() else [1, 2, 3, 5, 9]
            )
        )

    return re.sub(r"[\w.]+\.weight|(?<=[ \[])\d[\d.]*(?=[,\]\n}])", other, text)


def of_nodes(text: str, random: Random) -> str:
    """A node of the tree deleted, doubled, renamed, moved elsewhere, or changed for any other;
    aliases where two share it.
    """
    try:
        root = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except Exception:  # an earlier mutation's affair
        return text
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        places = [*holders(root)]
        if not places:
            break
        holder, key = random.choice(places)
        other, another = random.choice(places)
        kind = random.randrange(7)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(random.randrange(len(holder) + 1), holder[key])
        elif kind == 2 and isinstance(holder, dict):
            new = random.choice(
                [
                    another if isinstance(other, dict) else "x",
                    1,
                    None,
                    "weights",
                    "class",
                    "epochs",
                    str(key) + "s",
                ]
            )
            holder[new] = holder.pop(key)
        elif kind == 3:
            holder[key] = other[another]  # perhaps itself, or what holds it
        elif kind == 4:
            holder[key] = random.choice(
                [[holder[key]], {"a": holder[key]}, [holder[key]] * 3, str(holder[key]), root]
            )
        else:
            holder[key] = random.choice(VALUES)
    try:
        return yaml.dump(
            root,
            default_flow_style=random.choice([None, False, True]),
            sort_keys=False,
            allow_unicode=random.random() < 0.5,
        )
    except (RecursionError, TypeError, ValueError):
        return text


def holders(node: Any, seen: set[int] | None = None) -> Iterator[tuple[Any, Any]]:
    """`(container, key)` of every node below this one, each container once."""
    seen = set() if seen is None else seen
    if isinstance(node, dict | list) and id(node) not in seen:
        seen.add(id(node))
        for key, child in [*(node.items() if isinstance(node, dict) else enumerate(node))]:
            yield node, key
            yield from holders(child, seen)


def of_two(text: str, random: Random) -> str:
    """The beginning of one recipe and the end of another."""
    other = random.choice(CORPUS)
    return text[: random.randrange(len(text) + 1)] + other[random.randrange(len(other)) :]


def of_wholes(text: str, random: Random) -> str:
    """Something else altogether, alone or at an end of a recipe."""
    whole = random.choice(WHOLES)
    return random.choice([whole, whole + text, text + "\n" + whole])


MUTATIONS: list[Callable[[str, Random], str]] = [
    of_lines,
    of_characters,
    *[of_scalars] * 4,
    *[of_nodes] * 2,
    *[of_likely_values] * 5,
    of_two,
]


def mutant(seed: int) -> str:
    """A recipe with one to three mutations."""
    random = Random(seed)
    text = random.choice(CORPUS)
    if random.random() < 0.04:
        return of_wholes(text, random)
    for _ in range(random.choice([1, 1, 1, 1, 2, 3])):
        text = random.choice(MUTATIONS)(text, random)
    return text
