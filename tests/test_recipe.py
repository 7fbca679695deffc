"""Recipes: what Distiller's YAML means here, and for each mistake one error with its line and column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import purethin as pt
from purethin.recipe import build_schedulers, groups_of


class Small(nn.Module):
    """A residual sum, a depthwise convolution, a concatenation, a transposed convolution, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.conv3 = nn.Conv2d(16, 6, 1)
        self.depthwise = nn.Conv2d(22, 22, 3, padding=1, groups=22)
        self.up = nn.ConvTranspose2d(22, 10, 2, stride=2)
        self.fc1, self.fc2 = nn.Linear(10, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = (x + self.conv2(x)).relu()
        x = self.depthwise(torch.cat([x, self.conv3(x).relu()], 1)).relu()
        return self.fc2(self.fc1(self.up(x).relu().sum((2, 3))).relu())


torch.manual_seed(0)
MODEL = Small()
PARAMS = pt.params_of(MODEL)
SPEC = pt.infer(MODEL, PARAMS, torch.zeros(1, 3, 4, 4))

BASE = """\
version: 1
pruners:
  low:
    class: L1RankedStructureParameterPruner
    group_type: Filters
    desired_sparsity: 0.5
    weights: [module.conv3.weight]
extensions:
  thinner:
    class: FilterRemover
    thinning_func_str: remove_filters
    arch: small
    dataset: cifar10
lr_schedulers:
  decay:
    class: ExponentialLR
    gamma: 0.95
policies:
  - pruner:
      instance_name: low
    epochs: [0]
  - lr_scheduler:
      instance_name: decay
    starting_epoch: 0
    ending_epoch: 9
    frequency: 1
  - extension:
      instance_name: thinner
    epochs: [2]
"""
AGP = [
    ("Pruner\n    group_type", "Pruner_AGP\n    group_type"),
    ("desired_sparsity: 0.5", "initial_sparsity: 0.1\n    final_sparsity: 0.5"),
    ("epochs: [0]", "starting_epoch: 1\n    ending_epoch: 8\n    frequency: 3"),
]


def edited(*edits: tuple[str, str]) -> str:
    """BASE with each `(old, new)` put in."""
    text = BASE
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    return text


def pruning(weights: str, group_type: str = "Filters", **more: object) -> str:
    """BASE with other weights and arguments of its pruner."""
    lines = "".join(f"    {key}: {value}\n" for key, value in more.items() if key != "desired_sparsity")
    return edited(
        ("    weights: [module.conv3.weight]\n", f"    weights: {weights}\n{lines}"),
        ("group_type: Filters", f"group_type: {group_type}"),
        ("desired_sparsity: 0.5", f"desired_sparsity: {more.get('desired_sparsity', 0.5)}"),
    )


def kept(masks: Mapping[str, Tensor]) -> dict[str, int]:
    return {axis: int(m.sum()) for axis, m in masks.items()}


def planned(text: str) -> pt.Plan:
    return pt.plan(pt.load_recipe(text), PARAMS, SPEC)


# ---- mistakes; § marks the place that the error must name

LOW, POLICY = "  low:\n", "  - pruner:\n      instance_name: low\n    epochs: [0]"
READING: list[tuple[str, str, str, list[str]]] = [
    # what Distiller takes in silence
    ("a sparsity in percent", "sparsity: 0.5", "sparsity: §50", ["desired_sparsity is 50", "from 0 to 1", "0.5 for half"]),
    ("a negative sparsity", "sparsity: 0.5", "sparsity: §-0.1", ["desired_sparsity is -0.1"]),
    ("an unknown class", "class: L1RankedStructureParameterPruner", "class: §L1RankedStructureParameterPrune",
     ["'L1RankedStructureParameterPrune'", "did you mean 'L1RankedStructureParameterPruner'?"]),
    ("an unknown argument", "    group_type", "    §reg_type: x\n    group_type",
     ["has no argument 'reg_type'", "group_type", "Known"]),
    ("epochs and a range", "epochs: [0]", "epochs: [0]\n    §starting_epoch: 0",
     ["`epochs` or a range, not both", "starting_epoch"]),
    ("a policy without its instance", "instance_name: low", "instance_name: §lov",
     ["no pruner is named 'lov'", "did you mean 'low'?"]),
    ("a policy of another kind's instance", "instance_name: low", "instance_name: §decay", ["no pruner is named 'decay'"]),
    ("an instance twice", LOW, "  low: {}\n  §low:\n", ["'low' stands twice in pruners", "line 3"]),
    ("a key twice", "    group_type", "    group_type: Channels\n    §group_type",
     ["'group_type' stands twice in pruner 'low'", "line 5"]),
    ("a weight twice", "[module.conv3.weight]", "[module.conv3.weight, §conv3.weight]", ["'conv3.weight' is listed twice"]),
    # not YAML, not plain
    ("broken YAML", "[module.conv3.weight]\nextensions:", "[module.conv3.weight\nextensions§:", ["not YAML"]),
    ("an object", "sparsity: 0.5", "sparsity: §!!python/name:os.getcwd", ["python/name:os.getcwd", "would make an object"]),
    ("an object as a list", "weights: [", "weights: §!!python/tuple [", ["python/tuple", "plain values only"]),
    ("an object as a mapping", "  - pruner:\n", "  - pruner: §!!python/object:os.X\n", ["python/object:os.X"]),
    ("a tag of one's own", "sparsity: 0.5", "sparsity: §!half x", ["the tag !half"]),
    ("no number under a number's tag", "sparsity: 0.5", "sparsity: §!!float half", ["'half' is no plain value"]),
    # sections
    ("an unknown section", "extensions:", "§extension:", ["no section is named 'extension'", "did you mean 'extensions'?"]),
    ("regularizers", "extensions:", "§regularizers:\n  r: {class: L1}\nextensions:",
     ["regularizers are not supported yet", "remove"]),
    ("quantizers", "extensions:", "§quantizers:\n  q: {class: Q}\nextensions:", ["does not quantize"]),
    ("another version", "version: 1", "version: §2", ["version 2 is not known", "`version: 1`"]),
    ("a section that is a list", BASE[BASE.index("pruners:") : BASE.index("extensions:")], "pruners: §[1]\n",
     ["pruners is a mapping", "not a list"]),
    ("a name that is a list", LOW, "  §[a, b]: {}\n  low:\n", ["a name in pruners is one word, not a list"]),
    ("no policies", BASE[BASE.index("policies:") :], "", ["no policies", "write `policies:`"]),
    # pruners
    ("a pruner that is a word", "  low:\n    class", "  other: §word\n  low:\n    class",
     ["pruner 'other' is a mapping", "not 'word'"]),
    ("a pruner without class", LOW, "  §high: {group_type: Filters}\n  low:\n", ["'high' lacks its class", "`class:`"]),
    ("a pruner without weights", "    weights: [module.conv3.weight]\n", "", ["pruner 'low' lacks 'weights'", "`weights: […]`"]),
    ("a pruner without sparsity", "    desired_sparsity: 0.5\n", "",
     ["'low' lacks 'desired_sparsity'", "`desired_sparsity: 0.5`"]),
    ("a pruner without group_type", "    group_type: Filters\n", "", ["'low' lacks 'group_type'", "`group_type: Filters`"]),
    ("weights that are a word", "[module.conv3.weight]", "§conv3.weight", ["weights is a list, not 'conv3.weight'", "[a, b]"]),
    ("no weights", "[module.conv3.weight]", "§[]", ["'low' lists no weights"]),
    ("a weight that is a mapping", "[module.conv3.weight]", "[§{a: b}]", ["a number or a word is expected, not a mapping"]),
    ("a sparsity that is a word", "sparsity: 0.5", "sparsity: §half", ["desired_sparsity is half"]),
    ("a sparsity that is a truth value", "sparsity: 0.5", "sparsity: §true", ["desired_sparsity is True"]),
    ("a sparsity that is nan", "sparsity: 0.5", "sparsity: §.nan", ["desired_sparsity is nan"]),
    ("an unknown group_type", "group_type: Filters", "group_type: §Filter",
     ["no group_type is named 'Filter'", "did you mean 'Filters'?"]),
    ("kernels", "group_type: Filters", "group_type: §2D", ["group_type 2D removes kernels", "use Filters or Channels"]),
    ("blocks", "group_type: Filters", "group_type: §Blocks", ["blocks", "use Filters or Channels"]),
    ("an unknown dependency", "    weights", "    group_dependency: §Follower\n    weights",
     ["no group_dependency is named 'Follower'", "Leader, Auto"]),
    ("a magnitude pruner", "L1RankedStructureParameterPruner", "§MagnitudeParameterPruner",
     ["is not supported: it zeroes single weights"]),
    ("a gradient pruner", "L1RankedStructureParameterPruner", "§GradientRankedFilterPruner", ["is not supported", "L1Ranked"]),
    ("an AGP form of an unsupported one", "L1RankedStructureParameterPruner", "§BernoulliFilterPruner_AGP",
     ["BernoulliFilterPruner_AGP is not supported"]),
    # extensions and schedulers
    ("an unknown extension", "class: FilterRemover", "class: §KnowledgeDistillationPolicy",
     ["no class is named", "FilterRemover"]),
    ("an extension's unknown argument", "    arch: small", "    §archs: small", ["no argument 'archs'", "did you mean 'arch'?"]),
    ("an unknown scheduler", "ExponentialLR", "§ExponentLR", ["no class is named 'ExponentLR'", "did you mean 'ExponentialLR'?"]),
    ("a scheduler of Distiller's own", "ExponentialLR", "§MultiStepMultiGammaLR", ["is not supported", "MultiStepLR"]),
    ("a scheduler that needs a metric", "ExponentialLR", "§ReduceLROnPlateau", ["is not supported", "metric"]),
    ("a scheduler's unknown argument", "    gamma: 0.95", "    gamma: 0.95\n    §gama: 0.9",
     ["no argument 'gama'", "did you mean 'gamma'?"]),
    ("a scheduler that lacks an argument", "    gamma: 0.95\n", "", ["ExponentialLR needs 'gamma'"]),
    ("arguments that torch refuses", "class: ExponentialLR\n    gamma: 0.95", "class: §CosineAnnealingWarmRestarts\n    T_0: 0",
     ["torch refuses", "T_0"]),
    # policies
    ("policies that are no list", BASE[BASE.index("policies:") :], "policies: §none", ["policies is a list, not 'none'"]),
    ("a policy that is a word", POLICY, "  - §low", ["a policy is a mapping", "not 'low'"]),
    ("a policy's unknown key", "    epochs: [0]", "    §epoch: [0]", ["a policy has no 'epoch'", "did you mean 'epochs'?"]),
    ("a policy of nothing", POLICY, "  - §epochs: [0]", ["exactly one of pruner, extension, lr_scheduler", "none"]),
    ("a policy of two", "    epochs: [0]", "    extension:\n      instance_name: thinner\n    epochs: [0]",
     ["exactly one of", "this has pruner, extension"]),
    ("a policy without instance_name", "      instance_name: low\n", "      §{}\n", ["`instance_name:`", "low"]),
    ("a policy's argument", "instance_name: low\n", "instance_name: low\n      args: {§mini_batch_pruning_frequency: 4}\n",
     ["'mini_batch_pruning_frequency' of a policy is not supported", "remove it"]),
    ("a policy's other key", "instance_name: low\n", "instance_name: low\n      §name: low\n",
     ["'name' of a policy's pruner", "only instance_name is"]),
    ("a regularizer's policy", POLICY, "  - §regularizer: {instance_name: low}\n    epochs: [0]",
     ["a policy of a regularizer", "not supported"]),
    ("epochs that are a number", "epochs: [0]", "epochs: §0", ["epochs is a list, not '0'"]),
    ("no epochs", "epochs: [0]", "epochs: §[]", ["`epochs` is empty", "never act"]),
    ("a negative epoch", "epochs: [0]", "epochs: [3, §-1]", ["an epoch is -1", "from 0"]),
    ("half an epoch", "epochs: [0]", "epochs: [§0.5]", ["an epoch is 0.5", "whole number"]),
    ("no time at all", POLICY, "  - §pruner:\n      instance_name: low", ["lacks 'starting_epoch'", "epochs: […]"]),
    ("a range without end", "    ending_epoch: 9\n", "", ["lacks 'ending_epoch'"]),
    ("a range that ends at its start", "ending_epoch: 9", "ending_epoch: §0",
     ["ending_epoch 0 (exclusive) is not after starting_epoch 0"]),
    ("a frequency of 0", "frequency: 1", "frequency: §0", ["frequency is 0", "from 1"]),
]  # fmt: skip
# where the mistake is that something is missing, the error names the entry that lacks it
MISSING = {
    "a pruner without weights": LOW,
    "a pruner without sparsity": LOW,
    "a pruner without group_type": LOW,
    "a scheduler that lacks an argument": "  decay:",
    "no policies": "version",
    "a range without end": "  - lr_scheduler",
    "a policy of two": "  - pruner",
}


@pytest.mark.parametrize(("name", "old", "new", "words"), READING, ids=[c[0] for c in READING])
def test_a_mistake_in_a_recipe_is_one_error_with_line_column_and_remedy(name: str, old: str, new: str, words: list[str]) -> None:
    text = BASE.replace(old, new, 1)
    if name in MISSING:
        entry = MISSING[name]
        text = text.replace(entry, re.sub(r"\w", lambda m: f"§{m[0]}", entry, count=1), 1)
    assert text.count("§") == 1
    before = text[: text.index("§")]
    with pytest.raises(pt.RecipeError) as caught:
        pt.load_recipe(text.replace("§", ""))
    said = str(caught.value)
    assert said.startswith(f"recipe:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}: "), said
    for word in words:
        assert word in said, said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n", ["recipe: empty", "pruners"]),
        ("# nothing\n", ["recipe: empty"]),
        ("- a\n- b", ["recipe:1:1", "the recipe is a mapping", "a list"]),
        ("policies: &a\n  [*a]", ["recipe:1:11", "a policy is a mapping"]),
        ("policies: []\nlr_schedulers:\n  s: {class: StepLR, step_size: &a [*a]}", ["recipe:3:33", "not a list"]),
        ("a: " + "[" * 1000 + "\n", ["nested too deeply"]),
        ("a: 1\n--- \nb: 2", ["recipe:2:1", "not YAML"]),
    ],
)
def test_what_is_no_recipe_at_all_is_said_to_be_none(text: str, words: list[str]) -> None:
    with pytest.raises(pt.RecipeError) as caught:
        pt.load_recipe(text)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("key", ["initial_sparsity", "final_sparsity", "desired_sparsity"])
def test_the_argument_of_the_other_form_is_refused_with_the_form_to_use(key: str) -> None:
    text, other = (edited(*AGP), "Pruner;") if key == "desired_sparsity" else (BASE, "Pruner_AGP;")
    with pytest.raises(pt.RecipeError, match=f"has no argument '{key}'; that is of L1RankedStructureParameter{other}"):
        pt.load_recipe(text.replace("    weights", f"    {key}: 0.5\n    weights"))


def test_an_agp_pruner_that_would_give_back_is_refused() -> None:
    with pytest.raises(pt.RecipeError, match=r"recipe:7:21: final_sparsity 0.5 is below initial_sparsity 0.6: what is removed"):
        pt.load_recipe(edited(*AGP).replace("initial_sparsity: 0.1", "initial_sparsity: 0.6"))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"version: 1 # \xff")
    with pytest.raises(pt.RecipeError, match=r"a\.yaml: is not text in UTF-8: .* at byte 13"):
        pt.load_recipe(tmp_path / "a.yaml")


def test_an_agp_pruner_by_epochs_is_refused_with_the_range_to_write() -> None:
    with pytest.raises(pt.RecipeError, match=r"recipe:22:5: an _AGP pruner needs a range: write starting_epoch"):
        pt.load_recipe(edited(*AGP[:2]))


def test_a_file_is_named_in_its_errors(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(edited(("version: 1", "version: 7")))
    with pytest.raises(pt.RecipeError, match=r"mine\.yaml:1:10: version 7"):
        pt.load_recipe(file)


# ---- mistakes that only the network shows

FITTING: list[tuple[str, str, str, dict[str, str], list[str]]] = [
    ("a weight that matches nothing", "[conv3.weight, §module.conv33.weight]", "Filters", {},
     ["no parameter is named 'module.conv33.weight'", "did you mean 'conv3.weight'?"]),
    ("a module in place of its weight", "[§module.conv3]", "Filters", {},
     ["no parameter is named 'module.conv3'", "conv3.weight"]),
    ("a bias", "[§conv3.bias]", "Filters", {}, ["conv3.bias has 1 dimensions and no Filters", "convolution or linear weight"]),
    ("the network's output", "[§fc2.weight]", "Rows", {}, ["fc2.weight cannot be pruned by Rows", "dim 0 is frozen", "output"]),
    ("the network's input", "[§conv1.weight]", "Channels", {},
     ["conv1.weight cannot be pruned by Channels", "dim 1 is frozen", "input"]),
    ("a depthwise convolution's channels", "[§depthwise.weight]", "Channels", {}, ["dim 1 is frozen", "remove it from the list"]),
    ("rows of a convolution", "[§conv3.weight]", "Rows", {}, ["4 dimensions", "Rows are of matrices", "`group_type: Filters`"]),
    ("columns of a convolution", "[§conv3.weight]", "Cols", {}, ["Cols are of matrices", "`group_type: Channels`"]),
    ("a residual group without Leader", "[conv3.weight, conv1.weight, §conv2.weight]", "Filters", {},
     ["pruner 'low' lists 2 weights", "the axis 'conv1' (16 units)", "conv1.weight, conv2.weight", "add at test_recipe.py",
      "group_dependency: Leader", "group_dependency: Auto", "in the pruner at recipe:3:3"]),
    ("two readers of one tensor without Leader", "[conv2.weight, §conv3.weight]", "Channels", {},
     ["2 weights that share the axis 'conv1'", "conv2.weight, conv3.weight", "group_dependency: Leader"]),
    ("a Leader of another size", "[conv1.weight, §conv3.weight]", "Filters", {"group_dependency": "Leader"},
     ["conv3.weight has 6 units ('conv3')", "the Leader conv1.weight ranks 16 ('conv1')", "`group_dependency: Auto`"]),
    ("a Leader of several axes", "[depthwise.weight, §up.weight]", "Filters", {"group_dependency": "Leader"},
     ["the axis 'up', which the Leader depthwise.weight lacks", "(conv1, conv3)", "`group_dependency: Auto`"]),
]  # fmt: skip


@pytest.mark.parametrize(("weights", "group_type", "more", "words"), [c[1:] for c in FITTING], ids=[c[0] for c in FITTING])
def test_a_recipe_that_does_not_fit_the_network_is_refused_at_the_weights_place(
    weights: str, group_type: str, more: dict[str, str], words: list[str]
) -> None:
    before = (text := pruning(weights, group_type, **more))[: text.index("§")]
    with pytest.raises(pt.RecipeError) as caught:
        planned(text.replace("§", ""))
    said = str(caught.value)
    assert said.startswith(f"recipe:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}: "), said
    for word in words:
        assert word in said, said


MORE = """\
  more:
    class: L1RankedStructureParameterPruner
    group_type: Channels
    desired_sparsity: {}
    weights: [conv3.weight]
extensions:"""


def twice(sparsity: float, epoch: int) -> str:
    """Half of conv1's filters at epoch 0, and by another pruner, the channels of conv3, which are the same axis."""
    return edited(
        ("[module.conv3.weight]", "[conv1.weight]"),
        ("extensions:", MORE.format(sparsity)),
        ("policies:\n", f"policies:\n  - pruner:\n      instance_name: more\n    epochs: [{epoch}]\n"),
    )


def test_two_pruners_of_one_axis_in_one_epoch_are_refused() -> None:
    with pytest.raises(pt.RecipeError) as caught:
        planned(twice(0.5, epoch=0))
    for word in ("recipe:3:3: ", "'more' (by conv3.weight) and 'low' (by conv1.weight)", "the axis 'conv1' (16 units)",
                 "add at test_recipe.py", "`group_dependency: Auto`", "different epochs"):  # fmt: skip
        assert word in str(caught.value), str(caught.value)


def test_a_product_of_axes_is_refused_with_the_way_to_name_one() -> None:
    params = {"qkv.weight": torch.ones(12, 5), "q.weight": torch.ones(3, 7), "k.weight": torch.ones(4, 7)}
    spec = pt.Spec.from_layout({"qkv.weight": "(heads dim) 5", "q.weight": "heads 7", "k.weight": "dim 7"}, params)
    with pytest.raises(
        pt.RecipeError, match=r"recipe:7:15: .*'\(heads dim\)', a product.*pt\.select\(scores, \{'heads': 0\.5, 'dim'"
    ):
        pt.plan(pt.load_recipe(pruning("[qkv.weight]", "Rows")), params, spec)


def test_a_weight_that_holds_nan_ranks_nothing() -> None:
    params = PARAMS | {"conv3.weight": PARAMS["conv3.weight"] * float("nan")}
    with pytest.raises(pt.MaskError, match=r"6 units of 'conv3'.*nan in conv3\.weight"):
        pt.plan(pt.load_recipe(BASE), params, SPEC)


# ---- what a recipe means


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_weights_are_named_with_or_without_module(prefix: str, wrapped: bool) -> None:
    """Of a plain model, and of one that `DataParallel` wraps."""
    model = nn.Sequential()
    model.add_module("module", MODEL)
    params = pt.params_of(model) if wrapped else PARAMS
    spec = pt.infer(model, params, torch.zeros(1, 3, 4, 4)) if wrapped else SPEC
    plan = pt.plan(pt.load_recipe(pruning(f"[{prefix}conv3.weight]")), params, spec)
    assert kept(plan.masks) == {"module.conv3" if wrapped else "conv3": 3}


MEANINGS: list[tuple[str, str, str, str, dict[str, int]]] = [
    ("filters of a convolution", "[conv3.weight]", "Filters", "", {"conv3": 3}),
    ("3D is Distiller's older name of filters", "[conv3.weight]", "3D", "", {"conv3": 3}),
    ("filters of a transposed convolution are its dim 1", "[up.weight]", "Filters", "", {"up": 5}),
    ("channels of a transposed convolution are its dim 0", "[up.weight]", "Channels", "", {"conv1": 8, "conv3": 3}),
    ("channels are the filters of what is read", "[conv3.weight]", "Channels", "", {"conv1": 8}),
    ("channels of a linear layer", "[fc1.weight]", "Channels", "", {"up": 5}),
    ("rows of a matrix", "[fc1.weight]", "Rows", "", {"fc1": 6}),
    ("columns of a matrix", "[fc2.weight]", "Cols", "", {"fc1": 6}),
    ("filters of a depthwise convolution over a concatenation", "[depthwise.weight]", "Filters", "", {"conv1": 8, "conv3": 3}),
    ("several weights that share nothing", "[conv3.weight, up.weight]", "Filters", "", {"conv3": 3, "up": 5}),
    ("a Leader", "[conv2.weight, conv1.weight]", "Filters", "Leader", {"conv1": 8}),
    ("groups found by Auto", "[conv1.weight, conv3.weight, conv2.weight, up.weight]", "Filters", "Auto",
     {"conv1": 8, "conv3": 3, "up": 5}),
    ("readers grouped by Auto", "[conv2.weight, conv3.weight, fc1.weight]", "Channels", "Auto", {"conv1": 8, "up": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("weights", "group_type", "dependency", "left"), [c[1:] for c in MEANINGS], ids=[c[0] for c in MEANINGS])
def test_a_weight_and_a_group_type_pick_the_axes(weights: str, group_type: str, dependency: str, left: dict[str, int]) -> None:
    more = {"group_dependency": dependency} if dependency else {}
    assert kept(planned(pruning(weights, group_type, **more)).masks) == left


@pytest.mark.parametrize(
    ("weights", "group_type", "dependency", "leader", "others"),
    [
        ("[conv1.weight, conv2.weight]", "Filters", "Leader", "conv1.weight", (1, 2, 3)),
        ("[conv2.weight, conv1.weight]", "Filters", "Leader", "conv2.weight", (1, 2, 3)),
        ("[conv2.weight, conv1.weight]", "Filters", "Auto", "conv2.weight", (1, 2, 3)),
        ("[conv3.weight, conv2.weight]", "Channels", "Leader", "conv3.weight", (0, 2, 3)),
    ],
)
@pytest.mark.parametrize("power", [1, 2])
def test_the_first_listed_weight_ranks_its_group(
    weights: str, group_type: str, dependency: str, leader: str, others: tuple[int, ...], power: int
) -> None:
    text = pruning(weights, group_type, group_dependency=dependency).replace("L1Ranked", f"L{power}Ranked")
    masks = planned(text).masks
    lowest = (PARAMS[leader].abs() ** power).sum(others).argsort()[:8]
    assert set((~masks["conv1"]).nonzero()[:, 0].tolist()) == set(lowest.tolist())


def test_l1_and_l2_rank_differently() -> None:
    weight = torch.ones(6, 16, 1, 1)
    weight[:3] = 0
    weight[:3, :2] = 6.0  # Σ|w| is 12 against 16, Σw² is 72 against 16
    params = PARAMS | {"conv3.weight": weight}
    kept_by = [
        pt.plan(pt.load_recipe(BASE.replace("L1Ranked", ranked)), params, SPEC).masks["conv3"].tolist()
        for ranked in ("L1Ranked", "L2Ranked")
    ]
    assert kept_by == [[False] * 3 + [True] * 3, [True] * 3 + [False] * 3]


def test_one_leader_ranks_several_axes_of_one_size_alike() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.zeros(1, 3))
    first, second = spec.axes
    masks = pt.plan(pt.load_recipe(pruning("[2.weight, 0.weight]", "Rows", group_dependency="Leader")), params, spec).masks
    assert torch.equal(masks[first], masks[second])
    assert set((~masks[first]).nonzero()[:, 0].tolist()) == set(params["2.weight"].abs().sum(1).argsort()[:4].tolist())


# ---- by epoch


def test_half_and_half_again_of_16_leaves_8() -> None:
    once = kept(planned(pruning("[conv3.weight, fc2.weight, conv2.weight]", "Channels", group_dependency="Auto")).masks)
    again = edited(
        ("[module.conv3.weight]", "[conv1.weight]"),
        ("Filters", "Filters\n    group_dependency: Leader"),
        ("epochs: [0]", "epochs: [0, 1, 5]"),
    )
    assert once["conv1"] == 8
    assert kept(planned(again).masks) == {"conv1": 8}


def test_what_is_removed_stays_removed_whatever_the_weights_become() -> None:
    recipe = pt.load_recipe(edited(*AGP))
    first = recipe.masks_at(4, PARAMS, SPEC, {})
    flipped = PARAMS | {"conv3.weight": 1 / PARAMS["conv3.weight"]}
    second = recipe.masks_at(7, flipped, SPEC, first)
    assert 0 < int((~first["conv3"]).sum()) < int((~second["conv3"]).sum())
    assert not (second["conv3"] & ~first["conv3"]).any()


@pytest.mark.parametrize(("sparsity", "left"), [(0.25, 8), (0.5, 8), (0.75, 4)])
def test_another_pruner_of_the_axis_adds_to_what_is_removed_and_never_gives_back(sparsity: float, left: int) -> None:
    recipe = pt.load_recipe(twice(sparsity, epoch=3))
    first = recipe.masks_at(0, PARAMS, SPEC, {})
    both = recipe.masks_at(3, PARAMS, SPEC, first)
    assert (kept(first), kept(both)) == ({"conv1": 8}, {"conv1": left})
    assert not (both["conv1"] & ~first["conv1"]).any()


@pytest.mark.parametrize(("sparsity", "left"), [(0, 6), (0.0, 6), (0.16, 6), (0.17, 5), (1, 1), (1.0, 1)])
def test_of_6_filters_the_floor_goes_and_never_the_last(sparsity: float, left: int) -> None:
    assert kept(planned(pruning("[conv3.weight]", desired_sparsity=sparsity)).masks) == {"conv3": left}


def test_29_percent_of_100_units_are_29() -> None:
    params = {"w": torch.rand(100, 3)}
    spec = pt.Spec.from_layout({"w": "units 3"}, params)
    assert kept(pt.plan(pt.load_recipe(pruning("[w]", "Rows", desired_sparsity=0.29)), params, spec).masks) == {"units": 71}


def test_among_equal_filters_the_first_go_and_no_more_than_asked() -> None:
    params = PARAMS | {"conv3.weight": torch.ones_like(PARAMS["conv3.weight"])}
    assert pt.plan(pt.load_recipe(BASE), params, SPEC).masks["conv3"].tolist() == [False] * 3 + [True] * 3


def test_an_agp_pruner_follows_the_formula_on_its_own_epochs() -> None:
    recipe = pt.load_recipe(edited(*AGP, ("[module.conv3.weight]", "[fc1.weight]"), ("Filters", "Rows")))
    rows = pt.plan(recipe, PARAMS, SPEC).rows
    assert [r.epoch for r in rows] == [1, 4, 7]
    want = [int(12 * pt.agp(r.epoch, initial=0.1, final=0.5, begin=1, end=8, frequency=3)) for r in rows]
    assert [r.removed for r in rows] == want == [1, 5, 6]


@pytest.mark.parametrize("edits", [[], AGP], ids=["one shot", "AGP"])
def test_the_plans_masks_are_those_of_the_epochs_one_by_one(edits: list[tuple[str, str]]) -> None:
    recipe = pt.load_recipe(edited(*edits))
    masks: dict[str, Tensor] = {}
    for epoch in range(recipe.last_epoch + 1):
        masks = recipe.masks_at(epoch, pt.mask(PARAMS, SPEC, masks), SPEC, masks)
    plan = pt.plan(recipe, PARAMS, SPEC)
    assert plan.masks.keys() == masks.keys() == {"conv3"}
    assert torch.equal(plan.masks["conv3"], masks["conv3"])
    assert plan.after == pt.cost(SPEC, masks) and plan.before == pt.cost(SPEC)


def test_thinning_and_schedulers_happen_at_their_epochs() -> None:
    recipe = pt.load_recipe(BASE)
    assert [e for e in range(12) if recipe.thins_at(e)] == [2]
    assert [e for e in range(12) if recipe.at(e, "lr_scheduler")] == [*range(9)]
    assert recipe.last_epoch == 8
    optimizer = torch.optim.SGD(MODEL.parameters(), lr=1.0)
    scheduler = build_schedulers(recipe, optimizer)["decay"]
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("scheduler", "arguments"),
    [
        ("{class: MultiStepLR, milestones: [30, 60], gamma: 0.2}", {"milestones": [30, 60], "gamma": 0.2}),
        ("{class: CosineAnnealingLR, T_max: 9}", {"T_max": 9}),
        ("{class: StepLR, step_size: 3, gamma: 1e-1}", {"step_size": 3, "gamma": 0.1}),
        ("{class: CosineAnnealingWarmRestarts, T_0: 4}", {"T_0": 4}),
    ],
)
def test_schedulers_are_torchs_own_with_their_arguments(scheduler: str, arguments: dict[str, object]) -> None:
    recipe = pt.load_recipe(edited(("\n    class: ExponentialLR\n    gamma: 0.95", f" {scheduler}")))
    assert recipe.schedulers["decay"].arguments == arguments
    made = build_schedulers(recipe, torch.optim.SGD(MODEL.parameters(), lr=0.1))["decay"]
    assert type(made).__name__ == recipe.schedulers["decay"].kind


def test_empty_sections_and_anchors_are_read() -> None:
    text = edited(
        ("extensions:\n  thinner:", "regularizers:\nquantizers: {}\nextensions:\n  thinner:"),
        ("[module.conv3.weight]", "&listed [module.conv3.weight]"),
    )
    assert pt.load_recipe(text).pruners["low"].weights == (("module.conv3.weight", "recipe:7:23"),)


# ---- the plan as a table


def test_a_plan_says_why_each_axis_is_pruned() -> None:
    recipe = pt.load_recipe(pruning("[conv2.weight, conv3.weight]", "Channels", group_dependency="Auto"))
    assert [g.why for g in groups_of(recipe.pruners["low"], SPEC)] == ["Channels of conv2.weight"]
    led = pt.load_recipe(pruning("[conv2.weight, conv1.weight]", group_dependency="Leader"))
    assert [r.why for r in pt.plan(led, PARAMS, SPEC).rows] == ["Filters, led by conv2.weight"]


def test_a_plan_prints_as_an_aligned_table_with_the_cost_after_each_step() -> None:
    text = edited(*AGP[:2], ("epochs: [0]", "starting_epoch: 1\n    ending_epoch: 4"))
    plan = planned(text)
    lines = str(plan).splitlines()
    head = ["epoch", "pruner", "axis", "why", "sparsity", "size", "removed", "kept", "parameters", "MACs"]
    why = ["Filters", "of", "conv3.weight"]
    assert lines[0].split() == head
    assert [line.split()[:10] for line in lines[1:4]] == [
        ["1", "low", "conv3", *why, "0.1000", "6", "0", "6"],
        ["2*", "low", "conv3", *why, "0.4500", "6", "2", "4"],
        ["3", "low", "conv3", *why, "0.5000", "6", "3", "3"],
    ]
    for line, removed in zip(lines[1:4], (0, 2, 3), strict=True):
        cost = pt.cost(SPEC, {"conv3": torch.arange(6) >= removed})
        assert line.split()[10:] == [f"{cost.parameters:,}", f"{cost.macs:,}"]
    assert len({len(line) for line in lines[:4]}) == 1
    assert lines[4:] == [
        "* thinned as the epoch begins: 2",
        f"dense {plan.before.parameters:,} parameters, {plan.before.macs:,} MACs; "
        f"at the end {plan.after.parameters:,} and {plan.after.macs:,}",
    ]


def test_a_plan_names_the_epochs_of_thinning_where_no_pruner_acts() -> None:
    plan = planned(BASE)
    assert [(r.epoch, r.thins) for r in plan.rows] == [(0, False)]
    assert plan.thinnings == (2,)
    assert "* thinned as the epoch begins: 2" in str(plan)


def test_a_plan_notes_what_never_acts_and_what_is_inexact() -> None:
    params = {"conv3.weight": torch.ones(6, 2), "conv1.weight": torch.ones(4, 6)}
    layout = {"conv3.weight": "conv3 2", "conv1.weight": "4 conv3"}
    spec = pt.Spec.from_layout(layout, params, inexact={"conv3": "a mean at net.py:7"})
    text = edited(("  - extension:\n      instance_name: thinner\n    epochs: [2]\n", ""))
    plan = pt.plan(pt.load_recipe(text), params, spec)
    assert plan.notes == ("'thinner' has no policy: it never acts", "the axis 'conv3' is inexact: a mean at net.py:7")
    assert str(plan).splitlines()[-2:] == [f"note: {note}" for note in plan.notes]


def test_a_plan_changes_nothing() -> None:
    before = {n: t.clone() for n, t in PARAMS.items()}
    planned(BASE)
    assert all(torch.equal(PARAMS[n], t) for n, t in before.items())
